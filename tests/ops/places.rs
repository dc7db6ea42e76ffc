//! Where an operation is checked: the cores, group sizes, classes and emulated matrices that its
//! kernels differ by, and which of its cases run there.

use crate::gpu;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use wgvq::gpu::{Core, DeviceClass, Gpu, Kernel, Options, Rule, TUNING_FORMAT, Tuning};
use wgvq::spec::{Case, Operation};

/// Operations whose own kernels differ by the class of the device. Others use some of them.
pub const BY_CLASS: &[&str] = &[
    "adam",
    "batch_norm",
    "clip",
    "column_sum",
    "group_norm",
    "group_norm_activation",
    "layer_norm",
    "loss",
    "reduce",
    "rms_norm",
    "scale_by",
    "split_sum",
];

/// The device options that kernels differ by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    /// The device's own choice.
    Default,
    Core(Core),
    /// The `coopmat` core on emulated matrices of `side` x `side`, for subgroups of `lanes`, with
    /// tiles of `size` x `size`.
    Emulated {
        side: u32,
        lanes: u32,
        size: u32,
    },
    /// Invocations that share a row. No device chooses all three by itself.
    RowGroup(u32),
    /// As laid out on a GPU of this class, on the core that GPUs choose.
    Class(DeviceClass),
}

impl Place {
    pub fn name(self) -> String {
        match self {
            Place::Default => "default".into(),
            Place::Core(core) => core.name().into(),
            Place::Emulated { side, lanes, size } => {
                format!("emulated_{side}x{side}_{lanes}_lanes_tile_{size}")
            }
            Place::RowGroup(n) => format!("row_group_{n}"),
            Place::Class(class) => class.name().into(),
        }
    }

    pub fn options(self) -> Options {
        let (core, row_group, device_class) = match self {
            Place::Default => (None, None, None),
            Place::Core(core) => (Some(core), None, None),
            Place::Emulated { .. } => (Some(Core::Coopmat), None, None),
            Place::RowGroup(n) => (Some(Core::Tiled), Some(n), None),
            Place::Class(class) => (Some(Core::Tiled), None, Some(class)),
        };
        let emulated_matrices = match self {
            Place::Emulated { side, lanes, .. } => Some((side, lanes)),
            _ => None,
        };
        Options {
            core,
            row_group,
            device_class,
            emulated_matrices,
            guard: true,
            ..Default::default()
        }
    }
}

/// An engine of a place, with its tile for every problem where it has one.
pub fn engine(place: Place, options: Options) -> Gpu {
    let gpu = gpu(options);
    if let Place::Emulated { size, .. } = place {
        let rule = Rule {
            max_cols: None,
            below_flops: None,
            tile: format!("coopmat {size}x{size}"),
            gflops: None,
        };
        gpu.set_tuning(&Tuning {
            format: TUNING_FORMAT,
            adapter: gpu.info().name.clone(),
            driver: String::new(),
            core: gpu.core().name().into(),
            few_channels: None,
            rules: vec![rule],
        })
        .expect("a tile that emulated matrices have");
    }
    gpu
}

/// Matrices, lanes and tiles that are emulated: every way of loading and storing there is. Those
/// that come first compile in seconds, the others in a minute or two.
const EMULATED: [(u32, u32, u32); 5] = [
    (16, 32, 64),
    (16, 64, 64),
    (8, 8, 64),
    (16, 32, 128),
    (16, 64, 128),
];

/// Whether it is of a matrix core, or of subgroups.
pub fn of_a_core(kernel: &Kernel) -> bool {
    ["LANES", "TILE_ROWS", "SIDE"]
        .iter()
        .any(|define| kernel.get(define).is_some())
}

/// Returns the places that the kernels of an operation differ by, from what it declares.
/// Real cooperative matrices are in `tests/it/coopmat.rs`.
pub fn places(op: &dyn Operation) -> Vec<Place> {
    let kernels = op.kernels();
    let mut groups: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for kernel in kernels.iter().filter(|kernel| !of_a_core(kernel)) {
        groups
            .entry(kernel.name())
            .or_default()
            .extend(kernel.get("GROUP"));
    }
    let mut places = Vec::new();
    if kernels.iter().any(of_a_core) {
        places.extend([Core::Subgroup, Core::Tiled].map(Place::Core));
    }
    if kernels.iter().any(|kernel| kernel.get("SIDE").is_some()) {
        let forms = match op.name() {
            "matmul" | "conv2d" | "conv_transpose2d" | "vq_search" if thorough() => 0..5,
            // Its tiles are its own.
            "attention" if thorough() => 0..3,
            // One has 64 lanes, the others 32.
            "matmul" => 1..2,
            "conv2d" | "vq_search" | "attention" => 0..1,
            // What is built on them.
            _ => 0..usize::from(thorough()),
        };
        let place = |&(side, lanes, size): &_| Place::Emulated { side, lanes, size };
        places.extend(EMULATED[forms].iter().map(place));
    }
    let shared: BTreeSet<u32> = groups
        .into_values()
        .filter(|sizes| sizes.len() > 1)
        .flatten()
        .collect();
    places.extend(shared.into_iter().map(Place::RowGroup));
    if places.is_empty() {
        places.push(Place::Default);
    }
    if BY_CLASS.contains(&op.name()) {
        let gpus = DeviceClass::ALL.into_iter().skip(1);
        places.extend(gpus.map(Place::Class));
    }
    places
}

/// Returns which cases are checked in a place. Emulated matrices compile for long: all cases are
/// left to [`thorough`] checks, and three are shared out over each form; one of attention, whose
/// kernels are the longest.
pub fn chosen(op: &dyn Operation, place: Place, cases: &[Case]) -> Vec<usize> {
    let all = 0..cases.len();
    let Place::Emulated { side, lanes, size } = place else {
        return all.collect();
    };
    if thorough() {
        return all.collect();
    }
    let small: Vec<usize> = all.filter(|i| !left_out(op, place, &cases[*i])).collect();
    let form = EMULATED
        .iter()
        .position(|form| *form == (side, lanes, size));
    let most = if op.name() == "attention" { 1 } else { 3 };
    let each = small.len().div_ceil(most).max(1);
    small
        .into_iter()
        .skip((form.unwrap_or(0) + 1) % each)
        .step_by(each)
        .collect()
}

/// Cases that are checked in one test: a few, or one that takes long.
pub fn parts(op: &dyn Operation, cases: &[Case]) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut sum = f64::INFINITY;
    for (i, case) in cases.iter().enumerate() {
        let cost = op.work(case).flops + 5e6;
        if sum + cost > 1e8 || parts.last().is_some_and(|part| part.len() == 10) {
            parts.push(i..i);
            sum = 0.0;
        }
        sum += cost;
        if let Some(last) = parts.last_mut() {
            last.end = i + 1;
        }
    }
    parts
}

/// Run what takes minutes to compile as well? Before a release.
pub fn thorough() -> bool {
    std::env::var_os("WGVQ_THOROUGH").is_some()
}

/// Software drivers take most of a minute for one kernel of attention over subgroups with more than
/// 64 channels a head. Those of up to 80 run, without naga's bounds checks; more are left to
/// [`thorough`] checks, and run on the tiled core.
pub fn compiles_for_long(op: &dyn Operation, place: Place, case: &Case) -> Option<usize> {
    let d = case.get("d");
    let long = (65..=256).contains(&d);
    (op.name() == "attention" && place == Place::Core(Core::Subgroup) && long).then_some(d)
}

/// Whether a case is left to [`thorough`] checks: beside those that compile for long, on the tiled
/// core those that were never run there for their cost.
pub fn left_out(op: &dyn Operation, place: Place, case: &Case) -> bool {
    if compiles_for_long(op, place, case).is_some_and(|d| d > 80) {
        return !thorough();
    }
    // Attention makes kernels of its own for as many channels.
    let most = if op.name() == "attention" { 256 } else { 128 };
    matches!(place, Place::Core(Core::Tiled) | Place::Emulated { .. })
        && (op.work(case).flops >= 1e7 || case.get("d") > most)
        && !thorough()
}
