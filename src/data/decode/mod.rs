//! Image files, from their bytes to pixels of the size asked for.

#[cfg(feature = "parquet")]
pub(super) mod column;
pub(super) mod formats;
mod jpeg;
pub(super) mod memory_budget;
pub(super) mod picture;
pub(super) mod place;
pub(super) mod resize;
mod tiff;
