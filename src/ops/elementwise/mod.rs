//! Each element by itself, or moved as it is.

pub mod activation;
pub mod add;
pub mod cast;
pub mod copy;
pub mod fill;
pub mod fma_chain;
pub mod lerp;
pub mod multiply;
pub mod scale;
pub mod slice_columns;
pub mod swiglu;
