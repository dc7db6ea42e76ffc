//! Fills a tensor with one value.

use crate::gpu::{Kernel, Tensor, Work, chunks, groups_for};
use crate::{Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    bits: u32,
}

pub(crate) fn kernel() -> Kernel {
    Kernel::new(shader!("elementwise/fill"))
}

/// Sets every 4-byte word of `y` to `bits`.
pub fn fill_bits(y: &Tensor, bits: u32) -> Result<()> {
    fill_in_parts(y, bits, y.gpu().limits().max_storage_buffer_binding_size)
}

fn fill_in_parts(y: &Tensor, bits: u32, limit: u64) -> Result<()> {
    let words = y.words();
    for (start, n) in chunks(words.len(), limit) {
        let params = Params { n: n as u32, bits };
        let work = Work {
            flops: 0.0,
            bytes: 4.0 * n as f64,
        };
        y.gpu().dispatch(
            "fill",
            &kernel(),
            &[&words.view(start, &[n])?],
            &params,
            groups_for(n, 256),
            work,
        )?;
    }
    Ok(())
}

/// Sets every element of `y`, a tensor of f32, to `value`.
pub fn fill(y: &Tensor, value: f32) -> Result<()> {
    fill_bits(y, value.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DType, Gpu, Options};

    #[test]
    fn parts_fill_the_whole() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let y = Tensor::empty(&gpu, &[1001], DType::F32).unwrap();
        fill_in_parts(&y, 2.5f32.to_bits(), 1024).unwrap();
        assert_eq!(y.read::<f32>().unwrap(), [2.5; 1001]);
        let bytes = Tensor::zeros(&gpu, &[7], DType::U8).unwrap();
        assert_eq!(bytes.read::<u8>().unwrap(), [0; 7]);
    }
}
