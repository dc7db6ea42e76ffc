//! The parameter store, what optimises it, and layers.

mod arena;
mod attention;
mod block_config;
mod conv;
mod deprecated;
mod ema;
mod forward;
mod gradient_sum;
mod half_weights;
mod init;
mod layout;
mod linear;
mod loss_scale;
mod norm;
mod optimizer;
mod parameters;
mod pieces;
mod shard;
mod span;
mod spectral;
pub mod transformer;

pub use arena::HostTensors;
pub(crate) use arena::{SavedTensor, TensorSource};
pub use attention::{CrossAttention, EncoderStates};
pub use block_config::{BlockConfig, MlpKind};
pub use conv::{Conv2d, ConvTranspose2d, ResidualBlock, residual_stack};
pub use ema::Ema;
pub use forward::ForwardContext;
pub(crate) use gradient_sum::GradientSum;
pub(crate) use half_weights::HalfWeights;
pub use init::Init;
pub(crate) use linear::residual_std;
pub use linear::{INIT_STD, Linear, linear};
pub(crate) use loss_scale::{LossScale, MOST_AT_FIRST as MOST_LOSS_SCALE};
pub use norm::{GroupNorm, Norm, NormKind, SpatialNorm};
pub use optimizer::{Adam, AdamState, MomentType};
pub use parameters::{Builder, Handle, Parameters};
pub(crate) use shard::{MomentRequest, Reading};
pub(crate) use span::Span;
pub use spectral::SpectralNorm;

/// Renamed to [`ForwardContext`].
#[deprecated(since = "0.2.0", note = "renamed to `ForwardContext`")]
pub type Pass<'a> = ForwardContext<'a>;
/// Renamed to [`EncoderStates`].
#[deprecated(since = "0.2.0", note = "renamed to `EncoderStates`")]
pub type Heard<'a> = EncoderStates<'a>;
