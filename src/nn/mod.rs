//! The parameter store, what optimises it, and layers.

mod ema;
mod optimizer;
mod params;

pub use ema::Ema;
pub use optimizer::{Adam, AdamState};
pub use params::{Builder, Handle, HostTensors, Init, Parameters};
