//! How a codebook is used: perplexity, entropy and the number of codes in use.

use super::{Case, Host, Operation, Real, Rng, Tolerance, case};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::{Error, Result, shader};

fn kernel() -> Kernel {
    Kernel::new(shader!("codebook_use"))
}

/// `[perplexity, entropy in bits, codes used]` of counts u32 [K]: f32 [3]. Perplexity is `exp(-sum p ln p)`.
///
/// # Errors
/// If the counts are no vector of u32, or empty.
pub fn codebook_use(counts: &Tensor) -> Result<Tensor> {
    let [k] = counts.dims("codebook_use")?;
    if counts.dtype() != DType::U32 || k == 0 {
        return Err(Error::shape("codebook_use", "u32 counts [K]", format!("{counts:?}")));
    }
    let y = Tensor::empty(counts.gpu(), &[3], DType::F32)?;
    counts.gpu().dispatch("codebook_use", &kernel(), &[counts, &y], &[k as u32], [1, 1, 1], work(k))?;
    Ok(y)
}

fn work(k: usize) -> Work {
    Work { flops: 6.0 * k as f64, bytes: 8.0 * k as f64 }
}

pub(crate) mod twin {
    use super::Real;
    /// Perplexity, entropy in bits and codes used.
    pub fn codebook_use<T: Real>(counts: &[u32]) -> [T; 3] {
        let total: f64 = counts.iter().map(|c| *c as f64).sum();
        if total == 0.0 {
            return [T::zero(); 3];
        }
        let used = counts.iter().filter(|c| **c > 0);
        let entropy: T = used.clone().map(|c| T::of(*c as f64 / total)).map(|p| -p * p.ln()).sum();
        [entropy.exp(), entropy / T::of(2.0).ln(), T::of(used.count() as f64)]
    }
}

/// The registry's row.
pub struct CodebookUse;

impl Operation for CodebookUse {
    fn name(&self) -> &'static str {
        "codebook_use"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 3, 64, 65, 512, 8_191].map(|k| case(&[("k", k)])).to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("k", 8_192)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<Host> {
        let k = case.get("k");
        // A third of the codes unused.
        vec![Host::u32(&[k], (0..k).map(|i| if i % 3 == 1 { 0 } else { 1 + rng.below(1000) as u32 }).collect())]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![codebook_use(&t[0])?])
    }
    fn twin(&self, _: &Case, inputs: &[Host]) -> Vec<Host> {
        vec![Host::f64(&[3], twin::codebook_use::<f64>(inputs[0].as_u32()).to_vec())]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance { abs: 1e-5, rel: 2e-5 }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("k"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn hostile(&self, gpu: &Gpu) -> Vec<(&'static str, Result<()>)> {
        let empty = Tensor::zeros(gpu, &[0], DType::U32);
        vec![("no code", empty.and_then(|x| codebook_use(&x).map(drop)))]
    }
}
