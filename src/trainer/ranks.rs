//! Trainings over several ranks: rank 0 runs the loop, decides and writes; the others do what it
//! says, so that all make the same calls in the same order whatever rank 0 meets.

use super::task::Task;
use super::trainer::Trainer;
use crate::parallel::Ranks;
use crate::storage::checkpoint::{self, Checkpoint, LazyCheckpoint};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A message of rank 0 to the others.
enum Command {
    /// Take a step.
    Step,
    /// Do what comes before the first step.
    Prepare,
    /// Go on from this checkpoint.
    Restore(Checkpoint),
    /// Bring together what ranks keep shares of.
    Collect,
    /// Compare what is trained.
    Compare,
    /// The run's folder was moved from one place to another.
    Relocate(PathBuf, PathBuf),
    /// The training has ended.
    End,
}

impl Command {
    fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Command::Step => vec![b's'],
            Command::Prepare => vec![b'p'],
            Command::Restore(checkpoint) => {
                [&b"r"[..], &checkpoint::to_bytes(checkpoint)?].concat()
            }
            Command::Collect => vec![b'g'],
            Command::Compare => vec![b'c'],
            Command::Relocate(from, to) => {
                let paths = serde_json::to_vec(&(from, to));
                let paths = paths.map_err(|e| Error::data(format!("a folder's name: {e}")))?;
                [&b"m"[..], &paths].concat()
            }
            Command::End => vec![b'e'],
        })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Command> {
        let unknown = || Error::data("rank 0 says what this rank does not understand");
        let (kind, rest) = bytes.split_first().ok_or_else(unknown)?;
        Ok(match kind {
            b's' => Command::Step,
            b'p' => Command::Prepare,
            b'r' => Command::Restore(checkpoint::from_bytes(Path::new("rank 0"), rest)?),
            b'g' => Command::Collect,
            b'c' => Command::Compare,
            b'm' => {
                let (from, to) = serde_json::from_slice(rest).map_err(|_| unknown())?;
                Command::Relocate(from, to)
            }
            b'e' => Command::End,
            _ => return Err(unknown()),
        })
    }
}

/// Checks that each of the ranks gets an equal share of the images of a step, in passes of equal
/// size; returns the images of a pass of one rank.
///
/// # Errors
/// If not; the message names what to change.
pub(crate) fn pass_of_rank(ranks: &Ranks, batch: usize, passes: usize) -> Result<usize> {
    let size = ranks.size();
    if passes.is_multiple_of(size) {
        return Ok(batch);
    }
    if batch.is_multiple_of(size) {
        return Ok(batch / size);
    }
    let what = format!(
        "{batch} images in each of {passes} passes do not fall into equal shares of {size} ranks: \
         let one of the two be a multiple of {size}"
    );
    Err(Error::config("train.batch_size", what))
}

impl<T: Task> Trainer<T> {
    /// Trains as one of several ranks: the configured batch is that of all together, and each takes
    /// its share. All of them make the same calls in the same order; [`super::train_loop`] of rank
    /// 0 leads the others, which [`follow`] it.
    ///
    /// # Errors
    /// If the model or its batch cannot be shared; the message names what spans the ranks.
    pub fn among(mut self, ranks: Ranks) -> Result<Trainer<T>> {
        if !ranks.is_alone() {
            self.task.join(&ranks)?;
            self.state.join(ranks);
        }
        Ok(self)
    }

    /// Leads the other ranks from here on, where there are some. They stand at states of their own
    /// until this one restores a checkpoint, or [shares](Trainer::share) its state.
    pub(crate) fn lead(&mut self) {
        self.leads = self.state.ranks().leads();
    }

    /// Brings the other ranks to the state that this one loaded.
    pub(super) fn share_loaded(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
        match self.leads {
            true => self.tell(Command::Restore(checkpoint.in_memory()?)),
            false => Ok(()),
        }
    }

    /// Brings the other ranks to the state of this one, with what they keep shares of.
    pub(crate) fn share(&mut self) -> Result<()> {
        if !self.leads {
            return Ok(());
        }
        let checkpoint = self.checkpoint()?;
        self.tell(Command::Restore(checkpoint))
    }

    /// Brings together what ranks keep shares of, so that it can be saved.
    pub(super) fn collect(&self) -> Result<()> {
        if self.state.is_sharded() {
            self.tell(Command::Collect)?;
            self.state.collect()?;
        }
        Ok(())
    }

    fn tell(&self, command: Command) -> Result<()> {
        if self.leads {
            let bytes = command.to_bytes()?;
            self.state.ranks().broadcast(bytes)?;
        }
        Ok(())
    }

    /// The others take a step, too.
    pub(crate) fn tell_step(&self) -> Result<()> {
        self.tell(Command::Step)
    }

    /// Does what comes before the first step, with all ranks.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        if self.task.wants_preparation() {
            self.tell(Command::Prepare)?;
            self.task.prepare(&mut self.state)?;
        }
        Ok(())
    }

    /// The others learn that the run's folder was moved.
    pub(crate) fn tell_place(&self, from: &Path, to: &Path) -> Result<()> {
        self.tell(Command::Relocate(from.into(), to.into()))
    }

    /// Compares what is trained with the other ranks; where they differ, all go on from
    /// `checkpoint`, the state of this rank. Returns what is to be said then.
    pub(crate) fn compare_ranks(&mut self, checkpoint: &LazyCheckpoint) -> Result<Option<String>> {
        if !self.leads {
            return Ok(None);
        }
        self.tell(Command::Compare)?;
        // The others do, too.
        self.state.collect()?;
        if self.state.ranks().agree(&fingerprint::<T>(checkpoint)?)? {
            return Ok(None);
        }
        self.share()?;
        let what = "ranks had come apart and go on from rank 0's weights: their adapters or \
                    drivers round differently";
        Ok(Some(what.into()))
    }

    /// Returns the ranks that train together.
    pub(crate) fn ranks(&self) -> Ranks {
        self.state.ranks().clone()
    }

    /// Lets the other ranks go.
    pub(crate) fn part(&mut self) -> Result<()> {
        self.tell(Command::End)?;
        self.leads = false;
        self.state.part();
        Ok(())
    }
}

/// The sum of all that ranks have in common.
fn fingerprint<T: Task>(checkpoint: &LazyCheckpoint) -> Result<Vec<u32>> {
    let common = |name: &str| !T::OF_RANK_0.iter().any(|prefix| name.starts_with(prefix));
    let sum = checkpoint.sum_of(common)?;
    Ok(sum.bytes().map(u32::from).collect())
}

/// Trains as rank 0 says, until it has ended. The trainer is [`Trainer::among`] its ranks.
///
/// # Errors
/// If the device fails, or another rank is gone.
pub fn follow<T: Task>(mut trainer: Trainer<T>) -> Result<()> {
    loop {
        let said = trainer.state.ranks().broadcast(Vec::new())?;
        match Command::from_bytes(&said)? {
            Command::Step => {
                trainer.step()?;
                // Rank 0 reads and judges them.
                while trainer.state.metrics_mut().next(false)?.is_some() {}
            }
            Command::Prepare => trainer.prepare()?,
            Command::Restore(checkpoint) => trainer.restore_from(&checkpoint.into())?,
            Command::Collect => trainer.state.collect()?,
            Command::Compare => {
                let own = fingerprint::<T>(&trainer.saved()?)?;
                trainer.state.ranks().agree(&own)?;
            }
            Command::Relocate(from, to) => trainer.task.relocate(&from, &to),
            Command::End => return Ok(()),
        }
    }
}
