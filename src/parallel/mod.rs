//! Ranks: the processes that train one model together, and what they tell each other.
//!
//! A [`Communicator`] carries bytes, in order and whole; [`Ranks`] is what training sees of it.
//! Sums are made here and not by the communicator, so that they are the same under any of them:
//! each rank adds up its share of the numbers, those of rank 0 first, in f64, and all ranks get the
//! words that it found. So all ranks hold the same bytes after a sum, whatever a communicator does
//! inside. One rank alone ([`Ranks::alone`]) sends nothing and changes nothing.

mod agreement;
mod handout;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(any(feature = "mpi", test))]
mod pieces;
mod threads;

#[cfg(feature = "mpi")]
pub use self::mpi::World;
pub use threads::ThreadRank;

use crate::gpu::{DType, Readback, Tensor};
use crate::{Error, Result};
use std::sync::{Arc, OnceLock};

/// A carrier of messages between ranks. Every rank makes the same calls in the same order, with
/// messages of the same length.
pub trait Communicator: Send + Sync {
    /// Returns the number of this rank, from 0.
    fn rank(&self) -> usize;
    /// Returns the number of ranks.
    fn size(&self) -> usize;
    /// Sends each rank its part of `words`, which has an equal part for each, in their order;
    /// returns the parts that arrived, in the order of those who sent them.
    ///
    /// # Errors
    /// If a rank is gone.
    fn exchange(&self, words: &[u32]) -> Result<Vec<u32>>;
    /// Sends `words` to all ranks; returns those of each rank, in their order.
    ///
    /// # Errors
    /// If a rank is gone.
    fn gather(&self, words: &[u32]) -> Result<Vec<u32>>;
    /// Returns the bytes of rank 0. The others give none, and need not know how many come.
    ///
    /// # Errors
    /// If a rank is gone.
    fn broadcast(&self, bytes: &[u8]) -> Result<Vec<u8>>;
    /// Makes `words` those of the rank `root`, on all ranks; all give as many.
    ///
    /// # Errors
    /// If a rank is gone.
    fn copy_of(&self, root: usize, words: &mut [u32]) -> Result<()> {
        let all = self.gather(words)?;
        let n = words.len();
        words.copy_from_slice(&all[root * n..][..n]);
        Ok(())
    }
    /// Sends a word to one other rank, which [polls](Communicator::poll) for it. Unlike the calls
    /// above, each rank makes this one when it likes.
    ///
    /// # Errors
    /// If a rank is gone, or this communicator has no such messages.
    fn send(&self, _to: usize, _word: u32) -> Result<()> {
        Err(no_words())
    }
    /// Returns the next word that another rank has [sent](Communicator::send) to this one, behind
    /// the number of that rank; `None` where none has arrived. Does not wait.
    ///
    /// # Errors
    /// As [`Communicator::send`].
    fn poll(&self) -> Result<Option<(usize, u32)>> {
        Err(no_words())
    }
    /// Ends the processes of all ranks, where they are processes.
    fn abort(&self) {}
}

fn no_words() -> Error {
    let what = "this communicator carries no messages between two ranks";
    Error::invalid("ranks", what)
}

/// The ranks of a training, as one of them sees them.
#[derive(Clone, Default)]
pub struct Ranks(Option<Arc<dyn Communicator>>);

/// Tensors on their way to the host, whose sums over the ranks are asked for.
#[derive(Default)]
pub(crate) struct PendingSum {
    reads: Vec<(Tensor, Readback)>,
}

impl std::fmt::Debug for Ranks {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

/// The ranks of this process.
static WORLD: OnceLock<Ranks> = OnceLock::new();

impl Ranks {
    /// Returns a rank without others.
    pub fn alone() -> Ranks {
        Ranks(None)
    }

    /// Returns the ranks that a communicator connects.
    pub fn of(communicator: Arc<dyn Communicator>) -> Ranks {
        Ranks((communicator.size() > 1).then_some(communicator))
    }

    /// Returns the ranks that this process was started as one of, see [`Ranks::enter`]; a process
    /// is alone otherwise.
    pub fn world() -> Ranks {
        WORLD.get().cloned().unwrap_or_default()
    }

    /// Makes these the ranks that trainings of this process run over. The first call counts.
    pub fn enter(self) {
        let _ = WORLD.set(self);
    }

    /// Returns the number of this rank.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |c| c.rank())
    }

    /// Returns the number of ranks.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |c| c.size())
    }

    /// Whether there are no others.
    pub fn is_alone(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this rank leads others.
    pub fn leads(&self) -> bool {
        !self.is_alone() && self.rank() == 0
    }

    /// Ends the processes of all ranks, where there are others.
    pub fn abort(&self) {
        if let Some(c) = &self.0 {
            c.abort();
        }
    }

    /// Returns the bytes of rank 0, which the others give none of.
    ///
    /// # Errors
    /// If a rank is gone.
    pub fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        match &self.0 {
            Some(c) => c.broadcast(&bytes),
            None => Ok(bytes),
        }
    }

    /// Returns the words of all ranks, in their order: as many of each.
    ///
    /// # Errors
    /// If a rank is gone.
    pub(crate) fn gather_words(&self, words: &[u32]) -> Result<Vec<u32>> {
        match &self.0 {
            Some(c) => c.gather(words),
            None => Ok(words.to_vec()),
        }
    }

    /// Makes `words` those of the rank `root`, on all ranks; all give as many.
    ///
    /// # Errors
    /// If a rank is gone.
    pub(crate) fn copy_words_of(&self, root: usize, words: &mut [u32]) -> Result<()> {
        match &self.0 {
            Some(c) => c.copy_of(root, words),
            None => Ok(()),
        }
    }

    /// Adds up the words of all ranks, of which the first `floats` are bits of f32 and the rest
    /// whole numbers. All ranks get the same sums.
    fn sum_words(&self, words: &mut [u32], floats: usize) -> Result<()> {
        let Some(c) = &self.0 else { return Ok(()) };
        if words.is_empty() {
            return Ok(());
        }
        let (size, share) = (c.size(), words.len().div_ceil(c.size()));
        let mut padded = words.to_vec();
        padded.resize(share * size, 0);
        let parts = c.exchange(&padded)?;
        let first = share * c.rank();
        let own: Vec<u32> = (0..share)
            .map(|i| {
                let of = parts.iter().skip(i).step_by(share);
                if first + i < floats {
                    let sum: f64 = of.map(|bits| f64::from(f32::from_bits(*bits))).sum();
                    (sum as f32).to_bits()
                } else {
                    of.fold(0u32, |sum, n| sum.wrapping_add(*n))
                }
            })
            .collect();
        let all = c.gather(&own)?;
        words.copy_from_slice(&all[..words.len()]);
        Ok(())
    }

    /// Adds up the values of all ranks, in place and in one message.
    ///
    /// # Errors
    /// If a rank is gone.
    pub fn sum(&self, values: &mut [f32]) -> Result<()> {
        let floats = values.len();
        self.sum_words(bytemuck::cast_slice_mut(values), floats)
    }

    /// Adds up tensors of f32 and u32 over all ranks, in place and in one message. The same tensor
    /// may be named twice. Waits for the device.
    ///
    /// # Errors
    /// If a tensor has other elements, a rank is gone, or the device fails.
    pub fn sum_tensors(&self, tensors: &[&Tensor]) -> Result<()> {
        self.finish_sum(self.begin_sum(tensors)?)
    }

    /// Begins a [`Ranks::sum_tensors`]: the tensors are read as they are now, and the device can go
    /// on with what does not change them.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn begin_sum(&self, tensors: &[&Tensor]) -> Result<PendingSum> {
        let mut pending = PendingSum::default();
        if self.is_alone() {
            return Ok(pending);
        }
        let floats = tensors.iter().filter(|t| t.dtype() == DType::F32);
        let wholes = tensors.iter().filter(|t| t.dtype() != DType::F32);
        for tensor in floats.chain(wholes) {
            pending
                .reads
                .push(((*tensor).clone(), tensor.read_async()?));
        }
        Ok(pending)
    }

    /// Adds up what was read, and writes the sums to where it was read.
    ///
    /// # Errors
    /// As [`Ranks::sum_tensors`].
    pub(crate) fn finish_sum(&self, pending: PendingSum) -> Result<()> {
        let (mut words, mut floats, mut tensors) = (Vec::new(), 0, Vec::new());
        for (tensor, read) in pending.reads {
            match tensor.dtype() {
                DType::F32 => {
                    words.extend(read.wait::<f32>()?.into_iter().map(f32::to_bits));
                    floats = words.len();
                }
                _ => words.extend(read.wait::<u32>()?),
            }
            tensors.push(tensor);
        }
        self.sum_words(&mut words, floats)?;
        let mut rest = &words[..];
        for tensor in tensors {
            let (own, after) = rest.split_at(tensor.len());
            rest = after;
            write(&tensor, own)?;
        }
        Ok(())
    }

    /// Returns the rows of all ranks, one rank's after another's: tensors of f32 or u32, alike on
    /// all ranks. Waits for the device.
    ///
    /// # Errors
    /// As [`Ranks::sum_tensors`].
    pub fn gather_rows(&self, rows: &Tensor) -> Result<Tensor> {
        let Some(c) = &self.0 else {
            return Ok(rows.clone());
        };
        let [n, inner @ ..] = rows.shape() else {
            return Err(Error::shape("gather_rows", "rows", format!("{rows:?}")));
        };
        let all = c.gather(&read(rows)?)?;
        let shape: Vec<usize> = std::iter::once(n * c.size())
            .chain(inner.iter().copied())
            .collect();
        let gathered = Tensor::empty(rows.gpu(), &shape, rows.dtype())?;
        write(&gathered, &all)?;
        Ok(gathered)
    }

    /// Makes tensors of f32 or u32 those of rank 0. Waits for the device.
    ///
    /// # Errors
    /// As [`Ranks::sum_tensors`].
    pub fn copy_tensors(&self, tensors: &[&Tensor]) -> Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        for tensor in tensors {
            let own = match self.rank() {
                0 => bytemuck::cast_slice(&read(tensor)?).to_vec(),
                _ => Vec::new(),
            };
            let bytes = self.broadcast(own)?;
            if self.rank() > 0 {
                write(tensor, &bytemuck::pod_collect_to_vec::<u8, u32>(&bytes))?;
            }
        }
        Ok(())
    }
}

/// The elements of a tensor as words.
fn read(tensor: &Tensor) -> Result<Vec<u32>> {
    match tensor.dtype() {
        DType::F32 => Ok(tensor
            .read::<f32>()?
            .into_iter()
            .map(f32::to_bits)
            .collect()),
        _ => tensor.read::<u32>(),
    }
}

/// Replaces the elements of a tensor.
fn write(tensor: &Tensor, words: &[u32]) -> Result<()> {
    match tensor.dtype() {
        DType::F32 => tensor.write::<f32>(bytemuck::cast_slice(words)),
        _ => tensor.write::<u32>(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the results of `f` on each of so many ranks.
    pub(super) fn on<T: Send>(ranks: usize, f: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let all: Vec<_> = ThreadRank::group(ranks)
                .into_iter()
                .map(|rank| scope.spawn(|| f(rank)))
                .collect();
            all.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    /// Lengths that no number of ranks divides, and sums that rounding in another order would
    /// change.
    #[test]
    fn all_ranks_get_the_same_sum() {
        for size in [1, 2, 3, 4, 7] {
            let sums = on(size, |ranks| {
                let r = ranks.rank() as u32;
                let floats = [1e8, 1.0 + r as f32, -1e8, 0.1, f32::MIN_POSITIVE];
                let wholes = [r, 1 << 31, u32::MAX, 7, 1, 2];
                let mut words: Vec<u32> = floats.iter().map(|x: &f32| x.to_bits()).collect();
                words.extend(wholes);
                ranks.sum_words(&mut words, floats.len()).unwrap();
                words
            });
            assert!(sums.iter().all(|other| *other == sums[0]), "{size} ranks");
            let n = size as u32;
            let float = |i: usize| f32::from_bits(sums[0][i]);
            assert_eq!(float(0), 1e8 * n as f32);
            assert_eq!(float(1), (n * (n + 1) / 2) as f32);
            assert_eq!(float(3), (f64::from(0.1f32) * f64::from(n)) as f32);
            let wholes = [
                n * (n - 1) / 2,
                n.wrapping_mul(1 << 31),
                n.wrapping_neg(),
                7 * n,
                n,
                2 * n,
            ];
            assert_eq!(sums[0][5..], wholes);
        }
    }

    #[test]
    fn what_is_not_finite_stays_so_on_all_ranks() {
        let sums = on(3, |ranks| {
            let mut words = vec![
                if ranks.rank() == 1 {
                    f32::INFINITY
                } else {
                    1.0
                }
                .to_bits(),
            ];
            ranks.sum_words(&mut words, 1).unwrap();
            f32::from_bits(words[0])
        });
        assert_eq!(sums, [f32::INFINITY; 3]);
    }

    #[test]
    fn ranks_copy_the_words_of_any() {
        let found = on(3, |ranks| {
            [0, 1, 2].map(|root| {
                let mut words = [10 + ranks.rank() as u32; 4];
                ranks.copy_words_of(root, &mut words).unwrap();
                words
            })
        });
        assert_eq!(found, [[[10; 4], [11; 4], [12; 4]]; 3]);
    }

    #[test]
    fn ranks_hear_rank_0_and_know_whether_they_agree() {
        let found = on(3, |ranks| {
            let own = match ranks.rank() {
                0 => b"step".to_vec(),
                _ => Vec::new(),
            };
            let heard = ranks.broadcast(own).unwrap();
            let same = ranks.agree(&[5, 6]).unwrap();
            let other = ranks.agree(&[5, ranks.rank() as u32 / 2]).unwrap();
            (heard, same, other)
        });
        assert!(found.iter().all(|(heard, ..)| heard == b"step"));
        assert!(found.iter().all(|(_, same, _)| *same));
        assert!(found.iter().any(|(_, _, other)| !other));
    }

    /// A rank that is gone is an error for those that wait for it, now and later.
    #[test]
    fn a_rank_that_is_gone_is_an_error_for_the_others() {
        let found = on(3, |ranks| {
            let first = ranks.agree(&[1]).unwrap();
            if ranks.rank() == 1 {
                return (first, String::new(), String::new());
            }
            let error = || ranks.agree(&[2]).unwrap_err().to_string();
            (first, error(), error())
        });
        for (i, (first, error, again)) in found.iter().enumerate() {
            assert!(first);
            if i != 1 {
                assert!(
                    error.contains("rank 1") && again.contains("rank"),
                    "{error}"
                );
            }
        }
    }
}
