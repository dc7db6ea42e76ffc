// lse_i = log of the sum over parts s of exp(lse_si),  o_i = sum over s of exp(lse_si - lse_i)
// o_si:  what several workgroups found of a query, each over a part of its keys, in the order of
// the parts
//
// o_parts: f32 [S] times what o is, lse_parts: f32 [S, B, H, Tq]; o: f32, row i of head h of image
// b from b o_batch + h o_head + i o_row on; lse: f32 [B, H, Tq]. As vec4 with VEC, where D is a
// multiple of 4; a row has UNITS of them. An invocation makes one. A part without keys has the lse
// that attention.wgsl gives to a row without keys, and counts for nothing. Reads 4 S B H Tq (D + 1)
// bytes, writes 4 B H Tq (D + 1).
struct Params {
    n: u32, rows: u32, heads: u32, tq: u32, units: u32,
    o_batch: u32, o_head: u32, o_row: u32, parts: u32, part_stride: u32,
}
var<immediate> p: Params;
#ifdef VEC
alias Value = vec4<f32>;
const EACH = 4u;
#else
alias Value = f32;
const EACH = 1u;
#endif
@group(0) @binding(0) var<storage, read> o_parts: array<Value>;
@group(0) @binding(1) var<storage, read> lse_parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> o: array<Value>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;
#import shared/grid
const LOWEST: f32 = -3.4028234e38;

fn part_lse(s: u32, row: u32) -> f32 {
    let found = lse_parts[s * p.rows + row];
    return select(found, LOWEST, found == -LOWEST);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    let row = i / p.units;
    let head = row / p.tq;
    let at =
        (head / p.heads * p.o_batch + head % p.heads * p.o_head + row % p.tq * p.o_row) / EACH
        + i % p.units;
    var top = LOWEST;
    for (var s = 0u; s < p.parts; s += 1u) { top = max(top, part_lse(s, row)); }
    var total = 0.0;
    var sum = Value();
    for (var s = 0u; s < p.parts; s += 1u) {
        let found = part_lse(s, row);
        // Where no part has a key, all weights are 0 and not exp(0).
        let weight = select(exp(found - top), 0.0, found == LOWEST);
        total += weight;
        sum += weight * o_parts[s * (p.part_stride / EACH) + at];
    }
    // Of NaN, `!=` is not true in what naga makes of it.
    let seen = !(total == 0.0);
    o[at] = select(Value(), sum / total, seen);
    if i % p.units == 0u { lse[row] = select(-LOWEST, top + log(total), seen); }
}
