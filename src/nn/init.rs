//! Initial values of parameters, by the seed and the parameter's name alone.

use crate::ops::sampling::random::{Key, philox};
use crate::{Error, Result};
use sha2::{Digest, Sha256};

/// Initial values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// This number everywhere.
    Constant(f32),
    /// Uniform in [-bound, bound).
    Uniform(f32),
    /// Normal of mean 0 and this standard deviation.
    Normal(f32),
}

/// The stream of random numbers that initial values are drawn from; the step is the hash of the
/// parameter's name.
const INIT_STREAM: u32 = 0x696e_6974;

impl Init {
    /// Returns the first `n` values for the parameter called `name`: they depend on the seed and
    /// the name alone, so a layer more or less changes no other layer.
    pub(super) fn values(self, seed: u64, name: &str, n: usize) -> Vec<f32> {
        let hash = Sha256::digest(name.as_bytes());
        let step = hash
            .iter()
            .take(8)
            .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let key = Key {
            seed,
            step,
            stream: INIT_STREAM,
        };
        match self {
            Init::Zeros | Init::Uniform(0.0) => vec![0.0; n],
            Init::Ones => vec![1.0; n],
            Init::Constant(value) => vec![value; n],
            Init::Uniform(bound) => philox::uniform(key, -bound, bound, n),
            Init::Normal(std) => philox::normal(key, n)
                .into_iter()
                .map(|x| std * x)
                .collect(),
        }
    }

    pub(super) fn check(self, name: &str) -> Result<()> {
        let (what, value, ok) = match self {
            Init::Zeros | Init::Ones => return Ok(()),
            Init::Constant(v) => ("constant", v, v.is_finite()),
            Init::Uniform(v) => ("uniform bound", v, v >= 0.0 && (2.0 * v).is_finite()),
            Init::Normal(v) => ("standard deviation", v, v >= 0.0 && v.is_finite()),
        };
        if ok {
            Ok(())
        } else {
            Err(Error::invalid(
                "parameters",
                format!("`{name}`: a {what} of {value}"),
            ))
        }
    }
}
