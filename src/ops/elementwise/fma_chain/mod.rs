//! Multiply-adds and nothing else: the measure of arithmetic that other kernels are held against.

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    rounds: u32,
    a: f32,
    b: f32,
}

/// Chains per element, and steps per round.
const CHAINS: usize = 8;
const STEPS: usize = 64;
/// The chain is drawn towards b / (1 - a), so that values do not grow, and slowly, so that the
/// result still tells of x.
const A: f32 = 0.999;
const B: f32 = 0.0005;

fn kernel() -> Kernel {
    Kernel::new(shader!("elementwise/fma_chain"))
}

fn work(n: usize, rounds: usize) -> Work {
    Work {
        flops: (2 * CHAINS * STEPS * rounds) as f64 * n as f64,
        bytes: 8.0 * n as f64,
    }
}

/// Eight chains of `64 rounds` multiply-adds on each element of x, f32 `[N]`, summed: f32 `[N]`.
///
/// # Errors
/// If x is not f32.
pub fn fma_chain(x: &Tensor, rounds: usize) -> Result<Tensor> {
    if x.dtype() != DType::F32 {
        return Err(Error::shape(
            "fma_chain",
            "a tensor of f32",
            format!("{x:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let params = Params {
        n: x.len() as u32,
        rounds: rounds as u32,
        a: A,
        b: B,
    };
    let groups = groups_for(x.len(), 64);
    x.gpu().dispatch(
        "fma_chain",
        &kernel(),
        &[x, &y],
        &params,
        groups,
        work(x.len(), rounds),
    )?;
    Ok(y)
}

fn reference<T: Real>(x: T, rounds: usize) -> T {
    let chain = |c: usize| {
        let start = x + T::of(c as f64 / CHAINS as f64);
        (0..STEPS * rounds).fold(start, |z, _| T::of(A as f64) * z + T::of(B as f64))
    };
    (0..CHAINS).map(chain).sum()
}

/// The registry's row.
pub struct FmaChain;

impl Operation for FmaChain {
    fn name(&self) -> &'static str {
        "fma_chain"
    }
    fn cases(&self) -> Vec<Case> {
        cases(["n", "rounds"], &[[1, 1], [61, 2], [1_027, 1]])
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 18), ("rounds", 4)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n")])]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![fma_chain(&t[0], case.get("rounds"))?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y = inputs[0]
            .as_f64()
            .iter()
            .map(|x| reference(*x, case.get("rounds")))
            .collect();
        vec![HostTensor::f64(&inputs[0].shape, y)]
    }
    fn excerpt(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        flops: f64,
    ) -> Option<(Case, Vec<HostTensor>, Vec<HostTensor>)> {
        let n = case.get("n");
        let chosen = crate::spec::excerpt::spread(
            n,
            crate::spec::excerpt::affordable(n, self.work(case).flops, flops),
        );
        let part = |h: &HostTensor| crate::spec::excerpt::rows(h, &chosen);
        Some((
            case.with("n", chosen.len()),
            vec![part(&inputs[0])],
            vec![part(&got[0])],
        ))
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance::sum(CHAINS * STEPS * case.get("rounds"))
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), case.get("rounds"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let integers = Tensor::zeros(gpu, &[4], DType::U32)?;
        Ok(vec![refused("integers", fma_chain(&integers, 1))])
    }
}
