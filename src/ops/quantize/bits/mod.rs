//! Lookup-free quantization: the signs of the channels are the code (Yu et al. 2023, "Language
//! model beats diffusion: tokenizer is key to visual generation", section 3.1), and the entropies
//! that keep its codes in use.

pub(crate) mod reference;
mod spec;

pub use spec::{BitEntropy, BitTable, Bits};

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor, Work, groups_for};
use crate::ops::linalg::reduce;
use crate::{Error, Result, shader};

/// Channels at most: indices are u32, and counts by code are kept.
pub const MOST: usize = 24;
/// Bits of one table of probabilities at most.
const TABLE_BITS: usize = 12;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct EntropyParams {
    n: u32,
    d: u32,
    a: f32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct TableParams {
    n: u32,
    d: u32,
    first: u32,
    bits: u32,
    a: f32,
}

fn kernel(from_index: bool) -> Kernel {
    Kernel::new(shader!("quantize/bits")).flag("FROM_INDEX", from_index)
}
fn entropy_kernel(grad: bool) -> Kernel {
    Kernel::new(shader!("quantize/bits_entropy")).flag("GRAD", grad)
}
fn table_kernel(grad: bool) -> Kernel {
    Kernel::new(shader!("quantize/bits_table")).flag("GRAD", grad)
}

fn work(n: usize, d: usize) -> Work {
    Work {
        flops: 2.0 * (n * d) as f64,
        bytes: 4.0 * (2 * n * d + n) as f64,
    }
}

fn matrix(op: &'static str, x: &Tensor) -> Result<[usize; 2]> {
    match x.dims(op)? {
        [n, d] if (1..=MOST).contains(&d) && x.dtype() == DType::F32 => Ok([n, d]),
        _ => Err(Error::shape(
            op,
            format!("f32 [N, D] with D of 1 to {MOST}"),
            format!("{x:?}"),
        )),
    }
}

/// Computes the signs of x [N, D], 1 or -1 (0 counts as -1), and as numbers u32 `[N]`, channel 0
/// the highest bit.
///
/// # Errors
/// If D is above 24.
pub fn signs(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let ([n, d], gpu) = (matrix("bits", x)?, x.gpu());
    let codes = Tensor::empty(gpu, x.shape(), DType::F32)?;
    let index = Tensor::empty(gpu, &[n], DType::U32)?;
    gpu.dispatch(
        "bits",
        &kernel(false),
        &[x, &codes, &index],
        &[n as u32, d as u32],
        groups_for(n, 64),
        work(n, d),
    )?;
    Ok((codes, index))
}

/// Computes the signs [N, D] that a number u32 `[N]` stands for.
///
/// # Errors
/// If D is above 24, or the indices are no vector of u32.
pub fn signs_of(index: &Tensor, d: usize) -> Result<Tensor> {
    let ([n], gpu) = (index.dims("bits")?, index.gpu());
    if index.dtype() != DType::U32 || !(1..=MOST).contains(&d) {
        return Err(Error::shape(
            "bits",
            format!("u32 indices, D of 1 to {MOST}"),
            format!("{index:?}, D {d}"),
        ));
    }
    let codes = Tensor::empty(gpu, &[n, d], DType::F32)?;
    gpu.dispatch(
        "bits",
        &kernel(true),
        &[index, &codes],
        &[n as u32, d as u32],
        groups_for(n, 64),
        work(n, d),
    )?;
    Ok(codes)
}

fn bit_entropy(x: &Tensor, a: f32) -> Result<Tensor> {
    let ([n, d], gpu) = (matrix("bit_entropy", x)?, x.gpu());
    let h = Tensor::empty(gpu, &[n], DType::F32)?;
    let params = EntropyParams {
        n: n as u32,
        d: d as u32,
        a,
        scale: 1.0,
    };
    gpu.dispatch(
        "bit_entropy",
        &entropy_kernel(false),
        &[x, &h],
        &params,
        groups_for(n, 64),
        work(n, 5 * d),
    )?;
    reduce::mean(&h)
}

fn bit_entropy_grad(x: &Tensor, g: &Tensor, a: f32) -> Result<Tensor> {
    let ([n, d], gpu) = (matrix("bit_entropy", x)?, x.gpu());
    let dx = Tensor::empty(gpu, x.shape(), DType::F32)?;
    let params = EntropyParams {
        n: n as u32,
        d: d as u32,
        a,
        scale: 1.0 / n as f32,
    };
    gpu.dispatch(
        "bit_entropy",
        &entropy_kernel(true),
        &[x, g, &dx],
        &params,
        groups_for(n * d, 64),
        work(n, 5 * d),
    )?;
    Ok(dx)
}

fn bit_table(x: &Tensor, first: usize, bits: usize, a: f32) -> Result<Tensor> {
    let ([n, d], gpu) = (matrix("bit_table", x)?, x.gpu());
    if bits > TABLE_BITS || first + bits > d {
        return Err(Error::invalid(
            "bit_table",
            format!(
                "channels {first}..{} of {d}, at most {TABLE_BITS}",
                first + bits
            ),
        ));
    }
    let table = Tensor::empty(gpu, &[n, 1 << bits], DType::F32)?;
    let params = TableParams {
        n: n as u32,
        d: d as u32,
        first: first as u32,
        bits: bits as u32,
        a,
    };
    let groups = groups_for(n << bits, 64);
    gpu.dispatch(
        "bit_table",
        &table_kernel(false),
        &[x, &table],
        &params,
        groups,
        work(n << bits, bits),
    )?;
    Ok(table)
}

impl Tape {
    /// Computes the signs of x [N, D] and their numbers, see [`signs`]; the gradient passes
    /// straight through.
    ///
    /// # Errors
    /// As [`signs`].
    pub fn signs(&self, x: &Var) -> Result<(Var, Tensor)> {
        let (codes, index) = signs(x.tensor())?;
        Ok((
            self.record(codes, &[x], |g, _| Ok(vec![Some(g.clone())])),
            index,
        ))
    }

    /// Computes the mean over rows of the entropy, in nats, of D independent bits that are on with
    /// probability sigmoid(a x): `[1]`.
    ///
    /// # Errors
    /// If D is above 24.
    pub fn bit_entropy(&self, x: &Var, a: f32) -> Result<Var> {
        let h = bit_entropy(x.tensor(), a)?;
        let saved = x.tensor().clone();
        Ok(self.record(h, &[x], move |g, _| {
            Ok(vec![Some(bit_entropy_grad(&saved, g, a)?)])
        }))
    }

    /// Computes the probabilities [N, 2^bits] of the channels `first..first + bits` of x [N, D]
    /// together, each on with probability sigmoid(a x).
    ///
    /// # Errors
    /// If there are no such channels, or more than 12.
    pub fn bit_table(&self, x: &Var, first: usize, bits: usize, a: f32) -> Result<Var> {
        let table = bit_table(x.tensor(), first, bits, a)?;
        let (x_saved, t) = (x.tensor().clone(), table.clone());
        Ok(self.record(table, &[x], move |g, _| {
            let [n, d] = x_saved.dims("bit_table")?;
            let dx = Tensor::empty(g.gpu(), &[n, d], DType::F32)?;
            let params = TableParams {
                n: n as u32,
                d: d as u32,
                first: first as u32,
                bits: bits as u32,
                a,
            };
            let groups = groups_for(n * d, 64);
            g.gpu().dispatch(
                "bit_table",
                &table_kernel(true),
                &[&x_saved, &t, g, &dx],
                &params,
                groups,
                work(n << bits, bits),
            )?;
            Ok(vec![Some(dx)])
        }))
    }
}
