// y[k] = decay c[k] + (1 - decay) counts[k]
//
// c, y: f32 [K], counts: u32 [K] of this batch. One invocation makes one element.
struct Params { k: u32, decay: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> c: array<f32>;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let k = linear_index(group, groups, lane, 64u);
    if k >= p.k { return; }
    y[k] = p.decay * c[k] + (1.0 - p.decay) * f32(counts[k]);
}
