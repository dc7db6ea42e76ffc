// index[n] = argmin over k of |x_n - e_k|^2 = argmin over k of  0.5 |e_k|^2 - x_n . e_k;  ties go to the lowest k
//
// x (own_data): f32 [N, D] (f16 with OWN_HALF, widened), e (shr_data): [K, D], half_norm: [K] = 0.5 |e_k|^2, index: u32 [N]. |x|^2 is the same for every
// k and would only cost digits. On the matrix core: rows are latents, columns codes; the tile's sums never leave
// registers, and the N x K matrix never exists. A latent with a NaN gets index 0. Source: van den Oord et al. 2017, eq. 1.
// One workgroup walks all codes for its rows. Reads 4 D (N + K N / TILE_ROWS) bytes, writes 4 N.
struct Params { n: u32, k: u32, d: u32, tiles: u32 }
var<immediate> p: Params;
#import gemm/operands
@group(0) @binding(2) var<storage, read> half_norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> index: array<u32>;

struct Own { run: Run }
struct Shr { run: Run }
fn own_begin(row: u32) -> Own { return Own(Run(i32(row * p.d), 1, 0, select(0, i32(p.d), row < p.n))); }
fn own_run(own: Own, t1: u32, t0: u32) -> Run { return own.run; }
fn shr_begin(col: u32) -> Shr { return Shr(Run(i32(col * p.d), 1, 0, select(0, i32(p.d), col < p.k))); }
fn shr_run(shr: Shr, t1: u32, t0: u32) -> Run { return shr.run; }
#import gemm/core
#import shared/grid
#ifndef LANES
var<workgroup> scores: array<f32, GROUP>;
var<workgroup> codes: array<u32, GROUP>;
#endif

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
    for (var tile_c0 = 0u; tile_c0 < p.k; tile_c0 += TILE_COLS) {
#import gemm/accumulate
#unroll c 0 NC
        {
            // Past the last code no score can win.
            let col = tile_col + {c}u;
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
#ifdef LANES
#unroll v 0 V
    {
        let row = tile_row(tile_r0, lane, {v}u);
        if row < p.n { index[row] = code_{v}; }
    }
#end
#else
    // ACROSS invocations share a row, each with its own columns: the lowest code among their best scores.
#unroll v 0 V
    workgroupBarrier();
    scores[lane] = best_{v};
    codes[lane] = code_{v};
    workgroupBarrier();
    if lane % ACROSS == 0u {
        for (var other = lane + 1u; other < lane + ACROSS; other += 1u) {
            let wins = scores[other] < best_{v} || (scores[other] == best_{v} && codes[other] < code_{v});
            best_{v} = select(best_{v}, scores[other], wins);
            code_{v} = select(code_{v}, codes[other], wins);
        }
        let row = tile_row(tile_r0, lane, {v}u);
        if row < p.n { index[row] = code_{v}; }
    }
#end
#endif
}
