// y[n,:] = w r x[n,:],  r = 1 / sqrt(mean(x[n,:]^2) + eps)   (Zhang and Sennrich 2019, equation 4)
//
// x, y: f32 [N, D]; w: [D]; stats: [N, 2] = (0, r), as layer_norm_grad_weight reads them. As vec4
// with VEC, where D is a multiple of 4. One workgroup has one row. Reads 8 N D bytes, writes 4 N D.
struct Params { rows: u32, units: u32, d: u32, eps: f32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> w: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;
#import shared/grid
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let first = row * p.units;
    var squares = 0.0;
    for (var i = lane; i < p.units; i += GROUP) {
        let v = x[first + i];
        squares += inner(v, v);
    }
    let r = inverseSqrt(group_sum(squares, lane) / f32(p.d) + p.eps);
    for (var i = lane; i < p.units; i += GROUP) { y[first + i] = x[first + i] * r * w[i]; }
    if lane == 0u {
        stats[2u * row] = 0.0;
        stats[2u * row + 1u] = r;
    }
}
