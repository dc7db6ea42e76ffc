//! `wgvq evaluate`: samples of a run's prior beside real images, by distances of their
//! distributions.

mod measures;

use super::sample::load;
use super::sampling::{SamplingArgs, check_memory, sample};
use crate::cli::common::output::Bar;
use crate::cli::common::pictures::folder_of;
use crate::cli::common::place::Place;
use crate::cli::common::signals::stop_flag;
use crate::cli::common::{output, pictures};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use measures::{KEPT, Line, Metric, Sets, keep, measure};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use wgvq::analysis::distribution::{Features, wavelets};
use wgvq::config::run::Crop;
use wgvq::data::{self, ImageSet};
use wgvq::gpu::Gpu;
use wgvq::inference::{ClassifierModel, FirstStageModel, SampleRequest, Seen};
use wgvq::storage::{atomic, table};
use wgvq::train::classifier::{ClassifierOptions, train_classifier};
use wgvq::{Error, Result};

#[derive(Args)]
#[command(after_long_help = "\
Each figure stands beside its floor: the same measure of as many real images held out, which is
what samples as good as real ones would get. Features are those of a small classifier that is
trained on the set once and kept in RUN/report, or of files: a matrix each, [images, channels],
of training images, images held out, and samples, such as those that --keep wrote.

Examples:
  wgvq evaluate runs/fashion --n 2000
  wgvq evaluate runs/fashion --metric fwd,fd --guidance 2 --json
  wgvq evaluate runs/fashion --reconstructions
  wgvq evaluate runs/fashion --keep images --metric fwd
  wgvq evaluate runs/fashion --metric fd,kid --features train.npy,held-out.npy,samples.npy")]
pub struct Evaluate {
    /// The run, with a prior
    run: PathBuf,
    /// Measures; all that there are, where none is named
    #[arg(long = "metric", value_name = "METRIC,..", value_delimiter = ',')]
    metrics: Vec<Metric>,
    /// Samples, and real images of either kind; fewer where there are no more images held out
    #[arg(long, default_value_t = 5_000)]
    n: usize,
    /// Judge what the run's first stage makes of the images held out, instead of samples
    #[arg(long, conflicts_with = "images")]
    reconstructions: bool,
    /// Judge the images of a folder instead of samples
    #[arg(long, value_name = "DIR")]
    images: Option<String>,
    /// Features from elsewhere, .npy or safetensors: of training images, of images held out, and
    /// of samples
    #[arg(
        long,
        value_name = "TRAIN,HELD-OUT,SAMPLES",
        value_delimiter = ',',
        num_args = 1
    )]
    features: Vec<PathBuf>,
    /// Steps that the classifier is trained for
    #[arg(long, value_name = "STEPS", default_value_t = 1_000)]
    classifier_steps: u64,
    /// Where the images lie that the run was trained on, if they were moved since
    #[arg(long, value_name = "FILE|DIR|NAME")]
    data: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Write the images that are compared into this folder, a folder to each set, and the
    /// classifier's features of them
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// The folder of distances.csv and classifier.safetensors; without, RUN/report
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
}

/// The table.
const TABLE: &str = "distances.csv";
/// The classifier, which later evaluations use, too.
const CLASSIFIER: &str = "classifier.safetensors";

impl Evaluate {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        if self.n < 2 || self.classifier_steps == 0 {
            let what = "takes at least 2 images, and --classifier-steps at least 1";
            return Err(Error::config("--n", what));
        }
        if ![0, 3].contains(&self.features.len()) {
            let what = "takes three files, with commas between: of training images, of images \
                        held out, and of samples";
            return Err(Error::config("--features", what));
        }
        self.sampling.options()?;
        let out = self
            .out
            .clone()
            .unwrap_or_else(|| folder_of(&self.run).join("report"));
        let place = Place::folder(global, &out)?;
        place.holds_none([TABLE], self.overwrite)?;
        let kept = self.keep_place(global)?;
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, &self.run)?;
        let set = self.open(global, &model)?;
        let metrics = self.chosen(global, &set)?;
        let Some(sets) = self.sets(global, &gpu, &model, &set)? else {
            return Ok(CommandStatus::Abandoned);
        };
        let from_files = !self.features.is_empty();
        let network = metrics.contains(&Metric::Accuracy)
            || !from_files && metrics.iter().any(|m| m.reads_features());
        let classifier = match network {
            true => match self.classifier(global, &gpu, &set, &out.join(CLASSIFIER))? {
                Some(classifier) => Some(classifier),
                None => return Ok(CommandStatus::Abandoned),
            },
            false => None,
        };
        let seen = match &classifier {
            Some(classifier) => {
                let look = |pixels: &Vec<u8>| classifier.look(pixels);
                Some(
                    sets.pixels
                        .iter()
                        .map(look)
                        .collect::<Result<Vec<Seen>>>()?,
                )
            }
            None => None,
        };
        let features = self.features(&metrics, seen.as_deref())?;
        if let (Some(kept), Some(folder)) = (&kept, &self.keep) {
            keep(kept, &sets, seen.as_deref())?;
            output::note(global, &format!("images: {}", folder.display()));
        }
        let mut lines = Vec::new();
        for metric in metrics {
            lines.extend(measure(metric, &sets, features.as_ref(), seen.as_deref())?);
        }
        let source = match (&classifier, from_files) {
            (_, true) => "files".to_owned(),
            (Some(classifier), _) => classifier.hash().to_owned(),
            (None, _) => String::new(),
        };
        self.report(global, &lines, &source, sets.len(), &place)
    }

    fn keep_place(&self, global: &Global) -> Result<Option<Place>> {
        let Some(folder) = &self.keep else {
            return Ok(None);
        };
        let place = Place::folder(global, folder)?;
        for there in KEPT.map(|name| folder.join(name)) {
            if there.exists() {
                let what = "is there already, of another evaluation: name another folder by --keep";
                return Err(Error::file(there, what));
            }
        }
        Ok(Some(place))
    }

    fn open(&self, global: &Global, model: &FirstStageModel) -> Result<ImageSet> {
        let mut about = model.config().data.clone();
        (about.width, about.height, about.channels) = model.image().into();
        about.crop = Crop::None;
        let own = pictures::source_of(&self.run, model);
        let set = pictures::open(&self.run, &own, self.data.as_deref(), &about.options())?;
        set.notes.iter().for_each(|note| output::note(global, note));
        Ok(set)
    }

    /// Returns the measures that are asked for, or all that this set allows.
    fn chosen(&self, global: &Global, set: &ImageSet) -> Result<Vec<Metric>> {
        let why_not = |metric: Metric| -> Option<String> {
            let labelled = set.classes.len() > 1;
            match metric {
                Metric::Fwd => wavelets::levels([set.height, set.width])
                    .err()
                    .map(|e| e.to_string()),
                Metric::Accuracy if self.images.is_some() => {
                    Some("the images of --images were asked for by no class".into())
                }
                Metric::Accuracy if !labelled => Some(format!("{} has no classes", set.name)),
                m if m.reads_features() && !labelled && self.features.is_empty() => Some(format!(
                    "{} has no classes to train a classifier by: give --features",
                    set.name
                )),
                _ => None,
            }
        };
        let mut chosen = Vec::new();
        let asked = if self.metrics.is_empty() {
            &Metric::ALL[..]
        } else {
            &self.metrics
        };
        for metric in asked {
            match why_not(*metric) {
                None => chosen.push(*metric),
                Some(what) if self.metrics.is_empty() => {
                    output::note(global, &format!("without {}: {what}", metric.name()));
                }
                Some(what) => {
                    let what = format!("{}: {what}", metric.name());
                    return Err(Error::config("--metric", what));
                }
            }
        }
        if chosen.is_empty() {
            return Err(Error::data("no measure can be taken of these images"));
        }
        Ok(chosen)
    }

    /// Returns the three sets; `None` if the user stopped the drawing.
    fn sets(
        &self,
        global: &Global,
        gpu: &Gpu,
        model: &FirstStageModel,
        set: &ImageSet,
    ) -> Result<Option<Sets>> {
        let given = match &self.images {
            Some(folder) => Some(self.given(folder, set)?),
            None => None,
        };
        let mut n = self.n.min(set.train.len()).min(set.test.len());
        if let Some(given) = &given {
            n = n.min(given.len() / set.image_bytes().max(1));
        }
        if n < 2 {
            let what = "there must be two images at least to train on, held out and to judge";
            return Err(Error::data(what));
        }
        if n < self.n {
            output::note(
                global,
                &format!("{n} images of each kind: there are no more"),
            );
        }
        let spread = |all: &[u32]| -> Vec<u32> { (0..n).map(|i| all[i * all.len() / n]).collect() };
        let (train, test) = (spread(&set.train), spread(&set.test));
        let held_out = set.gather(&test)?;
        let class = |i: &u32| set.items[*i as usize].class;
        let classes: Option<Vec<u32>> = test.iter().map(class).collect();
        let classes = classes.unwrap_or_default();
        let judged = if let Some(mut given) = given {
            given.truncate(n * set.image_bytes());
            given
        } else if self.reconstructions {
            let codes = model.encode(&held_out)?;
            model.decode(&codes)?
        } else {
            let (_, priors) = load(gpu, &self.run)?;
            check_memory(model, &priors, n)?;
            let vocabulary = &priors.info().vocabulary;
            let asked = if vocabulary.classes == 0 || classes.is_empty() {
                vec![vocabulary.no_class(); n]
            } else {
                // As often as among the images held out.
                classes.clone()
            };
            let request = SampleRequest {
                options: self.sampling.options()?,
                ..SampleRequest::new(&asked)
            };
            let Some(samples) = sample(global, &priors, &request)? else {
                return Ok(None);
            };
            model.decode(&samples.codes)?
        };
        Ok(Some(Sets {
            shape: [set.height, set.width, set.channels],
            pixels: [set.gather(&train)?, held_out, judged],
            classes: [classes.clone(), classes],
        }))
    }

    /// Returns the pixels of a folder's images, as the set has them.
    fn given(&self, folder: &str, set: &ImageSet) -> Result<Vec<u8>> {
        let options = data::Options {
            size: Some((set.width, set.height)),
            channels: Some(set.channels),
            ..Default::default()
        };
        let given = data::open(folder, &options)?;
        let all: Vec<u32> = (0..given.len().min(self.n) as u32).collect();
        given.gather(&all)
    }

    /// Returns the classifier of earlier evaluations, or trains it; `None` if the user stopped it.
    fn classifier(
        &self,
        global: &Global,
        gpu: &Gpu,
        set: &ImageSet,
        file: &Path,
    ) -> Result<Option<ClassifierModel>> {
        let options = ClassifierOptions {
            steps: self.classifier_steps,
            ..Default::default()
        };
        if file.exists() {
            let there = ClassifierModel::load(gpu, file)?;
            if *there.info() == options.info(set) {
                return Ok(Some(there));
            }
            output::note(
                global,
                "the classifier was of other images or steps: training another",
            );
        }
        let (mut bar, stop) = (Bar::new(global, "steps"), stop_flag());
        let trained = train_classifier(gpu, set, options, file, &mut |done, all| {
            bar.show(done as usize, all as usize);
            if stop.load(Ordering::Relaxed) {
                Err(Error::data("interrupted"))
            } else {
                Ok(())
            }
        });
        bar.finish();
        if stop.load(Ordering::Relaxed) {
            output::note(global, "stopped: nothing was written");
            return Ok(None);
        }
        trained?;
        ClassifierModel::load(gpu, file).map(Some)
    }

    /// Returns the features of the three sets, of files or as the classifier has them.
    fn features(&self, metrics: &[Metric], seen: Option<&[Seen]>) -> Result<Option<[Features; 3]>> {
        if !metrics.iter().any(|m| m.reads_features()) {
            return Ok(None);
        }
        let mut all = Vec::new();
        for file in &self.features {
            let matrix = data::load_embedding(file)?;
            let of = Features::new(&matrix.values, matrix.channels);
            all.push(of.map_err(|e| Error::file(file, e))?);
        }
        if let ([], Some(seen)) = (&all[..], seen) {
            for seen in seen {
                all.push(Features::new(&seen.features, seen.channels())?);
            }
        }
        let all = <[Features; 3]>::try_from(all);
        all.map(Some)
            .map_err(|_| Error::data("there are no features"))
    }

    fn report(
        &self,
        global: &Global,
        lines: &[Line],
        source: &str,
        images: usize,
        place: &Place,
    ) -> Result<CommandStatus> {
        let header = ["metric", "value", "floor", "images", "features"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for Line {
            metric,
            value,
            floor,
        } in lines
        {
            let of_features = !["fwd"].contains(metric);
            let source = if of_features { source } else { "" };
            rows.push(vec![
                (*metric).to_owned(),
                format!("{value:.6}"),
                format!("{floor:.6}"),
                images.to_string(),
                source.to_owned(),
            ]);
            if global.json {
                let line = serde_json::json!({
                    "metric": metric, "value": value, "floor": floor,
                    "images": images, "features": source,
                });
                output::result(&line.to_string());
            } else {
                output::result(&format!("{metric:<9} {value:>11.5}   floor {floor:.5}"));
            }
        }
        let staged = place.staged()?;
        let text = table::csv(rows);
        atomic::write(&staged.path().join(TABLE), text.as_bytes())?;
        staged.put(&[])?;
        let kind = match source.len() {
            64 => format!(", features of the classifier {}", &source[..12]),
            _ => String::new(),
        };
        output::note(global, &format!("{images} images of each kind{kind}"));
        Ok(CommandStatus::Done)
    }
}
