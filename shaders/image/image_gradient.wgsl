// Differences of neighbouring pixels, and the gradient of it.
//
//   y[n, h, w, 0 .. C] = x[n, h, w + 1] - x[n, h, w],
//     y[n, h, w, C .. 2 C] = x[n, h + 1, w] - x[n, h, w],  0 at the last column, row
//   dx[n, h, w] = sum of dy where it was added, minus dy where it was taken off (GRAD)
//
// x: f32 [N, H, W, C], y: f32 [N, H, W, 2 C]. One invocation makes both differences of an element
// of x, or one element of dx. Reads 12 bytes an element of x and writes 8; with GRAD reads 16 and
// writes 4.
struct Params { n: u32, h: u32, w: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> from_: array<f32>;
@group(0) @binding(1) var<storage, read_write> to_: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    let c = i % p.c;
    let pixel = i / p.c;
    let x = pixel % p.w;
    let y = pixel / p.w % p.h;
    // Of the pixel's differences in the wide tensor.
    let at = 2u * p.c * pixel + c;
#ifdef GRAD
    var sum = 0.0;
    if x > 0u { sum += from_[at - 2u * p.c]; }
    if x + 1u < p.w { sum -= from_[at]; }
    if y > 0u { sum += from_[at + p.c - 2u * p.c * p.w]; }
    if y + 1u < p.h { sum -= from_[at + p.c]; }
    to_[i] = sum;
#else
    let here = from_[i];
    var right = 0.0;
    var below = 0.0;
    if x + 1u < p.w { right = from_[i + p.c] - here; }
    if y + 1u < p.h { below = from_[i + p.c * p.w] - here; }
    to_[at] = right;
    to_[at + p.c] = below;
#endif
}
