// order[offsets[k] + r] = the r-th row whose code is k, rows in rising order
//
// index: u32 [N], offsets: u32 [K + 1], table: u32 [B, K] as assignment_scan left it, order: u32
// [N]. One invocation places its block of rows, one after the other, so the order is the same every
// time.
struct Params { n: u32, k: u32, block: u32, blocks: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> order: array<u32>;
#import shared/grid

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let b = linear_index(group, groups, lane, 8u);
    if b >= p.blocks { return; }
    let end = min((b + 1u) * p.block, p.n);
    for (var row = b * p.block; row < end; row += 1u) {
        let k = min(index[row], p.k - 1u);
        let rank = table[b * p.k + k];
        table[b * p.k + k] = rank + 1u;
        order[offsets[k] + rank] = row;
    }
}
