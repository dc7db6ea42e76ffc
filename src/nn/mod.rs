//! The parameter store, what optimises it, and layers.

mod attention;
mod block_config;
mod conv;
mod deprecated;
mod ema;
mod forward;
mod gradient_sum;
mod half_weights;
mod linear;
mod loss_scale;
mod norm;
mod optimizer;
mod parameters;
mod span;
mod spectral;
pub mod transformer;

pub use attention::{CrossAttention, EncoderStates};
pub use block_config::{BlockConfig, MlpKind};
pub use conv::{Conv2d, ConvTranspose2d, ResidualBlock, residual_stack};
pub use ema::Ema;
pub use forward::ForwardContext;
pub(crate) use gradient_sum::GradientSum;
pub(crate) use half_weights::HalfWeights;
pub(crate) use linear::residual_std;
pub use linear::{INIT_STD, Linear, linear};
pub(crate) use loss_scale::{LossScale, MOST_AT_FIRST as MOST_LOSS_SCALE};
pub use norm::{GroupNorm, Norm, NormKind, SpatialNorm};
pub use optimizer::{Adam, AdamState};
pub use parameters::{Builder, Handle, HostTensors, Init, Parameters};
pub(crate) use span::Span;
pub use spectral::SpectralNorm;

/// Renamed to [`ForwardContext`].
#[deprecated(since = "0.2.0", note = "renamed to `ForwardContext`")]
pub type Pass<'a> = ForwardContext<'a>;
/// Renamed to [`EncoderStates`].
#[deprecated(since = "0.2.0", note = "renamed to `EncoderStates`")]
pub type Heard<'a> = EncoderStates<'a>;
