// y[r,c] = x[r,c] + b[c]
//
// x, y: f32 [R, C], b: f32 [C] (as vec4 with VEC, where C is a multiple of 4). One invocation loads
// b once for four columns (VEC) or one, and adds it in ROWS rows. Reads 4 R C + 4 C bytes, writes 4
// R C.
struct Params { rows: u32, units: u32 }
var<immediate> p: Params;
#ifdef VEC
alias Value = vec4<f32>;
#else
alias Value = f32;
#endif
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> b: array<Value>;
@group(0) @binding(2) var<storage, read_write> y: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    let row = i / p.units * ROWS;
    if row >= p.rows { return; }
    let unit = i % p.units;
    let addend = b[unit];
    let at = row * p.units + unit;
#unroll s 0 ROWS
    if row + {s}u < p.rows { y[at + {s}u * p.units] = x[at + {s}u * p.units] + addend; }
#end
}
