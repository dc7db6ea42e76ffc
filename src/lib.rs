//! A GPU compute engine for discrete image representations, on wgpu 30.
//!
//! wgvq trains VQ-VAEs, turns images into codes and codes into images, on any Vulkan, Metal or DX12
//! GPU and on Mesa's software Vulkan where there is none. Every kernel is hand-written WGSL in
//! `shaders/`, and agrees with a reference in plain loops.
//!
//! ```no_run
//! use wgvq::gpu::{Gpu, Options};
//! use wgvq::inference::FirstStageModel;
//!
//! fn main() -> wgvq::Result<()> {
//!     let gpu = Gpu::new(Options::default())?;
//!     let model = FirstStageModel::load(&gpu, "runs/demo".as_ref())?;
//!     let [width, height, channels] = model.image();
//!     let pixels = wgvq::data::load_image("smile.png", width, height, channels)?;
//!     let codes = model.encode(&pixels)?; // one number per patch
//!     let again = model.decode(&codes)?; // u8, NHWC
//!     println!("{} codes, {} bytes", codes.len(), again.len());
//!     Ok(())
//! }
//! ```
//!
//! A program with a device of its own hands it over ([`gpu::Gpu::from_wgpu`]), and decodes codes
//! into its own texture within its own encoder ([`inference::Decoder::decode_into`]);
//! `docs/embedding.md` tells all of it. Kernels work alone too, over tensors as here or over a
//! host's buffers ([`kernels`]):
//!
//! ```
//! use wgvq::gpu::{Gpu, Options, Tensor};
//! use wgvq::ops::quantize::vq_search::nearest;
//!
//! # fn main() -> wgvq::Result<()> {
//! let gpu = Gpu::new(Options::default())?;
//! let codebook = Tensor::from_slice(&gpu, &[3, 2], &[0.0f32, 0.0, 1.0, 0.0, 0.0, 1.0])?;
//! let latents = Tensor::from_slice(&gpu, &[2, 2], &[0.9f32, 0.2, -0.1, 0.1])?;
//! assert_eq!(nearest(&latents, &codebook)?.read::<u32>()?, [1, 0]);
//! # Ok(())
//! # }
//! ```
//!
//! | to | begin with |
//! | --- | --- |
//! | turn images into codes and back | [`inference::FirstStageModel`] |
//! | decode codes alone, to bytes or into a texture | [`inference::Decoder`] |
//! | draw new images | [`inference::PriorModel`] |
//! | train in a folder, as `wgvq train` does | [`train::run()`] |
//! | train step by step, within a program of yours | [`train::Trainer`] |
//! | add a quantizer | [`quantize::Quantizer`], `examples/custom_quantizer.rs` |
//! | run single kernels | [`kernels`], [`ops`] |
//! | write a layer or a model | [`autograd::Tape`], [`nn`] |
//!
//! The layers, lowest first: `error`, [`pace`] (speed and remaining time), `splitmix` (random
//! numbers of the host), [`memory`] (memory of the process), [`text`] (bytes of text files),
//! [`files`] (files read whole), [`gpu`] (device, memory, commands, kernels), [`parallel`] (ranks
//! that train together), [`autograd`] (the tape), [`spec`] (specifications of operations), [`ops`],
//! [`registry`] (the list of operations), [`verify`] (operations against their references),
//! [`kernels`] (operations over a host's buffers), [`nn`] (parameters, layers, Adam), [`quantize`],
//! [`models`], [`data`], [`config`], [`storage`], [`metrics`] (metrics by name), [`objective`]
//! (what reconstructions are judged by), [`codes`], [`vectors`] (codebooks of arrays),
//! [`inference`], [`analysis`], [`trainer`] (the loop of every training), [`train`] (what is
//! trained), `text2image` (its stages; feature `text`), [`plan`] (time and memory of a
//! configuration); and with the feature `cli` `report` (charts and pages) and `bench` (workloads
//! and their times). `ARCHITECTURE.md` tells more.

mod error;

pub mod analysis;
pub mod autograd;
#[cfg(feature = "cli")]
pub mod bench;
pub mod codes;
pub mod config;
pub mod data;
pub mod files;
pub mod gpu;
pub mod inference;
pub mod kernels;
pub mod memory;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod objective;
pub mod ops;
pub mod pace;
pub mod parallel;
pub mod plan;
pub mod quantize;
pub mod registry;
#[cfg(feature = "cli")]
pub mod report;
pub mod spec;
mod splitmix;
pub mod storage;
pub mod text;
#[cfg(all(feature = "text", not(target_arch = "wasm32")))]
pub mod text2image;
pub mod train;
pub mod trainer;
#[cfg(not(target_arch = "wasm32"))]
pub mod vectors;
pub mod verify;

pub use error::{Error, Result};
pub use gpu::{FeatureRequest, MissingFeature, required_features, required_limits};
#[allow(deprecated)]
pub use gpu::{Lost, Wanted};
pub use wgpu;

/// The pages' examples compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
pub struct Embedding;

/// Likewise.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
