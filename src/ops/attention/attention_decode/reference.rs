//! A sequence that grows token by token, in plain loops.

use crate::spec::Real;

/// The keys and values of one head of one sequence so far, each a row of D.
#[derive(Clone, Default)]
pub struct Head<T> {
    pub keys: Vec<Vec<T>>,
    pub values: Vec<Vec<T>>,
}

impl<T: Real> Head<T> {
    /// A token joins, and attends to itself and to those before it of which `sees(i, j)`, i
    /// being its own place.
    pub fn step(
        &mut self,
        q: &[T],
        k: &[T],
        v: &[T],
        scale: T,
        sees: impl Fn(usize, usize) -> bool,
    ) -> Vec<T> {
        self.keys.push(k.to_vec());
        self.values.push(v.to_vec());
        let dot = |k: &Vec<T>| q.iter().zip(k).map(|(q, k)| *q * *k).sum::<T>();
        let own = self.keys.len() - 1;
        let score = |(j, k)| {
            if sees(own, j) {
                scale * dot(k)
            } else {
                T::neg_infinity()
            }
        };
        let scores: Vec<T> = self.keys.iter().enumerate().map(score).collect();
        let top = scores.iter().copied().fold(T::neg_infinity(), T::max);
        let total: T = scores.iter().map(|s| (*s - top).exp()).sum();
        let mean = |c: usize| {
            scores
                .iter()
                .zip(&self.values)
                .map(|(s, v)| (*s - top).exp() / total * v[c])
                .sum()
        };
        (0..q.len()).map(mean).collect()
    }
}
