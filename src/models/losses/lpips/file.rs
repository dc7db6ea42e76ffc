//! Weights from a safetensors file, under PyTorch's names and layouts.

use crate::nn::HostTensors;
use crate::{Error, Result, files};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::Path;

/// Instructions for making such a file.
pub(crate) const WAY: &str =
    "`python scripts/convert_lpips.py vgg lpips-vgg.safetensors` makes such a file";

/// The tensors of `path` whose names begin as one of `prefixes` does, as f32.
///
/// # Errors
/// If it cannot be read, is no safetensors file, or one of them holds no floats of 16 or 32 bits.
pub(crate) fn read(path: &Path, prefixes: &[&str]) -> Result<HostTensors> {
    let bytes = files::read(path, files::MODEL).map_err(|e| match e {
        Error::File { path, what } => Error::file(path, format!("{what}; {WAY}")),
        other => other,
    })?;
    let damaged = |e: safetensors::SafeTensorError| {
        Error::file(path, format!("is damaged, or no safetensors file: {e}"))
    };
    let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let mut tensors = HostTensors::new();
    for (name, view) in file
        .iter()
        .filter(|(name, _)| prefixes.iter().any(|p| name.starts_with(p)))
    {
        let values = floats(&view).ok_or_else(|| {
            Error::file(
                path,
                format!(
                    "`{name}` holds {:?}, where f32, f16 or bf16 was expected",
                    view.dtype()
                ),
            )
        })?;
        if let Some(value) = values.iter().find(|v| !v.is_finite()) {
            return Err(Error::file(
                path,
                format!("`{name}` holds the value {value}: it is damaged"),
            ));
        }
        tensors.insert(name.to_owned(), (view.shape().to_vec(), values));
    }
    Ok(tensors)
}

fn floats(view: &TensorView) -> Option<Vec<f32>> {
    let words = view.data().chunks_exact(2);
    Some(match view.dtype() {
        Dtype::F32 => view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Dtype::F16 => words
            .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        Dtype::BF16 => words
            .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
            .collect(),
        _ => return None,
    })
}
