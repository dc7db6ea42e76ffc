// Structural similarity (Wang et al. 2004, equation 13): for each image, channel and place of an 11 x 11 window that lies
// inside, (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a + s_b + C2)) with Gaussian weights of deviation 1.5
//
// a, b: f32 [N, H, W, C], values in [-1, 1], read as pixels in [0, 1]: C1 = 0.01^2, C2 = 0.03^2. y: f32 [N, H-10, W-10, C]. One
// invocation makes one element; both are clamped to [0, 1].
struct Params { n: u32, h: u32, w: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;   // [11], sum 1
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    let oh = p.h - 10u;
    let ow = p.w - 10u;
    if i >= p.n * oh * ow * p.c { return; }
    let c = i % p.c;
    let x0 = i / p.c % ow;
    let y0 = i / (p.c * ow) % oh;
    let first = i / (p.c * ow * oh) * p.h * p.w;
    var sums = vec4<f32>();     // a, b, a^2 + b^2, ab
    for (var dy = 0u; dy < 11u; dy += 1u) {
        for (var dx = 0u; dx < 11u; dx += 1u) {
            let at = (first + (y0 + dy) * p.w + x0 + dx) * p.c + c;
            let u = clamp(0.5 * a[at] + 0.5, 0.0, 1.0);
            let v = clamp(0.5 * b[at] + 0.5, 0.0, 1.0);
            sums += weights[dy] * weights[dx] * vec4<f32>(u, v, u * u + v * v, u * v);
        }
    }
    let both = sums.x * sums.x + sums.y * sums.y;
    let product = sums.x * sums.y;
    let top = (2.0 * product + 1e-4) * (2.0 * (sums.w - product) + 9e-4);
    y[i] = top / ((both + 1e-4) * (sums.z - both + 9e-4));
}
