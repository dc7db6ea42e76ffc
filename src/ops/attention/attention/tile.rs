//! The kernels over tiles in workgroup memory: how a workgroup's tile is shared out, and into how
//! many parts a walk falls.

use super::kernels::AttentionPass;
use crate::gpu::kernel::gemm::splits;
use crate::gpu::{Gpu, Kernel, Source};
use crate::shader;

const PASSES: [AttentionPass; 3] = [
    AttentionPass::Forward,
    AttentionPass::Queries,
    AttentionPass::Keys,
];
/// Rows of the other side in workgroup memory at a time.
const BLOCK: usize = 32;
/// Rows that are worth a workgroup of their own, as a part of a walk.
const LEAST_PART: usize = 4 * BLOCK;

/// A workgroup's tile, and how its invocations share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    /// Channels of a head at most.
    channels: usize,
    /// Rows that a workgroup owns.
    pub rows: usize,
    /// Invocations side by side along the walked rows, and along the channels.
    across: u32,
    /// Quarters of four channels of an invocation.
    quads: u32,
    /// Walked rows whose channels lie in workgroup memory together.
    depth: u32,
    /// Whether there is room for the probabilities and their gradients at once.
    both: bool,
    /// Whether it is for channels that are a multiple of four alone: reading others takes
    /// registers.
    vec: bool,
}

const fn tile(channels: usize, rows: usize, across: u32, quads: u32, depth: u32) -> Tile {
    Tile {
        channels,
        rows,
        across,
        quads,
        depth,
        both: false,
        vec: false,
    }
}

const fn both(tile: Tile) -> Tile {
    Tile { both: true, ..tile }
}

const fn vec(tile: Tile) -> Tile {
    Tile { vec: true, ..tile }
}

/// Each within 16 KiB of workgroup memory, all that every device has, and 256 invocations; with as
/// many values in an invocation as no GPU's compiler that was tried puts into memory (128 words on
/// Apple's).
const FORWARD: [Tile; 6] = [
    tile(32, 64, 8, 1, 32),
    tile(64, 64, 8, 2, 16),
    tile(96, 64, 8, 3, 16),
    tile(128, 64, 16, 2, 8),
    tile(192, 32, 16, 3, 8),
    tile(256, 32, 16, 4, 4),
];
const QUERIES: [Tile; 5] = [
    tile(32, 64, 8, 1, 32),
    tile(64, 64, 8, 2, 16),
    tile(128, 64, 16, 2, 8),
    tile(192, 32, 16, 3, 8),
    tile(256, 32, 16, 4, 4),
];
const KEYS: [Tile; 4] = [
    tile(32, 64, 8, 1, 16),
    tile(64, 64, 16, 1, 16),
    vec(both(tile(128, 32, 16, 2, 8))),
    both(tile(256, 32, 32, 2, 4)),
];

fn tiles(pass: AttentionPass) -> &'static [Tile] {
    match pass {
        AttentionPass::Forward => &FORWARD,
        AttentionPass::Queries => &QUERIES,
        AttentionPass::Keys => &KEYS,
    }
}

impl Tile {
    /// Returns the tile for heads of `d` channels.
    pub(super) fn pick(pass: AttentionPass, d: usize) -> Tile {
        let tiles = tiles(pass);
        let fits = tiles
            .iter()
            .find(|tile| tile.channels >= d && (!tile.vec || d.is_multiple_of(4)));
        *fits.unwrap_or(&tiles[tiles.len() - 1])
    }

    pub(super) fn kernel(self, pass: AttentionPass, vec: bool, masked: bool) -> Kernel {
        let source: &'static Source = match pass {
            AttentionPass::Forward => shader!("attention/attention"),
            AttentionPass::Queries => shader!("attention/attention_grad_q"),
            AttentionPass::Keys => shader!("attention/attention_grad_kv"),
        };
        Kernel::new(source)
            .define("TILE_ROWS", self.rows as u32)
            .define("ACROSS", self.across)
            .define("QUADS", self.quads)
            .define("DEPTH", self.depth)
            .define("GROUP", self.across * self.rows as u32 / 4)
            .flag("BOTH", self.both)
            .flag("VEC", vec)
            .flag("MASK", masked)
    }
}

/// Returns every variant.
pub(super) fn kernels() -> impl Iterator<Item = Kernel> {
    PASSES.into_iter().flat_map(|pass| {
        tiles(pass).iter().flat_map(move |tile| {
            [(true, false), (true, true), (false, false), (false, true)]
                .into_iter()
                .filter(|(vec, _)| *vec || !tile.vec)
                .map(move |(vec, masked)| tile.kernel(pass, vec, masked))
        })
    })
}

/// The parts of a walk over `walked` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub count: usize,
    /// Rows of one.
    pub rows: usize,
}

impl Parts {
    pub(super) fn one(walked: usize) -> Parts {
        Parts {
            count: 1,
            rows: walked.next_multiple_of(BLOCK),
        }
    }

    /// Returns so many that there are workgroups to keep the device busy, where there are `tiles`
    /// tiles.
    pub(super) fn of(gpu: &Gpu, tiles: usize, walked: usize) -> Parts {
        Parts::split(splits(gpu, tiles), walked)
    }

    /// Returns at most `wanted`, each long enough.
    pub(super) fn split(wanted: usize, walked: usize) -> Parts {
        let most = wanted.min(walked / LEAST_PART).max(1);
        let rows = walked.div_ceil(most).next_multiple_of(BLOCK);
        Parts {
            count: walked.div_ceil(rows).max(1),
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_fits_a_workgroup() {
        for pass in PASSES {
            for tile in tiles(pass) {
                let group = tile.across as usize * tile.rows / 4;
                let width = (tile.across * tile.quads) as usize;
                // A workgroup holds a whole head, and loads whole rounds of it.
                assert!(4 * width >= tile.channels && group <= 256, "{tile:?}");
                assert_eq!(tile.depth as usize * width % group, 0, "{tile:?}");
                assert_eq!(BLOCK % tile.depth as usize, 0, "{tile:?}");
                let chunk = (5 * (tile.rows + BLOCK)).max(tile.depth as usize * width);
                let weights = BLOCK * (tile.rows / 4 + 1) * (1 + usize::from(tile.both));
                assert!(16 * (chunk + weights) <= 16_384, "{tile:?}");
            }
        }
    }

    #[test]
    fn every_head_has_a_tile_that_holds_it() {
        for pass in PASSES {
            for d in 1..=256 {
                let tile = Tile::pick(pass, d);
                assert!(tile.channels >= d, "{d} channels: {tile:?}");
                let kernel = tile.kernel(pass, d.is_multiple_of(4), false);
                assert!(kernels().any(|k| k == kernel), "{}", kernel.label());
            }
        }
    }

    #[test]
    fn parts_cover_the_walk_once() {
        for walked in [1, 31, 32, 127, 128, 255, 256, 257, 1000, 65_536] {
            assert_eq!(Parts::split(1, walked), Parts::one(walked));
            for wanted in [1, 2, 3, 7, 512] {
                let parts = Parts::split(wanted, walked);
                assert!(parts.count <= wanted && parts.rows.is_multiple_of(BLOCK));
                assert!(parts.count * parts.rows >= walked, "{parts:?} of {walked}");
                assert!(
                    (parts.count - 1) * parts.rows < walked,
                    "{parts:?} of {walked}"
                );
            }
        }
    }
}
