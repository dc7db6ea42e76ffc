//! Tensors in 16 bits, where that keeps what they say.

use crate::storage::checkpoint::HostTensor;
use half::f16;
use safetensors::tensor::Dtype;

/// The largest magnitude below which a tensor stays as it is: of one a thousandth as large f16
/// keeps fewer than ten bits.
const LEAST: f32 = 0.0625;

/// Returns a tensor rounded to f16, to the nearest and at ties to the even; as it is where it holds
/// no f32, or numbers too large or too small for f16.
pub(super) fn narrowed(tensor: HostTensor) -> HostTensor {
    let Ok(values) = tensor.to_f32() else {
        return tensor;
    };
    let largest = values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let is_finite = values.iter().all(|v| v.is_finite());
    if !is_finite || largest > f16::MAX.to_f32() || (largest > 0.0 && largest < LEAST) {
        return tensor;
    }
    let bytes = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes());
    HostTensor {
        shape: tensor.shape,
        dtype: Dtype::F16,
        bytes: bytes.collect(),
    }
}

/// Returns a tensor as models have it: f16 as f32.
pub(super) fn widened(tensor: &HostTensor) -> HostTensor {
    if tensor.dtype != Dtype::F16 {
        return tensor.clone();
    }
    let values = tensor
        .bytes
        .chunks_exact(2)
        .map(|b| f16::from_le_bytes([b[0], b[1]]));
    let values: Vec<f32> = values.map(f16::to_f32).collect();
    HostTensor::f32(&tensor.shape, &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_f16_cannot_say_stays() {
        let round = |values: &[f32]| {
            let narrow = narrowed(HostTensor::f32(&[values.len()], values));
            (narrow.dtype, widened(&narrow).to_f32().unwrap())
        };
        assert_eq!(round(&[1.0, -0.5, 0.0]), (Dtype::F16, vec![1.0, -0.5, 0.0]));
        assert_eq!(
            round(&[0.1]),
            (Dtype::F16, vec![f16::from_f32(0.1).to_f32()])
        );
        // Zeros alone, and nothing at all.
        assert_eq!(round(&[0.0, 0.0]).0, Dtype::F16);
        assert_eq!(round(&[]).0, Dtype::F16);
        for kept in [[1e5, 1.0], [1e-3, 0.0], [f32::INFINITY, 1.0]] {
            assert_eq!(round(&kept), (Dtype::F32, kept.to_vec()));
        }
        let whole = HostTensor {
            shape: vec![1],
            dtype: Dtype::U32,
            bytes: vec![7, 0, 0, 0],
        };
        assert_eq!(widened(&narrowed(whole.clone())), whole);
    }
}
