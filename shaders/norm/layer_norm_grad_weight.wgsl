// parts[t,c] = sum over the rows n of slice t of dy[n,c] (x[n,c] - mu) r
//
// x, dy: f32 [N, C]; stats: [N, 2] = (mu, r); parts: [T, C]; as vec4 with VEC, where C is a
// multiple of 4. One invocation has one unit of columns of one slice of the N rows; split_sum adds
// the slices in order. Reads 8 N C bytes, writes 4 T C.
struct Params { units: u32, rows: u32, rows_per_slice: u32, slices: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read_write> parts: array<Value>;
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
    for (var row = start; row < end; row += 1u) {
        let at = row * p.units + unit;
        sum = fma(dy[at], (x[at] - stats[2u * row]) * stats[2u * row + 1u], sum);
    }
    parts[i] = sum;
}
