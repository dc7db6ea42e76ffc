// The sRGB transfer function, IEC 61966-2-1, of colours in [0, 1].
fn to_linear(v: vec3<f32>) -> vec3<f32> {
    return select(pow((v + 0.055) / 1.055, vec3<f32>(2.4)), v / 12.92, v <= vec3<f32>(0.04045));
}
fn from_linear(v: vec3<f32>) -> vec3<f32> {
    let light = clamp(v, vec3<f32>(0.0), vec3<f32>(1.0));
    return select(
        1.055 * pow(light, vec3<f32>(1.0 / 2.4)) - 0.055,
        light * 12.92,
        light <= vec3<f32>(0.0031308),
    );
}
