// stats[n,g] = (mu, r = 1 / sqrt(var + eps)) of the S x C/G values of group g of image n, from the
//     moments of their parts: mu is the mean of
// the parts' means, and the sum of squared differences that of the parts plus count (mean - mu)^2
// each (Chan et al. 1979)
//
// means, squares: f32 [N, T, C] of moments; stats: [N G, 2]. One invocation has one (n, g), and
// adds slice by slice, channel by channel.
struct Params { rows: u32, s: u32, c: u32, g: u32, per_slice: u32, slices: u32, eps: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> means: array<f32>;
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;
#import shared/grid

fn count(t: u32) -> f32 { return f32(min((t + 1u) * p.per_slice, p.s) - t * p.per_slice); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_index(group, groups, lane, 64u);
    if row >= p.rows { return; }
    let width = p.c / p.g;
    let first = row / p.g * p.slices * p.c + row % p.g * width;
    let all = f32(p.s * width);
    var sum = 0.0;
    for (var t = 0u; t < p.slices; t += 1u) {
        var part = 0.0;
        for (var k = 0u; k < width; k += 1u) { part += means[first + t * p.c + k]; }
        sum = fma(part, count(t), sum);
    }
    let mu = sum / all;
    var square = 0.0;
    for (var t = 0u; t < p.slices; t += 1u) {
        for (var k = 0u; k < width; k += 1u) {
            let d = means[first + t * p.c + k] - mu;
            square += fma(d * d, count(t), squares[first + t * p.c + k]);
        }
    }
    stats[2u * row] = mu;
    stats[2u * row + 1u] = inverseSqrt(square / all + p.eps);
}
