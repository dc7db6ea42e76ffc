//! The order in which the codes of images are predicted, and the places that rows are told of where
//! that is not the raster's.

use super::{Batch, Prior};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::models::prior::conditioning::Conditioning;
use crate::nn::ForwardContext;
use crate::ops::attention::rotary::Rotary;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The order of the codes of an image, cell by cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Row by row.
    #[default]
    Raster,
    /// Trained on random orders, fewer and fewer of them, and at last row by row alone (Yu et al.
    /// 2024, "Randomized Autoregressive Visual Generation").
    Annealed,
    /// Trained on random orders, so that every code can be drawn from whichever are known (Pang et
    /// al. 2024, "RandAR").
    Any,
}

impl Order {
    /// Whether rows are told the place of the code to come, since it does not follow from theirs.
    pub fn tells_places(self) -> bool {
        self != Order::Raster
    }

    /// Returns the share of images that a step of training shows in a random order: with
    /// [`Order::Annealed`] all until half of the steps are done, and none once three quarters are.
    pub fn random_share(self, step: u64, steps: u64) -> f64 {
        match self {
            Order::Raster => 0.0,
            Order::Any => 1.0,
            Order::Annealed => (3.0 - 4.0 * step as f64 / steps.max(1) as f64).clamp(0.0, 1.0),
        }
    }
}

/// Returns the cells of an image of which these are known, the known ones first, and the others
/// behind them: both row by row.
pub fn known_first(known: &[bool]) -> Vec<u32> {
    let of = |which: bool| (0..known.len()).filter(move |cell| known[*cell] == which);
    of(true).chain(of(false)).map(|cell| cell as u32).collect()
}

/// Returns the codes of images [N, T] in the order of cells `cells`, one for each image or one for
/// all of them; each cell has `books` codes.
pub fn in_order(codes: &[u32], cells: &[u32], books: usize, tokens: usize) -> Vec<u32> {
    let orders = cells.chunks((tokens / books.max(1)).max(1)).cycle();
    let of = |(image, cells): (&[u32], &[u32])| {
        let codes = cells.iter().flat_map(|cell| {
            let at = *cell as usize * books;
            image[at..at + books].to_vec()
        });
        codes.collect::<Vec<u32>>()
    };
    codes
        .chunks(tokens.max(1))
        .zip(orders)
        .flat_map(of)
        .collect()
}

/// Returns the order that puts codes back where [`in_order`] took them from.
pub fn inverse(cells: &[u32]) -> Vec<u32> {
    let mut back = vec![0; cells.len()];
    for (i, cell) in cells.iter().enumerate() {
        back[*cell as usize] = i as u32;
    }
    back
}

/// A row of a sequence: the cell of the code to come, and that of the code before it, which there
/// is none of at first. `None` is a row of a text.
pub(super) type Row = Option<(u32, Option<u32>)>;

/// The places that rows are told of, on the device.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Rows of the tables of embeddings, of the code to come and of the one before, u32 `[N]` each,
    /// of rows that are no text's.
    target: Tensor,
    own: Tensor,
    /// Positions in the rotary table, of queries and keys, u32 [N, 2].
    turned: Tensor,
}

impl Prior {
    /// Returns the row of step `i` in an order of cells.
    pub(super) fn row_of(&self, cells: &[u32], i: usize) -> Row {
        let (cell, q) = (i / self.vocabulary.codebooks, i % self.vocabulary.codebooks);
        let before = if q > 0 {
            Some(cell)
        } else {
            cell.checked_sub(1)
        };
        let of = |cell: usize| cells.get(cell).copied();
        of(cell).map(|target| (target, before.and_then(of)))
    }

    /// Returns the rows of the steps `steps` of sequences in these orders, those of a text before
    /// them where the sequences begin.
    pub(super) fn rows_in(&self, orders: &[u32], steps: Range<usize>) -> Vec<Row> {
        let before = if steps.start == 0 {
            self.prefix() - 1
        } else {
            0
        };
        let [rows, columns] = self.vocabulary.grid;
        let of = |cells: &[u32]| {
            let own = steps.clone().map(|i| self.row_of(cells, i));
            std::iter::repeat_n(None, before)
                .chain(own)
                .collect::<Vec<Row>>()
        };
        orders.chunks(rows * columns).flat_map(of).collect()
    }

    /// Returns the cells of images row by row.
    pub(super) fn raster_cells(&self, images: usize) -> Vec<u32> {
        let cells = (self.vocabulary.grid[0] * self.vocabulary.grid[1]) as u32;
        (0..cells).collect::<Vec<u32>>().repeat(images)
    }

    /// Returns the places of the first `length` rows of codes of a batch, and of those before them.
    pub(super) fn places_in(
        &self,
        gpu: &Gpu,
        batch: &Batch,
        length: usize,
    ) -> Result<Option<Places>> {
        if !self.shape.order.tells_places() {
            return Ok(None);
        }
        let raster = || self.raster_cells(batch.classes.len());
        let orders = batch.order.clone().unwrap_or_else(raster);
        self.places_of(gpu, &self.rows_in(&orders, 0..length))
    }

    /// Returns the rows of a level above that belong to the first `length` codes of images in these
    /// orders.
    pub(super) fn rows_above(
        &self,
        layers: &Conditioning,
        orders: &[u32],
        length: usize,
    ) -> Vec<u32> {
        let [rows, columns] = self.vocabulary.grid;
        let books = self.vocabulary.codebooks;
        let of = |(image, cells): (usize, &[u32])| {
            let row = |i: usize| layers.row(image, cells[i / books] as usize);
            (0..length).map(row).collect::<Vec<u32>>()
        };
        orders
            .chunks(rows * columns)
            .enumerate()
            .flat_map(of)
            .collect()
    }

    /// Uploads the places of rows, where the model is told of them.
    pub(super) fn places_of(&self, gpu: &Gpu, rows: &[Row]) -> Result<Option<Places>> {
        if !self.shape.order.tells_places() {
            return Ok(None);
        }
        let [height, width] = self.vocabulary.grid;
        let (nowhere, first) = ((height * width) as u32, self.prefix() as u32 - 1);
        let codes = || rows.iter().flatten();
        let target: Vec<u32> = codes().map(|(target, _)| *target).collect();
        let own: Vec<u32> = codes().map(|(_, own)| own.unwrap_or(nowhere)).collect();
        let at = |cell: u32| first + cell * self.vocabulary.codebooks as u32;
        // What stands before the codes lies at the first cell, as far as angles go.
        let turned: Vec<u32> = rows
            .iter()
            .flat_map(|row| match row {
                Some((target, own)) => [at(*target), own.map_or(0, at)],
                None => [0, 0],
            })
            .collect();
        Ok(Some(Places {
            target: Tensor::from_slice(gpu, &[target.len()], &target)?,
            own: Tensor::from_slice(gpu, &[own.len()], &own)?,
            turned: Tensor::from_slice(gpu, &[rows.len(), 2], &turned)?,
        }))
    }

    /// Adds the embeddings of places to x [N, D].
    pub(super) fn add_places(&self, pass: &ForwardContext, x: &Var, at: &Places) -> Result<Var> {
        let (tape, mut x) = (pass.tape, x.clone());
        for (table, rows) in [(self.positions, &at.target), (self.own, &at.own)] {
            if let Some(table) = table {
                x = tape.add(&x, &tape.gather(&pass.param(table)?, rows)?)?;
            }
        }
        Ok(x)
    }

    /// Returns the angles of rows, at places of their own where the model is told of such.
    pub(super) fn angles(&self, places: Option<&Places>) -> Option<Rotary> {
        let rotary = self.rotary.as_ref()?;
        Some(places.map_or_else(|| rotary.clone(), |at| rotary.at_rows(&at.turned)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_undone() {
        let known = [false, true, false, true];
        let cells = known_first(&known);
        assert_eq!(cells, [1, 3, 0, 2]);
        let codes: Vec<u32> = (0..16).collect();
        let ordered = in_order(&codes, &cells, 2, 8);
        assert_eq!(ordered[..8], [2, 3, 6, 7, 0, 1, 4, 5]);
        assert_eq!(ordered[8..10], [10, 11]);
        assert_eq!(in_order(&ordered, &inverse(&cells), 2, 8), codes);
        let both = [cells.clone(), vec![0, 1, 2, 3]].concat();
        assert_eq!(in_order(&codes, &both, 2, 8)[8..], codes[8..]);
    }

    #[test]
    fn annealing_ends_in_the_raster() {
        let share = |step| Order::Annealed.random_share(step, 100);
        assert_eq!([0, 50, 75, 99].map(share), [1.0, 1.0, 0.0, 0.0]);
        assert!((share(60) - 0.6).abs() < 1e-9);
        assert_eq!(Order::Any.random_share(99, 100), 1.0);
        assert_eq!(Order::Raster.random_share(0, 100), 0.0);
    }
}
