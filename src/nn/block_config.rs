//! The shape of a stack of transformer blocks.

use super::NormKind;
use serde::{Deserialize, Serialize};

/// The activation between the two linear maps of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MlpKind {
    /// `silu(a) b` of two halves (Shazeer 2020).
    SwiGlu,
    /// GELU (Hendrycks and Gimpel 2016).
    Gelu,
}

/// The shape of a stack of blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockConfig {
    /// Channels of a row.
    pub dim: usize,
    /// Heads of attention; they divide the channels.
    pub heads: usize,
    /// Channels inside the MLP.
    pub hidden: usize,
    /// The norms.
    pub norm: NormKind,
    /// The MLP.
    pub mlp: MlpKind,
    /// Blocks of the stack: what is added to the residual stream starts smaller by the root of
    /// twice as many.
    pub layers: usize,
}
