//! `wgvq compare`: several quantizers, or one with codebooks of several sizes, under one budget on
//! the same data.

mod asked;
mod results;

use crate::cli::common::apart::apart;
use crate::cli::common::json;
use crate::cli::common::keys::{Keys, configuration, open, preset_names, quantizer_names};
use crate::cli::common::losses::repeated_through_losses;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::common::round::{Round, ms_per_step};
use crate::cli::common::signals::stop_flag;
use crate::cli::common::watch::Watch;
use crate::cli::prior::compare::{Common, ComparedPriors};
use crate::cli::prior::stage::PriorKeys;
use crate::cli::{CommandStatus, Global};
use asked::{refuse_own, sizes};
use clap::Args;
use results::{csv, curves, png_bits, read, read_beside};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wgvq::config::run::{ResolvedConfig, RunConfig};
use wgvq::config::{DottedConfig, Resumable};
use wgvq::data::{ImageSet, absolute};
use wgvq::gpu::Gpu;
use wgvq::quantize::{self, Registry};
use wgvq::report::comparison::{self, RunResult};
use wgvq::storage::atomic;
use wgvq::storage::checkpoint;
use wgvq::storage::checkpoint::Checkpoint;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::{Start, check, levels_of, run};
use wgvq::{Error, Result};

/// `wgvq compare --quantizers ema,fsq,lfq --steps 500 --out compared`
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq compare --steps 500 --out runs/compared           # all quantizers: a table and a chart
  wgvq compare --quantizers ema,fsq --seeds 0,1,2 --steps 2000 --out runs/curves
  wgvq compare --quantizers ema --k 64..8192 --steps 500 --out runs/sizes
  wgvq compare --priors raster,any,masked --of runs/fashion --steps 2000 --out runs/orders
  wgvq compare --priors raster,masked --of runs/fashion --metric fwd,accuracy --n 1000")]
pub struct Compare {
    /// A configuration in TOML, the base of all runs
    config: Option<PathBuf>,
    /// A configuration by name
    #[arg(long, conflicts_with = "config", value_parser = preset_names())]
    preset: Option<String>,
    /// The quantizers, by name; all there are, or ema with --k
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = quantizer_names(),
        hide_possible_values = true
    )]
    quantizers: Vec<String>,
    /// Sizes of the codebook: from..to in powers of two, or a list
    #[arg(long, value_name = "K..K|K,K")]
    k: Option<String>,
    /// Seeds; a table row is the mean over them
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    /// Another program's curves, to be drawn beside: a CSV file with the columns
    /// quantizer,seed,step,mse,psnr,perplexity,used,codes
    #[arg(long, alias = "beside", value_name = "CSV")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    pub priors: ComparedPriors,
    #[command(flatten)]
    keys: Keys,
    /// The folder: a run to each, the table and the chart
    #[arg(long, default_value = "compared")]
    out: PathBuf,
    /// Train again what the folder holds already; each run stays until its successor has its first
    /// checkpoint
    #[arg(long)]
    overwrite: bool,
    /// Write event files for TensorBoard into the folder of each run: metrics,
    /// reconstructions, the use of codes; a run that has some goes on with them
    #[arg(long)]
    tensorboard: bool,
}

/// Files that it writes beside the runs.
const FILES: [&str; 4] = ["compare.md", "compare.png", "compare.csv", "curves.csv"];

/// One run of the comparison.
struct Entry {
    /// Its name in the table.
    name: String,
    folder: PathBuf,
    config: ResolvedConfig,
}

/// Each once, in order: what is named twice would be one run, counted as two.
fn once<T: PartialEq + std::fmt::Display>(global: &Global, option: &str, all: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = Vec::new();
    for one in all {
        if kept.contains(&one) {
            output::note(
                global,
                &format!("{option} names {one} more than once: it is one run"),
            );
        } else {
            kept.push(one);
        }
    }
    kept
}

impl Compare {
    fn entries(&self, global: &Global) -> Result<Vec<Entry>> {
        let base = configuration(
            self.config.as_deref(),
            self.preset.as_deref(),
            &Keys::default(),
        )?;
        let named: Vec<&str> = match (&self.quantizers[..], &self.k) {
            ([], None) => quantize::all().iter().map(|k| k.name).collect(),
            ([], Some(_)) => vec!["ema"],
            (names, _) => names.iter().map(String::as_str).collect(),
        };
        let named = named
            .into_iter()
            .map(|name| Ok(quantize::find(name)?.name))
            .collect::<Result<Vec<_>>>()?;
        let sizes = self
            .k
            .as_deref()
            .map(sizes)
            .transpose()?
            .map(|all| once(global, "--k", all));
        let (named, seeds) = (
            once(global, "--quantizers", named),
            once(global, "--seeds", self.seeds.clone()),
        );
        let mut entries = Vec::new();
        for kind in named {
            if kind == "fsq" && sizes.is_some() {
                return Err(Error::config(
                    "--k",
                    "does not suit `fsq`, whose codes follow from quantizer.levels",
                ));
            }
            for k in sizes
                .iter()
                .flatten()
                .map(|k| Some(*k))
                .chain(sizes.is_none().then_some(None))
            {
                for seed in &seeds {
                    let mut config = base.clone().into_inner();
                    // A kind's own channels, not those that the base resolved for another.
                    config.quantizer = quantize::Options {
                        kind: kind.into(),
                        dim: 0,
                        codebook_dim: 0,
                        ..base.quantizer.clone()
                    };
                    config.train.seed = *seed;
                    self.keys.apply(&mut config)?;
                    if seed == &seeds[0] {
                        let unread = self.keys.unread(&config);
                        unread.iter().for_each(|(key, why)| {
                            output::note(global, &format!("{kind}: {key}: {why}"))
                        });
                    }
                    if let Some(k) = k {
                        config.quantizer.codebook_size = k as usize;
                    }
                    // Ten points to a curve, and the last.
                    config.train.eval_every = (config.train.steps / 10).max(1);
                    let name = k.map_or_else(|| kind.to_owned(), |k| format!("{kind} {k}"));
                    let folder = self
                        .out
                        .join(format!("{}-seed{seed}", name.replace(' ', "-k")));
                    entries.push(Entry {
                        name,
                        folder,
                        config: config.resolve(&Registry::default())?,
                    });
                }
            }
        }
        Ok(entries)
    }

    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        repeated_through_losses(global, &self.out, || self.compare(global))
    }

    fn compare(&self, global: &Global) -> Result<CommandStatus> {
        let (keys, seeds) = (&self.keys, once(global, "--seeds", self.seeds.clone()));
        let common = Common {
            config: self.config.as_deref(),
            keys: PriorKeys {
                steps: keys.steps,
                batch: keys.batch,
                lr: keys.lr,
                seed: keys.seed,
                set: &keys.set,
            },
            data: keys.data.as_deref(),
            seeds: &seeds,
            out: &self.out,
            overwrite: self.overwrite,
            event_files: self.tensorboard,
        };
        if let Some(done) = self.priors.run(global, &common) {
            return done;
        }
        refuse_own(&self.keys, self.k.is_some())?;
        let entries = self.entries(global)?;
        let written = ["compare.csv", "curves.csv", "compare.md", "compare.png"];
        apart(
            self.reference.iter().chain(&self.config),
            written.map(|name| self.out.join(name)),
        )?;
        let beside = self
            .reference
            .as_deref()
            .map(read_beside)
            .transpose()?
            .unwrap_or_default();
        let first = &entries
            .first()
            .ok_or_else(|| Error::config("--seeds", "names no seed"))?
            .config;
        let data = open(first)?;
        entries.iter().try_for_each(|e| check(&e.config, &data))?;
        let place = Place::folder(global, &self.out)?;
        place.holds_none(FILES, true)?;
        let round = Round::begin(
            &self.out,
            entries
                .iter()
                .map(|e| (e.folder.as_path(), e.config.sha256())),
            self.overwrite,
        )?;
        // Of all, before the first is trained.
        entries
            .iter()
            .try_for_each(|e| self.started(e, &data, &round).map(drop))?;
        let gpu = global.gpu()?;
        let size = [data.width, data.height, data.channels];
        entries
            .iter()
            .try_for_each(|e| levels_of(&gpu, &e.config, size).map(drop))?;
        let (steps, batch) = (first.train.steps, first.train.images());
        let budget = format!("{}: {steps} steps of {batch} each", data.name);
        output::note(
            global,
            &format!("{budget}; {} runs on {}", entries.len(), gpu.info().name),
        );
        let mut reached = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            output::note(
                global,
                &format!("{} of {}: {}", i + 1, entries.len(), entry.folder.display()),
            );
            match self.one(global, &gpu, entry, &data, &round)? {
                Some(r) => reached.push(r),
                None => {
                    output::note(
                        global,
                        "stopped and saved; the same command goes on from here",
                    );
                    return Ok(CommandStatus::Interrupted);
                }
            }
        }
        self.report(global, &data, &budget, &entries, &reached, &beside, &place)?;
        round.end()?;
        Ok(CommandStatus::Done)
    }

    /// Whether a run was begun before, which is resumed.
    fn started(&self, entry: &Entry, data: &ImageSet, round: &Round) -> Result<bool> {
        RunFolder::settle(&entry.folder)?;
        let known = entry.folder.join("config.toml");
        if !known.is_file() || round.replaces(&entry.folder) {
            return RunFolder::may_create(&entry.folder, self.overwrite).map(|()| false);
        }
        if !continues(
            &entry.folder,
            &RunConfig::load(&known)?,
            &entry.config,
            data,
        )? {
            let what = "holds a run of another configuration or on other images; choose another \
                        --out, or replace it with --overwrite";
            return Err(Error::file(&entry.folder, what));
        }
        Ok(true)
    }

    /// Trains one, or reads what it reached before. `None` if it was stopped.
    fn one(
        &self,
        global: &Global,
        gpu: &Gpu,
        entry: &Entry,
        data: &Arc<ImageSet>,
        round: &Round,
    ) -> Result<Option<RunResult>> {
        let started = self.started(entry, data, round)?;
        let pace = entry.folder.join("pace.json");
        if !(started && entry.folder.join("final.safetensors").is_file() && pace.is_file()) {
            let start = if started { Start::Resume } else { Start::Fresh };
            let folder = match start {
                Start::Resume => RunFolder::resume(&entry.folder)?,
                Start::Fresh => {
                    let folder = RunFolder::create(&entry.folder, self.overwrite)?;
                    round.mark(folder.path())?;
                    folder
                }
            };
            let mut watch = Watch::new(global, entry.config.train.steps)
                .starting(gpu)
                .with_event_files(self.tensorboard);
            let outcome = run(
                gpu,
                &entry.config,
                data.clone(),
                &folder,
                start,
                &mut watch,
                stop_flag(),
            );
            watch.finish();
            let mut outcome = match outcome {
                // The run that is there is as it was: the next call begins with it.
                Err(_) if stop_flag().load(Ordering::Relaxed) && folder.replaces() => {
                    return Ok(None);
                }
                outcome => outcome?,
            };
            if outcome.stopped {
                return Ok(None);
            }
            let ms = ms_per_step(gpu, &mut outcome.trainer)?;
            let codes: usize = outcome
                .trainer
                .levels()
                .iter()
                .map(|l| l.codebook_size * l.codebooks)
                .sum();
            let about = serde_json::json!({ "ms_per_step": ms, "codes": codes });
            atomic::write(&pace, about.to_string().as_bytes())?;
        }
        if stop_flag().load(Ordering::Relaxed) {
            return Ok(None);
        }
        read(entry, &pace).map(Some)
    }

    fn report(
        &self,
        global: &Global,
        data: &ImageSet,
        budget: &str,
        entries: &[Entry],
        reached: &[RunResult],
        beside: &[RunResult],
        place: &Place,
    ) -> Result<()> {
        let rows = comparison::averaged(reached);
        let raw = 8 * data.channels;
        let heading = format!(
            "{budget}; raw pixels have {raw} bits, as PNG {:.2}",
            png_bits(data)?
        );
        let table = comparison::table(&rows);
        let mut text = format!("{heading}\n\n{table}");
        let beside = comparison::averaged(beside);
        if let Some(held) = comparison::held_against(&rows, &beside) {
            text += &format!("\nbeside the other program's\n\n{held}");
        }
        let title = format!("{}, test split", data.name);
        let chart = if self.k.is_some() {
            let mut lines: Vec<(String, Vec<RunResult>)> = Vec::new();
            for (r, _) in &rows {
                let kind = r.name.split(' ').next().unwrap_or_default().to_owned();
                match lines.iter_mut().find(|(name, _)| *name == kind) {
                    Some((_, line)) => line.push(r.clone()),
                    None => lines.push((kind, vec![r.clone()])),
                }
            }
            for (name, line) in &lines {
                text += &format!("\n{}\n", comparison::saturation(name, line));
            }
            comparison::sizes(&title, &lines)?
        } else {
            comparison::curves(&title, &rows, &beside)?
        };
        let [md, picture, table_csv, curves_csv] = FILES;
        let staged = place.staged()?;
        let write = |name: &str, bytes: &[u8]| atomic::write(&staged.path().join(name), bytes);
        write(md, text.as_bytes())?;
        write(picture, &chart)?;
        write(table_csv, csv(reached).as_bytes())?;
        write(curves_csv, curves(entries)?.as_bytes())?;
        staged.put(&[])?;
        let (md, picture) = (self.out.join(md), self.out.join(picture));
        if global.json {
            for r in reached {
                let line = serde_json::json!({
                    "quantizer": r.name, "codes": r.codes, "mse": r.mse, "psnr": r.psnr,
                    "ssim": r.ssim,
                    "perplexity": r.perplexity, "used": r.used, "bits_per_pixel": r.bits_per_pixel,
                    "ms_per_step": r.ms_per_step,
                });
                json::print("compare", &line);
            }
        } else {
            output::result(&text);
            output::result(&format!(
                "table: {}\nchart: {}",
                md.display(),
                picture.display()
            ));
        }
        Ok(())
    }
}

/// Whether a folder holds a run of this configuration on these images, by whatever path they were
/// named.
fn continues(
    folder: &Path,
    known: &RunConfig,
    wanted: &RunConfig,
    data: &ImageSet,
) -> Result<bool> {
    let mut wanted = wanted.clone();
    wanted.train.precision = wanted.train.precision.of_run(known.train.precision);
    if known.identity()? != wanted.identity()? || known.train.steps != wanted.train.steps {
        return Ok(false);
    }
    // A list of files splits the same images otherwise, whatever its name.
    let listed = [known, &wanted]
        .iter()
        .any(|c| !c.data.test_files.is_empty());
    if absolute(&known.data.source) == absolute(&wanted.data.source) && !listed {
        return Ok(true);
    }
    // Where nothing was saved yet, nothing was made of other images.
    let latest = checkpoint::latest(&folder.join("checkpoints"))?;
    let sum = |c: &Checkpoint| {
        c.state["data"]["sha256"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    Ok(latest.is_none_or(|latest| data.is_of_sum(&sum(&latest.checkpoint))))
}
