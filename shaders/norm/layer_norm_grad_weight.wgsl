// parts[t,c] = sum over the rows n of slice t of dy[n,c] (x[n,c] - mu) r
//
// x, dy: f32 [N, C]; stats: [N, 2] = (mu, r); parts: [T, C]. One invocation has one column of one
// slice of the N rows; split_sum adds the slices in order. Reads 8 N C bytes, writes 4 T C.
struct Params { c: u32, rows: u32, rows_per_slice: u32, slices: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> stats: array<f32>;
@group(0) @binding(3) var<storage, read_write> parts: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.c * p.slices { return; }
    let c = i % p.c;
    let start = i / p.c * p.rows_per_slice;
    let end = min(start + p.rows_per_slice, p.rows);
    var sum = 0.0;
    for (var row = start; row < end; row += 1u) {
        let at = row * p.c + c;
        sum = fma(dy[at], (x[at] - stats[2u * row]) * stats[2u * row + 1u], sum);
    }
    parts[i] = sum;
}
