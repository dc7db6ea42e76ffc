// y[n,i,j] = exp(s x[n,i,j] - lse[n,i]) for j <= i + diagonal, else 0;  lse[n,i] = log of the sum
// over these j of exp(s x[n,i,j])
//
// x, y: f32 [N, T, C], lse: f32 [N, T]. One workgroup makes one row, in two walks, in units of four
// columns with VEC, where C is a multiple of 4: each invocation keeps its maximum and the sum under
// it (Milakov and Gimelshein 2018). A row that has no such j is 0, and its lse the largest f32.
// Reads 8 N T C bytes, writes 4 N T (C + 1).
//
// p.rows: N T. p.t: T. p.c: C. p.scale: s.
struct Params { rows: u32, t: u32, c: u32, diagonal: i32, scale: f32 }
var<immediate> p: Params;
#ifdef VEC
const UNIT: u32 = 4u;
alias Value = vec4<f32>;
fn seen(i: u32, count: u32) -> vec4<bool> {
    return 4u * i + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count);
}
fn top_of(v: Value) -> f32 { return max(max(v.x, v.y), max(v.z, v.w)); }
fn total(v: Value) -> f32 { return (v.x + v.y) + (v.z + v.w); }
#else
const UNIT: u32 = 1u;
alias Value = f32;
fn seen(i: u32, count: u32) -> bool { return i < count; }
fn top_of(v: Value) -> f32 { return v; }
fn total(v: Value) -> f32 { return v; }
#endif
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> y: array<Value>;
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;
#import shared/grid
#import shared/reduce
#import shared/group_max

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let row = linear_group(group, groups);
    if row >= p.rows { return; }
    let units = p.c / UNIT;
    let first = row * units;
    let count = u32(clamp(i32(row % p.t) + p.diagonal + 1, 0, i32(p.c)));
    var m = LOWEST;
    var z = 0.0;
    for (var i = lane; i * UNIT < count; i += GROUP) {
        let s = select(Value(LOWEST), x[first + i] * p.scale, seen(i, count));
        let top = max(m, top_of(s));
        z = z * exp(m - top) + total(select(Value(), exp(s - top), seen(i, count)));
        m = top;
    }
    let all = group_max(m, lane, lane).value;
    let sum = group_sum(z * exp(m - all), lane);
    let over = select(0.0, 1.0 / sum, count > 0u);
    for (var i = lane; i < units; i += GROUP) {
        y[first + i] = select(Value(), exp(x[first + i] * p.scale - all) * over, seen(i, count));
    }
    if lane == 0u { lse[row] = select(3.4028234e38, all + log(sum), count > 0u); }
}
