//! Messages that are longer than a communicator takes at once, cut into pieces. All ranks have
//! messages of the same length, and cut them alike.

use crate::Result;

/// [`Communicator::exchange`](super::Communicator::exchange) by messages of at most `most` words to
/// all ranks together, or one to each: `message` sends the first words, and fills the second with
/// what arrives.
pub(super) fn exchange(
    words: &[u32],
    size: usize,
    most: usize,
    mut message: impl FnMut(&[u32], &mut [u32]) -> Result<()>,
) -> Result<Vec<u32>> {
    let (share, piece) = (words.len() / size, (most / size).max(1));
    let mut arrived = vec![0; words.len()];
    if share <= piece {
        message(words, &mut arrived)?;
        return Ok(arrived);
    }
    for start in (0..share).step_by(piece) {
        let n = piece.min(share - start);
        let sent = words.chunks_exact(share);
        let sent: Vec<u32> = sent.flat_map(|to| &to[start..][..n]).copied().collect();
        let mut came = vec![0; sent.len()];
        message(&sent, &mut came)?;
        let all = arrived.chunks_exact_mut(share);
        all.zip(came.chunks_exact(n))
            .for_each(|(from, came)| from[start..][..n].copy_from_slice(came));
    }
    Ok(arrived)
}

/// [`Communicator::gather`](super::Communicator::gather) by messages in which at most `most` words
/// arrive, or one from each rank, likewise.
pub(super) fn gather(
    words: &[u32],
    size: usize,
    most: usize,
    mut message: impl FnMut(&[u32], &mut [u32]) -> Result<()>,
) -> Result<Vec<u32>> {
    let (len, piece) = (words.len(), (most / size).max(1));
    let mut arrived = vec![0; len * size];
    if len <= piece {
        message(words, &mut arrived)?;
        return Ok(arrived);
    }
    for start in (0..len).step_by(piece) {
        let n = piece.min(len - start);
        let mut came = vec![0; n * size];
        message(&words[start..][..n], &mut came)?;
        let all = arrived.chunks_exact_mut(len);
        all.zip(came.chunks_exact(n))
            .for_each(|(from, came)| from[start..][..n].copy_from_slice(came));
    }
    Ok(arrived)
}

#[cfg(test)]
mod tests {
    use super::super::{Communicator, ThreadRank};
    use super::*;
    use crate::Error;
    use std::thread;

    /// Sends by messages of at most so many words, and refuses a longer one.
    fn limited(
        most: usize,
        sent: usize,
        send: impl FnOnce() -> Result<Vec<u32>>,
    ) -> Result<Vec<u32>> {
        match sent <= most {
            true => send(),
            false => Err(Error::data(format!("{sent} words in a message of {most}"))),
        }
    }

    #[test]
    fn pieces_arrive_as_the_whole() {
        for size in [1, 2, 3, 5] {
            for (share, most) in [
                (0, 8),
                (1, 8),
                (8, 8),
                (7, 15),
                (33, 16),
                (40, 5),
                (64, 1 << 20),
            ] {
                thread::scope(|scope| {
                    for rank in ThreadRank::ranks(size) {
                        scope.spawn(move || {
                            let own = 1000 * rank.rank() as u32;
                            let words: Vec<u32> =
                                (0..share * size).map(|i| own + i as u32).collect();
                            let most = most.max(size);
                            let cut = exchange(&words, size, most, |sent, came| {
                                let all = limited(most, sent.len(), || rank.exchange(sent))?;
                                came.copy_from_slice(&all);
                                Ok(())
                            });
                            assert_eq!(cut.unwrap(), rank.exchange(&words).unwrap());
                            let cut = gather(&words, size, most, |sent, came| {
                                let all = limited(most, came.len(), || rank.gather(sent))?;
                                came.copy_from_slice(&all);
                                Ok(())
                            });
                            assert_eq!(cut.unwrap(), rank.gather(&words).unwrap());
                        });
                    }
                });
            }
        }
    }
}
