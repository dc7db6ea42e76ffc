// One step of Adam (Kingma and Ba 2015, algorithm 1), with weight decay as L2 or, with DECOUPLED,
// as in AdamW (Loshchilov and Hutter 2019, algorithm 2), over all parameters at once:
//
//   g = factor * grad [+ decay * w, where not DECOUPLED and i < decay_len]
//   m = m + (1 - beta1) (g - m);   v = beta2 * v + (1 - beta2) g^2
//   w = w * (shrink, where i < decay_len) - rate * m / (sqrt(v) / root + eps)
//
// shrink = 1 - lr * weight_decay, rate = lr / (1 - beta1^t) and root = sqrt(1 - beta2^t) come from
//     the host. With
// CLIPPED the factor is clip[1]; a factor of 0 says that the gradient is not finite, and nothing is
// changed.
//
// With HALVES, which goes with VEC, w is also written as f16 to `halves`, where blocks of 64
// elements lie in another order: places[first_block + b] is that of block b.
//
// w, m, v, grad: f32 [N], as vec4 with VEC, where N is a multiple of 4; clip: f32 [3]; halves: f16
// [64 blocks]; places: u32 [blocks]. One invocation makes EACH units. Reads 16 N bytes, writes
// 12 N, and 2 N with HALVES.
struct Params {
    units: u32, decay_len: u32, decay: f32, shrink: f32, rate: f32, root: f32, eps: f32,
    one_minus_beta1: f32, beta2: f32, one_minus_beta2: f32,
#ifdef HALVES
    first_block: u32,
#endif
}
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read_write> w: array<Value>;
@group(0) @binding(1) var<storage, read_write> m: array<Value>;
@group(0) @binding(2) var<storage, read_write> v: array<Value>;
@group(0) @binding(3) var<storage, read> grad: array<Value>;
#ifdef CLIPPED
@group(0) @binding(4) var<storage, read> clip: array<f32>;
#endif
#ifdef HALVES
// Four f16. The engine knows by this name what a buffer holds.
struct Halves { bits: vec2<u32> }
@group(0) @binding(5) var<storage, read_write> halves: array<Halves>;
@group(0) @binding(6) var<storage, read> places: array<u32>;
#import shared/narrow
#endif
#import shared/grid
#ifdef VEC
// Which of the four decay.
fn decays(i: u32) -> vec4<bool> {
    return 4u * i + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.decay_len);
}
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = linear_group(group, groups) * 64u * EACH + lane;
#ifdef CLIPPED
    let factor = clip[1];
    if factor == 0.0 { return; }
#endif
#unroll s 0 EACH
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.units {
        var g = grad[i_{s}];
        var x = w[i_{s}];
#ifdef CLIPPED
        g = g * factor;
#endif
#ifdef DECOUPLED
#ifdef VEC
        x = select(x, x * p.shrink, decays(i_{s}));
#else
        if i_{s} < p.decay_len { x = x * p.shrink; }
#endif
#else
#ifdef VEC
        g = select(g, g + p.decay * x, decays(i_{s}));
#else
        if i_{s} < p.decay_len { g = g + p.decay * x; }
#endif
#endif
        let first = m[i_{s}];
        let mean = first + p.one_minus_beta1 * (g - first);
        let square = p.beta2 * v[i_{s}] + p.one_minus_beta2 * g * g;
        m[i_{s}] = mean;
        v[i_{s}] = square;
        let moved_{s} = x - p.rate * (mean / (sqrt(square) / p.root + p.eps));
        w[i_{s}] = moved_{s};
#ifdef HALVES
        let bits_{s} = bitcast<vec4<u32>>(moved_{s});
        halves[places[p.first_block + i_{s} / 16u] * 16u + i_{s} % 16u].bits = vec2(
            narrow(bits_{s}.x) | (narrow(bits_{s}.y) << 16u),
            narrow(bits_{s}.z) | (narrow(bits_{s}.w) << 16u));
#endif
    }
#end
}
