//! Counts of codes, and how many vectors share theirs.

use crate::splitmix::splitmix64;
use crate::{Error, Result, memory};

/// Counts of the use of each code of a codebook in a set of vectors, and of the vectors that have
/// the same codes as another. Takes 8 bytes a vector.
#[derive(Clone, Debug)]
pub struct CodeUse {
    codes: usize,
    counts: Vec<Vec<u64>>,
    /// A hash of the codes of each vector.
    rows: Vec<u64>,
}

impl CodeUse {
    /// Begins to count codes of `codebooks` codebooks of `codes` codes each, of `vectors` vectors.
    ///
    /// # Errors
    /// If the process may not use so much memory.
    pub fn new(codebooks: usize, codes: usize, vectors: usize) -> Result<CodeUse> {
        let what = format!("the counts of the codes of {vectors} vectors");
        memory::check_available(what, memory::product(&[vectors, 8]))?;
        Ok(CodeUse {
            codes,
            counts: vec![vec![0; codes]; codebooks],
            rows: Vec::with_capacity(vectors),
        })
    }

    /// Counts the codes [N, M] of some vectors.
    ///
    /// # Errors
    /// If one is past its codebook.
    pub fn count(&mut self, codes: &[u32]) -> Result<()> {
        for row in codes.chunks(self.counts.len().max(1)) {
            let mut hash = 0;
            for (counts, code) in self.counts.iter_mut().zip(row) {
                let Some(count) = counts.get_mut(*code as usize) else {
                    let what = format!("code {code} of {}: codes count from 0", self.codes);
                    return Err(Error::invalid("code use", what));
                };
                *count += 1;
                hash = splitmix64(hash ^ u64::from(*code));
            }
            self.rows.push(hash);
        }
        Ok(())
    }

    /// Returns how many codes of each codebook some vector takes.
    pub fn used(&self) -> Vec<usize> {
        let used = |counts: &Vec<u64>| counts.iter().filter(|n| **n > 0).count();
        self.counts.iter().map(used).collect()
    }

    /// Returns the perplexity of each codebook: e to the entropy of its codes. It is 1 where all
    /// vectors take one code, and K where they take all codes equally often.
    pub fn perplexity(&self) -> Vec<f64> {
        let of = |counts: &Vec<u64>| {
            let all: u64 = counts.iter().sum();
            let share = |n: &u64| *n as f64 / all.max(1) as f64;
            let terms = counts.iter().filter(|n| **n > 0).map(share);
            (-terms.map(|p| p * p.ln()).sum::<f64>()).exp()
        };
        self.counts.iter().map(of).collect()
    }

    /// Returns how many different codes (all M of a vector) there are, and how many vectors have
    /// theirs to themselves: of identifiers of items, those that name one item alone.
    pub fn distinct(&mut self) -> (usize, usize) {
        // In which order they were counted is of no use to anyone.
        self.rows.sort_unstable();
        let same = self.rows.chunk_by(|a, b| a == b);
        same.fold((0, 0), |(distinct, alone), same| {
            (distinct + 1, alone + usize::from(same.len() == 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_what_they_share_are_counted() {
        let mut used = CodeUse::new(2, 3, 4).unwrap();
        used.count(&[0, 1, 0, 1]).unwrap();
        used.count(&[1, 0, 2, 1]).unwrap();
        assert_eq!(used.used(), [3, 2]);
        // (0, 1) twice, (1, 0), (2, 1).
        assert_eq!(used.distinct(), (3, 2));
        let entropy = 0.5f64 * 2f64.ln() + 0.5 * 4f64.ln();
        assert!((used.perplexity()[0] - entropy.exp()).abs() < 1e-12);
        assert!(used.count(&[0, 3]).is_err());
        assert_eq!(CodeUse::new(1, 4, 0).unwrap().perplexity(), [1.0]);
    }
}
