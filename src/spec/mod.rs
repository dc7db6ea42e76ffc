//! Specifications of operations, and the host arrays in which their references compute.
//!
//! Operations ([`crate::ops`]) implement [`Operation`], and [`Gradient`] where they have one;
//! [`crate::registry`] lists them, and [`crate::verify`] holds them to it.

pub(crate) mod case;
pub(crate) mod excerpt;
mod host_tensor;
mod operation;
mod rng;
mod tolerance;
mod verdict;

pub use case::{Case, case, cases};
pub use host_tensor::{Data, HostTensor, Real};
pub use operation::{ErrorInputs, Extremes, Gradient, Operation, refused};
pub use rng::Rng;
pub use tolerance::Tolerance;
pub use verdict::{Verdict, compare};
