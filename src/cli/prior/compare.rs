//! `wgvq compare --priors`: priors of several orders over the codes of one run, under one budget.

mod entry;

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::pictures;
use crate::cli::common::place::Place;
use crate::cli::common::round::{Round, ms_per_step};
use crate::cli::common::signals::stop_flag;
use crate::cli::common::watch::{Seen, Watch};
use crate::cli::prior::evaluate::{CLASSIFIER, Judge, Metric};
use crate::cli::prior::stage::{PriorKeys, Training};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use entry::{Drawn, Entry, entries};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;
use wgvq::codes::tokens::{TokenDatasetInfo, Tokens};
use wgvq::config::prior::PriorConfig;
use wgvq::config::{DottedConfig, Resumable};
use wgvq::data::ImageSet;
use wgvq::gpu::Gpu;
use wgvq::inference::{
    FirstStageModel, Hierarchy, PriorModel, SampleRequest, SamplingOptions, prior_folder,
};
use wgvq::report::grid::Shape;
use wgvq::report::prior_comparison::{PriorResult, averaged, chart, table};
use wgvq::report::samples::rows;
use wgvq::storage::atomic;
use wgvq::storage::run_folder::RunFolder;
use wgvq::storage::run_parts::DRAWN;
use wgvq::storage::table::{self as csv, measured};
use wgvq::train::Start;
use wgvq::train::prior::{PriorStage, TokenSource, check, made, run_prior};
use wgvq::{Error, Result};

/// The options of `wgvq compare` that are about priors.
#[derive(Args)]
pub struct ComparedPriors {
    /// Compare priors instead of quantizers, by name: raster, annealed, any (orders in which codes
    /// are predicted), masked, or any value of prior.kind or prior.order
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1.., requires = "of",
        conflicts_with_all = ["preset", "quantizers", "k", "reference", "model", "quantizer",
            "codes", "auto_recover"])]
    priors: Vec<String>,
    /// The run whose codes the priors are over
    #[arg(long, value_name = "RUN", requires = "priors")]
    pub of: Option<PathBuf>,
    /// The priors' size: tiny, small, base, medium, large, xl or xxl
    #[arg(long, requires = "priors", conflicts_with = "config")]
    size: Option<String>,
    /// Measures of the priors' samples, as `wgvq evaluate` takes them
    #[arg(
        long = "metric",
        value_name = "METRIC,..",
        value_delimiter = ',',
        requires = "priors"
    )]
    metrics: Vec<Metric>,
    /// Images that each prior draws, with the classes of as many images held out
    #[arg(long, default_value_t = 64, requires = "priors")]
    n: usize,
    /// Steps that the classifier is trained for, which some measures need
    #[arg(
        long,
        value_name = "STEPS",
        default_value_t = 1_000,
        requires = "priors"
    )]
    classifier_steps: u64,
}

/// The settings that comparisons of both kinds take.
pub struct Common<'a> {
    pub config: Option<&'a Path>,
    pub keys: PriorKeys<'a>,
    pub data: Option<&'a str>,
    pub seeds: &'a [u64],
    pub out: &'a Path,
    pub overwrite: bool,
    pub event_files: bool,
}

/// Files that it writes beside the priors.
const FILES: [&str; 4] = ["compare.md", "compare.png", "compare.csv", "samples.png"];
/// Images of each prior in the picture.
const SHOWN: usize = 12;

impl ComparedPriors {
    /// Compares priors; `None` where quantizers are asked for.
    pub fn run(&self, global: &Global, common: &Common) -> Option<Result<CommandStatus>> {
        let run = self.of.as_deref().filter(|_| !self.priors.is_empty())?;
        Some(self.compare(global, run, common))
    }

    fn compare(&self, global: &Global, run: &Path, common: &Common) -> Result<CommandStatus> {
        let entries = entries(&self.priors, self.size.as_deref(), common)?;
        if self.n < 2 || self.classifier_steps == 0 {
            let what = "takes at least 2 images, and --classifier-steps at least 1";
            return Err(Error::config("--n", what));
        }
        let place = Place::folder(global, common.out)?;
        place.holds_none(FILES, true)?;
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, run)?;
        if model.levels().len() > 1 {
            let what = "has several levels of codes, and an image needs a prior of each: compare \
                        priors over a model of one level";
            return Err(Error::file(run, what));
        }
        let set = images(run, &model, common.data)?;
        let info = {
            let config = &entries[0].config;
            let stage = PriorStage {
                gpu: &gpu,
                model: &model,
                level: 0,
                config,
            };
            stage.describe(&TokenSource::of(&set))?
        };
        // Of all, before the first is trained.
        for entry in &entries {
            check(&gpu, &entry.config, &info.vocabulary)?;
        }
        let classifier = common.out.join(CLASSIFIER);
        let work = Work {
            global,
            gpu: &gpu,
            model: &model,
            set: &set,
            info: &info,
            common,
            options: self,
            judge: Judge {
                global,
                gpu: &gpu,
                set: &set,
                file: &classifier,
                steps: self.classifier_steps,
                overwrite: common.overwrite,
            },
        };
        work.may_measure()?;
        let sums = entries
            .iter()
            .map(|e| (e.folder.as_path(), e.config.sha256()));
        let round = Round::begin(common.out, sums, common.overwrite)?;
        for entry in &entries {
            work.started(entry, &round)?;
        }
        let Some(tokens) = work.tokens(run, &entries[0])? else {
            return Ok(CommandStatus::Abandoned);
        };
        let t = &entries[0].config.train;
        let budget = format!(
            "{}: {} steps of {} images each",
            set.name,
            t.steps,
            t.images()
        );
        output::note(
            global,
            &format!("{budget}; {} priors on {}", entries.len(), gpu.info().name),
        );
        let mut reached = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let said = format!("{} of {}: {}", i + 1, entries.len(), entry.folder.display());
            output::note(global, &said);
            match work.one(entry, &tokens, &round)? {
                Some(one) => reached.push(one),
                None => {
                    let said = "stopped and saved; the same command goes on from here";
                    output::note(global, said);
                    return Ok(CommandStatus::Interrupted);
                }
            }
        }
        work.report(&budget, &reached, &place)?;
        round.end()?;
        Ok(CommandStatus::Done)
    }
}

/// The images that the codes are of, in the model's size.
fn images(run: &Path, model: &FirstStageModel, asked: Option<&str>) -> Result<ImageSet> {
    let mut about = model.config().data.clone();
    (about.width, about.height, about.channels) = model.image().into();
    let own = pictures::source_of(run, model);
    pictures::open(run, &own, asked, &about.options())
}

/// A comparison under way.
struct Work<'a> {
    global: &'a Global,
    gpu: &'a Gpu,
    model: &'a FirstStageModel,
    set: &'a ImageSet,
    info: &'a TokenDatasetInfo,
    common: &'a Common<'a>,
    options: &'a ComparedPriors,
    judge: Judge<'a>,
}

impl Work<'_> {
    /// Checks that the measures can be taken, before anything is trained.
    fn may_measure(&self) -> Result<()> {
        let metrics = &self.options.metrics;
        let few = self.images();
        if metrics.iter().any(|m| m.needs_network()) {
            self.judge.may_train()?;
            if self.set.classes.len() < 2 {
                let what = format!("{} has no classes to train a classifier by", self.set.name);
                return Err(Error::config("--metric", what));
            }
        }
        if metrics.contains(&Metric::Accuracy) && self.judge.held_out(few).1.is_empty() {
            let what = format!(
                "accuracy: {} has images held out of no class",
                self.set.name
            );
            return Err(Error::config("--metric", what));
        }
        Ok(())
    }

    /// Returns the number of images that each prior draws.
    fn images(&self) -> usize {
        match self.options.metrics.is_empty() {
            true => self.options.n,
            false => self
                .options
                .n
                .min(self.set.train.len())
                .min(self.set.test.len()),
        }
    }

    /// Opens the tokens that all are trained on: the run's prior's, the comparison's own, or makes
    /// these; `None` if this was stopped. Returns their folder.
    fn tokens(&self, run: &Path, first: &Entry) -> Result<Option<PathBuf>> {
        let own = self.common.out.join("tokens");
        let of_the_run = prior_folder(run, "").join("tokens");
        if let Some(Ok(_)) = made(&of_the_run, self.info) {
            return Ok(Some(of_the_run));
        }
        match made(&own, self.info) {
            Some(Ok(_)) => return Ok(Some(own)),
            Some(Err(e)) if !self.common.overwrite => return Err(e),
            _ => {}
        }
        let training = Training {
            global: self.global,
            stage: PriorStage {
                gpu: self.gpu,
                model: self.model,
                level: 0,
                config: &first.config,
            },
            go_on: "the same command",
            seen: Seen::default(),
        };
        let source = TokenSource::of(self.set);
        let made =
            training.tokenize_into(&source, &own, "the same command begins with them again")?;
        Ok(made.map(|_| own))
    }

    /// Whether a prior was begun before, which is resumed.
    fn started(&self, entry: &Entry, round: &Round) -> Result<bool> {
        RunFolder::settle(&entry.folder)?;
        let known = entry.folder.join("config.toml");
        if !known.is_file() || round.replaces(&entry.folder) {
            return RunFolder::may_create(&entry.folder, self.common.overwrite).map(|()| false);
        }
        let known = PriorConfig::load(&known)?;
        let mut wanted = entry.config.clone().into_inner();
        wanted.train.precision = wanted.train.precision.of_run(known.train.precision);
        if known.identity()? != wanted.identity()? || known.train.steps != wanted.train.steps {
            let what = "holds a prior of another configuration; choose another --out, or replace \
                        it with --overwrite";
            return Err(Error::file(&entry.folder, what));
        }
        Ok(true)
    }

    /// Trains one and draws of it, or reads what it reached before. `None` if it was stopped.
    fn one(
        &self,
        entry: &Entry,
        tokens: &Path,
        round: &Round,
    ) -> Result<Option<(PriorResult, Drawn)>> {
        let started = self.started(entry, round)?;
        let pace = entry.folder.join("pace.json");
        if !(started && entry.folder.join("final.safetensors").is_file() && pace.is_file()) {
            let (folder, start) = match started {
                true => (RunFolder::resume(&entry.folder)?, Start::Resume),
                false => {
                    let folder = RunFolder::create(&entry.folder, self.common.overwrite)?;
                    round.mark(folder.path())?;
                    (folder, Start::Fresh)
                }
            };
            let mut watch = Watch::new(self.global, entry.config.train.steps)
                .starting(self.gpu)
                .with_event_files(self.common.event_files);
            let (gpu, config) = (self.gpu, &entry.config);
            let stage = PriorStage {
                gpu,
                model: self.model,
                level: 0,
                config,
            };
            let tokens = stage.with_codes(Tokens::open(tokens)?)?;
            let outcome = run_prior(gpu, config, tokens, &folder, start, &mut watch, stop_flag());
            watch.finish();
            let mut outcome = match outcome {
                // The prior that is there is as it was: the next call begins with it.
                Err(_) if stop_flag().load(Ordering::Relaxed) && folder.replaces() => {
                    return Ok(None);
                }
                outcome => outcome?,
            };
            if outcome.stopped {
                return Ok(None);
            }
            let about = serde_json::json!({
                "ms_per_step": ms_per_step(gpu, &mut outcome.trainer)?,
                "parameters": outcome.trainer.parameter_count(),
            });
            atomic::write(&pace, about.to_string().as_bytes())?;
        }
        if stop_flag().load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Some(drawn) = self.drawn(entry)? else {
            return Ok(None);
        };
        Ok(Some((entry.result(&pace, &drawn)?, drawn)))
    }

    /// Returns the samples of a trained prior, and how long they took; those that were drawn before
    /// count.
    fn drawn(&self, entry: &Entry) -> Result<Option<Drawn>> {
        let file = entry.folder.join(DRAWN);
        let metrics: Vec<&str> = self.options.metrics.iter().map(|m| m.name()).collect();
        let n = self.images();
        let asked = format!(
            "{n} images; {}; {}",
            metrics.join(","),
            self.options.classifier_steps
        );
        let prior = PriorModel::load(self.gpu, &entry.folder, self.model)?;
        let of = format!("{asked}; {}", entry.sum()?);
        if let Some(drawn) = Drawn::load(&file).filter(|drawn| drawn.of == of) {
            return Ok(Some(drawn));
        }
        let info = prior.info().clone();
        let (_, classes) = self.judge.held_out(n);
        let classes = match info.vocabulary.classes > 0 && classes.len() == n {
            true => classes,
            false => vec![info.vocabulary.no_class(); n],
        };
        let options = SamplingOptions {
            seed: entry.config.train.seed,
            ..Default::default()
        };
        let request = SampleRequest {
            options,
            ..SampleRequest::new(&classes)
        };
        let priors = Hierarchy::new(vec![prior])?;
        // Kernels are compiled before the time counts.
        let one = SampleRequest {
            options,
            ..SampleRequest::new(&classes[..1])
        };
        priors.sample(&one, &mut wgvq::inference::no_progress)?;
        let began = Instant::now();
        let Some(samples) = super::sampling::sample(self.global, &priors, &request)? else {
            return Ok(None);
        };
        let seconds = began.elapsed().as_secs_f64();
        let figures = match self.options.metrics.is_empty() {
            true => Vec::new(),
            false => {
                let pixels = self.model.decode(&samples.codes)?;
                match self.judge.measures(&self.options.metrics, pixels)? {
                    Some(lines) => lines,
                    None => return Ok(None),
                }
            }
        };
        let passes: u64 = samples.passes.iter().map(|n| u64::from(*n)).sum();
        let shown = SHOWN.min(n) * self.model.codes_per_image();
        let drawn = Drawn {
            of,
            seconds_per_image: seconds / n as f64,
            passes: passes as f64 / n as f64,
            figures: figures
                .iter()
                .map(|line| (line.metric.to_owned(), line.value, line.floor))
                .collect(),
            codes: samples.codes[..shown].to_vec(),
        };
        drawn.save(&file)?;
        Ok(Some(drawn))
    }

    fn report(&self, budget: &str, reached: &[(PriorResult, Drawn)], place: &Place) -> Result<()> {
        let results: Vec<PriorResult> = reached.iter().map(|(r, _)| r.clone()).collect();
        let rows_of = averaged(&results);
        let text = format!(
            "{budget}, over the codes of {}\n\n{}",
            &self.model.hash()[..12],
            table(&rows_of)
        );
        let codes: Vec<u32> = reached
            .iter()
            .flat_map(|(_, drawn)| drawn.codes.clone())
            .collect();
        let [width, height, channels] = self.model.image();
        let shape = Shape {
            width,
            height,
            channels,
        };
        let labels: Vec<&str> = results.iter().map(|r| r.name.as_str()).collect();
        let pictures = self.model.decode(&codes)?;
        let columns = SHOWN.min(self.images());
        let samples = rows(&pictures, shape, columns, &labels, 96)?.png()?;
        let [md, picture, table_csv, samples_png] = FILES;
        let staged = place.staged()?;
        let write = |name: &str, bytes: &[u8]| atomic::write(&staged.path().join(name), bytes);
        write(md, text.as_bytes())?;
        write(picture, &chart(budget, &rows_of)?)?;
        write(table_csv, as_csv(&results).as_bytes())?;
        write(samples_png, &samples)?;
        staged.put(&[])?;
        if self.global.json {
            for r in &results {
                let mut line = serde_json::json!({
                    "prior": r.name, "parameters": r.parameters, "bits_per_code": r.bits,
                    "ms_per_step": r.ms_per_step, "seconds": r.seconds, "passes": r.passes,
                    "seconds_per_image": r.seconds_per_image,
                });
                for (name, value, floor) in &r.figures {
                    line[name] = serde_json::json!({ "value": value, "floor": floor });
                }
                json::print("compare-priors", &line);
            }
            return Ok(());
        }
        output::result(&text);
        for (name, file) in [("table", md), ("chart", picture), ("samples", samples_png)] {
            output::result(&format!("{name}: {}", self.common.out.join(file).display()));
        }
        Ok(())
    }
}

fn as_csv(results: &[PriorResult]) -> String {
    let mut head: Vec<String> = [
        "prior",
        "parameters",
        "bits_per_code",
        "ms_per_step",
        "seconds",
        "passes",
        "seconds_per_image",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(r) = results.first() {
        for (name, ..) in &r.figures {
            head.extend([name.clone(), format!("{name}_floor")]);
        }
    }
    let row = |r: &PriorResult| {
        let own = [
            format!("{:.5}", r.bits),
            format!("{:.2}", r.ms_per_step),
            format!("{:.1}", r.seconds),
            format!("{:.2}", r.passes),
            format!("{:.5}", r.seconds_per_image),
        ];
        let figures = r
            .figures
            .iter()
            .flat_map(|(_, value, floor)| [value, floor]);
        let figures = figures.map(|v| format!("{v:.6}"));
        let mut row = vec![r.name.clone(), r.parameters.to_string()];
        row.extend(own.into_iter().chain(figures).map(measured));
        row
    };
    csv::csv(std::iter::once(head).chain(results.iter().map(row)))
}
