//! The decoded pictures that were used last, held in memory within a budget of bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// Pictures that have no place on disk, the last used first.
#[derive(Debug)]
pub(super) struct Recent {
    budget: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    pictures: VecDeque<(u32, Arc<Vec<u8>>)>,
}

impl Recent {
    pub(super) fn new(budget: usize) -> Recent {
        Recent {
            budget,
            held: Mutex::default(),
        }
    }

    pub(super) fn get(&self, picture: u32) -> Option<Arc<Vec<u8>>> {
        let mut held = self.held.lock();
        let at = held.pictures.iter().position(|(n, _)| *n == picture)?;
        let entry = held.pictures.remove(at)?;
        let pixels = entry.1.clone();
        held.pictures.push_front(entry);
        Some(pixels)
    }

    /// Takes a picture in, if the budget has room for it alone; those used longest ago go.
    pub(super) fn put(&self, picture: u32, pixels: Arc<Vec<u8>>) {
        if pixels.len() > self.budget || self.get(picture).is_some() {
            return;
        }
        let mut held = self.held.lock();
        held.bytes += pixels.len();
        held.pictures.push_front((picture, pixels));
        while held.bytes > self.budget {
            let Some((_, gone)) = held.pictures.pop_back() else {
                break;
            };
            held.bytes -= gone.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_and_the_budget_holds() {
        let recent = Recent::new(30);
        let there = |recent: &Recent| -> Vec<u32> {
            recent
                .held
                .lock()
                .pictures
                .iter()
                .map(|(n, _)| *n)
                .collect()
        };
        for n in 0..3 {
            recent.put(n, vec![n as u8; 10].into());
        }
        assert_eq!(recent.get(0).unwrap()[..], [0; 10]);
        recent.put(3, vec![3; 10].into());
        recent.put(3, vec![3; 10].into());
        assert_eq!(there(&recent), [3, 0, 2]);
        recent.put(4, vec![4; 25].into());
        assert_eq!(there(&recent), [4]);
        recent.put(5, vec![5; 31].into());
        assert_eq!((there(&recent), recent.get(5)), (vec![4], None));
    }
}
