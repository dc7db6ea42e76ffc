//! The matrix cores' host side: which core, tile and loading form a problem gets.
//!
//! `shaders/gemm/core.wgsl` says what a kernel on the cores supplies. Nothing else in the crate knows a tile's size.

use super::groups_for;
use crate::gpu::{Coopmat, Core, Gpu, Kernel, Work};

/// How an operand's runs lie in memory, see `shaders/gemm/core.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Four steps along k are one vec4.
    K,
    /// Four rows (or columns) side by side are one vec4.
    M,
    /// Element by element.
    Scalar,
}

/// A core and its tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Lanes of a subgroup; `None` is the `tiled` core, or `coopmat`.
    lanes: Option<u32>,
    /// The variant of the `coopmat` core, if it is that.
    coopmat: Option<Coopmat>,
    /// Rows per invocation.
    v: u32,
    /// Columns per invocation.
    nc: u32,
}

/// The lanes that the `subgroup` core is built and tested for.
pub(crate) const LANES: [u32; 4] = [4, 8, 16, 32];
const NARROW: u32 = 8;
const WIDE: u32 = 32;
const WIDEST: u32 = 64;
/// Operations from which a larger tile is worth its compilation: half a second, and more than a second for the largest.
const LARGE: f64 = 2e8;
const LARGEST: f64 = 1e9;

impl Tile {
    /// The tile for `cols` columns on this device. Larger tiles load less per product but take longer to compile (on
    /// llvmpipe half a second against a fifth), so they go to problems that are worth it.
    pub fn pick(gpu: &Gpu, cols: usize, work: Work) -> Tile {
        if let Some(coopmat) = gpu.coopmat() {
            return Tile::coopmat(coopmat);
        }
        match (gpu.core(), gpu.subgroup_size()) {
            (Core::Subgroup, Some(lanes)) if cols <= NARROW as usize => Tile::narrow(lanes),
            (Core::Subgroup, Some(lanes)) if work.flops < LARGE => Tile::wide(lanes, 4),
            // Columns past the last are computed and thrown away: not more than a quarter of them.
            (Core::Subgroup, Some(lanes))
                if work.flops >= LARGEST && cols.next_multiple_of(WIDEST as usize) * 3 <= cols * 4 =>
            {
                Tile { lanes: Some(lanes), coopmat: None, v: 8, nc: WIDEST }
            }
            (Core::Subgroup, Some(lanes)) => Tile::wide(lanes, 8),
            _ => Tile::TILED,
        }
    }

    const TILED: Tile = Tile { lanes: None, coopmat: None, v: 8, nc: 8 };
    /// The tile of the `coopmat` core.
    pub fn coopmat(coopmat: Coopmat) -> Tile {
        Tile { lanes: None, coopmat: Some(coopmat), v: coopmat.v(), nc: 4 }
    }
    fn narrow(lanes: u32) -> Tile {
        Tile { lanes: Some(lanes), coopmat: None, v: 8, nc: NARROW }
    }
    fn wide(lanes: u32, v: u32) -> Tile {
        Tile { lanes: Some(lanes), coopmat: None, v, nc: WIDE }
    }

    /// Every tile that [`Tile::pick`] can return on any device.
    pub fn all() -> Vec<Tile> {
        let mut all = Tile::exact();
        all.extend(Coopmat::all().into_iter().map(Tile::coopmat));
        all
    }

    /// Those that multiply in f32.
    pub fn exact() -> Vec<Tile> {
        let mut all = vec![Tile::TILED];
        all.extend(LANES.iter().flat_map(|l| {
            [
                Tile::narrow(*l),
                Tile::wide(*l, 4),
                Tile::wide(*l, 8),
                Tile { lanes: Some(*l), coopmat: None, v: 8, nc: WIDEST },
            ]
        }));
        all
    }

    /// Rows of a workgroup's tile.
    pub fn rows(self) -> usize {
        self.lanes.map_or(64, |lanes| (lanes * self.v) as usize)
    }

    /// Columns of a workgroup's tile.
    pub fn cols(self) -> usize {
        if self.lanes.is_some() { self.nc as usize } else { 64 }
    }

    /// Adds the defines of this tile and of the operands' forms.
    pub fn define(self, kernel: Kernel, own: Form, shr: Form) -> Kernel {
        let kernel = kernel
            .define("V", self.v)
            .define("NC", self.nc)
            .define("TILE_ROWS", self.rows() as u32)
            .define("TILE_COLS", self.cols() as u32)
            .define("GROUP", self.lanes.unwrap_or(64))
            .flag("OWN_K", own == Form::K)
            .flag("OWN_M", own == Form::M)
            .flag("OWN_VEC", own != Form::Scalar)
            .flag("SHR_K", shr == Form::K)
            .flag("SHR_M", shr == Form::M)
            .flag("SHR_VEC", shr != Form::Scalar);
        if let Some(coopmat) = self.coopmat {
            return coopmat.define(kernel);
        }
        match self.lanes {
            None => kernel,
            Some(lanes) => {
                let units = if shr == Form::M { self.nc / 4 } else { self.nc };
                let spread = lanes.min(units);
                kernel.define("LANES", lanes).define("SHR_LANES", spread).define("SHR_GROUPS", units / spread)
            }
        }
    }

    /// The grid over `rows` x `cols` outputs, `batch` times: (workgroups, tiles per matrix, tiles along the columns).
    pub fn grid(self, rows: usize, cols: usize, batch: usize) -> ([u32; 3], u32, u32) {
        let col_tiles = cols.div_ceil(self.cols());
        let tiles = rows.div_ceil(self.rows()) * col_tiles;
        let [x, y, _] = groups_for(tiles, 1);
        ([x, y, batch as u32], tiles as u32, col_tiles as u32)
    }
}
