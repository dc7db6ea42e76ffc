// The gradient of the mean structural similarity with respect to image a: over the windows that
// hold a pixel,
//
//   da = g[0] / windows  1/2  sum of weight (dS/dm + 2 u dS/dq + v dS/dr),
//     0 where a lies outside [-1, 1]
//
// a, b, da: f32 [N, H, W, C]; columns: vec4 [N, H, W-10, C] of ssim_grad_columns; g: f32 [1]. One
// invocation makes one element of da.
struct Params { n: u32, h: u32, w: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;   // [11], sum 1
@group(0) @binding(3) var<storage, read> columns: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> g: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.h * p.w * p.c { return; }
    let ow = p.w - 10u;
    let x = i / p.c % p.w;
    let first = i / (p.c * p.w) * ow * p.c + i % p.c;
    var sums = vec4<f32>();
    for (var z = max(x, 10u) - 10u; z <= min(x, ow - 1u); z += 1u) {
        sums += weights[x - z] * columns[first + z * p.c];
    }
    let u = 0.5 * a[i] + 0.5;
    let v = clamp(0.5 * b[i] + 0.5, 0.0, 1.0);
    let windows = f32(p.n * (p.h - 10u) * ow * p.c);
    let slope = 0.5 * g[0] / windows * (sums.x + 2.0 * u * sums.y + v * sums.z);
    da[i] = select(0.0, slope, u >= 0.0 && u <= 1.0);
}
