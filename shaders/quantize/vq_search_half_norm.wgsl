// y[k] = 0.5 sum over d of e[k,d]^2
//
// e: f32 [K, D], y: f32 [K]. One invocation makes one element. Reads 4 K D bytes, writes 4 K.
struct Params { k: u32, d: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> e: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let k = linear_index(group, groups, lane, 64u);
    if k >= p.k { return; }
    var sum = 0.0;
    for (var d = 0u; d < p.d; d += 1u) {
        let value = e[k * p.d + d];
        sum = fma(value, value, sum);
    }
    y[k] = 0.5 * sum;
}
