//! Arrays of the host, as files hold them.

use crate::{Error, Result};
use safetensors::tensor::Dtype;

/// An array of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: Dtype,
    /// Elements, row-major, little-endian.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// Returns an array of f32.
    pub fn f32(shape: &[usize], values: &[f32]) -> HostTensor {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        HostTensor {
            shape: shape.to_vec(),
            dtype: Dtype::F32,
            bytes,
        }
    }

    /// Returns the elements of an array of f32, or of bfloat16, whose values f32 has.
    ///
    /// # Errors
    /// If it holds something else.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let (words, halves) = (self.bytes.as_chunks::<4>().0, self.bytes.as_chunks::<2>().0);
        match self.dtype {
            Dtype::F32 => Ok(words.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::BF16 => Ok(halves.iter().map(widened).collect()),
            other => Err(Error::data(format!(
                "elements are {other:?}, f32 was expected"
            ))),
        }
    }
}

/// Returns the value of a bfloat16 of these bytes.
pub(super) fn widened([low, high]: &[u8; 2]) -> f32 {
    f32::from_le_bytes([0, 0, *low, *high])
}
