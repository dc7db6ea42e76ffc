// dx[n,:] = s y[n,:] (dy[n,:] - y[n,:] . dy[n,:]), the gradient of softmax
//
// y, dy, dx: f32 [N, C]; y is 0 where the row does not see. One workgroup makes one row, in two
// walks, in units of four columns with VEC. Reads 16 N C bytes, writes 4 N C.
struct Params { rows: u32, units: u32, scale: f32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> y: array<Value>;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
@group(0) @binding(2) var<storage, read_write> dx: array<Value>;
#import shared/grid
#import shared/reduce

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let first = row * p.units;
    var along = 0.0;
    for (var i = lane; i < p.units; i += GROUP) { along += inner(y[first + i], dy[first + i]); }
    let mean = group_sum(along, lane);
    for (var i = lane; i < p.units; i += GROUP) {
        dx[first + i] = p.scale * y[first + i] * (dy[first + i] - mean);
    }
}
