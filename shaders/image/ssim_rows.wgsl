// The first half of the windows of structural similarity (Wang et al. 2004): sums along rows, of
// which ssim.wgsl adds eleven.
//
//   rows[n, y, x, c] = sum over dx of weights[dx] (u, v, u^2 + v^2, u v)[n, y, x + dx, c],
//     u, v: a, b as pixels in [0, 1], clamped
//
// a, b: f32 [N, H, W, C], values in [-1, 1]; rows: vec4 [N, H, W-10, C]. One invocation makes one
// element.
struct Params { n: u32, h: u32, w: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;   // [11], sum 1
@group(0) @binding(3) var<storage, read_write> rows: array<vec4<f32>>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    let wide = (p.w - 10u) * p.c;
    if i >= p.n * p.h * wide { return; }
    let first = i / wide * p.w * p.c + i % wide;
    var sums = vec4<f32>();
    for (var dx = 0u; dx < 11u; dx += 1u) {
        let u = clamp(0.5 * a[first + dx * p.c] + 0.5, 0.0, 1.0);
        let v = clamp(0.5 * b[first + dx * p.c] + 0.5, 0.0, 1.0);
        sums += weights[dx] * vec4<f32>(u, v, u * u + v * v, u * v);
    }
    rows[i] = sums;
}
