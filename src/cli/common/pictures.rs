//! The images that a run was trained on, wherever they lie now.

use std::path::Path;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::{self, ImageSet, Pixels, Residency};
use wgvq::inference::FirstStageModel;
use wgvq::{Error, Result};

/// Returns the source of a run's images, as its folder names it: they may have been moved since its
/// model was written.
pub fn source_of(run: &Path, model: &FirstStageModel) -> String {
    let kept = RunConfig::load(&folder_of(run).join("config.toml"));
    kept.map_or_else(
        |_| model.config().data.source.clone(),
        |config| config.data.source,
    )
}

/// The first of two places where something is: where a run's images were last used, or where its
/// folder says that they are.
pub fn first_there(last: &str, own: String) -> String {
    if !last.is_empty() && (data::is_there(last) || !data::is_there(&own)) {
        last.to_owned()
    } else {
        own
    }
}

/// Opens the images of a run at `source`, which is its own unless `asked` says where else they
/// lie. A list of the run's images held out that does not fit others is left out, with a note.
///
/// # Errors
/// Returns an error if the run's own images are no longer there; the message says how to name their
/// place.
pub fn open(
    run: &Path,
    own: &str,
    asked: Option<&str>,
    options: &data::Options,
) -> Result<ImageSet> {
    let source = asked.unwrap_or(own);
    // A model that came without images is told apart where they are opened.
    let named = ![data::NO_SOURCE, data::IN_MEMORY].contains(&source);
    if asked.is_none() && named && !data::is_there(source) {
        let what = format!(
            "its images were at `{source}`, where there is nothing now: say by --data where they \
             lie"
        );
        return Err(Error::file(run, what));
    }
    let set = data::open(source, options);
    match &set {
        // The run's list is of the run's images.
        Err(Error::Config { key, what }) if asked.is_some() && key == data::TEST_FILES_KEY => {
            let mut options = options.clone();
            options.test_files = None;
            let mut set = data::open(source, &options)?;
            let note = format!("split without the run's list of images held out, which {what}");
            set.notes.push(note);
            Ok(set)
        }
        _ => set,
    }
}

/// Opens a set by `open`. Where it is of another sum than `sum`, and the memory that is free chose
/// where its pixels lie, opens it with them in the other place: a set in memory and the same one on
/// disk have sums of their own.
///
/// # Errors
/// If the set cannot be opened as these options say.
pub fn of_sum(
    options: &data::Options,
    sum: &str,
    open: &mut dyn FnMut(&data::Options) -> Result<ImageSet>,
) -> Result<ImageSet> {
    let set = open(options)?;
    if set.is_of_sum(sum) || options.keep != Residency::Auto {
        return Ok(set);
    }
    let other = data::Options {
        keep: match set.pixels {
            Pixels::Memory(_) => Residency::Disk,
            Pixels::Stored(_) => Residency::Memory,
        },
        ..options.clone()
    };
    match open(&other) {
        Ok(other) if other.is_of_sum(sum) => Ok(other),
        _ => Ok(set),
    }
}

/// The folder of a run that is named by itself or by its model file.
pub fn folder_of(run: &Path) -> &Path {
    if run.is_dir() {
        run
    } else {
        run.parent().unwrap_or(run)
    }
}
