// y[i] = sum over c of z_c after rounds x 64 steps of  z_c <- a z_c + b,
//   from z_c = x[i] + c / 8:  the arithmetic ceiling.
//
// x, y: f32 [N]. Eight chains per invocation hide the latency of a multiply-add; nothing is loaded
// in the loop, and no compiler can shorten it without reordering sums. 1024 rounds N operations, 8
// N bytes.
struct Params { n: u32, rounds: u32, a: f32, b: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    let a = p.a;
    let b = p.b;
#unroll c 0 8
    var z_{c} = x[i] + {c}.0 / 8.0;
#end
    for (var round = 0u; round < p.rounds; round += 1u) {
#unroll s 0 64
#unroll c 0 8
        z_{c} = fma(a, z_{c}, b);
#end
#end
    }
    y[i] = z_0 + z_1 + z_2 + z_3 + z_4 + z_5 + z_6 + z_7;
}
