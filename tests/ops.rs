//! Every operation of the registry against its reference, forward and backward, with every tensor
//! between guard bands; without naga's bounds checks, and for each kind of kernel with them, to the
//! same bits. A test per operation, core or group size, and some of its cases, so that they can run
//! side by side.

#[path = "ops/faults.rs"]
mod faults;
#[path = "ops/places.rs"]
mod places;
#[path = "ops/planted.rs"]
mod planted;
#[path = "ops/shapes.rs"]
mod shapes;
#[path = "common/skip.rs"]
mod skip;

use libtest_mimic::{Arguments, Failed, Trial};
use places::{
    BY_CLASS, Place, chosen, compiles_for_long, engine, left_out, of_a_core, parts, places,
    thorough,
};
use std::collections::{BTreeMap, BTreeSet};
use wgvq::gpu::{DeviceClass, Gpu, Kernel, Options, RobustAccess, adapters};
use wgvq::registry::operations;
use wgvq::spec::{Case, Operation};
use wgvq::{Error, verify};

/// Operations with a gradient. One that loses it is missed here.
const WITH_A_GRADIENT: &[&str] = &[
    "activation",
    "add",
    "attention",
    "batch_norm",
    "bias",
    "bit_entropy",
    "bit_table",
    "cast",
    "code_average",
    "column_sum",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "diveq",
    "downsample",
    "dropout",
    "entropy",
    "fsq",
    "gather",
    "group_norm",
    "group_norm_activation",
    "gumbel",
    "image_gradient",
    "l2_norm",
    "layer_norm",
    "loss",
    "lpips_distance",
    "matmul",
    "max_pool",
    "multiply",
    "positions",
    "reduce",
    "resample",
    "rms_norm",
    "rotary",
    "rotation",
    "scale",
    "scale_by",
    "slice_columns",
    "softmax",
    "ssim",
    "swiglu",
    "upsample",
];

fn gpu(options: Options) -> Gpu {
    Gpu::new(options).expect(
        "these tests need a Vulkan, Metal or DX12 adapter; scripts/test.sh installs a software one",
    )
}

/// Which kernels have run under naga's bounds checks: files, each with the defines that were set.
/// A case is run again under checks where it dispatches what has not been, or in [`thorough`]
/// checks: a driver may compile for longer than it runs, and with checks twice as long as without.
/// A fault that the others would find there is found without checks too: bands are full of NaN and
/// out of range, so that what is read of them shows in the results, and what is written in the
/// bands.
#[derive(Default)]
struct Checked {
    labels: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Checked {
    /// Whether an engine has compiled kernels of a kind that was not there before. They count from
    /// now on where the case is to be `run` again.
    fn adds(&mut self, gpu: &Gpu, run: bool) -> bool {
        let mut added = false;
        for label in gpu.kernels_in_use() {
            // Of `conv2d_row(LANES=8,RELU=1,HALF=0)`, what is set.
            let kind: Vec<&str> = label
                .split(['(', ',', ')'])
                .filter(|word| !word.ends_with("=0"))
                .map(|word| word.split('=').next().unwrap_or(word))
                .collect();
            let kind = kind.join(" ");
            added |= self.labels.insert(label) && run && self.kinds.insert(kind);
        }
        added
    }
}

/// Whether the adapter that these tests use can go without robust access, see [`agree`].
fn can_go_without_robust_access(gpu: &Gpu) -> bool {
    let info = gpu.info();
    let used = |name: &str, driver: &str| name == info.name && driver == info.driver;
    let mut all = adapters().into_iter();
    all.any(|a| used(&a.info.name, &a.info.driver) && a.robust_access_optional)
}

/// Forward and backward of some cases, each as [`verify::guarded`] has it, under naga's bounds
/// checks too where that runs something new; and that what ran is what `tests/it/shaders.rs`
/// translates for other devices: no operation dispatches a variant that it does not declare.
///
/// Without bounds checks the device is one without robust access, where the adapter lets us choose:
/// nothing but the kernels keeps them inside their tensors.
fn agree(
    name: &str,
    op: &dyn Operation,
    place: Place,
    cases: &[(usize, Case)],
) -> Result<(), Failed> {
    let mut options = place.options();
    if can_go_without_robust_access(&gpu(Options::default())) {
        options.robust_access = RobustAccess::Off;
    }
    let unchecked = engine(place, options);
    // What a self-test dispatched is not the operation's.
    let opening: BTreeSet<String> = unchecked.kernels_in_use().into_iter().collect();
    if matches!(place, Place::Core(core) if unchecked.core() != core) {
        skip::skipped(
            name,
            &format!(
                "{} cannot run the {} core",
                unchecked.info().name,
                place.name()
            ),
        );
        return Ok(());
    }
    let checked = Options {
        shader_checks: true,
        ..place.options()
    };
    let checked = engine(place, checked);
    let (mut failures, mut under_checks) = (Vec::new(), Checked::default());
    for (i, case) in cases {
        let seed = 1000 + *i as u64;
        if left_out(op, place, case) {
            skip::skipped(name, &format!("{case} takes long; WGVQ_THOROUGH=1 runs it"));
            continue;
        }
        let quick = compiles_for_long(op, place, case).is_some() && !thorough();
        if quick {
            let what = "compiles for long with bounds checks, and ran without; WGVQ_THOROUGH=1 \
                        runs it with them";
            skip::skipped(name, &format!("{case} {what}"));
        }
        let again = || {
            let added = under_checks.adds(&unchecked, !quick);
            (added || thorough()).then_some(&checked)
        };
        let verdicts = verify::guarded(&unchecked, again, op, case, seed);
        let verdicts = verdicts.map_err(|e| format!("seed {seed}: {}({case}): {e}", op.name()))?;
        for verdict in verdicts {
            println!("{:>9.2e} of allowed, {}", verdict.worst, verdict.detail);
            if !verdict.pass || verdict.compared == 0 {
                failures.push(format!("seed {seed}: {}", verdict.detail));
            }
        }
    }
    let mut used = unchecked.kernels_in_use();
    used.retain(|label| !opening.contains(label));
    let own: BTreeSet<String> = op.kernels().iter().map(Kernel::label).collect();
    if !used.iter().all(|label| own.contains(label)) {
        let kernels: Vec<Kernel> = operations().iter().flat_map(|op| op.kernels()).collect();
        let declared: BTreeMap<String, &Kernel> = kernels.iter().map(|k| (k.label(), k)).collect();
        for label in &used {
            match declared.get(label) {
                None => failures.push(format!(
                    "{label} is dispatched, and in no operation's list of kernels"
                )),
                // It would not be run on the other cores.
                Some(kernel) if of_a_core(kernel) && !own.contains(label) => {
                    failures.push(format!(
                        "{label} is dispatched, and {} does not declare it",
                        op.name()
                    ));
                }
                _ => {}
            }
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(format!("{} failures:\n{}", failures.len(), failures.join("\n")).into())
    }
}

/// The references' own gradients, which the device is held to, against central differences in f64.
fn differences(op: &dyn Operation) -> Result<(), Failed> {
    let mut checked = 0;
    // The smallest case of each kind says the same as the largest, in a thousandth of the time.
    for (i, case) in op
        .cases()
        .iter()
        .enumerate()
        .filter(|(_, case)| op.work(case).flops <= 3e6)
    {
        if let Some(v) = verify::differences(op, case, 2000 + i as u64, 24) {
            if !v.pass || v.compared == 0 {
                return Err(v.detail.into());
            }
            checked += 1;
        }
    }
    if checked == 0 {
        Err("no case is small enough".into())
    } else {
        Ok(())
    }
}

fn operations_with_a_gradient() -> Result<(), Failed> {
    let names: BTreeSet<&str> = operations()
        .iter()
        .filter(|op| op.gradient().is_some())
        .map(|op| op.name())
        .collect();
    let expected: BTreeSet<&str> = WITH_A_GRADIENT.iter().copied().collect();
    if names == expected {
        Ok(())
    } else {
        Err(format!("gradients of {names:?}, expected {expected:?}").into())
    }
}

/// Each class chooses kernels that no other does, in the operations that are checked by class.
fn classes_differ() -> Result<(), Failed> {
    for op in operations()
        .iter()
        .filter(|op| BY_CLASS.contains(&op.name()))
    {
        let labels = |class: DeviceClass| -> Result<BTreeSet<String>, Failed> {
            let gpu = gpu(Options {
                guard: false,
                ..Place::Class(class).options()
            });
            for (i, case) in op.cases().iter().enumerate() {
                verify::forward(&gpu, *op, case, i as u64)?;
                verify::backward(&gpu, *op, case, i as u64)?;
            }
            Ok(gpu.kernels_in_use().into_iter().collect())
        };
        let processor = labels(DeviceClass::Processor)?;
        if labels(DeviceClass::Discrete)?.is_subset(&processor) {
            return Err(format!("{}: a GPU runs what a processor does", op.name()).into());
        }
    }
    Ok(())
}

/// Each call ends in an error about what it was given, and none reaches the device.
fn error_inputs(op: &dyn Operation) -> Result<(), Failed> {
    let gpu = gpu(Options::default());
    let calls = op
        .error_inputs(&gpu)
        .map_err(|e| format!("the set-up failed: {e}"))?;
    let takes_inputs = op
        .cases()
        .iter()
        .any(|case| !op.inputs(case, &mut wgvq::spec::Rng::new(1)).is_empty());
    if calls.is_empty() && takes_inputs {
        return Err("it takes inputs, and lists none that are errors".into());
    }
    for (what, result) in calls {
        match result {
            Ok(()) => return Err(format!("{what}: accepted").into()),
            Err(Error::Shape { .. } | Error::Invalid { .. } | Error::Limit { .. }) => {}
            Err(other) => {
                return Err(format!("{what}: an error of the wrong kind: {other:?}").into());
            }
        }
    }
    gpu.finish()
        .map_err(|e| format!("a call reached the device: {e}").into())
}

/// A device without `SHADER_F16`, which widens first, computes what one with it does.
fn without_f16_arithmetic() -> Result<(), Failed> {
    let gpu = Gpu::new(Options {
        poison: true,
        no_features: true,
        ..Options::default()
    })?;
    if gpu.shader_f16() {
        return Err("the device has f16 arithmetic".into());
    }
    let mut checked = 0;
    let most = if thorough() { usize::MAX } else { 3 };
    for op in operations().iter().filter(|op| !op.halves().is_empty()) {
        let small = |c: &&Case| c.get("half") == 1 && op.work(c).flops < 3e6;
        for case in op.cases().iter().filter(small).take(most) {
            let label = format!("{}({case})", op.name());
            let forward =
                verify::forward(&gpu, *op, case, 7).map_err(|e| format!("{label}: {e}"))?;
            let backward =
                verify::backward(&gpu, *op, case, 7).map_err(|e| format!("{label}: {e}"))?;
            for verdict in [Some(forward), backward].into_iter().flatten() {
                if !verdict.pass || verdict.compared == 0 {
                    return Err(format!("{label}: {}", verdict.detail).into());
                }
                checked += 1;
            }
        }
    }
    match checked {
        0..=20 => Err(format!("{checked} cases prove nothing").into()),
        _ => Ok(()),
    }
}

/// Asks the compiler of Mesa's software driver to optimise less, which takes half the time and
/// changes no number: most kernels here run once, over a few rows. Other drivers do not read it.
fn compile_quickly() {
    if std::env::var_os("GALLIVM_PERF").is_none() && !thorough() {
        // SAFETY: called first in `main`, when there is no other thread yet.
        unsafe { std::env::set_var("GALLIVM_PERF", "nopt") };
    }
}

/// Gives Mesa's software driver two threads where it was told to have none, as scripts/test.sh
/// tells it: workgroups that disturb each other have to run at the same time.
fn compute_side_by_side() {
    if std::env::var_os("LP_NUM_THREADS").is_some_and(|n| n == "0") {
        // SAFETY: called first in `main`, when there is no other thread yet.
        unsafe { std::env::set_var("LP_NUM_THREADS", "2") };
    }
}

fn main() {
    compile_quickly();
    compute_side_by_side();
    if planted::tried() {
        return;
    }
    let by_hand = |variable: &str| std::env::var_os(variable).is_none();
    let mut trials = vec![
        Trial::test("operations_with_a_gradient", operations_with_a_gradient),
        Trial::test("classes_differ", classes_differ),
        Trial::test("without_f16_arithmetic", without_f16_arithmetic),
        Trial::test("planted::kinds_are_found", faults::kinds_are_found),
        Trial::test("planted::some_are_found", planted::some),
        Trial::test("planted::all_are_found", planted::all)
            .with_ignored_flag(by_hand("WGVQ_PLANTED")),
        Trial::test("shapes::cases_are_made_up", shapes::cases_are_made_up),
        Trial::test("shapes::some_agree", shapes::some),
        Trial::test("shapes::all_agree", shapes::all).with_ignored_flag(by_hand("WGVQ_SHAPES")),
    ];
    for op in operations() {
        let (op, name): (&'static dyn Operation, _) = (*op, op.name());
        trials.push(Trial::test(format!("error_inputs::{name}"), move || {
            error_inputs(op)
        }));
        if op.gradient().is_some() {
            trials.push(Trial::test(format!("differences::{name}"), move || {
                differences(op)
            }));
        }
        let cases = op.cases();
        assert!(!cases.is_empty(), "{name} has no case");
        for place in places(op) {
            let chosen = chosen(op, place, &cases);
            if chosen.len() < cases.len() {
                let test = format!("agree::{name}::{}::some", place.name());
                let some: Vec<(usize, Case)> =
                    chosen.iter().map(|i| (*i, cases[*i].clone())).collect();
                let label = test.clone();
                trials.push(Trial::test(test, move || agree(&label, op, place, &some)));
                continue;
            }
            for part in parts(op, &cases) {
                let test = format!(
                    "agree::{name}::{}::{}_to_{}",
                    place.name(),
                    part.start,
                    part.end - 1
                );
                let some: Vec<(usize, Case)> =
                    part.clone().map(|i| (i, cases[i].clone())).collect();
                let label = test.clone();
                trials.push(Trial::test(test, move || agree(&label, op, place, &some)));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
