// x[i] = min(x[i] + by, most)
//
// x: u32 [N]. One invocation has one element. Moves 8 N bytes.
struct Params { n: u32, by: u32, most: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    let before = min(x[i], p.most);
    x[i] = before + min(p.by, p.most - before);
}
