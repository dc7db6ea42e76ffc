// index[n] = argmin over k of  S[n,k] = 0.5 |e_k|^2 - x_n . e_k  as the f32 cores round it;
//   ties go to the lowest k
//
// vq_search's pass after vq_search_coopmat, which left the least H[n,k] of each block of 64 codes,
// H being S with f16 operands. With a bound eps on |H - S| for every code of a block, the least S
// of a block b lies between M_b - eps_b and M_b + eps_b, M_b its least H. The least of all is then
// at most the least M + eps, and a block whose M - eps exceeds that has lost, ties included. In the
// others, one or two where codes lie apart, S is computed in f32, in the f32 cores' order. Where
// f16 tells nothing apart all blocks are walked, and the index is the same.
//
// eps, with X >= |x|, E >= |e| of every code of the block, u = 2^-10 (f16 rounded either way),
// flush = 2^-14 sqrt(D) (f16's subnormals may become 0):
//     |f16(x) - x| <= a = u X + flush,
//       |f16(e) - e| <= b = u E + flush                                      as vectors, so
//     |f16(x) . f16(e) - x . e| <= (X + a) b
//         + a E                                                   by Cauchy and Schwarz;
// summing D exact products, each step good to 2^-22 of the largest partial sum, and the f32 sum of
//         S:
//         <= grow (X + a) (E + b),  grow = (D + 32) 2^-21;
//     the roundings of 0.5 |e|^2 - sum, of M -+ eps and of eps:  <= 2^-21 (0.5 E^2 + X E).
// Together eps = X slope(E) + rest(E), which grows with E. Norms from 60,000 on could overflow f16:
// such blocks, and all blocks for such latents, are always computed in f32.
//
// x: f32 [N, D], e: [K, D], half_code: [K] = 0.5 |e_k|^2, half_latent: [N] likewise, half_block:
// [blocks], the largest half_code of each, least: [N, blocks], index: u32 [N]. One workgroup ranks
// one latent. One with a NaN gets index 0. Reads 4 N blocks bytes, and 256 D for each block that is
// walked; writes 4 N.
struct Params { n: u32, k: u32, d: u32, blocks: u32, flush: f32, grow: f32, inflate: f32 }
var<immediate> p: Params;
#ifdef VEC
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> e: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> e: array<f32>;
#endif
@group(0) @binding(2) var<storage, read> half_code: array<f32>;
@group(0) @binding(3) var<storage, read> half_latent: array<f32>;
@group(0) @binding(4) var<storage, read> half_block: array<f32>;
@group(0) @binding(5) var<storage, read> least: array<f32>;
@group(0) @binding(6) var<storage, read_write> index: array<u32>;
#import shared/grid

const MAX = 3.4028234e38;
const MAX_ORDERED = 0xff7fffffu;     // ordered(MAX)
const SAFE = 6e4;
const U = 0.0009765625;              // 2^-10
const ROUND = 4.7683716e-7;          // 2^-21
// Blocks that are looked at together, a bit each.
const WORDS = 32u;
var<workgroup> least_high: atomic<u32>;
var<workgroup> open: array<atomic<u32>, WORDS>;
var<workgroup> scores: array<f32, 64>;
var<workgroup> codes: array<u32, 64>;

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
#ifdef VEC
    for (var i = 0u; i < p.d / 4u; i += 1u) {
        let a = x[row * (p.d / 4u) + i];
        let b = e[col * (p.d / 4u) + i];
        sum = fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
    }
#else
    for (var i = 0u; i < p.d; i += 1u) {
        sum = fma(x[row * p.d + i], e[col * p.d + i], sum);
    }
#endif
    return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.n { return; }
    let start = row * p.blocks;
    let reach = norm(half_latent[row]);
    let bounded = reach < SAFE;
    if lane == 0u { atomicStore(&least_high, MAX_ORDERED); }
    workgroupBarrier();
    var high = MAX;
    for (var b = lane; b < p.blocks; b += 64u) {
        let most = norm(half_block[b]);
        let bound = least[start + b] + (reach * slope(most) + rest(most));
        high = select(high, bound, bounded && most < SAFE && bound < high);
    }
    if high < MAX { atomicMin(&least_high, ordered(high)); }
    workgroupBarrier();
    let limit = unordered(atomicLoad(&least_high));
    var best = MAX;
    var code = 0u;
    for (var first = 0u; first < p.blocks; first += 32u * WORDS) {
        if lane < WORDS { atomicStore(&open[lane], 0u); }
        workgroupBarrier();
        for (var b = first + lane; b < min(first + 32u * WORDS, p.blocks); b += 64u) {
            let most = norm(half_block[b]);
            let low = least[start + b] - (reach * slope(most) + rest(most));
            if !(bounded && most < SAFE && low > limit) {
                atomicOr(&open[(b - first) / 32u], 1u << (b % 32u));
            }
        }
        workgroupBarrier();
        for (var word = 0u; word < WORDS; word += 1u) {
            var bits = atomicLoad(&open[word]);
            while bits != 0u {
                let col = (first + 32u * word + firstTrailingBit(bits)) * 64u + lane;
                bits &= bits - 1u;
                if col < p.k {
                    let score = half_code[col] - dot_exact(row, col);
                    let wins = score < best;
                    best = select(best, score, wins);
                    code = select(code, col, wins);
                }
            }
        }
        workgroupBarrier();
    }
    scores[lane] = best;
    codes[lane] = code;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if lane < half {
            let score = scores[lane + half];
            let other = codes[lane + half];
            if score < scores[lane] || (score == scores[lane] && other < codes[lane]) {
                scores[lane] = score;
                codes[lane] = other;
            }
        }
    }
    if lane == 0u { index[row] = codes[0]; }
}
