// sums[k,:] = sum over the rows n of code k, in rising order, of x[n,:]
//
// x: f32 [N, D], offsets: u32 [K + 1], order: u32 [N], sums: f32 [K, D]. One invocation sums four
// columns (VEC, where D is a multiple of 4) or one, of one code. Reads 4 N (D + 1) bytes, writes 4
// K D.
struct Params { k: u32, units: u32 }
var<immediate> p: Params;
#ifdef VEC
alias Value = vec4<f32>;
#else
alias Value = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.k * p.units { return; }
    let k = i / p.units;
    var sum = Value();
    for (var r = offsets[k]; r < offsets[k + 1u]; r += 1u) {
        sum += x[order[r] * p.units + i % p.units];
    }
    sums[i] = sum;
}
