// Nearest upsampling by two, and its gradient.
//
//   y[n, h, w, c] = x[n, h / 2, w / 2, c]
//   dx[n, h, w, c] = sum over the four places of dy that read it (GRAD)
//
// x [N, H, W, C], y [N, 2 H, 2 W, C], each V f32 at a time, V of 4 or 1. One invocation makes one
// unit of V: of y, or of dx. The four are added in the order of rows, then columns. Reads 4 bytes
// an element of x (or of dy), writes 4 an element of y (or of dx).
//
// p.units: units of what is made. p.width, p.height: of x. p.c: units of a pixel.
struct Params { units: u32, height: u32, width: u32, c: u32 }
var<immediate> p: Params;
#ifdef VEC
alias T = vec4<f32>;
#else
alias T = f32;
#endif
@group(0) @binding(0) var<storage, read> from_: array<T>;
@group(0) @binding(1) var<storage, read_write> to_: array<T>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.units { return; }
    let c = i % p.c;
    let pixel = i / p.c;
#ifdef GRAD
    let x = pixel % p.width;
    let row = pixel / p.width;
    let wide = 2u * p.width * p.c;
    // Image and row together: the rows of y come in pairs, whatever the image.
    let at = 2u * row * wide + 2u * x * p.c + c;
    to_[i] = ((from_[at] + from_[at + p.c]) + from_[at + wide]) + from_[at + wide + p.c];
#else
    let x = pixel % (2u * p.width);
    let row = pixel / (2u * p.width);
    to_[i] = from_[(row / 2u * p.width + x / 2u) * p.c + c];
#endif
}
