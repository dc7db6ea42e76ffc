// y[n,oy,ox,(ky,kx,c)] = x[n, oy s - p + ky, ox s - p + kx, c], 0 outside of x
//
// x: f32 [N, H, W, I], y: [N, OH, OW, KH KW I]; s stride, p padding: the patches that a convolution
// sums over, so that it becomes a 1 x 1 one. One invocation copies one row (ky) of one patch, KW I
// numbers that lie side by side in x; the grid's y and z are oy and n. VEC stores four at a time,
// where KW I is a multiple of 4. Reads 4 N OH OW KH KW I bytes at most, writes as many.
struct Params { h: u32, w: u32, i: u32, oh: u32, ow: u32, kh: u32, kw: u32, stride: u32, pad: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
#ifdef VEC
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#endif

fn value(base: i32, t: i32, lo: i32, hi: i32) -> f32 {
    let inside = t >= lo && t < hi;
    return select(0.0, x[select(0, base + t, inside)], inside);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = group.x * 64u + lane;
    let ox = at / p.kh;
    let ky = at % p.kh;
    if ox >= p.ow { return; }
    let run = i32(p.kw * p.i);
    let iy = i32(group.y * p.stride + ky) - i32(p.pad);
    let ix = i32(ox * p.stride) - i32(p.pad);
    // The numbers lo..hi of the run lie in the image.
    let lo = max(0, -ix) * i32(p.i);
    let hi = select(0, min(run, (i32(p.w) - ix) * i32(p.i)), iy >= 0 && iy < i32(p.h));
    let base = ((i32(group.z * p.h) + iy) * i32(p.w) + ix) * i32(p.i);
    let to = (((group.z * p.oh + group.y) * p.ow + ox) * p.kh + ky) * u32(run);
#ifdef VEC
    for (var t = 0; t < run; t += 4) {
        y[(to + u32(t)) / 4u] = vec4<f32>(
            value(base, t, lo, hi), value(base, t + 1, lo, hi),
            value(base, t + 2, lo, hi), value(base, t + 3, lo, hi),
        );
    }
#else
    for (var t = 0; t < run; t += 1) { y[to + u32(t)] = value(base, t, lo, hi); }
#endif
}
