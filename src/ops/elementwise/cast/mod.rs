//! Floats of one width to another. Gradients are f32 whatever the values were stored in.

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};
use crate::{Error, Result, shader};
use half::{bf16, f16};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
}

fn kernel(widen: bool, brain: bool) -> Kernel {
    Kernel::new(shader!("elementwise/cast"))
        .define(if widen { "WIDEN" } else { "NARROW" }, 1)
        .flag("BRAIN", brain)
}

fn work(n: usize) -> Work {
    Work {
        flops: 0.0,
        bytes: 6.0 * n as f64,
    }
}

/// Computes `x` stored as another float type: f32 to f16 or bf16, rounded to the nearest with ties
/// to even, or back, exactly. Any shape. A tensor that has the type already is returned as it is,
/// without a copy.
///
/// # Errors
/// If either type is no float.
pub fn cast(x: &Tensor, to: DType) -> Result<Tensor> {
    let from = x.dtype();
    if from == to {
        return Ok(x.clone());
    }
    let widen = match (from, to) {
        (DType::F32, DType::F16 | DType::Bf16) => false,
        (DType::F16 | DType::Bf16, DType::F32) => true,
        (DType::F16 | DType::Bf16, DType::F16 | DType::Bf16) => {
            return cast(&cast(x, DType::F32)?, to);
        }
        _ => {
            return Err(Error::shape(
                "cast",
                "floats of 16 or 32 bits",
                format!("{x:?} to {}", to.name()),
            ));
        }
    };
    let brain = DType::Bf16 == if widen { from } else { to };
    let y = Tensor::empty(x.gpu(), x.shape(), to)?;
    let (n, params) = (x.len(), Params { n: x.len() as u32 });
    x.gpu().dispatch(
        "cast",
        &kernel(widen, brain),
        &[x, &y],
        &params,
        groups_for(n, 128),
        work(n),
    )?;
    Ok(y)
}

impl Tape {
    /// Computes `x` stored as another float type, see [`cast`]. The gradient passes as it is.
    pub fn cast(&self, x: &Var, to: DType) -> Result<Var> {
        if x.tensor().dtype() == to {
            return Ok(x.clone());
        }
        let y = cast(x.tensor(), to)?;
        Ok(self.record(y, &[x], |g, _| Ok(vec![Some(g.clone())])))
    }
}

/// The registry's row: there and back, as f16 and as bf16.
pub struct Cast;

impl Operation for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 2, 13, 127, 257, 10_007]
            .into_iter()
            .map(|n| case(&[("n", n)]))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::any(&[0])
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        // Of every size, f16's subnormals and halfway cases among them.
        let n = case.get("n");
        let value = |rng: &mut Rng| {
            let x = f32::from_bits(
                (rng.bits() as u32 & 0x807f_ffff) | (((100 + rng.below(42)) as u32) << 23),
            );
            if rng.below(4) == 0 {
                f32::from_bits(x.to_bits() & !0xfff)
            } else {
                x
            }
        };
        vec![HostTensor::f32(&[n], (0..n).map(|_| value(rng)).collect())]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let there_and_back = |to| cast(&cast(&t[0], to)?, DType::F32);
        Ok(vec![
            there_and_back(DType::F16)?,
            there_and_back(DType::Bf16)?,
        ])
    }
    fn time(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<()> {
        cast(&t[0], DType::F16).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let through = |f: fn(f32) -> f64| {
            HostTensor::f64(
                &[case.get("n")],
                inputs[0].as_f64().iter().map(|x| f(*x as f32)).collect(),
            )
        };
        vec![
            through(|x| f16::from_f32(x).to_f64()),
            through(|x| bf16::from_f32(x).to_f64()),
        ]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        [false, true]
            .into_iter()
            .flat_map(|widen| [kernel(widen, false), kernel(widen, true)])
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let indices = Tensor::zeros(gpu, &[3], DType::U32)?;
        let halves = Tensor::zeros(gpu, &[3], DType::F16)?;
        Ok(vec![
            refused("integers", cast(&indices, DType::F16)),
            refused("to integers", cast(&halves, DType::U32)),
            refused(
                "f16 where f32 is read",
                crate::autograd::accumulate::add(&halves, &halves),
            ),
            refused(
                "f16 where nothing asks",
                super::scale::scale(&halves, 2.0, 0.0),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Cast {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, inputs: &[Var]) -> Result<Var> {
        tape.cast(&tape.cast(&inputs[0], DType::F16)?, DType::F32)
    }
    fn reference(&self, _: &Case, _: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        vec![upstream.clone()]
    }
    /// Rounding has steps; its gradient is defined to be that of the identity.
    fn surrogate(
        &self,
        _: &dyn Operation,
        _: &Case,
        _: &[HostTensor],
        inputs: &[HostTensor],
    ) -> HostTensor {
        inputs[0].clone()
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that [`compare`](crate::spec::compare) cannot hold equal: infinities and NaN; and
    /// every f16 there is, both ways.
    #[test]
    fn every_f16_and_the_ends_of_the_range() {
        let gpu = Gpu::new(Default::default())
            .expect("an adapter; scripts/test.sh installs a software one");
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let halves = Tensor::from_slice(&gpu, &[all.len()], &all).unwrap();
        let wide: Vec<f32> = cast(&halves, DType::F32).unwrap().read().unwrap();
        for (h, w) in all.iter().zip(&wide) {
            assert!(
                h.to_f32().to_bits() == w.to_bits() || (h.is_nan() && w.is_nan()),
                "{h:?} became {w}"
            );
        }
        let ends = [
            65_504.0,
            65_519.9,
            65_520.0,
            -1e30,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            2e-8,
            3e-8,
            -0.0,
        ];
        let x = Tensor::from_slice(&gpu, &[ends.len()], &ends).unwrap();
        let (f, b): (Vec<f16>, Vec<bf16>) = (
            cast(&x, DType::F16).unwrap().read().unwrap(),
            cast(&x, DType::Bf16).unwrap().read().unwrap(),
        );
        for (i, x) in ends.into_iter().enumerate() {
            assert!(
                f[i].to_bits() == f16::from_f32(x).to_bits() || (x.is_nan() && f[i].is_nan()),
                "{x}: {:?}",
                f[i]
            );
            assert!(
                b[i].to_bits() == bf16::from_f32(x).to_bits() || (x.is_nan() && b[i].is_nan()),
                "{x}: {:?}",
                b[i]
            );
        }
    }
}
