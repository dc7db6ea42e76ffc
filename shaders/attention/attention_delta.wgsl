// delta_i = do_i . o_i:  what every score's gradient of a row is lessened by
//
// o, do: f32, row i of head h of image b from b o_batch + h o_head + i o_row on; delta: f32
// [B, H, Tq]. An invocation has a row.
// Reads 8 B H Tq D bytes, writes 4 B H Tq.
struct Params { rows: u32, heads: u32, tq: u32, d: u32, o_batch: u32, o_head: u32, o_row: u32 }
var<immediate> p: Params;
#ifdef VEC
@group(0) @binding(0) var<storage, read> o: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> do_: array<vec4<f32>>;
#else
@group(0) @binding(0) var<storage, read> o: array<f32>;
@group(0) @binding(1) var<storage, read> do_: array<f32>;
#endif
@group(0) @binding(2) var<storage, read_write> delta: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups) * 64u + lane;
    if row >= p.rows { return; }
    let head = row / p.tq;
    let at = head / p.heads * p.o_batch + head % p.heads * p.o_head + row % p.tq * p.o_row;
    var sum = 0.0;
#ifdef VEC
    for (var t = 0u; t < p.d / 4u; t += 1u) { sum += dot(do_[at / 4u + t], o[at / 4u + t]); }
#else
    for (var t = 0u; t < p.d; t += 1u) { sum += do_[at + t] * o[at + t]; }
#endif
    delta[row] = sum;
}
