//! Convolutions, their transposes, and pooling.

pub(crate) mod geometry;

pub mod conv2d;
pub mod conv_transpose2d;
pub mod fold;
pub mod max_pool;
pub mod unfold;

pub use geometry::Conv;
