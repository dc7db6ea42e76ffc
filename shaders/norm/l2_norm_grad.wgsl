// dx[n,:] = (dy[n,:] - u (u . dy[n,:])) / |x[n,:]|,  u = x[n,:] / |x[n,:]|;
//   dy[n,:] / eps where |x[n,:]| <= eps
//
// x, dy, dx: f32 [N, D]. One invocation makes one row. Reads 16 N D bytes, writes 4 N D.
struct Params { n: u32, units: u32, eps: f32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
@group(0) @binding(2) var<storage, read_write> dx: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let n = linear_index(group, groups, lane, 64u);
    if n >= p.n { return; }
    var squares = 0.0;
    var along = 0.0;
    for (var i = 0u; i < p.units; i += 1u) {
        let v = x[n * p.units + i];
        squares += inner(v, v);
        along += inner(v, dy[n * p.units + i]);
    }
    let length = sqrt(squares);
    if length <= p.eps {
        for (var i = 0u; i < p.units; i += 1u) {
            dx[n * p.units + i] = dy[n * p.units + i] / p.eps;
        }
        return;
    }
    let share = along / squares;
    for (var i = 0u; i < p.units; i += 1u) {
        let at = n * p.units + i;
        dx[at] = (dy[at] - x[at] * share) / length;
    }
}
