// z[n,:] <- s[n] x[n,:] - z[n,:]
//
// s: f32 [N]; x, z: f32 [N, D]. One invocation makes one element. Reads 8 N D bytes, writes 4 N D.
struct Params { n: u32, d: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> z: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.d { return; }
    z[i] = s[i / p.d] * x[i] - z[i];
}
