//! The parts of a run's folder, by name: all of them go when the run is replaced, and nothing that
//! somebody put beside them.

use crate::config::run::RunConfig;
use crate::models::first_stage::vqvae2::{MOST_LEVELS, level_names};
use crate::models::scale_name;
use crate::quantize::MOST_SIDE;
use crate::storage::{atomic, event_file, sessions, staged};
use crate::{Error, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Name of the folder of the tokens that a prior is trained on.
pub(crate) const TOKENS: &str = "tokens";
pub(crate) const LOCK: &str = "run.lock";
/// Name of the file of a trained model.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const MODEL: &str = "final.safetensors";
/// Name of a run's copy of the list of images that are held out (`data.test_files`).
pub const TEST_FILES: &str = "test-files.txt";
/// Name of the file in which `wgvq compare` records a run that it trained.
pub const COMPARED: &str = "comparison.json";
/// Name of the file in which `wgvq compare --priors` records what a prior drew.
pub const DRAWN: &str = "drawn.json";
/// Name of the folder and of the page that `wgvq inspect` makes.
const INSPECTION: &str = "inspect";
const PAGE: &str = "index.html";
const INSPECTED: [&str; 6] = ["codes", "patches", "usage", "map", "overlay", "robustness"];
/// The second stage, and behind a line the level that it is of.
const PRIOR: &str = "prior";
/// Name of the folder that `wgvq text2image` adds, with the tokenizer and measurements.
pub(crate) const TEXT: &str = "text";
pub(crate) const CONTRASTIVE: &str = "contrastive";
const REPORT: &str = "report";
const EVALUATION: [&str; 3] = ["evaluation.csv", "evaluation.png", "evaluation-samples.png"];

/// Files of a run in its folder itself, and in each of those that may lie there.
fn is_own(folder: &str, name: &str) -> bool {
    match folder {
        "" => {
            matches!(
                name,
                "config.toml"
                    | "metrics.csv"
                    | "test.csv"
                    | "final.safetensors"
                    | "pace.json"
                    | "code-statistics.safetensors"
                    | sessions::FILE
                    | TEST_FILES
                    | COMPARED
                    | DRAWN
            ) || event_file::is_event_file(name)
        }
        "checkpoints" => is_checkpoint(name),
        "pictures" => {
            matches!(
                name,
                "summary.png" | "levels.png" | "gan.png" | "players.png" | "originals.png"
            ) || is_picture_of_step(name)
        }
        TOKENS => is_token_file(name),
        INSPECTION => is_inspection(name),
        REPORT => {
            matches!(
                name,
                "rate.png" | "rate.csv" | "run.html" | "distances.csv" | "classifier.safetensors"
            ) || EVALUATION.contains(&name)
        }
        TEXT => matches!(name, "tokenizer.json" | "characters.txt" | "asked.toml"),
        _ => false,
    }
}

/// The files of a folder of a run that a bundle of it holds, beside the models.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn bundled_files(folder: &str) -> &'static [&'static str] {
    match folder {
        TEXT => &["tokenizer.json", "characters.txt"],
        _ => &["config.toml", "metrics.csv", "test.csv"],
    }
}

/// Whether a folder of a run, by its name, holds a model that a bundle has: the run's own, a prior
/// or the judge.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn is_bundled_folder(folder: &str) -> bool {
    ["", PRIOR, CONTRASTIVE].contains(&folder) || is_prior_of_level(folder)
}

/// Whether a bundle may hold that file of that folder.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn is_bundled_file(folder: &str, file: &str) -> bool {
    (folder == TEXT || is_bundled_folder(folder)) && bundled_files(folder).contains(&file)
}

/// The folders of a run beside the runs that hang on it.
pub(crate) const FOLDERS: [&str; 6] = ["checkpoints", "pictures", INSPECTION, REPORT, TEXT, TOKENS];

/// The runs that hang on one, which are of no use without it: its priors and its judge.
pub(crate) fn hanging(path: &Path) -> Result<Vec<PathBuf>> {
    let is_one = |n: &String| n == CONTRASTIVE || n == PRIOR || is_prior_of_level(n);
    let found = names(path)?
        .into_iter()
        .filter(is_one)
        .map(|n| path.join(n));
    Ok(found.filter(|p| p.is_dir()).collect())
}

fn is_prior_of_level(name: &str) -> bool {
    name.strip_prefix("prior-")
        .is_some_and(|level| all_levels().any(|l| l == level))
}

fn all_levels() -> impl Iterator<Item = String> {
    let scales = (1..=MOST_SIDE).map(scale_name);
    (2..=MOST_LEVELS).flat_map(level_names).chain(scales)
}

/// All files that a run made, and those of the runs that hang on it; without its tokens where a new
/// one goes on with them.
pub(crate) fn made_by_a_run(path: &Path, tokens: bool) -> Result<Vec<PathBuf>> {
    let mut files = own_files(path, "", "")?;
    for folder in FOLDERS.iter().filter(|f| tokens || **f != TOKENS) {
        files.extend(own_files(path, folder, folder)?);
    }
    // Of several levels of codes, each has its own folder of an inspection.
    for level in all_levels() {
        files.extend(own_files(
            path,
            &format!("{INSPECTION}/{level}"),
            INSPECTION,
        )?);
    }
    for run in hanging(path)? {
        files.extend(all_of(&run)?);
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// All that a run made that hangs on another: its files, its lock, and the folders that it makes
/// whether or not it fills them.
fn all_of(run: &Path) -> Result<Vec<PathBuf>> {
    let mut all = made_by_a_run(run, true)?;
    all.extend(
        ["checkpoints", "pictures", LOCK]
            .map(|name| run.join(name))
            .into_iter()
            .filter(|p| p.exists()),
    );
    Ok(all)
}

/// Returns what depends on the prior of a run that reads texts, beside that prior: the other
/// levels', the judge, and their measurements.
///
/// # Errors
/// If a folder cannot be listed.
pub(crate) fn made_of_texts(run: &Path, prior: &Path) -> Result<Vec<PathBuf>> {
    let mut files = own_files(run, TEXT, TEXT)?;
    files.extend(
        EVALUATION
            .iter()
            .map(|n| run.join(REPORT).join(n))
            .filter(|f| f.is_file()),
    );
    for other in hanging(run)?.into_iter().filter(|p| p != prior) {
        files.extend(all_of(&other)?);
    }
    Ok(files)
}

/// Returns a run's configuration, in which the list of images that are held out is the copy that
/// the run keeps, where it has one: the list itself may have changed since, or gone.
pub fn with_kept_list(mut config: RunConfig, run: &Path) -> RunConfig {
    let kept = run.join(TEST_FILES);
    if !config.data.test_files.is_empty()
        && kept.is_file()
        && let Ok(kept) = std::path::absolute(&kept)
        && let Some(kept) = kept.to_str()
    {
        config.data.test_files = kept.to_owned();
    }
    config
}

/// Returns the files of a folder that an inspection made there.
///
/// # Errors
/// If it cannot be listed.
pub fn made_by_an_inspection(folder: &Path) -> Result<Vec<PathBuf>> {
    own_files(folder, "", INSPECTION)
}

fn own_files(run: &Path, folder: &str, kind: &str) -> Result<Vec<PathBuf>> {
    let folder = if folder.is_empty() {
        run.to_owned()
    } else {
        run.join(folder)
    };
    let own = |n: &String| is_own(kind, n) || atomic::is_scratch(n);
    Ok(names(&folder)?
        .iter()
        .filter(|n| own(n))
        .map(|n| folder.join(n))
        .filter(|f| f.is_file())
        .collect())
}

/// Whether the folder of `name` in a run's holds nothing but what a run makes there. Neither a file
/// nor a foreign folder is such.
pub(crate) fn is_own_entry(path: &Path, name: &str) -> Result<bool> {
    let entry = path.join(name);
    if !entry.is_dir() {
        return Ok(is_own("", name)
            || name == LOCK
            || atomic::is_scratch(name)
            || staged::is_staged(name));
    }
    if staged::is_staged(name) {
        return Ok(true);
    }
    let inside = names(&entry)?;
    if hanging(path)?.contains(&entry) {
        return inside
            .iter()
            .try_fold(true, |all, n| Ok(all && is_own_entry(&entry, n)?));
    }
    let own = |n: &String| is_own(name, n) || atomic::is_scratch(n) || staged::is_staged(n);
    Ok(FOLDERS.contains(&name) && inside.iter().all(own))
}

/// Returns an entry of a run's folder that no run made, if there is one.
pub(crate) fn foreign_in(run: &Path) -> Result<Option<PathBuf>> {
    for name in names(run)? {
        if !is_own_entry(run, &name)? {
            return Ok(Some(run.join(name)));
        }
    }
    Ok(None)
}

/// Returns the step of a picture of reconstructions, by its file's name.
pub fn step_of_picture(name: &str) -> Option<u64> {
    let step = name.strip_suffix(".png")?.strip_prefix("step-")?;
    let is_number = step.len() >= 8 && step.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| step.parse().ok())?
}

fn is_picture_of_step(name: &str) -> bool {
    step_of_picture(name).is_some()
}

pub(crate) fn is_checkpoint(name: &str) -> bool {
    let step = name
        .strip_suffix(".json")
        .or(name.strip_suffix(".safetensors"))
        .and_then(|n| n.strip_prefix("step-"));
    step.is_some_and(|s| s.len() >= 8 && s.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether this is a file of tokens, `train-00000.safetensors`, or the one that names them.
pub(crate) fn is_token_file(name: &str) -> bool {
    let shard = name
        .strip_suffix(".safetensors")
        .and_then(|n| n.strip_prefix("train-").or(n.strip_prefix("test-")));
    name == "tokens.json"
        || shard.is_some_and(|n| n.len() >= 5 && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether an inspection makes a file of this name: `codes.png`, or `codes-2.png` where there are
/// several codebooks.
fn is_inspection(name: &str) -> bool {
    let stem = name
        .strip_suffix(".png")
        .or(name.strip_suffix(".csv"))
        .unwrap_or_default();
    let (kind, book) = stem.split_once('-').unwrap_or((stem, "1"));
    name == PAGE || INSPECTED.contains(&kind) && book.parse::<usize>().is_ok()
}

/// Names in a folder, sorted; none where there is no folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let cannot = |e: std::io::Error| Error::file(folder, format!("cannot be listed: {e}"));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(cannot(e)),
    };
    let names = entries.map(|e| {
        e.map(|e| e.file_name().to_string_lossy().into_owned())
            .map_err(cannot)
    });
    let mut names = names.collect::<Result<Vec<String>>>()?;
    names.sort_unstable();
    Ok(names)
}
