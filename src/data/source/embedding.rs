//! The rows that an encoder from elsewhere made of a text: a file with one matrix [T, E], NumPy's
//! `.npy` or safetensors.

use std::path::Path;

use half::f16;
use safetensors::{Dtype, SafeTensors};

use super::numpy;
use crate::{Error, Result, files};

/// A text's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// [T, E], row by row.
    pub values: Vec<f32>,
    /// E.
    pub channels: usize,
}

/// Reads such a file; of safetensors with several tensors, the one called `embedding` or
/// `last_hidden_state`.
///
/// # Errors
/// Names the file: it cannot be read, is of another format, or holds no matrix of f16, f32 or f64.
pub fn load_embedding(path: &Path) -> Result<Embedding> {
    let wrong = |what: String| Error::file(path, what);
    let bytes = files::read(path, files::LIST)?;
    let (shape, values) = if bytes.starts_with(b"\x93NUMPY") {
        npy(&bytes)
    } else {
        tensors(&bytes)
    }
    .map_err(wrong)?;
    // Encoders often give a batch of one.
    let shape: Vec<usize> = if shape.len() == 3 && shape[0] == 1 {
        shape[1..].to_vec()
    } else {
        shape
    };
    let [rows, channels] = shape[..] else {
        return Err(wrong(format!(
            "holds an array of shape {shape:?}; a text is a matrix [T, E]"
        )));
    };
    if rows == 0 || channels == 0 || Some(values.len()) != rows.checked_mul(channels) {
        return Err(wrong(format!(
            "holds {} values for a matrix of {rows} x {channels}",
            values.len()
        )));
    }
    if values.iter().any(|v| !v.is_finite()) {
        return Err(wrong("holds values that are not finite".into()));
    }
    Ok(Embedding { values, channels })
}

type Array = (Vec<usize>, Vec<f32>);

fn npy(bytes: &[u8]) -> std::result::Result<Array, String> {
    let mut numbers = bytes;
    let header = numpy::read_header(&mut numbers)?;
    // Before anything is made of that size.
    let claimed: u64 = header.shape().iter().product();
    if claimed > numbers.len() as u64 {
        return Err("is a damaged .npy file: it is shorter than its shape".into());
    }
    let file = npyz::NpyFile::with_header(header, numbers);
    let shape: Vec<usize> = file.shape().iter().map(|n| *n as usize).collect();
    if file.order() == npyz::Order::Fortran && shape.len() > 1 {
        return Err("is stored column by column; save it as numpy.ascontiguousarray(x)".into());
    }
    let kind = file.dtype().descr();
    let damaged = |e: std::io::Error| format!("is a damaged .npy file: {e}");
    let values = match kind.trim_matches('\'') {
        "<f4" => file.into_vec::<f32>().map_err(damaged)?,
        "<f8" => file
            .into_vec::<f64>()
            .map_err(damaged)?
            .into_iter()
            .map(|v| v as f32)
            .collect(),
        "<f2" => file
            .into_vec::<f16>()
            .map_err(damaged)?
            .into_iter()
            .map(f16::to_f32)
            .collect(),
        other => {
            return Err(format!(
                "holds numbers of the type {other}; f16, f32 and f64 are read"
            ));
        }
    };
    Ok((shape, values))
}

fn tensors(bytes: &[u8]) -> std::result::Result<Array, String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| format!("is neither .npy nor safetensors: {e}"))?;
    let names = file.names();
    let name = match &names[..] {
        [one] => (*one).to_string(),
        all => ["embedding", "last_hidden_state"]
            .into_iter()
            .find(|n| all.iter().any(|a| a == n))
            .ok_or_else(|| {
                format!(
                    "holds {} tensors, none of them called embedding or last_hidden_state",
                    all.len()
                )
            })?
            .to_owned(),
    };
    let view = file.tensor(&name).map_err(|e| e.to_string())?;
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        Dtype::F64 => data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b) as f32)
            .collect(),
        Dtype::F16 => data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| f16::from_le_bytes(*b).to_f32())
            .collect(),
        Dtype::BF16 => data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| half::bf16::from_le_bytes(*b).to_f32())
            .collect(),
        other => {
            return Err(format!(
                "holds numbers of the type {other:?}; f16, bf16, f32 and f64 are read"
            ));
        }
    };
    Ok((view.shape().to_vec(), values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use npyz::WriterBuilder;
    use std::collections::HashMap;

    #[test]
    fn matrices_are_read_from_both_kinds_of_file() {
        let dir = tempfile::tempdir().unwrap();
        let values = [1.0f32, -2.5, 3.0, 0.0, 5.0, 6.0];
        let path = dir.path().join("a.npy");
        let write = |shape: &[u64]| {
            let out = std::fs::File::create(&path).unwrap();
            let mut w = npyz::WriteOptions::new()
                .default_dtype()
                .shape(shape)
                .writer(out)
                .begin_nd()
                .unwrap();
            w.extend(values).unwrap();
            w.finish().unwrap();
        };
        write(&[2, 3]);
        assert_eq!(
            load_embedding(&path).unwrap(),
            Embedding {
                values: values.to_vec(),
                channels: 3
            }
        );
        write(&[1, 3, 2]);
        assert_eq!(load_embedding(&path).unwrap().channels, 2);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 24]).unwrap();
        let said = load_embedding(&path).unwrap_err().to_string();
        assert!(said.contains("a.npy") && said.contains("shorter"), "{said}");
        write(&[6]);
        assert!(
            load_embedding(&path)
                .unwrap_err()
                .to_string()
                .contains("a matrix [T, E]")
        );

        let halves: Vec<u8> = values
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect();
        let view = safetensors::tensor::TensorView::new(Dtype::F16, vec![3, 2], &halves).unwrap();
        let path = dir.path().join("b.safetensors");
        let file = |names: &[&str]| {
            let all: HashMap<String, _> = names
                .iter()
                .map(|n| (n.to_string(), view.clone()))
                .collect();
            std::fs::write(&path, safetensors::serialize(&all, None).unwrap()).unwrap();
        };
        file(&["x"]);
        assert_eq!(
            load_embedding(&path).unwrap(),
            Embedding {
                values: values.to_vec(),
                channels: 2
            }
        );
        file(&["x", "embedding"]);
        assert!(load_embedding(&path).is_ok());
        file(&["x", "y"]);
        assert!(
            load_embedding(&path)
                .unwrap_err()
                .to_string()
                .contains("none of them called embedding")
        );
        std::fs::write(&path, "text").unwrap();
        assert!(
            load_embedding(&path)
                .unwrap_err()
                .to_string()
                .contains("neither .npy nor safetensors")
        );
    }
}
