// y[i] += weight (x[i] - y[i]),  with GATED where report[2] is not 0
//
// x, y: f32 [N]; report: f32 [3], as optim/clip_factor leaves it. One invocation makes four
// elements. Reads 8 N bytes, writes 4 N.
struct Params { n: u32, weight: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
#ifdef GATED
@group(0) @binding(2) var<storage, read> report: array<f32>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
#ifdef GATED
    if report[2] == 0.0 { return; }
#endif
    let start = linear_group(group, groups) * 256u + lane;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.n { y[i_{s}] += p.weight * (x[i_{s}] - y[i_{s}]); }
#end
}
