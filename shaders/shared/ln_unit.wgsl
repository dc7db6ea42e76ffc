// Where a driver's log may err by 2^-21 near 1, this stays within 2e-7 of the truth, relatively.
// The coefficients are those of S. Moshier's Cephes library (logf).

// ln(k / 2^24) for k in 1..=2^24: k = m 2^e with m in [sqrt 1/2, sqrt 2).
fn ln_unit(k: u32) -> f32 {
    let bits = bitcast<u32>(f32(k));
    var e = f32(i32(bits >> 23u) - 151);
    var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
    if m > 1.4142135 {
        m = m * 0.5;
        e = e + 1.0;
    }
    let f = m - 1.0;
    var s = 7.0376836292e-2;
    s = s * f - 1.1514610310e-1;
    s = s * f + 1.1676998740e-1;
    s = s * f - 1.2420140846e-1;
    s = s * f + 1.4249322787e-1;
    s = s * f - 1.6668057665e-1;
    s = s * f + 2.0000714765e-1;
    s = s * f - 2.4999993993e-1;
    s = s * f + 3.3333331174e-1;
    let z = f * f;
    let tail = s * f * z - 2.12194440e-4 * e - 0.5 * z;
    return f + tail + 0.693359375 * e;
}
