//! wgvq: a GPU compute engine for discrete image representations.

mod error;

pub mod autograd;
pub mod codes;
pub mod data;
pub mod gpu;
pub mod models;
pub mod nn;
pub mod ops;
pub mod quantize;
#[cfg(feature = "cli")]
pub mod report;
pub mod train;

pub use error::{Error, Result};
pub use wgpu;
