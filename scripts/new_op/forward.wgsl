// y[i] = ln(1 + e^x[i])
//
// x, y: f32 [N]. One invocation makes one element. Reads 4 N bytes, writes 4 N.
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    y[i] = max(x[i], 0.0) + log(1.0 + exp(-abs(x[i])));
}
