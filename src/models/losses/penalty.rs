//! Regularizers of a discriminator: R1 (Mescheder et al. 2018) and LeCAM (Tseng et al. 2021).

use crate::autograd::accumulate::add;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::{ForwardContext, HostTensors, Parameters};
use crate::ops::elementwise::activation::Function;
use crate::ops::elementwise::lerp::{lerp_assign, lerp_if_finite};
use crate::ops::elementwise::scale::scale;
use crate::ops::linalg::scale_by::{divide_by, dot, scale_by};
use crate::ops::loss::loss::Loss;
use crate::ops::optim::clip::global_norm;
use crate::{Error, Result};

/// Distance by which each image is moved, as a length in [-1, 1] pixels: so little that a
/// discriminator is straight along the way, and enough that f32 holds the difference.
const STEP: f32 = 0.05;

/// Computes the sum over images of the mean logit: [1].
fn score(tape: &Tape, logits: &Var, images: usize) -> Result<Var> {
    tape.scale(&tape.mean(logits)?, images as f32, 0.0)
}

/// The gradients of images' mean logits with respect to them, and their length together: where R1
/// looks (Mescheder et al. 2018, equation 9).
pub(crate) struct Slopes {
    /// The gradients of each part of the images.
    each: Vec<Tensor>,
    /// The length of all [1], never 0.
    length: Tensor,
    images: usize,
    /// The mean over images of the squared length [1].
    pub(crate) squared: Tensor,
}

/// Returns the slopes of a discriminator's mean logits at real images, part by part
/// [B, H, W, C].
///
/// # Errors
/// If the device fails.
pub(crate) fn slopes<'a>(
    params: &Parameters,
    judge: &dyn Fn(&ForwardContext, &Var) -> Result<Var>,
    parts: impl IntoIterator<Item = &'a Tensor>,
) -> Result<Slopes> {
    let (mut each, mut images) = (Vec::new(), 0);
    for x in parts {
        let inner = Tape::new(x.gpu());
        let leaf = inner.leaf(x);
        let logits = judge(&ForwardContext::new(&inner, params).frozen(), &leaf)?;
        let slope = inner
            .backward(&score(&inner, &logits, x.shape()[0])?)?
            .take(&leaf);
        each.push(slope.ok_or_else(|| {
            Error::invalid(
                "gradient penalty",
                "the discriminator does not see its images",
            )
        })?);
        images += x.shape()[0];
    }
    let all = Tensor::joined(&each)?;
    let squared = scale(&dot(&all, &all)?, 1.0 / images as f32, 0.0)?;
    // The length is never 0, so that v / |v| is a number.
    let length = scale(
        &global_norm(&all, f32::INFINITY)?.view(0, &[1])?,
        1.0,
        1e-12,
    )?;
    Ok(Slopes {
        each,
        length,
        images,
        squared,
    })
}

impl Slopes {
    /// Returns the share of real images x, the part of this number, in R1: `weight / 2` times the
    /// mean over all images of the squared length of the gradient of an image's mean logit. It is a
    /// term [1] for the loss of `pass`, which has the right gradients and a value that means
    /// nothing.
    ///
    /// The gradient with respect to weights would be that of a gradient. With v the gradient at x,
    /// it is `weight / B` times the derivative of the score along v, v held, and so that of a
    /// difference of two scores (Pearlmutter 1994): two passes more, and no second derivative of
    /// any kernel.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn penalty(
        &self,
        pass: &ForwardContext,
        judge: &dyn Fn(&ForwardContext, &Var) -> Result<Var>,
        x: &Tensor,
        part: usize,
        weight: f32,
    ) -> Result<Var> {
        let (tape, images) = (pass.tape, self.images as f32);
        let step = STEP * images.sqrt();
        let ahead = scale(&divide_by(&self.each[part], &self.length)?, step, 0.0)?;
        let score_at = |side: f32| {
            let moved = tape.constant(&add(x, &scale(&ahead, side, 0.0)?)?);
            score(tape, &judge(pass, &moved)?, x.shape()[0])
        };
        let difference = tape.add(&score_at(1.0)?, &tape.scale(&score_at(-1.0)?, -1.0, 0.0)?)?;
        let factor = scale(&self.length, weight / (images * 2.0 * step), 0.0)?;
        tape.scale_by(&difference, &tape.constant(&factor))
    }
}

/// Moving averages of the discriminator's mean logits, for LeCAM (Tseng et al. 2021, "Regularizing
/// generative adversarial networks under limited data", equations 3 and 4).
pub(crate) struct Averages {
    real: Tensor,
    fake: Tensor,
    /// Steps that they have seen.
    pub(crate) seen: u64,
}

/// Decay of the moving averages.
const DECAY: f64 = 0.99;

impl Averages {
    pub(crate) fn new(gpu: &Gpu) -> Result<Averages> {
        let zero = || Tensor::zeros(gpu, &[1], DType::F32);
        Ok(Averages {
            real: zero()?,
            fake: zero()?,
            seen: 0,
        })
    }

    /// Takes in the mean logits of a step, where the report of its gradients in mixed precision
    /// does not say that it is passed over: logits may be infinite then. The first steps count as
    /// much as the plain mean would have them.
    pub(crate) fn update(
        &mut self,
        real: &Tensor,
        fake: &Tensor,
        report: Option<&Tensor>,
    ) -> Result<()> {
        let early = self.seen as f64 / (1 + self.seen) as f64;
        let weight = 1.0 - DECAY.min(early);
        for (average, logit) in [(&self.real, real), (&self.fake, fake)] {
            match report {
                Some(report) => lerp_if_finite(average, logit, weight, report)?,
                None => lerp_assign(average, logit, weight)?,
            }
        }
        self.seen += 1;
        Ok(())
    }

    /// Computes the mean of `max(real - fakes' average, 0)^2` plus that of
    /// `max(reals' average - fake, 0)^2`: [1], as in the authors' code.
    pub(crate) fn penalty(&self, tape: &Tape, real: &Var, fake: &Var) -> Result<Var> {
        let part = |logits: &Var, sign: f32, average: &Tensor| {
            let n = logits.tensor().len();
            let column = tape.scale(&tape.reshape(logits, &[n, 1])?, sign, 0.0)?;
            let beyond = tape.bias(&column, &tape.constant(&scale(average, -sign, 0.0)?))?;
            let beyond = tape.activation(Function::Relu, &beyond)?;
            let zero = Tensor::zeros(tape.gpu(), &[n, 1], DType::F32)?;
            tape.loss(Loss::Mse, &beyond, &tape.constant(&zero))
        };
        tape.add(
            &part(real, 1.0, &self.fake)?,
            &part(fake, -1.0, &self.real)?,
        )
    }

    pub(crate) fn save(&self) -> Result<HostTensors> {
        let one = |name: &str, t: &Tensor| Ok((name.to_owned(), (vec![1], t.read::<f32>()?)));
        [one("real", &self.real), one("fake", &self.fake)]
            .into_iter()
            .collect()
    }

    /// Checks that [`Averages::load`] takes a state.
    pub(crate) fn check(state: &HostTensors) -> Result<()> {
        let mut names = ["real", "fake"].into_iter();
        names.try_for_each(|name| Averages::taken(state, name).map(drop))
    }

    /// Returns an average in a state.
    fn taken<'a>(state: &'a HostTensors, name: &str) -> Result<&'a [f32]> {
        let values = state.get(name).map(|(_, values)| values.as_slice());
        let missing = || {
            let what = format!("the checkpoint's average of {name} logits is missing");
            Error::data(what)
        };
        values.filter(|v| v.len() == 1).ok_or_else(missing)
    }

    pub(crate) fn load(&mut self, state: &HostTensors, seen: u64) -> Result<()> {
        Averages::check(state)?;
        self.real.write(Averages::taken(state, "real")?)?;
        self.fake.write(Averages::taken(state, "fake")?)?;
        self.seen = seen;
        Ok(())
    }
}

/// Computes `value`, and `slope`, times what comes back, as its gradient with respect to y: what
/// was found of y on another tape.
pub(crate) fn carry(tape: &Tape, y: &Var, value: Tensor, slope: Tensor) -> Var {
    tape.record(value, &[y], move |g, _| {
        Ok(vec![Some(scale_by(&slope, g)?)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;
    use crate::nn::{Conv2d, Handle};
    use crate::ops::conv::Conv;

    fn gpu() -> Gpu {
        Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap()
    }

    fn random(gpu: &Gpu, shape: &[usize], seed: usize) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n)
            .map(|i| ((i + seed) as f32 * 12.9898).sin() * 0.8)
            .collect();
        Tensor::from_slice(gpu, shape, &values).unwrap()
    }

    /// The term's gradient is that of `weight / 2` times the squared length, of which the value is
    /// returned: moved against it, the squared length falls as its slope says. The judge is smooth:
    /// a discriminator's penalty jumps where a rectifier changes sides, of which no gradient tells.
    #[test]
    fn the_gradient_penalty_has_the_penaltys_gradient() {
        let gpu = gpu();
        let conv = Conv {
            stride: 2,
            pad: 1,
            relu: false,
            after: 0,
        };
        let mut b = Parameters::builder();
        let layers = [
            Conv2d::new(&mut b, "a", 3, 6, 4, conv, true),
            Conv2d::new(&mut b, "b", 6, 5, 4, conv, true),
            Conv2d::new(&mut b, "c", 5, 1, 3, Conv { stride: 1, ..conv }, true),
        ];
        let params = b.build(&gpu, 3).unwrap();
        let judge = |pass: &ForwardContext, x: &Var| {
            let mut x = layers[0].forward(pass, x)?;
            for layer in &layers[1..] {
                x = layer.forward(pass, &pass.tape.activation(Function::Silu, &x)?)?;
            }
            Ok(x)
        };
        let x = random(&gpu, &[3, 12, 10, 3], 5);
        let weight = 0.7;
        let penalty = |params: &Parameters| {
            let tape = Tape::new(&gpu);
            let pass = ForwardContext::new(&tape, params);
            let slopes = slopes(params, &judge, [&x]).unwrap();
            let term = slopes.penalty(&pass, &judge, &x, 0, weight).unwrap();
            let value = slopes.squared;
            let gradients = pass.gradients(tape.backward(&term).unwrap());
            let gradients: Vec<(Handle, Vec<f32>)> = gradients
                .iter()
                .map(|(h, g)| (*h, g.read().unwrap()))
                .collect();
            (f64::from(value.read::<f32>().unwrap()[0]), gradients)
        };
        let (before, gradients) = penalty(&params);
        let squares: f64 = gradients
            .iter()
            .flat_map(|(_, g)| g)
            .map(|g| f64::from(*g).powi(2))
            .sum();
        let share = 0.01;
        let step = share * before * f64::from(weight) / 2.0 / squares;
        let start = params.to_host().unwrap();
        let at = |side: f64| {
            let mut host = start.clone();
            for (handle, g) in &gradients {
                let values = &mut host.get_mut(params.name(*handle)).unwrap().1;
                values
                    .iter_mut()
                    .zip(g)
                    .for_each(|(w, g)| *w -= (side * step) as f32 * g);
            }
            params.load_host(&host).unwrap();
            penalty(&params).0
        };
        let fell = (at(-1.0) - at(1.0)) / (2.0 * share * before);
        assert!(
            before > 0.0 && (fell - 1.0).abs() < 0.02,
            "{fell} of what the slope promises, of {before}"
        );
    }

    #[test]
    fn lecam_holds_logits_near_the_others_average() {
        let gpu = gpu();
        let mut averages = Averages::new(&gpu).unwrap();
        let one = |v: f32| Tensor::from_slice(&gpu, &[1], &[v]).unwrap();
        averages.update(&one(1.0), &one(-2.0), None).unwrap();
        averages.update(&one(3.0), &one(-1.0), None).unwrap();
        // The first two count alike: 2 and -1.5.
        let tape = Tape::new(&gpu);
        let leaf = |v: &[f32]| tape.leaf(&Tensor::from_slice(&gpu, &[1, 2, 1, 1], v).unwrap());
        let (real, fake) = (leaf(&[0.5, -2.0]), leaf(&[3.0, 1.0]));
        let penalty = averages.penalty(&tape, &real, &fake).unwrap();
        // (0.5 + 1.5)^2 / 2 and (2 - 1)^2 / 2; the others lie on the right side.
        assert!((penalty.tensor().read::<f32>().unwrap()[0] - 2.5).abs() < 1e-6);
        let gradients = tape.backward(&penalty).unwrap();
        let of = |v: &Var| gradients.get(v).unwrap().read::<f32>().unwrap();
        assert_eq!((of(&real), of(&fake)), (vec![2.0, 0.0], vec![0.0, -1.0]));
        let mut again = Averages::new(&gpu).unwrap();
        again
            .load(&averages.save().unwrap(), averages.seen)
            .unwrap();
        assert_eq!(
            (again.save().unwrap(), again.seen),
            (averages.save().unwrap(), 2)
        );
    }
}
