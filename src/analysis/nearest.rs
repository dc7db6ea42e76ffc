//! The latents that lie nearest to each code: a running best few per code, so that memory follows
//! the codes in use and not the images seen.

use std::collections::BTreeMap;

/// A latent near a code: its place in the images, and its distance from the code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// Distance, in the measure by which the quantizer chooses.
    pub distance: f32,
    /// The image, by its place among those seen.
    pub image: usize,
    /// The latent in its image, row by row.
    pub position: usize,
}

/// The latents found for a code, the nearest first, and each one's group of images.
type Entry = (Vec<Match>, Vec<u64>);

/// The nearest latents of each code of each codebook, one to a group of images: an image's flat
/// ground, or variants of one image, would fill the list by themselves.
#[derive(Clone, Debug)]
pub struct Nearest {
    keep: usize,
    /// Entries by codebook and code.
    books: Vec<BTreeMap<u32, Entry>>,
}

impl Nearest {
    /// Keeps `keep` latents for each code of `books` codebooks.
    pub fn new(books: usize, keep: usize) -> Nearest {
        Nearest {
            keep,
            books: vec![BTreeMap::new(); books],
        }
    }

    /// Takes in the image number `image`, of the group `group`: the codes of its latents and
    /// their distances, [N, Q] each.
    pub fn observe(&mut self, image: usize, group: u64, codes: &[u32], distances: &[f32]) {
        let books = self.books.len().max(1);
        for (book, best) in self.books.iter_mut().enumerate() {
            let column = codes.iter().zip(distances).skip(book).step_by(books);
            for (position, (code, distance)) in column.enumerate() {
                let (found, of) = best.entry(*code).or_default();
                // Behind those as near: images come in their order.
                let at = found.partition_point(|f| f.distance.total_cmp(distance).is_le());
                // What its group has in the list already stays if it is nearer, and goes if not.
                match of.iter().position(|g| *g == group) {
                    Some(before) if before < at => continue,
                    Some(before) => {
                        found.remove(before);
                        of.remove(before);
                    }
                    None => {}
                }
                found.insert(
                    at,
                    Match {
                        distance: *distance,
                        image,
                        position,
                    },
                );
                of.insert(at, group);
                found.truncate(self.keep);
                of.truncate(self.keep);
            }
        }
    }

    /// Returns the latents nearest to a code, nearest first; fewer than were to be kept where fewer
    /// groups hold it.
    pub fn of(&self, book: usize, code: u32) -> &[Match] {
        self.books
            .get(book)
            .and_then(|b| b.get(&code))
            .map_or(&[], |(found, _)| found)
    }
}

/// Renamed to [`Match`].
#[deprecated(since = "0.2.0", note = "renamed to `Match`")]
pub type Found = Match;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::sampling::random::Key;
    use crate::ops::sampling::random::philox::bits;

    /// Against a sort of everything.
    #[test]
    fn the_lists_are_those_of_brute_force() {
        let (images, positions, books, k, keep) = (40, 17, 3, 5, 6);
        let group = |image: usize| (image - usize::from(image % 3 == 2)) as u64;
        let mut nearest = Nearest::new(books, keep);
        let mut all: Vec<(usize, u32, Match)> = Vec::new();
        for image in 0..images {
            let words = bits(
                Key {
                    seed: 3,
                    step: image as u64,
                    stream: 1,
                },
                2 * positions * books,
            );
            let (a, b) = words.split_at(positions * books);
            let codes: Vec<u32> = a.iter().map(|w| w % k).collect();
            // Few values, so that there are ties.
            let distances: Vec<f32> = b.iter().map(|w| (w % 11) as f32 - 2.0).collect();
            // Every third image is a variant of the one before.
            nearest.observe(image, group(image), &codes, &distances);
            for (i, (code, distance)) in codes.iter().zip(&distances).enumerate() {
                all.push((
                    i % books,
                    *code,
                    Match {
                        distance: *distance,
                        image,
                        position: i / books,
                    },
                ));
            }
        }
        for book in 0..books {
            for code in 0..k {
                let mut own: Vec<Match> = all
                    .iter()
                    .filter(|(b, c, _)| (*b, *c) == (book, code))
                    .map(|(.., f)| *f)
                    .collect();
                own.sort_by(|a, b| {
                    a.distance
                        .total_cmp(&b.distance)
                        .then((a.image, a.position).cmp(&(b.image, b.position)))
                });
                let mut seen = std::collections::BTreeSet::new();
                own.retain(|f| seen.insert(group(f.image)));
                own.truncate(keep);
                assert_eq!(own.len(), keep, "enough groups hold each code");
                assert_eq!(nearest.of(book, code), own, "code {code} of book {book}");
            }
        }
        assert!(nearest.of(0, k).is_empty() && nearest.of(books, 0).is_empty());
    }
}
