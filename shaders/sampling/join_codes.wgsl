// token[r] = codes[first[r] K2 + second[r]], log_prob[i] = a[i] + b[i] for the rows i < B; with
// SEQUENCE, sequence[i, column] = token[i], too
//
// first, second: u32 [R], below K1 and K2; codes: u32 [K1 K2]; a, b, log_prob: f32 [B]; token: u32
// [R], R at least B; sequence: u32 [B, L]. One invocation has one row. A half past the last is read
// as the last. Reads 12 R + 8 B bytes, writes 4 R + 4 B and, with SEQUENCE, 4 B.
struct Params { rows: u32, images: u32, second: u32, codes: u32, length: u32, column: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> first: array<u32>;
@group(0) @binding(1) var<storage, read> second: array<u32>;
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> a: array<f32>;
@group(0) @binding(4) var<storage, read> b: array<f32>;
@group(0) @binding(5) var<storage, read_write> token: array<u32>;
@group(0) @binding(6) var<storage, read_write> log_prob: array<f32>;
#ifdef SEQUENCE
@group(0) @binding(7) var<storage, read_write> sequence: array<u32>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_index(group, groups, lane, 64u);
    if row >= p.rows { return; }
    let place = first[row] * p.second + second[row];
    let code = codes[min(place, p.codes - 1u)];
    token[row] = code;
    if row >= p.images { return; }
    log_prob[row] = a[row] + b[row];
#ifdef SEQUENCE
    sequence[row * p.length + p.column] = code;
#endif
}
