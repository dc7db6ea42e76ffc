//! The kernels over cooperative matrices, for the `coopmat` core: which heads they take, and how a
//! workgroup shares its tile.

use super::kernels::AttentionPass;
use crate::gpu::{Coopmat, Kernel, Source};
use crate::shader;

const PASSES: [AttentionPass; 3] = [
    AttentionPass::Forward,
    AttentionPass::Queries,
    AttentionPass::Keys,
];
/// The channels of a head that kernels are made for; others round up, and heads of more go to the
/// tiles of f32. Owned rows of more do not fit workgroup memory beside what a block takes: those of
/// both operands, in the gradients. Forward alone, other scores would give the log-sum-exp than
/// make the probabilities again.
const CHANNELS: [u32; 3] = [32, 64, 128];

/// A workgroup's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    matrices: Coopmat,
    /// Channels of a head at most.
    channels: u32,
    /// Rows that a workgroup owns.
    pub rows: usize,
}

impl Tile {
    fn new(matrices: Coopmat, pass: AttentionPass, channels: u32) -> Tile {
        // At least an invocation to a row, and half a tile to a subgroup: with more rows, what is
        // read of the walked ones serves more products.
        let many = pass == AttentionPass::Forward && channels <= 64 && matrices.group() >= 64;
        Tile {
            matrices,
            channels,
            rows: if many { 64 } else { 32 },
        }
    }

    /// Returns the tile for heads of `d` channels, if there is one.
    pub(super) fn pick(matrices: Coopmat, pass: AttentionPass, d: usize) -> Option<Tile> {
        let channels = CHANNELS.into_iter().find(|c| *c as usize >= d)?;
        Some(Tile::new(matrices, pass, channels))
    }

    pub(super) fn kernel(self, pass: AttentionPass, vec: bool, masked: bool) -> Kernel {
        let source: &'static Source = match pass {
            AttentionPass::Forward => shader!("attention/attention_coopmat"),
            AttentionPass::Queries => shader!("attention/attention_grad_q_coopmat"),
            AttentionPass::Keys => shader!("attention/attention_grad_kv_coopmat"),
        };
        let kernel = Kernel::new(source)
            .define("TILE_ROWS", self.rows as u32)
            .define("CHANNELS", self.channels)
            .define("CHUNK", self.channels.min(64))
            .flag("VEC", vec)
            .flag("MASK", masked);
        self.matrices.define_matrices(kernel, true)
    }
}

/// Returns every variant.
pub(super) fn kernels() -> impl Iterator<Item = Kernel> {
    Coopmat::all()
        .into_iter()
        .flat_map(|matrices| {
            PASSES.into_iter().flat_map(move |pass| {
                CHANNELS.into_iter().flat_map(move |channels| {
                    let tile = Tile::new(matrices, pass, channels);
                    [(true, false), (true, true), (false, false), (false, true)]
                        .map(|(vec, masked)| tile.kernel(pass, vec, masked))
                })
            })
        })
        // By which a device is tested for what the forward kernel alone asks of matrices.
        .chain(
            Coopmat::all()
                .into_iter()
                .filter_map(Coopmat::product_sum_kernel),
        )
}

#[cfg(test)]
mod tests {
    use super::super::reference::{self, Sizes};
    use super::super::{Attention, attention};
    use super::*;
    use crate::gpu::device::coopmat::MEMORY;
    use crate::gpu::{Core, Gpu, Options, Tensor};
    use crate::spec::Rng;

    /// Bytes of workgroup memory: as the kernels declare it, see
    /// `shaders/attention/attention/coopmat/memory.wgsl`.
    fn bytes(tile: Tile, pass: AttentionPass) -> u32 {
        let (rows, channels, chunk) = (tile.rows as u32, tile.channels, tile.channels.min(64));
        let (owned, others) = match pass {
            AttentionPass::Forward => (1, 4 * tile.matrices.group() + 4),
            AttentionPass::Queries => (2, 0),
            AttentionPass::Keys => (2, 2 * 4 * 32),
        };
        let halves = owned * rows * (channels + 8)
            + (32 * (chunk + 8)).max(chunk * (32 + 8))
            + rows * (32 + 8);
        2 * halves + 4 * rows * (32 + 4) + others
    }

    #[test]
    fn every_tile_fits_a_workgroup() {
        for matrices in Coopmat::all() {
            for (pass, channels) in PASSES
                .into_iter()
                .flat_map(|pass| CHANNELS.map(|channels| (pass, channels)))
            {
                let tile = Tile::new(matrices, pass, channels);
                let (rows, group) = (tile.rows as u32, matrices.group());
                assert!(bytes(tile, pass) <= MEMORY, "{tile:?}");
                // A row has one invocation or a few, each of which has whole quads of a block.
                assert!(
                    group.is_multiple_of(rows) && group / rows <= 8,
                    "{tile:?} of {group}"
                );
                // Rounds of a chunk of the block's rows are whole.
                assert_eq!(8 * channels.min(64) % group, 0, "{tile:?}");
            }
        }
    }

    #[test]
    fn heads_up_to_128_channels_have_a_tile() {
        let matrices = Coopmat::all()[0];
        for pass in PASSES {
            for d in 1..=128 {
                let tile = Tile::pick(matrices, pass, d).unwrap();
                assert!(tile.channels as usize >= d, "{d} channels: {tile:?}");
                let kernel = tile.kernel(pass, d.is_multiple_of(4), false);
                assert!(kernels().any(|k| k == kernel), "{}", kernel.label());
            }
            assert_eq!(Tile::pick(matrices, pass, 129), None);
        }
    }

    /// Scores that grow along the keys, so that sums are brought down on the way: the cases of the
    /// registry have scores near 1, of which no later block's are so much larger.
    #[test]
    fn sums_are_brought_down_where_scores_grow() {
        let gpu = Gpu::new(Options {
            core: Some(Core::Coopmat),
            emulated_matrices: Some((8, 8)),
            ..Default::default()
        });
        let Ok(gpu) = gpu else { return };
        let (h, tq, tk, d) = (2, 37, 100, 12);
        let mut rng = Rng::new(7);
        // Numbers that f16 has.
        let mut values = |t: usize, grows: bool| -> Vec<f32> {
            let of = |j: usize| if grows { 1.0 + j as f64 / 2.0 } else { 1.0 };
            let one = |i: usize| (rng.normal() * of(i / d % t) * 8.0).round() as f32 / 8.0;
            (0..h * t * d).map(one).collect()
        };
        let (q, k, v) = (values(tq, false), values(tk, true), values(tk, false));
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
        let (q64, k64, v64) = (wide(&q), wide(&k), wide(&v));
        let of = |shape: [usize; 4], x: &[f32]| Tensor::from_slice(&gpu, &shape, x).unwrap();
        let [q, k, v] = [
            of([1, h, tq, d], &q),
            of([1, h, tk, d], &k),
            of([1, h, tk, d], &v),
        ];
        for options in [Attention::FULL, Attention::CAUSAL] {
            let sees: Vec<bool> = (0..tq * tk)
                .map(|at| !options.causal || at % tk + tq <= at / tk + tk)
                .collect();
            let sizes = Sizes {
                images: 1,
                heads: h,
                tq,
                tk,
                d,
                sees: &sees,
            };
            let scale = 1.0 / (d as f64).sqrt();
            let (want, want_lse) = reference::forward(&q64, &k64, &v64, scale, sizes);
            // The kernel moves a row's top where a score is 2^8 above the largest that set it.
            let largest = |row: usize, keys: std::ops::Range<usize>| {
                let score = |j: usize| -> f64 {
                    (0..d)
                        .map(|c| q64[row * d + c] * k64[j * d + c])
                        .sum::<f64>()
                        * scale
                };
                keys.map(score).fold(f64::NEG_INFINITY, f64::max)
            };
            let grow = (0..tq)
                .filter(|row| largest(*row, 64..64 + 20) - largest(*row, 0..64) > 8.0)
                .count();
            assert!(grow > tq / 4, "of {grow} rows the scores grow");
            let (o, lse) = attention(&q, &k, &v, options).unwrap();
            let used = gpu.kernels_in_use();
            assert!(used.iter().any(|k| k.starts_with("attention_coopmat(")));
            for (got, want) in o.read::<f32>().unwrap().iter().zip(&want) {
                // 2^-11 of the largest value, and what f32 loses of scores of several hundred.
                assert!((f64::from(*got) - want).abs() <= 4e-3, "{got}, not {want}");
            }
            for (got, want) in lse.read::<f32>().unwrap().iter().zip(&want_lse) {
                let near = 1e-5 * (1.0 + want.abs());
                assert!((f64::from(*got) - want).abs() <= near, "{got}, not {want}");
            }
        }
    }
}
