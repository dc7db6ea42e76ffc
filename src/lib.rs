//! wgvq: a GPU compute engine for discrete image representations.

mod error;

pub use error::{Error, Result};
pub use wgpu;
