// least[n,b] = min over the codes k of block b of  H[n,k] = 0.5 |e_k|^2 - f16(x_n) . f16(e_k)
//
// The pass of vq_search over cooperative matrices: of every 64 codes, a block, the least score as
// f16 operands give it. vq_search_rank then has the blocks that can win, and the f32 search's
// index.
//
// x (lhs_data): f32 [N, D], e (rhs_data): [K, D], half_code: [K] = 0.5 |e_k|^2, least: [N, blocks].
// On the matrix core: rows are latents, columns codes. Reads 4 D (N K / TILE_COLS +
// K N / TILE_ROWS) bytes, writes 4 N K / 64.
struct Params { n: u32, k: u32, d: u32, col_tiles: u32, tiles: u32, blocks: u32 }
var<immediate> p: Params;
@group(0) @binding(2) var<storage, read> half_code: array<f32>;
@group(0) @binding(3) var<storage, read_write> least: array<f32>;

#import quantize/vq_search/rows
#import shared/grid

const MAX = 3.4028234e38;
const SHARE = GROUP / 32u;           // invocations that share a row of a stage

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    let tile_r0 = tile / p.col_tiles * TILE_ROWS;
    let tile_c0 = tile % p.col_tiles * TILE_COLS;
    let t1_begin = 0u; let t1_end = 1u; let t0_end = 1u;
    let k_end = i32(p.d);
#import gemm/accumulate
    // Every SHARE-th column of a row is one invocation's, so that its neighbours read from other
    // banks; its least it leaves in the first of its own.
    let line = lane / SHARE * FLOATS + lane % SHARE;
#unroll h 0 TILE_COLS/64
    {
        let first_code = tile_c0 + {64*h}u;
#unroll c 0 2048/GROUP
        let code_{c} = first_code + lane % SHARE + {c}u * SHARE;
        let half_{c} = select(MAX, half_code[min(code_{c}, p.k - 1u)], code_{c} < p.k);
#end
#unroll t 0 TILE_ROWS/32
#import gemm/coopmat_stage
        {
            var low = MAX;
#unroll c 0 2048/GROUP
            low = min(low, half_{c} - sums[line + {c}u * SHARE]);
#end
            sums[line] = low;
            workgroupBarrier();
            let row = tile_r0 + {32*t}u + lane;
            if lane < 32u && row < p.n && first_code < p.k {
                var all = sums[lane * FLOATS];
                for (var i = 1u; i < SHARE; i += 1u) { all = min(all, sums[lane * FLOATS + i]); }
                least[row * p.blocks + first_code / 64u] = select(nothing, all, whole);
            }
        }
#end
    }
#end
}
