//! Trainings over several ranks: rank 0 runs the loop, decides and writes; the others do what it
//! says, so that all make the same calls in the same order whatever rank 0 meets.

use super::task::Task;
use super::trainer::Trainer;
use crate::nn::MomentRequest;
use crate::parallel::Ranks;
use crate::storage::checkpoint::{Arriving, LazyCheckpoint};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A message of rank 0 to the others.
enum Command {
    /// Take a step.
    Step,
    /// Do what comes before the first step.
    Prepare,
    /// Go on from a checkpoint, of which this is all but the tensors' elements.
    Restore(Vec<u8>),
    /// The elements of its next tensor.
    Tensor(Vec<u8>),
    /// The checkpoint is whole.
    Restored,
    /// Answer with what this rank has of a moment.
    Answer(MomentRequest),
    /// Compare what is trained.
    Compare,
    /// The run's folder was moved from one place to another.
    Relocate(PathBuf, PathBuf),
    /// The training has ended.
    End,
}

fn unknown() -> Error {
    Error::data("rank 0 says what this rank does not understand")
}

impl Command {
    fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Command::Step => vec![b's'],
            Command::Prepare => vec![b'p'],
            Command::Restore(outline) => [&b"r"[..], outline].concat(),
            Command::Tensor(elements) => [&b"t"[..], elements].concat(),
            Command::Restored => vec![b'w'],
            Command::Answer(request) => request.to_bytes(),
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
        let (kind, rest) = bytes.split_first().ok_or_else(unknown)?;
        Ok(match kind {
            b's' => Command::Step,
            b'p' => Command::Prepare,
            b'r' => Command::Restore(rest.to_vec()),
            b't' => Command::Tensor(rest.to_vec()),
            b'w' => Command::Restored,
            &MomentRequest::TAG => {
                Command::Answer(MomentRequest::from_bytes(rest).ok_or_else(unknown)?)
            }
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

/// Checks that each of so many ranks gets an equal share of the images of a step, in passes of
/// equal size; returns the images of a pass of one rank.
///
/// # Errors
/// If not; the message names what to change.
pub(crate) fn pass_of_rank(size: usize, batch: usize, passes: usize) -> Result<usize> {
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
        if self.leads {
            self.state.lead();
        }
    }

    /// Brings the other ranks to the state that this one loaded, of which it holds a tensor at a
    /// time.
    pub(super) fn share_loaded(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
        if !self.leads {
            return Ok(());
        }
        self.tell(Command::Restore(checkpoint.outline()?))?;
        checkpoint.each(|elements| self.tell(Command::Tensor(elements)))?;
        self.tell(Command::Restored)
    }

    /// Brings the other ranks to the state of this one, with what they keep shares of.
    pub(crate) fn share(&mut self) -> Result<()> {
        if !self.leads {
            return Ok(());
        }
        let checkpoint = self.saved()?;
        self.share_loaded(&checkpoint)
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
        if self.state.ranks().agree(&self.fingerprint(checkpoint)?)? {
            return Ok(None);
        }
        self.share()?;
        let what = "ranks had come apart and go on from rank 0's weights: their adapters or \
                    drivers round differently";
        Ok(Some(what.into()))
    }

    /// The sum of all that each rank keeps for itself alike.
    fn fingerprint(&self, checkpoint: &LazyCheckpoint) -> Result<Vec<u32>> {
        let of_rank_0 = |name: &str| T::OF_RANK_0.iter().any(|prefix| name.starts_with(prefix));
        let sum = checkpoint.sum_of(|name| !of_rank_0(name) && !self.state.is_shared(name))?;
        Ok(sum.bytes().map(u32::from).collect())
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

/// Trains as rank 0 says, until it has ended. The trainer is [`Trainer::among`] its ranks.
///
/// # Errors
/// If the device fails, or another rank is gone.
pub fn follow<T: Task>(mut trainer: Trainer<T>) -> Result<()> {
    let mut arriving: Option<Arriving> = None;
    loop {
        let said = trainer.state.ranks().broadcast(Vec::new())?;
        match Command::from_bytes(&said)? {
            Command::Step => {
                trainer.step()?;
                // Rank 0 reads and judges them.
                while trainer.state.metrics_mut().next(false)?.is_some() {}
            }
            Command::Prepare => trainer.prepare()?,
            Command::Restore(outline) => arriving = Some(Arriving::new(&outline)?),
            Command::Tensor(elements) => {
                arriving.as_mut().ok_or_else(unknown)?.add(elements)?;
            }
            Command::Restored => {
                let whole = arriving.take().ok_or_else(unknown)?.whole()?;
                trainer.restore_from(&whole)?;
            }
            Command::Answer(request) => trainer.state.answer(request)?,
            Command::Compare => {
                let own = trainer.fingerprint(&trainer.saved()?)?;
                trainer.state.ranks().agree(&own)?;
            }
            Command::Relocate(from, to) => trainer.task.relocate(&from, &to),
            Command::End => return Ok(()),
        }
    }
}
