//! The kernels' side of the `coopmat` core: its tiles, and the defines of its variants.

use super::gemm::Tile;
use super::pipelines::Kernel;
use crate::gpu::Coopmat;
use crate::shader;

/// Steps along k in workgroup memory at a time, at most.
pub(crate) const TILE_K: usize = 32;

/// Steps along k in workgroup memory at a time. Half of them where an invocation has 128 sums of
/// 128 x 128 and compares what it loads: the next tile would not fit into the 255 registers of a
/// GeForce.
fn depth(size: u32, lanes: u32, whole: bool) -> u32 {
    if size == 128 && lanes == 32 && !whole {
        16
    } else {
        TILE_K as u32
    }
}

impl Coopmat {
    /// Returns its tiles, the smallest first. Tiles of 128 x 128 keep 64 x 64 sums a subgroup in
    /// registers: too many for matrices of 8 x 8, or for few lanes.
    pub(crate) fn tiles(self) -> Vec<Tile> {
        let sizes: &[u32] = match self.side == 16 && self.lanes >= 32 {
            true => &[64, 128],
            false => &[64],
        };
        sizes
            .iter()
            .map(|size| Tile::Coopmat {
                matrices: self,
                size: *size,
            })
            .collect()
    }

    /// Returns the invocations of a workgroup: those of four subgroups.
    pub(crate) fn group(self) -> u32 {
        4 * self.lanes
    }

    /// Adds the defines of `shaders/gemm/coopmat_cells.wgsl`. Cells of workgroup memory may be
    /// `quads` where one invocation stores all of each.
    pub(crate) fn define_matrices(self, kernel: Kernel, quads: bool) -> Kernel {
        kernel
            .define("GROUP", self.group())
            .define("SIDE", self.side)
            .define("SUBGROUP", self.lanes)
            .flag("QUADS", quads && self.side == 16)
            .flag("EMULATE", self.emulated)
    }

    /// Returns the kernel by which the test at opening adds products to sums from workgroup memory,
    /// if the matrices are real ones: in workgroups like those of the kernels that it vouches for.
    pub(crate) fn product_sum_kernel(self) -> Option<Kernel> {
        let kernel = Kernel::new(shader!("linalg/product_sum_coopmat"));
        (!self.emulated).then(|| self.define_matrices(kernel, true))
    }

    /// Returns the defines of `shaders/gemm/coopmat.wgsl`, for a tile of `size` x `size`, of a
    /// kernel that has its WHOLE.
    pub(crate) fn define(self, kernel: Kernel, size: u32) -> Kernel {
        let group = self.group();
        let depth = depth(size, self.lanes, kernel.get("WHOLE").is_some());
        // Where invocations that read along the lines have fewer steps than a quad holds, several
        // would store its components, and a compiler may make each of those a store of the quad.
        let along_lines = kernel.get("LHS_M").or(kernel.get("RHS_M")).is_some();
        let quads = !along_lines || (depth * size / (4 * group)).is_multiple_of(4);
        let kernel = kernel
            .define("V", size * 16 / group)
            .define("NC", size / 16)
            .define("TILE_K", depth)
            .define("LINE_LANES", depth / 8);
        self.define_matrices(kernel, quads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every output of a tile belongs to one invocation: the layout that tile_row and tile_col
    /// spell in WGSL.
    #[test]
    fn invocations_share_the_tile_without_overlap() {
        for (c, tile) in Coopmat::all()
            .into_iter()
            .flat_map(|c| c.tiles().into_iter().map(move |tile| (c, tile)))
        {
            let (size, group) = (tile.rows(), c.group() as usize);
            let (stage, v, nc) = (512 / group, size * 16 / group, size / 16);
            let mut owners = vec![0; size * size];
            for (lane, v, c) in
                (0..group).flat_map(|l| (0..v).flat_map(move |v| (0..nc).map(move |c| (l, v, c))))
            {
                let row = v / stage * 32 + v % stage * (group / 16) + lane / 16;
                owners[row * size + lane % 16 * 4 + c / 4 * 64 + c % 4] += 1;
            }
            assert!(owners.iter().all(|n| *n == 1), "{tile} of {c:?}");
            // Whatever loads a tile divides it.
            for whole in [false, true] {
                let depth = depth(size as u32, c.lanes, whole) as usize;
                // Quads of a tile, and lines in a pass over them.
                assert_eq!(depth * size / 4 % group, 0, "{tile} of {c:?}");
                assert_eq!(depth / 8 * size % group, 0, "{tile} of {c:?}");
            }
        }
    }
}
