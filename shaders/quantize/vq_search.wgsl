// index[n] = argmin over k of |x_n - e_k|^2 = argmin over k of  0.5 |e_k|^2 - x_n . e_k;
//   ties go to the lowest k
//
// x (lhs_data): f32 [N, D] (f16 with LHS_HALF, widened), e (rhs_data): [K, D], half_norm: [K] = 0.5
// |e_k|^2, index: u32 [N]. |x|^2 is the same for every k and would only cost digits. On the matrix
// core: rows are latents, columns codes; the tile's sums never leave registers, and the N x K
// matrix never exists. A latent with a NaN gets index 0. Source: van den Oord et al. 2017, eq. 1.
// One workgroup walks all codes for its rows, or (SPLIT, where there are few rows) k_part of them,
// and leaves the best score and its code to vq_search_pick: score and code [S, N]. WHOLE also says
// that K is a multiple of 4, and no less than TILE_COLS: half_norm is read as vec4. Reads 4 D
// (N + K N / TILE_ROWS) bytes, writes 4 N, or 8 S N.
struct Params { n: u32, k: u32, d: u32, tiles: u32, k_part: u32 }
var<immediate> p: Params;
#ifdef WHOLE
@group(0) @binding(2) var<storage, read> half_norm: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read> half_norm: array<f32>;
#endif
#import quantize/vq_search/found
#import quantize/vq_search/rows
#import shared/grid

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
#ifdef LANES
    for (var tile_c0 = codes_begin; tile_c0 < codes_end; tile_c0 += TILE_COLS) {
#import gemm/accumulate
#unroll c 0 NC
        {
            // Past the last code no score can win.
            let col = tile_col + {c/4}u * QUAD_COLS + {c%4}u;
            let half = select(3.4028234e38, half_norm[min(col, p.k - 1u)], col < p.k);
#unroll v 0 V
            let score_{v} = half - acc_{v}_{c};
            let wins_{v} = score_{v} < best_{v};
            best_{v} = select(best_{v}, score_{v}, wins_{v});
            code_{v} = select(code_{v}, col, wins_{v});
#end
        }
#end
    }
#else
    // One walk over the tiles along k of all codes, so that the first of the next codes is loaded
    // while the last of these is multiplied. The last codes end with the last one, and may have
    // some of those before again, which then score the same; where there are fewer than columns,
    // the last stands for those that there are not. So nothing in the walk is compared with K.
    let last_c0 = max(p.k, TILE_COLS) - TILE_COLS;
    let tile_c0 = min(codes_begin, last_c0);
    var c0 = tile_c0;
#import gemm/tiled/begin
#ifdef RHS_VEC
    let rhs_codes = i32(TILE_COLS * p.d / 4u);
    let rhs_last = i32((last_c0 - tile_c0) * p.d / 4u);
#else
    let rhs_codes = i32(TILE_COLS * p.d);
    let rhs_last = i32((last_c0 - tile_c0) * p.d);
#endif
    var rhs_next = 0;
    for (var walked = codes_begin; walked < codes_end; walked += TILE_COLS) {
#unroll v 0 V
#unroll c 0 NC
        acc_{v}_{c} = 0.0;
#end
#end
        // Behind the last steps of these codes come the first of the next, or of the last again.
        let near = c0 + TILE_COLS < last_c0;
        let next_c0 = select(last_c0, c0 + TILE_COLS, near);
        rhs_next = select(rhs_last, rhs_next + rhs_codes, near);
#ifdef WHOLE
        let from_half = tile_x(lane) + c0 / 4u;
#else
        let from_half = 4u * tile_x(lane) + c0;
#endif
        loop {
            k += i32(TILE_K);
            let done = k >= k_end;
            k = select(k, 0, done);
            lhs_walk = select(lhs_walk + lhs_stride, 0, done);
            rhs_walk = select(rhs_walk + rhs_stride, rhs_next, done);
#import gemm/tiled/turn
            continuing {
                break if done;
            }
        }
#unroll q 0 NC/4
#ifdef WHOLE
        let half_{q} = half_norm[from_half + {q}u * ACROSS];
#else
        let half_{q} = vec4<f32>(
#unroll j 0 4
            half_norm[min(from_half + ({q}u * QUAD_COLS + {j}u), p.k - 1u)],
#end
        );
#endif
#end
#unroll c 0 NC
        {
            let col = c0 + ({c/4}u * QUAD_COLS + {c%4}u);
#unroll v 0 V
            let score_{v} = half_{c/4}[{c%4}] - acc_{v}_{c};
            code_{v} = select(code_{v}, col, score_{v} < best_{v});
            best_{v} = min(best_{v}, score_{v});
#end
        }
#end
        c0 = next_c0;
    }
    // What was kept is a code as the first invocation of a row has it.
#unroll v 0 V
    code_{v} = min(code_{v} + 4u * tile_x(lane), p.k - 1u);
#end
#endif
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
    lhs_tile[slot] =
        array<f32, 4>(best_{v}, f32(code_{v} >> 16u), f32(code_{v} & 0xffffu), 0.0);
    workgroupBarrier();
    if slot % ACROSS == 0u {
        for (var other = slot + 1u; other < slot + ACROSS; other += 1u) {
            let beside = lhs_read(other);
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
