//! Dropout (Srivastava et al. 2014), inverted: what stays is scaled up, so that nothing changes
//! when it is left out. The mask is made from the key again in the backward pass and never stored.

use super::random::{Key, philox};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, chunks, groups_for};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    block0: u32,
    stream: u32,
    threshold: u32,
    step: [u32; 2],
    seed: [u32; 2],
    scale: f32,
    pad: u32,
}

fn kernel() -> Kernel {
    Kernel::new(shader!("sampling/dropout"))
}

fn work(n: usize) -> Work {
    Work {
        flops: 60.0 * n as f64,
        bytes: 8.0 * n as f64,
    }
}

/// Words below this drop their element.
fn threshold(rate: f32) -> u32 {
    (f64::from(rate) * 4_294_967_296.0) as u32
}

/// Computes `x / (1 - rate)`, with each element 0 with probability `rate` instead: any shape. Which
/// are, the key says alone. At rate 0 it is x.
///
/// # Errors
/// If the rate lies outside [0, 1), or x is not f32.
pub fn dropout(x: &Tensor, rate: f32, key: Key) -> Result<Tensor> {
    dropout_from(x, rate, key, 0)
}

/// [`dropout`] of a part of a larger tensor, of which `before` elements come before it: with the
/// mask that the part has there.
///
/// # Errors
/// As [`dropout`], and if no multiple of four elements comes before.
pub fn dropout_from(x: &Tensor, rate: f32, key: Key, before: usize) -> Result<Tensor> {
    if !before.is_multiple_of(4) {
        let what = format!("{before} elements before: not a multiple of 4");
        return Err(Error::invalid("dropout", what));
    }
    dropout_in_parts(
        x,
        rate,
        key,
        before,
        x.gpu().limits().max_storage_buffer_binding_size,
    )
}

fn dropout_in_parts(x: &Tensor, rate: f32, key: Key, before: usize, limit: u64) -> Result<Tensor> {
    if x.dtype() != DType::F32 {
        return Err(Error::shape("dropout", "a tensor of f32", format!("{x:?}")));
    }
    if !(0.0..1.0).contains(&rate) {
        return Err(Error::invalid(
            "dropout",
            format!("a rate of {rate}: it is at least 0 and below 1"),
        ));
    }
    if rate == 0.0 {
        return Ok(x.clone());
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    for (start, n) in chunks(x.len(), limit) {
        let params = Params {
            n: n as u32,
            block0: ((before + start) / 4) as u32,
            stream: key.stream,
            threshold: threshold(rate),
            step: [key.step as u32, (key.step >> 32) as u32],
            seed: [key.seed as u32, (key.seed >> 32) as u32],
            scale: 1.0 / (1.0 - rate),
            pad: 0,
        };
        let bindings = [&x.view(start, &[n])?, &y.view(start, &[n])?];
        x.gpu().dispatch(
            "dropout",
            &kernel(),
            &bindings,
            &params,
            groups_for(n, 256),
            work(n),
        )?;
    }
    Ok(y)
}

impl Tape {
    /// See [`dropout`].
    ///
    /// # Errors
    /// As [`dropout`].
    pub fn dropout(&self, x: &Var, rate: f32, key: Key) -> Result<Var> {
        self.dropout_from(x, rate, key, 0)
    }

    /// See [`dropout_from`].
    ///
    /// # Errors
    /// As [`dropout_from`].
    pub fn dropout_from(&self, x: &Var, rate: f32, key: Key, before: usize) -> Result<Var> {
        if rate == 0.0 {
            return Ok(x.clone());
        }
        let y = dropout_from(x.tensor(), rate, key, before)?;
        Ok(self.record(y, &[x], move |g, _| {
            Ok(vec![Some(dropout_from(g, rate, key, before)?)])
        }))
    }
}

mod reference {
    use super::{Key, Real, philox, threshold};
    pub fn dropout<T: Real>(x: &[T], rate: f32, key: Key) -> Vec<T> {
        let scale = T::one() / (T::one() - T::of(rate as f64));
        let keep = |word: u32| {
            if word >= threshold(rate) {
                scale
            } else {
                T::zero()
            }
        };
        x.iter()
            .zip(philox::bits(key, x.len()))
            .map(|(x, word)| *x * keep(word))
            .collect()
    }
}

/// The registry's row; `rate` in percent.
pub struct Dropout;

const KEY: Key = Key {
    seed: 0x0fed_cba9_8765_4321,
    step: 5 << 33 | 7,
    stream: 21,
};

fn rate(case: &Case) -> f32 {
    case.get("rate") as f32 / 100.0
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn cases(&self) -> Vec<Case> {
        let sizes = [(1, 50), (2, 10), (7, 10), (257, 0), (257, 99), (40_009, 10)];
        sizes
            .map(|(n, rate)| case(&[("n", n), ("rate", rate)]))
            .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20), ("rate", 10)])]
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        if c.get("rate") > 99 {
            return Err(Error::data(format!(
                "case `{c}`: rate is a percentage below 100"
            )));
        }
        Ok(())
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n")])]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![dropout(&t[0], rate(case), KEY)?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::dropout(inputs[0].as_f64(), rate(case), KEY),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (x, integers) = (
            Tensor::zeros(gpu, &[5], DType::F32)?,
            Tensor::zeros(gpu, &[5], DType::U32)?,
        );
        let at = |rate| dropout(&x, rate, KEY).map(drop);
        Ok(vec![
            ("a rate of 1", at(1.0)),
            ("a rate below 0", at(-0.1)),
            ("a rate of NaN", at(f32::NAN)),
            refused("integers", dropout(&integers, 0.5, KEY)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Dropout {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        tape.dropout(&v[0], rate(case), KEY)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::dropout(upstream.as_f64(), rate(case), KEY),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    #[test]
    fn parts_drop_the_same_elements_as_the_whole() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let x = Rng::new(5).normals(&[1_031]).upload(&gpu).unwrap();
        let whole: Vec<f32> = dropout(&x, 0.3, KEY).unwrap().read().unwrap();
        let parts: Vec<f32> = dropout_in_parts(&x, 0.3, KEY, 0, 256)
            .unwrap()
            .read()
            .unwrap();
        assert_eq!(whole, parts);
    }

    /// Within five deviations of the rate, and another mask at every step.
    #[test]
    fn the_rate_is_kept_and_steps_differ() {
        let n = 100_000;
        let ones = vec![1.0f64; n];
        for rate in [0.1f32, 0.5, 0.9] {
            let [a, b] = [
                KEY,
                Key {
                    step: KEY.step + 1,
                    ..KEY
                },
            ]
            .map(|key| reference::dropout(&ones, rate, key));
            let dropped = a.iter().filter(|y| **y == 0.0).count() as f64;
            let (mean, deviation) = (
                n as f64 * rate as f64,
                (n as f64 * (rate * (1.0 - rate)) as f64).sqrt(),
            );
            assert!(
                (dropped - mean).abs() < 5.0 * deviation,
                "{dropped} of {n} at {rate}"
            );
            let both = a
                .iter()
                .zip(&b)
                .filter(|(a, b)| **a == 0.0 && **b == 0.0)
                .count() as f64;
            assert!(
                (both - mean * rate as f64).abs() < 5.0 * (mean * rate as f64).sqrt(),
                "{both} at {rate}"
            );
        }
    }
}
