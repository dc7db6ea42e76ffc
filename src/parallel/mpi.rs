//! Ranks that are processes under MPI: those that `mpirun` started.

use super::{Communicator, Ranks, pieces};
use crate::{Error, Result};
use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{
    Communicator as _, CommunicatorCollectives as _, Destination as _, Root as _, Source as _,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a broadcast at once: MPI counts in 31 bits.
const AT_ONCE: usize = 1 << 30;
/// Words of another message at once, those of all ranks together.
const MOST: usize = AT_ONCE / 4;

/// The time in which a rank looks for a message without a pause, and the pauses after that: MPI
/// itself would keep a processor busy however long it waits.
const AT_ONCE_FOR: Duration = Duration::from_millis(2);
const BETWEEN: Duration = Duration::from_micros(200);

/// MPI, from its start to its end. It ends where this is dropped.
pub struct World {
    _universe: Universe,
    ranks: Ranks,
    on_node: (usize, usize),
}

/// The communicator of all processes. MPI itself keeps it.
struct All;

fn all() -> SimpleCommunicator {
    SimpleCommunicator::world()
}

/// The tag of words between two ranks.
const WORD: i32 = 1;

/// The exit code of processes that are ended by another's error.
const ENDED: i32 = 1;

impl World {
    /// Starts MPI, once in a process. A process that `mpirun` did not start is alone.
    ///
    /// # Errors
    /// If MPI was started before, or allows no calls from a program with threads.
    pub fn start() -> Result<World> {
        let wrong = |what: &str| Error::invalid("mpi", what);
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| wrong("it was started before in this process"))?;
        if threading < Threading::Serialized {
            let what = "this MPI allows calls from programs with one thread alone, which this is \
                        not: build it with support for threads";
            return Err(wrong(what));
        }
        let node = all().split_shared(all().rank());
        let on_node = (node.rank() as usize, node.size() as usize);
        Ok(World {
            _universe: universe,
            ranks: Ranks::of(Arc::new(All)),
            on_node,
        })
    }

    /// Returns the ranks of all processes.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Returns the number of this process among those of its machine, and how many they are.
    pub fn on_node(&self) -> (usize, usize) {
        self.on_node
    }
}

impl Communicator for All {
    fn rank(&self) -> usize {
        all().rank() as usize
    }

    fn size(&self) -> usize {
        all().size() as usize
    }

    fn exchange(&self, words: &[u32]) -> Result<Vec<u32>> {
        pieces::exchange(words, self.size(), MOST, |sent, came| {
            all().all_to_all_into(sent, came);
            Ok(())
        })
    }

    fn gather(&self, words: &[u32]) -> Result<Vec<u32>> {
        pieces::gather(words, self.size(), MOST, |sent, came| {
            all().all_gather_into(sent, came);
            Ok(())
        })
    }

    fn copy_of(&self, root: usize, words: &mut [u32]) -> Result<()> {
        let (world, root) = (all(), root as i32);
        let root = world.process_at_rank(root);
        for part in words.chunks_mut(MOST) {
            root.broadcast_into(part);
        }
        Ok(())
    }

    fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        let (world, mut length) = (all(), bytes.len() as u64);
        let root = world.process_at_rank(0);
        // Rank 0 may be at something long, while the others wait for its next word.
        mpi::request::scope(|scope| {
            let mut request = root.immediate_broadcast_into(scope, &mut length);
            let began = Instant::now();
            while let Err(pending) = request.test() {
                request = pending;
                if began.elapsed() > AT_ONCE_FOR {
                    std::thread::sleep(BETWEEN);
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let mut all = match self.rank() {
            0 => bytes.to_vec(),
            _ => vec![0; length as usize],
        };
        for part in all.chunks_mut(AT_ONCE) {
            root.broadcast_into(part);
        }
        Ok(all)
    }

    fn send(&self, to: usize, word: u32) -> Result<()> {
        let world = all();
        world.process_at_rank(to as i32).send_with_tag(&word, WORD);
        Ok(())
    }

    fn poll(&self) -> Result<Option<(usize, u32)>> {
        let world = all();
        let found = world.any_process().immediate_matched_probe_with_tag(WORD);
        Ok(found.map(|(message, status)| {
            let mut word = 0u32;
            message.matched_receive_into(&mut word);
            (status.source_rank() as usize, word)
        }))
    }

    fn abort(&self) {
        all().abort(ENDED)
    }
}
