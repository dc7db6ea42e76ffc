//! Adam and AdamW as PyTorch's documentation writes them.

use super::{Decay, Hyper};
use crate::spec::Real;

/// One parameter's weight and moments after step `step` (from 1); `decays` says whether weight
/// decay reaches it.
pub fn adam<T: Real>(
    hyper: &Hyper,
    step: u64,
    decays: bool,
    [w, m, v]: [T; 3],
    gradient: T,
) -> [T; 3] {
    let one = T::one();
    let (lr, eps) = (T::of(hyper.lr), T::of(hyper.eps));
    let (beta1, beta2) = (T::of(hyper.beta1), T::of(hyper.beta2));
    let decay = if decays {
        T::of(hyper.weight_decay)
    } else {
        T::zero()
    };
    let (mut w, mut g) = (w, gradient);
    match hyper.decay {
        Decay::L2 => g += decay * w,
        Decay::Decoupled => w = w - lr * decay * w,
    }
    let m = beta1 * m + (one - beta1) * g;
    let v = beta2 * v + (one - beta2) * g * g;
    let m_hat = m / (one - beta1.powf(T::of(step as f64)));
    let v_hat = v / (one - beta2.powf(T::of(step as f64)));
    [w - lr * m_hat / (v_hat.sqrt() + eps), m, v]
}
