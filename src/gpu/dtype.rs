//! The types of a tensor's numbers.

use crate::gpu::kernel::reflect::Elements;

/// The element types that kernels store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit float of 11 bits (IEEE 754 binary16). What is stored so is still added up in f32.
    F16,
    /// 16-bit float of 8 bits, with f32's range (bfloat16). No kernel reads it but
    /// [`cast`](crate::ops::elementwise::cast).
    Bf16,
    /// 32-bit unsigned integer: indices, counts.
    U32,
    /// Bytes, four to a word: images.
    U8,
}

impl DType {
    /// Whether a kernel that declares such elements can read this type.
    pub(crate) fn fits(self, elements: Elements) -> bool {
        match elements {
            Elements::F16 => self == DType::F16,
            Elements::Halves => self.is_half(),
            Elements::Words => !self.is_half(),
        }
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 | DType::Bf16 => 2,
            DType::U8 => 1,
        }
    }

    /// Its name in configurations and output: `f32`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::U32 => "u32",
            DType::U8 => "u8",
        }
    }

    /// Whether it is a 16-bit float.
    pub(crate) fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::Bf16)
    }
}
