// dx[n,f] = dy b s (1 + a (1 - s)),  dx[n,F+f] = dy a s,
//   s = 1 / (1 + e^-a): the gradient of swiglu
//
// x, dx: f32 [N, 2 F], dy: f32 [N, F]. As vec4 with VEC, where F is a multiple of 4. One invocation
// makes both for one value of dy. Reads 12 N F bytes, writes 8 N F.
struct Params { n: u32, units: u32 }
var<immediate> p: Params;
#import shared/rows
@group(0) @binding(0) var<storage, read> x: array<Value>;
@group(0) @binding(1) var<storage, read> dy: array<Value>;
@group(0) @binding(2) var<storage, read_write> dx: array<Value>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.units { return; }
    let at = i + i / p.units * p.units;
    let a = x[at];
    let g = dy[i];
    let s = 1.0 / (1.0 + exp(-clamp(a, Value(-80.0), Value(80.0))));
    dx[at] = g * x[at + p.units] * s * (1.0 + a * (1.0 - s));
    dx[at + p.units] = g * a * s;
}
