//! Operations in families. Each has a folder: the host side and its rule on the tape, its reference
//! in plain loops, and what it promises ([`crate::spec`]). [`crate::registry`] lists all.

pub mod attention;
pub mod conv;
pub mod elementwise;
pub mod image;
pub mod linalg;
pub mod loss;
pub mod norm;
pub mod optim;
pub mod quantize;
pub mod sampling;
