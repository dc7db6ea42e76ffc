// dx[i] = dy[i] / (1 + e^-x[i]),  the gradient of softplus.wgsl
//
// x, dy, dx: f32 [N]. One invocation makes one element. Reads 8 N bytes, writes 4 N.
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
#import shared/grid
#import shared/sigmoid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    dx[i] = dy[i] * sigmoid(x[i]);
}
