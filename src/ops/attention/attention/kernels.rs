//! The three kernels: forward, to the queries, to the keys and values; over tiles in workgroup
//! memory, over subgroups, and over cooperative matrices.

use super::coopmat;
use super::mask::{Bits, Mask};
use super::tile::{self, Parts, Tile};
use crate::gpu::{Core, DType, Gpu, Kernel, Source, Tensor, Work, groups_for};
use crate::ops::attention::parts::{Rows, join, join_kernels};
use crate::ops::linalg::split_sum::split_sum;
use crate::{Result, shader};

/// Sizes: q [b, h, tq, d], k and v [b, h, tk, d].
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem {
    pub b: usize,
    pub h: usize,
    pub tq: usize,
    pub tk: usize,
    pub d: usize,
    pub causal: bool,
    /// The factor of scores.
    pub scale: f32,
}

/// Elements from one image, head and row to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strides {
    pub batch: usize,
    pub head: usize,
    pub row: usize,
}

/// Places of q, k, v and o in their buffers; v is laid out as k.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub q: Strides,
    pub k: Strides,
    pub o: Strides,
    pub q_at: usize,
    pub k_at: usize,
    pub v_at: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    heads: u32,
    tq: u32,
    tk: u32,
    d: u32,
    q_offset: u32,
    q: [u32; 3],
    k_offset: u32,
    k: [u32; 3],
    v_offset: u32,
    o: [u32; 3],
    row_tiles: u32,
    tiles: u32,
    diagonal: i32,
    scale: f32,
    dq_offset: u32,
    dk_offset: u32,
    dv_offset: u32,
    mask: [u32; 3],
    mask_blocks: [u32; 3],
    parts: u32,
    part_rows: u32,
    part_stride: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct DeltaParams {
    rows: u32,
    heads: u32,
    tq: u32,
    d: u32,
    o: [u32; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttentionPass {
    Forward,
    Queries,
    Keys,
}

/// The quarters of a head's channels that kernels are made for; others round up.
const QUARTERS: [u32; 11] = [1, 2, 4, 8, 12, 16, 20, 24, 32, 48, 64];
/// Quarters of kernels with a mask: fewer, for there are enough variants.
const MASKED_QUARTERS: [u32; 6] = [2, 4, 8, 16, 32, 64];
/// The subgroups that kernels are made for.
const LANES: [u32; 2] = [8, 16];
/// Rows that a lane owns: as many as keep the instructions of a step over a block, and the time to
/// compile them, in bounds.
fn rows_per_lane(pass: AttentionPass, quarters: u32) -> u32 {
    let most = match pass {
        AttentionPass::Forward => 64,
        AttentionPass::Queries | AttentionPass::Keys => 32,
    };
    (most / quarters).clamp(1, 4)
}

/// Rows of the other side that are handed round at a time over a subgroup. Fewer than lanes: a step
/// is short enough for the instruction cache and still loads with every lane.
const BLOCK: u32 = 4;

/// Lanes that load one row's quarters together: all that the block leaves, as far as the quarters
/// divide among them.
fn spread(lanes: u32, quarters: u32) -> u32 {
    (lanes / BLOCK).min(1 << quarters.trailing_zeros())
}

fn subgroup_kernel(
    pass: AttentionPass,
    lanes: u32,
    quarters: u32,
    vec: bool,
    masked: bool,
) -> Kernel {
    let source: &'static Source = match pass {
        AttentionPass::Forward => shader!("attention/attention_subgroup"),
        AttentionPass::Queries => shader!("attention/attention_grad_q_subgroup"),
        AttentionPass::Keys => shader!("attention/attention_grad_kv_subgroup"),
    };
    Kernel::new(source)
        .define("DQ", quarters)
        .flag("VEC", vec)
        .flag("MASK", masked)
        .define("V", rows_per_lane(pass, quarters))
        .define("NC", BLOCK)
        .define("LANES", lanes)
        .define("GROUP", lanes)
        .define("SPREAD", spread(lanes, quarters))
}

/// Every variant on any device.
pub(super) fn kernels() -> Vec<Kernel> {
    let mut all: Vec<Kernel> = tile::kernels().chain(coopmat::kernels()).collect();
    for lanes in LANES {
        for pass in [
            AttentionPass::Forward,
            AttentionPass::Queries,
            AttentionPass::Keys,
        ] {
            for vec in [false, true] {
                let plain = QUARTERS.map(|q| subgroup_kernel(pass, lanes, q, vec, false));
                let masked = MASKED_QUARTERS.map(|q| subgroup_kernel(pass, lanes, q, vec, true));
                all.extend(plain.into_iter().chain(masked));
            }
        }
    }
    all.extend([false, true].map(delta_kernel));
    all.extend(join_kernels());
    all
}

fn delta_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("attention/attention_delta")).flag("VEC", vec)
}

/// The kernel for a problem, and how it is shared out.
struct Chosen {
    kernel: Kernel,
    /// Rows of one workgroup, of all those that workgroups own.
    rows: usize,
    own: usize,
    parts: Parts,
}

impl Chosen {
    fn tiles(&self, p: &Problem) -> usize {
        p.b * p.h * self.own.div_ceil(self.rows)
    }
}

fn choose(gpu: &Gpu, pass: AttentionPass, p: &Problem, masked: bool) -> Chosen {
    let (own, walked) = match pass {
        AttentionPass::Forward | AttentionPass::Queries => (p.tq, p.tk),
        AttentionPass::Keys => (p.tk, p.tq),
    };
    let lanes = gpu
        .subgroup_size()
        .filter(|l| gpu.core() == Core::Subgroup && LANES.contains(l));
    let Some(lanes) = lanes else {
        let vec = p.d.is_multiple_of(4);
        let matrices = gpu
            .coopmat()
            .and_then(|matrices| coopmat::Tile::pick(matrices, pass, p.d));
        let (kernel, rows) = match matrices {
            Some(tile) => (tile.kernel(pass, vec, masked), tile.rows),
            None => {
                let tile = Tile::pick(pass, p.d);
                (tile.kernel(pass, vec, masked), tile.rows)
            }
        };
        let mut chosen = Chosen {
            kernel,
            rows,
            own,
            parts: Parts::one(walked),
        };
        chosen.parts = Parts::of(gpu, chosen.tiles(p), walked);
        return chosen;
    };
    let needed = p.d.div_ceil(4) as u32;
    let made: &[u32] = if masked { &MASKED_QUARTERS } else { &QUARTERS };
    let quarters = made
        .iter()
        .copied()
        .find(|q| *q >= needed)
        .unwrap_or(made[made.len() - 1]);
    let vec = p.d == 4 * quarters as usize;
    Chosen {
        kernel: subgroup_kernel(pass, lanes, quarters, vec, masked),
        rows: (lanes * rows_per_lane(pass, quarters)) as usize,
        own,
        parts: Parts::one(walked),
    }
}

/// Pairs of a query and a key that it sees.
fn pairs(p: &Problem) -> f64 {
    if !p.causal {
        return (p.b * p.h) as f64 * p.tq as f64 * p.tk as f64;
    }
    // Query i sees i + tk - tq + 1 keys, if that is above 0.
    let (last, seen) = (p.tk as f64, p.tk.min(p.tq) as f64);
    (p.b * p.h) as f64 * (seen * last - seen * (seen - 1.0) / 2.0)
}

/// Cost of the forward pass: two products per visible pair.
pub(super) fn work(p: &Problem) -> Work {
    products(p, 2.0)
}

fn products(p: &Problem, products: f64) -> Work {
    let values = (p.b * p.h * p.d) as f64 * (2 * p.tq + 2 * p.tk) as f64;
    Work {
        flops: 2.0 * products * pairs(p) * p.d as f64,
        bytes: 4.0 * values,
    }
}

/// Returns the parameters, and the workgroups; `part_stride` elements lie between the results of
/// two parts.
fn params(
    p: &Problem,
    l: &Layout,
    chosen: &Chosen,
    to: [usize; 3],
    mask: Option<&Bits>,
    part_stride: usize,
) -> (Params, [u32; 3]) {
    let row_tiles = chosen.own.div_ceil(chosen.rows);
    let tiles = chosen.tiles(p);
    let strides = |s: Strides| [s.batch as u32, s.head as u32, s.row as u32];
    let diagonal = if p.causal {
        p.tk as i32 - p.tq as i32
    } else {
        p.tk as i32
    };
    let params = Params {
        heads: p.h as u32,
        tq: p.tq as u32,
        tk: p.tk as u32,
        d: p.d as u32,
        q_offset: l.q_at as u32,
        q: strides(l.q),
        k_offset: l.k_at as u32,
        k: strides(l.k),
        v_offset: l.v_at as u32,
        o: strides(l.o),
        row_tiles: row_tiles as u32,
        tiles: tiles as u32,
        diagonal,
        scale: p.scale,
        dq_offset: to[0] as u32,
        dk_offset: to[1] as u32,
        dv_offset: to[2] as u32,
        mask: mask.map_or([0; 3], |m| m.strides),
        mask_blocks: mask.map_or([0; 3], |m| m.blocks),
        parts: chosen.parts.count as u32,
        part_rows: chosen.parts.rows as u32,
        part_stride: part_stride as u32,
    };
    (params, groups_for(tiles * chosen.parts.count, 1))
}

/// The attended values, of the given shape, and log-sum-exp.
pub(super) fn forward(
    qkv: [&Tensor; 3],
    p: &Problem,
    l: &Layout,
    mask: Option<&Mask>,
    shape: &[usize],
) -> Result<(Tensor, Tensor)> {
    let gpu = qkv[0].gpu();
    let o = Tensor::empty(gpu, shape, DType::F32)?;
    let lse = Tensor::empty(gpu, &[p.b, p.h, p.tq], DType::F32)?;
    let mask = mask.map(Mask::by_query);
    let chosen = choose(gpu, AttentionPass::Forward, p, mask.is_some());
    let (params, groups) = params(p, l, &chosen, [0; 3], mask, o.len());
    let parts = chosen.parts.count;
    let found = if parts > 1 {
        let o_parts = Tensor::empty(gpu, &[parts, o.len()], DType::F32)?;
        Some((
            o_parts,
            Tensor::empty(gpu, &[parts, lse.len()], DType::F32)?,
        ))
    } else {
        None
    };
    let (to, to_lse) = found.as_ref().map_or((&o, &lse), |(o, lse)| (o, lse));
    let mut bindings = vec![qkv[0], qkv[1], qkv[2], to, to_lse];
    bindings.extend(mask.map(|m| &m.words));
    gpu.dispatch(
        "attention",
        &chosen.kernel,
        &bindings,
        &params,
        groups,
        work(p),
    )?;
    if let Some((o_parts, lse_parts)) = &found {
        let rows = Rows {
            heads: p.h,
            tq: p.tq,
            d: p.d,
            o: [l.o.batch, l.o.head, l.o.row],
        };
        join("attention", [o_parts, lse_parts], [&o, &lse], rows, parts)?;
    }
    Ok((o, lse))
}

/// The places of the gradients: the shape of that of q, and of the buffer of those of k and v.
/// `None` is the same one, where all three are packed.
pub(super) struct Targets<'a> {
    pub dq: &'a [usize],
    pub dkv: Option<&'a [usize]>,
    /// Where each begins, in elements.
    pub to: [usize; 3],
}

/// Returns a tensor of `shape`, or as many of them as a sum has parts.
fn summands(gpu: &Gpu, shape: &[usize], parts: usize) -> Result<Tensor> {
    if parts == 1 {
        return Tensor::empty(gpu, shape, DType::F32);
    }
    Tensor::empty(gpu, &[parts, shape.iter().product()], DType::F32)
}

/// Returns the sum of what [`summands`] made.
fn sum(summands: Tensor, shape: &[usize], parts: usize) -> Result<Tensor> {
    if parts == 1 {
        return Ok(summands);
    }
    split_sum(&summands, shape)
}

/// Returns the gradients of q, and of k and v where they have a buffer of their own.
pub(super) fn backward(
    [q, k, v]: [&Tensor; 3],
    o: &Tensor,
    upstream: &Tensor,
    lse: &Tensor,
    p: &Problem,
    l: &Layout,
    mask: Option<&Mask>,
    targets: &Targets,
) -> Result<(Tensor, Option<Tensor>)> {
    let gpu = q.gpu();
    let mut queries = choose(gpu, AttentionPass::Queries, p, mask.is_some());
    let mut keys = choose(gpu, AttentionPass::Keys, p, mask.is_some());
    if targets.dkv.is_none() {
        // One sum for all.
        let count = queries.parts.count.min(keys.parts.count);
        queries.parts = Parts::split(count, p.tk);
        keys.parts = Parts::split(count, p.tq);
    }
    let dq = summands(gpu, targets.dq, queries.parts.count)?;
    let dkv = targets
        .dkv
        .map(|shape| summands(gpu, shape, keys.parts.count))
        .transpose()?;
    let delta = Tensor::empty(gpu, &[p.b, p.h, p.tq], DType::F32)?;
    let rows = p.b * p.h * p.tq;
    let of = DeltaParams {
        rows: rows as u32,
        heads: p.h as u32,
        tq: p.tq as u32,
        d: p.d as u32,
        o: [l.o.batch, l.o.head, l.o.row].map(|s| s as u32),
    };
    let work = Work {
        flops: 2.0 * o.len() as f64,
        bytes: 8.0 * o.len() as f64,
    };
    let kernel = delta_kernel(p.d.is_multiple_of(4));
    gpu.dispatch(
        "attention gradient",
        &kernel,
        &[o, upstream, &delta],
        &of,
        groups_for(rows, 64),
        work,
    )?;
    let both = [
        (&queries, mask.map(Mask::by_query), &dq, 3.0),
        (
            &keys,
            mask.map(Mask::by_key),
            dkv.as_ref().unwrap_or(&dq),
            4.0,
        ),
    ];
    for (chosen, bits, to, count) in both {
        let stride = to.len() / chosen.parts.count;
        let (params, groups) = params(p, l, chosen, targets.to, bits, stride);
        let mut bindings = vec![q, k, v, upstream, lse, &delta, to];
        bindings.extend(bits.map(|m| &m.words));
        gpu.dispatch(
            "attention gradient",
            &chosen.kernel,
            &bindings,
            &params,
            groups,
            products(p, count),
        )?;
    }
    let dq = sum(dq, targets.dq, queries.parts.count)?;
    let dkv = dkv
        .zip(targets.dkv)
        .map(|(dkv, shape)| sum(dkv, shape, keys.parts.count))
        .transpose()?;
    Ok((dq, dkv))
}
