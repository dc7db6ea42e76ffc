// y[r,t] = x[r,t] / theta where it is above 0, else x[r,t] theta, for the tokens t =
//     seq[r mod B, first + j stride], j < count
// (Keskar et al. 2019, "CTRL", section 4.1); or out of reach of any other logit, with BAN
//
// With EACH row r has the sequence and the count of at[r mod P], u32 [P, 2]; no count is above
// `count`, and a sequence past the last is read as the last.
//
// x: f32 [R, V], y: the same with a copy of x in it; seq: u32 [B, L]. One invocation has one j of
// one row. A token that occurs again is written again with what it has already. Reads 8 R count
// bytes, writes 4 R count.
struct Params {
    rows: u32, v: u32, sequences: u32, length: u32, first: u32, stride: u32, count: u32, theta: f32,
    places: u32,        // P
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> seq: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#ifdef EACH
@group(0) @binding(3) var<storage, read> at_of: array<vec2<u32>>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.rows * p.count { return; }
    let row = i / p.count;
#ifdef EACH
    let own = at_of[row % p.places];
    if i % p.count >= own.y { return; }
    let sequence = min(own.x, p.sequences - 1u);
#else
    let sequence = row % p.sequences;
#endif
    let token = seq[sequence * p.length + p.first + i % p.count * p.stride];
    if token >= p.v { return; }
    let at = row * p.v + token;
#ifdef BAN
    y[at] = -3.0e38;
#else
    let value = x[at];
    y[at] = select(value * p.theta, value / p.theta, value > 0.0);
#endif
}
