//! The head of a prior: what turns its last block's rows into a distribution of codes.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The way in which the distribution of the next code is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// A logit for each of the K codes.
    #[default]
    Table,
    /// A code in two halves of about the square root of K values each, the second from the first:
    /// no logits of all codes are ever made (hierarchical softmax: Morin and Bengio 2005,
    /// "Hierarchical Probabilistic Neural Network Language Model"; halves of a code of an image:
    /// Luo et al. 2024, "Open-MAGVIT2", section 3.2).
    Factorised,
}

/// Returns the numbers of values of the two halves of a code of `codes`: their product is `codes`,
/// and they lie as near to each other as can be, the first not above the second.
pub(crate) fn halves(codes: usize) -> [usize; 2] {
    let root = codes.isqrt().max(1);
    let first = (1..=root).rev().find(|n| codes.is_multiple_of(*n));
    let first = first.unwrap_or(1);
    [first, codes / first]
}

/// Checks that codes of a codebook have two halves that are worth having: neither of more values
/// than 64 square roots.
pub(super) fn check_halves(codes: usize) -> Result<[usize; 2]> {
    let [first, second] = halves(codes);
    if first < 2 || second > first.saturating_mul(64) {
        let what = format!(
            "`factorised` takes a code apart into two factors, and those nearest to each other of \
             {codes} codes are {first} and {second}: choose a number of codes like 4096 or 16384, \
             or `table`"
        );
        return Err(Error::config("prior.head", what));
    }
    Ok([first, second])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_multiply_to_the_codes() {
        for (codes, expected) in [
            (1 << 14, [128, 128]),
            (1 << 18, [512, 512]),
            (1 << 13, [64, 128]),
            (1000, [25, 40]),
            (512, [16, 32]),
            (6, [2, 3]),
            (1, [1, 1]),
            (4093, [1, 4093]),
        ] {
            assert_eq!(halves(codes), expected, "{codes}");
        }
        assert_eq!(check_halves(1000).unwrap(), [25, 40]);
        for codes in [1, 2, 4093, 2 * 4093] {
            let error = check_halves(codes).unwrap_err().to_string();
            assert!(error.contains("prior.head"), "{error}");
        }
    }
}
