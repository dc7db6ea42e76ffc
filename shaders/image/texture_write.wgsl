// texel[h, w] = (x[n, h, w, :] + 1) / 2, held in [0, 1]; with LEVELS, the nearest of its
// LEVELS + 1 steps
//
// x: f32 [N, H, W, C] in [-1, 1], display-encoded (sRGB). C = 1 is grey, 3 opaque, 4 has its alpha.
// With LINEAR, colours become linear light: a target that encodes on its own (-srgb) then stores x
// again. One triangle covers the viewport of W x H pixels; the instance is the image n; one
// fragment makes one texel. Reads 4 H W C bytes.
override W: u32;
override H: u32;
override C: u32;
override LEVELS: u32;
override LINEAR: u32;
@group(0) @binding(0) var<storage, read> x: array<f32>;
#import shared/srgb

struct Corner {
    @builtin(position) place: vec4<f32>,
    @location(0) @interpolate(flat) image: u32,
}

@vertex
fn corner(@builtin(vertex_index) i: u32, @builtin(instance_index) image: u32) -> Corner {
    let place = vec2<f32>(f32(i & 1u), f32(i >> 1u)) * 4.0 - 1.0;
    return Corner(vec4<f32>(place, 0.0, 1.0), image);
}

fn value(at: u32) -> f32 {
    let v = clamp(x[at], -1.0, 1.0) + 1.0;
    if LEVELS == 0u { return 0.5 * v; }
    return floor(v * (0.5 * f32(LEVELS)) + 0.5) / f32(LEVELS);
}

@fragment
fn texel(in: Corner) -> @location(0) vec4<f32> {
    let at = ((in.image * H + u32(in.place.y)) * W + u32(in.place.x)) * C;
    var colour = vec3<f32>(value(at));
    var alpha = 1.0;
    if C > 1u { colour = vec3<f32>(colour.x, value(at + 1u), value(at + 2u)); }
    if C > 3u { alpha = value(at + 3u); }
    if LINEAR != 0u { colour = to_linear(colour); }
    return vec4<f32>(colour, alpha);
}
