//! A quantizer's state by name, saved and taken back.

use crate::gpu::Tensor;
use crate::nn::HostTensors;
use crate::{Error, Result};

/// Parts by name, as [`super::Quantizer::save`] gives them.
pub(crate) fn saved(parts: Vec<(&str, &Tensor)>) -> Result<HostTensors> {
    let part =
        |(name, t): (&str, &Tensor)| Ok((name.to_owned(), (t.shape().to_vec(), t.read::<f32>()?)));
    parts.into_iter().map(part).collect()
}

/// Takes `parts` by name, as [`super::Quantizer::load`] does.
pub(crate) fn restore(who: &str, state: &HostTensors, parts: &[(&str, &Tensor)]) -> Result<()> {
    for (name, tensor) in parts {
        match state.get(*name) {
            Some((shape, _)) if shape == tensor.shape() => {}
            Some((shape, _)) => {
                let expected = format!("`{name}` {:?}", tensor.shape());
                return Err(Error::data(format!(
                    "the state of the quantizer `{who}`: {expected} expected, {shape:?} found"
                )));
            }
            None => {
                return Err(Error::data(format!(
                    "the state of the quantizer `{who}` has no `{name}`"
                )));
            }
        }
    }
    if let Some(name) = state
        .keys()
        .find(|name| parts.iter().all(|(n, _)| n != name))
    {
        return Err(Error::data(format!(
            "the quantizer `{who}` has no state `{name}`: it is another quantizer's"
        )));
    }
    parts
        .iter()
        .try_for_each(|(name, tensor)| tensor.write(&state[*name].1))
}
