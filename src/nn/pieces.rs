//! The buffer of the gradients in a few pieces, each of which begins its way to the other ranks
//! when the walk back has passed all of it, while the device goes on: first the weights of the last
//! layers. All ranks make the same pieces, and add them up in the same order.

use super::Handle;
use super::layout::{ALIGN, Layout};
use crate::Result;
use crate::gpu::Tensor;
use crate::parallel::{PendingSum, Ranks};
use std::ops::Range;
use std::sync::Arc;

/// Pieces, at most.
const MOST: usize = 4;
/// Bytes of a piece that each rank adds up, at least: a shorter message takes hardly less time.
const SHARE: usize = 128 << 10;

/// The pieces of a step's gradients.
pub(crate) struct Pieces {
    layout: Arc<Layout>,
    pieces: Vec<Piece>,
}

struct Piece {
    ranges: Vec<Range<usize>>,
    tensors: Vec<Tensor>,
    /// Parameters whose gradients are not whole yet.
    missing: usize,
    sum: Option<PendingSum>,
}

impl Piece {
    /// Begins its way, unless that was done.
    fn begin(&mut self, ranks: &Ranks, others: &[&Tensor]) -> Result<()> {
        if self.sum.is_none() {
            let own: Vec<&Tensor> = self.tensors.iter().chain(others.iter().copied()).collect();
            self.sum = Some(ranks.begin_sum(&own)?);
        }
        Ok(())
    }
}

/// Returns the elements of the arena that each piece has, in the order of their sums. What weight
/// decay reaches lies in the order of the layers; the rest, little of each layer, comes last.
fn ranges(layout: &Layout, ranks: usize) -> Vec<Vec<Range<usize>>> {
    let decays = layout.decay_len;
    let pieces = (4 * decays / (SHARE * ranks)).clamp(1, MOST);
    let at = |i: usize| decays / ALIGN * i / pieces * ALIGN;
    let piece = |i| std::iter::once(at(i)..at(i + 1)).collect();
    let mut all: Vec<Vec<Range<usize>>> = (0..pieces).map(piece).collect();
    all[0].push(decays..layout.len());
    all.reverse();
    all
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let (start, end) = (a.start.max(b.start), a.end.min(b.end));
    start..end.max(start)
}

impl Pieces {
    /// Returns the pieces of an arena's parts; `None` where it is to go as one.
    pub(super) fn of(
        layout: &Arc<Layout>,
        parts: &[Tensor],
        ranks: usize,
    ) -> Result<Option<Pieces>> {
        let ranges = ranges(layout, ranks);
        if ranges.len() < 2 {
            return Ok(None);
        }
        let mut pieces = Vec::with_capacity(ranges.len());
        for ranges in ranges {
            let mut tensors = Vec::new();
            for range in &ranges {
                for (part, tensor) in layout.parts.iter().zip(parts) {
                    let own = overlap(range, &(part.start..part.start + part.len));
                    if !own.is_empty() {
                        tensors.push(tensor.view(own.start - part.start, &[own.len()])?);
                    }
                }
            }
            pieces.push(Piece {
                ranges,
                tensors,
                missing: 0,
                sum: None,
            });
        }
        let layout = layout.clone();
        let mut all = Pieces { layout, pieces };
        for slot in 0..all.layout.slots.len() {
            let own = all.pieces_of(slot);
            own.for_each(|piece| piece.missing += 1);
        }
        Ok(Some(all))
    }

    /// Returns the pieces in which a parameter lies.
    fn pieces_of(&mut self, slot: usize) -> impl Iterator<Item = &mut Piece> {
        let slot = &self.layout.slots[slot];
        let own = match slot.omitted {
            true => 0..0,
            false => {
                let start = self.layout.parts[slot.part].start + slot.start;
                start..start + slot.len()
            }
        };
        self.pieces.iter_mut().filter(move |piece| {
            let mut ranges = piece.ranges.iter();
            ranges.any(|range| !overlap(range, &own).is_empty())
        })
    }

    /// Notes that a parameter's gradient lies in the arena, whole. Once for each.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn pass(&mut self, handle: Handle, ranks: &Ranks) -> Result<()> {
        // What else is added up comes with the last.
        let last = self.pieces.len() - 1;
        self.pieces_of(handle.index())
            .for_each(|piece| piece.missing -= 1);
        let whole = self.pieces[..last].iter_mut();
        whole
            .filter(|piece| piece.missing == 0)
            .try_for_each(|piece| piece.begin(ranks, &[]))
    }

    /// Returns how many are on their way.
    #[cfg(test)]
    pub(super) fn begun(&self) -> usize {
        self.pieces.iter().filter(|p| p.sum.is_some()).count()
    }

    /// Adds up all pieces, and `others` with the last.
    ///
    /// # Errors
    /// If a rank is gone, or the device fails.
    pub(super) fn sum(mut self, ranks: &Ranks, others: &[&Tensor]) -> Result<()> {
        let last = self.pieces.len() - 1;
        for (i, piece) in self.pieces.iter_mut().enumerate() {
            // Some parameters may have no gradient.
            piece.begin(ranks, if i == last { others } else { &[] })?;
        }
        let mut sums = self.pieces.into_iter().filter_map(|piece| piece.sum);
        sums.try_for_each(|sum| ranks.finish_sum(sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::Tape;
    use crate::gpu::{DType, Gpu, Options};
    use crate::nn::{Adam, ForwardContext, GradientSum, Init, MomentType, Parameters};
    use crate::ops::optim::adam::Hyper;
    use crate::parallel::ThreadRank;
    use std::thread;

    /// Parameters of several layers, of which one is read by none; the optimiser over them.
    fn model(parameter_part: Option<u64>) -> (Parameters, Adam) {
        let gpu = Gpu::new(Options {
            poison: true,
            parameter_part,
            ..Default::default()
        })
        .unwrap();
        let mut b = Parameters::builder();
        let shapes: [(&str, &[usize]); 6] = [
            ("first.weight", &[400, 601]),
            ("first.bias", &[601]),
            ("unread", &[3, 5]),
            ("second.weight", &[601, 600]),
            ("second.bias", &[600]),
            ("third.weight", &[600, 180]),
        ];
        for (name, shape) in shapes {
            b.declare(name, shape, Init::Normal(0.1));
        }
        let params = b.build(&gpu, 4).unwrap();
        let adam = Adam::without_moments(&params, Hyper::default(), MomentType::F32).unwrap();
        (params, adam)
    }

    /// The pieces lie one after the other, have whole blocks and the whole arena between them, and
    /// are fewer where there are more ranks.
    #[test]
    fn pieces_have_the_whole_arena() {
        let (params, _) = model(None);
        let layout = params.layout();
        let mut counts = Vec::new();
        for ranks in [2, 7, 10, 64] {
            let pieces = ranges(layout, ranks);
            let mut end = layout.decay_len;
            for piece in &pieces {
                assert_eq!(piece[0].end, end);
                assert!(piece[0].start.is_multiple_of(ALIGN) && !piece[0].is_empty());
                end = piece[0].start;
            }
            assert_eq!(end, 0);
            let last = pieces.last().unwrap();
            let whole = layout.decay_len..layout.len();
            assert_eq!((last.len(), &last[1]), (2, &whole));
            assert!(pieces[..pieces.len() - 1].iter().all(|p| p.len() == 1));
            counts.push(pieces.len());
        }
        assert_eq!(counts, [4, 3, 2, 1]);
    }

    /// Sums of several passes and ranks that go in pieces are, to the bit and on all ranks, those
    /// that go as one; the pieces of the last layers are on their way before the step is at its
    /// end.
    #[test]
    fn pieces_add_up_to_the_same_bits() {
        for (size, passes, part) in [(2, 1, None), (2, 3, Some(1_200_000)), (3, 1, Some(256))] {
            let sums = thread::scope(|scope| {
                let ranks = ThreadRank::group(size).into_iter();
                let ranks: Vec<_> = ranks
                    .map(|ranks| {
                        scope.spawn(move || {
                            [false, true].map(|early| summed(&ranks, passes, part, early))
                        })
                    })
                    .collect();
                let ended = ranks.into_iter().map(|rank| rank.join().unwrap());
                ended.collect::<Vec<_>>()
            });
            let [first, ..] = &sums[0];
            assert!(first.iter().any(|bits| *bits != 0));
            for (rank, [whole, early]) in sums.iter().enumerate() {
                assert!(whole == first && early == first, "{size} ranks: {rank}");
            }
        }
    }

    fn summed(ranks: &Ranks, passes: usize, part: Option<u64>, early: bool) -> Vec<u32> {
        let (params, adam) = model(part);
        let mut sum = GradientSum::default();
        for n in 0..passes {
            let tape = Tape::new(params.gpu());
            let mut pass = ForwardContext::new(&tape, &params);
            if n == 0 {
                pass = pass.with_gradients_of(&adam);
            }
            // Each rank and pass has its own.
            let by = 1.0 + 0.37 * (ranks.rank() * passes + n) as f32;
            let mut loss = None;
            for handle in params.handles().filter(|h| params.name(*h) != "unread") {
                let x = pass.param(handle).unwrap();
                // Twice the parameter is its gradient, but for the factor.
                let square = tape.multiply(&x, &x).unwrap();
                let own = tape.scale(&tape.mean(&square).unwrap(), by, 0.0).unwrap();
                loss = Some(match loss {
                    Some(before) => tape.add(&before, &own).unwrap(),
                    None => own,
                });
            }
            let loss = loss.unwrap();
            if early && n + 1 == passes {
                sum.add_last(&adam, &pass, &loss, ranks).unwrap();
            } else {
                sum.add(&adam, pass.backward(&loss).unwrap()).unwrap();
            }
        }
        let other = Tensor::from_slice(params.gpu(), &[2], &[1.0f32, 2.0]).unwrap();
        let count = Tensor::from_slice(params.gpu(), &[1], &[ranks.rank() as u32 + 1]).unwrap();
        if early {
            assert!(sum.begun() > 0);
        }
        let summed = adam.sum_over(ranks, sum, &[&other, &count]).unwrap();
        let size = ranks.size() as u32;
        assert_eq!(
            other.read::<f32>().unwrap(),
            [1.0, 2.0].map(|x| x * size as f32)
        );
        assert_eq!(count.read::<u32>().unwrap(), [size * (size + 1) / 2]);
        let read = summed.iter().flat_map(|(_, gradient)| {
            assert_eq!(gradient.dtype(), DType::F32);
            gradient.read::<f32>().unwrap()
        });
        read.map(f32::to_bits).collect()
    }
}
