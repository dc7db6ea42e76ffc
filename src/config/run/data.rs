//! `[data]`: the images, and what training sees of them.

use crate::Result;
use crate::config::check;
use crate::config::words::word_keys;
use crate::data;
use serde::{Deserialize, Serialize};

/// The crop of a photograph that training sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// Its tiles, or all of it.
    #[default]
    None,
    /// Crops from anywhere in it.
    Random,
}

word_keys!(Crop);

/// `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// A named data set (`emoji` is part of the program, `scripts/data.sh NAME` fetches
    /// `fashion-mnist`, `openclipart`, `photos` and `twemoji`); a folder of images, of tars, of
    /// Parquet files or of CIFAR's binary files; a file: IDX, `.npy`, a tar, Parquet, or JSON Lines
    /// of images and captions; or a pattern of Parquet files' names.
    pub source: String,
    /// Width that images are brought to; 0 leaves it to the data.
    pub width: usize,
    /// Height that images are brought to; 0 leaves it to the data.
    pub height: usize,
    /// Channels that images are brought to, 1 or 3; 0 leaves it to the data.
    pub channels: usize,
    /// Mirror half of the training images left to right.
    pub flip: bool,
    /// The part of a photograph that training sees: `none`, its tiles or all of it; `random`, crops
    /// from anywhere in it.
    pub crop: Crop,
    /// Least area of a random crop, as a share of the largest crop of the images' aspect ratio that
    /// fits the photograph. A crop is never smaller than the image, so that nothing is enlarged.
    pub crop_scale_min: f64,
    /// Largest area of a random crop, as a share of the largest crop of the images' aspect ratio
    /// that fits the photograph.
    pub crop_scale_max: f64,
    /// Shorter side in pixels, rounded down to whole tiles, to which photographs are reduced before
    /// they are cut into tiles or kept for random crops; 0: eight tiles.
    pub photo_side: usize,
    /// Colour jitter: brightness, contrast and saturation of a training image change each by a
    /// factor from 1 - color to 1 + color.
    pub color: f32,
    /// The images that are held out: `pictures`, the test side of the data or one image in ten;
    /// `captions`, combinations of words that no caption of the training side has, though it has
    /// each word.
    pub split: data::SplitRule,
    /// A text file that names the images that are held out, one a line: a path below the data's
    /// folder, or a pattern of `*`, `?` and `**`. Empty leaves it to data.split. The run keeps a
    /// copy.
    pub test_files: String,
    /// Classes that are drawn more often than others: `none`, each image as often as any other;
    /// `balanced`, each class as often as any other; or a list of numbers, one for each class in
    /// their order, by which the images of the class are drawn more or less often.
    pub class_weights: data::ClassWeights,
    /// Place of the pixels: `memory`, `disk`, or `auto`, in memory what fits data.memory_mib and
    /// half of the memory that the process may use.
    pub store: data::Residency,
    /// MiB of pixels that may lie in memory.
    pub memory_mib: u64,
    /// MiB that decoded images may take on disk, those of all data sets together.
    pub cache_mib: u64,
    /// Threads that make batches ahead; 0: one for each processor, at most 8.
    pub workers: usize,
}

impl Default for Data {
    fn default() -> Self {
        Data {
            source: "emoji".into(),
            width: 0,
            height: 0,
            channels: 0,
            flip: false,
            crop: Crop::None,
            crop_scale_min: 0.01,
            crop_scale_max: 0.25,
            photo_side: 0,
            color: 0.0,
            split: data::SplitRule::Pictures,
            test_files: String::new(),
            class_weights: data::ClassWeights::None,
            store: data::Residency::Auto,
            memory_mib: 4096,
            cache_mib: 10 << 10,
            workers: 0,
        }
    }
}

impl Data {
    /// Whether training sees random crops.
    pub(crate) fn crops(&self) -> bool {
        self.crop == Crop::Random
    }

    /// Returns the options for [`data::open`].
    pub fn options(&self) -> data::Options {
        let size = match (self.width, self.height) {
            (0, 0) => None,
            (w, 0) => Some((w, w)),
            (0, h) => Some((h, h)),
            (w, h) => Some((w, h)),
        };
        data::Options {
            size,
            channels: (self.channels > 0).then_some(self.channels),
            cache_dir: None,
            whole: self.crops(),
            photo_side: self.photo_side,
            keep: self.store,
            memory_bytes: self.memory_mib << 20,
            cache_bytes: self.cache_mib << 20,
            hold_out: self.split,
            test_files: (!self.test_files.is_empty()).then(|| self.test_files.clone().into()),
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let d = self;
        check(
            "data.channels",
            d.channels,
            matches!(d.channels, 0 | 1 | 3),
            "0, 1 or 3",
        )?;
        check("data.width", d.width, d.width <= 16384, "at most 16384")?;
        check("data.height", d.height, d.height <= 16384, "at most 16384")?;
        check(
            "data.source",
            "an empty text",
            !d.source.is_empty(),
            "a named data set, a file or a folder",
        )?;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        check(
            "data.crop_scale_min",
            d.crop_scale_min,
            share(d.crop_scale_min),
            "from 0 to 1",
        )?;
        let at_least = format!("from data.crop_scale_min, {}, to 1", d.crop_scale_min);
        let most = share(d.crop_scale_max) && d.crop_scale_max >= d.crop_scale_min;
        check("data.crop_scale_max", d.crop_scale_max, most, &at_least)?;
        let side = d.photo_side == 0 || (d.width.max(d.height)..=16384).contains(&d.photo_side);
        check(
            "data.photo_side",
            d.photo_side,
            side,
            "0, or from data.width and data.height to 16384",
        )?;
        check(
            "data.color",
            d.color,
            (0.0..=1.0).contains(&d.color),
            "from 0 to 1",
        )?;
        check(
            "data.memory_mib",
            d.memory_mib,
            d.memory_mib <= 1 << 30,
            "at most 2^30",
        )?;
        check(
            "data.cache_mib",
            d.cache_mib,
            d.cache_mib <= 1 << 30,
            "at most 2^30",
        )?;
        if !d.test_files.is_empty() && d.split != data::SplitRule::Pictures {
            return Err(data::two_rules_of_the_split());
        }
        d.class_weights.check("data.class_weights")?;
        check("data.workers", d.workers, d.workers <= 256, "at most 256")
    }
}
