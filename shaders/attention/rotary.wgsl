// (y[2i], y[2i+1]) = (c x[2i] - s x[2i+1], s x[2i] + c x[2i+1]),  (c, s) = (cos, sin) of the angle
// of pair i at the row's position (Su et al. 2021, equation 34); INVERSE turns back, which is the
// gradient
//
// x, y: f32 [B, T, PARTS, H, D], D even; the parts from the third on are copied. table: f32 [P, D],
// the pairs (c, s) of a position. Row (b, t) has the position start + t, with EACH starts[b] + t;
// past the table's last it has the last; with ROWS queries have rows[b, t].x and keys rows[b, t].y,
// u32 [B T, 2]. As vec4 with VEC, where D is a multiple of 4, else as
// vec2: one invocation turns two pairs or one. Reads 8 bytes an element, writes 4.
struct Params {
    n: u32, units: u32, per_part: u32, parts: u32, t: u32, start: u32, last: u32, pad: u32
}
var<immediate> p: Params;
#ifdef VEC
alias Pairs = vec4<f32>;
fn turn(x: Pairs, a: Pairs) -> Pairs {
    return x * a.xxzz + vec4<f32>(-x.y, x.x, -x.w, x.z) * a.yyww;
}
#else
alias Pairs = vec2<f32>;
fn turn(x: Pairs, a: Pairs) -> Pairs { return x * a.xx + vec2<f32>(-x.y, x.x) * a.yy; }
#endif
@group(0) @binding(0) var<storage, read> x: array<Pairs>;
@group(0) @binding(1) var<storage, read> table: array<Pairs>;
@group(0) @binding(2) var<storage, read_write> y: array<Pairs>;
#ifdef EACH
@group(0) @binding(3) var<storage, read> starts: array<u32>;
#endif
#ifdef ROWS
@group(0) @binding(3) var<storage, read> rows: array<vec2<u32>>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    let part = i / p.per_part;
    if part % p.parts >= 2u {
        y[i] = x[i];
        return;
    }
    let row = part / p.parts;
#ifdef ROWS
    let place = select(rows[row].x, rows[row].y, part % p.parts == 1u);
#elif EACH
    let place = min(starts[row / p.t], p.last) + row % p.t;
#else
    let place = p.start + row % p.t;
#endif
    var angle = table[min(place, p.last) * p.units + i % p.units];
#ifdef INVERSE
#ifdef VEC
    angle *= vec4<f32>(1.0, -1.0, 1.0, -1.0);
#else
    angle *= vec2<f32>(1.0, -1.0);
#endif
#endif
    y[i] = turn(x[i], angle);
}
