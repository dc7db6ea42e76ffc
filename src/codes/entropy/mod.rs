//! The probabilities that an entropy coder takes for codes: counts in contexts, in integers alone,
//! so that every machine computes the same.
//!
//! A code is predicted from its neighbours that are known already: the code to its left and the
//! one above it, and either the code of the codebook before it in the same latent or the code of
//! the coarser level over it. Counts of what followed the two nearest together, counts of what
//! followed each alone, and counts of all codes are blended as Witten and Bell do ("The
//! zero-frequency problem", IEEE Transactions on Information Theory 37(4), 1991): a context that
//! was seen n times with d different codes is believed with n / (n + d), and what is left goes to
//! the next coarser context. At the end of the chain every code of the codebook has the same
//! share, of at least 1/256 in all, which bounds how many codes a byte can stand for.

mod context;
mod statistics;

pub use statistics::CodeStatistics;

use crate::models::Level;
use crate::{Error, Result};
use context::{Contexts, Counts};
use std::collections::HashMap;

/// Bits of a probability: they are integers that sum to 2^24.
pub(super) const PRECISION: usize = 24;
const WHOLE: u64 = 1 << PRECISION;
/// The share that all codes of a codebook have alike, at least, of [`WHOLE`].
const SHARED: u64 = WHOLE / 256;
/// Codes of a codebook, at most: each has a probability of at least 2^-24, and they have no more
/// than a quarter in common.
const MOST_CODES: usize = 1 << 22;
/// Codes that a byte of a packed file can stand for, at most: none is cheaper than
/// -log2(255/256) = 1/177 bits.
pub(super) const CODES_PER_BYTE: usize = 8 * 178;

/// Counts of one codebook of one level.
#[derive(Clone, Default)]
struct Table {
    /// Codes of the codebook.
    codes: usize,
    /// Counts of each code.
    all: Counts,
    /// Counts beside one neighbour, by its place and its code.
    single: HashMap<(u8, u32), Counts>,
    /// Counts beside the two nearest neighbours, by their codes.
    pair: HashMap<(u32, u32), Counts>,
}

impl Table {
    /// Counts a code; a context that is met first begins with what `base` has of it.
    fn add(&mut self, contexts: &Contexts, code: u32, base: Option<&Table>) {
        self.all.add(code, 1);
        for key in contexts.singles() {
            let known = || base.and_then(|b| b.single.get(&key)).cloned();
            let own = self.single.entry(key);
            own.or_insert_with(|| known().unwrap_or_default())
                .add(code, 1);
        }
        if let Some(key) = contexts.pair() {
            let known = || base.and_then(|b| b.pair.get(&key)).cloned();
            let own = self.pair.entry(key);
            own.or_insert_with(|| known().unwrap_or_default())
                .add(code, 1);
        }
    }
}

/// The probabilities of codes as they are met, one image after another: from counts of a data set,
/// if there are any, and from the codes that came before.
pub(super) struct Predictor<'a> {
    levels: Vec<Level>,
    /// Counts of a data set, a table to each codebook of each level, where there are some.
    base: Option<&'a [Table]>,
    /// Tables of what was met since; of a context in them, the data set's counts are in them too.
    tables: Vec<Table>,
    /// Probabilities of the codes of a codebook, reused.
    shares: Vec<u32>,
}

/// The probabilities of one codebook's codes at one place: integers that sum to 2^24, none of them
/// zero.
pub(super) struct Shares<'a>(&'a [u32]);

impl Shares<'_> {
    /// Returns the sum of the probabilities of the codes below `code`, and its own.
    pub(super) fn of(&self, code: u32) -> Option<(u32, u32)> {
        let own = *self.0.get(code as usize)?;
        Some((self.0[..code as usize].iter().sum(), own))
    }

    /// Returns the code whose share holds `quantile`, the sum below it, and its probability.
    pub(super) fn at(&self, quantile: u32) -> (u32, u32, u32) {
        let mut below = 0;
        for (code, share) in self.0.iter().enumerate() {
            if quantile - below < *share {
                return (code as u32, below, *share);
            }
            below += share;
        }
        unreachable!("shares sum to 2^24, and a quantile is below that")
    }
}

/// A code's place: level, codebook, row, column, and the latents of a row.
#[derive(Clone, Copy)]
pub(super) struct Place {
    level: usize,
    codebook: usize,
    row: usize,
    column: usize,
    columns: usize,
}

impl<'a> Predictor<'a> {
    /// Begins with the counts of `statistics`, or with none.
    ///
    /// # Errors
    /// If a codebook has more codes than can be told apart in 24 bits, or the statistics are those
    /// of other levels.
    pub(super) fn new(
        levels: &[Level],
        statistics: Option<&'a CodeStatistics>,
    ) -> Result<Predictor<'a>> {
        if let Some(level) = levels.iter().find(|l| l.codebook_size > MOST_CODES) {
            return Err(Error::invalid(
                "pack",
                format!(
                    "a codebook of {} codes: at most {MOST_CODES} can be packed",
                    level.codebook_size
                ),
            ));
        }
        let base = statistics.map(|s| s.tables_of(levels)).transpose()?;
        let mut tables = empty_tables(levels);
        for (table, base) in tables.iter_mut().zip(base.into_iter().flatten()) {
            table.all = base.all.clone();
        }
        let largest = levels.iter().map(|l| l.codebook_size).max().unwrap_or(0);
        Ok(Predictor {
            levels: levels.to_vec(),
            base,
            tables,
            shares: vec![0; largest],
        })
    }

    /// Goes on with images of another size.
    ///
    /// # Errors
    /// If their levels or codebooks are others.
    pub(super) fn turn_to(&mut self, levels: &[Level]) -> Result<()> {
        if !alike(&self.levels, levels) {
            let what = "codes of other levels, or other codebooks, in one file";
            return Err(Error::invalid("codes", what));
        }
        self.levels = levels.to_vec();
        Ok(())
    }

    /// Returns the places of an image's codes in the order in which they are stored.
    pub(super) fn places(levels: &[Level]) -> impl Iterator<Item = Place> + '_ {
        levels.iter().enumerate().flat_map(|(level, of)| {
            let [rows, columns] = of.grid;
            (0..rows * columns * of.codebooks).map(move |i| {
                let latent = i / of.codebooks;
                Place {
                    level,
                    codebook: i % of.codebooks,
                    row: latent / columns,
                    column: latent % columns,
                    columns,
                }
            })
        })
    }

    fn contexts(&self, place: Place, image: &[u32]) -> Contexts {
        Contexts::of(&self.levels, place, image)
    }

    fn table(&self, place: Place) -> usize {
        let before = self.levels[..place.level].iter().map(|l| l.codebooks);
        before.sum::<usize>() + place.codebook
    }

    /// Returns the probabilities of the codes that may come at a place of an image, of which
    /// `image` holds the codes before it; `None` where only one can.
    pub(super) fn shares(&mut self, place: Place, image: &[u32]) -> Option<Shares<'_>> {
        let contexts = self.contexts(place, image);
        let index = self.table(place);
        let table = &self.tables[index];
        let base = self.base.map(|tables| &tables[index]);
        if table.codes < 2 {
            return None;
        }
        let shares = &mut self.shares[..table.codes];
        // Nobody has less than one, and all have a 256th in common.
        let least = (SHARED / table.codes as u64).max(1);
        shares.fill(least as u32);
        let mut left = WHOLE - least * table.codes as u64;
        let pair = contexts.pair().and_then(|key| {
            let known = || base.and_then(|b| b.pair.get(&key));
            table.pair.get(&key).or_else(known)
        });
        if let Some(counts) = pair {
            left -= counts.give(left, shares);
        }
        let singles = contexts.singles().filter_map(|key| {
            let known = || base.and_then(|b| b.single.get(&key));
            table.single.get(&key).or_else(known)
        });
        let mut pooled = Counts::default();
        for counts in singles {
            pooled.join(counts);
        }
        left -= pooled.give(left, shares);
        left -= table.all.give(left, shares);
        // What is left goes to all alike, and what rounding leaves of that to the first.
        let each = left / table.codes as u64;
        shares.iter_mut().for_each(|s| *s += each as u32);
        shares[0] += (left - each * table.codes as u64) as u32;
        Some(Shares(shares))
    }

    /// Counts the code that came at a place.
    pub(super) fn learn(&mut self, place: Place, image: &[u32], code: u32) {
        let contexts = self.contexts(place, image);
        let index = self.table(place);
        let base = self.base.map(|tables| &tables[index]);
        self.tables[index].add(&contexts, code, base);
    }
}

/// Have these levels the same names and codebooks, whatever their grids?
fn alike(one: &[Level], other: &[Level]) -> bool {
    let kind = |l: &Level| (l.name.clone(), l.codebook_size, l.codebooks);
    one.iter().map(kind).eq(other.iter().map(kind))
}

fn empty_tables(levels: &[Level]) -> Vec<Table> {
    let codebooks = levels
        .iter()
        .flat_map(|l| std::iter::repeat_n(l.codebook_size, l.codebooks));
    codebooks
        .map(|codes| Table {
            codes,
            ..Table::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels() -> Vec<Level> {
        let level = |name: &str, grid, codebook_size, codebooks| Level {
            name: name.into(),
            grid,
            codebook_size,
            codebooks,
        };
        vec![
            level("top", [2, 3], 7, 1),
            level("bottom", [4, 6], 300, 2),
            level("one", [1, 2], 1, 1),
        ]
    }

    #[test]
    fn shares_sum_to_the_whole_and_none_is_zero() {
        let levels = levels();
        let mut predictor = Predictor::new(&levels, None).unwrap();
        let mut image = Vec::new();
        let mut seed = 1u32;
        for _ in 0..3 {
            image.clear();
            for place in Predictor::places(&levels) {
                seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
                let size = levels[place.level].codebook_size as u32;
                // Few codes, so that contexts fill.
                let code = (seed >> 16) % size.min(5);
                if let Some(shares) = predictor.shares(place, &image) {
                    assert_eq!(shares.0.len(), size as usize);
                    assert_eq!(shares.0.iter().map(|s| u64::from(*s)).sum::<u64>(), WHOLE);
                    assert!(shares.0.iter().all(|s| *s > 0));
                    let (below, own) = shares.of(code).unwrap();
                    assert_eq!(shares.at(below), (code, below, own));
                    assert_eq!(shares.at(below + own - 1), (code, below, own));
                } else {
                    assert_eq!(size, 1);
                }
                predictor.learn(place, &image, code);
                image.push(code);
            }
        }
    }

    #[test]
    fn no_code_is_cheaper_than_what_bounds_a_file() {
        let levels = vec![Level {
            name: String::new(),
            grid: [1, 1],
            codebook_size: 512,
            codebooks: 1,
        }];
        let mut predictor = Predictor::new(&levels, None).unwrap();
        let place = Predictor::places(&levels).next().unwrap();
        for _ in 0..100_000 {
            predictor.learn(place, &[], 3);
        }
        let (_, own) = predictor.shares(place, &[]).unwrap().of(3).unwrap();
        let bits = -(f64::from(own) / WHOLE as f64).log2();
        assert!(bits * CODES_PER_BYTE as f64 >= 8.0, "{bits} bits a code");
    }

    #[test]
    fn what_came_before_is_expected_again() {
        let levels = vec![Level {
            name: String::new(),
            grid: [1, 4],
            codebook_size: 64,
            codebooks: 1,
        }];
        let mut predictor = Predictor::new(&levels, None).unwrap();
        let image = [9u32, 4, 9, 5];
        let places: Vec<Place> = Predictor::places(&levels).collect();
        for _ in 0..20 {
            for (i, place) in places.iter().enumerate() {
                predictor.learn(*place, &image[..i], image[i]);
            }
        }
        // Behind a 9 came a 4 or a 5, alike often; behind a 4 always a 9.
        let behind_4 = predictor.shares(places[2], &image[..2]).unwrap().of(9);
        let behind_9 = predictor.shares(places[1], &image[..1]).unwrap().of(4);
        let share = |of: Option<(u32, u32)>| f64::from(of.unwrap().1) / WHOLE as f64;
        assert!(share(behind_4) > 0.9, "{}", share(behind_4));
        let even = share(behind_9);
        assert!((0.4..0.55).contains(&even), "{even}");
    }
}
