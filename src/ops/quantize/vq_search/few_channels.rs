//! The search for few channels without subgroups: latents stay in registers, and codes go through
//! workgroup memory.

use super::plan::{CODES, FORMS, Plan, codes_of};
use crate::gpu::{Core, DeviceClass, FEW_CHANNELS, Gpu, Kernel};
use crate::shader;

/// Invocations of a workgroup, and codes in workgroup memory at a time.
const GROUP: u32 = 64;
/// Codes of which an invocation notes together whether one won.
const BLOCK: u32 = 8;
/// Latents of an invocation by its channels in fours, where these are read four at a time and where
/// not: as many as leave every GPU registers whose compiler was tried, since each code is read from
/// workgroup memory for all of them.
const LATENTS: [(u32, u32); FEW_CHANNELS / 4] = [(8, 8), (6, 6), (4, 4), (4, 3)];
/// Workgroups that a GPU is to have before an invocation has several latents.
const BUSY: usize = 256;

fn kernel(quads: usize, v: u32, (vec, half): (bool, bool), split: bool) -> Kernel {
    let kernel = Kernel::new(shader!("quantize/vq_search_few_channels"))
        .define("GROUP", GROUP)
        .define("BLOCK", BLOCK)
        .define("QUADS", quads as u32);
    kernel
        .define("V", v)
        .define("TILE_ROWS", GROUP * v)
        .flag("VEC", vec)
        .flag("LHS_HALF", half)
        .flag("SPLIT", split)
}

pub(super) fn kernels() -> impl Iterator<Item = Kernel> {
    (1..=LATENTS.len()).flat_map(|quads| {
        FORMS.into_iter().flat_map(move |form| {
            let sizes = [1, latents(quads, form.0)];
            sizes
                .into_iter()
                .flat_map(move |v| [false, true].map(|split| kernel(quads, v, form, split)))
        })
    })
}

/// The most latents of an invocation.
fn latents(quads: usize, vec: bool) -> u32 {
    let (by_fours, by_ones) = LATENTS[quads - 1];
    if vec { by_fours } else { by_ones }
}

/// Returns the search of `rows` latents among `k` codes of `d` channels, where these are few.
pub(super) fn plan(gpu: &Gpu, [rows, k, d]: [usize; 3], half: bool) -> Option<Plan> {
    if d > gpu.few_channels() || gpu.core() == Core::Subgroup {
        return None;
    }
    let (quads, vec) = (d.div_ceil(4), d.is_multiple_of(4));
    let most = latents(quads, vec);
    let groups = |v: u32| rows.div_ceil((GROUP * v) as usize);
    // Latents that there are not cost as much as others, and so do multiprocessors with nothing to
    // do.
    let filled = 2 * rows > (GROUP * most) as usize;
    let busy = gpu.class() == DeviceClass::Processor || groups(most) * (k / CODES).max(1) >= BUSY;
    let v = if filled && busy { most } else { 1 };
    // Workgroups are small: four for one of the core's tiles.
    let tiles = groups(v).div_ceil(4);
    let turns = (GROUP / BLOCK + 1) as usize;
    let codes = codes_of(gpu, tiles, k, GROUP as usize, turns);
    Some(Plan {
        kernel: kernel(quads, v, (vec, half), codes < k),
        rows: (GROUP * v) as usize,
        codes,
    })
}
