// Structural similarity (Wang et al. 2004, equation 13): for each image, channel and place of an 11
// x 11 window that lies inside, with Gaussian weights of deviation 1.5 and the means m = E[u], k =
// E[v], q = E[u^2 + v^2], r = E[u v],
//
//   S = (2 m k + C1)(2 (r - m k) + C2) / ((m^2 + k^2 + C1)(q - m^2 - k^2 + C2)),
//     C1 = 0.01^2, C2 = 0.03^2
//
// rows: vec4 [N, H, W-10, C] of ssim_rows. y: f32 [N, H-10, W-10, C]; with SLOPES, y: vec4
// (dS/dm, dS/dq, dS/dr, 0) of the same places. One invocation makes one element.
struct Params { n: u32, h: u32, w: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> rows: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;   // [11], sum 1
#ifdef SLOPES
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#endif
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    let wide = (p.w - 10u) * p.c;
    let high = p.h - 10u;
    if i >= p.n * high * wide { return; }
    let row = i / wide;
    let first = (row / high * p.h + row % high) * wide + i % wide;
    var sums = vec4<f32>();
    for (var dy = 0u; dy < 11u; dy += 1u) { sums += weights[dy] * rows[first + dy * wide]; }
    let m = sums.x;
    let k = sums.y;
    let both = m * m + k * k;
    let a1 = 2.0 * m * k + 1e-4;
    let a2 = 2.0 * (sums.w - m * k) + 9e-4;
    let b1 = both + 1e-4;
    let b2 = sums.z - both + 9e-4;
    let s = a1 * a2 / (b1 * b2);
#ifdef SLOPES
    let by_mean = 2.0 * k * (a2 - a1) / (b1 * b2) - 2.0 * m * s * (1.0 / b1 - 1.0 / b2);
    y[i] = vec4<f32>(by_mean, -s / b2, 2.0 * a1 / (b1 * b2), 0.0);
#else
    y[i] = s;
#endif
}
