// y[i] = a[i] b[i]
//
// a, b, y: f32 [N]. One invocation makes four elements. Reads 8 N bytes, writes 4 N.
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = linear_group(group, groups) * 256u + lane;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.n { y[i_{s}] = a[i_{s}] * b[i_{s}]; }
#end
}
