// dx[n,:] = r (g - h mean(g h)),  g = dy[n,:] w,  h = r x[n,:],  the gradient of rms_norm
//
// x, dy, dx: f32 [N, D]; w: [D]; stats: [N, 2] = (0, r). As vec4 with VEC, where D is a multiple of
// 4. One workgroup has one row. Reads 16 N D bytes, writes 4 N D.
struct Params { rows: u32, units: u32, d: u32, eps: f32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> w: array<Value>;
@group(0) @binding(2) var<storage, read> dy: array<Value>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<Value>;
#import shared/grid
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let first = row * p.units;
    let r = stats[2u * row + 1u];
    var along = 0.0;
    for (var i = lane; i < p.units; i += GROUP) {
        along += inner(dy[first + i] * w[i], x[first + i] * r);
    }
    let mean = group_sum(along, lane) / f32(p.d);
    for (var i = lane; i < p.units; i += GROUP) {
        dx[first + i] = r * (dy[first + i] * w[i] - x[first + i] * r * mean);
    }
}
