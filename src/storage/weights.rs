//! Between the store's layout and PyTorch's: convolution weights are [O, KH, KW, I] here and [O, I,
//! KH, KW] there.

use crate::nn::HostTensors;
use crate::storage::host_tensor::HostTensor;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Returns a tensor under PyTorch's layout.
pub fn export((shape, values): (Vec<usize>, Vec<f32>)) -> HostTensor {
    match shape[..] {
        [o, h, w, i] => {
            HostTensor::f32(&[o, i, h, w], &permute(&values, [o, h, w, i], [0, 3, 1, 2]))
        }
        _ => HostTensor::f32(&shape, &values),
    }
}

/// Returns the shape of a tensor under PyTorch's layout.
pub(crate) fn exported_shape(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [o, h, w, i] => vec![o, i, h, w],
        _ => shape.to_vec(),
    }
}

/// Returns the shape of a tensor under the store's layout.
pub(crate) fn imported_shape(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [o, i, h, w] => vec![o, h, w, i],
        _ => shape.to_vec(),
    }
}

/// Returns the tensor under the store's layout.
///
/// # Errors
/// If it is not f32.
pub fn import(tensor: &HostTensor) -> Result<(Vec<usize>, Vec<f32>)> {
    let values = tensor.to_f32()?;
    Ok(match tensor.shape[..] {
        [o, i, h, w] => (
            vec![o, h, w, i],
            permute(&values, [o, i, h, w], [0, 2, 3, 1]),
        ),
        _ => (tensor.shape.clone(), values),
    })
}

/// Row-major values of `shape` with its dimensions in another order.
fn permute(values: &[f32], shape: [usize; 4], order: [usize; 4]) -> Vec<f32> {
    // Of no values the other dimensions may be any numbers.
    if values.is_empty() {
        return Vec::new();
    }
    let strides = [
        shape[1] * shape[2] * shape[3],
        shape[2] * shape[3],
        shape[3],
        1,
    ];
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

/// Returns the tensors of a checkpoint under the store's layout, by the prefix that says what they
/// belong to, without it; those with none of the `prefixes` under the empty one.
///
/// # Errors
/// If one is not f32.
pub fn by_prefix(
    tensors: &BTreeMap<String, HostTensor>,
    prefixes: &[&'static str],
) -> Result<BTreeMap<&'static str, HostTensors>> {
    let mut parts: BTreeMap<&'static str, HostTensors> = BTreeMap::new();
    for (name, tensor) in tensors {
        let value = import(tensor).map_err(|e| Error::data(format!("tensor `{name}`: {e}")))?;
        let prefix = prefixes
            .iter()
            .copied()
            .find(|p| name.starts_with(p))
            .unwrap_or_default();
        parts
            .entry(prefix)
            .or_default()
            .insert(name[prefix.len()..].to_owned(), value);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_of_no_values_has_any_other_dimensions() {
        for shape in [[1 << 40, 0, 1, 1], [0, 1 << 40, 1 << 40, 1 << 40]] {
            let (own, values) = import(&HostTensor::f32(&shape, &[])).unwrap();
            let [o, i, h, w] = shape;
            assert_eq!((own, values), (vec![o, h, w, i], Vec::new()));
        }
    }

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
