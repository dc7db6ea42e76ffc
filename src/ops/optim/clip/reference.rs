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
