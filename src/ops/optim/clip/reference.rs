//! The global norm and the factor that brings it below a bound, as PyTorch's `clip_grad_norm_`
//! defines them.

use crate::spec::Real;

/// `[norm, factor, finite]` of `x`.
pub fn global_norm<T: Real>(x: &[T], max_norm: T) -> [T; 3] {
    let norm = x.iter().map(|x| *x * *x).sum::<T>().sqrt();
    if norm.is_finite() {
        [
            norm,
            (max_norm / (norm + T::of(1e-6))).min(T::one()),
            T::one(),
        ]
    } else {
        [norm, T::zero(), T::zero()]
    }
}

/// `[norm, factor, finite, scale]` of gradients that are `x` over a loss scale, and the state of
/// that scale, `[scale, finite gradients in a row]`, after them; they are finite.
pub fn scaled_norm<T: Real>(
    x: &[T],
    max_norm: T,
    [scale, run]: [T; 2],
    growth: u32,
) -> ([T; 4], [T; 2]) {
    let own: Vec<T> = x.iter().map(|x| *x / scale).collect();
    let [norm, factor, finite] = global_norm(&own, max_norm);
    let run = run + T::one();
    let state = match run >= T::of(growth.into()) {
        true => [scale + scale, T::zero()],
        false => [scale, run],
    };
    ([norm, factor / scale, finite, scale], state)
}
