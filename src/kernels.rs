//! Kernels alone, over a host's buffers: no model, no tape.
//!
//! Every function takes [`Operand`]s: an [`Array`] (a `wgpu::Buffer`, an offset in bytes and a
//! shape) or a [`Tensor`] that another one returned. Arrays are dense and row-major, floats are f32
//! and indices u32; a buffer needs the usage `STORAGE`, and its offset must be a multiple of the
//! device's `min_storage_buffer_offset_alignment`, 256 bytes by default. Nothing is copied. A
//! result is a tensor from the engine's pool: [`Tensor::buffer`] names its buffer for the host's
//! own passes, [`Tensor::copy_to_buffer`] puts it where the host wants it, [`Tensor::read_async`]
//! brings it to the processor.
//!
//! Calls record. [`Gpu::flush`] submits what they recorded; within [`Gpu::record_into`] they go to
//! the host's encoder instead:
//!
//! ```
//! # use wgvq::gpu::{Gpu, Options};
//! # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
//! use wgvq::kernels::{Array, nearest_codebook};
//!
//! # fn main() -> wgvq::Result<()> {
//! # let gpu = Gpu::new(Options::default())?;
//! # let (device, queue) = (gpu.device().clone(), gpu.queue().clone());
//! # let buffer = |data: &[f32]| {
//! #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
//! #     device.create_buffer_init(&BufferInitDescriptor { label: None, contents, usage })
//! # };
//! let latents = buffer(&[0.9, 0.2, -0.1, 0.1]);
//! let codebook = buffer(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
//! let (latents, codebook) = (Array::new(&latents, 0, &[2, 2]), Array::new(&codebook, 0, &[3, 2]));
//! let mut encoder = device.create_command_encoder(&Default::default());
//! let indices = gpu.record_into(&mut encoder, || {
//!     nearest_codebook(&gpu, latents, codebook)?.read_async()
//! })?;
//! queue.submit([encoder.finish()]);
//! assert_eq!(indices.wait::<u32>()?, [1, 0]);
//! # Ok(())
//! # }
//! ```
//!
//! Errors are values: shapes that do not fit name both, and a buffer that cannot be bound says why.
//! Each function's own are listed with it, beside those that all share: an array outside its
//! buffer, or a device that fails. [`ops`] has more operations, over tensors.

use crate::gpu::{DType, Gpu, Tensor};
pub use crate::ops::attention::attention::Attention;
pub use crate::ops::conv::Conv;
pub use crate::ops::linalg::matmul::Transpose;
use crate::{Result, ops};

/// A dense array in a host's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a> {
    buffer: &'a wgpu::Buffer,
    offset: u64,
    shape: &'a [usize],
}

impl<'a> Array<'a> {
    /// Creates an array of `shape`, row-major, that begins `offset` bytes into `buffer`.
    pub fn new(buffer: &'a wgpu::Buffer, offset: u64, shape: &'a [usize]) -> Self {
        Array {
            buffer,
            offset,
            shape,
        }
    }
}

/// An input of a kernel: an [`Array`], or a [`Tensor`] of the same engine.
pub trait Operand {
    /// Returns it as a tensor, whose elements are of type `dtype` where the host's buffer does not
    /// say.
    ///
    /// # Errors
    /// If it lies outside its buffer, or cannot be bound.
    fn tensor(self, gpu: &Gpu, dtype: DType) -> Result<Tensor>;
}

impl Operand for Array<'_> {
    fn tensor(self, gpu: &Gpu, dtype: DType) -> Result<Tensor> {
        Tensor::from_buffer(gpu, self.buffer, self.offset, self.shape, dtype)
    }
}

impl Operand for &Tensor {
    fn tensor(self, _: &Gpu, _: DType) -> Result<Tensor> {
        Ok(self.clone())
    }
}

fn f32s(gpu: &Gpu, x: impl Operand) -> Result<Tensor> {
    x.tensor(gpu, DType::F32)
}

/// Finds the nearest code of each latent, by Euclidean distance: latents [N, D] and codebook [K, D]
/// to indices u32 `[N]`.
///
/// Ties go to the lowest index; a latent with a NaN gets index 0. The matrix of distances is never
/// made: memory beyond the result is 4 K bytes. Source: van den Oord et al. 2017, equation 1.
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, nearest_codebook};
///
/// let latents = buffer(&[0.9, 0.2, -0.1, 0.1]);
/// let codebook = buffer(&[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
/// let (latents, codebook) = (Array::new(&latents, 0, &[2, 2]), Array::new(&codebook, 0, &[3, 2]));
/// let indices = nearest_codebook(&gpu, latents, codebook)?;
/// assert_eq!(indices.read::<u32>()?, [1, 0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If N x D and K x D do not share D, or the codebook is empty.
pub fn nearest_codebook(
    gpu: &Gpu,
    latents: impl Operand,
    codebook: impl Operand,
) -> Result<Tensor> {
    ops::quantize::vq_search::nearest(&f32s(gpu, latents)?, &f32s(gpu, codebook)?)
}

/// Looks up the codes of indices: codebook [K, D] and indices u32 `[N]` to [N, D]. An index past K
/// reads the last code.
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, lookup, nearest_codebook};
///
/// let (latents, codebook) = (buffer(&[0.9, 0.2]), buffer(&[0.0, 0.0, 1.0, 0.0]));
/// let codebook = Array::new(&codebook, 0, &[2, 2]);
/// let indices = nearest_codebook(&gpu, Array::new(&latents, 0, &[1, 2]), codebook)?;
/// assert_eq!(lookup(&gpu, codebook, &indices)?.read::<f32>()?, [1.0, 0.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the codebook is empty, or the indices are no vector.
pub fn lookup(gpu: &Gpu, codebook: impl Operand, indices: impl Operand) -> Result<Tensor> {
    ops::quantize::gather::gather(&f32s(gpu, codebook)?, &indices.tensor(gpu, DType::U32)?)
}

/// Counts how often each of `codes` codes is used, and sums its latents: what a codebook that is a
/// moving average learns from (van den Oord et al. 2017, appendix A.1). Latents [N, D] and indices
/// u32 `[N]` to counts u32 `[K]` and sums [K, D], which are added in the order of the latents. An
/// index past K counts as the last.
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, code_sums, nearest_codebook};
///
/// let latents = buffer(&[0.9, 0.2, 1.0, 0.0, 0.0, 0.1]);
/// let codebook = buffer(&[0.0, 0.0, 1.0, 0.0]);
/// let latents = Array::new(&latents, 0, &[3, 2]);
/// let indices = nearest_codebook(&gpu, latents, Array::new(&codebook, 0, &[2, 2]))?;
/// let (counts, sums) = code_sums(&gpu, latents, &indices, 2)?;
/// assert_eq!(counts.read::<u32>()?, [1, 2]);
/// assert_eq!(sums.read::<f32>()?, [0.0, 0.1, 1.9, 0.2]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If there is not one index to a latent, or no code.
pub fn code_sums(
    gpu: &Gpu,
    latents: impl Operand,
    indices: impl Operand,
    codes: usize,
) -> Result<(Tensor, Tensor)> {
    let assignment = ops::quantize::assignment::assign(&indices.tensor(gpu, DType::U32)?, codes)?;
    let sums = assignment.sums(&f32s(gpu, latents)?)?;
    Ok((assignment.counts, sums))
}

/// Quantizes by finite scalar quantization (Mentzer et al. 2023): latents [N, D], and for
/// each of the D channels how many `levels` it is rounded to, to codes [N, D] in [-1, 1] and
/// indices u32 `[N]`, below the product of the levels.
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, fsq};
///
/// let latents = buffer(&[9.0, -9.0, 0.0, 0.1]);
/// let (codes, indices) = fsq(&gpu, Array::new(&latents, 0, &[2, 2]), &[5, 3])?;
/// assert_eq!(codes.read::<f32>()?, [1.0, -1.0, 0.0, 0.0]);
/// assert!(indices.read::<u32>()?.iter().all(|i| *i < 15));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If there is not a level for each channel, one is below 2, or the codes are more than 2^24.
pub fn fsq(gpu: &Gpu, latents: impl Operand, levels: &[usize]) -> Result<(Tensor, Tensor)> {
    ops::quantize::fsq::Levels::new(gpu, levels)?.quantize(&f32s(gpu, latents)?)
}

/// Computes the matrix product `a b`, of [M, K] and [K, N] to [M, N], or of as many pairs: [B, M,
/// K] and [B, K, N] to [B, M, N]. `t` says which is stored transposed. Sums are f32, in an order
/// that depends on the shapes alone.
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, Transpose, matmul};
///
/// let (a, b) = (buffer(&[1.0, 2.0, 3.0, 4.0]), buffer(&[1.0, 1.0, 0.0, 1.0]));
/// let (a, b) = (Array::new(&a, 0, &[2, 2]), Array::new(&b, 0, &[2, 2]));
/// assert_eq!(matmul(&gpu, a, b, Transpose::NONE)?.read::<f32>()?, [1.0, 3.0, 3.0, 7.0]);
/// assert_eq!(matmul(&gpu, a, b, Transpose::B)?.read::<f32>()?, [3.0, 2.0, 7.0, 4.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit.
pub fn matmul(gpu: &Gpu, a: impl Operand, b: impl Operand, t: Transpose) -> Result<Tensor> {
    ops::linalg::matmul::matmul(&f32s(gpu, a)?, &f32s(gpu, b)?, t, None)
}

/// Computes the convolution of images x [N, H, W, I] (NHWC) with weights [O, KH, KW, I], to [N, OH,
/// OW, O], OH = (H + 2 pad + after - KH) / stride + 1 and OW likewise. PyTorch's weights are [O, I,
/// KH, KW].
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, Conv, conv2d};
///
/// let x = buffer(&[1.0, 2.0, 3.0, 4.0]);
/// let w = buffer(&[0.0, 0.0, 0.0, 0.0, 10.0, 1.0, 0.0, 0.0, 0.0]);
/// let (x, w) = (Array::new(&x, 0, &[1, 2, 2, 1]), Array::new(&w, 0, &[1, 3, 3, 1]));
/// let same = Conv { stride: 1, pad: 1, after: 0, relu: false };
/// assert_eq!(conv2d(&gpu, x, w, same)?.read::<f32>()?, [12.0, 20.0, 34.0, 40.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the channels differ, the kernel is larger than the padded image, or the stride is 0.
pub fn conv2d(gpu: &Gpu, x: impl Operand, weights: impl Operand, conv: Conv) -> Result<Tensor> {
    ops::conv::conv2d::conv2d(&f32s(gpu, x)?, &f32s(gpu, weights)?, None, None, conv)
}

/// Computes scaled dot-product attention (Vaswani et al. 2017): queries [B, H, Tq, D], keys and
/// values [B, H, Tk, D], to [B, H, Tq, D]. Up to 256 channels a head, the matrix of scores is never
/// made. With `causal`, the last query sees all keys, and each before it one less.
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, Attention, attention};
///
/// let (q, v) = (buffer(&[9.0, 0.0, 0.0, 9.0]), buffer(&[1.0, 0.0, 0.0, 1.0]));
/// let (q, v) = (Array::new(&q, 0, &[1, 1, 2, 2]), Array::new(&v, 0, &[1, 1, 2, 2]));
/// let y = attention(&gpu, q, q, v, Attention::CAUSAL)?.read::<f32>()?;
/// assert_eq!(y[..2], [1.0, 0.0]); // the first query sees the first key alone
/// assert!(y[3] > 0.999);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit, or there is no key or no channel.
pub fn attention(
    gpu: &Gpu,
    queries: impl Operand,
    keys: impl Operand,
    values: impl Operand,
    options: Attention,
) -> Result<Tensor> {
    Ok(ops::attention::attention::attention(
        &f32s(gpu, queries)?,
        &f32s(gpu, keys)?,
        &f32s(gpu, values)?,
        options,
    )?
    .0)
}

/// Computes the softmax of each row of x [N, C] times `scale`, an inverse temperature: [N, C].
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, softmax};
///
/// let x = buffer(&[0.0, 0.0, 1.0, 1.0, f32::NEG_INFINITY, 1.0]);
/// let y = softmax(&gpu, Array::new(&x, 0, &[3, 2]), 1.0)?;
/// assert_eq!(y.read::<f32>()?, [0.5, 0.5, 0.5, 0.5, 0.0, 1.0]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If x is no matrix with a column, or the scale is not finite.
pub fn softmax(gpu: &Gpu, x: impl Operand, scale: f32) -> Result<Tensor> {
    let x = f32s(gpu, x)?;
    let [n, c] = x.dims("softmax")?;
    let options = ops::attention::softmax::Softmax {
        scale,
        causal: false,
    };
    ops::attention::softmax::softmax(&x.reshape(&[1, n, c])?, options)?
        .0
        .reshape(&[n, c])
}

/// Computes `weight (x - mean) / sqrt(variance + eps) + bias`, mean and variance over the last
/// dimension (Ba et al. 2016): x [.., C], weight and bias `[C]`, to the shape of x.
///
/// ```
/// # use wgvq::gpu::{Gpu, Options};
/// # use wgvq::wgpu::{BufferUsages, util::{BufferInitDescriptor, DeviceExt}};
/// # fn main() -> wgvq::Result<()> {
/// # let gpu = Gpu::new(Options::default())?;
/// # let buffer = |data: &[f32]| {
/// #     let (contents, usage) = (bytemuck::cast_slice(data), BufferUsages::STORAGE);
/// #     let buffer = BufferInitDescriptor { label: None, contents, usage };
/// #     gpu.device().create_buffer_init(&buffer)
/// # };
/// use wgvq::kernels::{Array, layer_norm};
///
/// let (x, ones, zeros) = (buffer(&[1.0, 3.0]), buffer(&[1.0, 1.0]), buffer(&[0.0, 0.5]));
/// let (one, zero) = (Array::new(&ones, 0, &[2]), Array::new(&zeros, 0, &[2]));
/// let y = layer_norm(&gpu, Array::new(&x, 0, &[1, 2]), one, zero, 1e-6)?.read::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 1e-5 && (y[1] - 1.5).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the shapes do not fit, or `eps` is not above 0.
pub fn layer_norm(
    gpu: &Gpu,
    x: impl Operand,
    weight: impl Operand,
    bias: impl Operand,
    eps: f32,
) -> Result<Tensor> {
    ops::norm::layer_norm::layer_norm(&f32s(gpu, x)?, &f32s(gpu, weight)?, &f32s(gpu, bias)?, eps)
}
