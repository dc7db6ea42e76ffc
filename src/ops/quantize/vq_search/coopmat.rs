//! The search on cooperative matrices, in two passes: the least score of each block of codes from
//! f16 operands, then the blocks that can win in f32. `shaders/quantize/vq_search_rank.wgsl` says
//! why the index is the f32 search's.

use super::plan::TURNS;
use super::{half_norms, work};
use crate::gpu::kernel::gemm::{OperandLayout, Tile};
use crate::gpu::{Coopmat, DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::{Result, shader};

/// Codes of a block.
const BLOCK: usize = 64;
/// Bytes of blocks' scores at a time, so that they stay in a GPU's cache: latents go in parts.
const SCORES: usize = 64 << 20;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    k: u32,
    d: u32,
    col_tiles: u32,
    tiles: u32,
    blocks: u32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct RankParams {
    n: u32,
    k: u32,
    d: u32,
    blocks: u32,
    bound: Bound,
}

/// The constants of the bound on what f16 does to a score, by the number of channels. The shader
/// derives it.
#[repr(C)]
#[derive(Clone, Copy, Debug, bytemuck::NoUninit)]
struct Bound {
    /// Change of a vector by the loss of f16's subnormals, at most.
    flush: f32,
    /// Error of summing, at most, as a share of the product of the norms.
    grow: f32,
    /// Factor that makes an upper bound of a norm that was rounded (its square by D 2^-24 of
    /// itself).
    inflate: f32,
}

impl Bound {
    fn of(d: usize) -> Bound {
        let d = d as f64;
        Bound {
            flush: (1.001 * d.sqrt() * 2f64.powi(-14)) as f32,
            grow: ((d + 32.0) * 2f64.powi(-21)) as f32,
            inflate: (1.001 + d * 2f64.powi(-23)) as f32,
        }
    }
}

fn form(vec: bool) -> OperandLayout {
    if vec {
        OperandLayout::K
    } else {
        OperandLayout::Scalar
    }
}

fn kernel(tile: Tile, vec: bool, whole: bool) -> Kernel {
    let kernel = Kernel::new(shader!("quantize/vq_search_coopmat")).flag("WHOLE", whole);
    tile.define(kernel, form(vec), form(vec))
}

fn block_norm_kernel() -> Kernel {
    Kernel::new(shader!("quantize/vq_search_block_norm"))
}

fn rank_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("quantize/vq_search_rank")).flag("VEC", vec)
}

pub(super) fn kernels() -> impl Iterator<Item = Kernel> {
    let tiles = Coopmat::all().into_iter().flat_map(Coopmat::tiles);
    tiles
        .flat_map(|tile| {
            [(false, false), (true, false), (true, true)]
                .map(|(vec, whole)| kernel(tile, vec, whole))
        })
        .chain([block_norm_kernel(), rank_kernel(false), rank_kernel(true)])
}

/// The latents that go together: as many as [`SCORES`] has room for, in steps that bindings can
/// begin at.
fn latents_at_once(blocks: usize) -> usize {
    (SCORES / (4 * blocks) / 128 * 128).max(128)
}

/// Whether an invocation can walk all blocks, as it does for a latent of which f16 tells nothing:
/// on a processor the driver leaves loops that are too long.
pub(super) fn can_walk(gpu: &Gpu, k: usize, d: usize) -> bool {
    let products = if d.is_multiple_of(4) { d / 4 } else { d };
    gpu.info().device_type != wgpu::DeviceType::Cpu || k.div_ceil(BLOCK) * (products + 1) <= TURNS
}

/// The largest of half the squared norms of each block of codes.
fn block_norms(gpu: &Gpu, norms: &Tensor, k: usize) -> Result<Tensor> {
    let blocks = k.div_ceil(BLOCK);
    let y = Tensor::empty(gpu, &[blocks], DType::F32)?;
    let cost = Work {
        flops: k as f64,
        bytes: 4.0 * (k + blocks) as f64,
    };
    let (kernel, params) = (block_norm_kernel(), [k as u32, blocks as u32]);
    let groups = groups_for(blocks, 64);
    gpu.dispatch("nearest", &kernel, &[norms, &y], &params, groups, cost)?;
    Ok(y)
}

/// One part of [`nearest`](super::nearest): latents [rows, D], codes [K, D] and half their squared
/// norms.
pub(super) fn search(x: &Tensor, codebook: &Tensor, norms: &Tensor, out: &Tensor) -> Result<()> {
    let gpu = x.gpu();
    let ([rows, d], [k, _]) = (x.dims("nearest")?, codebook.dims("nearest")?);
    let (blocks, vec) = (k.div_ceil(BLOCK), d.is_multiple_of(4));
    let (of_codes, of_latents) = (block_norms(gpu, norms, k)?, half_norms(x)?);
    let at_once = latents_at_once(blocks);
    for start in (0..rows).step_by(at_once) {
        let n = at_once.min(rows - start);
        let x = x.view(start * d, &[n, d])?;
        let least = Tensor::empty(gpu, &[n, blocks], DType::F32)?;
        let tile = Tile::pick(gpu, k, work(n, k, d));
        let (groups, tiles, col_tiles) = tile.grid(n, k, 1);
        let [n32, k32, d32, blocks32] = [n, k, d, blocks].map(|v| v as u32);
        let params = Params {
            n: n32,
            k: k32,
            d: d32,
            col_tiles,
            tiles,
            blocks: blocks32,
        };
        let whole = tile.whole(form(vec), form(vec), d);
        let kernel = kernel(tile, vec, whole);
        let bindings = [&x, codebook, norms, &least];
        let cost = work(n, k, d);
        gpu.dispatch("nearest", &kernel, &bindings, &params, groups, cost)?;
        let params = RankParams {
            n: n32,
            k: k32,
            d: d32,
            blocks: blocks32,
            bound: Bound::of(d),
        };
        // Two blocks of each latent, as where codes lie apart.
        let cost = Work {
            flops: 2.0 * (2 * n * BLOCK * d) as f64,
            bytes: 4.0 * (n * (blocks + 2 * BLOCK * d)) as f64,
        };
        let bindings = [
            &x,
            codebook,
            norms,
            &of_latents.view(start, &[n])?,
            &of_codes,
            &least,
            &out.view(start, &[n])?,
        ];
        let groups = groups_for(n, 1);
        gpu.dispatch(
            "nearest",
            &rank_kernel(vec),
            &bindings,
            &params,
            groups,
            cost,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use proptest::prelude::*;

    /// Computes the bound as the shader does, from exact half squared norms.
    fn eps(d: usize, half_x: f32, half_e: f32) -> f32 {
        let Bound {
            flush,
            grow,
            inflate,
        } = Bound::of(d);
        let (u, round) = (2f32.powi(-10), 2f32.powi(-21));
        let [x, e] = [half_x, half_e].map(|h| (2.0 * h).sqrt() * inflate);
        let b = u * e + flush;
        let slope = (1.0 + u) * (b + grow * (e + b)) + (u + round) * e;
        let rest = flush * (1.0 + grow) * (e + b) + 0.5 * round * e * e;
        x * slope + rest
    }

    /// The ways in which a device may make an f16 of an f32.
    fn halves(x: f32) -> [f32; 3] {
        let nearest = f16::from_f32(x);
        let up = nearest.to_f32().abs() > x.abs();
        let toward_zero = if up {
            f16::from_bits(nearest.to_bits() - 1)
        } else {
            nearest
        };
        let flushed = if nearest.to_f32().abs() < 2f32.powi(-14) {
            0.0
        } else {
            nearest.to_f32()
        };
        [nearest.to_f32(), toward_zero.to_f32(), flushed]
    }

    /// Sums of eight exact products, cut (not rounded) to 24 bits of the largest term: what tensor
    /// cores are measured to do (Fasi, Higham, Mikaitis, Pranesh 2021).
    fn cut(x: &[f32], e: &[f32]) -> f32 {
        x.chunks(8).zip(e.chunks(8)).fold(0.0f32, |sum, (x, e)| {
            let terms: Vec<f64> = x
                .iter()
                .zip(e)
                .map(|(x, e)| *x as f64 * *e as f64)
                .chain([sum as f64])
                .collect();
            let largest = terms.iter().fold(0.0f64, |m, t| m.max(t.abs()));
            if largest == 0.0 {
                return 0.0;
            }
            let unit = 2f64.powi(largest.log2().floor() as i32 - 23);
            let whole: f64 = terms.iter().map(|t| (t / unit).trunc()).sum();
            let total = whole * unit;
            // To f32, again by cutting.
            let near = total as f32;
            if (near as f64).abs() > total.abs() {
                f32::from_bits(near.to_bits() - 1)
            } else {
                near
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..Default::default() })]
        #[test]
        fn f16_moves_a_score_by_less_than_the_bound(
            d in 1usize..300,
            scales in (-16i32..10, -16i32..10),
            seed: u64,
            skew in 0usize..3,
        ) {
            let mut rng = crate::spec::Rng::new(seed);
            // Skewed: a few large channels among many small ones, so that sums round most.
            let mut vector = |scale: i32| -> Vec<f32> {
                (0..d)
                    .map(|_| {
                        (rng.normal() * 2f64.powi(scale)) as f32
                            * if rng.below(4) < skew { 1.0 } else { 1e-3 }
                    })
                    .collect()
            };
            let (x, e) = (vector(scales.0), vector(scales.1));
            let half_square = |v: &[f32]| 0.5 * v.iter().fold(0.0f32, |s, x| x.mul_add(*x, s));
            let (half_x, half_e) = (half_square(&x), half_square(&e));
            let exact = half_e - x.iter().zip(&e).fold(0.0f32, |s, (x, e)| x.mul_add(*e, s));
            let eps = self::eps(d, half_x, half_e);
            for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
                let hx: Vec<f32> = x.iter().map(|v| halves(*v)[i]).collect();
                let he: Vec<f32> = e.iter().map(|v| halves(*v)[j]).collect();
                let backwards = hx.iter().zip(&he).rev().fold(0.0, |s, (a, b)| a.mul_add(*b, s));
                for sum in [cut(&hx, &he), backwards] {
                    let score = half_e - sum;
                    prop_assert!(
                        score - eps <= exact && exact <= score + eps,
                        "{score} -+ {eps} misses {exact}"
                    );
                }
            }
            // A block's bound is that of its largest code.
            for larger in [1.0 + f32::EPSILON, 1.5, 1e6] {
                prop_assert!(eps <= self::eps(d, half_x, half_e * larger));
            }
        }
    }

    /// A bound that rules nothing out would pass the test above.
    #[test]
    fn the_bound_is_a_few_thousandths_of_the_norms() {
        for d in [4, 64, 256] {
            assert!(eps(d, 0.5 * d as f32, 0.5 * d as f32) < 4e-3 * d as f32);
        }
    }
}
