//! Ranks that are threads of one process: for tests, and for several adapters in one program.

use super::{Communicator, Ranks};
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;

/// A rank that is a thread. Dropping it takes it away from the others, for whom that is an error
/// once they wait for it.
pub struct ThreadRank {
    rank: usize,
    shared: Arc<Shared>,
}

struct Shared {
    size: usize,
    round: Mutex<Round>,
    changed: Condvar,
    /// The words sent to each rank, behind the number of who sent them.
    words: Vec<Mutex<VecDeque<(usize, u32)>>>,
}

/// A message of each rank, from when the first gives its own until the last has taken all.
#[derive(Default)]
struct Round {
    given: Vec<Option<Vec<u8>>>,
    all: Option<Arc<Vec<Vec<u8>>>>,
    taken: usize,
    /// The first rank that is gone.
    gone: Option<usize>,
}

impl ThreadRank {
    /// Returns so many ranks that hear each other, one for each thread.
    pub fn group(size: usize) -> Vec<Ranks> {
        let ranks = ThreadRank::ranks(size).into_iter();
        ranks.map(|rank| Ranks::of(Arc::new(rank))).collect()
    }

    pub(super) fn ranks(size: usize) -> Vec<ThreadRank> {
        let shared = Arc::new(Shared {
            size,
            round: Mutex::new(Round {
                given: vec![None; size],
                ..Round::default()
            }),
            changed: Condvar::new(),
            words: (0..size).map(|_| Mutex::default()).collect(),
        });
        let of = |rank| {
            let shared = shared.clone();
            ThreadRank { rank, shared }
        };
        (0..size).map(of).collect()
    }

    /// Takes this rank away from the others.
    fn leave(&self) {
        let mut round = self.shared.round.lock();
        round.gone.get_or_insert(self.rank);
        self.shared.changed.notify_all();
    }

    /// Gives a message; returns those of all ranks.
    fn all(&self, own: Vec<u8>) -> Result<Arc<Vec<Vec<u8>>>> {
        let shared = &self.shared;
        let mut round = shared.round.lock();
        // Others may not have taken those of the round before.
        while round.all.is_some() {
            shared.changed.wait(&mut round);
        }
        round.given[self.rank] = Some(own);
        if round.given.iter().all(Option::is_some) {
            let given = round.given.iter_mut().filter_map(Option::take).collect();
            (round.all, round.taken) = (Some(Arc::new(given)), 0);
            shared.changed.notify_all();
        }
        let all = loop {
            if let Some(all) = &round.all {
                break all.clone();
            }
            if let Some(rank) = round.gone {
                return Err(gone(rank));
            }
            shared.changed.wait(&mut round);
        };
        round.taken += 1;
        if round.taken == shared.size {
            round.all = None;
            shared.changed.notify_all();
        }
        Ok(all)
    }
}

fn gone(rank: usize) -> Error {
    let what = format!("rank {rank} is gone, and this one waits for it");
    Error::invalid("ranks", what)
}

impl Drop for ThreadRank {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Communicator for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.size
    }

    /// The others get an error where they wait for this one, whoever still has a handle on it.
    fn abort(&self) {
        self.leave();
    }

    fn exchange(&self, words: &[u32]) -> Result<Vec<u32>> {
        let all = self.all(bytemuck::cast_slice(words).to_vec())?;
        let each = 4 * words.len() / self.size();
        let own = all.iter().flat_map(|of| &of[self.rank * each..][..each]);
        Ok(bytemuck::pod_collect_to_vec(
            &own.copied().collect::<Vec<u8>>(),
        ))
    }

    fn gather(&self, words: &[u32]) -> Result<Vec<u32>> {
        let all = self.all(bytemuck::cast_slice(words).to_vec())?;
        Ok(bytemuck::pod_collect_to_vec(&all.concat()))
    }

    fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(self.all(bytes.to_vec())?[0].clone())
    }

    fn send(&self, to: usize, word: u32) -> Result<()> {
        let none = || Error::invalid("ranks", format!("there is no rank {to}"));
        let words = self.shared.words.get(to).ok_or_else(none)?;
        words.lock().push_back((self.rank, word));
        Ok(())
    }

    fn poll(&self) -> Result<Option<(usize, u32)>> {
        if let Some(word) = self.shared.words[self.rank].lock().pop_front() {
            return Ok(Some(word));
        }
        match self.shared.round.lock().gone {
            Some(rank) => Err(gone(rank)),
            None => Ok(None),
        }
    }
}
