//! Fills a tensor with one value.

use super::{Case, ErrorInputs, Host, Operation, Rng, Tolerance, case, chunks, groups_for};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::{Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    bits: u32,
}

fn kernel() -> Kernel {
    Kernel::new(shader!("fill"))
}

/// Sets every 4-byte word of `y` to `bits`.
pub fn fill_bits(y: &Tensor, bits: u32) -> Result<()> {
    fill_in_parts(y, bits, y.gpu().limits().max_storage_buffer_binding_size)
}

fn fill_in_parts(y: &Tensor, bits: u32, limit: u64) -> Result<()> {
    let words = y.words();
    for (start, n) in chunks(words.len(), limit) {
        let params = Params { n: n as u32, bits };
        let work = Work { flops: 0.0, bytes: 4.0 * n as f64 };
        y.gpu().dispatch("fill", &kernel(), &[&words.view(start, &[n])?], &params, groups_for(n, 256), work)?;
    }
    Ok(())
}

/// Sets every element of `y`, a tensor of f32, to `value`.
pub fn fill(y: &Tensor, value: f32) -> Result<()> {
    fill_bits(y, value.to_bits())
}

/// The registry's row.
pub struct Fill;

impl Operation for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 7, 255, 256, 257, 40_000].into_iter().map(|n| case(&[("n", n)])).collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, _: &Case, _: &mut Rng) -> Vec<Host> {
        Vec::new()
    }
    fn run(&self, gpu: &Gpu, case: &Case, _: &[Tensor]) -> Result<Vec<Tensor>> {
        let y = Tensor::empty(gpu, &[case.get("n")], DType::F32)?;
        fill(&y, 1.25)?;
        Ok(vec![y])
    }
    fn twin(&self, case: &Case, _: &[Host]) -> Vec<Host> {
        let n = case.get("n");
        vec![Host::f64(&[n], vec![1.25; n])]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        Work { flops: 0.0, bytes: 4.0 * case.get("n") as f64 }
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        Ok(vec![("a shape beyond any memory", Tensor::zeros(gpu, &[usize::MAX / 2, 3], DType::F32).map(drop))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    #[test]
    fn parts_fill_the_whole() {
        let gpu = Gpu::new(Options { poison: true, ..Default::default() }).unwrap();
        let y = Tensor::empty(&gpu, &[1001], DType::F32).unwrap();
        fill_in_parts(&y, 2.5f32.to_bits(), 1024).unwrap();
        assert_eq!(y.read::<f32>().unwrap(), [2.5; 1001]);
        let bytes = Tensor::zeros(&gpu, &[7], DType::U8).unwrap();
        assert_eq!(bytes.read::<u8>().unwrap(), [0; 7]);
    }
}
