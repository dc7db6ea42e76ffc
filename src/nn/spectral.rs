//! The spectral norm of weights (Miyato et al. 2018, "Spectral normalization for generative
//! adversarial networks", algorithm 1).

use super::{ForwardContext, Handle, HostTensors, Init, Parameters};
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::ops::linalg::matmul::{Transpose, matmul};
use crate::ops::norm::l2_norm::l2_norm;
use crate::{Error, Result};

/// Divides a weight [O, ..] by its largest singular value as a matrix of O rows, estimated by one
/// power iteration a step.
#[derive(Debug)]
pub struct SpectralNorm {
    weight: Handle,
    name: String,
    /// Left and right singular vectors, [1, O] and [1, K].
    vectors: Option<[Tensor; 2]>,
}

/// Power iterations before the first step.
const BEGIN: usize = 16;

fn matrix(params: &Parameters, weight: Handle) -> Result<Tensor> {
    let w = params.get(weight)?;
    let rows = w.shape()[0];
    w.reshape(&[rows, w.len() / rows])
}

impl SpectralNorm {
    /// Creates the norm of a weight; its vectors are saved under `name`.
    pub fn new(weight: Handle, name: &str) -> SpectralNorm {
        SpectralNorm {
            weight,
            name: name.into(),
            vectors: None,
        }
    }

    /// Places the vectors of `seed` and iterates until they are close to the singular ones.
    ///
    /// # Errors
    /// If the device fails.
    pub fn begin(&mut self, gpu: &Gpu, params: &Parameters, seed: u64) -> Result<()> {
        let w = matrix(params, self.weight)?;
        let [rows, columns] = w.dims("spectral norm")?;
        let random = |part: &str, n: usize| {
            let values = Init::Normal(1.0).values(seed, &format!("{}.{part}", self.name), n);
            l2_norm(&Tensor::from_slice(gpu, &[1, n], &values)?)
        };
        self.vectors = Some([random("u", rows)?, random("v", columns)?]);
        (0..BEGIN).try_for_each(|_| self.iterate(params))
    }

    fn vectors(&self) -> Result<&[Tensor; 2]> {
        self.vectors
            .as_ref()
            .ok_or_else(|| Error::invalid("spectral norm", "it was used before it began"))
    }

    /// `v = W^T u`, `u = W v`, each brought to length 1.
    ///
    /// # Errors
    /// If it did not begin, or the device fails.
    pub fn iterate(&self, params: &Parameters) -> Result<()> {
        let (w, [u, v]) = (matrix(params, self.weight)?, self.vectors()?);
        v.copy_from(&l2_norm(&matmul(u, &w, Transpose::NONE, None)?)?)?;
        u.copy_from(&l2_norm(&matmul(v, &w, Transpose::B, None)?)?)
    }

    /// Computes `W / (u^T W v)`, of W's shape. The vectors are constants.
    ///
    /// # Errors
    /// If it did not begin, or the device fails.
    pub fn weight(&self, pass: &ForwardContext) -> Result<Var> {
        let (tape, w, [u, v]) = (pass.tape, pass.param(self.weight)?, self.vectors()?);
        let rows = w.shape()[0];
        let flat = tape.reshape(&w, &[rows, w.tensor().len() / rows])?;
        let product = tape.matmul(&tape.constant(v), &flat, Transpose::B)?;
        let sigma = tape.matmul(&product, &tape.constant(u), Transpose::B)?;
        tape.divide_by(&w, &tape.reshape(&sigma, &[1])?)
    }

    /// Its vectors, by name.
    ///
    /// # Errors
    /// If the device fails.
    pub fn save(&self) -> Result<HostTensors> {
        let [u, v] = self.vectors()?;
        let one = |part: &str, t: &Tensor| {
            Ok((
                format!("{}.{part}", self.name),
                (vec![t.len()], t.read::<f32>()?),
            ))
        };
        [one("u", u), one("v", v)].into_iter().collect()
    }

    /// Takes what [`SpectralNorm::save`] gave.
    ///
    /// # Errors
    /// If a vector is missing or has another length.
    pub fn load(&self, state: &HostTensors) -> Result<()> {
        let [u, v] = self.vectors()?;
        let [new_u, new_v] = self.taken(state)?;
        u.write(new_u)?;
        v.write(new_v)
    }

    /// Checks that [`SpectralNorm::load`] takes a state.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn check(&self, state: &HostTensors) -> Result<()> {
        self.taken(state).map(drop)
    }

    /// Returns both vectors in a state.
    fn taken<'a>(&self, state: &'a HostTensors) -> Result<[&'a [f32]; 2]> {
        let [u, v] = self.vectors()?;
        let of = |part: &str, len: usize| {
            let name = format!("{}.{part}", self.name);
            let values = state.get(&name).map(|(_, values)| values.as_slice());
            let missing = || Error::data(format!("`{name}` of {len} values is missing"));
            let values = values.filter(|values| values.len() == len);
            values.ok_or_else(missing)
        };
        Ok([of("u", u.len())?, of("v", v.len())?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::Tape;
    use crate::gpu::Options;

    /// diag(5, 2, 1, 0.5) turned: the largest singular value is 5, whatever the turn.
    #[test]
    fn divides_by_the_largest_singular_value() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let mut b = Parameters::builder();
        let w = b.declare("w", &[2, 2, 2, 1], Init::Zeros);
        let params = b.build(&gpu, 0).unwrap();
        // Rows (3, 4) / 5 and (-4, 3) / 5, times singular values 5 and 2, from columns (1, 0, 0, 0)
        // and (0, 0, 1, 0).
        let turned = [3.0f32, 0.0, -1.6, 0.0, 4.0, 0.0, 1.2, 0.0];
        params.get(w).unwrap().write(&turned).unwrap();
        let mut norm = SpectralNorm::new(w, "n");
        let tape = Tape::no_grad(&gpu);
        assert!(norm.weight(&ForwardContext::new(&tape, &params)).is_err());
        norm.begin(&gpu, &params, 3).unwrap();
        let got = norm
            .weight(&ForwardContext::new(&tape, &params))
            .unwrap()
            .tensor()
            .read::<f32>()
            .unwrap();
        for (g, t) in got.iter().zip(turned) {
            assert!((g - t / 5.0).abs() < 1e-4, "{got:?}");
        }
        let saved = norm.save().unwrap();
        let mut other = SpectralNorm::new(w, "n");
        other.begin(&gpu, &params, 4).unwrap();
        other.load(&saved).unwrap();
        assert_eq!(other.save().unwrap(), saved);
        assert!(
            other
                .load(&HostTensors::new())
                .unwrap_err()
                .to_string()
                .contains("n.u")
        );
    }

    /// The gradient of a function of the normalised weight, against central differences with the
    /// vectors held.
    #[test]
    fn the_gradient_is_that_of_the_quotient() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let mut b = Parameters::builder();
        let w = b.declare("w", &[3, 5], Init::Normal(1.0));
        let params = b.build(&gpu, 5).unwrap();
        let mut norm = SpectralNorm::new(w, "n");
        norm.begin(&gpu, &params, 3).unwrap();
        let weights: Vec<f32> = (0..15).map(|i| (i as f32 * 0.7).sin()).collect();
        let c = Tensor::from_slice(&gpu, &[15, 1], &weights).unwrap();
        let value = |pass: &ForwardContext| {
            let flat = pass
                .tape
                .reshape(&norm.weight(pass).unwrap(), &[1, 15])
                .unwrap();
            let y = pass
                .tape
                .matmul(&flat, &pass.tape.constant(&c), Transpose::NONE)
                .unwrap();
            pass.tape.reshape(&y, &[1]).unwrap()
        };
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let y = value(&pass);
        let gradients = pass.gradients(tape.backward(&y).unwrap());
        let got = gradients[0].1.read::<f32>().unwrap();
        let start: Vec<f32> = params.get(w).unwrap().read().unwrap();
        for i in 0..15 {
            let at = |step: f32| {
                let mut moved = start.clone();
                moved[i] += step;
                params.get(w).unwrap().write(&moved).unwrap();
                let still = Tape::no_grad(&gpu);
                f64::from(
                    value(&ForwardContext::new(&still, &params))
                        .tensor()
                        .read::<f32>()
                        .unwrap()[0],
                )
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!(
                (slope - f64::from(got[i])).abs() < 2e-3,
                "{i}: {slope} {}",
                got[i]
            );
        }
    }
}
