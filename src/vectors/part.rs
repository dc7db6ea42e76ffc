//! The rows that one codebook is learned of.

use super::{Codebooks, PART, Vectors};
use crate::Result;
use crate::gpu::{Gpu, Tensor};
use std::ops::Range;

/// Bytes of rows that stay on the device from one iteration to the next.
const RESIDENT: u64 = 256 << 20;

/// Some channels of vectors, or what codes leave of them.
pub(super) struct Part<'a> {
    gpu: &'a Gpu,
    vectors: &'a Vectors,
    columns: Range<usize>,
    /// Codebooks that come before, and the codes [N, M] of all vectors.
    before: Option<(&'a Codebooks, &'a [u32])>,
    /// All rows, where the device has room for them.
    resident: Vec<Tensor>,
}

impl<'a> Part<'a> {
    pub fn new(
        gpu: &'a Gpu,
        vectors: &'a Vectors,
        columns: Range<usize>,
        before: Option<(&'a Codebooks, &'a [u32])>,
    ) -> Result<Part<'a>> {
        let mut part = Part {
            gpu,
            vectors,
            columns,
            before,
            resident: Vec::new(),
        };
        let bytes = 4 * part.rows() as u64 * part.channels() as u64;
        let room = gpu
            .device_memory()
            .map_or(RESIDENT, |all| RESIDENT.min(all / 4));
        if bytes <= room {
            let parts = part.ranges().map(|rows| part.tensor(rows));
            part.resident = parts.collect::<Result<_>>()?;
        }
        Ok(part)
    }

    pub fn rows(&self) -> usize {
        self.vectors.len()
    }

    pub fn channels(&self) -> usize {
        self.columns.len()
    }

    /// Ranges of rows that the device takes at a time.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let bound = self.gpu.limits().max_storage_buffer_binding_size as usize;
        // Whole vectors are read, whatever is kept of them.
        let each = (PART.min(bound) / (4 * self.vectors.dim())).max(1);
        let n = self.rows();
        (0..n)
            .step_by(each)
            .map(move |start| start..n.min(start + each))
    }

    /// Calls `f` with all rows, a tensor [N', D'] of them at a time, in their order.
    pub fn each(&self, f: &mut dyn FnMut(&Tensor) -> Result<()>) -> Result<()> {
        if !self.resident.is_empty() {
            return self.resident.iter().try_for_each(f);
        }
        self.ranges().try_for_each(|rows| f(&self.tensor(rows)?))
    }

    fn tensor(&self, rows: Range<usize>) -> Result<Tensor> {
        let shape = [rows.len(), self.channels()];
        let left = self.left(self.vectors.read(rows.clone())?, rows)?;
        Tensor::from_slice(self.gpu, &shape, &left)
    }

    /// The numbers of chosen rows.
    pub fn pick(&self, rows: &[usize]) -> Result<Vec<f32>> {
        let vectors = self.vectors.pick(rows)?;
        self.left(vectors, rows.iter().copied())
    }

    fn left(&self, vectors: Vec<f32>, rows: impl Iterator<Item = usize>) -> Result<Vec<f32>> {
        let mut vectors = vectors;
        if let Some((codebooks, codes)) = self.before {
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
