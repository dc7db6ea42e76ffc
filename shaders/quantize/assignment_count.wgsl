// table[b,k] += 1 for each row of block b whose code is k; table is 0 before
//
// index: u32 [N], table: u32 [B, K]. One invocation counts its block of rows, one after the other.
struct Params { n: u32, k: u32, block: u32, blocks: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> index: array<u32>;
@group(0) @binding(1) var<storage, read_write> table: array<u32>;
#import shared/grid

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let b = linear_index(group, groups, lane, 8u);
    if b >= p.blocks { return; }
    let end = min((b + 1u) * p.block, p.n);
    for (var row = b * p.block; row < end; row += 1u) {
        table[b * p.k + min(index[row], p.k - 1u)] += 1u;
    }
}
