// half_block[b] = max over the codes k of block b of half_code[k];  a NaN counts as the largest f32
//
// half_code: f32 [K] = 0.5 |e_k|^2, half_block: [K / 64, rounded up]. One invocation makes one
// element. Reads 4 K bytes, writes 4 K / 64.
struct Params { k: u32, blocks: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> half_code: array<f32>;
@group(0) @binding(1) var<storage, read_write> half_block: array<f32>;
#import shared/grid

const MAX = 3.4028234e38;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let block = linear_index(group, groups, lane, 64u);
    if block >= p.blocks { return; }
    var most = 0.0;
    for (var k = block * 64u; k < min(block * 64u + 64u, p.k); k += 1u) {
        let half = half_code[k];
        most = max(most, select(MAX, half, half < MAX));
    }
    half_block[block] = most;
}
