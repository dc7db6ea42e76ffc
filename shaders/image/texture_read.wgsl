// y[h, w, :] = 2 v - 1, v = texel[h, w], held in [0, 1]; with LEVELS, the nearest of its
// LEVELS + 1 steps
//
// y: f32 [H, W, C], display-encoded (sRGB). C = 1 is the luma (Rec. 709 weights), 3 the colours, 4
// alpha too. With LINEAR, texels are linear light, as -srgb formats hand them out, and are encoded
// again. One invocation makes one pixel. Reads H W texels, writes 4 H W C bytes.
override W: u32;
override H: u32;
override C: u32;
override LEVELS: u32;
override LINEAR: u32;
@group(0) @binding(0) var texels: texture_2d<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/srgb

fn value(v: f32) -> f32 {
    if LEVELS == 0u { return 2.0 * clamp(v, 0.0, 1.0) - 1.0; }
    // Whole numbers, and the product of shaders/image/image.wgsl: the same bits as of the same
    // bytes.
    let level = i32(floor(clamp(v, 0.0, 1.0) * f32(LEVELS) + 0.5));
    return f32(2 * level - i32(LEVELS)) * (1.0 / max(f32(LEVELS), 1.0));
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) place: vec3<u32>) {
    if place.x >= W || place.y >= H { return; }
    let texel = textureLoad(texels, place.xy, 0);
    var colour = texel.rgb;
    if LINEAR != 0u { colour = from_linear(colour); }
    // The bytes, before they are weighed: a texture unit's own decoding is not exact.
    if LEVELS != 0u { colour = floor(colour * f32(LEVELS) + 0.5) / max(f32(LEVELS), 1.0); }
    let at = (place.y * W + place.x) * C;
    if C == 1u {
        y[at] = value(dot(colour, vec3<f32>(0.2126, 0.7152, 0.0722)));
        return;
    }
    y[at] = value(colour.r);
    y[at + 1u] = value(colour.g);
    y[at + 2u] = value(colour.b);
    if C > 3u { y[at + 3u] = value(texel.a); }
}
