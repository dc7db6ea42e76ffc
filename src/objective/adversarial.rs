//! Losses of discriminator and generator, from logits.

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::config::objective::Adversarial;
use crate::ops::elementwise::activation::Function;

/// Computes the mean of `f(a x + b)`: [1].
fn mean_of(tape: &Tape, f: Function, x: &Var, a: f32, b: f32) -> Result<Var> {
    tape.mean(&tape.activation(f, &tape.scale(x, a, b)?)?)
}

impl Adversarial {
    /// Computes the discriminator's loss, from its logits for real images and for reconstructions:
    /// [1]. Half the sum of both parts, as in taming-transformers.
    pub(super) fn discriminator(self, tape: &Tape, real: &Var, fake: &Var) -> Result<Var> {
        let [real, fake] = match self {
            Adversarial::Hinge => [
                mean_of(tape, Function::Relu, real, -1.0, 1.0)?,
                mean_of(tape, Function::Relu, fake, 1.0, 1.0)?,
            ],
            Adversarial::NonSaturating => [
                mean_of(tape, Function::Softplus, real, -1.0, 0.0)?,
                mean_of(tape, Function::Softplus, fake, 1.0, 0.0)?,
            ],
        };
        tape.scale(&tape.add(&real, &fake)?, 0.5, 0.0)
    }

    /// Computes the generator's loss, from the logits for its reconstructions: [1].
    pub(super) fn generator(self, tape: &Tape, fake: &Var) -> Result<Var> {
        match self {
            Adversarial::Hinge => tape.scale(&tape.mean(fake)?, -1.0, 0.0),
            Adversarial::NonSaturating => mean_of(tape, Function::Softplus, fake, -1.0, 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options, Tensor};

    /// Against the definitions, and each player's gradient by its sign.
    #[test]
    fn losses_are_those_of_the_papers() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let (real, fake) = ([2.0f64, 0.5, -1.0], [-3.0f64, 0.25, 1.5]);
        let soft = |x: f64| x.exp().ln_1p();
        let mean = |v: &[f64], f: &dyn Fn(f64) -> f64| {
            v.iter().map(|x| f(*x)).sum::<f64>() / v.len() as f64
        };
        let wanted = [
            (
                Adversarial::Hinge,
                mean(&real, &|x| (1.0 - x).max(0.0)) + mean(&fake, &|x| (1.0 + x).max(0.0)),
                -mean(&fake, &|x| x),
            ),
            (
                Adversarial::NonSaturating,
                mean(&real, &|x| soft(-x)) + mean(&fake, &soft),
                mean(&fake, &|x| soft(-x)),
            ),
        ];
        for (kind, discriminator, generator) in wanted {
            let tape = Tape::new(&gpu);
            let leaf = |v: &[f64]| {
                let v: Vec<f32> = v.iter().map(|x| *x as f32).collect();
                tape.leaf(&Tensor::from_slice(&gpu, &[1, 3, 1, 1], &v).unwrap())
            };
            let (r, f) = (leaf(&real), leaf(&fake));
            let value = |v: &Var| f64::from(v.tensor().read::<f32>().unwrap()[0]);
            let g = kind.generator(&tape, &f).unwrap();
            assert!((value(&g) - generator).abs() < 1e-6, "{kind:?}");
            let d = kind.discriminator(&tape, &r, &f).unwrap();
            assert!((value(&d) - 0.5 * discriminator).abs() < 1e-6, "{kind:?}");
            let gradients = tape.backward(&d).unwrap();
            let of = |v: &Var| gradients.get(v).unwrap().read::<f32>().unwrap();
            // Larger logits for what is real, smaller for what is not; past its margin the hinge
            // lets go.
            let beyond = if kind == Adversarial::Hinge {
                0.0
            } else {
                f32::NEG_INFINITY
            };
            assert!(of(&r).iter().all(|g| *g <= 0.0) && of(&r)[2] < 0.0 && of(&r)[0] >= beyond);
            assert!(of(&f).iter().all(|g| *g >= 0.0) && of(&f)[2] > 0.0);
        }
    }
}
