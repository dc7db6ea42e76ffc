//! Stochastic rounding to bfloat16, of values that are exact.

/// Returns one of the two neighbours of a finite value in bfloat16: the one of smaller size where
/// the value's distance from it is less than `1 - noise / 2^16` of that between the two, and the
/// other one otherwise. `noise` is below 2^16.
pub fn rounded(value: f64, noise: u32) -> f64 {
    let size = value.abs();
    if size == 0.0 {
        return value;
    }
    // bfloat16 has 8 bits of precision, and f32's exponents.
    let exponent = size.log2().floor().max(-126.0);
    let unit = exponent.exp2() / 128.0;
    let (below, share) = ((size / unit).floor(), (size / unit).fract());
    let up = share + f64::from(noise) / 65536.0 >= 1.0;
    (below + f64::from(u8::from(up))) * unit * value.signum()
}
