//! The measures of `wgvq evaluate`, and the images that they compare.

use crate::cli::common::images::png;
use crate::cli::common::place::Place;
use clap::ValueEnum;
use wgvq::analysis::distribution::Features;
use wgvq::analysis::distribution::frechet::frechet_distance;
use wgvq::analysis::distribution::kernel::kernel_distance;
use wgvq::analysis::distribution::neighbours::{NEIGHBOURS, precision_recall};
use wgvq::analysis::distribution::sliced::{DIRECTIONS, sliced_wasserstein};
use wgvq::analysis::distribution::wavelets::frechet_wavelet_distance;
use wgvq::inference::Seen;
use wgvq::storage::atomic;
use wgvq::{Error, Result};

/// A measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    /// Frechet distance of wavelet packets; needs no network
    Fwd,
    /// Frechet distance of features
    Fd,
    /// Squared kernel distance of features, unbiased
    Kid,
    /// Precision and recall of features
    Pr,
    /// Sliced Wasserstein distance of features
    Mind,
    /// Share of the samples that are of the class asked for
    Accuracy,
}

impl Metric {
    pub const ALL: [Metric; 6] = [
        Metric::Fwd,
        Metric::Fd,
        Metric::Kid,
        Metric::Pr,
        Metric::Mind,
        Metric::Accuracy,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Metric::Fwd => "fwd",
            Metric::Fd => "fd",
            Metric::Kid => "kid",
            Metric::Pr => "pr",
            Metric::Mind => "mind",
            Metric::Accuracy => "accuracy",
        }
    }

    /// Whether it is taken by the classifier, where no features are given.
    pub fn needs_network(self) -> bool {
        self == Metric::Accuracy || self.reads_features()
    }

    pub fn reads_features(self) -> bool {
        matches!(self, Metric::Fd | Metric::Kid | Metric::Pr | Metric::Mind)
    }
}

/// The folders of --keep: of training images, of those held out, and of samples.
pub const KEPT: [&str; 3] = ["training", "held-out", "samples"];

/// Three sets of equally many images: training images, images held out, and what is judged.
#[derive(Default)]
pub struct Sets {
    /// Height, width, channels.
    pub shape: [usize; 3],
    pub pixels: [Vec<u8>; 3],
    /// Classes of the images held out, and of what is judged; empty where there are none.
    pub classes: [Vec<u32>; 2],
}

/// A figure and its floor.
pub struct Line {
    pub metric: &'static str,
    pub value: f64,
    pub floor: f64,
}

impl Sets {
    pub fn len(&self) -> usize {
        self.pixels[0].len() / self.shape.iter().product::<usize>().max(1)
    }
}

/// Takes a measure of what is judged beside the training images, and of the images held out beside
/// them: the floor.
pub fn measure(
    metric: Metric,
    sets: &Sets,
    features: Option<&[Features; 3]>,
    seen: Option<&[Seen]>,
) -> Result<Vec<Line>> {
    let line = |metric, value, floor| Line {
        metric,
        value,
        floor,
    };
    let missing = || Error::data("there are no features");
    let both = |of: &dyn Fn(&Features, &Features) -> Result<f64>| -> Result<[f64; 2]> {
        let [train, held_out, judged] = features.ok_or_else(missing)?;
        Ok([of(train, judged)?, of(train, held_out)?])
    };
    let name = metric.name();
    Ok(match metric {
        Metric::Fwd => {
            let of =
                |i: usize| frechet_wavelet_distance(&sets.pixels[0], &sets.pixels[i], sets.shape);
            vec![line(name, of(2)?, of(1)?)]
        }
        Metric::Fd => {
            let [value, floor] = both(&frechet_distance)?;
            vec![line(name, value, floor)]
        }
        Metric::Kid => {
            let [value, floor] = both(&kernel_distance)?;
            vec![line(name, value, floor)]
        }
        Metric::Mind => {
            let [value, floor] = both(&|a, b| sliced_wasserstein(a, b, DIRECTIONS))?;
            vec![line(name, value, floor)]
        }
        Metric::Pr => {
            let [train, held_out, judged] = features.ok_or_else(missing)?;
            let value = precision_recall(train, judged, NEIGHBOURS)?;
            let floor = precision_recall(train, held_out, NEIGHBOURS)?;
            vec![
                line("precision", value.precision, floor.precision),
                line("recall", value.recall, floor.recall),
            ]
        }
        Metric::Accuracy => {
            let [_, held_out, judged] = seen.ok_or_else(missing)? else {
                return Err(missing());
            };
            let value = judged.accuracy(&sets.classes[1]);
            vec![line(name, value, held_out.accuracy(&sets.classes[0]))]
        }
    })
}

/// Writes the images of all sets, a folder to each, and the features of them.
pub fn keep(place: &Place, sets: &Sets, seen: Option<&[Seen]>) -> Result<()> {
    let staged = place.staged()?;
    let [height, width, channels] = sets.shape;
    for (i, (name, pixels)) in KEPT.iter().zip(&sets.pixels).enumerate() {
        let folder = staged.path().join(name);
        std::fs::create_dir_all(&folder).map_err(|e| Error::file(&folder, e))?;
        for (number, image) in pixels.chunks(height * width * channels).enumerate() {
            let png = png(image, width, height, channels)?;
            atomic::write(&folder.join(format!("{number:06}.png")), &png)?;
        }
        if let Some(seen) = seen {
            let file = staged.path().join(format!("{name}.npy"));
            atomic::write(&file, &seen[i].features_npy()?)?;
        }
    }
    staged.put(&[])
}

/// The numbers of images that the measures compared, and the network of the features.
pub struct Counts<'a> {
    pub images: usize,
    /// The number of images in the measures on features.
    pub features: usize,
    /// The classifier's SHA-256; empty where there is none.
    pub classifier: &'a str,
    pub source: &'a str,
}

/// Returns the features of the three sets as the classifier has them.
pub fn features_of(metrics: &[Metric], seen: Option<&[Seen]>) -> Result<Option<[Features; 3]>> {
    let (Some(seen), true) = (seen, metrics.iter().any(|m| m.reads_features())) else {
        return Ok(None);
    };
    let of = |seen: &Seen| Features::new(&seen.features, seen.channels());
    let all = seen.iter().map(of).collect::<Result<Vec<_>>>()?;
    Ok(<[Features; 3]>::try_from(all).ok())
}
