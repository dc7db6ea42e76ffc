//! Quantizers: what turns latents into codes, behind one small trait.
//!
//! | name | what | file |
//! | --- | --- | --- |
//! | `ema`, `vq`, `cosine`, `simvq` | the nearest code; four ways to learn | [`vq`] |
//! | `gumbel` | a code drawn by the Gumbel-softmax | [`gumbel`] |
//! | `fsq` | each channel rounded to a few levels | [`fsq`] |
//! | `lfq` | the signs of the channels | [`lfq`] |
//! | `bsq` | the signs of the channels, on the sphere | [`bsq`] |
//! | `ibq` | the code of the largest product; all learn by the softmax | [`ibq`] |
//! | `residual` | several, each on what the one before left | [`residual`] |
//! | `multiscale` | one codebook, on maps from coarse to fine | [`multiscale`] |
//! | `product` | several, each on a group of channels | [`product`] |

pub mod bsq;
pub mod estimator;
pub mod fsq;
pub mod gumbel;
pub mod ibq;
pub(crate) mod latent_norm;
mod latents;
pub mod lfq;
pub mod mask;
pub mod multiscale;
mod options;
pub mod product;
mod projected;
mod quantizer;
pub mod regularize;
pub mod residual;
mod scale_tables;
mod state;
pub mod vq;

pub use options::{MOST_SCALES, MOST_SIDE, Options};
pub use projected::Projected;
pub use quantizer::{Build, CodebookBatch, Kind, Mode, Quantized, Quantizer, Term};

pub use scale_tables::ScaleTables;

use crate::gpu::Gpu;
use crate::nn::Builder;
use crate::{Error, Result};

/// Every quantizer there is.
pub fn all() -> &'static [Kind] {
    &[
        Kind {
            name: "ema",
            about: "nearest code; the codebook is a moving average of its latents",
            build: vq::ema,
        },
        Kind {
            name: "vq",
            about: "nearest code; the codebook learns by gradient",
            build: vq::gradient,
        },
        Kind {
            name: "cosine",
            about: "nearest code on the sphere, in few channels",
            build: vq::cosine,
        },
        Kind {
            name: "gumbel",
            about: "a code drawn by the Gumbel-softmax",
            build: gumbel::build,
        },
        Kind {
            name: "fsq",
            about: "each channel rounded to a few levels; no codebook",
            build: fsq::build,
        },
        Kind {
            name: "lfq",
            about: "the signs of the channels; no codebook",
            build: lfq::build,
        },
        Kind {
            name: "residual",
            about: "several, each on what the one before left",
            build: residual::build,
        },
        Kind {
            name: "product",
            about: "several, each on a group of channels",
            build: product::build,
        },
        Kind {
            name: "simvq",
            about: "nearest code of a frozen codebook behind a learned linear map",
            build: vq::simvq,
        },
        Kind {
            name: "bsq",
            about: "the signs of the channels, on the sphere; no codebook",
            build: bsq::build,
        },
        Kind {
            name: "ibq",
            about: "the code of the largest product; all codes learn by the softmax",
            build: ibq::build,
        },
        Kind {
            name: "multiscale",
            about: "one codebook on maps from coarse to fine, each on what the ones before left",
            build: multiscale::build,
        },
    ]
}

/// The quantizer of that name among those of this crate.
///
/// # Errors
/// If there is none; the message lists them.
pub fn find(name: &str) -> Result<&'static Kind> {
    pick(all(), name)
}

fn pick<'a>(kinds: &'a [Kind], name: &str) -> Result<&'a Kind> {
    kinds.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        Error::config(
            "quantizer.kind",
            format!(
                "no quantizer is called `{name}`; there are {}",
                names.join(", ")
            ),
        )
    })
}

/// The quantizers that a program can name: this crate's, and its own.
#[derive(Clone, Debug)]
pub struct Registry {
    kinds: Vec<Kind>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry {
            kinds: all().to_vec(),
        }
    }
}

impl Registry {
    /// Adds a kind; one of the same name is replaced.
    pub fn with(mut self, kind: Kind) -> Registry {
        self.kinds.retain(|k| k.name != kind.name);
        self.kinds.push(kind);
        self
    }

    /// The quantizer of that name.
    ///
    /// # Errors
    /// If there is none; the message lists them.
    pub fn find(&self, name: &str) -> Result<&Kind> {
        pick(&self.kinds, name)
    }

    /// The quantizer that the options name, its parameters declared in `b`.
    ///
    /// # Errors
    /// If there is none, or an option cannot be used; the message names it.
    pub fn build(
        &self,
        gpu: &Gpu,
        b: &mut Builder,
        options: &Options,
    ) -> Result<Box<dyn Quantizer>> {
        let kind = self.find(&options.kind)?;
        options.check()?;
        (kind.build)(gpu, b, options)
    }
}

/// Renamed to [`CodebookBatch`].
#[deprecated(since = "0.2.0", note = "renamed to `CodebookBatch`")]
pub type Seen = CodebookBatch;
