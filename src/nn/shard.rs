//! The share of an optimiser's moments that a rank keeps (Rajbhandari et al. 2020, "ZeRO: memory
//! optimizations toward training trillion parameter models", stage 1).

use super::arena::{SavedTensor, TensorSource, UPLOADS};
use super::layout::{ALIGN, Layout, Slot};
use crate::gpu::{DType, Gpu, Tensor};
use crate::parallel::Ranks;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Elements of a part that one rank has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The part, by its number.
    pub(super) part: usize,
    /// Elements of the part before them.
    pub(super) start: usize,
    /// Their number, a multiple of 64.
    pub(super) len: usize,
}

/// The way in which a moment that lies on several ranks is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// All ranks read the same one at the same time.
    Together,
    /// This rank reads, and tells the others to answer.
    Asking,
    /// The ranks have parted.
    Over,
}

/// A rank's request for the words of a parameter's moment, which all ranks answer together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MomentRequest {
    /// The arena among those of the moments, by its number.
    arena: u32,
    /// The parameter, by its number.
    slot: u32,
}

impl MomentRequest {
    /// The first byte of a request.
    pub(crate) const TAG: u8 = b'g';

    /// Returns its bytes, the first of which is [`MomentRequest::TAG`].
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.arena, self.slot].map(u32::to_le_bytes);
        [&[MomentRequest::TAG][..], &numbers.concat()].concat()
    }

    /// Reads what follows the first byte.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<MomentRequest> {
        let (numbers, []) = bytes.as_chunks::<4>() else {
            return None;
        };
        match numbers {
            [arena, slot] => Some(MomentRequest {
                arena: u32::from_le_bytes(*arena),
                slot: u32::from_le_bytes(*slot),
            }),
            _ => None,
        }
    }
}

/// The shares of ranks.
#[derive(Debug)]
pub(super) struct Shard {
    pieces: Vec<Piece>,
    shared: Arc<Shared>,
}

/// The state that reads of moments share.
#[derive(Debug)]
struct Shared {
    ranks: Ranks,
    layout: Arc<Layout>,
    reading: Mutex<Reading>,
}

impl Shared {
    /// Returns the words of a parameter in an arena, of which `own` are this rank's pieces. The
    /// other ranks do the same. Waits for the device.
    fn words_of(&self, slot: &Slot, own: &[Tensor]) -> Result<Vec<u32>> {
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        let before = self.layout.parts[slot.part].start;
        let (start, end) = (before + slot.start, before + slot.start + slot.len());
        let mut all = Vec::with_capacity(slot.len());
        for other in 0..size {
            let share = share_of(&self.layout, other, size);
            let (from, to) = (share.start.max(start), share.end.min(end));
            if from >= to {
                continue;
            }
            let words = match other == rank {
                true => self.own_words(slot.part, from - before..to - before, own),
                false => Ok(vec![0; to - from]),
            };
            // One that cannot read its own would let the others wait for them.
            let mut words = self.ranks.agree_on(words)?;
            self.ranks.copy_words_of(other, &mut words)?;
            all.append(&mut words);
        }
        Ok(all)
    }

    /// Returns words of a part of the arena that lie in this rank's pieces.
    fn own_words(&self, part: usize, words: Range<usize>, own: &[Tensor]) -> Result<Vec<u32>> {
        let pieces = pieces(&self.layout, self.ranks.rank(), self.ranks.size());
        let mut pieces = pieces.iter().zip(own);
        let piece = pieces.find(|(piece, _)| piece.part == part);
        let missing = || Error::invalid("adam", "a share of the moments is missing");
        let (piece, tensor) = piece.ok_or_else(missing)?;
        let view = tensor.view(words.start - piece.start, &[words.len()])?;
        super::arena::words(&view)
    }

    /// [`Shared::words_of`] of a parameter by its number, once the others know what is read.
    fn read(&self, request: MomentRequest, own: &[Tensor]) -> Result<Vec<u32>> {
        let reading = *self.reading.lock();
        match reading {
            Reading::Together => {}
            Reading::Asking => drop(self.ranks.broadcast(request.to_bytes())?),
            Reading::Over => {
                let what = "the moments lie on several ranks, which train together no longer: \
                            save them before the training ends";
                return Err(Error::invalid("adam", what));
            }
        }
        self.words_of(&self.layout.slots[request.slot as usize], own)
    }
}

impl Shard {
    pub(super) fn new(ranks: &Ranks, layout: &Arc<Layout>) -> Shard {
        Shard {
            pieces: pieces(layout, ranks.rank(), ranks.size()),
            shared: Arc::new(Shared {
                ranks: ranks.clone(),
                layout: layout.clone(),
                reading: Mutex::new(Reading::Together),
            }),
        }
    }

    /// Reads in another way from here on.
    pub(super) fn read_by(&self, reading: Reading) {
        *self.shared.reading.lock() = reading;
    }

    /// Returns the pieces of this rank.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Creates zeros for the pieces of this rank.
    pub(super) fn zeros(&self, gpu: &Gpu, dtype: DType) -> Result<Vec<Tensor>> {
        let pieces = self.pieces.iter();
        let zeros = pieces.map(|piece| Tensor::zeros(gpu, &[piece.len], dtype));
        zeros.collect()
    }

    /// Makes all parts what each rank has of its pieces of them. Waits for the device.
    ///
    /// # Errors
    /// If a rank is gone, or the device fails.
    pub(super) fn share(&self, parts: &[Tensor]) -> Result<()> {
        let (ranks, layout) = (&self.shared.ranks, &self.shared.layout);
        let (rank, size) = (ranks.rank(), ranks.size());
        let view = |piece: &Piece| parts[piece.part].view(piece.start, &[piece.len]);
        let mut words = Vec::new();
        for piece in &self.pieces {
            words.append(&mut super::arena::words(&view(piece)?)?);
        }
        // Shares differ by a block at most.
        let most = (0..size).map(|rank| share_of(layout, rank, size).len());
        let most = most.max().unwrap_or(0);
        words.resize(most, 0);
        let all = ranks.gather_words(&words)?;
        let mut waiting = 0;
        for (other, words) in all.chunks(most.max(1)).enumerate() {
            let mut rest = words;
            for piece in pieces(layout, other, size) {
                let (new, after) = rest.split_at(piece.len);
                rest = after;
                // Its own are there.
                if other != rank {
                    view(&piece)?.write::<f32>(bytemuck::cast_slice(new))?;
                    waiting += 4 * piece.len;
                }
                if waiting >= UPLOADS {
                    parts[0].gpu().send_uploads()?;
                    waiting = 0;
                }
            }
        }
        parts[0].gpu().send_uploads()
    }

    /// Returns the tensors of an arena by its number, of which `own` are this rank's pieces, whose
    /// values `value` makes of its words. Each is brought together when it is read.
    pub(super) fn saved(
        &self,
        arena: u32,
        own: &[Tensor],
        bf16: bool,
        value: fn(u32) -> f32,
    ) -> Vec<SavedTensor> {
        let own: Arc<[Tensor]> = own.into();
        let slots = self.shared.layout.slots.iter().zip(0..);
        let kept = slots.filter(|(slot, _)| !slot.omitted);
        kept.map(|(of, slot)| {
            let (shared, own) = (self.shared.clone(), own.clone());
            let request = MomentRequest { arena, slot };
            SavedTensor::new(of, bf16, move || {
                let words = shared.read(request, &own)?;
                Ok(words.into_iter().map(value).collect())
            })
        })
        .collect()
    }

    /// Gives this rank's part of what another reads. `arenas` are this rank's pieces of each.
    ///
    /// # Errors
    /// If there is no such moment, a rank is gone, or the device fails.
    pub(super) fn answer(&self, request: MomentRequest, arenas: &[&[Tensor]]) -> Result<()> {
        let slot = self.shared.layout.slots.get(request.slot as usize);
        let known = slot.filter(|slot| !slot.omitted);
        let known = known.zip(arenas.get(request.arena as usize));
        let unknown = || Error::data("rank 0 asks for a moment that this rank does not have");
        let (slot, own) = known.ok_or_else(unknown)?;
        self.shared.words_of(slot, own).map(drop)
    }

    /// Overwrites this rank's pieces of an arena with the words that `word` makes of the values of
    /// `sources`, which were checked against the layout.
    pub(super) fn load(
        &self,
        own: &[Tensor],
        sources: &[&dyn TensorSource],
        word: impl Fn(&[f32]) -> u32,
    ) -> Result<()> {
        for slot in self.shared.layout.kept() {
            let end = slot.start + slot.len();
            let overlaps =
                |p: &Piece| p.part == slot.part && p.start < end && slot.start < p.start + p.len;
            let Some(at) = self.pieces.iter().position(overlaps) else {
                continue;
            };
            let piece = &self.pieces[at];
            let values = sources.iter().map(|source| source.read(&slot.name));
            let values = values.collect::<Result<Vec<Cow<[f32]>>>>()?;
            if values.iter().any(|values| values.len() != slot.len()) {
                let what = format!("`{}` has another number of values", slot.name);
                return Err(Error::data(what));
            }
            let (from, to) = (
                slot.start.max(piece.start),
                end.min(piece.start + piece.len),
            );
            let words: Vec<u32> = (from..to)
                .map(|i| {
                    let each: Vec<f32> = values.iter().map(|v| v[i - slot.start]).collect();
                    word(&each)
                })
                .collect();
            let target = own[at].view(from - piece.start, &[to - from])?;
            match target.dtype() {
                DType::F32 => target.write::<f32>(bytemuck::cast_slice(&words))?,
                _ => target.write(&words)?,
            }
        }
        Ok(())
    }
}

/// Returns the elements of the arena that a rank has: as many blocks of 64 as the others have,
/// within one.
fn share_of(layout: &Layout, rank: usize, size: usize) -> Range<usize> {
    let blocks = layout.len() / ALIGN;
    let [from, to] = [rank, rank + 1].map(|rank| blocks * rank / size * ALIGN);
    from..to
}

/// Returns the share of a rank by the parts that it lies in.
pub(super) fn pieces(layout: &Layout, rank: usize, size: usize) -> Vec<Piece> {
    let share = share_of(layout, rank, size);
    let parts = layout.parts.iter().enumerate();
    let own = parts.filter_map(|(part, p)| {
        let (start, end) = (share.start.max(p.start), share.end.min(p.start + p.len));
        (start < end).then(|| Piece {
            part,
            start: start - p.start,
            len: end - start,
        })
    });
    own.collect()
}

#[cfg(test)]
mod tests;
