//! Pictures and figures that people look at: grids of images, curves, codebook usage and the run's
//! one-page summary.
//!
//! Everything here takes plain data (bytes, slices of numbers) and gives back PNG bytes or numbers;
//! writing files is the caller's. Images are u8, NHWC, with 1 (grey), 3 (RGB) or 4 (RGBA, shown on
//! white) channels.

pub mod atlas;
pub mod avif;
mod axes;
mod canvas;
pub mod codecs;
mod colours;
pub mod comparison;
pub mod curves;
pub mod gan_curves;
pub mod grid;
pub mod inspection;
pub mod map;
pub mod metrics;
pub mod overlay;
pub mod page;
pub mod patches;
pub mod pca;
pub mod prior_comparison;
pub mod rate;
pub mod rate_chart;
pub mod robustness;
pub mod run_page;
pub mod samples;
mod stroke;
pub mod study;
pub mod summary;
pub mod svg;
pub mod sweep;
mod text;
pub mod usage;

pub use canvas::{Canvas, Colour};
pub use summary::{Summary, summary};
