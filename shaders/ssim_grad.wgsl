// The gradient of the mean structural similarity with respect to image a: over the windows that hold a pixel,
//
//   da = g[0] / windows  1/2  sum of weight (dS/dm + 2 u dS/dq + v dS/dr),   0 where a lies outside [-1, 1]
//
// a, b, da: f32 [N, H, W, C]; slopes: f32 [3, N, H-10, W-10, C] of ssim_slopes; g: f32 [1]. One invocation makes one element of da.
struct Params { n: u32, h: u32, w: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;   // [11], sum 1
@group(0) @binding(3) var<storage, read> slopes: array<f32>;
@group(0) @binding(4) var<storage, read> g: array<f32>;
@group(0) @binding(5) var<storage, read_write> da: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n * p.h * p.w * p.c { return; }
    let oh = p.h - 10u;
    let ow = p.w - 10u;
    let count = p.n * oh * ow * p.c;
    let c = i % p.c;
    let x = i / p.c % p.w;
    let y = i / (p.c * p.w) % p.h;
    let first = i / (p.c * p.w * p.h) * oh * ow;
    // The windows that begin at most ten rows and columns before the pixel, and lie inside.
    let y_lo = max(y, 10u) - 10u;
    let y_hi = min(y, oh - 1u);
    let x_lo = max(x, 10u) - 10u;
    let x_hi = min(x, ow - 1u);
    var sums = vec3<f32>();
    for (var wy = y_lo; wy <= y_hi; wy += 1u) {
        for (var wx = x_lo; wx <= x_hi; wx += 1u) {
            let at = (first + wy * ow + wx) * p.c + c;
            let weight = weights[y - wy] * weights[x - wx];
            sums += weight * vec3<f32>(slopes[at], slopes[count + at], slopes[2u * count + at]);
        }
    }
    let u = 0.5 * a[i] + 0.5;
    let v = clamp(0.5 * b[i] + 0.5, 0.0, 1.0);
    let slope = 0.5 * g[0] / f32(count) * (sums.x + 2.0 * u * sums.y + v * sums.z);
    da[i] = select(0.0, slope, u >= 0.0 && u <= 1.0);
}
