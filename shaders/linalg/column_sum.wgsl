// parts[s,c] = sum of x[r,c] over the rows r of slice s
//
// x: f32 [R, C], parts: f32 [S, C]. One invocation sums four columns
// (VEC, where C is a multiple of 4) or one over its slice of the rows; split_sum adds the slices in
// order. Reads 4 R C bytes, writes 4 S C.
struct Params { rows: u32, units: u32, rows_per_slice: u32, slices: u32 }
var<immediate> p: Params;
#ifdef VEC
alias Value = vec4<f32>;
#else
alias Value = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> parts: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.units * p.slices { return; }
    let unit = i % p.units;
    let start = i / p.units * p.rows_per_slice;
    let end = min(start + p.rows_per_slice, p.rows);
    var sum = Value();
    for (var r = start; r < end; r += 1u) { sum += x[r * p.units + unit]; }
    parts[i] = sum;
}
