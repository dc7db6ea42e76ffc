// y[n,c] = w[c] (x[n,c] - mu) r + b[c],
//   mu and r = 1 / sqrt(var + eps) over the C values of n   (Ba et al. 2016)
//
// x, y: f32 [N, C]; w, b: [C]; stats: [N, 2] = (mu, r); as vec4 with VEC, where C is a multiple of
// 4. One workgroup of GROUP has one n; the mean comes first, then the mean of squared differences
// from it, so that nothing cancels. Reads 12 N C bytes, writes 4 N C.
struct Params { units: u32, c: u32, rows: u32, eps: f32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> w: array<Value>;
@group(0) @binding(2) var<storage, read> b: array<Value>;
@group(0) @binding(3) var<storage, read_write> y: array<Value>;
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;
#import shared/grid
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let first = row * p.units;
    var sum = Value();
    for (var i = lane; i < p.units; i += GROUP) { sum += x[first + i]; }
    let mean = group_sum(across(sum), lane) / f32(p.c);
    var squares = Value();
    for (var i = lane; i < p.units; i += GROUP) {
        let d = x[first + i] - mean;
        squares = fma(d, d, squares);
    }
    let r = inverseSqrt(group_sum(across(squares), lane) / f32(p.c) + p.eps);
    for (var i = lane; i < p.units; i += GROUP) {
        y[first + i] = fma((x[first + i] - mean) * r, w[i], b[i]);
    }
    if lane == 0u {
        stats[2u * row] = mean;
        stats[2u * row + 1u] = r;
    }
}
