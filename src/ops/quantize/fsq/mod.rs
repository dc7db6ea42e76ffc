//! Finite scalar quantization: each channel is bounded and rounded to one of a few levels, and the
//! codebook is their product, never stored (Mentzer et al. 2023, "Finite scalar quantization:
//! VQ-VAE made simple"). What bounds it may be a sigmoid instead of the paper's tanh (Lin et al.
//! 2026, "iFSQ: improving FSQ for image generation with 1 line of code").

pub(crate) mod reference;
mod spec;

pub use spec::FsqSpec;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::{Error, Result, shader};
use serde::{Deserialize, Serialize};

/// Codes at most: indices are u32, and counts by code are kept.
const MOST: usize = 1 << 24;

fn kernel(from_index: bool) -> Kernel {
    Kernel::new(shader!("quantize/fsq")).flag("FROM_INDEX", from_index)
}
fn grad_kernel() -> Kernel {
    Kernel::new(shader!("quantize/fsq_grad"))
}

fn work(n: usize, d: usize) -> Work {
    Work {
        flops: 12.0 * (n * d) as f64,
        bytes: 4.0 * (2 * n * d + n) as f64,
    }
}

/// The function that bounds a channel before it is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `tanh(z)` (Mentzer et al. 2023): of normal latents it uses the outer levels most.
    #[default]
    Tanh,
    /// `2 sigmoid(1.6 z) - 1` (Lin et al. 2026): of normal latents it uses the levels evenly.
    Sigmoid,
}

impl Activation {
    /// Returns the factor s by which the activation is `tanh(s z)`.
    pub(crate) fn steepness(self) -> f64 {
        match self {
            Activation::Tanh => 1.0,
            Activation::Sigmoid => 0.8,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    d: u32,
    steepness: f32,
}

/// Levels per channel, on a device.
#[derive(Clone, Debug)]
pub struct Levels {
    counts: Vec<usize>,
    activation: Activation,
    /// vec4 [D] = (half, offset, shift, L).
    constants: Tensor,
}

/// `(half, offset, shift)` of a channel of `level` levels: see shaders/quantize/fsq.wgsl.
pub(crate) fn bound(level: usize, activation: Activation) -> [f64; 3] {
    let half = (level - 1) as f64 / 2.0;
    let offset = if level.is_multiple_of(2) { 0.5 } else { 0.0 };
    match activation {
        Activation::Tanh => {
            let half = half * (1.0 + 1e-3);
            [half, offset, (offset / half).atanh()]
        }
        // Symmetric about 0, so that even numbers of levels are used evenly, too.
        Activation::Sigmoid => [half, offset, 0.0],
    }
}

impl Levels {
    /// Checks levels and sends their constants to the device.
    ///
    /// # Errors
    /// If there is no channel, a level is below 2, or the codes are more than 2^24.
    pub fn new(gpu: &Gpu, levels: &[usize]) -> Result<Levels> {
        Levels::with_activation(gpu, levels, Activation::Tanh)
    }

    /// Checks levels and sends their constants to the device, channels bounded by `activation`.
    ///
    /// # Errors
    /// As [`Levels::new`].
    pub fn with_activation(gpu: &Gpu, levels: &[usize], activation: Activation) -> Result<Levels> {
        Levels::size(levels)?;
        let row = |level: &usize| bound(*level, activation).into_iter().chain([*level as f64]);
        let constants: Vec<f32> = levels.iter().flat_map(row).map(|v| v as f32).collect();
        Ok(Levels {
            counts: levels.to_vec(),
            activation,
            constants: Tensor::from_slice(gpu, &[levels.len(), 4], &constants)?,
        })
    }

    /// Returns the codes of these levels: their product.
    ///
    /// # Errors
    /// As [`Levels::new`].
    pub fn size(levels: &[usize]) -> Result<usize> {
        let wrong = |what: String| Err(Error::invalid("fsq", what));
        if levels.is_empty() {
            return wrong(
                "no level: give one number of levels per channel, such as [8, 5, 5, 5]".into(),
            );
        }
        if let Some(level) = levels.iter().find(|l| **l < 2) {
            return wrong(format!(
                "a channel of {level} levels in {levels:?}: each has at least 2"
            ));
        }
        match levels
            .iter()
            .try_fold(1usize, |k, l| k.checked_mul(*l))
            .filter(|k| *k <= MOST)
        {
            Some(k) => Ok(k),
            None => wrong(format!(
                "levels {levels:?}: their product is the number of codes, at most 2^24"
            )),
        }
    }

    /// Codes that there are.
    pub fn codes(&self) -> usize {
        self.counts.iter().product()
    }
    /// Channels.
    pub fn channels(&self) -> usize {
        self.counts.len()
    }

    fn params(&self, n: usize) -> Params {
        Params {
            n: n as u32,
            d: self.channels() as u32,
            steepness: self.activation.steepness() as f32,
        }
    }

    fn check(&self, op: &'static str, z: &Tensor) -> Result<usize> {
        match z.shape() {
            [n, d] if *d == self.channels() && z.dtype() == DType::F32 => Ok(*n),
            _ => Err(Error::shape(
                op,
                format!("f32 [N, {}]", self.channels()),
                format!("{z:?}"),
            )),
        }
    }

    /// Codes [N, D] in [-1, 1] and indices u32 `[N]` of z [N, D].
    ///
    /// # Errors
    /// If z has another number of channels.
    pub fn quantize(&self, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let (n, d, gpu) = (self.check("fsq", z)?, self.channels(), z.gpu());
        let codes = Tensor::empty(gpu, z.shape(), DType::F32)?;
        let index = Tensor::empty(gpu, &[n], DType::U32)?;
        let bindings = [&self.constants, z, &codes, &index];
        gpu.dispatch(
            "fsq",
            &kernel(false),
            &bindings,
            &self.params(n),
            groups_for(n, 64),
            work(n, d),
        )?;
        Ok((codes, index))
    }

    /// Computes the codes [N, D] of indices u32 `[N]`.
    ///
    /// # Errors
    /// If the indices are no vector of u32.
    pub fn codes_of(&self, index: &Tensor) -> Result<Tensor> {
        let ([n], d, gpu) = (index.dims("fsq")?, self.channels(), index.gpu());
        if index.dtype() != DType::U32 {
            return Err(Error::shape("fsq", "u32 indices", format!("{index:?}")));
        }
        let codes = Tensor::empty(gpu, &[n, d], DType::F32)?;
        let bindings = [&self.constants, index, &codes];
        gpu.dispatch(
            "fsq",
            &kernel(true),
            &bindings,
            &self.params(n),
            groups_for(n, 64),
            work(n, d),
        )?;
        Ok(codes)
    }

    /// Computes the squared distance of each bounded row of z [N, D] from its rounding, in units of
    /// the codes: N. Waits for the device.
    ///
    /// # Errors
    /// If z has another number of channels.
    pub fn distances(&self, z: &Tensor) -> Result<Vec<f32>> {
        self.check("fsq", z)?;
        let off = |(z, level): (&f32, &usize)| {
            let b = reference::bounded(f64::from(*z), *level, self.activation);
            ((b - b.round_ties_even()) / (level / 2) as f64).powi(2)
        };
        let row = |row: &[f32]| row.iter().zip(&self.counts).map(off).sum::<f64>() as f32;
        Ok(z.read::<f32>()?.chunks(self.channels()).map(row).collect())
    }

    fn gradient(&self, z: &Tensor, g: &Tensor) -> Result<Tensor> {
        let (n, d) = (self.check("fsq", z)?, self.channels());
        let dz = Tensor::empty(z.gpu(), z.shape(), DType::F32)?;
        let bindings = [&self.constants, z, g, &dz];
        z.gpu().dispatch(
            "fsq",
            &grad_kernel(),
            &bindings,
            &self.params(n),
            groups_for(n * d, 64),
            work(n, d),
        )?;
        Ok(dz)
    }
}

impl Tape {
    /// Codes [N, D] and indices u32 `[N]` of z [N, D]; the gradient of the codes passes straight
    /// through the rounding.
    ///
    /// # Errors
    /// If z has another number of channels than the levels.
    pub fn fsq(&self, z: &Var, levels: &Levels) -> Result<(Var, Tensor)> {
        let (codes, index) = levels.quantize(z.tensor())?;
        let (saved, levels) = (z.tensor().clone(), levels.clone());
        Ok((
            self.record(codes, &[z], move |g, _| {
                Ok(vec![Some(levels.gradient(&saved, g)?)])
            }),
            index,
        ))
    }
}
