//! Lloyd's k-means over rows that are read in parts.

use super::part::Part;
use crate::gpu::Tensor;
use crate::ops::linalg::scale_by::dot;
use crate::ops::quantize::assignment::assign;
use crate::ops::quantize::vq_search::nearest;
use crate::splitmix::{GOLDEN, splitmix64};
use crate::{Error, Result, memory};
use std::collections::BTreeSet;

/// The distance of the halves of a cluster that is split from its mean, in each channel: a share of
/// the rows' spread.
const APART: f64 = 1.0 / 1024.0;

/// Random numbers of the host.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        let bits = splitmix64(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        bits
    }

    /// A number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

/// Returns `k` different numbers below `n` (R. Floyd; Bentley, "Programming pearls", CACM 1987), in
/// order.
pub(super) fn distinct(n: usize, k: usize, seed: u64) -> Vec<usize> {
    let mut random = Random(splitmix64(seed));
    let mut found = BTreeSet::new();
    for last in n - k..n {
        let drawn = random.below(last as u64 + 1) as usize;
        if !found.insert(drawn) {
            found.insert(last);
        }
    }
    found.into_iter().collect()
}

/// Clusters the rows of a part into `codes`, from random rows, in at most `iterations` rounds:
/// fewer where nothing changes any more. Returns the means [K, D']. `tell` is called with the
/// number of each round and with the mean squared distance of a row to the mean that it had in it;
/// where it returns false, nothing is returned.
///
/// Sums of a part are those of the device, parts are added in f64 in their order. A cluster without
/// rows takes half of another one, which is drawn in proportion to its rows, as in faiss: both go
/// on from its mean, moved apart by a thousandth of the rows' spread in a random direction.
///
/// # Errors
/// If there are fewer rows than codes, or the device or the file fails.
pub(super) fn cluster(
    part: &Part,
    codes: usize,
    iterations: usize,
    seed: u64,
    tell: &mut dyn FnMut(usize, f64) -> bool,
) -> Result<Option<Vec<f32>>> {
    let (n, d) = (part.rows(), part.channels());
    if codes == 0 || codes > n {
        let what = format!("{codes} codes of {n} vectors: at least 1, and at most one a vector");
        return Err(Error::invalid("k-means", what));
    }
    let what = format!("sums of {codes} codes of {d} numbers");
    memory::check_available(what, memory::product(&[codes, d, 24]))?;
    let mut means = part.pick(&distinct(n, codes, seed))?;
    let mut random = Random(splitmix64(!seed));
    for iteration in 1..=iterations {
        let (mut sums, mut counts) = (vec![0f64; codes * d], vec![0u64; codes]);
        let mut squares = 0.0;
        part.each(&mut |rows| {
            let x = &rows.x;
            let codebook = Tensor::from_slice(x.gpu(), &[codes, d], &means)?;
            let assigned = assign(&nearest(&rows.searched, &codebook)?, codes)?;
            let (of_part, sizes) = (assigned.sums(x)?, &assigned.counts);
            let flat = x.reshape(&[x.len()])?;
            squares += f64::from(dot(&flat, &flat)?.read::<f32>()?[0]);
            let of_part = of_part.read::<f32>()?;
            sums.iter_mut()
                .zip(of_part)
                .for_each(|(sum, x)| *sum += f64::from(x));
            let sizes = sizes.read::<u32>()?;
            counts
                .iter_mut()
                .zip(sizes)
                .for_each(|(count, n)| *count += u64::from(n));
            Ok(())
        })?;
        let distance = squares + moved(&sums, &counts, &means, d);
        if !tell(iteration, (distance / n as f64).max(0.0)) {
            return Ok(None);
        }
        let mut next = means.clone();
        for (k, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            for i in k * d..(k + 1) * d {
                next[i] = (sums[i] / *count as f64) as f32;
            }
        }
        // The last means stay where their rows are.
        if iteration < iterations {
            let apart = APART * (squares / (n * d) as f64).sqrt();
            split(&mut next, &mut counts, d, apart as f32, &mut random);
        }
        if next == means {
            break;
        }
        means = next;
    }
    Ok(Some(part.in_place(means)))
}

/// The sum over all rows x with the mean m of `|m|^2 - 2 x m`.
fn moved(sums: &[f64], counts: &[u64], means: &[f32], d: usize) -> f64 {
    let rows = sums.chunks(d).zip(means.chunks(d)).zip(counts);
    let of_code = |((sum, mean), count): ((&[f64], &[f32]), &u64)| {
        let terms = sum.iter().zip(mean).map(|(sum, mean)| {
            let mean = f64::from(*mean);
            *count as f64 * mean * mean - 2.0 * sum * mean
        });
        terms.sum::<f64>()
    };
    rows.map(of_code).sum()
}

/// Gives each cluster without rows half of another.
fn split(means: &mut [f32], counts: &mut [u64], d: usize, apart: f32, random: &mut Random) {
    let mut spare: u64 = counts.iter().map(|n| n.saturating_sub(1)).sum();
    for empty in 0..counts.len() {
        if counts[empty] > 0 || spare == 0 {
            continue;
        }
        let mut drawn = random.below(spare);
        let chosen = counts.iter().position(|n| {
            let own = n.saturating_sub(1);
            let found = drawn < own;
            drawn = drawn.saturating_sub(own);
            found
        });
        let Some(chosen) = chosen else { continue };
        for i in 0..d {
            let mean = means[chosen * d + i];
            let side = if random.below(2) == 0 { apart } else { -apart };
            means[empty * d + i] = mean + side;
            means[chosen * d + i] = mean - side;
        }
        counts[empty] = counts[chosen] / 2;
        counts[chosen] -= counts[empty];
        spare -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_drawn_once_each() {
        for (n, k) in [(1, 1), (10, 10), (1000, 17)] {
            let drawn = distinct(n, k, 5);
            assert_eq!(drawn.len(), k);
            assert!(drawn.is_sorted() && drawn.iter().all(|i| *i < n));
        }
        assert_ne!(distinct(1000, 17, 5), distinct(1000, 17, 6));
        let all: usize = (0..400).map(|seed| distinct(100, 1, seed)[0]).sum();
        assert!((all as f64 / 400.0 - 49.5).abs() < 8.0, "{all}");
    }

    #[test]
    fn an_empty_cluster_takes_half_of_another() {
        let mut means = vec![0.0, 0.0, 4.0, 4.0, 8.0, 8.0];
        let mut counts = vec![0, 9, 1];
        split(&mut means, &mut counts, 2, 0.5, &mut Random(1));
        assert_eq!(counts, [4, 5, 1]);
        assert_eq!(means[4..], [8.0, 8.0]);
        assert_eq!(means[0] + means[2], 8.0);
        assert!((means[0] - means[2]).abs() == 1.0 && (means[1] - means[3]).abs() == 1.0);
        // There is nothing to share.
        let mut counts = vec![0, 1, 1];
        split(&mut means, &mut counts, 2, 0.5, &mut Random(1));
        assert_eq!(counts, [0, 1, 1]);
        // Where the mean is 0 the halves differ, too.
        let (mut means, mut counts) = (vec![0.0, 0.0], vec![0, 4]);
        split(&mut means, &mut counts, 1, 0.5, &mut Random(1));
        assert!(counts == [2, 2] && means[0] == -means[1] && means[0] != 0.0);
    }
}
