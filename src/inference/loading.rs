//! Model files: which there is at a path, how it is loaded, what it says of itself.

use crate::config::run::{ResolvedConfig, RunConfig};
use crate::data::ImageSet;
use crate::nn::Parameters;
use crate::quantize::Registry;
use crate::storage::checkpoint::{Checkpoint, LazyCheckpoint};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Options for loading a first stage or its decoder; the default suits all models but those with
/// quantizers of a program's own.
///
/// ```no_run
/// # use wgvq::quantize::Registry;
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::LoadOptions;
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let registry = Registry::default(); // .with(Kind { .. })
/// let options = LoadOptions { registry: Some(&registry) };
/// let model = options.load(&gpu, "runs/demo".as_ref())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions<'a> {
    /// Quantizers by their names in configurations; `None` is those of the library.
    pub registry: Option<&'a Registry>,
}

impl LoadOptions<'_> {
    /// Calls `f` with the registry.
    pub(crate) fn with_registry<T>(self, f: impl FnOnce(&Registry) -> T) -> T {
        match self.registry {
            Some(registry) => f(registry),
            None => f(&Registry::default()),
        }
    }
}

/// Returns the model file of a run's or a prior's folder, or `path` where that is no folder.
pub(crate) fn model_file(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join("final.safetensors")
    } else {
        path.to_owned()
    }
}

/// Loads all tensors of a file into a model's parameters.
pub(crate) fn load_parameters(params: &Parameters, file: &LazyCheckpoint) -> Result<()> {
    params.load(&file.source("", &[]))
}

/// Returns what a first stage's file says of itself beside its tensors.
pub(crate) fn describe(config: &ResolvedConfig, data: &ImageSet) -> serde_json::Value {
    serde_json::json!({
        "config": config,
        "image": { "width": data.width, "height": data.height, "channels": data.channels },
    })
}

/// Reads what [`describe`] wrote: the configuration, and width, height and channels of images.
pub(crate) fn description(
    path: &Path,
    file: &Checkpoint,
    registry: &Registry,
) -> Result<(ResolvedConfig, [usize; 3])> {
    if !file.state["prior"].is_null() {
        return Err(Error::file(
            path,
            "is a prior; name the run that it belongs to",
        ));
    }
    if !file.state["bundle"].is_null() {
        return Err(Error::file(
            path,
            "is a bundle: `wgvq get FILE` makes a run of it",
        ));
    }
    if !file.state["vectors"].is_null() {
        return Err(Error::file(
            path,
            "is a model of vectors: `wgvq encode RUN x.npy` and `wgvq decode` read it",
        ));
    }
    let config: RunConfig = serde_json::from_value(file.state["config"].clone())
        .map_err(|e| Error::file(path, format!("its configuration cannot be used: {e}")))?;
    let config = config.resolve(registry).map_err(|e| Error::file(path, e))?;
    let size = |key: &str| {
        file.state["image"][key]
            .as_u64()
            .filter(|n| (1..=1 << 16).contains(n))
            .map(|n| n as usize)
    };
    let (Some(width), Some(height), Some(channels)) =
        (size("width"), size("height"), size("channels"))
    else {
        return Err(Error::file(path, "does not say the size of its images"));
    };
    Ok((config, [width, height, channels]))
}
