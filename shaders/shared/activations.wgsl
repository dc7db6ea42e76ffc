// The activation functions and their slopes.

// erf by Abramowitz and Stegun 7.1.26 would err by 1.5e-7, too much beside f32's 6e-8; this is a
// series in t = x^2 for |x| < 1 and their rational form with a refined tail beyond
// (W. J. Cody, Math. Comp. 23, 1969).
fn erf_small(x: f32) -> f32 {
    let t = x * x;
    // Maclaurin series of erf(x)/x, to x^18: below 3e-9 on |x| < 1.
    var s = 1.0 / 6894720.0;
    s = s * t - 1.0 / 685440.0;
    s = s * t + 1.0 / 75600.0;
    s = s * t - 1.0 / 9360.0;
    s = s * t + 1.0 / 1320.0;
    s = s * t - 1.0 / 216.0;
    s = s * t + 1.0 / 42.0;
    s = s * t - 1.0 / 10.0;
    s = s * t + 1.0 / 3.0;
    return 1.1283791670955126 * x * (1.0 - t * s);
}
fn erf_large(x: f32) -> f32 {
    let a = abs(x);
    let q = 1.0 / (1.0 + 0.5 * a);
    var s = 0.17087277;
    s = s * q - 0.82215223;
    s = s * q + 1.48851587;
    s = s * q - 1.13520398;
    s = s * q + 0.27886807;
    s = s * q - 0.18628806;
    s = s * q + 0.09678418;
    s = s * q + 0.37409196;
    s = s * q + 1.00002368;
    s = s * q - 1.26551223;
    let r = 1.0 - q * exp(-a * a + s);
    return select(r, -r, x < 0.0);
}
fn erf(x: f32) -> f32 {
    if abs(x) < 1.0 { return erf_small(x); }
    return erf_large(x);
}

#ifdef RELU
// `max` may take the other number for NaN, and hide that a network is broken.
fn activate(x: f32) -> f32 { return select(x, 0.0, x <= 0.0); }
fn slope(x: f32) -> f32 { return select(0.0, 1.0, x > 0.0); }
#endif
#ifdef SILU
fn activate(x: f32) -> f32 { return x / (1.0 + exp(-x)); }
fn slope(x: f32) -> f32 {
    let s = 1.0 / (1.0 + exp(-x));
    return s * (1.0 + x * (1.0 - s));
}
#endif
#ifdef GELU
fn activate(x: f32) -> f32 { return 0.5 * x * (1.0 + erf(x * 0.7071067811865476)); }
fn slope(x: f32) -> f32 {
    return 0.5 * (1.0 + erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * exp(-0.5 * x * x);
}
#endif
#ifdef LEAKY
fn activate(x: f32) -> f32 { return select(0.2 * x, x, x > 0.0); }
fn slope(x: f32) -> f32 { return select(0.2, 1.0, x > 0.0); }
#endif
#ifdef SOFTPLUS
// Of large numbers nothing overflows.
fn activate(x: f32) -> f32 { return max(x, 0.0) + log(1.0 + exp(-abs(x))); }
fn slope(x: f32) -> f32 { return 1.0 / (1.0 + exp(-x)); }
#endif
#ifdef TANH
#import shared/tanh
fn activate(x: f32) -> f32 { return tanh_of(x); }
fn slope(x: f32) -> f32 {
    let y = activate(x);
    return 1.0 - y * y;
}
#endif
