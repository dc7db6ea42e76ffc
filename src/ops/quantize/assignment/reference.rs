//! The grouping as its definition reads.

use crate::spec::Real;

/// Counts, offsets and order.
pub fn assign(index: &[u32], codes: usize) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
    let of = |k: u32| {
        index
            .iter()
            .enumerate()
            .filter(move |(_, i)| **i == k)
            .map(|(row, _)| row as u32)
    };
    let order: Vec<u32> = (0..codes as u32).flat_map(of).collect();
    let counts: Vec<u32> = (0..codes as u32).map(|k| of(k).count() as u32).collect();
    let mut offsets = vec![0];
    offsets.extend(counts.iter().scan(0, |sum, c| {
        *sum += c;
        Some(*sum)
    }));
    (counts, offsets, order)
}

/// Returns the sum of each code's rows.
pub fn sums<T: Real>(x: &[T], offsets: &[u32], order: &[u32], d: usize) -> Vec<T> {
    let mut sums = vec![T::zero(); (offsets.len() - 1) * d];
    for k in 0..offsets.len() - 1 {
        for row in &order[offsets[k] as usize..offsets[k + 1] as usize] {
            for j in 0..d {
                sums[k * d + j] += x[*row as usize * d + j];
            }
        }
    }
    sums
}
