//! Baselines of a prior, which see no image: the entropies of single codes and of pairs.

use super::Tokens;
use crate::Result;
use serde::Serialize;
use std::collections::HashMap;

/// Cross-entropy of the test split's tokens under simple models of the training tokens, in bits per
/// token: what a prior has to beat.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Baselines {
    /// Each code by how often it comes, one more for each.
    pub unigram_bits: f64,
    /// Each code by the one before it in the sequence, brought towards the unigram where pairs are
    /// rare: as much as suits the held-out tokens best.
    pub bigram_bits: f64,
}

/// Counts tokens and pairs of them. Memory grows with the pairs that occur, and is bounded by the
/// vocabulary.
///
/// # Errors
/// If a file cannot be read.
pub fn baselines(tokens: &Tokens) -> Result<Baselines> {
    let v = &tokens.info.vocabulary;
    let (books, k, known) = (v.codebooks, v.codebook_size, v.known());
    let mut single = vec![1u64; books * k];
    // By codebook, the code before and the code; the first code of an image has none before.
    let mut pairs: HashMap<(u32, u32, u32), u64> = HashMap::new();
    let mut contexts: HashMap<(u32, u32), u64> = HashMap::new();
    let before = |image: &[u32], i: usize| if i == 0 { u32::MAX } else { image[i - 1] };
    tokens.train.walk(|image| {
        let image = &image[known..];
        for (i, code) in image.iter().enumerate() {
            let book = (i % books) as u32;
            single[book as usize * k + *code as usize] += 1;
            *pairs.entry((book, before(image, i), *code)).or_default() += 1;
            *contexts.entry((book, before(image, i))).or_default() += 1;
        }
    })?;
    let totals: Vec<f64> = single
        .chunks(k)
        .map(|book| book.iter().sum::<u64>() as f64)
        .collect();
    const PULLS: [f64; 6] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0];
    let (mut unigram, mut bigram, mut count) = (0.0, [0.0; PULLS.len()], 0.0);
    tokens.test.walk(|image| {
        let image = &image[known..];
        for (i, code) in image.iter().enumerate() {
            let book = i % books;
            let p = single[book * k + *code as usize] as f64 / totals[book];
            unigram -= p.log2();
            let pair = pairs
                .get(&(book as u32, before(image, i), *code))
                .copied()
                .unwrap_or(0) as f64;
            let context = contexts
                .get(&(book as u32, before(image, i)))
                .copied()
                .unwrap_or(0) as f64;
            for (sum, pull) in bigram.iter_mut().zip(PULLS) {
                *sum -= ((pair + pull * p) / (context + pull)).log2();
            }
            count += 1.0;
        }
    })?;
    let bigram = bigram.into_iter().fold(f64::INFINITY, f64::min);
    Ok(Baselines {
        unigram_bits: unigram / count,
        bigram_bits: bigram / count,
    })
}
