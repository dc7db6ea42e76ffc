//! A dense array on the device: a shape over a pooled buffer.

use super::storage::SharedStorage;
use crate::gpu::DType;
use crate::gpu::Gpu;
use crate::{Error, Result};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// An element type of the host that matches a [`DType`].
pub trait Element: bytemuck::Pod {
    /// Its name on the device.
    const DTYPE: DType;
}
impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}
impl Element for half::bf16 {
    const DTYPE: DType = DType::Bf16;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
impl Element for u8 {
    const DTYPE: DType = DType::U8;
}

/// Dimensions, without an allocation for those that layers have.
type Shape = SmallVec<[usize; 6]>;

/// A dense, row-major array on the device. Clones share the buffer; the last one to go gives it
/// back to the pool.
///
/// ```
/// use wgvq::gpu::{DType, Gpu, Tensor};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let x = Tensor::from_slice(&gpu, &[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!((x.shape(), x.dtype(), x.len()), (&[2, 3][..], DType::F32, 6));
/// let y = x.reshape(&[3, 2])?; // the same memory
/// assert_eq!(y.read::<f32>()?, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]); // waits for the device
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tensor {
    gpu: Gpu,
    pub(crate) storage: SharedStorage,
    /// Bytes from the buffer's start; a multiple of 256.
    pub(crate) offset: u64,
    shape: Shape,
    dtype: DType,
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Tensor({:?}, {:?})", self.dtype, self.shape)
    }
}

fn bytes_of(shape: &[usize], dtype: DType) -> Result<u64> {
    let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64));
    elements
        .and_then(|n| n.checked_mul(dtype.size() as u64))
        .filter(|n| *n < 1 << 48)
        .ok_or_else(|| {
            Error::invalid(
                "tensor",
                format!("a shape of {shape:?} is beyond any memory"),
            )
        })
}

impl Tensor {
    /// Creates a tensor whose content is undefined until a kernel writes it.
    pub fn empty(gpu: &Gpu, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let storage = gpu.storage(bytes_of(shape, dtype)?.max(4))?;
        let tensor = Tensor {
            gpu: gpu.clone(),
            offset: storage.start,
            storage,
            shape: shape.into(),
            dtype,
        };
        if gpu.poisons() {
            crate::gpu::fill_bits(&tensor.whole_buffer(), POISON)?;
        }
        Ok(tensor)
    }

    /// Creates a tensor of zeros.
    pub fn zeros(gpu: &Gpu, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let tensor = Tensor::empty(gpu, shape, dtype)?;
        crate::gpu::fill_bits(&tensor, 0)?;
        Ok(tensor)
    }

    /// Creates a tensor that holds `data`, row-major.
    ///
    /// # Errors
    /// If the shape's product is not `data.len()`.
    pub fn from_slice<T: Element>(gpu: &Gpu, shape: &[usize], data: &[T]) -> Result<Tensor> {
        if product(shape) != Some(data.len()) {
            return Err(Error::shape(
                "tensor",
                format!("{shape:?}"),
                format!("{} values", data.len()),
            ));
        }
        let storage = gpu.storage_for_upload(bytes_of(shape, T::DTYPE)?.max(4))?;
        let tensor = Tensor {
            gpu: gpu.clone(),
            offset: storage.start,
            storage,
            shape: shape.into(),
            dtype: T::DTYPE,
        };
        // What is recorded for later would poison what the queue writes now.
        if gpu.poisons() && !gpu.is_deferred_here() {
            crate::gpu::fill_bits(&tensor.whole_buffer(), POISON)?;
        }
        gpu.upload(&tensor, bytemuck::cast_slice(data))?;
        Ok(tensor)
    }

    /// Wraps a host's buffer as a tensor, from `offset` bytes on: no copy. The buffer is the host's
    /// before and after; while work that was recorded over it has not run, what the host writes
    /// there is what that work sees.
    ///
    /// # Errors
    /// If the buffer lacks the usage `STORAGE`, the offset is no multiple of the device's
    /// `min_storage_buffer_offset_alignment` (256 bytes on a default device), or the buffer ends
    /// before the tensor does; a tensor of 2- or 1-byte elements covers whole words.
    pub fn from_buffer(
        gpu: &Gpu,
        buffer: &wgpu::Buffer,
        offset: u64,
        shape: &[usize],
        dtype: DType,
    ) -> Result<Tensor> {
        const OP: &str = "tensor over a host's buffer";
        if !buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            let what = format!(
                "the buffer has the usages {:?}; create it with STORAGE too",
                buffer.usage()
            );
            return Err(Error::invalid(OP, what));
        }
        let align = u64::from(gpu.limits().min_storage_buffer_offset_alignment);
        if !offset.is_multiple_of(align) {
            return Err(Error::invalid(
                OP,
                format!("an offset of {offset} bytes; the device binds at multiples of {align}"),
            ));
        }
        let bytes = bytes_of(shape, dtype)?.next_multiple_of(4).max(4);
        if offset
            .checked_add(bytes)
            .is_none_or(|end| end > buffer.size())
        {
            let what = format!(
                "{shape:?} of {} take {bytes} bytes from {offset} on, the buffer has {}",
                dtype.name(),
                buffer.size()
            );
            return Err(Error::invalid(OP, what));
        }
        Ok(Tensor {
            gpu: gpu.clone(),
            storage: gpu.storage_of(buffer),
            offset,
            shape: shape.into(),
            dtype,
        })
    }

    /// Records a copy of the elements to `offset` bytes into a host's buffer, in whole words: of
    /// 2- and 1-byte elements up to 3 bytes more are written.
    ///
    /// # Errors
    /// If the buffer lacks the usage `COPY_DST`, the offset is no multiple of 4, it ends too early,
    /// or it is the tensor's own; if the tensor lies in a host's buffer without `COPY_SRC`.
    pub fn copy_to_buffer(&self, buffer: &wgpu::Buffer, offset: u64) -> Result<()> {
        const OP: &str = "copy to a host's buffer";
        let bytes = self.binding_size();
        let ends = offset
            .checked_add(bytes)
            .is_none_or(|end| end > buffer.size());
        if !buffer.usage().contains(wgpu::BufferUsages::COPY_DST)
            || !offset.is_multiple_of(4)
            || ends
        {
            let what = format!(
                "{bytes} bytes to {offset} of a buffer of {} bytes and the usages {:?}; it takes \
                 COPY_DST, a multiple of 4, and room",
                buffer.size(),
                buffer.usage()
            );
            return Err(Error::invalid(OP, what));
        }
        if self.storage.buffer() == buffer {
            return Err(Error::invalid(OP, SHARED));
        }
        if !self.is_empty() {
            self.check_usage(OP, wgpu::BufferUsages::COPY_SRC)?;
            let from = (self.storage.buffer(), self.offset);
            self.gpu
                .copy_buffers(&[&self.storage], from, (buffer, offset), bytes);
        }
        Ok(())
    }

    /// Overwrites the content, in order with the work recorded so far.
    pub fn write<T: Element>(&self, data: &[T]) -> Result<()> {
        if T::DTYPE != self.dtype || self.len() != data.len() {
            return Err(Error::shape(
                "tensor write",
                format!("{self:?}"),
                format!("{} x {:?}", data.len(), T::DTYPE),
            ));
        }
        if !self.is_empty() {
            self.check_usage("tensor write", wgpu::BufferUsages::COPY_DST)?;
        }
        self.gpu.upload(self, bytemuck::cast_slice(data))
    }

    /// Returns the same memory under another shape with as many elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        if product(shape) != Some(self.len()) {
            return Err(Error::shape(
                "reshape",
                format!("{} elements", self.len()),
                format!("{shape:?}"),
            ));
        }
        Ok(Tensor {
            shape: shape.into(),
            ..self.clone()
        })
    }

    /// Returns a view of `shape` that starts `elements` elements into this tensor's buffer.
    ///
    /// # Errors
    /// If it would leave this tensor, or start off the 256-byte alignment that bindings need.
    pub fn view(&self, elements: usize, shape: &[usize]) -> Result<Tensor> {
        let end = product(shape).and_then(|len| elements.checked_add(len));
        let inside = end.is_some_and(|end| end <= self.len());
        // Within the tensor, whose bytes were counted when it was made.
        let bytes = if inside {
            (elements * self.dtype.size()) as u64
        } else {
            0
        };
        if !inside || !bytes.is_multiple_of(256) {
            return Err(Error::shape(
                "view",
                format!("an aligned part of {self:?}"),
                format!("{shape:?} at {elements}"),
            ));
        }
        Ok(Tensor {
            offset: self.offset + bytes,
            shape: shape.into(),
            ..self.clone()
        })
    }

    /// Returns a copy in a buffer of its own.
    pub fn duplicate(&self) -> Result<Tensor> {
        let copy = Tensor::empty(&self.gpu, &self.shape, self.dtype)?;
        copy.copy_from(self)?;
        Ok(copy)
    }

    /// Returns tensors of four-byte elements, alike but for their first dimension, one behind the
    /// other; one alone is shared.
    pub(crate) fn joined(parts: &[Tensor]) -> Result<Tensor> {
        let [first, rest @ ..] = parts else {
            return Err(Error::invalid("joined", "there are no tensors"));
        };
        if rest.is_empty() {
            return Ok(first.clone());
        }
        let inner = first.shape.get(1..).unwrap_or_default();
        let alike = |t: &Tensor| t.shape.get(1..) == Some(inner) && t.dtype == first.dtype;
        if let Some(other) = parts.iter().find(|t| !alike(t)) {
            return Err(Error::shape(
                "joined",
                format!("rows like those of {first:?}"),
                format!("{other:?}"),
            ));
        }
        let rows = parts.iter().map(|t| t.shape[0]).sum();
        let shape: Vec<usize> = std::iter::once(rows).chain(inner.iter().copied()).collect();
        let all = Tensor::empty(&first.gpu, &shape, first.dtype)?;
        let mut at = 0;
        for part in parts {
            all.copy_into(at, part)?;
            at += part.len();
        }
        Ok(all)
    }

    /// Copies the elements of `from`, a tensor of equal size and type.
    pub fn copy_from(&self, from: &Tensor) -> Result<()> {
        if from.len() != self.len() || from.dtype != self.dtype {
            return Err(Error::shape(
                "copy",
                format!("{self:?}"),
                format!("{from:?}"),
            ));
        }
        self.copy_bytes("copy", from, self.binding_size())
    }

    /// Records a copy of so many bytes of another tensor, unless this one is empty.
    fn copy_bytes(&self, op: &'static str, from: &Tensor, bytes: u64) -> Result<()> {
        from.check_engine(op, &self.gpu)?;
        if from.shares_buffer(self) {
            return Err(Error::invalid(op, SHARED));
        }
        if !from.is_empty() {
            from.check_usage(op, wgpu::BufferUsages::COPY_SRC)?;
            self.check_usage(op, wgpu::BufferUsages::COPY_DST)?;
            self.gpu.copy(from, self, bytes);
        }
        Ok(())
    }

    /// Copies the elements of `from` to element `at` and on; both are of 4-byte elements.
    ///
    /// # Errors
    /// If they would not fit, or share a buffer.
    pub fn copy_into(&self, at: usize, from: &Tensor) -> Result<()> {
        let inside = at
            .checked_add(from.len())
            .is_some_and(|end| end <= self.len());
        if !inside || from.dtype != self.dtype || self.dtype.size() != 4 {
            return Err(Error::shape(
                "copy_into",
                format!("at most what {self:?} holds past {at}"),
                format!("{from:?}"),
            ));
        }
        let target = Tensor {
            offset: self.offset + 4 * at as u64,
            ..self.clone()
        };
        target.copy_bytes("copy_into", from, from.binding_size())
    }

    /// Copies `len` elements of `from`, from its element `start` on, to element `at` and on; both
    /// are of 4-byte elements.
    ///
    /// # Errors
    /// If they would not fit, or share a buffer.
    pub fn copy_part(&self, at: usize, from: &Tensor, start: usize, len: usize) -> Result<()> {
        if from.dtype.size() != 4 || start.checked_add(len).is_none_or(|end| end > from.len()) {
            return Err(Error::shape(
                "copy_part",
                format!("{len} elements from {start} on"),
                format!("{from:?}"),
            ));
        }
        let part = Tensor {
            offset: from.offset + 4 * start as u64,
            shape: (&[len][..]).into(),
            ..from.clone()
        };
        self.copy_into(at, &part)
    }

    /// Returns the same memory as 4-byte words, the padding of the last one included.
    pub(crate) fn words(&self) -> Tensor {
        Tensor {
            shape: smallvec![(self.binding_size() / 4) as usize],
            dtype: DType::U32,
            ..self.clone()
        }
    }

    pub(crate) fn whole_buffer(&self) -> Tensor {
        let words = (self.storage.buffer().size() / 4) as usize;
        Tensor {
            offset: 0,
            shape: smallvec![words],
            dtype: DType::U32,
            ..self.clone()
        }
    }

    /// Whether this is the only tensor over its buffer, so that a kernel may overwrite it.
    pub(crate) fn is_sole(&self) -> bool {
        Arc::strong_count(&self.storage) == 1
    }

    /// Returns the engine that made it.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }
    /// Returns the wgpu buffer, and the byte range in it that this tensor spans.
    pub fn buffer(&self) -> (&wgpu::Buffer, std::ops::Range<u64>) {
        (
            self.storage.buffer(),
            self.offset..self.offset + self.binding_size(),
        )
    }
    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes that a binding of it covers: whole words, at least one.
    pub(crate) fn binding_size(&self) -> u64 {
        ((self.len() * self.dtype.size()) as u64)
            .next_multiple_of(4)
            .max(4)
    }
    /// Bytes that a kernel gets to see: as many, or up to the end of the guard band behind, see
    /// [`Gpu::check_guard_bands`]; of an empty tensor as many as one element of the widest type
    /// takes that a kernel may declare, without which wgpu refuses the whole batch.
    pub(in crate::gpu) fn bound_size(&self) -> u64 {
        let options = &self.gpu.inner.options;
        if self.storage.start == 0 || options.shader_checks {
            let room = self.storage.buffer().size() - self.offset;
            let least = if self.is_empty() { WIDEST.min(room) } else { 0 };
            return self.binding_size().max(least);
        }
        let limit = self.gpu.inner.limits.max_storage_buffer_binding_size & !3;
        (self.storage.buffer().size() - self.offset).min(limit)
    }
    /// Returns the shape as exactly `N` dimensions, or an error of `op`.
    pub fn dims<const N: usize>(&self, op: &'static str) -> Result<[usize; N]> {
        self.shape
            .as_slice()
            .try_into()
            .map_err(|_| Error::shape(op, format!("{N} dimensions"), format!("{self:?}")))
    }
}

/// Bytes of a `vec4<f32>`.
const WIDEST: u64 = 16;

const SHARED: &str = "source and target share a buffer";

/// Returns the number of elements of a shape, where it can be counted.
fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

/// The bits that fill unwritten memory in tests: a quiet NaN as f32, out of range as an index.
pub const POISON: u32 = 0x7fc0_dead;
