//! The activations as their definitions read.

use super::Function;
use crate::spec::Real;

/// Returns the error function by its series, or by the continued fraction of its complement (A&S
/// 7.1.5 and 7.1.14).
pub fn erf<T: Real>(x: T) -> T {
    let (zero, one, two) = (T::zero(), T::one(), T::of(2.0));
    let a = x.abs();
    let tail = T::of(std::f64::consts::FRAC_2_SQRT_PI);
    let value = if a < T::of(2.5) {
        let (mut term, mut sum, mut n) = (a, a, zero);
        for _ in 0..80 {
            n += one;
            term = -term * a * a / n;
            sum += term / (two * n + one);
        }
        tail * sum
    } else {
        let mut fraction = zero;
        for k in (1..=60).rev() {
            fraction = T::of(k as f64 / 2.0) / (a + fraction);
        }
        one - tail / two * (-a * a).exp() / (a + fraction)
    };
    if x < zero { -value } else { value }
}

pub fn activate<T: Real>(f: Function, x: T) -> T {
    let one = T::one();
    match f {
        Function::Relu => x.max(T::zero()),
        Function::Silu => x / (one + (-x).exp()),
        Function::Gelu => T::of(0.5) * x * (one + erf(x * T::of(std::f64::consts::FRAC_1_SQRT_2))),
        Function::Leaky => x.max(x * T::of(0.2)),
        Function::Softplus => x.max(T::zero()) + (-x.abs()).exp().ln_1p(),
        Function::Tanh => x.tanh(),
    }
}

pub fn slope<T: Real>(f: Function, x: T) -> T {
    let one = T::one();
    match f {
        Function::Relu => {
            if x > T::zero() {
                one
            } else {
                T::zero()
            }
        }
        Function::Silu => {
            let s = one / (one + (-x).exp());
            s * (one + x * (one - s))
        }
        Function::Gelu => {
            let normal = T::of(0.398_942_280_401_432_7) * (T::of(-0.5) * x * x).exp();
            T::of(0.5) * (one + erf(x * T::of(std::f64::consts::FRAC_1_SQRT_2))) + x * normal
        }
        Function::Leaky => {
            if x > T::zero() {
                one
            } else {
                T::of(0.2)
            }
        }
        Function::Softplus => one / (one + (-x).exp()),
        Function::Tanh => one - x.tanh() * x.tanh(),
    }
}
