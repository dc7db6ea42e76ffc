// y[n,f] = silu(a) b,  a = x[n,f], b = x[n,F+f],
//   silu(a) = a / (1 + e^-a)   (Shazeer 2020, equation 6)
//
// x: f32 [N, 2 F], y: f32 [N, F]. As vec4 with VEC, where F is a multiple of 4. One invocation
// makes one value of y. Reads 8 N F bytes, writes 4 N F.
struct Params { n: u32, units: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read_write> y: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.units { return; }
    let at = i + i / p.units * p.units;
    let a = x[at];
    y[i] = a / (1.0 + exp(-clamp(a, Value(-80.0), Value(80.0)))) * x[at + p.units];
}
