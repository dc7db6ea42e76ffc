//! Work in numbered parts, each given to one rank: the next to whichever is free.
//!
//! Rank 0 keeps the number of the next part and does parts itself; a thread beside it answers the
//! others. So ranks of unlike speed end together, within a part, and none waits for rank 0.

use super::{Communicator, Ranks};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

/// The message of a rank that takes the next part.
const NEXT: u32 = 0;
/// The message of a rank that was stopped before it had done its last part.
const STOPPED: u32 = 1;
/// The answer of rank 0 where no part is left.
const NONE: u32 = u32::MAX;

/// The pause between two looks for a message.
const BETWEEN: Duration = Duration::from_millis(1);

/// The parts that were not given away yet.
struct Parts {
    next: usize,
    all: usize,
    /// Whether a rank was stopped, after which no part is given away.
    stopped: bool,
    /// Whether something failed on rank 0, likewise.
    failed: bool,
}

impl Parts {
    /// Gives the next part away.
    fn take(&mut self) -> Option<usize> {
        if self.stopped || self.failed || self.next == self.all {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Lets the thread beside rank 0 end where rank 0 panics.
struct EndOnPanic<'a>(&'a Mutex<Parts>);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().failed = true;
        }
    }
}

impl Ranks {
    /// Does a work of `all` parts, each on one rank alone: `part` is called with the numbers that
    /// this rank is given, the lowest that is left whenever it has done one. It breaks off where it
    /// was stopped; the others end what they are at, and no further part is begun. All ranks call
    /// this, and it returns on all of them together: whether no rank was stopped.
    ///
    /// # Errors
    /// The error of `part` on the rank where it fails, at once; the others get one where they wait
    /// for a rank that is gone.
    pub fn hand_out(
        &self,
        all: usize,
        mut part: impl FnMut(usize) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        if all >= NONE as usize {
            let what = format!("{all} are more than can be handed out");
            return Err(Error::invalid("parts", what));
        }
        let Some(c) = &self.0 else {
            for i in 0..all {
                if part(i)?.is_break() {
                    return Ok(false);
                }
            }
            return Ok(true);
        };
        let whole = match c.rank() {
            0 => vec![u8::from(lead(&**c, all, &mut part)?)],
            _ => {
                follow(&**c, &mut part)?;
                Vec::new()
            }
        };
        // The last word of rank 0, when all are done.
        Ok(self.broadcast(whole)? == [1])
    }
}

/// The work on a part, as [`Ranks::hand_out`] calls it.
type Part<'a> = &'a mut dyn FnMut(usize) -> Result<ControlFlow<()>>;

/// Hands all parts out, and does some of them; returns whether no rank was stopped.
fn lead(c: &dyn Communicator, all: usize, part: Part) -> Result<bool> {
    let parts = Mutex::new(Parts {
        next: 0,
        all,
        stopped: false,
        failed: false,
    });
    thread::scope(|scope| {
        let _end = EndOnPanic(&parts);
        let answers = || {
            let answered = answer(c, &parts);
            if answered.is_err() {
                parts.lock().failed = true;
            }
            answered
        };
        let beside = thread::Builder::new().spawn_scoped(scope, answers);
        let beside = beside.map_err(|e| {
            let what = format!("the system gives no thread that hands them out: {e}");
            Error::invalid("parts", what)
        })?;
        let own = take_all(&parts, part);
        if own.is_err() {
            parts.lock().failed = true;
        }
        let answered = beside.join();
        own?;
        answered.unwrap_or_else(|_| Err(Error::invalid("parts", "a thread panicked")))
    })?;
    let parts = parts.lock();
    Ok(!parts.stopped)
}

/// Does the parts that rank 0 takes.
fn take_all(parts: &Mutex<Parts>, part: Part) -> Result<()> {
    loop {
        let Some(next) = parts.lock().take() else {
            return Ok(());
        };
        if part(next)?.is_break() {
            parts.lock().stopped = true;
        }
    }
}

/// Answers the other ranks until each has heard that nothing is left.
fn answer(c: &dyn Communicator, parts: &Mutex<Parts>) -> Result<()> {
    let mut working = c.size() - 1;
    while working > 0 && !parts.lock().failed {
        let Some((rank, word)) = c.poll()? else {
            thread::sleep(BETWEEN);
            continue;
        };
        let next = {
            let mut parts = parts.lock();
            parts.stopped |= word == STOPPED;
            parts.take()
        };
        working -= usize::from(next.is_none());
        c.send(rank, next.map_or(NONE, |next| next as u32))?;
    }
    Ok(())
}

/// Does the parts that rank 0 gives.
fn follow(c: &dyn Communicator, part: Part) -> Result<()> {
    let mut word = NEXT;
    loop {
        c.send(0, word)?;
        let next = loop {
            match c.poll()? {
                Some((_, next)) => break next,
                None => thread::sleep(BETWEEN),
            }
        };
        if next == NONE {
            return Ok(());
        }
        if part(next as usize)?.is_break() {
            word = STOPPED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ThreadRank;
    use super::*;

    /// Returns what `work` finds on each of so many ranks, which do so many parts.
    fn on<T: Send>(
        ranks: usize,
        all: usize,
        work: impl Fn(usize, usize) -> Result<ControlFlow<()>> + Sync,
        of: impl Fn(Result<bool>) -> T + Sync,
    ) -> Vec<T> {
        let (work, of) = (&work, &of);
        thread::scope(|scope| {
            let ranks = ThreadRank::group(ranks).into_iter();
            let ranks: Vec<_> = ranks
                .map(|ranks| {
                    scope.spawn(move || of(ranks.hand_out(all, |part| work(ranks.rank(), part))))
                })
                .collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn each_part_is_done_once_by_whoever_is_free() {
        for (ranks, all) in [(1, 5), (2, 0), (2, 1), (3, 40), (4, 7)] {
            let done = Mutex::new(Vec::new());
            let ended = on(
                ranks,
                all,
                |rank, part| {
                    done.lock().push((part, rank));
                    // The first is slow, whichever rank has it.
                    thread::sleep(Duration::from_millis(if part == 0 { 200 } else { 2 }));
                    Ok(ControlFlow::Continue(()))
                },
                |whole| whole.unwrap(),
            );
            assert_eq!(ended, vec![true; ranks]);
            let mut done = done.into_inner();
            done.sort_unstable();
            let parts: Vec<usize> = done.iter().map(|(part, _)| *part).collect();
            assert_eq!(parts, (0..all).collect::<Vec<_>>());
            if let (true, [(_, slow), rest @ ..]) = (ranks > 1, &done[..]) {
                let of_slow = rest.iter().filter(|(_, rank)| rank == slow).count();
                assert!(of_slow <= all / 4, "{ranks} ranks: {done:?}");
            }
        }
    }

    /// Whichever rank is stopped, what others are at is done, and nothing else is begun.
    #[test]
    fn a_rank_that_is_stopped_stops_all() {
        for stopped in 0..3 {
            let begun = Mutex::new(0);
            let ended = on(
                3,
                1000,
                |rank, _| {
                    *begun.lock() += 1;
                    thread::sleep(Duration::from_millis(2));
                    Ok(match rank == stopped {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    })
                },
                |whole| whole.unwrap(),
            );
            assert_eq!(ended, [false; 3]);
            assert!(begun.into_inner() < 1000);
        }
        let alone = |_: usize| Ok(ControlFlow::Break(()));
        assert!(!Ranks::alone().hand_out(3, alone).unwrap());
        assert!(Ranks::alone().hand_out(usize::MAX, alone).is_err());
    }

    /// The others do not wait for a rank that has failed, and begin nothing more.
    #[test]
    fn a_rank_that_fails_is_an_error_on_all() {
        for failing in 0..3 {
            let begun = Mutex::new(0);
            let errors = on(
                3,
                1000,
                |rank, part| {
                    *begun.lock() += 1;
                    thread::sleep(Duration::from_millis(2));
                    match rank == failing {
                        true => Err(Error::data(format!("part {part} is broken"))),
                        false => Ok(ControlFlow::Continue(())),
                    }
                },
                |whole| whole.unwrap_err().to_string(),
            );
            for (rank, error) in errors.iter().enumerate() {
                let wanted = match rank == failing {
                    true => "is broken",
                    false => "is gone",
                };
                assert!(error.contains(wanted), "rank {rank}: {error}");
            }
            assert!(begun.into_inner() < 1000);
        }
    }
}
