//! The order in which training sees a set, computed from a seed and a step alone, so that a resumed
//! run needs no state.
//!
//! An epoch is a keyed permutation of the items: a balanced Feistel network over the smallest even
//! number of bits that holds them, walked until it lands among them (J. Black and P. Rogaway,
//! "Ciphers with arbitrary finite domains", CT-RSA 2002). Position p of a run is item
//! `permutation[p / n](p % n)`; step s of batch b takes positions s b to s b + b - 1, so a batch at
//! the end of an epoch is filled from the next, and every item comes once in an epoch.

use crate::splitmix::splitmix64 as mix;
use crate::{Error, Result};

/// Rounds of the Feistel network; four give a pseudorandom permutation when the halves are wide,
/// the others are for sets so small that a half has two or three bits.
const ROUNDS: u64 = 10;

/// The order of the items of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    seed: u64,
    n: u32,
}

impl Sampler {
    /// Returns the order of `n` items under `seed`.
    ///
    /// # Errors
    /// If there are no items, or 2^31 or more.
    pub fn new(seed: u64, n: usize) -> Result<Sampler> {
        match u32::try_from(n) {
            Ok(n @ 1..0x8000_0000) => Ok(Sampler { seed, n }),
            _ => Err(Error::invalid(
                "sampler",
                format!("{n} items; 1 to 2^31 - 1 can be put in order"),
            )),
        }
    }

    /// Returns the items of step `step` (from 0) at `batch` items a step, each below n.
    pub fn batch(&self, step: u64, batch: usize) -> Vec<u32> {
        let n = u128::from(self.n);
        let start = u128::from(step) * batch as u128;
        let mut order = None;
        let item = |i| {
            let position = start + i as u128;
            let epoch = (position / n) as u64;
            let permutation = match order {
                Some((of, permutation)) if of == epoch => permutation,
                _ => Permutation::new(self.seed, epoch, self.n),
            };
            order = Some((epoch, permutation));
            permutation.at((position % n) as u32)
        };
        (0..batch).map(item).collect()
    }

    /// Epochs behind after `steps` steps of `batch` items.
    pub fn epochs(&self, steps: u64, batch: usize) -> f64 {
        steps as f64 * batch as f64 / f64::from(self.n)
    }
}

/// [`Sampler::batch`] of `n` items under `seed`; empty where there are no items.
pub fn batch_indices(seed: u64, step: u64, batch: usize, n: usize) -> Vec<u32> {
    Sampler::new(seed, n).map_or(Vec::new(), |sampler| sampler.batch(step, batch))
}

/// Returns `n` of these, or all where there are no more, spread evenly over all.
pub fn spread(all: &[u32], n: usize) -> Vec<u32> {
    let n = n.min(all.len());
    (0..n).map(|i| all[i * all.len() / n]).collect()
}

/// Whether place `i` of step `step`'s batch is flipped left to right: one in two.
pub fn flip(seed: u64, step: u64, i: usize) -> bool {
    mix(mix(mix(seed ^ FLIP_STREAM).wrapping_add(step)).wrapping_add(i as u64)) >> 63 == 1
}

/// Random number `word` of place `i` of step `step`'s batch, uniform in [0, 1): a multiple of
/// 2^-53.
pub fn uniform(seed: u64, step: u64, i: usize, word: u64) -> f64 {
    let place = mix(mix(mix(seed ^ CHANGE_STREAM).wrapping_add(step)).wrapping_add(i as u64));
    (mix(place.wrapping_add(word)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Keeps the random words of crops and colours apart from the order's.
const CHANGE_STREAM: u64 = 0x6368_616e_6765;

/// Keeps the flips' random words apart from the order's.
const FLIP_STREAM: u64 = 0x666c_6970;

/// One epoch's order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permutation {
    keys: [u32; ROUNDS as usize],
    /// Bits in half of the network's word.
    half: u32,
    n: u32,
}

impl Permutation {
    pub(super) fn new(seed: u64, epoch: u64, n: u32) -> Permutation {
        let key = mix(mix(seed).wrapping_add(epoch));
        let bits = 32 - (n - 1).leading_zeros();
        let keys = std::array::from_fn(|round| mix(key.wrapping_add(round as u64 + 1)) as u32);
        Permutation {
            keys,
            half: bits.div_ceil(2).max(1),
            n,
        }
    }

    /// The network's word is at most 4 n wide, so the walk takes at most four turns on average; it
    /// ends, since the network is a permutation and the walk starts inside.
    pub(super) fn at(&self, position: u32) -> u32 {
        let mut x = position;
        loop {
            x = self.network(x);
            if x < self.n {
                return x;
            }
        }
    }

    fn network(&self, x: u32) -> u32 {
        let mask = (1u32 << self.half) - 1;
        let (mut left, mut right) = (x >> self.half, x & mask);
        for key in self.keys {
            let round = mix(u64::from(key) << 32 | u64::from(right)) >> 32;
            (left, right) = (right, left ^ (round as u32 & mask));
        }
        left << self.half | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first `epochs` epochs, read batch by batch.
    fn run(seed: u64, n: usize, batch: usize, epochs: usize) -> Vec<u32> {
        let steps = (epochs * n).div_ceil(batch) as u64;
        let mut all: Vec<u32> = (0..steps)
            .flat_map(|step| batch_indices(seed, step, batch, n))
            .collect();
        all.truncate(epochs * n);
        all
    }

    proptest! {
        #[test]
        fn every_epoch_has_every_item_once(seed: u64, n in 1usize..700, batch in 1usize..50) {
            for epoch in run(seed, n, batch, 3).chunks(n) {
                let mut sorted = epoch.to_vec();
                sorted.sort_unstable();
                prop_assert!(sorted.into_iter().eq(0..n as u32));
            }
        }

        #[test]
        fn a_step_depends_on_nothing_before_it(
            seed: u64,
            step in 0u64..1 << 60,
            n in 1usize..100_000,
        ) {
            // The same positions as one batch of 12 and as three of 4.
            let whole = batch_indices(seed, step, 12, n);
            let parts: Vec<u32> = (0..3)
                .flat_map(|i| batch_indices(seed, step * 3 + i, 4, n))
                .collect();
            prop_assert_eq!(whole, parts);
        }
    }

    #[test]
    fn every_epoch_and_every_seed_has_another_order() {
        let epochs = run(1, 100, 10, 50);
        let mut orders: Vec<&[u32]> = epochs.chunks(100).collect();
        let other = run(2, 100, 10, 1);
        orders.push(&other);
        orders.sort_unstable();
        orders.dedup();
        assert_eq!(orders.len(), 51);
        assert!(!orders.iter().any(|order| order.is_sorted()));
    }

    /// Chi-squared of which item comes where, against uniform; n - 1 degrees of freedom in each row
    /// of the table.
    #[test]
    fn every_item_is_as_likely_everywhere() {
        for n in [2usize, 3, 5, 10, 37] {
            let epochs = 4000;
            let mut table = vec![vec![0f64; n]; n];
            for epoch in run(7, n, n, epochs).chunks(n) {
                for (place, &item) in epoch.iter().enumerate() {
                    table[place][item as usize] += 1.0;
                }
            }
            let expected = epochs as f64 / n as f64;
            for row in table {
                let chi: f64 = row
                    .iter()
                    .map(|seen| (seen - expected).powi(2) / expected)
                    .sum();
                let freedom = (n - 1) as f64;
                assert!(
                    chi < freedom + 5.0 * (2.0 * freedom).sqrt() + 10.0,
                    "n {n}: chi-squared {chi} of {freedom}"
                );
            }
        }
    }

    /// Neighbours in one epoch are not neighbours in the next: the mean step between them is about
    /// n / 3.
    #[test]
    fn the_order_has_no_runs() {
        for n in [1000usize, 1024, 1025, 60_000] {
            let order = run(3, n, 64, 1);
            let apart = order
                .windows(2)
                .map(|pair| f64::from(pair[0].abs_diff(pair[1])))
                .sum::<f64>()
                / n as f64;
            assert!(
                (apart / n as f64 - 1.0 / 3.0).abs() < 0.03,
                "n {n}: mean step {apart}"
            );
        }
    }

    #[test]
    fn the_order_is_the_same_in_every_version() {
        // Resuming across builds rests on these numbers, which a second implementation (in Python)
        // gave.
        assert_eq!(batch_indices(0, 0, 8, 10), [2, 3, 8, 0, 9, 5, 6, 7]);
        assert_eq!(
            batch_indices(42, 123_456, 4, 60_000),
            [26927, 33420, 16347, 28258]
        );
        let flips: Vec<bool> = (0..8).map(|i| flip(0, 0, i)).collect();
        assert_eq!(flips, [false, true, false, false, true, false, false, true]);
    }

    #[test]
    fn what_is_taken_is_spread_over_all() {
        let all: Vec<u32> = (10..1510).collect();
        let taken = spread(&all, 1024);
        assert_eq!((taken.len(), taken[0]), (1024, 10));
        assert_eq!(taken[1023], 10 + 1023 * 1500 / 1024);
        assert!(taken.windows(2).all(|w| (1..=2).contains(&(w[1] - w[0]))));
        // As every n-th is, where they are a multiple, and all where there are no more.
        let fifth: Vec<u32> = all.iter().step_by(5).copied().collect();
        assert_eq!(spread(&all, 300), fifth);
        assert_eq!(spread(&all, 9000), all);
        assert!(spread(&[], 3).is_empty());
    }

    #[test]
    fn half_are_flipped_and_places_are_independent() {
        let flips: Vec<bool> = (0..1000)
            .flat_map(|step| (0..32).map(move |i| flip(5, step, i)))
            .collect();
        let rate = |hits: usize, of: usize| hits as f64 / of as f64;
        assert!(
            (rate(flips.iter().filter(|&&flip| flip).count(), flips.len()) - 0.5).abs() < 0.015
        );
        for lag in [1, 32] {
            let same = flips
                .iter()
                .zip(&flips[lag..])
                .filter(|(a, b)| a == b)
                .count();
            assert!(
                (rate(same, flips.len() - lag) - 0.5).abs() < 0.015,
                "lag {lag}"
            );
        }
    }

    #[test]
    fn numbers_are_uniform_and_words_are_independent() {
        let word = |w: u64| -> Vec<f64> {
            (0..40_000)
                .map(|n| uniform(5, n / 40, n as usize % 40, w))
                .collect()
        };
        let (a, b) = (word(0), word(1));
        for numbers in [&a, &b] {
            assert!(numbers.iter().all(|x| (0.0..1.0).contains(x)));
            let mut tenths = [0f64; 10];
            numbers
                .iter()
                .for_each(|x| tenths[(x * 10.0) as usize] += 1.0);
            let chi: f64 = tenths.iter().map(|n| (n - 4000.0).powi(2) / 4000.0).sum();
            assert!(chi < 9.0 + 5.0 * 18f64.sqrt(), "chi-squared {chi} of 9");
        }
        // Between words, places and steps: 1 / 12 of variance, so that a correlation of 0.025 is
        // five deviations.
        let correlation = |x: &[f64], y: &[f64]| {
            x.iter()
                .zip(y)
                .map(|(x, y)| (x - 0.5) * (y - 0.5))
                .sum::<f64>()
                * 12.0
                / x.len() as f64
        };
        for c in [
            correlation(&a, &b),
            correlation(&a, &a[1..]),
            correlation(&a, &a[40..]),
        ] {
            assert!(c.abs() < 0.025, "{c}");
        }
        let flips: Vec<f64> = (0..40_000)
            .map(|n| f64::from(flip(5, n / 40, n as usize % 40)))
            .collect();
        assert!(correlation(&a, &flips).abs() < 0.05);
    }

    #[test]
    fn the_ends_of_the_range() {
        assert!(Sampler::new(0, 0).is_err());
        assert!(Sampler::new(0, 1 << 31).is_err());
        assert!(batch_indices(0, 0, 8, 0).is_empty());
        assert_eq!(batch_indices(9, u64::MAX, 3, 1), [0, 0, 0]);
        let last = Sampler::new(1, (1 << 31) - 1).unwrap();
        assert!(last.batch(u64::MAX, 16).iter().all(|&i| i < (1 << 31) - 1));
        assert!(last.batch(0, 0).is_empty());
        assert_eq!(Sampler::new(1, 100).unwrap().epochs(5, 30), 1.5);
    }
}
