// x[n,iy,ix,c] = bias[c] + g sum over ky, kx of y[n,oy,ox,(ky,kx,c)],  oy s - p + ky = iy,
//   ox s - p + kx = ix
//
// y: f32 [N, OH, OW, KH KW I], x: [N, H, W, I]; s stride, p padding: unfold transposed. With BIAS
// [I]; with RELU_MASK g = 1 where mask [N, H, W, I] > 0 and 0 elsewhere. One invocation makes one
// pixel; the grid's y and z are iy and n. Taps are added in their order. Reads 4 N OH OW KH KW I
// bytes, writes 4 N H W I.
struct Params { h: u32, w: u32, i: u32, oh: u32, ow: u32, kh: u32, kw: u32, stride: u32, pad: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
#ifdef BIAS
@group(0) @binding(2) var<storage, read> bias: array<f32>;
#endif
#ifdef RELU_MASK
@group(0) @binding(3) var<storage, read> mask: array<f32>;
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let ix = group.x * 64u + lane;
    if ix >= p.w { return; }
    let to = ((group.z * p.h + group.y) * p.w + ix) * p.i;
    let row = i32(p.kh * p.kw * p.i);
    for (var c = 0u; c < p.i; c += 1u) {
        var sum = 0.0;
        // Taps of this pixel's phase: from one to the next, ky grows by the stride and oy falls by
        // one.
        var oy = i32((group.y + p.pad) / p.stride);
        for (var ky = (group.y + p.pad) % p.stride; ky < p.kh; ky += p.stride) {
            var ox = i32((ix + p.pad) / p.stride);
            for (var kx = (ix + p.pad) % p.stride; kx < p.kw; kx += p.stride) {
                let inside = oy >= 0 && oy < i32(p.oh) && ox >= 0 && ox < i32(p.ow);
                let at = ((i32(group.z * p.oh) + oy) * i32(p.ow) + ox) * row
                    + i32((ky * p.kw + kx) * p.i + c);
                sum += select(0.0, y[select(0, at, inside)], inside);
                ox -= 1;
            }
            oy -= 1;
        }
#ifdef BIAS
        sum += bias[c];
#endif
#ifdef RELU_MASK
        sum = select(sum, 0.0, mask[to + c] <= 0.0);
#endif
        x[to + c] = sum;
    }
}
