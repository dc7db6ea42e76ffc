//! Kernels: their text, its reflection, pipelines, and what shares their work out.

pub(crate) mod compiled;
pub(crate) mod coopmat;
pub(crate) mod gemm;
pub(crate) mod groups;
pub(crate) mod layouts;
pub(crate) mod pipelines;
mod preprocess;
pub(crate) mod reflect;
pub(crate) mod source;
#[cfg(all(feature = "cli", any(windows, all(unix, not(target_vendor = "apple")))))]
pub mod statistics;
#[cfg(feature = "cli")]
mod translate;
pub(crate) mod tuning;
#[cfg(test)]
mod wavefronts;
pub(crate) mod work;

use crate::gpu::FastMap;
use crate::gpu::latest::Latest;
use crate::gpu::lock::Mutex;
use layouts::{Bindings, Layout};
use pipelines::{Kernel, Pipeline};
use std::sync::Arc;

/// The kernels of an engine: what was compiled, and which tiles its problems get.
#[derive(Default)]
pub(crate) struct Kernels {
    pub(in crate::gpu) pipelines: Mutex<FastMap<Kernel, Arc<Pipeline>>>,
    pub(in crate::gpu) layouts: Mutex<FastMap<Bindings, Layout>>,
    compiled: compiled::Count,
    pub(in crate::gpu) tiles: Latest<tuning::Tiles>,
}
