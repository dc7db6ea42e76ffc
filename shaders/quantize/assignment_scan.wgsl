// counts[k] = sum over b of table[b,k], and table[b,k] becomes the sum over the blocks before b
//
// table: u32 [B, K], counts: u32 [K]. One invocation walks one code's column.
struct Params { k: u32, blocks: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read_write> table: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let k = linear_index(group, groups, lane, 64u);
    if k >= p.k { return; }
    var running = 0u;
    for (var b = 0u; b < p.blocks; b += 1u) {
        let here = table[b * p.k + k];
        table[b * p.k + k] = running;
        running += here;
    }
    counts[k] = running;
}
