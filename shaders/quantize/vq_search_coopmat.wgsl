// index[n] = argmin over k of  S[n,k] = 0.5 |e_k|^2 - x_n . e_k  as the f32 cores round it;
//   ties go to the lowest k
//
// vq_search on cooperative matrices, with the same result: x_n . e_k is found with f16 operands,
// which gives H[n,k], and S is computed in f32, in the f32 cores' order, for every code that H
// cannot rule out. With a bound eps on |H - S| the winner w has H_w - eps_w <= S_w <= S_j <= H_j +
// eps_j for all j, so a code whose H - eps exceeds the least H + eps seen so far has lost, ties
// included. The bound need not be the final one, so one walk over the codes does both, and it holds
// whatever order the matrices sum in. With codes in random order about ln K of them are re-ranked
// per latent. Keeping the best M for a second kernel would need a way out for latents with more
// than M; a second walk would cost the matrices twice.
//
// eps, with X >= |x|, E >= |e|, u = 2^-10 (f16 rounded either way), flush = 2^-14 sqrt(D)
// (f16's subnormals may become 0):
//     |f16(x) - x| <= a = u X + flush,
//       |f16(e) - e| <= b = u E + flush                                      as vectors, so
//     |f16(x) . f16(e) - x . e| <= (X + a) b
//         + a E                                                   by Cauchy and Schwarz;
// summing D exact products, each step good to 2^-22 of the largest partial sum, and the f32 sum of
//         S:
//         <= grow (X + a) (E + b),  grow = (D + 32) 2^-21;
//     the roundings of 0.5 |e|^2 - sum, of H -+ eps and of eps:  <= 2^-21 (0.5 E^2 + X E).
// Together eps = X slope(E) + rest(E). Norms from 60,000 on could overflow f16: such pairs are
//     always computed in f32.
//
// x (lhs_data): f32 [N, D], e (rhs_data): [K, D], half_code: [K] = 0.5 |e_k|^2, half_latent: [N]
// likewise, index: u32 [N]. One workgroup walks all codes for 64 latents. A latent with a NaN gets
// index 0. Reads 4 D (N + K N / 64) bytes, writes 4 N.
struct Params { n: u32, k: u32, d: u32, tiles: u32, flush: f32, grow: f32, inflate: f32 }
var<immediate> p: Params;
@group(0) @binding(2) var<storage, read> half_code: array<f32>;
@group(0) @binding(3) var<storage, read> half_latent: array<f32>;
@group(0) @binding(4) var<storage, read_write> index: array<u32>;

#import quantize/vq_search/rows
#import shared/grid

const MAX = 3.4028234e38;
const MAX_ORDERED = 0xff7fffffu;     // ordered(MAX)
const SAFE = 6e4;
const U = 0.0009765625;              // 2^-10
const ROUND = 4.7683716e-7;          // 2^-21
// By row of the tile: the least upper bound, in the end the least score; and the first code that
// has it.
var<workgroup> least: array<atomic<u32>, 64>;
var<workgroup> first: array<atomic<u32>, 64>;

// Unsigned numbers in the order of floats, so that atomics find a minimum.
fn ordered(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn unordered(u: u32) -> f32 { return bitcast<f32>(select(~u, u & 0x7fffffffu, u >= 0x80000000u)); }

// An upper bound of a norm, from half its rounded square.
fn norm(half: f32) -> f32 { return sqrt(2.0 * half) * p.inflate; }
fn slope(e: f32) -> f32 {
    let b = U * e + p.flush;
    return (1.0 + U) * (b + p.grow * (e + b)) + (U + ROUND) * e;
}
fn rest(e: f32) -> f32 {
    let b = U * e + p.flush;
    return p.flush * (1.0 + p.grow) * (e + b) + 0.5 * ROUND * e * e;
}

// x . e in the order of the f32 cores: one sum, along d.
fn dot_exact(row: u32, col: u32) -> f32 {
    var sum = 0.0;
#ifdef LHS_VEC
    for (var i = 0u; i < p.d / 4u; i += 1u) {
        let x = lhs_data[row * (p.d / 4u) + i];
        let e = rhs_data[col * (p.d / 4u) + i];
        sum = fma(x.w, e.w, fma(x.z, e.z, fma(x.y, e.y, fma(x.x, e.x, sum))));
    }
#else
    for (var i = 0u; i < p.d; i += 1u) {
        sum = fma(lhs_data[row * p.d + i], rhs_data[col * p.d + i], sum);
    }
#endif
    return sum;
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let tile = linear_group(group, groups);
    if tile >= p.tiles { return; }
    let tile_r0 = tile * TILE_ROWS;
    let t1_begin = 0u; let t1_end = 1u; let t0_end = 1u;
    let k_end = i32(p.d);
    for (var i = lane; i < 64u; i += GROUP) { atomicStore(&least[i], MAX_ORDERED); }
#unroll v 0 V
    let norm_{v} = norm(half_latent[min(tile_row(tile_r0, lane, {v}u), p.n - 1u)]);
    var best_{v} = MAX;
    var code_{v} = 0u;
#end
    for (var tile_c0 = 0u; tile_c0 < p.k; tile_c0 += TILE_COLS) {
#import gemm/accumulate
#unroll v 0 V
#import gemm/sums
#end
#unroll c 0 4
        let half_{c} = half_code[min(tile_col + {c}u, p.k - 1u)];
        let exists_{c} = tile_col + {c}u < p.k;
        let e_{c} = norm(half_{c});
        let slope_{c} = slope(e_{c});
        let rest_{c} = rest(e_{c});
#end
#unroll v 0 V
        {
            var high = MAX;
#unroll c 0 4
            let high_{c} = half_{c} - acc_{v}_{c} + (norm_{v} * slope_{c} + rest_{c});
            high = select(
                high, high_{c},
                exists_{c} && norm_{v} < SAFE && e_{c} < SAFE && high_{c} < high,
            );
#end
            if high < MAX { atomicMin(&least[tile_row(0u, lane, {v}u)], ordered(high)); }
        }
#end
        workgroupBarrier();
        // Four rows by four columns at a time: a bit for each code that may win.
#unroll g 0 V/4
        {
            var open = 0u;
#unroll j 0 4
            if tile_row(tile_r0, lane, {4*g+j}u) < p.n {
                let bound = min(
                    best_{4*g+j}, unordered(atomicLoad(&least[tile_row(0u, lane, {4*g+j}u)])),
                );
#unroll c 0 4
                let low_{c} = half_{c} - acc_{4*g+j}_{c} - (norm_{4*g+j} * slope_{c} + rest_{c});
                let lost_{c} = norm_{4*g+j} < SAFE && e_{c} < SAFE && low_{c} > bound;
                open |= select(0u, 1u << {4*j+c}u, exists_{c} && !lost_{c});
#end
            }
#end
            while open != 0u {
                let bit = firstTrailingBit(open);
                open &= open - 1u;
                let col = tile_col + bit % 4u;
                let score = half_code[col]
                    - dot_exact(tile_row(tile_r0, lane, {4*g}u + bit / 4u), col);
#unroll j 0 4
                let wins_{j} = bit / 4u == {j}u && score < best_{4*g+j};
                best_{4*g+j} = select(best_{4*g+j}, score, wins_{j});
                code_{4*g+j} = select(code_{4*g+j}, col, wins_{j});
#end
            }
        }
#end
    }
    // Sixteen invocations share a row: the lowest code among their best scores. -0 and 0 are one
    // score.
    workgroupBarrier();
    for (var i = lane; i < 64u; i += GROUP) {
        atomicStore(&least[i], MAX_ORDERED);
        atomicStore(&first[i], 0xffffffffu);
    }
    workgroupBarrier();
#unroll v 0 V
    let score_{v} = ordered(select(best_{v}, 0.0, best_{v} == 0.0));
    atomicMin(&least[tile_row(0u, lane, {v}u)], score_{v});
#end
    workgroupBarrier();
#unroll v 0 V
    if score_{v} == atomicLoad(&least[tile_row(0u, lane, {v}u)]) {
        atomicMin(&first[tile_row(0u, lane, {v}u)], code_{v});
    }
#end
    workgroupBarrier();
    for (var i = lane; i < 64u; i += GROUP) {
        if tile_r0 + i < p.n { index[tile_r0 + i] = atomicLoad(&first[i]); }
    }
}
