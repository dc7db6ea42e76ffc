// tanh within a few units of 2^-24, where a driver's own may overflow to NaN for large arguments.
// NaN stays NaN.
fn tanh_of(x: f32) -> f32 {
    let y = 1.0 - 2.0 / (exp(2.0 * clamp(x, -20.0, 20.0)) + 1.0);
    return select(y, x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}
