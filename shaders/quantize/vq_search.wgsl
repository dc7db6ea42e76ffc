// index[n] = argmin over k of |x_n - e_k|^2 = argmin over k of  0.5 |e_k|^2 - x_n . e_k;
//   ties go to the lowest k
//
// x (lhs_data): f32 [N, D] (f16 with LHS_HALF, widened), e (rhs_data): [K, D], half_norm: [K] = 0.5
// |e_k|^2, index: u32 [N]. |x|^2 is the same for every k and would only cost digits. On the matrix
// core: rows are latents, columns codes; the tile's sums never leave registers, and the N x K
// matrix never exists. A latent with a NaN gets index 0. Source: van den Oord et al. 2017, eq. 1.
// One workgroup walks all codes for its rows, or (SPLIT, where there are few rows) k_part of them,
// and leaves the best score and its code to vq_search_pick: score and code [S, N]. Reads 4 D
// (N + K N / TILE_ROWS) bytes, writes 4 N, or 8 S N.
struct Params { n: u32, k: u32, d: u32, tiles: u32, k_part: u32 }
var<immediate> p: Params;
@group(0) @binding(2) var<storage, read> half_norm: array<f32>;
#ifdef SPLIT
@group(0) @binding(3) var<storage, read_write> part_score: array<f32>;
@group(0) @binding(4) var<storage, read_write> part_code: array<u32>;
#else
@group(0) @binding(3) var<storage, read_write> index: array<u32>;
#endif

#import quantize/vq_search/rows
#import shared/grid
fn found(part: u32, row: u32, best: f32, code: u32) {
#ifdef SPLIT
    part_score[part * p.n + row] = best;
    part_code[part * p.n + row] = code;
#else
    index[row] = code;
#endif
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    let tile_r0 = tile * TILE_ROWS;
    let t1_begin = 0u; let t1_end = 1u; let t0_end = 1u;
    let k_end = i32(p.d);
#unroll v 0 V
    var best_{v} = 3.4028234e38;
    var code_{v} = 0u;
#end
    let codes_begin = group.z * p.k_part;
    let codes_end = min(codes_begin + p.k_part, p.k);
    for (var tile_c0 = codes_begin; tile_c0 < codes_end; tile_c0 += TILE_COLS) {
#import gemm/accumulate
#unroll c 0 NC
        {
#ifdef WHOLE
            // Past the last code it is the last one again, with the same score.
            let col = min(tile_col + {c/4}u * QUAD_COLS + {c%4}u, p.k - 1u);
            let half = half_norm[col];
#else
            // Past the last code no score can win.
            let col = tile_col + {c/4}u * QUAD_COLS + {c%4}u;
            let half = select(3.4028234e38, half_norm[min(col, p.k - 1u)], col < p.k);
#endif
#unroll v 0 V
            let score_{v} = half - acc_{v}_{c};
            let wins_{v} = score_{v} < best_{v};
            best_{v} = select(best_{v}, score_{v}, wins_{v});
            code_{v} = select(code_{v}, col, wins_{v});
#end
        }
#end
    }
#ifdef LANES
#unroll v 0 V
    {
        let row = tile_row(tile_r0, lane, {v}u);
        if row < p.n { found(group.z, row, best_{v}, code_{v}); }
    }
#end
#else
    // ACROSS invocations share a row, each with its own columns: the lowest code among their best
    // scores. They leave both where tiles were, a code as two halves that f32 has exactly.
    let slot = tile_y(lane) * ACROSS + tile_x(lane);
#unroll v 0 V
    workgroupBarrier();
    lhs_tile[slot] = vec4(best_{v}, f32(code_{v} >> 16u), f32(code_{v} & 0xffffu), 0.0);
    workgroupBarrier();
    if slot % ACROSS == 0u {
        for (var other = slot + 1u; other < slot + ACROSS; other += 1u) {
            let beside = lhs_tile[other];
            let code = (u32(beside.y) << 16u) | u32(beside.z);
            let wins = beside.x < best_{v} || (beside.x == best_{v} && code < code_{v});
            best_{v} = select(best_{v}, beside.x, wins);
            code_{v} = select(code_{v}, code, wins);
        }
        let row = tile_row(tile_r0, lane, {v}u);
        if row < p.n { found(group.z, row, best_{v}, code_{v}); }
    }
#end
#endif
}
