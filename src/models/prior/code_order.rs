//! The order in which a factorised head counts the codes of a codebook: neighbours first.

use super::head::halves;
use crate::gpu::{Gpu, Tensor};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// An order of the codes of a codebook. The first half of a code is the share of this order that it
/// lies in: where codes that lie together are near each other, it says roughly where a latent is,
/// and the second half where exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u32>", into = "Vec<u32>")]
pub struct CodeOrder {
    /// The code at each place.
    codes: Vec<u32>,
    /// The place of each code.
    places: Vec<u32>,
}

impl CodeOrder {
    /// Returns the order of the codes' numbers.
    pub fn plain(codes: usize) -> CodeOrder {
        let codes: Vec<u32> = (0..codes as u32).collect();
        CodeOrder {
            places: codes.clone(),
            codes,
        }
    }

    /// Returns an order in which codes of near vectors lie together: of `vectors` f32 [K, D],
    /// cut into equal parts along the channel in which they vary most, and each part again (a k-d
    /// tree: Bentley 1975). The same vectors give the same order on every machine.
    ///
    /// # Errors
    /// If they are not whole vectors.
    pub fn of_vectors(vectors: &[f32], dim: usize) -> Result<CodeOrder> {
        if dim == 0 || vectors.is_empty() || !vectors.len().is_multiple_of(dim) {
            let expected = format!("whole vectors of {dim} channels");
            return Err(Error::shape("code order", expected, vectors.len()));
        }
        let mut codes: Vec<u32> = (0..(vectors.len() / dim) as u32).collect();
        let parts = halves(codes.len()).into_iter().flat_map(prime_factors);
        cut(&mut codes, &parts.collect::<Vec<_>>(), vectors, dim);
        CodeOrder::try_from(codes).map_err(Error::data)
    }

    /// Returns the number of codes.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Returns whether it has none.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Returns the place of a code below K.
    pub(super) fn place(&self, code: u32) -> u32 {
        self.places[code as usize]
    }

    /// Uploads the code at each place: u32 `[K]`.
    pub(super) fn upload(&self, gpu: &Gpu) -> Result<Tensor> {
        Tensor::from_slice(gpu, &[self.codes.len()], &self.codes)
    }
}

impl From<CodeOrder> for Vec<u32> {
    fn from(order: CodeOrder) -> Vec<u32> {
        order.codes
    }
}

impl TryFrom<Vec<u32>> for CodeOrder {
    type Error = String;

    fn try_from(codes: Vec<u32>) -> std::result::Result<CodeOrder, String> {
        let mut places = vec![u32::MAX; codes.len()];
        for (place, code) in codes.iter().enumerate() {
            match places.get_mut(*code as usize) {
                Some(free) if *free == u32::MAX => *free = place as u32,
                _ => {
                    return Err(format!(
                        "an order of codes has {code} twice or past the last"
                    ));
                }
            }
        }
        Ok(CodeOrder { codes, places })
    }
}

/// Returns the prime factors of a number, the smallest first.
fn prime_factors(mut n: usize) -> Vec<usize> {
    let mut all = Vec::new();
    let mut factor = 2;
    while factor * factor <= n {
        while n.is_multiple_of(factor) {
            all.push(factor);
            n /= factor;
        }
        factor += 1;
    }
    all.extend((n > 1).then_some(n));
    all
}

/// Sorts codes so that each of `parts[0]` equal shares lies together, and within each those of the
/// other parts.
fn cut(codes: &mut [u32], parts: &[usize], vectors: &[f32], dim: usize) {
    let Some((part, others)) = parts.split_first() else {
        return;
    };
    let at = |code: u32, channel: usize| vectors[code as usize * dim + channel];
    let widest = widest(codes, vectors, dim);
    codes.sort_by(|a, b| at(*a, widest).total_cmp(&at(*b, widest)).then(a.cmp(b)));
    let share = (codes.len() / part).max(1);
    for share in codes.chunks_mut(share) {
        cut(share, others, vectors, dim);
    }
}

/// Returns the channel in which the vectors of these codes vary most; the first of several.
fn widest(codes: &[u32], vectors: &[f32], dim: usize) -> usize {
    let (mut sums, mut squares) = (vec![0.0f64; dim], vec![0.0f64; dim]);
    for code in codes {
        let own = &vectors[*code as usize * dim..][..dim];
        for ((value, sum), square) in own.iter().zip(&mut sums).zip(&mut squares) {
            let value = f64::from(*value);
            *sum += value;
            *square += value * value;
        }
    }
    let n = codes.len() as f64;
    let spread = |c: usize| squares[c] - sums[c] * sums[c] / n;
    (1..dim).fold(0, |best, c| if spread(c) > spread(best) { c } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_codes_lie_together() {
        // Four groups of four, in a shuffled order of numbers.
        let centres = [[0.0, 0.0], [10.0, 0.0], [0.0, 9.0], [10.0, 9.0]];
        let mut vectors = vec![0.0; 32];
        for i in 0..16 {
            let code = i * 7 % 16;
            let near = 0.1 * (i / 4) as f32;
            vectors[2 * code] = centres[i % 4][0] + near;
            vectors[2 * code + 1] = centres[i % 4][1];
        }
        let order = CodeOrder::of_vectors(&vectors, 2).unwrap();
        let group = |code: u32| (0..16).find(|i| i * 7 % 16 == code).unwrap() % 4;
        for share in order.codes.chunks(4) {
            assert!(
                share.iter().all(|code| group(*code) == group(share[0])),
                "{order:?}"
            );
        }
        for (place, code) in order.codes.iter().enumerate() {
            assert_eq!(order.place(*code), place as u32);
        }
        assert_eq!(order.len(), 16);
    }

    #[test]
    fn orders_that_are_none_are_refused() {
        for codes in [vec![0, 0], vec![0, 2], vec![1]] {
            assert!(CodeOrder::try_from(codes).is_err());
        }
        assert!(CodeOrder::of_vectors(&[1.0; 7], 2).is_err());
        assert!(CodeOrder::of_vectors(&[], 2).is_err());
        let kept: CodeOrder = serde_json::from_str("[2,0,1]").unwrap();
        assert_eq!(serde_json::to_string(&kept).unwrap(), "[2,0,1]");
        assert!(serde_json::from_str::<CodeOrder>("[2,0,0]").is_err());
    }

    /// Vectors that are no numbers, or all alike, have an order, too.
    #[test]
    fn any_vectors_have_an_order() {
        let strange = [f32::NAN, 1.0, f32::INFINITY, -1.0, f32::NAN, 0.0];
        assert_eq!(CodeOrder::of_vectors(&strange, 1).unwrap().len(), 6);
        let order = CodeOrder::of_vectors(&[0.0; 10], 1).unwrap();
        assert_eq!(order, CodeOrder::plain(10));
        let primes = CodeOrder::of_vectors(&[0.5; 14], 2).unwrap();
        assert_eq!(primes, CodeOrder::plain(7));
    }
}
