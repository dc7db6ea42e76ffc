// y[i] = bits
//
// y: any 4-byte elements [N]. One invocation writes four elements. Writes 4 N bytes.
struct Params { n: u32, bits: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> y: array<u32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u) * 4u;
    if i >= p.n { return; }
    let end = min(i + 4u, p.n);
    for (var j = i; j < end; j += 1u) { y[j] = p.bits; }
}
