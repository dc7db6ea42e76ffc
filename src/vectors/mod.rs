//! Vectors as data: rows [N, D] of any origin (embeddings, features, descriptors), the codebooks
//! that k-means, product and residual quantization learn of them, and their codes.
//!
//! [`Vectors`] reads rows a part at a time, [`train`] learns [`Codebooks`], [`Encoder`] turns rows
//! into codes, and [`CodeUse`] counts what came out. [`HeldOut`] and [`Standard`] are what a first
//! stage over vectors is trained on; [`CodeFile`] reads codes back. All walk the rows in parts, so
//! that neither the device nor the process has to hold them.
//!
//! ```
//! use wgvq::gpu::{Gpu, Options};
//! use wgvq::vectors::{Encoder, Structure, TrainOptions, Vectors, train};
//!
//! # fn main() -> wgvq::Result<()> {
//! let gpu = Gpu::new(Options::default())?;
//! let rows = (0..64).flat_map(|i| [(i % 4) as f32, (i % 2) as f32]).collect();
//! let vectors = Vectors::from_rows(2, rows)?;
//! let options = TrainOptions { codes: 4, iterations: 8, ..TrainOptions::new(Structure::Kmeans) };
//! let codebooks = train(&gpu, &vectors, &options, &mut |_| true)?.expect("it was not stopped");
//! let coded = Encoder::new(&gpu, &codebooks)?.encode(&vectors.read(0..64)?, 1)?;
//! assert!(coded.distortion < 64.0);
//! assert_eq!(coded.codes.len(), 64);
//! # Ok(())
//! # }
//! ```

mod array_file;
mod code_file;
mod code_use;
mod codebooks;
mod encode;
mod held_out;
mod kmeans;
mod part;
mod source;
mod standard;
mod train;

pub use code_file::CodeFile;
pub use code_use::CodeUse;
pub use codebooks::{Codebooks, Structure, squared_distances};
pub use encode::{Coded, Encoder};
pub use held_out::HeldOut;
pub use source::Vectors;
pub use standard::Standard;
pub use train::{Iteration, TrainOptions, train};

/// Bytes of rows that are on the device at a time, at most.
const PART: usize = 64 << 20;
/// Partial codes of a vector that a search follows, at most.
const MOST_BEAMS: usize = 64;
