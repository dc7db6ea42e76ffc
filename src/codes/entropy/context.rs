//! The neighbours around a code, and counts of each code in such a place.

use super::Place;
use crate::models::Level;

/// Places of neighbours: to the left, above, and in the codebook before or the level above.
const NEIGHBOURS: usize = 3;

/// The codes around a place that are known when its own is met.
#[derive(Clone, Copy)]
pub(super) struct Contexts {
    neighbours: [Option<u32>; NEIGHBOURS],
}

impl Contexts {
    /// Returns what is known around a place of an image, of which `image` holds the codes before.
    pub(super) fn of(levels: &[Level], place: Place, image: &[u32]) -> Contexts {
        let start: usize = levels[..place.level].iter().map(Level::codes).sum();
        let level = &levels[place.level];
        let code = |row: usize, column: usize, codebook: usize| {
            let latent = row * place.columns + column;
            image
                .get(start + latent * level.codebooks + codebook)
                .copied()
        };
        let left = place
            .column
            .checked_sub(1)
            .and_then(|column| code(place.row, column, place.codebook));
        let above = place
            .row
            .checked_sub(1)
            .and_then(|row| code(row, place.column, place.codebook));
        let third = match place.codebook.checked_sub(1) {
            Some(before) => code(place.row, place.column, before),
            None => coarser(levels, place, start, image),
        };
        Contexts {
            neighbours: [left, above, third],
        }
    }

    /// The neighbours that there are, each with its place.
    pub(super) fn singles(&self) -> impl Iterator<Item = (u8, u32)> + use<> {
        let neighbours = self.neighbours.into_iter().enumerate();
        neighbours.filter_map(|(at, code)| Some((at as u8, code?)))
    }

    /// The two nearest neighbours, where both are known: of several codebooks or levels the code
    /// before and the one to the left, else those to the left and above.
    pub(super) fn pair(&self) -> Option<(u32, u32)> {
        match self.neighbours {
            [Some(left), _, Some(third)] => Some((left, third)),
            [Some(left), Some(above), None] => Some((left, above)),
            _ => None,
        }
    }
}

/// The code of the level above that lies over a place: that of its first codebook.
fn coarser(levels: &[Level], place: Place, start: usize, image: &[u32]) -> Option<u32> {
    let above = &levels[place.level.checked_sub(1)?];
    let own = &levels[place.level];
    let row = place.row * above.grid[0] / own.grid[0];
    let column = place.column * above.grid[1] / own.grid[1];
    let first = start - above.codes();
    let at = first + (row * above.grid[1] + column) * above.codebooks;
    image.get(at).copied()
}

/// Counts of the codes that were met.
#[derive(Clone, Default)]
pub(super) struct Counts {
    /// All of them together.
    total: u64,
    /// Codes and how often each was met, by code.
    of: Vec<(u32, u32)>,
}

impl Counts {
    /// Counts a code `times` more.
    pub(super) fn add(&mut self, code: u32, times: u32) {
        match self.of.binary_search_by_key(&code, |(code, _)| *code) {
            Ok(at) => {
                let count = &mut self.of[at].1;
                let room = u32::MAX - *count;
                *count += times.min(room);
                self.total += u64::from(times.min(room));
            }
            Err(at) => {
                self.of.insert(at, (code, times));
                self.total += u64::from(times);
            }
        }
    }

    /// Adds the counts of another.
    pub(super) fn join(&mut self, other: &Counts) {
        if self.of.is_empty() {
            self.clone_from(other);
            return;
        }
        for (code, times) in &other.of {
            self.add(*code, *times);
        }
    }

    /// Codes and how often each was met, by code.
    pub(super) fn entries(&self) -> &[(u32, u32)] {
        &self.of
    }

    /// Hands out of `left` what this context is believed with, n / (n + d) for n codes of d kinds,
    /// to the codes by how often they came. Returns what was given.
    pub(super) fn give(&self, left: u64, shares: &mut [u32]) -> u64 {
        if self.total == 0 {
            return 0;
        }
        let kinds = self.of.len() as u64;
        let scaled = |of: u64, by: u64| (u128::from(left) * u128::from(of) / u128::from(by)) as u64;
        let mut given = 0;
        for (code, times) in &self.of {
            let share = scaled(u64::from(*times), self.total + kinds);
            shares[*code as usize] += share as u32;
            given += share;
        }
        given
    }
}
