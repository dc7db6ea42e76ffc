//! Between the store's layout and PyTorch's: convolution weights are [O, KH, KW, I] here and [O, I, KH, KW] there.

use super::checkpoint::HostTensor;
use crate::nn::HostTensors;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// A tensor under PyTorch's layout.
pub fn export((shape, values): (Vec<usize>, Vec<f32>)) -> HostTensor {
    match shape[..] {
        [o, h, w, i] => HostTensor::f32(&[o, i, h, w], &permute(&values, [o, h, w, i], [0, 3, 1, 2])),
        _ => HostTensor::f32(&shape, &values),
    }
}

/// The same tensor under the store's layout.
///
/// # Errors
/// If it is not f32.
pub fn import(tensor: &HostTensor) -> Result<(Vec<usize>, Vec<f32>)> {
    let values = tensor.to_f32()?;
    Ok(match tensor.shape[..] {
        [o, i, h, w] => (vec![o, h, w, i], permute(&values, [o, i, h, w], [0, 2, 3, 1])),
        _ => (tensor.shape.clone(), values),
    })
}

/// Row-major values of `shape` with its dimensions in another order.
fn permute(values: &[f32], shape: [usize; 4], order: [usize; 4]) -> Vec<f32> {
    let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
    let [a, b, c, d] = order.map(|k| shape[k]);
    let [sa, sb, sc, sd] = order.map(|k| strides[k]);
    let mut out = Vec::with_capacity(values.len());
    for i in 0..a {
        for j in 0..b {
            for k in 0..c {
                out.extend((0..d).map(|l| values[i * sa + j * sb + k * sc + l * sd]));
            }
        }
    }
    out
}

/// The tensors of a checkpoint, by what they belong to and under the store's layout.
pub struct Parts {
    /// The model's parameters.
    pub model: HostTensors,
    /// The quantizer's state.
    pub quantizer: HostTensors,
    /// Adam's first moments.
    pub adam_m: HostTensors,
    /// Adam's second moments.
    pub adam_v: HostTensors,
}

/// Sorts the tensors of a checkpoint.
///
/// # Errors
/// If one is not f32.
pub fn split(tensors: &BTreeMap<String, HostTensor>) -> Result<Parts> {
    let mut parts = Parts {
        model: HostTensors::new(),
        quantizer: HostTensors::new(),
        adam_m: HostTensors::new(),
        adam_v: HostTensors::new(),
    };
    for (name, tensor) in tensors {
        let value = import(tensor).map_err(|e| Error::data(format!("tensor `{name}`: {e}")))?;
        let prefixes = ["quantizer.", "adam.m.", "adam.v."];
        let (part, rest) = match prefixes.iter().position(|p| name.starts_with(p)) {
            Some(0) => (&mut parts.quantizer, &name[prefixes[0].len()..]),
            Some(1) => (&mut parts.adam_m, &name[prefixes[1].len()..]),
            Some(_) => (&mut parts.adam_v, &name[prefixes[2].len()..]),
            None => (&mut parts.model, name.as_str()),
        };
        part.insert(rest.to_owned(), value);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_comes_back_from_pytorchs_layout() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 5).map(|i| i as f32).collect();
        let there = export((vec![2, 3, 4, 5], values.clone()));
        assert_eq!(there.shape, [2, 5, 3, 4]);
        // PyTorch's [1, 2, 0, 3] is our [1, 0, 3, 2].
        let at = ((5 + 2) * 3) * 4 + 3;
        assert_eq!(there.to_f32().unwrap()[at], values[((3) * 4 + 3) * 5 + 2]);
        assert_eq!(import(&there).unwrap(), (vec![2, 3, 4, 5], values));
    }
}
