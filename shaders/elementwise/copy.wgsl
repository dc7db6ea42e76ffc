// y[i] = x[i], by vec4: the bandwidth that this device gives to a kernel that does nothing else.
//
// x, y: f32 [N], N a multiple of 4. One invocation copies 16 numbers, a workgroup's loads lying
// side by side. Moves 8 N bytes.
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = linear_group(group, groups) * 256u + lane;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if 4u * i_{s} < p.n { y[i_{s}] = x[i_{s}]; }
#end
}
