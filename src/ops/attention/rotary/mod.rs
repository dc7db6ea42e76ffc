//! Rotary position embedding (Su et al. 2021, "RoFormer"): queries and keys turned by angles that
//! grow with the position, so that their products depend on distances alone.
//!
//! Pair i of a head is its channels 2i and 2i + 1, as in the paper; many later models pair i with i
//! + D / 2 instead.

mod reference;
mod spec;

pub use spec::RotarySpec;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::{Error, Result, shader};

/// The angles of every position, on the device as their cosines and sines: made once for a model.
#[derive(Clone, Debug)]
pub struct Rotary {
    /// [P, D]: (cos, sin) of each pair.
    table: Tensor,
    /// Positions of the query and of the key of each row, u32 [B T, 2]; by default both follow from
    /// where a sequence starts.
    rows: Option<Tensor>,
}

/// Position of a sequence's first row in the table.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// One position for every sequence.
    At(usize),
    /// u32 `[B]`, one for each: how many rows a cache has of each sequence, say. Positions past the
    /// table's last read the last.
    Each(&'a Tensor),
}

/// Returns the positions of an image's codes, row by row: (row, column).
pub fn raster(rows: usize, cols: usize) -> Vec<[f64; 2]> {
    (0..rows * cols)
        .map(|i| [(i / cols) as f64, (i % cols) as f64])
        .collect()
}

impl Rotary {
    /// Creates the angles of positions on a line and heads of `d` channels (Su et al. 2021): pair i
    /// turns by `x base^(-2i/D)` at position x (equation 15). The paper's base is 10,000.
    ///
    /// # Errors
    /// If `d` is odd or 0, the base is not above 1, or there is no position or one that is not
    /// finite.
    pub fn line(gpu: &Gpu, positions: &[f64], d: usize, base: f64) -> Result<Rotary> {
        Rotary::new(gpu, positions.len(), positions, d, 1, base)
    }

    /// For positions (row, column) in a plane: the first half of a head's pairs turns with the row,
    /// the other with the column, each as [`Rotary::line`] would with D / 2 channels.
    ///
    /// # Errors
    /// As [`Rotary::line`], and if `d` is no multiple of 4.
    pub fn axial(gpu: &Gpu, positions: &[[f64; 2]], d: usize, base: f64) -> Result<Rotary> {
        Rotary::new(gpu, positions.len(), positions.as_flattened(), d, 2, base)
    }

    fn new(
        gpu: &Gpu,
        count: usize,
        positions: &[f64],
        d: usize,
        axes: usize,
        base: f64,
    ) -> Result<Rotary> {
        let op = "rotary";
        if d == 0 || !d.is_multiple_of(2 * axes) {
            return Err(Error::invalid(
                op,
                format!("heads of {d} channels: they are a multiple of {}", 2 * axes),
            ));
        }
        if !(base > 1.0 && base.is_finite()) {
            return Err(Error::invalid(
                op,
                format!("a base of {base}: it is above 1"),
            ));
        }
        if count == 0 || positions.iter().any(|x| !x.is_finite()) {
            return Err(Error::invalid(
                op,
                format!("{count} positions: there is at least one, and all are finite"),
            ));
        }
        // In f64: a large position times a frequency has few digits left in f32.
        let angles = reference::angles(positions, d, axes, base);
        let table: Vec<f32> = angles
            .iter()
            .flat_map(|a| [a.cos() as f32, a.sin() as f32])
            .collect();
        Ok(Rotary {
            table: Tensor::from_slice(gpu, &[count, d], &table)?,
            rows: None,
        })
    }

    /// Returns the same angles for rows whose queries and keys stand at positions of their own, u32
    /// [B T, 2], wherever a sequence starts: a query at the place that it asks about, a key at the
    /// one that it tells of. Positions past the table's last read the last.
    pub fn at_rows(&self, rows: &Tensor) -> Rotary {
        Rotary {
            rows: Some(rows.clone()),
            ..self.clone()
        }
    }

    fn turn(&self, x: &Tensor, start: Start, inverse: bool) -> Result<Tensor> {
        let op = "rotary";
        let [count, d] = self.table.dims(op)?;
        let (b, t, parts, h) = match *x.shape() {
            [b, t, h, channels] if channels == d => (b, t, 1, h),
            [b, t, 3, h, channels] if channels == d => (b, t, 3, h),
            _ => {
                return Err(Error::shape(
                    op,
                    format!("[B, T, H, {d}] or [B, T, 3, H, {d}]"),
                    format!("{x:?}"),
                ));
            }
        };
        if x.dtype() != DType::F32 {
            return Err(Error::shape(op, "f32", format!("{x:?}")));
        }
        let first = match start {
            _ if self.rows.is_some() => 0,
            Start::At(at) if at.checked_add(t).is_some_and(|end| end <= count) => at as u32,
            Start::At(at) => {
                return Err(Error::invalid(
                    op,
                    format!("{t} rows from position {at} on: the table has {count}"),
                ));
            }
            Start::Each(starts) if starts.shape() == [b] && starts.dtype() == DType::U32 => 0,
            Start::Each(starts) => {
                return Err(Error::shape(
                    op,
                    format!("u32 starts [{b}]"),
                    format!("{starts:?}"),
                ));
            }
        };
        if let Some(rows) = &self.rows
            && (rows.shape() != [b * t, 2] || rows.dtype() != DType::U32)
        {
            let expected = format!("u32 positions [{}, 2]", b * t);
            return Err(Error::shape(op, expected, format!("{rows:?}")));
        }
        let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
        let vec = d.is_multiple_of(4);
        let units = if vec { d / 4 } else { d / 2 };
        let n = b * t * parts * h * units;
        let params =
            [n, units, h * units, parts, t, first as usize, count - 1, 0].map(|v| v as u32);
        let mut bindings = vec![x, &self.table, &y];
        let places = match (&self.rows, start) {
            (Some(rows), _) => {
                bindings.push(rows);
                Places::Rows
            }
            (None, Start::Each(starts)) => {
                bindings.push(starts);
                Places::Each
            }
            (None, Start::At(_)) => Places::At,
        };
        let kernel = kernel(vec, places, inverse);
        x.gpu().dispatch(
            op,
            &kernel,
            &bindings,
            &params,
            groups_for(n, 64),
            work(x.len()),
        )?;
        Ok(y)
    }

    /// x with queries and keys turned: q or k [B, T, H, D], or [B, T, 3, H, D] as
    /// [`attention_packed`](super::attention::attention_packed) takes it, whose values stay as they
    /// are.
    ///
    /// # Errors
    /// If the shapes do not fit, or the table ends before the rows do.
    pub fn rotate(&self, x: &Tensor, start: Start) -> Result<Tensor> {
        self.turn(x, start, false)
    }
}

/// Where a kernel finds a row's position.
#[derive(Clone, Copy, PartialEq)]
enum Places {
    At,
    Each,
    Rows,
}

fn kernel(vec: bool, places: Places, inverse: bool) -> Kernel {
    Kernel::new(shader!("attention/rotary"))
        .flag("VEC", vec)
        .flag("EACH", places == Places::Each)
        .flag("ROWS", places == Places::Rows)
        .flag("INVERSE", inverse)
}

fn work(n: usize) -> Work {
    Work {
        flops: 3.0 * n as f64,
        bytes: 12.0 * n as f64,
    }
}

impl Tape {
    /// See [`Rotary::rotate`]. The gradient is turned back.
    ///
    /// # Errors
    /// As [`Rotary::rotate`].
    pub fn rotary(&self, x: &Var, rotary: &Rotary, start: Start) -> Result<Var> {
        let y = rotary.rotate(x.tensor(), start)?;
        let rotary = rotary.clone();
        let (at, each) = match start {
            Start::At(at) => (at, None),
            Start::Each(starts) => (0, Some(starts.clone())),
        };
        Ok(self.record(y, &[x], move |g, _| {
            let start = each.as_ref().map_or(Start::At(at), Start::Each);
            Ok(vec![Some(rotary.turn(g, start, true)?)])
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;
    use crate::spec::Rng;

    /// The purpose of the embedding: products of turned queries and keys depend on distances alone.
    #[test]
    fn products_depend_on_distances() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let d = 8;
        let rotary = Rotary::axial(&gpu, &raster(5, 7), d, 100.0).unwrap();
        let mut rng = Rng::new(2);
        let (q, k) = (
            rng.normals(&[1, 1, 1, d]).upload(&gpu).unwrap(),
            rng.normals(&[1, 1, 1, d]).upload(&gpu).unwrap(),
        );
        let product = |i: usize, j: usize| -> f32 {
            let read = |x: &Tensor, at| {
                rotary
                    .rotate(x, Start::At(at))
                    .unwrap()
                    .read::<f32>()
                    .unwrap()
            };
            read(&q, i)
                .iter()
                .zip(read(&k, j))
                .map(|(a, b)| a * b)
                .sum()
        };
        // From (0, 1) to (2, 3), from (1, 0) to (3, 2), and another way.
        let (a, b, c) = (product(1, 17), product(7, 23), product(1, 18));
        assert!((a - b).abs() < 1e-5, "{a} {b}");
        assert!((a - c).abs() > 1e-3, "{a} {c}");
    }

    #[test]
    fn a_start_past_the_table_reads_its_last_position() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let rotary = Rotary::line(&gpu, &[0.0, 1.0, 2.0], 2, 10.0).unwrap();
        let x = Tensor::from_slice(&gpu, &[2, 1, 1, 2], &[1.0f32, 0.0, 1.0, 0.0]).unwrap();
        let starts = Tensor::from_slice(&gpu, &[2], &[2u32, u32::MAX]).unwrap();
        let y = rotary
            .rotate(&x, Start::Each(&starts))
            .unwrap()
            .read::<f32>()
            .unwrap();
        assert_eq!(y[..2], y[2..]);
        assert!((y[0] - 2f32.cos()).abs() < 1e-6);
    }
}
