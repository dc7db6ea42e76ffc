//! Initial values of parameters, by the seed and the parameter's name alone.

use crate::ops::sampling::random::{Key, philox};
use crate::{Error, Result};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::thread;

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

/// Values that a thread draws at a time, a multiple of 4.
const AT_A_TIME: usize = 1 << 16;

/// The numbers that initial values of a parameter are drawn from: they depend on the seed and the
/// name alone, so a layer more or less changes no other layer.
fn key_of(seed: u64, name: &str) -> Key {
    let hash = Sha256::digest(name.as_bytes());
    let step = hash
        .iter()
        .take(8)
        .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    Key {
        seed,
        step,
        stream: INIT_STREAM,
    }
}

impl Init {
    /// Returns the first `n` values for the parameter called `name`.
    pub(super) fn values(self, seed: u64, name: &str, n: usize) -> Vec<f32> {
        let mut values = vec![0.0; n];
        self.fill(key_of(seed, name), 0, &mut values);
        values
    }

    /// Fills a part of a parameter, from its element `first` on, a multiple of 4.
    fn fill(self, key: Key, first: usize, part: &mut [f32]) {
        match self {
            Init::Zeros | Init::Uniform(0.0) => part.fill(0.0),
            Init::Ones => part.fill(1.0),
            Init::Constant(value) => part.fill(value),
            Init::Uniform(bound) => philox::uniform_part(key, -bound, bound, first, part),
            Init::Normal(std) => {
                philox::normal_part(key, first, part);
                part.iter_mut().for_each(|x| *x *= std);
            }
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

/// Values that are still to be drawn.
struct Undrawn<'a> {
    init: Init,
    key: Key,
    first: usize,
    part: &'a mut [f32],
}

/// Parts of parameters that are drawn together, on as many threads as there are processors. The
/// values are the same on any number.
#[derive(Default)]
pub(super) struct Draws<'a>(Vec<Undrawn<'a>>);

impl<'a> Draws<'a> {
    /// Adds a part of the parameter called `name`, from its element `first` on, a multiple of 4.
    pub(super) fn add(
        &mut self,
        init: Init,
        (seed, name): (u64, &str),
        first: usize,
        part: &'a mut [f32],
    ) {
        let key = key_of(seed, name);
        let pieces = part.chunks_mut(AT_A_TIME).enumerate();
        self.0.extend(pieces.map(|(i, part)| Undrawn {
            init,
            key,
            first: first + i * AT_A_TIME,
            part,
        }));
    }

    /// Draws all of them.
    pub(super) fn draw(self) {
        let numbers: usize = self.0.iter().map(|piece| piece.part.len()).sum();
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(numbers / AT_A_TIME);
        let pieces = Mutex::new(self.0.into_iter());
        let next = || pieces.lock().next();
        let work = || {
            while let Some(piece) = next() {
                piece.init.fill(piece.key, piece.first, piece.part);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // Where no thread is to be had, the others do its work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of any length, begun anywhere, have the values of the whole, which one thread draws at
    /// once.
    #[test]
    fn parts_are_those_of_the_whole() {
        let n = 3 * AT_A_TIME + 7;
        for (name, init) in [
            ("a", Init::Normal(0.3)),
            ("b", Init::Uniform(0.25)),
            ("c", Init::Constant(0.5)),
            ("d", Init::Uniform(0.0)),
            ("e", Init::Ones),
            ("f", Init::Zeros),
        ] {
            let key = key_of(11, name);
            let whole: Vec<f32> = match init {
                Init::Normal(std) => {
                    let normal = philox::normal(key, n).into_iter();
                    normal.map(|x| std * x).collect()
                }
                Init::Uniform(0.0) | Init::Zeros => vec![0.0; n],
                Init::Uniform(bound) => philox::uniform(key, -bound, bound, n),
                Init::Constant(value) => vec![value; n],
                Init::Ones => vec![1.0; n],
            };
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&init.values(11, name, n)), bits(&whole), "{name}");
            for cut in [4, 64, AT_A_TIME - 4, AT_A_TIME, 2 * AT_A_TIME + 64] {
                let mut values = vec![f32::NAN; n];
                let (one, other) = values.split_at_mut(cut);
                let mut draws = Draws::default();
                // In another order than they lie.
                draws.add(init, (11, name), cut, other);
                draws.add(init, (11, name), 0, one);
                draws.draw();
                assert_eq!(bits(&values), bits(&whole), "{name} {cut}");
            }
        }
    }
}
