//! The kernels' side of the `coopmat` core: the defines of its variants.

use super::pipelines::Kernel;
use crate::gpu::Coopmat;

impl Coopmat {
    /// Returns the defines of `shaders/gemm/coopmat.wgsl`, for a tile of 64 x 64.
    pub(crate) fn define(self, kernel: Kernel) -> Kernel {
        let Coopmat { side, lanes } = self;
        let kernel = kernel
            .define("V", self.v())
            .define("NC", 4)
            .define("TILE_ROWS", 64)
            .define("TILE_COLS", 64);
        let kernel = kernel
            .define("GROUP", 4 * lanes)
            .define("SIDE", side)
            .define("SUBGROUP", lanes);
        kernel
            .define("STAGE", lanes.max(2 * side))
            .define("ROW_LANES", (lanes / 16).max(1))
            .define("ROW_EACH", (16 / lanes).max(1))
    }
}
