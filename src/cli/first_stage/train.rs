//! `wgvq train`

use crate::cli::common::json;
use crate::cli::common::keys::{Architecture, Keys, configuration, open, preset_names};
use crate::cli::common::losses::{Begun, through_losses};
use crate::cli::common::output;
use crate::cli::common::peaks::passes_chosen;
use crate::cli::common::pictures;
use crate::cli::common::signals::stop_flag;
use crate::cli::common::watch::{Seen, Watch};
use crate::cli::first_stage::vectors;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wgvq::config::DottedConfig;
use wgvq::config::presets::{Reference, presets};
use wgvq::config::run::{ResolvedConfig, RunConfig};
use wgvq::data::ImageSet;
use wgvq::gpu::Gpu;
use wgvq::inference::priors_of;
use wgvq::plan::fitting;
use wgvq::quantize::Options;
use wgvq::report::gan_curves::gan_curves;
use wgvq::report::grid::Shape;
use wgvq::report::samples::by_level;
use wgvq::report::{Summary, summary};
use wgvq::storage::run_folder::RunFolder;
use wgvq::storage::run_parts::with_kept_list;
use wgvq::storage::{atomic, metrics_log};
use wgvq::train::{Outcome, Start, check, keep_priors, resumed_run, run};
use wgvq::{Error, Result};

/// `wgvq train --preset emoji32 --out runs/emoji`
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq train --preset emoji32 --out runs/emoji
  wgvq train --data ~/pictures --set data.width=64 --set data.height=64 --out runs/mine
  wgvq train --data ~/photographs --set data.width=128 --set data.height=128 \\
      --set data.crop=random --out runs/photographs
  wgvq train --data fashion-mnist --steps 1000 --out runs/fashion
  wgvq train --preset photo128 --data ~/photographs --out runs/two-grids    # VQ-VAE-2
  wgvq train --preset gan64 --data ~/photographs --out runs/gan             # VQ-GAN
  wgvq train --quantizer fsq --out runs/fsq
  wgvq train --model mlp --data x.npy --quantizer residual --out runs/items  # vectors [N, D]
  wgvq train mine.toml --steps 5000 --seed 3 --out runs/three
  wgvq train --preset emoji32 --out runs/emoji --tui     # curves and pictures in the terminal
  wgvq train --resume runs/emoji           # after Ctrl-C or a crash: the same bytes as without")]
pub struct Train {
    /// A configuration in TOML
    config: Option<PathBuf>,
    /// A configuration by name
    #[arg(long, conflicts_with = "config", value_parser = preset_names())]
    preset: Option<String>,
    #[command(flatten)]
    keys: Keys,
    /// The run's folder
    #[arg(long, default_value = "runs/run", conflicts_with = "resume")]
    out: PathBuf,
    /// Go on with the run in this folder, from its last checkpoint. Only --steps, --data (a new
    /// place of the same images), train.gradient_checkpointing and data.store, memory_mib,
    /// cache_mib, workers may differ
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "preset"])]
    resume: Option<PathBuf>,
    /// Replace a run that the folder holds, with its priors and reports, once this one has its
    /// first checkpoint
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Take a step's images in the least number of passes that fits the device's memory
    /// (train.accumulate); a step is tried before the run begins
    #[arg(long, conflicts_with = "resume")]
    auto_batch: bool,
    #[command(flatten)]
    seen: Seen,
}

impl Train {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let none = Keys::default();
        let (folder, keys) = match &self.resume {
            Some(path) => (path, &self.keys),
            None => (&self.out, &none),
        };
        through_losses(
            global,
            folder,
            |begun| self.begin(global, begun),
            || self.resume(global, folder, keys),
        )
    }

    fn begin(&self, global: &Global, begun: &Begun) -> Result<CommandStatus> {
        if let Some(path) = &self.resume {
            begun.note();
            return self.resume(global, path, &self.keys);
        }
        if self.is_of_vectors()? {
            let new = vectors::New {
                file: self.config.as_deref(),
                keys: &self.keys,
                out: &self.out,
                overwrite: self.overwrite,
                seen: self.seen,
            };
            return new.train(global, begun);
        }
        let config = configuration(self.config.as_deref(), self.preset.as_deref(), &self.keys)?;
        RunFolder::may_create(&self.out, self.overwrite)?;
        self.keys.tell_unread(global, &config)?;
        let data = open(&config)?;
        // Before the folder is made, and above all before a run in it is replaced.
        check(&config, &data)?;
        let gpu = global.gpu()?;
        let config = match self.auto_batch {
            true => in_passes(global, &gpu, &config, &data, "")?,
            false => config,
        };
        let folder = RunFolder::create(&self.out, self.overwrite)?;
        let ended = train(
            global,
            &gpu,
            &config,
            data,
            &folder,
            Start::Fresh,
            GO_ON,
            self.seen,
        );
        begun.in_folder(&folder, ended)
    }

    /// Whether vectors are to be trained on, and not images.
    fn is_of_vectors(&self) -> Result<bool> {
        let asked = self.keys.model == Some(Architecture::Mlp);
        let of_vectors = match &self.config {
            Some(file) if self.keys.model.is_none() => vectors::is_in(file)?,
            _ => asked,
        };
        let unread = [
            ("--preset", self.preset.is_some()),
            ("--auto-batch", self.auto_batch),
        ];
        match unread.iter().find(|(_, given)| *given) {
            Some((option, _)) if of_vectors => Err(Error::config(
                *option,
                "is for models of images, and not for --model mlp",
            )),
            _ => Ok(of_vectors),
        }
    }

    fn resume(&self, global: &Global, path: &Path, keys: &Keys) -> Result<CommandStatus> {
        let folder = RunFolder::resume(path)?;
        if vectors::is_in(&folder.config())? {
            return vectors::resume(global, &folder, keys, self.seen);
        }
        let kept = with_kept_list(RunConfig::load(&folder.config())?, path);
        let config = resumed_config(&kept, keys, "--resume")?;
        let data = own_pictures(path, &config, keys)?;
        let gpu = global.gpu()?;
        train(
            global,
            &gpu,
            &config,
            data,
            &folder,
            Start::Resume,
            GO_ON,
            self.seen,
        )
    }
}

/// The configuration with as many passes a step as the device's memory asks for. `of` begins the
/// line that says so.
pub fn in_passes(
    global: &Global,
    gpu: &Gpu,
    config: &ResolvedConfig,
    data: &Arc<ImageSet>,
    of: &str,
) -> Result<ResolvedConfig> {
    let (config, peak) = fitting(gpu, config, data)?;
    output::note(global, &format!("{of}{}", passes_chosen(&peak)));
    Ok(config)
}

/// The configuration with which a first stage goes on, with flags over it.
///
/// # Errors
/// If a flag would make another run of it; `option` is what it is named by.
pub fn resumed_config(kept: &RunConfig, keys: &Keys, option: &str) -> Result<ResolvedConfig> {
    resumed_run(kept, option, |config| keys.apply(config))
}

/// The images of a first stage that goes on, once it is known that it may.
pub fn own_pictures(run: &Path, config: &RunConfig, keys: &Keys) -> Result<Arc<ImageSet>> {
    let again = format!("wgvq prior {}", output::shell(run));
    keep_priors(run, config.train.steps, &again)?;
    let options = config.data.options();
    Ok(Arc::new(pictures::open(
        run,
        &config.data.source,
        keys.data.as_deref(),
        &options,
    )?))
}

/// The command that goes on with a run whose first stage was stopped, before the run's name.
pub const GO_ON: &str = "wgvq train --resume";

/// Trains, shows how it goes, and draws the run's picture. `go_on` is the command that goes on with
/// it where it was stopped.
pub fn train(
    global: &Global,
    gpu: &Gpu,
    config: &ResolvedConfig,
    data: Arc<ImageSet>,
    folder: &RunFolder,
    start: Start,
    go_on: &str,
    seen: Seen,
) -> Result<CommandStatus> {
    let (q, t) = (&config.quantizer, &config.train);
    // Each level's, where they have sizes of their own.
    let sized = |size: &usize| {
        Options {
            codebook_size: *size,
            ..q.clone()
        }
        .codes()
        .to_string()
    };
    let codes = match config.model.codebook_sizes.as_slice() {
        [] => q.codes().to_string(),
        sizes => sizes.iter().map(sized).collect::<Vec<_>>().join(" and "),
    };
    output::note(
        global,
        &format!(
            "{}: {} images to train on, {} to test, {} x {} x {}; {} with {} codes of {}; {} \
             steps of {} on {} ({} core)",
            data.name,
            data.train.len(),
            data.test.len(),
            data.width,
            data.height,
            data.channels,
            q.kind,
            codes,
            q.code_channels(),
            t.steps,
            t.images(),
            gpu.info().name,
            gpu.core().name()
        ),
    );
    let title = format!(
        "{}: {} with {codes} codes, on {} ({} core)",
        data.name,
        q.kind,
        gpu.info().name,
        gpu.core().name()
    );
    let mut watch = Watch::new(global, t.steps)
        .seen(seen, &title, t.steps, gpu, (folder, start))
        .starting(gpu);
    let outcome = run(gpu, config, data, folder, start, &mut watch, stop_flag());
    watch.finish();
    let mut outcome = outcome?;
    if outcome.stopped {
        let (step, path) = (outcome.trainer.step_number(), output::shell(folder.path()));
        output::note(
            global,
            &format!("stopped and saved at step {step}; go on with: {go_on} {path}"),
        );
        return Ok(CommandStatus::Interrupted);
    }
    let picture = picture(config, folder, &mut outcome)?;
    report(global, folder, &outcome, &picture);
    for (prior, _) in priors_of(folder.path())?.iter().filter(|(_, own)| !own) {
        let (prior, run) = (prior.display(), output::shell(folder.path()));
        output::note(
            global,
            &format!(
                "{prior} is of another model than the run has now: `wgvq prior {run} --overwrite` \
                 trains it anew"
            ),
        );
    }
    Ok(CommandStatus::Done)
}

/// Prints the results of the run, as a line or as JSON.
fn report(global: &Global, folder: &RunFolder, outcome: &Outcome, picture: &Path) {
    let Some(e) = &outcome.evaluation else { return };
    let memory = outcome.trainer.memory();
    if global.json {
        let line = serde_json::json!({
            "run": output::shown(folder.path()), "step": e.step, "mse": e.mse, "psnr": e.psnr,
            "ssim": (!e.ssim.is_nan()).then_some(e.ssim), "sharpness": e.sharpness,
            "edge_sharpness": e.edge_sharpness,
            "lpips": (!e.lpips.is_nan()).then_some(e.lpips),
            "perplexity": e.perplexity,
            "entropy_bits": e.entropy_bits, "bits_per_pixel": e.bits_per_pixel,
            "quantization_error": e.quantization_error,
            "used": e.used, "codes": e.counts.len(), "seconds": outcome.elapsed.as_secs_f64(),
            "peak_device_bytes": memory.peak,
            "waited_share": outcome.trainer.waiting().map(|w| w.share()),
            "picture": output::shown(picture),
        });
        json::print("train", &line);
    } else {
        output::result(&format!("{e}"));
        let (time, mib) = (output::duration(outcome.elapsed), memory.peak >> 20);
        let waited = outcome
            .trainer
            .waiting()
            .map(|w| format!(", {}", output::waited(w)))
            .unwrap_or_default();
        output::note(
            global,
            &format!("{time}, {mib} MiB of device memory at peak{waited}"),
        );
        output::result(&format!("picture: {}", picture.display()));
        output::result(&format!("model:   {}", folder.model().display()));
    }
}

/// Originals over reconstructions, the curves and the codebook's use, in one picture.
fn picture(config: &RunConfig, folder: &RunFolder, outcome: &mut Outcome) -> Result<PathBuf> {
    let columns = metrics_log::columns(&folder.metrics())?;
    let column = |name: &str| metrics_log::column(&columns, name);
    let (steps, reconstruction, perplexity) = (
        column("step"),
        column("reconstruction"),
        column("perplexity"),
    );
    // The log's pixels lie in [-1, 1], the picture's and the references' in [0, 1].
    let mse: Vec<f64> = reconstruction.iter().map(|v| v / 4.0).collect();
    let mut reference: Vec<Reference> = Vec::new();
    for preset in presets().iter().filter(|p| !p.reference.is_empty()) {
        if preset.config()?.data.source == config.data.source {
            reference.extend(preset.reference);
        }
    }
    let shown = |f: fn(&Reference) -> f64| -> Vec<(f64, f64)> {
        reference
            .iter()
            .filter(|r| r.step <= config.train.steps)
            .map(|r| (r.step as f64, f(r)))
            .collect()
    };
    let (originals, reconstructions) = outcome.trainer.test_pairs(16)?;
    let data = outcome.trainer.data();
    let (usage, figures) = match &outcome.evaluation {
        Some(e) => (e.counts.clone(), e.to_string()),
        None => (Vec::new(), String::new()),
    };
    let png = summary(&Summary {
        title: &format!("{}: originals over reconstructions, held out", data.name),
        pairs: (&originals, &reconstructions),
        width: data.width,
        height: data.height,
        channels: data.channels,
        steps: &steps,
        loss: &mse,
        perplexity: &perplexity,
        reference: &shown(|r| r.mse),
        reference_perplexity: &[],
        usage: &usage,
        figures,
    })?;
    let path = folder.pictures().join("summary.png");
    atomic::write(&path, &png)?;
    if columns.iter().any(|(name, _)| name == "discriminator") {
        atomic::write(&folder.pictures().join("gan.png"), &gan_curves(&columns)?)?;
    }
    let names: Vec<String> = outcome
        .trainer
        .levels()
        .iter()
        .map(|l| l.name.clone())
        .collect();
    if names.len() > 1 {
        let data = outcome.trainer.data();
        let shape = Shape {
            width: data.width,
            height: data.height,
            channels: data.channels,
        };
        let pictures = outcome.trainer.test_levels(8)?.concat();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        atomic::write(
            &folder.pictures().join("levels.png"),
            &by_level(&pictures, shape, &names)?.png()?,
        )?;
    }
    Ok(path)
}
