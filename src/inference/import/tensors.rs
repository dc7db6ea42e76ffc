//! Tensors of a safetensors file as numbers.

use super::names::Names;
use crate::nn::HostTensors;
use crate::{Error, Result};
use safetensors::Dtype;

/// The most dimensions of a tensor: a convolution over time and space has five.
const MOST_DIMENSIONS: usize = 5;

/// Returns the shape and the numbers of a tensor of f32, f16 or bf16. The shape has 1 to 5
/// dimensions, none of them 0, so that products of some of them are at most the file's size.
///
/// # Errors
/// If it has another shape or elements of another type, or one is not finite.
pub(super) fn numbers(
    name: &str,
    dtype: Dtype,
    shape: &[usize],
    bytes: &[u8],
) -> Result<(Vec<usize>, Vec<f32>)> {
    let of = |what: String| Error::data(format!("tensor `{name}`: {what}"));
    if !(1..=MOST_DIMENSIONS).contains(&shape.len()) || shape.contains(&0) {
        return Err(of(format!(
            "its shape is {shape:?}: 1 to {MOST_DIMENSIONS} dimensions were expected, none of \
             them 0; the file is damaged, or of no such model"
        )));
    }
    let values = floats(dtype, bytes).map_err(|e| of(e.to_string()))?;
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        return Err(of(format!(
            "its value {i} of {} is {}: it is damaged",
            values.len(),
            values[i]
        )));
    }
    Ok((shape.to_vec(), values))
}

/// Returns one of the tensors of a program's tokenizer.
///
/// # Errors
/// If there is none of that name.
pub(super) fn one<'a>(
    all: &'a HostTensors,
    name: &str,
    of: Names,
) -> Result<&'a (Vec<usize>, Vec<f32>)> {
    let missing = || {
        let program = of.program();
        Error::data(format!(
            "the tensor `{name}` is missing: it is no whole tokenizer of {program}"
        ))
    };
    all.get(name).ok_or_else(missing)
}

/// Returns the error about a tensor that has another shape than that of a program's tokenizer.
pub(super) fn unlike(name: &str, shape: &[usize], of: Names) -> Error {
    let program = of.program();
    Error::data(format!(
        "the tensor `{name}` has shape {shape:?}, unlike that of {program}"
    ))
}

fn floats(dtype: Dtype, data: &[u8]) -> Result<Vec<f32>> {
    let pairs = || {
        data.chunks_exact(2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    match dtype {
        Dtype::F32 => Ok(data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()),
        Dtype::F16 => Ok(pairs().map(|b| half::f16::from_bits(b).to_f32()).collect()),
        Dtype::BF16 => Ok(pairs().map(|b| half::bf16::from_bits(b).to_f32()).collect()),
        other => Err(Error::data(format!(
            "its elements are {other:?}; f32, f16 or bf16 were expected"
        ))),
    }
}
