//! Checking the gradient of anything that runs on a tape, for rules that have no reference in f64.

use crate::autograd::{Tape, Var};
use crate::gpu::Gpu;
use crate::spec::{Data, HostTensor, Rng, Tolerance, Verdict, compare};
use crate::{Error, Result};

/// Options of [`gradient_check`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientCheck {
    /// Step of the central differences. The device computes in f32, so a small one drowns in
    /// rounding.
    pub eps: f64,
    /// Allowed distance of a gradient from its difference.
    pub tolerance: Tolerance,
    /// Elements of each input that are looked at, at most.
    pub samples: usize,
    /// Seed of the upstream gradient and of the choice of elements.
    pub seed: u64,
}

impl Default for GradientCheck {
    fn default() -> Self {
        GradientCheck {
            eps: 1e-2,
            tolerance: Tolerance {
                abs: 2e-3,
                rel: 2e-2,
            },
            samples: 32,
            seed: 1,
        }
    }
}

/// Compares the gradients of `f` with central differences, under a random upstream gradient (all
/// ones would be blind to softmax and norms). `inputs` are arrays of f32; `f` gets a leaf for each.
///
/// Differences in f32 tell a wrong rule from a right one, and no more: an operation of the registry
/// has an f64 reference.
///
/// # Errors
/// If `f` fails, an input is not f32, or a gradient does not arrive.
///
/// ```
/// use wgvq::verify::{GradientCheck, gradient_check};
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::spec::Rng;
/// use wgvq::ops::elementwise::activation::Function;
/// use wgvq::ops::linalg::matmul::Transpose;
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let mut rng = Rng::new(7);
/// let inputs = [rng.normals(&[5, 3]), rng.normals(&[3, 4])];
/// let verdict = gradient_check(&gpu, &inputs, GradientCheck::default(), |tape, v| {
///     tape.activation(Function::Silu, &tape.matmul(&v[0], &v[1], Transpose::NONE)?)
/// })?;
/// assert!(verdict.pass, "{}", verdict.detail);
/// # Ok(())
/// # }
/// ```
pub fn gradient_check(
    gpu: &Gpu,
    inputs: &[HostTensor],
    options: GradientCheck,
    f: impl Fn(&Tape, &[Var]) -> Result<Var>,
) -> Result<Verdict> {
    let leaves = |tape: &Tape, inputs: &[HostTensor]| -> Result<Vec<Var>> {
        inputs
            .iter()
            .map(|h| Ok(tape.leaf(&h.upload(gpu)?)))
            .collect()
    };
    let tape = Tape::new(gpu);
    let vars = leaves(&tape, inputs)?;
    let output = f(&tape, &vars)?;
    let mut rng = Rng::new(options.seed);
    let upstream = rng.normals(output.shape());
    let weights = upstream.widened();
    let gradients = tape.backward_with(&output, upstream.upload(gpu)?)?;
    drop(output);
    let objective = |inputs: &[HostTensor]| -> Result<f64> {
        let tape = Tape::no_grad(gpu);
        let y = f(&tape, &leaves(&tape, inputs)?)?.tensor().read::<f32>()?;
        Ok(y.iter()
            .zip(weights.as_f64())
            .map(|(y, w)| *y as f64 * w)
            .sum())
    };
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for (number, var) in vars.iter().enumerate() {
        let gradient = gradients
            .get(var)
            .ok_or_else(|| Error::data(format!("input {number} has no gradient")))?;
        let gradient = gradient.read::<f32>()?;
        let len = inputs[number].len();
        let chosen: Vec<usize> = if len <= options.samples {
            (0..len).collect()
        } else {
            (0..options.samples).map(|_| rng.below(len)).collect()
        };
        for i in chosen {
            let shifted = |by: f64| -> Result<f64> {
                let mut moved = inputs.to_vec();
                match &mut moved[number].data {
                    Data::F32(v) => v[i] += by as f32,
                    _ => return Err(Error::data(format!("input {number} is not f32"))),
                }
                objective(&moved)
            };
            got.push(gradient[i] as f64);
            want.push((shifted(options.eps)? - shifted(-options.eps)?) / (2.0 * options.eps));
        }
    }
    let n = got.len();
    Ok(compare(
        "gradient",
        &HostTensor::f64(&[n], got),
        &HostTensor::f64(&[n], want),
        options.tolerance,
    ))
}
