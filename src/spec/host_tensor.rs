//! Arrays of the host, as the references take and return them, and the random numbers that fill
//! them.

use crate::Result;
use crate::gpu::{DType, Gpu, Tensor};

/// The number types that references are generic over.
pub trait Real:
    num_traits::Float + num_traits::FromPrimitive + std::iter::Sum + std::ops::AddAssign + 'static
{
    /// Creates a constant.
    fn of(x: f64) -> Self {
        Self::from_f64(x).unwrap_or_else(Self::nan)
    }
}
impl Real for f32 {}
impl Real for f64 {}

/// The elements of a [`HostTensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// f32, as on the device.
    F32(Vec<f32>),
    /// f64, as the references compute.
    F64(Vec<f64>),
    /// Indices, counts, bits.
    U32(Vec<u32>),
    /// Images.
    U8(Vec<u8>),
}

/// A dense, row-major array of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Data,
}

impl HostTensor {
    /// Returns an array of f64.
    pub fn f64(shape: &[usize], data: Vec<f64>) -> HostTensor {
        HostTensor {
            shape: shape.to_vec(),
            data: Data::F64(data),
        }
    }
    /// Returns an array of f32.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> HostTensor {
        HostTensor {
            shape: shape.to_vec(),
            data: Data::F32(data),
        }
    }
    /// Returns an array of u32.
    pub fn u32(shape: &[usize], data: Vec<u32>) -> HostTensor {
        HostTensor {
            shape: shape.to_vec(),
            data: Data::U32(data),
        }
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Returns the elements of an array of f64; an empty slice for another type.
    pub fn as_f64(&self) -> &[f64] {
        match &self.data {
            Data::F64(v) => v,
            _ => &[],
        }
    }
    /// Returns the elements of an array of u32; an empty slice for another type.
    pub fn as_u32(&self) -> &[u32] {
        match &self.data {
            Data::U32(v) => v,
            _ => &[],
        }
    }
    /// Returns the elements of an array of u8; an empty slice for another type.
    pub fn as_u8(&self) -> &[u8] {
        match &self.data {
            Data::U8(v) => v,
            _ => &[],
        }
    }
    /// Returns the tensor with f32 widened to f64, as the references take it.
    pub fn widened(&self) -> HostTensor {
        match &self.data {
            Data::F32(v) => HostTensor::f64(&self.shape, v.iter().map(|x| *x as f64).collect()),
            _ => self.clone(),
        }
    }
    /// Copies it to the device. f64 is narrowed to f32.
    pub fn upload(&self, gpu: &Gpu) -> Result<Tensor> {
        match &self.data {
            Data::F32(v) => Tensor::from_slice(gpu, &self.shape, v),
            Data::F64(v) => Tensor::from_slice(
                gpu,
                &self.shape,
                &v.iter().map(|x| *x as f32).collect::<Vec<f32>>(),
            ),
            Data::U32(v) => Tensor::from_slice(gpu, &self.shape, v),
            Data::U8(v) => Tensor::from_slice(gpu, &self.shape, v),
        }
    }
    /// Reads a tensor's content.
    pub fn download(tensor: &Tensor) -> Result<HostTensor> {
        let data = match tensor.dtype() {
            DType::F32 => Data::F32(tensor.read()?),
            DType::U32 => Data::U32(tensor.read()?),
            DType::U8 => Data::U8(tensor.read()?),
            DType::F16 => Data::F32(
                tensor
                    .read::<half::f16>()?
                    .into_iter()
                    .map(f32::from)
                    .collect(),
            ),
            DType::Bf16 => Data::F32(
                tensor
                    .read::<half::bf16>()?
                    .into_iter()
                    .map(f32::from)
                    .collect(),
            ),
        };
        Ok(HostTensor {
            shape: tensor.shape().to_vec(),
            data,
        })
    }
}
