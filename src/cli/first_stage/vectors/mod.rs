//! `wgvq train --model mlp`: first stages over arrays of vectors, and their codes.

mod codes;

pub use codes::{DecodeVectors, EncodeVectors, tell_latents};

use crate::cli::common::json;
use crate::cli::common::keys::Keys;
use crate::cli::common::losses::Begun;
use crate::cli::common::output;
use crate::cli::common::signals::stop_flag;
use crate::cli::common::watch::{Seen, Watch};
use crate::cli::{CommandStatus, Global};
use std::path::Path;
use std::sync::Arc;
use wgvq::config::vectors::VectorsConfig;
use wgvq::config::{DottedConfig, Resolved};
use wgvq::data::absolute;
use wgvq::gpu::Gpu;
use wgvq::quantize::Registry;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::vectors::{VectorsTask, VectorsTrainer, resumed_vectors, run_vectors};
use wgvq::train::{Outcome, Start, Trainer, check_steps};
use wgvq::vectors::{HeldOut, Vectors};
use wgvq::{Error, Result, files};

/// Whether the configuration of a file is one of vectors.
///
/// # Errors
/// If the file cannot be read.
pub fn is_in(file: &Path) -> Result<bool> {
    Ok(VectorsConfig::is_in(&files::read_text(file, files::TEXT)?))
}

/// A run that begins.
pub struct New<'a> {
    pub file: Option<&'a Path>,
    pub keys: &'a Keys,
    pub out: &'a Path,
    pub overwrite: bool,
    pub seen: Seen,
}

impl New<'_> {
    pub fn train(&self, global: &Global, begun: &Begun) -> Result<CommandStatus> {
        let mut config = match self.file {
            Some(file) => VectorsConfig::load(file)?,
            None => VectorsConfig::default(),
        };
        self.keys.apply_to_vectors(&mut config)?;
        let config = config.resolve(&Registry::default())?;
        RunFolder::may_create(self.out, self.overwrite)?;
        let data = open(&config)?;
        let gpu = global.gpu()?;
        let trainer = trainer(&gpu, config, data)?;
        let folder = RunFolder::create(self.out, self.overwrite)?;
        let ended = run(global, &gpu, trainer, &folder, Start::Fresh, self.seen);
        begun.in_folder(&folder, ended)
    }
}

/// Goes on with a run.
pub fn resume(
    global: &Global,
    folder: &RunFolder,
    keys: &Keys,
    seen: Seen,
) -> Result<CommandStatus> {
    let kept = VectorsConfig::load(&folder.config())?;
    let config = resumed_vectors(&kept, "--resume", |config| keys.apply_to_vectors(config))?;
    check_steps(folder.path(), config.train.steps)?;
    let data = open(&config)?;
    let gpu = global.gpu()?;
    let trainer = trainer(&gpu, config, data)?;
    run(global, &gpu, trainer, folder, Start::Resume, seen)
}

/// Opens the array of a configuration.
fn open(config: &Resolved<VectorsConfig>) -> Result<Arc<HeldOut>> {
    let source = &config.data.source;
    if source.is_empty() {
        let what = "is needed with --model mlp: a .npy file with an array [N, D]";
        return Err(Error::config("--data", what));
    }
    let vectors = Vectors::open(Path::new(source))?;
    HeldOut::new(vectors, config.data.test_rows).map(Arc::new)
}

fn trainer(
    gpu: &Gpu,
    config: Resolved<VectorsConfig>,
    data: Arc<HeldOut>,
) -> Result<VectorsTrainer> {
    // The run may be gone on with from another working directory.
    let registry = Registry::default();
    let mut config = config.into_inner();
    config.data.source = absolute(&config.data.source);
    Trainer::vectors(gpu, &config.resolve(&registry)?, data, &registry)
}

fn run(
    global: &Global,
    gpu: &Gpu,
    trainer: VectorsTrainer,
    folder: &RunFolder,
    start: Start,
    seen: Seen,
) -> Result<CommandStatus> {
    let (config, data) = (trainer.task().config().clone(), trainer.data());
    let q = &config.quantizer;
    output::note(
        global,
        &format!(
            "{}: {} vectors to train on, {} held out, of {} numbers; {} with {} codes a vector, of \
             {}, in {} channels; {} steps of {} on {} ({} core)",
            config.data.source,
            data.train_len(),
            data.test_len(),
            data.dim(),
            q.kind,
            trainer.task().level().codebooks,
            trainer.task().level().codebook_size,
            q.latent_channels(),
            config.train.steps,
            config.train.batch_size,
            gpu.info().name,
            gpu.core().name()
        ),
    );
    let title = format!(
        "{}: {} over vectors of {} numbers, on {} ({} core)",
        config.data.source,
        q.kind,
        data.dim(),
        gpu.info().name,
        gpu.core().name()
    );
    let steps = config.train.steps;
    let mut watch = Watch::new(global, steps)
        .seen(seen, &title, steps, gpu, (folder, start))
        .starting(gpu);
    let outcome = run_vectors(trainer, folder, start, &mut watch, stop_flag());
    watch.finish();
    let outcome = outcome?;
    if outcome.stopped {
        let (step, path) = (outcome.trainer.step_number(), output::shell(folder.path()));
        output::note(
            global,
            &format!("stopped and saved at step {step}; go on with: wgvq train --resume {path}"),
        );
        return Ok(CommandStatus::Interrupted);
    }
    report(global, folder, &outcome);
    Ok(CommandStatus::Done)
}

/// Prints the results of the run, as lines or as JSON.
fn report(global: &Global, folder: &RunFolder, outcome: &Outcome<VectorsTask>) {
    let Some(e) = &outcome.evaluation else { return };
    let memory = outcome.trainer.memory();
    if global.json {
        let line = serde_json::json!({
            "run": output::shown(folder.path()), "step": e.step, "vectors": e.vectors,
            "mse": e.mse, "distortion": e.distortion, "unexplained": e.unexplained,
            "perplexity": e.perplexity, "used": e.used, "codes": e.codes, "distinct": e.distinct,
            "unique_share": e.unique_share, "collision_rate": e.collision_rate(),
            "seconds": outcome.elapsed.as_secs_f64(), "peak_device_bytes": memory.peak,
        });
        json::print("train-vectors", &line);
        return;
    }
    output::result(&format!("{e}"));
    let (time, mib) = (output::duration(outcome.elapsed), memory.peak >> 20);
    output::note(
        global,
        &format!("{time}, {mib} MiB of device memory at peak"),
    );
    output::result(&format!("model:   {}", folder.model().display()));
}
