// The slopes of each window's structural similarity (see ssim.wgsl) with respect to three of its means: with weights of sum 1,
// m = E[u], q = E[u^2 + v^2] and r = E[u v],
//
//   S = (2 m k + C1)(2 (r - m k) + C2) / ((m^2 + k^2 + C1)(q - m^2 - k^2 + C2)),   k = E[v]
//
// a, b: f32 [N, H, W, C]; slopes: f32 [3, N, H-10, W-10, C], dS/dm, dS/dq, dS/dr. One invocation makes the three of one window.
struct Params { n: u32, h: u32, w: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;   // [11], sum 1
@group(0) @binding(3) var<storage, read_write> slopes: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    let oh = p.h - 10u;
    let ow = p.w - 10u;
    let count = p.n * oh * ow * p.c;
    if i >= count { return; }
    let c = i % p.c;
    let x0 = i / p.c % ow;
    let y0 = i / (p.c * ow) % oh;
    let first = i / (p.c * ow * oh) * p.h * p.w;
    var sums = vec4<f32>();     // u, v, u^2 + v^2, u v
    for (var dy = 0u; dy < 11u; dy += 1u) {
        for (var dx = 0u; dx < 11u; dx += 1u) {
            let at = (first + (y0 + dy) * p.w + x0 + dx) * p.c + c;
            let u = clamp(0.5 * a[at] + 0.5, 0.0, 1.0);
            let v = clamp(0.5 * b[at] + 0.5, 0.0, 1.0);
            sums += weights[dy] * weights[dx] * vec4<f32>(u, v, u * u + v * v, u * v);
        }
    }
    let m = sums.x;
    let k = sums.y;
    let both = m * m + k * k;
    let a1 = 2.0 * m * k + 1e-4;
    let a2 = 2.0 * (sums.w - m * k) + 9e-4;
    let b1 = both + 1e-4;
    let b2 = sums.z - both + 9e-4;
    let s = a1 * a2 / (b1 * b2);
    slopes[i] = 2.0 * k * (a2 - a1) / (b1 * b2) - 2.0 * m * s * (1.0 / b1 - 1.0 / b2);
    slopes[count + i] = -s / b2;
    slopes[2u * count + i] = 2.0 * a1 / (b1 * b2);
}
