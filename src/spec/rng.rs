//! Random inputs for checks: the same seed gives the same arrays on every machine.

use super::HostTensor;
use crate::splitmix::{GOLDEN, splitmix64};

/// A small generator (SplitMix64) for test data: the same seed gives the same inputs on every
/// machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Creates a generator of its own sequence.
    pub fn new(seed: u64) -> Self {
        Rng(seed ^ GOLDEN)
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let bits = splitmix64(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        bits
    }
    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }
    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
    /// Returns an array of standard normals.
    pub fn normals(&mut self, shape: &[usize]) -> HostTensor {
        HostTensor::f32(
            shape,
            (0..shape.iter().product())
                .map(|_| self.normal() as f32)
                .collect(),
        )
    }
    /// Returns an array of indices below `n`.
    pub fn indices(&mut self, shape: &[usize], n: usize) -> HostTensor {
        HostTensor::u32(
            shape,
            (0..shape.iter().product())
                .map(|_| self.below(n) as u32)
                .collect(),
        )
    }
}
