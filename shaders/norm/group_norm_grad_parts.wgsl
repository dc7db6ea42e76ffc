// sums[n,t,c] and along[n,t,c] = the sum over the positions s of slice t of g[n,s,c],
//     and of g[n,s,c] (x[n,s,c] - mu) r
//
// g is dy, or with ACTIVATION, an activation f by its define, dy[n,s,c] f'(u), where
// u = w[c] (x[n,s,c] - mu) r + b[c] is computed as group_norm_apply does.
//
// x, dy: f32 [N, S, C]; stats: [N G, 2] = (mu, r); sums, along: f32 [N, T, C]; w, b: [C]; as vec4
// with VEC, where C/G is a multiple of 4. One invocation has a unit of channels of a slice of an
// image; neighbours have neighbouring channels. Reads 8 N S C bytes.
// Summed over n and t they are the gradients of bias and weight.
struct Params { n: u32, s: u32, units: u32, g: u32, per_slice: u32, slices: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<Value>;
@group(0) @binding(4) var<storage, read_write> along: array<Value>;
#import shared/grid
#ifdef ACTIVATION
@group(0) @binding(5) var<storage, read> w: array<Value>;
@group(0) @binding(6) var<storage, read> b: array<Value>;
#import norm/group_norm/activated
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.slices * p.units { return; }
    let unit = i % p.units;
    let n = i / p.units / p.slices;
    let begin = i / p.units % p.slices * p.per_slice;
    let count = min(begin + p.per_slice, p.s) - begin;
    let first = (n * p.s + begin) * p.units + unit;
    let row = 2u * (n * p.g + unit / (p.units / p.g));
    let mu = stats[row];
    let r = stats[row + 1u];
#ifdef ACTIVATION
    let factor = r * w[unit];
    let bias = b[unit];
#endif
    var sum = Value();
    var product = Value();
    for (var s = 0u; s < count; s += 1u) {
        let at = first + s * p.units;
        var g = dy[at];
#ifdef ACTIVATION
        g *= slopes(fma(x[at] - mu, factor, bias));
#endif
        sum += g;
        product = fma(g, (x[at] - mu) * r, product);
    }
    sums[i] = sum;
    along[i] = product;
}
