//! The share of an optimiser's moments that a rank keeps (Rajbhandari et al. 2020, "ZeRO: memory
//! optimizations toward training trillion parameter models", stage 1).

use super::arena::{SavedTensor, TensorSource};
use super::layout::{ALIGN, Layout, Slot};
use crate::gpu::{DType, Gpu, Tensor};
use crate::parallel::Ranks;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::borrow::Cow;
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

/// Words of an arena, by its parts.
type Words = Arc<Vec<Vec<u32>>>;

/// The shares of ranks, and what was brought together of them last.
#[derive(Debug)]
pub(super) struct Shard {
    ranks: Ranks,
    layout: Arc<Layout>,
    pieces: Vec<Piece>,
    collected: Mutex<Vec<Words>>,
}

impl Shard {
    pub(super) fn new(ranks: &Ranks, layout: &Arc<Layout>) -> Shard {
        Shard {
            ranks: ranks.clone(),
            layout: layout.clone(),
            pieces: pieces(layout, ranks.rank(), ranks.size()),
            collected: Mutex::default(),
        }
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
        let own = self
            .pieces
            .iter()
            .map(|p| parts[p.part].view(p.start, &[p.len]));
        let own = own.collect::<Result<Vec<Tensor>>>()?;
        let all = self.gathered(&own)?;
        for (part, words) in parts.iter().zip(all) {
            part.write::<f32>(bytemuck::cast_slice(&words))?;
            part.gpu().send_uploads()?;
        }
        Ok(())
    }

    /// Brings together what all ranks have of arenas, each given by this rank's pieces: for
    /// [`Shard::saved`]. Waits for the device.
    ///
    /// # Errors
    /// If a rank is gone, or the device fails.
    pub(super) fn collect(&self, arenas: &[&[Tensor]]) -> Result<()> {
        let all = arenas.iter().map(|own| Ok(Arc::new(self.gathered(own)?)));
        *self.collected.lock() = all.collect::<Result<_>>()?;
        Ok(())
    }

    /// Forgets what was brought together.
    pub(super) fn forget(&self) {
        self.collected.lock().clear();
    }

    /// Returns the words of all parts, of which `own` are those of this rank's pieces.
    fn gathered(&self, own: &[Tensor]) -> Result<Vec<Vec<u32>>> {
        let (size, layout) = (self.ranks.size(), &self.layout);
        let mut words = Vec::new();
        for tensor in own {
            words.extend(super::arena::words(tensor)?);
        }
        let len = |rank| {
            pieces(layout, rank, size)
                .iter()
                .map(|p| p.len)
                .sum::<usize>()
        };
        // Shares differ by a block at most.
        let most = (0..size).map(len).max().unwrap_or(0);
        words.resize(most, 0);
        let all = self.ranks.gather_words(&words)?;
        let mut parts: Vec<Vec<u32>> = layout.parts.iter().map(|p| vec![0; p.len]).collect();
        for (rank, words) in all.chunks(most.max(1)).enumerate() {
            let mut rest = words;
            for piece in pieces(layout, rank, size) {
                let (own, after) = rest.split_at(piece.len);
                parts[piece.part][piece.start..][..piece.len].copy_from_slice(own);
                rest = after;
            }
        }
        Ok(parts)
    }

    /// Returns the tensors of an arena that was brought together, by its number among those, whose
    /// values `value` makes of its words.
    pub(super) fn saved(
        &self,
        arena: usize,
        bf16: bool,
        value: fn(u32) -> f32,
    ) -> Vec<SavedTensor> {
        let words = self.collected.lock().get(arena).cloned();
        let of = |slot: &Slot| {
            let (part, start, n) = (slot.part, slot.start, slot.len());
            let words = words.clone();
            SavedTensor::new(slot, bf16, move || {
                let missing = || {
                    let what = "the moments lie on several ranks, and were not brought together";
                    Error::invalid("adam", what)
                };
                let all = words.as_ref().ok_or_else(missing)?;
                Ok(all[part][start..][..n].iter().copied().map(value).collect())
            })
        };
        self.layout.kept().map(of).collect()
    }

    /// Overwrites this rank's pieces of an arena with the words that `word` makes of the values of
    /// `sources`, which were checked against the layout.
    pub(super) fn load(
        &self,
        own: &[Tensor],
        sources: &[&dyn TensorSource],
        word: impl Fn(&[f32]) -> u32,
    ) -> Result<()> {
        for slot in self.layout.kept() {
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

/// Returns the pieces of a rank: as many blocks of 64 elements as the others have, within one.
fn pieces(layout: &Layout, rank: usize, size: usize) -> Vec<Piece> {
    let blocks = layout.len() / ALIGN;
    let [from, to] = [rank, rank + 1].map(|rank| blocks * rank / size * ALIGN);
    let parts = layout.parts.iter().enumerate();
    let own = parts.filter_map(|(part, p)| {
        let (start, end) = (from.max(p.start), to.min(p.start + p.len));
        (start < end).then(|| Piece {
            part,
            start: start - p.start,
            len: end - start,
        })
    });
    own.collect()
}
