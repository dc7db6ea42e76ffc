// y[n,s,c] = f(u),  u = w[c] (x[n,s,c] - mu) r + b[c]   (Wu and He 2018), or, with GRAD,
// dx[n,s,c] = r (g - m1 - (x[n,s,c] - mu) r m2),  g = dy[n,s,c] f'(u) w[c],
//   (m1, m2) the means of g and of g (x - mu) r over (n, group)
//
// f is the identity, or with ACTIVATION the activation of that define; u is then computed anew by
// the gradient, in the same order.
//
// x, dy, y, dx: f32 [N, S, C]; w, b: [C], all as vec4 with VEC, where C is a multiple of 4; stats:
// [N G, 2] = (mu, r); means: [N G, 2] = (m1, m2). One invocation has a unit of channels of
// `positions` positions side by side; neighbours have neighbouring channels. With HALVES, which
// goes with VEC, y is f16, rounded as `cast` rounds. Reads 4 N S C bytes (with GRAD 8), writes 4 N
// S C, with HALVES 2.
struct Params { n: u32, s: u32, c: u32, g: u32, positions: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> w: array<Value>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
#ifdef GRAD
@group(0) @binding(3) var<storage, read> dy: array<Value>;
@group(0) @binding(4) var<storage, read> means: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<Value>;
#ifdef ACTIVATION
@group(0) @binding(6) var<storage, read> b: array<Value>;
#endif
#else
@group(0) @binding(3) var<storage, read> b: array<Value>;
#ifdef HALVES
// Four f16. The engine knows by this name what a buffer holds.
struct Halves { bits: vec2<u32> }
@group(0) @binding(4) var<storage, read_write> y: array<Halves>;
#import shared/narrow
#else
@group(0) @binding(4) var<storage, read_write> y: array<Value>;
#endif
#endif
#import shared/grid
#ifdef ACTIVATION
#import norm/group_norm/activated
#endif

// The channels of a unit, and what is known of their groups.
#ifdef VEC
const EACH = 4u;
alias Channels = vec4<u32>;
fn channels(unit: u32) -> Channels { return 4u * unit + vec4<u32>(0u, 1u, 2u, 3u); }
fn stat(at: Channels) -> Value {
    return Value(stats[at.x], stats[at.y], stats[at.z], stats[at.w]);
}
#ifdef GRAD
fn mean(at: Channels) -> Value {
    return Value(means[at.x], means[at.y], means[at.z], means[at.w]);
}
#endif
#else
const EACH = 1u;
alias Channels = u32;
fn channels(unit: u32) -> Channels { return unit; }
fn stat(at: Channels) -> Value { return stats[at]; }
#ifdef GRAD
fn mean(at: Channels) -> Value { return means[at]; }
#endif
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    let parts = (p.s + p.positions - 1u) / p.positions;
    let units = p.c / EACH;
    if i >= p.n * parts * units { return; }
    let unit = i % units;
    let n = i / units / parts;
    let begin = i / units % parts * p.positions;
    let count = min(p.positions, p.s - begin);
    let first = (n * p.s + begin) * units + unit;
    let row = 2u * (n * p.g + channels(unit) / (p.c / p.g));
    let mu = stat(row);
    let r = stat(row + 1u);
#ifdef GRAD
    let factor = w[unit];
    let m1 = mean(row);
    let m2 = mean(row + 1u);
#ifdef ACTIVATION
    let scale = r * factor;
    let bias = b[unit];
#endif
    for (var s = 0u; s < count; s += 1u) {
        let at = first + s * units;
        var g = dy[at];
#ifdef ACTIVATION
        g *= slopes(fma(x[at] - mu, scale, bias));
#endif
        dx[at] = r * (g * factor - m1 - (x[at] - mu) * r * m2);
    }
#else
    let factor = r * w[unit];
    let bias = b[unit];
    for (var s = 0u; s < count; s += 1u) {
        let at = first + s * units;
        var u = fma(x[at] - mu, factor, bias);
#ifdef ACTIVATION
        u = activated(u);
#endif
#ifdef HALVES
        let bits = bitcast<vec4<u32>>(u);
        y[at].bits = vec2(narrow(bits.x) | (narrow(bits.y) << 16u),
                          narrow(bits.z) | (narrow(bits.w) << 16u));
#else
        y[at] = u;
#endif
    }
#endif
}
