//! A run of a first stage: from a configuration and images to a trained model in a folder.

use super::FirstStageTask;
use crate::Result;
use crate::config::DottedConfig;
use crate::config::Resumable;
use crate::config::run::ResolvedConfig;
use crate::data::{ImageSet, absolute};
use crate::gpu::Gpu;
use crate::parallel::Ranks;
use crate::quantize::Registry;
use crate::storage::run_folder::RunFolder;
#[cfg(not(target_arch = "wasm32"))]
use crate::train::jobs::Job;
use crate::trainer::run::configured;
use crate::trainer::{Observer, Outcome, Schedule, Start, Trainer, train_loop};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Trains a VQ-VAE in `folder` until the configured steps are done or `stop` is set; the step at
/// hand is finished then, and saved.
///
/// # Errors
/// If the configuration or the data cannot be used, a file cannot be written, the device fails, or
/// the run diverges. The folder holds the last checkpoint then.
///
/// With several ranks ([`Ranks::world`]), rank 0 calls it, and leads the others, which
/// [`serve`](crate::train::serve).
pub fn run(
    gpu: &Gpu,
    config: &ResolvedConfig,
    data: Arc<ImageSet>,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome<FirstStageTask>> {
    run_with(
        gpu,
        config,
        data,
        folder,
        start,
        observer,
        stop,
        &Registry::default(),
    )
}

/// [`run`] where a program has quantizers of its own.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    gpu: &Gpu,
    config: &ResolvedConfig,
    data: Arc<ImageSet>,
    folder: &RunFolder,
    start: Start,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
    registry: &Registry,
) -> Result<Outcome<FirstStageTask>> {
    let config = folder.or_nothing(config.on(gpu))?;
    let (config, earlier) = configured(&config, folder, start)?;
    let config = &config.map(|mut config| {
        // The run may be gone on with from another working directory.
        config.data.source = absolute(&config.data.source);
        config.data.test_files = absolute(&config.data.test_files);
        config
    });
    data.notes.iter().for_each(|n| observer.note(n));
    config
        .without_effect()
        .iter()
        .for_each(|n| observer.note(n));
    let ranks = Ranks::world();
    let trainer = Trainer::with(gpu, config, data, registry);
    let trainer = trainer.and_then(|trainer| trainer.among(ranks.clone()));
    let trainer = folder.or_nothing(trainer)?;
    let t = &config.train;
    let schedule = Schedule {
        steps: t.steps,
        eval_every: t.eval_every,
        checkpoint_every: t.checkpoint_every,
        keep_checkpoints: t.keep_checkpoints,
        toml: config.to_toml()?,
        identity: config.identity()?,
        earlier,
    };
    #[cfg(not(target_arch = "wasm32"))]
    Job::FirstStage(schedule.toml.clone()).begin(&ranks)?;
    train_loop(trainer, &schedule, folder, start, observer, stop)
}
