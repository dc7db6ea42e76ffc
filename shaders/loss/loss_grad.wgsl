// da[i] = g[0] scale d(a[i] - b[i]),  d(x) = 2 x with SQUARED, sign(x) with ABSOLUTE (0 at 0)
//
// a, b, da: f32 [N], g: f32 [1] (the gradient of the loss), scale = 1/N, or -1/N for b's gradient.
// One invocation makes four elements. Reads 8 N bytes, writes 4 N.
struct Params { n: u32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> g: array<f32>;
@group(0) @binding(3) var<storage, read_write> da: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let start = linear_group(group, groups) * 256u + lane;
    let factor = g[0] * p.scale;
#unroll s 0 4
    let i_{s} = start + {s}u * 64u;
    if i_{s} < p.n {
        let x = a[i_{s}] - b[i_{s}];
#ifdef SQUARED
        da[i_{s}] = factor * 2.0 * x;
#else
        da[i_{s}] = factor * sign(x);
#endif
    }
#end
}
