//! Conditioning on the levels above: their codes go through blocks that look both ways, and are
//! spread over the cells below them, so that each code to come has a vector of its own place
//! (Razavi et al. 2019, section 3.2, where residual convolutions do it).

use crate::Result;
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::models::Level;
use crate::models::prior::{Positions, Shape};
use crate::nn::transformer::{Block, Dropout};
use crate::nn::{BlockConfig, Builder, ForwardContext, Handle, INIT_STD, Init, Linear, Norm};
use crate::ops::attention::attention::Attention;
use crate::ops::attention::rotary::{Rotary, raster};
use std::ops::Range;

/// The layers of one level above.
#[derive(Clone, Debug)]
pub struct Conditioning {
    level: Level,
    /// One for each codebook: [K, D]. The codes of a latent add up.
    tokens: Vec<Handle>,
    /// [h w, D].
    positions: Option<Handle>,
    rotary: Option<Rotary>,
    blocks: Vec<Block>,
    norm: Norm,
    /// Linear map of a cell's row to those of the cells below it: [r r D, D].
    spread: Linear,
    dim: usize,
    /// The grid below, and its cells to a cell of this level, each way.
    grid: [usize; 2],
    ratio: usize,
}

impl Conditioning {
    /// Declares the layers under `name`, for codes on `grid` below `level`, of a grid as many times
    /// as fine each way.
    pub fn new(
        gpu: &Gpu,
        b: &mut Builder,
        name: &str,
        shape: &Shape,
        level: &Level,
        grid: [usize; 2],
    ) -> Result<Self> {
        let ([rows, columns], d) = (level.grid, shape.dim);
        let ratio = grid[0] / rows.max(1);
        if ratio == 0 || grid != [rows * ratio, columns * ratio] {
            let what = format!(
                "codes on {grid:?} below codes on {:?}: one grid must be a multiple of the other",
                level.grid
            );
            return Err(crate::Error::invalid("prior", what));
        }
        let mut table = |name: String, n: usize| {
            let handle = b.declare(name, &[n, d], Init::Normal(INIT_STD));
            b.without_decay(handle);
            handle
        };
        let tokens = (0..level.codebooks)
            .map(|q| table(format!("{name}.tokens.{q}.weight"), level.codebook_size))
            .collect();
        let learned = shape.positions == Positions::Learned;
        let positions = learned.then(|| table(format!("{name}.positions.weight"), rows * columns));
        let turned = || {
            Rotary::axial(
                gpu,
                &raster(rows, columns),
                d / shape.heads,
                f64::from(shape.rope_base),
            )
        };
        let rotary = (!learned).then(turned).transpose()?;
        let block = BlockConfig {
            dim: d,
            heads: shape.heads,
            hidden: shape.hidden,
            norm: shape.norm,
            mlp: shape.mlp,
            layers: shape.condition_layers,
        };
        let blocks = (0..shape.condition_layers)
            .map(|i| Block::new(b, &format!("{name}.blocks.{i}"), &block))
            .collect();
        let norm = Norm::new(b, &format!("{name}.norm"), d, shape.norm);
        // Rows of about the size of embeddings, from rows of size 1.
        let spread = Linear::new(
            b,
            &format!("{name}.spread"),
            d,
            ratio * ratio * d,
            INIT_STD / (d as f32).sqrt(),
        );
        Ok(Conditioning {
            level: level.clone(),
            tokens,
            positions,
            rotary,
            blocks,
            norm,
            spread,
            dim: d,
            grid,
            ratio,
        })
    }

    /// Places of dropout that this takes.
    pub fn places(&self) -> usize {
        2 * self.blocks.len()
    }

    /// Computes a row for each cell below, [B h w r r, D], those below a cell together: of this
    /// level's codes, of each codebook u32 [B h w].
    ///
    /// # Errors
    /// If the device fails.
    pub fn rows(
        &self,
        pass: &ForwardContext,
        codes: &[Tensor],
        dropout: (Dropout, usize),
    ) -> Result<Var> {
        let (tape, d, [h, w]) = (pass.tape, self.dim, self.level.grid);
        let mut x: Option<Var> = None;
        for (codes, table) in codes.iter().zip(&self.tokens) {
            let rows = tape.gather(&pass.param(*table)?, codes)?;
            x = Some(match x {
                Some(sum) => tape.add(&sum, &rows)?,
                None => rows,
            });
        }
        let x = x.ok_or_else(|| crate::Error::invalid("prior", "a level without codebooks"))?;
        let b = x.shape()[0] / (h * w);
        let mut x = tape.reshape(&x, &[b, h * w, d])?;
        if let Some(table) = self.positions {
            x = tape.positions(&x, &pass.param(table)?)?;
        }
        let (dropout, place) = dropout;
        for (i, block) in self.blocks.iter().enumerate() {
            let at = (dropout, place + 2 * i);
            x = block.sequences(pass, x, Attention::FULL, self.rotary.as_ref(), at, None)?;
        }
        let x = self
            .norm
            .forward(pass, &tape.reshape(&x, &[b * h * w, d])?)?;
        let x = self.spread.forward(pass, &x)?;
        tape.reshape(&x, &[b * h * w * self.ratio * self.ratio, d])
    }

    /// Returns the row of [`Conditioning::rows`] that belongs to the cell `cell` of image `image`.
    pub(super) fn row(&self, image: usize, cell: usize) -> u32 {
        let ([h, w], r) = (self.level.grid, self.ratio);
        let (y, x) = (cell / self.grid[1], cell % self.grid[1]);
        let above = (image * h + y / r) * w + x / r;
        (above * r * r + y % r * r + x % r) as u32
    }

    /// Returns the rows that belong to the codes `at` of images, image by image; each cell has
    /// `books` codes.
    pub fn by_image(&self, images: usize, at: Range<usize>, books: usize) -> Vec<u32> {
        (0..images)
            .flat_map(|image| at.clone().map(move |i| self.row(image, i / books)))
            .collect()
    }

    /// Returns the rows that belong to all `codes`, code by code, each code's padded to `width`.
    pub fn by_code(&self, images: usize, codes: usize, books: usize, width: usize) -> Vec<u32> {
        let of = |i: usize| {
            (0..width).map(move |image| self.row(image.min(images.max(1) - 1), i / books))
        };
        (0..codes).flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Parameters;

    /// Every cell gets a row of its own, among those of the cell above it.
    #[test]
    fn cells_find_the_rows_below_their_own_cell() {
        let gpu = Gpu::new(crate::gpu::Options::default()).unwrap();
        let shape = Shape {
            dim: 8,
            heads: 1,
            ..Shape::default()
        }
        .resolved();
        let level = Level {
            name: "top".into(),
            grid: [2, 3],
            codebook_size: 5,
            codebooks: 1,
        };
        let c = Conditioning::new(
            &gpu,
            &mut Parameters::builder(),
            "above.top",
            &shape,
            &level,
            [4, 6],
        )
        .unwrap();
        let rows = c.by_image(2, 0..24, 1);
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..48).collect::<Vec<u32>>());
        // Row 3, column 4 of the second image lies below row 1, column 2, at its lower left.
        assert_eq!(rows[24 + 3 * 6 + 4], ((6 + 3 + 2) * 4 + 2) as u32);
        let turned = c.by_code(2, 24, 1, 3);
        assert!((0..24).all(|i| turned[3 * i] == rows[i] && turned[3 * i + 1] == rows[24 + i]));
        // Two codes of a cell have the same row.
        assert_eq!(c.by_image(1, 0..4, 2), [0, 0, 1, 1]);
        assert!(
            Conditioning::new(
                &gpu,
                &mut Parameters::builder(),
                "a",
                &shape,
                &level,
                [4, 7]
            )
            .is_err()
        );
    }
}
