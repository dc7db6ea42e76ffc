//! Group normalisation with an activation behind it, as one operation: nothing is stored between
//! the two, neither for the forward pass nor for the gradient, which computes it anew.

mod spec;

pub use spec::GroupNormActivation;

use super::group_norm::wide::{self, Stored};
use super::group_norm::{Layout, layout};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor};
use crate::ops::elementwise::activation::Function;
use crate::ops::elementwise::cast::cast;
use crate::{Error, Result};

const OP: &str = "group_norm_activation";

/// The activations that there are kernels for.
const FUNCTIONS: [Function; 2] = [Function::Silu, Function::Leaky];

/// The options of [`group_norm_activation`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormActivation {
    /// Groups of channels; they divide the channels.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
    /// The activation: SiLU or leaky ReLU.
    pub function: Function,
    /// The type of the result, f32 or f16. The gradients are f32.
    pub dtype: DType,
}

impl NormActivation {
    fn check(&self) -> Result<()> {
        if !FUNCTIONS.contains(&self.function) {
            let what = format!(
                "{:?} behind a norm: it is SiLU or leaky ReLU; use `group_norm` and `activation`",
                self.function
            );
            return Err(Error::invalid(OP, what));
        }
        if !matches!(self.dtype, DType::F32 | DType::F16) {
            let got = self.dtype.name();
            return Err(Error::shape(OP, "a result in f32 or f16", got));
        }
        Ok(())
    }

    fn layout(&self, x: &Tensor) -> Result<Layout> {
        self.check()?;
        layout(OP, x, self.groups, self.eps)
    }

    /// Returns the form in which the kernel stores the result. It writes f16 four channels at a
    /// time.
    fn stored(&self, l: &Layout) -> Stored {
        Stored {
            activation: Some(self.function),
            half: self.dtype == DType::F16 && l.c.is_multiple_of(4),
        }
    }
}

fn kernels() -> Vec<Kernel> {
    wide::kernels(&FUNCTIONS.map(Some))
}

/// Computes `f(w (x - mean) / sqrt(var + eps) + b)`, mean and variance over each image's positions
/// and each group's channels: x f32 [N, H, W, C], weight and bias `[C]`.
///
/// # Errors
/// If the groups do not divide the channels, the shapes do not fit, or there is no such kernel.
pub fn group_norm_activation(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    options: NormActivation,
) -> Result<Tensor> {
    let l = options.layout(x)?;
    let (y, _) = l.forward_wide(OP, [x, weight, bias], options.stored(&l))?;
    cast(&y, options.dtype)
}

impl Tape {
    /// Group normalisation with an activation behind it, see [`group_norm_activation`].
    ///
    /// # Errors
    /// As there.
    pub fn group_norm_activation(
        &self,
        x: &Var,
        weight: &Var,
        bias: &Var,
        options: NormActivation,
    ) -> Result<Var> {
        let l = options.layout(x.tensor())?;
        let (inputs, stored) = ([x, weight, bias], options.stored(&l));
        let (y, _) = l.record_with_moments(OP, self, inputs, stored)?;
        self.cast(&y, options.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};
    use crate::spec::Rng;

    /// The result of a pass forward and back, its dispatches, and the most bytes it held.
    struct Ran {
        values: Vec<Vec<f32>>,
        dispatches: u64,
        peak: u64,
    }

    fn run(
        gpu: &Gpu,
        inputs: &[Tensor],
        upstream: &Tensor,
        norm: impl Fn(&Tape, [&Var; 3]) -> Var,
    ) -> Ran {
        gpu.finish().unwrap();
        gpu.reset_peak();
        let (before, held) = (gpu.counters().dispatches, gpu.memory().in_use);
        let tape = Tape::new(gpu);
        let leaves: Vec<Var> = inputs.iter().map(|t| tape.leaf(t)).collect();
        let y = norm(&tape, [&leaves[0], &leaves[1], &leaves[2]]);
        let kept = y.tensor().clone();
        let gradients = tape.backward_with(&y, upstream.clone()).unwrap();
        let dispatches = gpu.counters().dispatches - before;
        let peak = gpu.memory().peak - held;
        let wide = cast(&kept, DType::F32).unwrap();
        let all = leaves.iter().map(|leaf| gradients.get(leaf).unwrap());
        let values = std::iter::once(&wide).chain(all);
        Ran {
            values: values.map(|t| t.read().unwrap()).collect(),
            dispatches,
            peak,
        }
    }

    /// It is what the operations one after the other compute: where the compiler adds no
    /// contractions of its own, as on a processor, to the bit. It takes a dispatch less each way,
    /// and one more less where they store f16; and an activation less of memory.
    #[test]
    fn it_is_the_norm_and_the_activation_in_fewer_dispatches() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let exact = gpu.info().device_type == wgpu::DeviceType::Cpu;
        let mut rng = Rng::new(11);
        let shape = [3, 17, 13, 12];
        let mut normals = |shape: &[usize]| rng.normals(shape).upload(&gpu).unwrap();
        let inputs = [normals(&shape), normals(&[12]), normals(&[12])];
        let upstream = normals(&shape);
        for function in FUNCTIONS {
            for (dtype, fewer) in [(DType::F32, 2), (DType::F16, 3)] {
                let options = NormActivation {
                    groups: 3,
                    eps: 1e-6,
                    function,
                    dtype,
                };
                let apart = run(&gpu, &inputs, &upstream, |tape, [x, w, b]| {
                    let u = tape.group_norm(x, w, b, 3, 1e-6).unwrap();
                    let y = tape.activation(function, &u).unwrap();
                    tape.cast(&y, dtype).unwrap()
                });
                let fused = run(&gpu, &inputs, &upstream, |tape, [x, w, b]| {
                    tape.group_norm_activation(x, w, b, options).unwrap()
                });
                let what = format!("{function:?} as {}", dtype.name());
                assert_eq!(fused.dispatches + fewer, apart.dispatches, "{what}");
                let activation = 4 * shape.iter().product::<usize>() as u64;
                assert!(fused.peak + activation <= apart.peak, "{what}");
                for (i, (a, b)) in apart.values.iter().zip(&fused.values).enumerate() {
                    assert_eq!(a.len(), b.len());
                    for (j, (a, b)) in a.iter().zip(b).enumerate() {
                        let near = (a - b).abs() <= 1e-3 + 1e-3 * a.abs();
                        let same = a.to_bits() == b.to_bits();
                        assert!(same || !exact && near, "{what}, {i}[{j}]: {a} and {b}");
                    }
                }
            }
        }
    }
}
