// y[n,s,c] = w[c] (x[n,s,c] - mu) r + b[c],  mu and r = 1 / sqrt(var + eps) over the S x C/G values of (n, group of c)
// (Wu and He 2018; with G = 1 and S = 1 it is the layer norm of Ba et al. 2016)
//
// x, y: f32 [N, S, C]; w, b: [C]; stats: [N G, 2] = (mu, r). One workgroup of GROUP has one (n, group); the mean comes first, then the
// mean of squared differences from it, so that nothing cancels. Reads 12 N S C bytes, writes 4 N S C.
struct Params { s: u32, c: u32, g: u32, rows: u32, eps: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;
#import shared/grid
#import shared/reduce
#import group_norm/place

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let width = p.c / p.g;
    let count = p.s * width;
    let first = row / p.g * p.s * p.c + row % p.g * width;
    var sum = 0.0;
    for (var i = lane; i < count; i += GROUP) { sum += x[place(first, i, width)]; }
    let mean = group_sum(sum, lane) / f32(count);
    var squares = 0.0;
    for (var i = lane; i < count; i += GROUP) {
        let d = x[place(first, i, width)] - mean;
        squares = fma(d, d, squares);
    }
    let r = inverseSqrt(group_sum(squares, lane) / f32(count) + p.eps);
    for (var i = lane; i < count; i += GROUP) {
        let at = place(first, i, width);
        let c = row % p.g * width + channel(i, width);
        y[at] = fma((x[at] - mean) * r, w[c], b[c]);
    }
    if lane == 0u {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = r;
    }
}
