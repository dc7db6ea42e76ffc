// One step of Adam, as in optim/adam, whose moments are kept in 16 bits: a word of `moments` has
// the bits of two bfloat16, m below and v above.
//
//   g = factor * grad [+ decay * w, where not DECOUPLED and i < decay_len]
//   m = m + (1 - beta1) (g - m);   v = beta2 * v + (1 - beta2) g^2
//   w = w * (shrink, where i < decay_len) - rate * m / (sqrt(v) / root + eps)
//
// The weights move by m and v as they are before they are rounded. Rounding is stochastic: a value
// goes to one of its two neighbours, and to the nearer one more often, so that it is kept on
// average (Gupta et al. 2015, "Deep learning with limited numerical precision"). To the nearest, v
// would stand still: with beta2 = 0.999 a step moves it by a thousandth, and neighbours lie some
// 0.4 to 0.8 % apart. The noise is Philox of (seed, step, stream, element): four elements share a
// block, and each takes a word of it, whose lower half rounds m and whose upper half rounds v.
//
// With CLIPPED the factor is clip[1]; a factor of 0 says that the gradient is not finite, and
// nothing is changed. With HALVES, w is also written as f16 to `halves`, where blocks of 64
// elements lie in another order: places[first_block + b] is that of block b.
//
// w, grad: f32 [N], N a multiple of 4; moments: u32 [N]; clip: f32 [3]; halves: f16 [64 blocks];
// places: u32 [blocks]. One invocation makes four elements. Reads 12 N bytes, writes 8 N, and 2 N
// with HALVES.
struct Params {
    units: u32, decay_len: u32, decay: f32, shrink: f32, rate: f32, root: f32, eps: f32,
    one_minus_beta1: f32, beta2: f32, one_minus_beta2: f32,
    // Units of the arena before the first of these.
    first: u32, stream: u32, step_low: u32, step_high: u32, seed_low: u32, seed_high: u32,
#ifdef HALVES
    first_block: u32,
#endif
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> w: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> moments: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> grad: array<vec4<f32>>;
#ifdef CLIPPED
@group(0) @binding(3) var<storage, read> clip: array<f32>;
#endif
#ifdef HALVES
// Four f16. The engine knows by this name what a buffer holds.
struct Halves { bits: vec2<u32> }
@group(0) @binding(4) var<storage, read_write> halves: array<Halves>;
@group(0) @binding(5) var<storage, read> places: array<u32>;
#import shared/narrow
#endif
#import shared/philox
#import shared/grid

// Which of the four decay.
fn decays(i: u32) -> vec4<bool> {
    return 4u * i + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.decay_len);
}
// The bits of bfloat16 that values are rounded to by 16 bits of noise each. What is not finite
// stays so.
fn rounded(x: vec4<f32>, noise: vec4<u32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(x);
    let up = (bits + noise) >> vec4<u32>(16u);
    let kept = bits >> vec4<u32>(16u);
    let infinite = (bits & vec4<u32>(0x7fffffffu)) == vec4<u32>(0x7f800000u);
    let special = (bits & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
    let quiet = select(kept | vec4<u32>(0x40u), kept, infinite);
    return select(up, quiet, special);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_group(group, groups) * 64u + lane;
    if i >= p.units { return; }
    var g = grad[i];
    var x = w[i];
#ifdef CLIPPED
    let factor = clip[1];
    if factor == 0.0 { return; }
    g = g * factor;
#endif
#ifdef DECOUPLED
    x = select(x, x * p.shrink, decays(i));
#else
    g = select(g, g + p.decay * x, decays(i));
#endif
    let words = moments[i];
    let first = bitcast<vec4<f32>>(words << vec4<u32>(16u));
    let second = bitcast<vec4<f32>>(words & vec4<u32>(0xffff0000u));
    let mean = first + p.one_minus_beta1 * (g - first);
    let square = p.beta2 * second + p.one_minus_beta2 * g * g;
    let noise = philox(vec4<u32>(p.first + i, p.stream, p.step_low, p.step_high),
                       vec2<u32>(p.seed_low, p.seed_high));
    let low = rounded(mean, noise & vec4<u32>(0xffffu));
    let high = rounded(square, noise >> vec4<u32>(16u));
    moments[i] = low | (high << vec4<u32>(16u));
    let moved = x - p.rate * (mean / (sqrt(square) / p.root + p.eps));
    w[i] = moved;
#ifdef HALVES
    let bits = bitcast<vec4<u32>>(moved);
    halves[places[p.first_block + i / 16u] * 16u + i % 16u].bits = vec2(
        narrow(bits.x) | (narrow(bits.y) << 16u),
        narrow(bits.z) | (narrow(bits.w) << 16u));
#endif
}
