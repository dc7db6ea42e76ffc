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

/// Checks that a state has parts of these names and shapes, and no other.
pub(crate) fn check(who: &str, state: &HostTensors, parts: &[(&str, &[usize])]) -> Result<()> {
    for (name, wanted) in parts {
        match state.get(*name) {
            Some((shape, values)) if shape == wanted => {
                if values.len() != shape.iter().product::<usize>() {
                    return Err(Error::data(format!(
                        "the state of the quantizer `{who}`: `{name}` {shape:?} has {} values",
                        values.len()
                    )));
                }
            }
            Some((shape, _)) => {
                let expected = format!("`{name}` {wanted:?}");
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
    Ok(())
}

/// Checks that a state has the names and shapes of `parts`, as [`check`] does. Nothing is read of
/// the device.
pub(crate) fn check_parts(who: &str, state: &HostTensors, parts: &[(&str, &Tensor)]) -> Result<()> {
    let shapes = parts.iter().map(|(name, tensor)| (*name, tensor.shape()));
    check(who, state, &shapes.collect::<Vec<_>>())
}

/// Takes `parts` by name, as [`super::Quantizer::load`] does.
pub(crate) fn restore(who: &str, state: &HostTensors, parts: &[(&str, &Tensor)]) -> Result<()> {
    check_parts(who, state, parts)?;
    parts
        .iter()
        .try_for_each(|(name, tensor)| tensor.write(&state[*name].1))
}
