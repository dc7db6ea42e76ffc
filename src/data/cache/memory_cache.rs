//! The decoded source images that were used last, held in memory within a budget of bytes.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

/// Source images that have no place on disk.
#[derive(Debug)]
pub(crate) struct MemoryCache {
    budget: usize,
    held: Mutex<Entries>,
}

#[derive(Debug)]
struct Entries {
    bytes: usize,
    pictures: LruCache<u32, Arc<Vec<u8>>>,
}

impl MemoryCache {
    pub(crate) fn new(budget: usize) -> MemoryCache {
        MemoryCache {
            budget,
            held: Mutex::new(Entries {
                bytes: 0,
                pictures: LruCache::unbounded(),
            }),
        }
    }

    pub(crate) fn get(&self, picture: u32) -> Option<Arc<Vec<u8>>> {
        self.held.lock().pictures.get(&picture).cloned()
    }

    /// Lets all go.
    pub(crate) fn clear(&mut self) {
        let held = self.held.get_mut();
        held.pictures.clear();
        held.bytes = 0;
    }

    /// Takes a source image in, if the budget has room for it alone; those used longest ago go.
    pub(crate) fn put(&self, picture: u32, pixels: Arc<Vec<u8>>) {
        if pixels.len() > self.budget {
            return;
        }
        let mut held = self.held.lock();
        held.bytes += pixels.len();
        let replaced = held.pictures.put(picture, pixels);
        held.bytes -= replaced.map_or(0, |before| before.len());
        while held.bytes > self.budget {
            let Some((_, gone)) = held.pictures.pop_lru() else {
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
        let cache = MemoryCache::new(30);
        let there = |cache: &MemoryCache| -> Vec<u32> {
            cache.held.lock().pictures.iter().map(|(n, _)| *n).collect()
        };
        for n in 0..3 {
            cache.put(n, vec![n as u8; 10].into());
        }
        assert_eq!(cache.get(0).unwrap()[..], [0; 10]);
        cache.put(3, vec![3; 10].into());
        cache.put(3, vec![3; 10].into());
        assert_eq!(there(&cache), [3, 0, 2]);
        cache.put(4, vec![4; 25].into());
        assert_eq!(there(&cache), [4]);
        cache.put(5, vec![5; 31].into());
        assert_eq!((there(&cache), cache.get(5)), (vec![4], None));
    }
}
