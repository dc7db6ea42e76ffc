// The first half of the way back: each row's sum over the windows above it that hold it.
//
//   columns[n, y, x, c] = sum over windows (n, z, x, c) with z <= y <= z + 10
//       of weights[y - z] slopes[n, z, x, c]
//
// slopes: vec4 [N, H-10, W-10, C] of ssim with SLOPES; columns: vec4 [N, H, W-10, C]. One
// invocation makes one element.
struct Params { n: u32, h: u32, w: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> slopes: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;   // [11], sum 1
@group(0) @binding(2) var<storage, read_write> columns: array<vec4<f32>>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    let wide = (p.w - 10u) * p.c;
    let high = p.h - 10u;
    if i >= p.n * p.h * wide { return; }
    let y = i / wide % p.h;
    let first = i / wide / p.h * high * wide + i % wide;
    var sums = vec4<f32>();
    for (var z = max(y, 10u) - 10u; z <= min(y, high - 1u); z += 1u) {
        sums += weights[y - z] * slopes[first + z * wide];
    }
    columns[i] = sums;
}
