//! `wgvq evaluate`: samples of a run's prior beside real images, by distances of their
//! distributions.

mod images;
mod judge;
mod measures;

use super::sampling::SamplingArgs;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::pictures::folder_of;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use clap::Args;
pub use judge::Judge;
use measures::{Counts, KEPT, Sets, features_of, keep, measure};
pub use measures::{Line, Metric};
use std::path::{Path, PathBuf};
use wgvq::analysis::distribution::neighbours::NEIGHBOURS;
use wgvq::analysis::distribution::{Features, wavelets};
use wgvq::data::{self, ImageSet};
use wgvq::inference::{FirstStageModel, Hierarchy, Seen};
use wgvq::storage::{atomic, table};
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
    /// The run, with a prior, or a name that `wgvq get` lists
    pub run: PathBuf,
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
    pub out: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
}

/// The table.
const TABLE: &str = "distances.csv";
/// The classifier, which later evaluations use, too.
pub const CLASSIFIER: &str = "classifier.safetensors";

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
        let kept = self.keep_place(global, &out)?;
        // Before anything is drawn or trained.
        let read = self.features_of_files()?;
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, &self.run)?;
        let asked = match &self.metrics[..] {
            [] => &Metric::ALL[..],
            asked => asked,
        };
        let priors = match self.looks(asked) && self.draws() {
            true => Some(Hierarchy::load(&gpu, &self.run, &model)?),
            false => None,
        };
        let set = self.open(global, &model, priors.as_ref().map(Hierarchy::info))?;
        let metrics = self.chosen(global, &set, read.as_ref())?;
        let file = out.join(CLASSIFIER);
        let judge = Judge {
            global,
            gpu: &gpu,
            set: &set,
            file: &file,
            steps: self.classifier_steps,
            overwrite: self.overwrite,
        };
        let network = self.trains(&metrics);
        if network {
            judge.may_train()?;
        }
        self.tell_of_unread(global, &metrics);
        let sets = match self.looks(&metrics) {
            true => self.sets(global, &model, priors.as_ref(), &set)?,
            false => Some(Sets::default()),
        };
        let Some(sets) = sets else {
            return Ok(CommandStatus::Abandoned);
        };
        let from_files = !self.features.is_empty();
        let classifier = match network {
            true => match judge.classifier()? {
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
        let files = read.as_ref().map(|features| features[0].len());
        let features = match read {
            Some(read) => Some(read),
            None => features_of(&metrics, seen.as_deref())?,
        };
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
        let counts = Counts {
            images: sets.len(),
            features: files.unwrap_or(sets.len()),
            classifier: classifier.as_ref().map_or("", |c| c.hash()),
            source: &source,
        };
        self.report(global, &lines, &counts, &place)
    }

    fn keep_place(&self, global: &Global, out: &Path) -> Result<Option<Place>> {
        let Some(folder) = &self.keep else {
            return Ok(None);
        };
        if data::absolute(&folder.to_string_lossy()) == data::absolute(&out.to_string_lossy()) {
            let what = "is the folder of the report, too: name another by --keep";
            return Err(Error::file(folder, what));
        }
        let place = Place::folder(global, folder)?;
        let files = KEPT.map(|name| folder.join(format!("{name}.npy")));
        for there in KEPT.map(|name| folder.join(name)).iter().chain(&files) {
            if there.exists() {
                let what = "is there already, of another evaluation: name another folder by --keep";
                return Err(Error::file(there, what));
            }
        }
        Ok(Some(place))
    }

    /// Whether samples of the prior are judged, and not images that are there or reconstructions.
    fn draws(&self) -> bool {
        self.images.is_none() && !self.reconstructions
    }

    /// Whether the measures, or --keep, look at images.
    fn looks(&self, metrics: &[Metric]) -> bool {
        let reads = |m: &Metric| self.features.is_empty() || !m.reads_features();
        self.keep.is_some() || metrics.iter().any(reads)
    }

    /// Whether the measures take a classifier.
    fn trains(&self, metrics: &[Metric]) -> bool {
        let reads = |m: &Metric| self.features.is_empty() && m.reads_features();
        metrics.iter().any(|m| *m == Metric::Accuracy || reads(m))
    }

    /// Tells of options that were given and that these measures have no use for.
    fn tell_of_unread(&self, global: &Global, metrics: &[Metric]) {
        if !self.looks(metrics) {
            output::note(
                global,
                "the measures are taken of the features given: nothing is drawn, and --n, \
                 --images, --reconstructions and options of drawing change nothing",
            );
        } else if !self.draws() && self.sampling.is_given() {
            output::note(
                global,
                "nothing is drawn: options of drawing, such as --guidance, change nothing",
            );
        }
    }

    /// Returns the measures that are asked for, or all that this set allows.
    fn chosen(
        &self,
        global: &Global,
        set: &ImageSet,
        read: Option<&[Features; 3]>,
    ) -> Result<Vec<Metric>> {
        let images = self.n.min(set.train.len()).min(set.test.len());
        let compared = read.map_or(images, |features| features[0].len());
        let unlabelled = || {
            set.test
                .iter()
                .any(|i| set.items[*i as usize].class.is_none())
        };
        let why_not = |metric: Metric| -> Option<String> {
            let labelled = set.classes.len() > 1;
            match metric {
                Metric::Pr if compared <= NEIGHBOURS => Some(format!(
                    "{compared} images of each kind have no {NEIGHBOURS} neighbours each"
                )),
                Metric::Accuracy if labelled && unlabelled() => Some(format!(
                    "{} has images held out that have no class",
                    set.name
                )),
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

    /// Returns the features of the files that were named, as many of each kind.
    fn features_of_files(&self) -> Result<Option<[Features; 3]>> {
        let mut all: Vec<Features> = Vec::new();
        for file in &self.features {
            let matrix = data::load_embedding(file)?;
            let of = Features::new(&matrix.values, matrix.channels);
            let of = of.map_err(|e| Error::file(file, e))?;
            if let Some(first) = all.first() {
                let size = |f: &Features| [f.len(), f.channels()];
                if size(first) != size(&of) {
                    let ([rows, columns], [n, d]) = (size(first), size(&of));
                    let what = format!(
                        "has features of {n} images in {d} channels, and {} of {rows} in \
                         {columns}: a figure and its floor compare as many of each kind",
                        self.features[0].display()
                    );
                    return Err(Error::file(file, what));
                }
            }
            all.push(of);
        }
        Ok(<[Features; 3]>::try_from(all).ok())
    }

    fn report(
        &self,
        global: &Global,
        lines: &[Line],
        counts: &Counts,
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
            let (images, source) = match *metric {
                "fwd" => (counts.images, ""),
                "accuracy" => (counts.images, counts.classifier),
                _ => (counts.features, counts.source),
            };
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
                json::print("evaluate", &line);
            } else {
                output::result(&format!("{metric:<9} {value:>11.5}   floor {floor:.5}"));
            }
        }
        let staged = place.staged()?;
        let text = table::csv(rows);
        atomic::write(&staged.path().join(TABLE), text.as_bytes())?;
        staged.put(&[])?;
        let kind = match counts.source.len() {
            64 => format!(", features of the classifier {}", &counts.source[..12]),
            _ => String::new(),
        };
        // Where nothing but features of files was looked at, those are counted.
        let images = match counts.images {
            0 => counts.features,
            images => images,
        };
        output::note(global, &format!("{images} images of each kind{kind}"));
        Ok(CommandStatus::Done)
    }
}
