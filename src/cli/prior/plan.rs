//! `wgvq plan --prior`: what a prior will take.

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::peaks::{described, table_of};
use crate::cli::prior::stage::PriorKeys;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::num::NonZeroUsize;
use std::path::Path;
use wgvq::config::prior::PriorConfig;
use wgvq::config::{DottedConfig, Resolved};
use wgvq::models::prior::{Kind, Shape, Vocabulary};
use wgvq::plan::{PriorMemory, PriorState, measured_step, prior_peaks, prior_states};
use wgvq::{Error, Result};

/// The options of `wgvq plan` that are about priors.
#[derive(Args)]
pub struct PlannedPrior {
    /// A prior instead of a first stage: a size (tiny, small, base, medium, large, xl, xxl) or a
    /// configuration in TOML; its memory is counted, and no step is taken
    #[arg(long, value_name = "SIZE|TOML", requires = "grid", conflicts_with_all = [
        "config", "preset", "data", "model", "quantizer", "auto_recover",
    ])]
    prior: Option<String>,
    /// Rows and columns of an image's codes
    #[arg(long, value_name = "ROWSxCOLUMNS", value_parser = grid, requires = "prior")]
    grid: Option<[usize; 2]>,
    /// Codes of each cell
    #[arg(long, value_name = "Q", default_value_t = 1, requires = "prior")]
    codebooks: usize,
    /// Classes of the images
    #[arg(long, value_name = "N", default_value_t = 0, requires = "prior")]
    classes: usize,
    /// Processes that train together over MPI: what one of them takes is counted, which has its
    /// share of a pass's images and, with train.shard_optimizer, of the moments
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN, requires = "prior",
        conflicts_with = "measure")]
    processes: NonZeroUsize,
    /// Take two steps of the prior, too, over made-up codes
    #[arg(long, requires = "prior")]
    measure: bool,
}

/// Codes of a codebook, where nothing else is asked for.
const CODES: u64 = 512;

fn grid(text: &str) -> std::result::Result<[usize; 2], String> {
    let sides = text.split_once('x');
    let sides = sides.and_then(|(h, w)| Some([h.trim().parse().ok()?, w.trim().parse().ok()?]));
    sides.ok_or_else(|| format!("`{text}` is no grid: write 32x32"))
}

impl PlannedPrior {
    /// Plans a prior; `None` where a first stage is asked for.
    pub fn run(
        &self,
        global: &Global,
        keys: &PriorKeys,
        codes: Option<u64>,
    ) -> Option<Result<CommandStatus>> {
        let (prior, grid) = self.prior.as_ref().zip(self.grid)?;
        let vocabulary = Vocabulary {
            codebook_size: codes.unwrap_or(CODES) as usize,
            codebooks: self.codebooks,
            grid,
            classes: self.classes,
            above: Vec::new(),
            text: None,
            scales: None,
        };
        let config = configuration(prior, keys);
        Some(config.and_then(|config| self.plan(global, &config, &vocabulary)))
    }

    fn plan(
        &self,
        global: &Global,
        config: &Resolved<PriorConfig>,
        vocabulary: &Vocabulary,
    ) -> Result<CommandStatus> {
        let gpu = global.gpu()?;
        let ranks = self.processes.get();
        let memory = PriorMemory::of_rank(&gpu, config, vocabulary, ranks)?;
        let peaks = prior_peaks(&gpu, config, vocabulary, ranks)?;
        let states = prior_states(&gpu, config, vocabulary, ranks)?;
        if config.train.shard_optimizer && ranks == 1 {
            let what = "train.shard_optimizer: one process alone keeps all moments; say how many \
                        share them by --processes";
            output::note(global, what);
        }
        let step = match self.measure {
            true => Some(measured_step(&gpu, config, vocabulary)?),
            false => None,
        };
        if global.json {
            let line = serde_json::json!({
                "parameters": memory.parameters, "parameter_buffers": memory.buffers,
                "rows": memory.rows, "processes": ranks,
                "weights_bytes": memory.weights, "optimizer_bytes": memory.optimizer,
                "activations_bytes": memory.activations, "peak_device_bytes": memory.peak(),
                "cache_bytes_per_image": memory.cache_per_image,
                "measured_peak_device_bytes": step.map(|s| s.peak_bytes),
                "measured_ms_per_step": step.map(|s| s.time.as_secs_f64() * 1e3),
                "peaks": peaks.iter().map(described).collect::<Vec<_>>(),
                "states": states.iter().map(state_as_json).collect::<Vec<_>>(),
            });
            json::print("plan-prior", &line);
            return Ok(CommandStatus::Done);
        }
        let row = |name: &str, value: String| output::result(&format!("{name:<18}{value}"));
        let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
        let buffers = match memory.buffers {
            1 => String::new(),
            n => format!(", in {n} buffers, as this device binds them"),
        };
        if ranks > 1 {
            row("processes", format!("{ranks}; what one of them takes:"));
        }
        row("parameters", format!("{}{buffers}", memory.parameters));
        row("sequence", format!("{} rows an image", memory.rows));
        row("weights", mib(memory.weights));
        row(
            "optimizer",
            format!("{}, gradients too", mib(memory.optimizer)),
        );
        row(
            "activations",
            format!(
                "{}, {} images a pass",
                mib(memory.activations),
                memory.images
            ),
        );
        row("device memory", format!("{} at peak", mib(memory.peak())));
        table_of(&peaks);
        for state in &states {
            let (name, value) = state_in_words(state);
            row(&name, value);
        }
        if config.prior.kind == Kind::Autoregressive {
            let each = memory.cache_per_image;
            row(
                "cache",
                format!(
                    "{} for each image that is drawn, twice that with guidance",
                    mib(each)
                ),
            );
        }
        if let Some(step) = step {
            let ms = step.time.as_secs_f64() * 1e3;
            row(
                "a step",
                format!("{} at peak, {ms:.0} ms", mib(step.peak_bytes)),
            );
        }
        Ok(CommandStatus::Done)
    }
}

/// Returns the state that a training keeps, as JSON.
fn state_as_json(state: &PriorState) -> serde_json::Value {
    serde_json::json!({
        "optimizer_state": state.moments, "copies": state.copies,
        "peak_device_bytes": state.bytes, "device_gib": state.device_gib(),
    })
}

/// Returns the state that a training keeps, and what device holds it, in words.
fn state_in_words(state: &PriorState) -> (String, String) {
    let copies = match state.copies {
        true => ", average and best weights kept",
        false => ", neither average nor best weights kept",
    };
    let device = match state.device_gib() {
        Some(gib) => format!("fits {gib} GiB"),
        None => "fits no device of 192 GiB".into(),
    };
    let mib = state.bytes.div_ceil(1 << 20);
    let value = format!("{mib} MiB at peak{copies}: {device}");
    (format!("  {} moments", state.moments), value)
}

fn configuration(prior: &str, keys: &PriorKeys) -> Result<Resolved<PriorConfig>> {
    let path = Path::new(prior);
    let mut config = match prior.ends_with(".toml") || path.is_file() {
        true => PriorConfig::load(path)?,
        false => PriorConfig {
            prior: Shape::of_size(prior).map_err(|_| {
                let what = format!("`{prior}` is neither a size nor a configuration in TOML");
                Error::config("--prior", what)
            })?,
            ..Default::default()
        },
    };
    keys.apply(&mut config)?;
    config.resolve()
}
