//! The search of the `subgroup` core whose latents stay in registers, for few channels and for 32
//! and 64.

use super::plan::{FORMS, Plan, codes_of};
use crate::gpu::device::adapter::LANES;
use crate::gpu::{Core, FEW_CHANNELS, Gpu, Kernel};
use crate::shader;

/// Channels, in fours, and how many latents and codes a lane works on at a time.
const QUADS: [(u32, u32, u32); 6] = [
    (1, 8, 32),
    (2, 8, 32),
    (3, 8, 16),
    (4, 8, 16),
    (8, 8, 8),
    (16, 4, 8),
];

fn kernel(lanes: u32, (quads, v, nc): (u32, u32, u32), vec: bool, half: bool) -> Kernel {
    let spread = lanes.min(nc);
    let kernel = Kernel::new(shader!("quantize/vq_search_resident"))
        .define("LANES", lanes)
        .define("QUADS", quads)
        .flag("VEC", vec)
        .flag("LHS_HALF", half);
    kernel
        .define("V", v)
        .define("NC", nc)
        .define("RHS_LANES", spread)
        .define("RHS_GROUPS", nc / spread)
}

fn is_few(quads: u32) -> bool {
    4 * quads as usize <= FEW_CHANNELS
}

pub(super) fn kernels() -> impl Iterator<Item = Kernel> {
    let sizes = LANES
        .into_iter()
        .flat_map(|lanes| QUADS.map(|of| (lanes, of)));
    sizes.flat_map(|(lanes, of)| {
        // More channels are whole vec4s.
        let forms = FORMS
            .into_iter()
            .filter(move |(vec, _)| *vec || is_few(of.0));
        forms.flat_map(move |(vec, half)| {
            let kernel = kernel(lanes, of, vec, half);
            [kernel.clone(), kernel.flag("SPLIT", true)]
        })
    })
}

/// Returns the search of `rows` latents among `k` codes of `d` channels where there is such a
/// kernel, and the device has subgroups for it.
pub(super) fn plan(gpu: &Gpu, [rows, k, d]: [usize; 3], half: bool) -> Option<Plan> {
    let lanes = gpu
        .subgroup_size()
        .filter(|_| gpu.core() == Core::Subgroup)?;
    let vec = d.is_multiple_of(4);
    let of = QUADS
        .into_iter()
        .find(|(quads, ..)| *quads as usize == d.div_ceil(4))?;
    let (_, v, nc) = of;
    if is_few(of.0) && d > gpu.few_channels() || !is_few(of.0) && !vec {
        return None;
    }
    let latents = (lanes * v) as usize;
    let codes = codes_of(gpu, rows.div_ceil(latents), k, nc as usize, 1);
    Some(Plan {
        kernel: kernel(lanes, of, vec, half).flag("SPLIT", codes < k),
        rows: latents,
        codes,
    })
}
