//! The parameter store, what optimises it, and layers.

pub mod cross;
mod ema;
mod layers;
mod optimizer;
mod params;
mod pass;
mod span;
mod spectral;
pub mod transformer;

pub use ema::Ema;
pub use layers::{Conv2d, ConvTranspose2d, GroupNorm, ResidualBlock, residual_stack};
pub use optimizer::{Adam, AdamState};
pub use params::{Builder, Handle, HostTensors, Init, Parameters};
pub use pass::Pass;
pub(crate) use span::Span;
pub use spectral::SpectralNorm;
