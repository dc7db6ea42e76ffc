//! Parts of attention: merges what several workgroups found of a query, each over a part of its
//! keys.

use crate::gpu::{Kernel, Tensor, Work, groups_for};
use crate::{Result, shader};

/// Queries: `tq` of each of `heads` heads of each image, of `d` channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub heads: usize,
    pub tq: usize,
    pub d: usize,
    /// Elements of the result from one image, head and query to the next.
    pub o: [usize; 3],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    rows: u32,
    heads: u32,
    tq: u32,
    units: u32,
    o: [u32; 3],
    parts: u32,
    part_stride: u32,
}

fn kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("attention/attention_parts")).flag("VEC", vec)
}

/// Returns every variant.
pub(super) fn join_kernels() -> [Kernel; 2] {
    [false, true].map(kernel)
}

/// Writes the attended values and the logarithms of the denominators (o, lse) of what `parts` parts
/// found: as many of both, one after the other.
pub(super) fn join(
    op: &'static str,
    [o_parts, lse_parts]: [&Tensor; 2],
    [o, lse]: [&Tensor; 2],
    of: Rows,
    parts: usize,
) -> Result<()> {
    let vec = of.d.is_multiple_of(4);
    let (rows, units) = (lse.len(), if vec { of.d / 4 } else { of.d });
    let params = Params {
        n: (rows * units) as u32,
        rows: rows as u32,
        heads: of.heads as u32,
        tq: of.tq as u32,
        units: units as u32,
        o: of.o.map(|s| s as u32),
        parts: parts as u32,
        part_stride: o.len() as u32,
    };
    let work = Work {
        flops: 2.0 * o_parts.len() as f64,
        bytes: 4.0 * (o_parts.len() + o.len()) as f64,
    };
    o.gpu().dispatch(
        op,
        &kernel(vec),
        &[o_parts, lse_parts, o, lse],
        &params,
        groups_for(rows * units, 64),
        work,
    )
}
