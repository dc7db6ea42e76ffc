//! Weights that a step in f32 may give, where rounding its gradient matters.

use super::spec::{decay_len, hyper};
use super::{Decay, Hyper, reference::adam};
use crate::spec::{Case, Data, HostTensor, Operation, Verdict, compare};

/// Returns the least and the greatest weight that [`adam`] may give for a gradient in f32 to which
/// the decay of the weight was added. Where the two cancel, most of what is left is rounding, and a
/// second moment near 0 divides by it.
fn weights_in_f32(
    hyper: &Hyper,
    step: u64,
    decays: bool,
    before: [f64; 3],
    gradient: f64,
) -> [f64; 2] {
    let decay = match hyper.decay {
        Decay::L2 if decays => hyper.weight_decay * before[0],
        _ => return [adam(hyper, step, decays, before, gradient)[0]; 2],
    };
    // Two products and a sum, each rounded by at most 2^-24 of itself.
    let error = (gradient.abs() + decay.abs()) * 2f64.powi(-23);
    // Between them the step is greatest where the whole gradient is 0.
    let nearest = (-decay).clamp(gradient - error, gradient + error);
    let weights = [gradient - error, nearest, gradient + error]
        .map(|gradient| adam(hyper, step, decays, before, gradient)[0]);
    [
        weights.into_iter().fold(f64::INFINITY, f64::min),
        weights.into_iter().fold(f64::NEG_INFINITY, f64::max),
    ]
}

/// A case of a step of Adam: what its operations compare their outputs by.
pub(in crate::ops::optim) struct Steps<'a> {
    hyper: Hyper,
    step: u64,
    /// Weights that decay, the first of all.
    decay_len: usize,
    weights: &'a [f64],
    gradients: &'a [f64],
    /// The factor of all gradients; 0 where the step is passed over.
    factor: f64,
}

impl<'a> Steps<'a> {
    /// Returns what a case's outputs are compared by; `clip` is [norm, factor, whether all finite].
    pub(in crate::ops::optim) fn of(
        case: &Case,
        weights: &'a [f64],
        gradients: &'a [f64],
        clip: &[f64],
    ) -> Steps<'a> {
        Steps {
            hyper: hyper(case),
            step: case.get("t") as u64,
            decay_len: decay_len(case),
            weights,
            gradients,
            factor: if case.get("clip") > 0 { clip[1] } else { 1.0 },
        }
    }

    /// Returns the range of a weight whose moments were these.
    fn range(&self, i: usize, [m, v]: [f64; 2]) -> [f64; 2] {
        let w = self.weights[i];
        if self.factor == 0.0 {
            return [w; 2];
        }
        let (decays, g) = (i < self.decay_len, self.gradients[i] * self.factor);
        weights_in_f32(&self.hyper, self.step, decays, [w, m, v], g)
    }

    /// Compares weights and moments with the reference's: a weight that lies outside of its range,
    /// by how far it does. `moments` are those of each weight before the step.
    pub(in crate::ops::optim) fn compare(
        &self,
        (op, case): (&dyn Operation, &Case),
        moments: impl Fn(usize) -> [f64; 2],
        got: &[HostTensor],
        want: &[HostTensor],
    ) -> Verdict {
        let what = |i: usize| format!("{}({case}) output {i}", op.name());
        if got.len() != want.len() || want.is_empty() {
            let (got, want) = (got.len(), want.len());
            return Verdict::failure(format!("{}: {got} outputs, expected {want}", op.name()));
        }
        let weights = match (&got[0].data, got[0].shape == want[0].shape) {
            (Data::F32(weights), true) => {
                let weights = weights.iter().zip(want[0].as_f64()).enumerate();
                let moved = weights.map(|(i, (got, want))| {
                    let (got, [low, high]) = (f64::from(*got), self.range(i, moments(i)));
                    // A NaN stays one.
                    want + (got - got.clamp(low.min(*want), high.max(*want)))
                });
                HostTensor::f64(&want[0].shape, moved.collect())
            }
            _ => got[0].clone(),
        };
        let first = compare(&what(0), &weights, &want[0], op.tolerance(case, 0));
        (1..got.len()).fold(first, |all, i| {
            all.join(compare(&what(i), &got[i], &want[i], op.tolerance(case, i)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient cancels the decay but for what rounding leaves, over a second moment of 0.
    #[test]
    fn what_rounding_leaves_may_move_a_weight_far() {
        let hyper = Hyper {
            lr: 0.01,
            weight_decay: 0.1,
            eps: 1e-6,
            decay: Decay::L2,
            ..Hyper::default()
        };
        let (w, m) = (0.7f32, 0.9f32);
        let g = -0.1f32 * w + 3e-5;
        let before = [w, m, 0.0].map(f64::from);
        let own = adam(&hyper, 1, true, [w, m, 0.0], g)[0];
        let exact = adam(&hyper, 1, true, before, f64::from(g))[0];
        let [low, high] = weights_in_f32(&hyper, 1, true, before, f64::from(g));
        let near = 4e-6 * exact.abs();
        assert!(
            low <= exact && exact <= high && high - low > near,
            "{low} to {high}"
        );
        assert!(low - near <= f64::from(own) && f64::from(own) <= high + near);
        // What does not cancel moves by no more than is allowed anyway, and without decay nothing.
        let [low, high] = weights_in_f32(&hyper, 1, true, [0.7, 0.9, 0.5], 1.0);
        assert!(high - low < 1e-6);
        let [low, high] = weights_in_f32(&hyper, 1, false, before, f64::from(g));
        assert_eq!(low, high);
    }
}
