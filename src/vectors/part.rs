//! The rows that one codebook is learned of.

use super::centre::Centre;
use super::encode::{bytes_of_a_part, check_fits};
use super::{Codebooks, Vectors};
use crate::Result;
use crate::gpu::{DType, Gpu, Tensor};
use crate::ops::elementwise::cast::cast;
use crate::ops::quantize::vq_search::nearest;
use std::ops::Range;

/// Bytes of rows that stay on the device from one iteration to the next.
const RESIDENT: u64 = 256 << 20;
/// Rows whose mean is the centre.
const CENTRED_BY: usize = 1024;
/// Rows of a part at most: sums of a part are f32, one row after another, and parts are added in
/// f64.
const ROWS: usize = 1 << 15;

/// The codes of vectors so far; a part then has the remainders that they leave.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    /// M codebooks.
    pub codebooks: &'a Codebooks,
    /// Codes of all vectors, [N, beams, M].
    pub codes: &'a [u32],
    /// Codes of a vector, of which each leaves a row.
    pub beams: usize,
}

/// Some channels of vectors, or what codes leave of them, as seen from their middle; see
/// [`Part::in_place`].
pub(super) struct Part<'a> {
    gpu: &'a Gpu,
    vectors: &'a Vectors,
    columns: Range<usize>,
    before: Option<Before<'a>>,
    /// The point that is taken off each row, [D']: the mean of some, so that distances are not
    /// small differences of large numbers.
    centre: Centre,
    /// All rows, where the device has room for them.
    resident: Vec<Rows>,
    /// The type of the rows that are searched with.
    search: DType,
    /// Bytes of a tensor at most.
    part: usize,
}

/// Rows on the device.
pub(super) struct Rows {
    /// f32 [N', D'].
    pub x: Tensor,
    /// The same as the search reads them.
    pub searched: Tensor,
}

impl<'a> Part<'a> {
    pub fn new(
        gpu: &'a Gpu,
        vectors: &'a Vectors,
        columns: Range<usize>,
        before: Option<Before<'a>>,
        search: DType,
        part: usize,
    ) -> Result<Part<'a>> {
        let mut made = Part {
            gpu,
            vectors,
            columns,
            before,
            centre: Centre::default(),
            resident: Vec::new(),
            search,
            part,
        };
        made.centre = made.middle()?;
        let each = 4 + search.is_half() as u64 * 2;
        let bytes = each * made.rows() as u64 * made.channels() as u64;
        let room = gpu
            .device_memory()
            .map_or(RESIDENT, |all| RESIDENT.min(all / 4));
        // One tensor is made at a time where it is small, as in tests.
        if bytes <= room && part == super::PART {
            let parts = made.ranges().map(|rows| made.tensor(rows));
            made.resident = parts.collect::<Result<_>>()?;
        }
        Ok(made)
    }

    /// Returns the middle of rows that are spread over all.
    fn middle(&self) -> Result<Centre> {
        let n = self.rows();
        let taken = n.min(CENTRED_BY);
        let rows: Vec<usize> = (0..taken).map(|i| i * n / taken).collect();
        Ok(Centre::of(&self.rest(&rows)?, self.channels()))
    }

    /// Returns means of rows as they are told, brought back to their place.
    pub fn in_place(&self, means: Vec<f32>) -> Vec<f32> {
        self.centre.in_place(means)
    }

    /// Rows of a vector.
    fn beams(&self) -> usize {
        self.before.map_or(1, |before| before.beams)
    }

    pub fn rows(&self) -> usize {
        self.vectors.len() * self.beams()
    }

    pub fn channels(&self) -> usize {
        self.columns.len()
    }

    /// Ranges of vectors whose rows the device takes at a time.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        // Whole vectors are read, whatever is kept of them.
        let numbers = self.vectors.dim().saturating_mul(self.beams());
        let each = bytes_of_a_part(self.gpu, self.part) / numbers.saturating_mul(4);
        let each = each.clamp(1, (ROWS / self.beams()).max(1));
        let n = self.vectors.len();
        (0..n)
            .step_by(each)
            .map(move |start| start..n.min(start + each))
    }

    /// Calls `f` with all rows, some at a time, in their order.
    pub fn each(&self, f: &mut dyn FnMut(&Rows) -> Result<()>) -> Result<()> {
        if !self.resident.is_empty() {
            return self.resident.iter().try_for_each(f);
        }
        self.ranges().try_for_each(|rows| f(&self.tensor(rows)?))
    }

    /// The nearest of `means` [K, D'], each in its place, to each row.
    pub fn nearest(&self, means: &[f32]) -> Result<Vec<u32>> {
        let d = self.channels();
        let means = self.centre.seen_from_here(means.to_vec());
        let means = Tensor::from_slice(self.gpu, &[means.len() / d, d], &means)?;
        let mut codes = Vec::with_capacity(self.rows());
        self.each(&mut |rows| {
            codes.extend(nearest(&rows.searched, &means)?.read::<u32>()?);
            Ok(())
        })?;
        Ok(codes)
    }

    fn tensor(&self, vectors: Range<usize>) -> Result<Rows> {
        let beams = self.beams();
        let shape = [vectors.len() * beams, self.channels()];
        let rows = vectors.start * beams..vectors.end * beams;
        let read = self.vectors.read(vectors)?;
        let dim = self.vectors.dim();
        let read = match beams {
            1 => read,
            _ => read
                .chunks(dim)
                .flat_map(|vector| std::iter::repeat_n(vector, beams).flatten())
                .copied()
                .collect(),
        };
        let left = self.centre.seen_from_here(self.left(read, rows)?);
        check_fits(self.search, &left, self.channels())?;
        let x = Tensor::from_slice(self.gpu, &shape, &left)?;
        let searched = cast(&x, self.search)?;
        Ok(Rows { x, searched })
    }

    /// The numbers of chosen rows.
    pub fn pick(&self, rows: &[usize]) -> Result<Vec<f32>> {
        Ok(self.centre.seen_from_here(self.rest(rows)?))
    }

    /// The numbers of chosen rows, in their place.
    fn rest(&self, rows: &[usize]) -> Result<Vec<f32>> {
        let vectors: Vec<usize> = rows.iter().map(|row| row / self.beams()).collect();
        self.left(self.vectors.pick(&vectors)?, rows.iter().copied())
    }

    fn left(&self, vectors: Vec<f32>, rows: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        let mut vectors = vectors;
        if let Some(Before {
            codebooks, codes, ..
        }) = self.before
        {
            let m = codebooks.shape()[0];
            let codes: Vec<u32> = rows
                .flat_map(|i| &codes[i * m..(i + 1) * m])
                .copied()
                .collect();
            let made = codebooks.decode(&codes)?;
            vectors.iter_mut().zip(made).for_each(|(x, y)| *x -= y);
        }
        if self.columns.len() == self.vectors.dim() {
            return Ok(vectors);
        }
        let rows = vectors.chunks(self.vectors.dim());
        Ok(rows
            .flat_map(|row| &row[self.columns.clone()])
            .copied()
            .collect())
    }
}
