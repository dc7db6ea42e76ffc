// y[n,:] = table[index[n],:]
//
// table: [K, D] of words of any type, index: u32 [N] (an index past K reads the last row), y:
// [N, D]. One invocation copies four elements (VEC, where D is a multiple of 4) or one. Reads 4 N
// (D + 1) bytes, writes 4 N D.
struct Params { n: u32, k: u32, units: u32 }
var<immediate> p: Params;
#ifdef VEC
alias Value = vec4<u32>;
#else
alias Value = u32;
#endif
@group(0) @binding(0) var<storage, read> table: array<Value>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.units { return; }
    let code = min(index[i / p.units], p.k - 1u);
    y[i] = table[code * p.units + i % p.units];
}
