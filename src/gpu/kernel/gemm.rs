//! The matrix cores' host side: which core, tile and loading form a problem gets.
//!
//! `shaders/gemm/core.wgsl` says what a kernel on the cores supplies. Nothing else in the crate
//! knows a tile's size.

use super::coopmat;
use crate::gpu::device::adapter::LANES;
use crate::gpu::{Coopmat, Core, Gpu, Kernel, Work, groups_for};
use std::fmt;

/// The layout of an operand's runs in memory, see `shaders/gemm/core.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperandLayout {
    /// Four steps along k are one vec4.
    K,
    /// Four rows (or columns) side by side are one vec4.
    M,
    /// Element by element.
    Scalar,
}

/// The vendor's number by which Metal and MoltenVK name their GPUs. Honeykrisp has Mesa's.
const APPLE: u32 = 0x106b;

/// A core and its tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// The `subgroup` core: each of `lanes` lanes owns `v` rows, and columns are handed round.
    Subgroup {
        /// Lanes of a subgroup, which is a workgroup.
        lanes: u32,
        /// Rows of a lane.
        v: u32,
        /// Columns of a lane: all of the tile's.
        nc: u32,
    },
    /// The `tiled` core: `down` x `across` invocations of `v` x `nc` outputs, through tiles of
    /// `depth` along k.
    Tiled {
        /// Invocations along the rows.
        down: u32,
        /// Invocations along the columns.
        across: u32,
        /// Rows of an invocation.
        v: u32,
        /// Columns of an invocation.
        nc: u32,
        /// Steps along k in workgroup memory at a time.
        depth: u32,
    },
    /// The `coopmat` core: `size` x `size` outputs, four subgroups.
    Coopmat {
        /// The device's matrices and subgroups.
        matrices: Coopmat,
        /// Rows and columns: 64 or 128.
        size: u32,
    },
}

/// Writes its name in tables: `subgroup 8x64` (rows and columns of a lane), `tiled 128x64 8x8` (of
/// a workgroup, and of an invocation).
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Tile::Subgroup { v, nc, .. } => write!(f, "subgroup {v}x{nc}"),
            Tile::Tiled { v, nc, .. } => {
                write!(f, "tiled {}x{} {v}x{nc}", self.rows(), self.cols())
            }
            Tile::Coopmat { size, .. } => write!(f, "coopmat {size}x{size}"),
        }
    }
}

/// Into how many parts a sum may fall where there are `tiles` tiles, so that there are workgroups
/// to keep the device busy.
pub(crate) fn splits(gpu: &Gpu, tiles: usize) -> usize {
    let wanted: usize = if gpu.info().device_type == wgpu::DeviceType::Cpu {
        8
    } else {
        512
    };
    wanted.div_ceil(tiles.max(1))
}

/// Rows and columns of a lane in the `subgroup` core.
const SUBGROUP: [(u32, u32); 4] = [(8, 8), (4, 32), (8, 32), (8, 64)];
/// (down, across, v, nc, depth) in the `tiled` core. A workgroup has as many invocations as its
/// tile has rows, and as columns, or more; two tiles of each operand stay within the 16 KiB of
/// workgroup memory that every device has.
const TILED: [(u32, u32, u32, u32, u32); 7] = [
    (8, 8, 8, 8, 8),
    (8, 16, 8, 4, 8),
    (16, 4, 4, 4, 16),
    (8, 8, 4, 4, 16),
    (16, 16, 4, 4, 16),
    (16, 8, 8, 8, 8),
    (16, 16, 8, 8, 8),
];

impl Tile {
    /// Returns the tile for `cols` columns on this device, by its table.
    pub(crate) fn pick(gpu: &Gpu, cols: usize, work: Work) -> Tile {
        gpu.tile(cols, work.flops)
    }

    /// The tiles that a device can choose from on one core, the smallest first. Those of the
    /// `coopmat` core depend on its matrices: [`Gpu::tiles_of`] has them.
    pub fn candidates(core: Core, lanes: Option<u32>) -> Vec<Tile> {
        match (core, lanes) {
            (Core::Subgroup, Some(lanes)) => SUBGROUP
                .map(|(v, nc)| Tile::Subgroup { lanes, v, nc })
                .to_vec(),
            (Core::Coopmat, _) => Vec::new(),
            _ => TILED
                .map(|(down, across, v, nc, depth)| Tile::Tiled {
                    down,
                    across,
                    v,
                    nc,
                    depth,
                })
                .to_vec(),
        }
    }

    /// Returns the tile of the `tiled` core that a kernel is made for.
    #[cfg(all(feature = "cli", any(windows, all(unix, not(target_vendor = "apple")))))]
    pub(crate) fn of(kernel: &Kernel) -> Option<Tile> {
        let is = |name, value| kernel.get(name) == Some(value);
        let made = |tile: &Tile| match *tile {
            Tile::Tiled {
                down,
                across,
                v,
                nc,
                depth,
            } => {
                is("GROUP", down * across)
                    && is("ACROSS", across)
                    && is("V", v)
                    && is("NC", nc)
                    && is("TILE_K", depth)
            }
            _ => false,
        };
        Tile::candidates(Core::Tiled, None).into_iter().find(made)
    }

    /// Whether the sums of an invocation leave a GPU registers enough for everything else: those of
    /// Apple have 255 halves, of which 8 x 8 sums take 128.
    pub fn suits(self, adapter: &wgpu::AdapterInfo) -> bool {
        let apple = adapter.vendor == APPLE || adapter.name.starts_with("Apple");
        !(apple && matches!(self, Tile::Tiled { v: 8, nc: 8, .. }))
    }

    /// Every tile that any device can use.
    pub(crate) fn all() -> Vec<Tile> {
        let mut all = Tile::exact();
        all.extend(Coopmat::all().into_iter().flat_map(Coopmat::tiles));
        all
    }

    /// Returns the tiles that multiply in f32.
    pub(crate) fn exact() -> Vec<Tile> {
        let mut all = Tile::candidates(Core::Tiled, None);
        all.extend(
            LANES
                .iter()
                .flat_map(|lanes| Tile::candidates(Core::Subgroup, Some(*lanes))),
        );
        all
    }

    /// Rows of a workgroup's tile.
    pub fn rows(self) -> usize {
        match self {
            Tile::Subgroup { lanes, v, .. } => (lanes * v) as usize,
            Tile::Tiled { down, v, .. } => (down * v) as usize,
            Tile::Coopmat { size, .. } => size as usize,
        }
    }

    /// Columns of a workgroup's tile.
    pub fn cols(self) -> usize {
        match self {
            Tile::Subgroup { nc, .. } => nc as usize,
            Tile::Tiled { across, nc, .. } => (across * nc) as usize,
            Tile::Coopmat { size, .. } => size as usize,
        }
    }

    /// Is a sum over `k` steps whole tiles along k, so that the kernel need not compare (WHOLE in
    /// `shaders/gemm/core.wgsl`)? Operands that are read element by element are not.
    pub(crate) fn whole(self, lhs: OperandLayout, rhs: OperandLayout, k: usize) -> bool {
        let vec = lhs != OperandLayout::Scalar && rhs != OperandLayout::Scalar;
        let depth = match self {
            Tile::Tiled { depth, .. } => depth as usize,
            Tile::Coopmat { .. } => coopmat::TILE_K,
            Tile::Subgroup { .. } => return false,
        };
        vec && k > 0 && k.is_multiple_of(depth)
    }

    /// Adds the defines of a sum over several runs (see `shaders/gemm/core.wgsl`): whether these
    /// are [`whole`](Tile::whole) tiles along k, and if so what is still compared of the rows'.
    pub(crate) fn define_runs(self, kernel: Kernel, whole: bool, still: &'static str) -> Kernel {
        kernel
            .flag("RUNS", matches!(self, Tile::Tiled { .. }))
            .flag("WHOLE", whole)
            .flag(still, whole)
    }

    /// Can there be a variant for [`whole`](Tile::whole) tiles?
    pub(crate) fn has_whole(self, lhs: OperandLayout, rhs: OperandLayout) -> bool {
        self.whole(lhs, rhs, 1 << 16)
    }

    /// Whether sums can leave matrices for memory without a way through workgroup memory: as f32,
    /// four side by side, with nothing added (DIRECT in `shaders/gemm/store_tile.wgsl`). Metal
    /// counts strides otherwise, and its matrices are those of 8 x 8.
    pub(crate) fn direct(self, plain: bool) -> bool {
        plain && matches!(self, Tile::Coopmat { matrices, .. } if matrices.side == 16)
    }

    /// Adds the defines of this tile and of the operands' forms.
    pub(crate) fn define(self, kernel: Kernel, lhs: OperandLayout, rhs: OperandLayout) -> Kernel {
        let kernel = kernel
            .define("TILE_ROWS", self.rows() as u32)
            .define("TILE_COLS", self.cols() as u32)
            .flag("LHS_K", lhs == OperandLayout::K)
            .flag("LHS_M", lhs == OperandLayout::M)
            .flag("LHS_VEC", lhs != OperandLayout::Scalar)
            .flag("RHS_K", rhs == OperandLayout::K)
            .flag("RHS_M", rhs == OperandLayout::M)
            .flag("RHS_VEC", rhs != OperandLayout::Scalar);
        match self {
            Tile::Coopmat { matrices, size } => matrices.define(kernel, size),
            Tile::Tiled {
                down,
                across,
                v,
                nc,
                depth,
            } => kernel
                .define("V", v)
                .define("NC", nc)
                .define("GROUP", down * across)
                .define("ACROSS", across)
                .define("TILE_K", depth),
            Tile::Subgroup { lanes, v, nc } => {
                let units = if rhs == OperandLayout::M { nc / 4 } else { nc };
                let spread = lanes.min(units);
                let kernel = kernel
                    .define("V", v)
                    .define("NC", nc)
                    .define("GROUP", lanes)
                    .define("LANES", lanes);
                kernel
                    .define("RHS_LANES", spread)
                    .define("RHS_GROUPS", units / spread)
            }
        }
    }

    /// Returns the grid over `rows` x `cols` outputs, `batch` times: (workgroups, tiles per matrix,
    /// tiles along the columns).
    pub(crate) fn grid(self, rows: usize, cols: usize, batch: usize) -> ([u32; 3], u32, u32) {
        let col_tiles = cols.div_ceil(self.cols());
        let tiles = rows.div_ceil(self.rows()) * col_tiles;
        let [x, y, _] = groups_for(tiles, 1);
        ([x, y, batch as u32], tiles as u32, col_tiles as u32)
    }
}
