//! Nearest-codebook search: distance and argmin fused on the matrix cores, never an N x K matrix.

mod coopmat;
mod few_channels;
mod plan;
mod reference;
mod resident;
mod spec;

pub use spec::VqSearch;

use crate::gpu::kernel::gemm::{OperandLayout, Tile};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::ops::elementwise::cast::cast;
use crate::ops::elementwise::scale::scale;
use crate::{Error, Result, shader};
use plan::{Plan, codes_of};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    k: u32,
    d: u32,
    tiles: u32,
    k_part: u32,
}

fn kernel(tile: Tile, vec: bool, half: bool, split: bool, whole: bool) -> Kernel {
    let form = if vec {
        OperandLayout::K
    } else {
        OperandLayout::Scalar
    };
    tile.define(
        Kernel::new(shader!("quantize/vq_search"))
            .flag("LHS_HALF", half)
            .flag("SPLIT", split)
            .flag("WHOLE", whole),
        form,
        form,
    )
}

fn pick_kernel() -> Kernel {
    Kernel::new(shader!("quantize/vq_search_pick"))
}

/// Returns the search of a device and size, or the search by the core's tiles.
fn choose(gpu: &Gpu, [rows, k, d]: [usize; 3], half: bool, by_tiles: bool) -> Plan {
    if !by_tiles {
        if let Some(plan) = resident::plan(gpu, [rows, k, d], half) {
            return plan;
        }
        if let Some(plan) = few_channels::plan(gpu, [rows, k, d], half) {
            return plan;
        }
    }
    let tile = gpu.exact_tile(k, work(rows, k, d).flops);
    let depth = match tile {
        Tile::Tiled { depth, .. } => depth as usize,
        _ => 4,
    };
    // Loops over the tiles, over runs, of which there is one, and along k.
    let turns = d.div_ceil(depth) + 3;
    let codes = codes_of(gpu, rows.div_ceil(tile.rows()), k, tile.cols(), turns);
    let vec = d.is_multiple_of(4);
    // Such a kernel reads offsets four at a time, and no code twice.
    let offsets = k.is_multiple_of(4) && k >= tile.cols();
    let whole = vec && offsets && tile.whole(OperandLayout::K, OperandLayout::K, d);
    Plan {
        kernel: kernel(tile, vec, half, codes < k, whole),
        rows: tile.rows(),
        codes,
    }
}

fn half_norm_kernel() -> Kernel {
    Kernel::new(shader!("quantize/vq_search_half_norm"))
}

fn work(n: usize, k: usize, d: usize) -> Work {
    Work {
        flops: 2.0 * (n * k) as f64 * d as f64,
        bytes: 4.0 * ((n + k) * d + n) as f64,
    }
}

/// Computes `0.5 |e_k|^2` for each row of a codebook [K, D]: `[K]`.
pub fn half_norms(codebook: &Tensor) -> Result<Tensor> {
    let [k, d] = codebook.dims("half_norms")?;
    let gpu = codebook.gpu();
    let y = Tensor::empty(gpu, &[k], DType::F32)?;
    let work = Work {
        flops: 2.0 * (k * d) as f64,
        bytes: 4.0 * (k * d + k) as f64,
    };
    gpu.dispatch(
        "half_norms",
        &half_norm_kernel(),
        &[codebook, &y],
        &[k as u32, d as u32],
        groups_for(k, 64),
        work,
    )?;
    Ok(y)
}

/// Computes the row of `codebook` [K, D] nearest to each row of `latents` [N, D] in Euclidean
/// distance: u32 `[N]`.
///
/// Ties go to the lowest index. A latent with a NaN gets index 0. Latents may be stored in 16 bits:
/// distances are f32 all the same, so that the index is the one that the same latents have in f32.
/// Memory beyond inputs and output: 4 K bytes, and for few latents 8 N for each of the parts into
/// which the codes are shared out; on the `coopmat` core 4 (K + N) + K / 16, and a score for each
/// latent and 64 codes, of as many latents at a time as make 64 MiB (or of 128). Source: van den
/// Oord et al. 2017, equation 1.
///
/// # Errors
/// If the shapes do not fit or the codebook is empty.
pub fn nearest(latents: &Tensor, codebook: &Tensor) -> Result<Tensor> {
    search(latents, codebook, None, false)
}

/// [`nearest`] by the device's matrix core, where it would take a kernel for few channels: the same
/// indices. For measurements.
///
/// # Errors
/// As of [`nearest`].
pub fn nearest_by_tiles(latents: &Tensor, codebook: &Tensor) -> Result<Tensor> {
    search(latents, codebook, None, true)
}

/// Computes the row of `weight` [K, D] with the largest `weight x + bias` for each row x of
/// `latents` [N, D]: u32 `[N]`. The largest of K logits, of which none is stored. Ties go to the
/// lowest index; a latent with a NaN gets index 0.
///
/// # Errors
/// If the shapes do not fit or there is no row.
pub fn linear_argmax(latents: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    match weight.shape() {
        [k, _] if bias.shape() == [*k] && bias.dtype() == DType::F32 => {}
        _ => {
            return Err(Error::shape(
                "linear_argmax",
                "weight [K, D] and bias [K]",
                format!("{weight:?}, {bias:?}"),
            ));
        }
    }
    search(latents, weight, Some(&scale(bias, -1.0, 0.0)?), false)
}

/// Computes the row with the least `offset - x . row`; half the squared norms as offsets give the
/// nearest.
fn search(
    latents: &Tensor,
    codebook: &Tensor,
    offsets: Option<&Tensor>,
    by_tiles: bool,
) -> Result<Tensor> {
    let [n, d] = latents.dims("nearest")?;
    let [k, d2] = codebook.dims("nearest")?;
    let floats = (latents.dtype() == DType::F32 || latents.dtype().is_half())
        && codebook.dtype() == DType::F32;
    if d != d2 || k == 0 || d == 0 || !floats {
        return Err(Error::shape(
            "nearest",
            format!("an f32 codebook [K, {d}] with K, D > 0"),
            format!("{codebook:?} for {latents:?}"),
        ));
    }
    let gpu = latents.gpu();
    // f16 is read as it lies, where the device and the size let a kernel do so.
    let half = latents.dtype() == DType::F16
        && gpu.shader_f16()
        && d.is_multiple_of(4)
        && gpu.coopmat().is_none();
    let latents = &if half {
        latents.clone()
    } else {
        cast(latents, DType::F32)?
    };
    let is_nearest = offsets.is_none();
    let norms = offsets.map_or_else(|| half_norms(codebook), |o| Ok(o.clone()))?;
    let index = Tensor::empty(gpu, &[n], DType::U32)?;
    // Rows beyond the binding limit go in parts; a part starts on the alignment that bindings need.
    let limit = gpu.limits().max_storage_buffer_binding_size as usize;
    let part = (limit / (4 * d)).min(i32::MAX as usize / d) / 128 * 128;
    if part == 0 {
        return Err(Error::Limit {
            what: "nearest: 128 latents".into(),
            asked: 512 * d as u64,
            limit: limit as u64,
        });
    }
    for start in (0..n).step_by(part) {
        let rows = part.min(n - start);
        let x = latents.view(start * d, &[rows, d])?;
        let out = index.view(start, &[rows])?;
        // What f16 rules out, it rules out by the codes' norms.
        let few = d <= gpu.few_channels() && !by_tiles;
        let by_matrices = gpu.coopmat().is_some() && offsets.is_none() && !few;
        if by_matrices && coopmat::can_walk(gpu, k, d) {
            coopmat::search(&x, codebook, &norms, &out)?;
            continue;
        }
        let plan = choose(gpu, [rows, k, d], half, by_tiles);
        let (kernel, tiles) = (plan.kernel, rows.div_ceil(plan.rows));
        let [n, k, d, tiles, k_part] = [rows, k, d, tiles, plan.codes].map(|v| v as u32);
        let params = Params {
            n,
            k,
            d,
            tiles,
            k_part,
        };
        let ([x_groups, y_groups, _], splits) = (groups_for(tiles as usize, 1), k.div_ceil(k_part));
        let (groups, work) = (
            [x_groups, y_groups, splits],
            work(rows, k as usize, d as usize),
        );
        if splits == 1 {
            gpu.dispatch(
                "nearest",
                &kernel,
                &[&x, codebook, &norms, &out],
                &params,
                groups,
                work,
            )?;
            continue;
        }
        let scores = Tensor::empty(gpu, &[splits as usize, rows], DType::F32)?;
        let codes = Tensor::empty(gpu, &[splits as usize, rows], DType::U32)?;
        gpu.dispatch(
            "nearest",
            &kernel,
            &[&x, codebook, &norms, &scores, &codes],
            &params,
            groups,
            work,
        )?;
        let picking = Work {
            flops: 0.0,
            bytes: 8.0 * splits as f64 * rows as f64,
        };
        let bindings = [&scores, &codes, &out];
        gpu.dispatch(
            "nearest",
            &pick_kernel(),
            &bindings,
            &[n, splits],
            groups_for(rows, 64),
            picking,
        )?;
    }
    if is_nearest && latents.dtype() == DType::F32 {
        gpu.note_call("vq_search", &index, [("n", n), ("k", k), ("d", d)]);
    }
    Ok(index)
}
