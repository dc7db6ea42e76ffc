// stats[n,g] = (mu, r = 1 / sqrt(var + eps)) of the S x C/G values of group g of image n, from the
//     moments of their parts: mu is the mean of
// the parts' means, and the sum of squared differences that of the parts plus count (mean - mu)^2
// each (Chan et al. 1979)
//
// means, squares: f32 [N, T, C] of moments; stats: [N G, 2]. One invocation has one (n, g), and
// adds slice by slice, channel by channel; with GROUP a workgroup has it, each of its invocations
// takes every GROUPth of these in turn, and a tree adds what they found.
struct Params { rows: u32, s: u32, c: u32, g: u32, per_slice: u32, slices: u32, eps: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> means: array<f32>;
@group(0) @binding(1) var<storage, read> squares: array<f32>;
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;
#import shared/grid
#ifdef GROUP
#import shared/reduce
#endif

fn count(t: u32) -> f32 { return f32(min((t + 1u) * p.per_slice, p.s) - t * p.per_slice); }

#ifdef GROUP
@compute @workgroup_size(GROUP)
#else
@compute @workgroup_size(64)
#endif
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#ifdef GROUP
    let row = linear_group(group, groups);
#else
    let row = linear_index(group, groups, lane, 64u);
#endif
    if row >= p.rows { return; }
    let width = p.c / p.g;
    let first = row / p.g * p.slices * p.c + row % p.g * width;
    let all = f32(p.s * width);
    var sum = 0.0;
#ifdef GROUP
    for (var j = lane; j < p.slices * width; j += GROUP) {
        let t = j / width;
        sum = fma(means[first + t * p.c + j % width], count(t), sum);
    }
    let mu = group_sum(sum, lane) / all;
    var square = 0.0;
    for (var j = lane; j < p.slices * width; j += GROUP) {
        let t = j / width;
        let at = first + t * p.c + j % width;
        let d = means[at] - mu;
        square += fma(d * d, count(t), squares[at]);
    }
    square = group_sum(square, lane);
    if lane > 0u { return; }
#else
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
#endif
    stats[2u * row] = mu;
    stats[2u * row + 1u] = inverseSqrt(square / all + p.eps);
}
