//! Use of a codebook: perplexity, entropy and the number of codes in use.

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

fn kernel() -> Kernel {
    Kernel::new(shader!("quantize/codebook_use"))
}

/// Computes `[perplexity, entropy in bits, codes used]` of the counts u32 [Q, K] of Q codebooks:
/// f32 `[3]`. Perplexity is `exp(-sum p ln p)`; it and the entropy are means over the codebooks
/// that were used, the codes are those of all.
///
/// # Errors
/// If the counts are no matrix of u32, or empty.
pub fn codebook_use(counts: &Tensor) -> Result<Tensor> {
    let [q, k] = counts.dims("codebook_use")?;
    if counts.dtype() != DType::U32 || q * k == 0 {
        return Err(Error::shape(
            "codebook_use",
            "u32 counts [Q, K]",
            format!("{counts:?}"),
        ));
    }
    let y = Tensor::empty(counts.gpu(), &[3], DType::F32)?;
    counts.gpu().dispatch(
        "codebook_use",
        &kernel(),
        &[counts, &y],
        &[q as u32, k as u32],
        [1, 1, 1],
        work(q * k),
    )?;
    let sizes = [("q", q), ("k", k)];
    y.gpu().note_call("codebook_use", &y, sizes);
    Ok(y)
}

fn work(k: usize) -> Work {
    Work {
        flops: 6.0 * k as f64,
        bytes: 8.0 * k as f64,
    }
}

pub(crate) mod reference {
    use super::Real;
    /// Perplexity, entropy in bits and codes used.
    pub fn codebook_use<T: Real>(counts: &[u32]) -> [T; 3] {
        let total: f64 = counts.iter().map(|c| *c as f64).sum();
        if total == 0.0 {
            return [T::zero(); 3];
        }
        let used = counts.iter().filter(|c| **c > 0);
        let entropy: T = used
            .clone()
            .map(|c| T::of(*c as f64 / total))
            .map(|p| -p * p.ln())
            .sum();
        [
            entropy.exp(),
            entropy / T::of(2.0).ln(),
            T::of(used.count() as f64),
        ]
    }
}

/// The registry's row.
pub struct CodebookUse;

impl Operation for CodebookUse {
    fn name(&self) -> &'static str {
        "codebook_use"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["q", "k"],
            &[[1, 1], [1, 3], [2, 64], [3, 65], [1, 512], [1, 8_191]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("q", 1), ("k", 8_192)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (q, k) = (case.get("q"), case.get("k"));
        // A third of the codes unused, and of three codebooks one.
        let count = |i: usize| {
            if i % 3 == 1 || i / k == 2 {
                0
            } else {
                1 + rng.below(1000) as u32
            }
        };
        vec![HostTensor::u32(&[q, k], (0..q * k).map(count).collect())]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![codebook_use(&t[0])?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let k = inputs[0].shape[1];
        let all: Vec<[f64; 3]> = inputs[0]
            .as_u32()
            .chunks(k)
            .map(reference::codebook_use)
            .collect();
        let books = all.iter().filter(|y| y[2] > 0.0).count().max(1) as f64;
        let sum = |i: usize| all.iter().map(|y| y[i]).sum::<f64>();
        vec![HostTensor::f64(
            &[3],
            vec![sum(0) / books, sum(1) / books, sum(2)],
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-5,
            rel: 2e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("q") * case.get("k"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let empty = Tensor::zeros(gpu, &[1, 0], DType::U32)?;
        Ok(vec![refused("no code", codebook_use(&empty))])
    }
}
