//! Decoding of several places of each sequence in one pass, over caches of keys and values: to the
//! bits of as many steps.

use super::order::Places;
use super::{Memory, Prior};
use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, Tensor};
use crate::nn::transformer::{Dropout, Phase, Window};
use crate::nn::{ForwardContext, Parameters};
use crate::ops::attention::attention_decode::KvCache;
use crate::{Error, Result};

/// Rows of several places of each sequence, on the device: so many cells of each, one sequence
/// after another, and the codes of a cell together.
#[derive(Clone, Debug)]
pub struct WindowRows {
    /// Number of sequences, and cells of each.
    sequences: usize,
    cells: usize,
    /// The code before each place, those of the places of each codebook: u32 [sequences x cells].
    codes: Vec<Tensor>,
    at: Tensor,
    places: Tensor,
    /// The codebook and the cell of each row, and its row of each level above; as far as the model
    /// has such.
    book: Option<Tensor>,
    cell: Option<Tensor>,
    told: Option<Places>,
    above: Vec<Tensor>,
}

impl Prior {
    /// Lays out the places of sequences of codes u32 [N, T] for [`Prior::window`]: from `first[n]`
    /// on, as far as `cells` cells go that begin with its own; a sequence without a first place has
    /// none. The places before it are in the caches already. `order` is that of the cells of all
    /// sequences, where it is not row by row.
    ///
    /// # Errors
    /// If they are not whole sequences, or the device cannot hold them.
    pub fn window_rows(
        &self,
        gpu: &Gpu,
        codes: &[u32],
        first: &[Option<usize>],
        cells: usize,
        order: Option<&[u32]>,
    ) -> Result<WindowRows> {
        let (t, books) = (self.vocabulary.tokens(), self.vocabulary.codebooks);
        if codes.len() != first.len() * t || cells == 0 {
            let expected = format!("{t} codes for each of {} images", first.len());
            return Err(Error::shape("prior", expected, codes.len()));
        }
        let before = self.prefix() - 1;
        let rows = first.len() * cells * books;
        let mut inputs = vec![Vec::with_capacity(rows / books); books];
        let (mut at, mut places, mut of_cell) = (vec![], vec![], vec![]);
        let mut above = vec![Vec::new(); self.above.len()];
        let (raster, mut told) = (self.raster_cells(1), Vec::new());
        let route = order.unwrap_or(&raster);
        for (n, first) in first.iter().enumerate() {
            for i in 0..cells * books {
                let place = first.filter(|first| first / books * books + i >= *first);
                let place = place.map(|first| first / books * books + i);
                let place = place.filter(|place| (1..t).contains(place));
                inputs[i % books].push(place.map_or(0, |i| codes[n * t + i - 1]));
                let row = place.map_or(u32::MAX, |i| (before + i) as u32);
                at.extend([n as u32, row]);
                places.push(row);
                let cell = place.unwrap_or(0) / books;
                told.push(self.row_of(route, place.unwrap_or(0)));
                let cell = route[cell] as usize;
                of_cell.push(cell as u32);
                for (rows, layers) in above.iter_mut().zip(&self.above) {
                    rows.push(layers.row(n, cell));
                }
            }
        }
        let upload = |values: &[u32]| Tensor::from_slice(gpu, &[values.len()], values);
        let of_book: Vec<u32> = (0..rows).map(|row| (row % books) as u32).collect();
        Ok(WindowRows {
            sequences: first.len(),
            cells,
            codes: inputs
                .iter()
                .map(|codes| upload(codes))
                .collect::<Result<_>>()?,
            at: Tensor::from_slice(gpu, &[rows, 2], &at)?,
            places: upload(&places)?,
            book: self.codebook.map(|_| upload(&of_book)).transpose()?,
            cell: self.positions.map(|_| upload(&of_cell)).transpose()?,
            told: self.places_of(gpu, &told)?,
            above: above
                .iter()
                .map(|rows| upload(rows))
                .collect::<Result<_>>()?,
        })
    }

    /// Takes in the code before each place of these rows, and returns the logits of the code at
    /// each: for each codebook [N x cells, K]. `above` is what the levels above say of each cell,
    /// and `memory` what an encoder made of the texts, both of the caches' sequences.
    ///
    /// A place's logits have the bits that [`Prior::step`] gives it in a pass over `all` sequences,
    /// where the codes before it are the same.
    ///
    /// # Errors
    /// If the device fails.
    pub fn window(
        &self,
        tape: &Tape,
        params: &Parameters,
        all: usize,
        rows: &WindowRows,
        above: &[Var],
        memory: Option<&Memory>,
        caches: &[KvCache],
    ) -> Result<Vec<Tensor>> {
        let (d, books) = (self.shape.dim, self.vocabulary.codebooks);
        let cells = rows.sequences * rows.cells;
        let pass = ForwardContext::new(tape, params).among(all, cells * books);
        let tables = (0..books).map(|q| self.tokens[(q + books - 1) % books]);
        let codes = tables
            .zip(&rows.codes)
            .map(|(table, codes)| tape.gather(&pass.param(table)?, codes))
            .collect::<Result<Vec<Var>>>()?;
        let x = if let [codes] = &codes[..] {
            codes.clone()
        } else {
            tape.concat_columns(&codes)?
        };
        let mut x = tape.reshape(&x, &[cells * books, d])?;
        for (known, rows) in above.iter().zip(&rows.above) {
            x = tape.add(&x, &tape.gather(known, rows)?)?;
        }
        let by_cell = self.positions.filter(|_| rows.told.is_none());
        let learned = [(self.codebook, &rows.book), (by_cell, &rows.cell)];
        for (table, rows) in learned {
            if let (Some(table), Some(rows)) = (table, rows) {
                x = tape.add(&x, &tape.gather(&pass.param(table)?, rows)?)?;
            }
        }
        if let Some(places) = &rows.told {
            x = self.add_places(&pass, &x, places)?;
        }
        let angles = self.angles(rows.told.as_ref());
        let mut x = tape.reshape(&x, &[cells * books, 1, d])?;
        for (i, (block, cache)) in self.blocks.iter().zip(caches).enumerate() {
            let (at, places) = (&rows.at, &rows.places);
            x = block.forward(
                &pass,
                &x,
                self.attention(i),
                angles.as_ref(),
                Phase::Window(Window { cache, at, places }),
                (Dropout::OFF, 0),
                memory.and_then(|m| m.encoder_states(i)),
            )?;
        }
        let x = tape.reshape(&x, &[cells * books, d])?;
        let x = tape.reshape(&self.norm.forward(&pass, &x)?, &[cells, books * d])?;
        // A step predicts a code of one codebook.
        let pass = ForwardContext::new(tape, params).among(all, cells);
        let of = |q: usize| {
            let x = if books == 1 {
                x.clone()
            } else {
                tape.slice_columns(&x, q * d, d)?
            };
            Ok(self.head(&pass, &x, q)?.tensor().clone())
        };
        (0..books).map(of).collect()
    }
}
