//! Arrays of the host, as the twins take and return them, and the random numbers that fill them.

use crate::Result;
use crate::gpu::{DType, Gpu, Tensor};

/// The number types that twins are generic over.
pub trait Real: num_traits::Float + num_traits::FromPrimitive + std::iter::Sum + std::ops::AddAssign + 'static {
    /// A constant.
    fn of(x: f64) -> Self {
        Self::from_f64(x).unwrap_or_else(Self::nan)
    }
}
impl Real for f32 {}
impl Real for f64 {}

/// The elements of a [`Host`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// As on the device.
    F32(Vec<f32>),
    /// As the twins compute.
    F64(Vec<f64>),
    /// Indices, counts, bits.
    U32(Vec<u32>),
    /// Images.
    U8(Vec<u8>),
}

/// A dense, row-major array of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Data,
}

impl Host {
    /// An array of f64.
    pub fn f64(shape: &[usize], data: Vec<f64>) -> Host {
        Host { shape: shape.to_vec(), data: Data::F64(data) }
    }
    /// An array of f32.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Host {
        Host { shape: shape.to_vec(), data: Data::F32(data) }
    }
    /// An array of u32.
    pub fn u32(shape: &[usize], data: Vec<u32>) -> Host {
        Host { shape: shape.to_vec(), data: Data::U32(data) }
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Is there no element?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The elements of an array of f64; an empty slice for another type.
    pub fn as_f64(&self) -> &[f64] {
        match &self.data {
            Data::F64(v) => v,
            _ => &[],
        }
    }
    /// The elements of an array of u32; an empty slice for another type.
    pub fn as_u32(&self) -> &[u32] {
        match &self.data {
            Data::U32(v) => v,
            _ => &[],
        }
    }
    /// The elements of an array of u8; an empty slice for another type.
    pub fn as_u8(&self) -> &[u8] {
        match &self.data {
            Data::U8(v) => v,
            _ => &[],
        }
    }
    /// The same with f32 widened to f64, as the twins take it.
    pub fn widened(&self) -> Host {
        match &self.data {
            Data::F32(v) => Host::f64(&self.shape, v.iter().map(|x| *x as f64).collect()),
            _ => self.clone(),
        }
    }
    /// The same on the device. f64 is narrowed to f32.
    pub fn upload(&self, gpu: &Gpu) -> Result<Tensor> {
        match &self.data {
            Data::F32(v) => Tensor::from_slice(gpu, &self.shape, v),
            Data::F64(v) => Tensor::from_slice(gpu, &self.shape, &v.iter().map(|x| *x as f32).collect::<Vec<f32>>()),
            Data::U32(v) => Tensor::from_slice(gpu, &self.shape, v),
            Data::U8(v) => Tensor::from_slice(gpu, &self.shape, v),
        }
    }
    /// What a tensor holds.
    pub fn download(tensor: &Tensor) -> Result<Host> {
        let data = match tensor.dtype() {
            DType::F32 => Data::F32(tensor.read()?),
            DType::U32 => Data::U32(tensor.read()?),
            DType::U8 => Data::U8(tensor.read()?),
            DType::F16 => Data::F32(tensor.read::<half::f16>()?.into_iter().map(f32::from).collect()),
            DType::Bf16 => Data::F32(tensor.read::<half::bf16>()?.into_iter().map(f32::from).collect()),
        };
        Ok(Host { shape: tensor.shape().to_vec(), data })
    }
}

/// A small generator (SplitMix64) for test data: the same seed gives the same inputs on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator of its own sequence.
    pub fn new(seed: u64) -> Self {
        Rng(seed ^ 0x9e37_79b9_7f4a_7c15)
    }
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }
    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
    /// An array of standard normals.
    pub fn normals(&mut self, shape: &[usize]) -> Host {
        Host::f32(shape, (0..shape.iter().product()).map(|_| self.normal() as f32).collect())
    }
    /// An array of indices below `n`.
    pub fn indices(&mut self, shape: &[usize], n: usize) -> Host {
        Host::u32(shape, (0..shape.iter().product()).map(|_| self.below(n) as u32).collect())
    }
}
