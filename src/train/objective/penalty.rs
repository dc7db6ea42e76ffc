//! What keeps a discriminator from running away: R1, and LeCAM.

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::{HostTensors, Parameters, Pass};
use crate::ops::activation::Function;
use crate::ops::add::add;
use crate::ops::clip::global_norm;
use crate::ops::lerp::lerp_assign;
use crate::ops::loss::Loss;
use crate::ops::scale::scale;
use crate::ops::scale_by::{divide_by, dot, scale_by};
use crate::{Error, Result};

/// How far images are moved, each, as a length in [-1, 1] pixels: so little that a discriminator is straight along the way, and enough that
/// f32 holds the difference.
const STEP: f32 = 0.05;

/// The sum over images of the mean logit: [1].
fn score(tape: &Tape, logits: &Var, images: usize) -> Result<Var> {
    tape.scale(&tape.mean(logits)?, images as f32, 0.0)
}

/// R1 (Mescheder et al. 2018, equation 9): `weight / 2` times the mean over real images x [B, H, W, C] of the squared length of the gradient
/// of an image's mean logit. Returns a term [1] for the loss of `pass`, which has the right gradients and a value that means nothing, and
/// the squared length [1].
///
/// The gradient with respect to weights would be that of a gradient. With v the gradient at x, it is `weight / B` times the derivative of the
/// score along v, v held, and so that of a difference of two scores (Pearlmutter 1994): two passes more, and no second derivative of any
/// kernel.
pub(super) fn gradient_penalty(
    pass: &Pass,
    params: &Parameters,
    judge: &dyn Fn(&Pass, &Var) -> Result<Var>,
    x: &Tensor,
    weight: f32,
) -> Result<(Var, Tensor)> {
    let (gpu, images) = (x.gpu(), x.shape()[0]);
    let inner = Tape::new(gpu);
    let leaf = inner.leaf(x);
    let logits = judge(&Pass::new(&inner, params).frozen(), &leaf)?;
    let slope = inner.backward(&score(&inner, &logits, images)?)?.take(&leaf);
    let v = slope.ok_or_else(|| Error::invalid("gradient penalty", "the discriminator does not see its images"))?;
    let squared = scale(&dot(&v, &v)?, 1.0 / images as f32, 0.0)?;
    // The length is never 0, so that v / |v| is a number.
    let length = scale(&global_norm(&v, f32::INFINITY)?.view(0, &[1])?, 1.0, 1e-12)?;
    let step = STEP * (images as f32).sqrt();
    let ahead = scale(&divide_by(&v, &length)?, step, 0.0)?;
    let tape = pass.tape;
    let score_at = |side: f32| {
        let moved = tape.constant(&add(x, &scale(&ahead, side, 0.0)?)?);
        score(tape, &judge(pass, &moved)?, images)
    };
    let difference = tape.add(&score_at(1.0)?, &tape.scale(&score_at(-1.0)?, -1.0, 0.0)?)?;
    let factor = scale(&length, weight / (images as f32 * 2.0 * step), 0.0)?;
    Ok((tape.scale_by(&difference, &tape.constant(&factor))?, squared))
}

/// Moving averages of the discriminator's mean logits, for LeCAM (Tseng et al. 2021, "Regularizing generative adversarial networks under
/// limited data", equations 3 and 4).
pub(super) struct Averages {
    real: Tensor,
    fake: Tensor,
    /// Steps that they have seen.
    pub(super) seen: u64,
}

/// How slowly they follow.
const DECAY: f64 = 0.99;

impl Averages {
    pub(super) fn new(gpu: &Gpu) -> Result<Averages> {
        let zero = || Tensor::zeros(gpu, &[1], DType::F32);
        Ok(Averages { real: zero()?, fake: zero()?, seen: 0 })
    }

    /// Takes in the mean logits of a step. The first steps count as much as the plain mean would have them.
    pub(super) fn see(&mut self, real: &Tensor, fake: &Tensor) -> Result<()> {
        let early = self.seen as f64 / (1 + self.seen) as f64;
        let weight = 1.0 - DECAY.min(early);
        lerp_assign(&self.real, real, weight)?;
        lerp_assign(&self.fake, fake, weight)?;
        self.seen += 1;
        Ok(())
    }

    /// The mean of `max(real - fakes' average, 0)^2` plus that of `max(reals' average - fake, 0)^2`: [1], as in the authors' code.
    pub(super) fn penalty(&self, tape: &Tape, real: &Var, fake: &Var) -> Result<Var> {
        let part = |logits: &Var, sign: f32, average: &Tensor| {
            let n = logits.tensor().len();
            let column = tape.scale(&tape.reshape(logits, &[n, 1])?, sign, 0.0)?;
            let beyond = tape.bias(&column, &tape.constant(&scale(average, -sign, 0.0)?))?;
            let beyond = tape.activation(Function::Relu, &beyond)?;
            let zero = Tensor::zeros(tape.gpu(), &[n, 1], DType::F32)?;
            tape.loss(Loss::Mse, &beyond, &tape.constant(&zero))
        };
        tape.add(&part(real, 1.0, &self.fake)?, &part(fake, -1.0, &self.real)?)
    }

    pub(super) fn save(&self) -> Result<HostTensors> {
        let one = |name: &str, t: &Tensor| Ok((name.to_owned(), (vec![1], t.read::<f32>()?)));
        [one("real", &self.real), one("fake", &self.fake)].into_iter().collect()
    }

    pub(super) fn load(&mut self, state: &HostTensors, seen: u64) -> Result<()> {
        for (name, t) in [("real", &self.real), ("fake", &self.fake)] {
            let missing = || Error::data(format!("the checkpoint's average of {name} logits is missing"));
            let (_, values) = state.get(name).filter(|(_, v)| v.len() == 1).ok_or_else(missing)?;
            t.write(values)?;
        }
        self.seen = seen;
        Ok(())
    }
}

/// `value`, and `slope`, times what comes back, as its gradient with respect to y: what was found of y on another tape.
pub(super) fn carry(tape: &Tape, y: &Var, value: Tensor, slope: Tensor) -> Var {
    tape.record(value, &[y], move |g, _| Ok(vec![Some(scale_by(&slope, g)?)]))
}
