// y[i] = s[0] x[i], with DIVIDE x[i] / s[0]
//
// x, y: f32 [N], s: f32 [1]. One invocation makes four elements. Reads 4 N bytes, writes 4 N.
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> s: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = linear_group(group, groups) * 256u + lane;
    let factor = s[0];
#unroll t 0 4
    let i_{t} = start + {t}u * 64u;
#ifdef DIVIDE
    if i_{t} < p.n { y[i_{t}] = x[i_{t}] / factor; }
#else
    if i_{t} < p.n { y[i_{t}] = x[i_{t}] * factor; }
#endif
#end
}
