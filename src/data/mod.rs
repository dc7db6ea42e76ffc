//! Images to train on, from a named data set, a folder (of images, tars, Parquet files or CIFAR's
//! binary files) or a file (IDX, NumPy's `.npy`, a tar, Parquet, JSON Lines of images and texts),
//! and the order in which training sees them.
//!
//! [`open`] opens every source: whatever it is, it gives an [`ImageSet`] of 8-bit images of one
//! size, split into train and test. Where the source brings a split, that is the split; otherwise
//! the test side is every item whose [`Item::group`] is a multiple of ten. The group is a property
//! of the image, not of its place, so that adding images moves none from one side to the other,
//! and the variants of one image share it.
//!
//! A set that fits a budget of memory is held there; of a larger folder the decoded images are
//! held on disk ([`ImageCache`]), and an image is read when it is asked for. [`BatchPlan`] says
//! what training sees of a set at each step, and [`Prefetcher`] makes that on other threads before
//! it is needed.

mod cache;
mod decode;
mod loader;
mod pixels;
mod set;
mod source;

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use cache::ImageCache;
pub use cache::folder::cache_dir;
pub use decode::picture::{load_image, load_image_whole, load_mask, read_image};
pub(crate) use loader::batch_plan::no_photographs;
pub use loader::batch_plan::{Batch, BatchPlan};
pub use loader::class_weights::{ClassOrder, ClassWeights, drawn};
pub use loader::order::{Sampler, batch_indices, flip, spread, uniform};
pub use loader::prefetcher::{DataStall, Prefetcher};
pub use pixels::Pixels;
pub use set::{ImageSet, Item};
pub use source::captions::hold_out_combinations;
pub use source::embedding::{Embedding, load_embedding};
pub use source::location::{absolute, is_there};
pub use source::memory::IN_MEMORY;
pub use source::named::NAMED_SETS;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use source::numpy::read_header as read_npy_header;
pub use source::test_files::KEY as TEST_FILES_KEY;
pub(crate) use source::test_files::two_rules as two_rules_of_the_split;

use crate::{Error, Result, memory};

/// The most bytes of pixels that a set in memory may have.
pub const MAX_BYTES: u64 = 4 << 30;

/// The longest side in pixels of an image that is read or made.
pub const MAX_SIDE: usize = 16_384;

/// The rule that splits a set into training and held-out images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitRule {
    /// The source's own test side; else one image in ten, with its variants.
    #[default]
    Pictures,
    /// Combinations of the captions' words: [`hold_out_combinations`].
    #[serde(rename = "captions")]
    Combinations,
}

/// The place where the pixels of a set are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Residency {
    /// In memory, if they fit the budget and half of what this process may use; otherwise on disk.
    #[default]
    Auto,
    /// In memory.
    Memory,
    /// On disk. IDX files and the emoji stay in memory all the same.
    Disk,
}

/// Options of [`open`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Width and height; images of another size are scaled and cropped at the centre. `None`: the
    /// source's own size.
    pub size: Option<(usize, usize)>,
    /// 1 or 3. `None`: the source's own.
    pub channels: Option<usize>,
    /// Folder of fetched sets and decoded images. `None`: [`cache_dir`].
    pub cache_dir: Option<PathBuf>,
    /// Keep the photographs of a folder whole, so that training can draw crops from anywhere in
    /// them. The images of such a set are tiles of the photographs, and `photos` is such a folder.
    pub whole: bool,
    /// The shorter side in pixels at which photographs are cut into tiles, or kept whole. 0: eight
    /// tiles'.
    pub photo_side: usize,
    /// Place of the pixels.
    pub keep: Residency,
    /// Bytes of pixels that may lie in memory, at most [`MAX_BYTES`].
    pub memory_bytes: u64,
    /// Bytes that decoded images may take on disk, those of all sets together.
    pub cache_bytes: u64,
    /// Rule for the held-out images.
    pub hold_out: SplitRule,
    /// A text file that names the images that are held out, a path or a pattern a line. `None`
    /// leaves it to the rule.
    pub test_files: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            size: None,
            channels: None,
            cache_dir: None,
            whole: false,
            photo_side: 0,
            keep: Residency::Auto,
            memory_bytes: MAX_BYTES,
            cache_bytes: 10 << 30,
            hold_out: SplitRule::Pictures,
            test_files: None,
        }
    }
}

impl Options {
    /// Whether this many images of `image_bytes` belong on disk.
    fn on_disk(&self, count: usize, image_bytes: usize) -> bool {
        match self.keep {
            Residency::Memory => false,
            Residency::Disk => true,
            Residency::Auto => self.is_beyond(memory::available(), count, image_bytes),
        }
    }

    /// Whether this is more than may be held in memory, of which this process may use `available`.
    /// Half of that is for what comes beside the set: its copy on the device, batches and the
    /// model.
    fn is_beyond(&self, available: u64, count: usize, image_bytes: usize) -> bool {
        let most = self.memory_bytes.min(MAX_BYTES).min(available / 2);
        (count as u64).saturating_mul(image_bytes as u64) > most
    }
}

/// Opens a set: a named one ([`NAMED_SETS`]), an IDX or `.npy` file of images (IDX gzipped or
/// plain, its labels and the other half of a train/t10k pair beside it), a folder of images or of
/// CIFAR's binary files, JSON Lines of images and texts, a tar archive as WebDataset's or a folder
/// of such, or, with the feature `parquet`, a Parquet file of images, a folder of such or a pattern
/// of their names (`data/train-*.parquet`). A named set goes before a folder of that name;
/// `./emoji` means the folder.
///
/// # Errors
/// If there is no such thing, if it holds nothing that can be read, if it would take more than
/// [`MAX_BYTES`] of memory, or if decoded images cannot be kept on disk. Also if files are to be
/// held out ([`Options::test_files`]) that are not there, or of a source that has none.
pub fn open(source: &str, options: &Options) -> Result<ImageSet> {
    check_options(options)?;
    let mut set = open_source(source, options)?;
    if let Some(list) = &options.test_files {
        source::test_files::hold_out(&mut set, list)?;
    }
    if options.hold_out == SplitRule::Combinations {
        hold_out_combinations(&mut set)?;
    }
    Ok(set)
}

/// The source of a model that came without images: one that others trained.
pub const NO_SOURCE: &str = "(none)";

fn open_source(source: &str, options: &Options) -> Result<ImageSet> {
    if source == NO_SOURCE {
        let what = "is needed: the model was imported without images. Name a folder, an IDX \
                    file or a named data set";
        return Err(Error::config("--data", what));
    }
    if source == IN_MEMORY {
        let what = "is needed: the model was trained on images in a program's memory. Go on from \
                    there, or name a folder, an IDX file or a named data set of the same \
                    images";
        return Err(Error::config("--data", what));
    }
    if let Some(set) = source::named::open(source, options) {
        return set;
    }
    let path = Path::new(source);
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match source::parquet::is_pattern(source) {
                true => {
                    let files = source::parquet::matching(source)?;
                    source::folder::open_parquet(path, &files, options)
                }
                false => Err(source::named::unknown(source)),
            };
        }
        Err(error) => return Err(Error::file(path, format!("cannot be read: {error}"))),
    };
    if meta.is_dir() && source::cifar::is_cifar(path) {
        source::test_files::none(source, options)?;
        source::cifar::open(path, options)
    } else if meta.is_dir() {
        source::folder::open(path, options)
    } else if meta.is_file() && source::captions::is_captions(path) {
        source::captions::open(path, options)
    } else if meta.is_file() && source::archive::is_archive(path) {
        source::archive::open(path, options)
    } else if meta.is_file() && source::parquet::is_parquet(path) {
        source::folder::open_parquet(path, &source::parquet::alone(path), options)
    } else if meta.is_file() {
        source::test_files::none(source, options)?;
        source::idx::open(path, options)
    } else {
        Err(Error::file(
            path,
            "is neither a folder of images nor a file of images or captions",
        ))
    }
}

fn check_options(options: &Options) -> Result<()> {
    if options.test_files.is_some() && options.hold_out != SplitRule::Pictures {
        return Err(two_rules_of_the_split());
    }
    if let Some((width, height)) = options.size {
        check_size(width, height)?;
    }
    options.channels.map_or(Ok(()), check_channels)
}

fn check_size(width: usize, height: usize) -> Result<()> {
    let fits = |side: usize| (1..=MAX_SIDE).contains(&side);
    if fits(width) && fits(height) {
        return Ok(());
    }
    Err(Error::invalid(
        "image size",
        format!("{width}x{height} asked for; a side can be 1 to {MAX_SIDE} pixels"),
    ))
}

fn check_channels(channels: usize) -> Result<()> {
    match channels {
        1 | 3 => Ok(()),
        _ => Err(Error::invalid(
            "image channels",
            format!("{channels} asked for; 1 (grey) and 3 (colour) can be had"),
        )),
    }
}

/// Returns the bytes of `count` images, or an error if the set would be too large.
fn budget(name: &str, count: usize, width: usize, height: usize, channels: usize) -> Result<usize> {
    let bytes = [count, width, height, channels]
        .iter()
        .try_fold(1u64, |n, &by| n.checked_mul(by as u64));
    match bytes {
        Some(bytes) if bytes <= MAX_BYTES && count < 1 << 31 => {
            memory::check_available(
                format!("{name}: {count} images of {width}x{height}x{channels}"),
                Some(bytes),
            )?;
            Ok(bytes as usize)
        }
        _ => Err(Error::data(format!(
            "{name}: {count} images of {width}x{height}x{channels} would take more than the {} \
             GiB that a set in memory may; ask for a smaller image size or give fewer images (a \
             folder's can lie on disk: data.store)",
            MAX_BYTES >> 30
        ))),
    }
}

/// The beginning of the note on a set of few images.
const TOO_FEW: &str = "too few images to hold out one in ten";

/// Train and test by the rule of the module. Where that would leave a side empty, the lowest group
/// alone is held out; where there is but one group, both sides are everything. Returns a note where
/// the rule could not be kept.
fn split(items: &[Item]) -> (Vec<u32>, Vec<u32>, Option<String>) {
    let by = |held_out: &dyn Fn(u64) -> bool| -> (Vec<u32>, Vec<u32>) {
        (0..items.len() as u32).partition(|&i| !held_out(items[i as usize].group))
    };
    let (train, test) = by(&|group| group.is_multiple_of(10));
    if !train.is_empty() && !test.is_empty() {
        return (train, test, None);
    }
    let lowest = items.iter().map(|item| item.group).min().unwrap_or(0);
    let (train, test) = by(&|group| group == lowest);
    if train.is_empty() {
        let all = test.clone();
        let note = "only one image: it is trained on and tested on, so the test figures say little";
        return (all, test, Some(note.into()));
    }
    let note = format!("{TOO_FEW}: {} held out for the test", test.len());
    (train, test, Some(note))
}

/// Renamed to [`ImageCache`].
#[deprecated(since = "0.2.0", note = "renamed to `ImageCache`")]
pub type Store = ImageCache;
/// Renamed to [`Prefetcher`].
#[deprecated(since = "0.2.0", note = "renamed to `Prefetcher`")]
pub type Ahead<T> = Prefetcher<T>;
/// Renamed to [`DataStall`].
#[deprecated(since = "0.2.0", note = "renamed to `DataStall`")]
pub type Waiting = DataStall;
/// Renamed to [`BatchPlan`].
#[deprecated(since = "0.2.0", note = "renamed to `BatchPlan`")]
pub type Recipe = BatchPlan;
/// Renamed to [`SplitRule`].
#[deprecated(since = "0.2.0", note = "renamed to `SplitRule`")]
pub type HoldOut = SplitRule;
/// Renamed to [`NAMED_SETS`].
#[deprecated(since = "0.2.0", note = "renamed to `NAMED_SETS`")]
pub const BUILT_IN: [(&str, &str); 5] = NAMED_SETS;
/// Renamed to [`Residency`].
#[deprecated(since = "0.2.0", note = "renamed to `Residency`")]
pub type Keep = Residency;

#[cfg(test)]
mod tests {
    use super::*;

    fn items(groups: &[u64]) -> Vec<Item> {
        let item = |(i, &group): (usize, &u64)| Item {
            name: i.to_string(),
            group,
            class: None,
            caption: None,
            embedding: None,
        };
        groups.iter().enumerate().map(item).collect()
    }

    #[test]
    fn groups_that_are_multiples_of_ten_are_held_out() {
        let (train, test, note) = split(&items(&[10, 3, 10, 4, 20]));
        assert_eq!((train, test, note), (vec![1, 3], vec![0, 2, 4], None));
    }

    #[test]
    fn a_small_set_still_has_two_sides() {
        let (train, test, note) = split(&items(&[7, 3, 3]));
        assert_eq!((train, test), (vec![0], vec![1, 2]));
        assert!(note.unwrap().contains("too few"));
        let (train, test, note) = split(&items(&[10, 20]));
        assert_eq!((train, test), (vec![1], vec![0]));
        assert!(note.is_some());
        let (train, test, note) = split(&items(&[5, 5]));
        assert_eq!((train, test), (vec![0, 1], vec![0, 1]));
        assert!(note.unwrap().contains("only one image"));
    }

    #[test]
    fn what_the_process_may_not_hold_goes_to_disk() {
        let options = Options {
            memory_bytes: 1000,
            ..Default::default()
        };
        let beyond = |available: u64, count: usize| options.is_beyond(available, count, 10);
        assert!(
            !beyond(u64::MAX, 100) && beyond(u64::MAX, 101),
            "the budget"
        );
        assert!(
            !beyond(1000, 50) && beyond(1000, 51),
            "half of what there is"
        );
        assert!(beyond(u64::MAX, usize::MAX));
    }

    #[test]
    fn sizes_and_channels_that_cannot_be_are_refused() {
        for (options, words) in [
            (
                Options {
                    size: Some((0, 32)),
                    ..Default::default()
                },
                "0x32",
            ),
            (
                Options {
                    size: Some((32, 16_385)),
                    ..Default::default()
                },
                "32x16385",
            ),
            (
                Options {
                    channels: Some(2),
                    ..Default::default()
                },
                "1 (grey) and 3 (colour)",
            ),
        ] {
            let error = open("emoji", &options).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = budget("x", 1 << 20, 256, 256, 3).unwrap_err().to_string();
        assert!(
            error.contains("4 GiB") && error.contains("smaller image size"),
            "{error}"
        );
        assert!(budget("x", usize::MAX, usize::MAX, 2, 2).is_err());
    }
}
