//! Lists of the pictures that commands make in a folder: what is listed is what a later call may
//! remove.

use std::path::{Path, PathBuf};
use wgvq::storage::atomic;
use wgvq::{Error, Result, files};

/// Name of the list of samples, of classes or of texts.
pub const SAMPLES: &str = "samples.json";
/// Name of the list of decoded and reconstructed images. The name is nobody else's: it is written
/// without being asked for.
pub const PICTURES: &str = ".wgvq-pictures.json";

/// The pictures that are listed in a folder and that are there still.
pub fn made_before(folder: &Path, list: &str) -> Vec<PathBuf> {
    let read = |path: PathBuf| -> Option<Vec<String>> {
        let list: serde_json::Value =
            serde_json::from_slice(&files::read(&path, files::LIST).ok()?).ok()?;
        let name = |image: &serde_json::Value| {
            image
                .as_str()
                .or(image["image"].as_str())
                .map(str::to_owned)
        };
        Some(list["images"].as_array()?.iter().filter_map(name).collect())
    };
    let plain = |name: &String| name.ends_with(".png") && Path::new(name).components().count() == 1;
    let names = read(folder.join(list))
        .unwrap_or_default()
        .into_iter()
        .filter(plain);
    names
        .map(|name| folder.join(name))
        .filter(|path| path.is_file())
        .collect()
}

/// Returns the pictures of an earlier call that `--overwrite` replaces; without it, new ones join
/// them.
pub fn replaced(folder: &Path, overwrite: bool) -> Vec<PathBuf> {
    if overwrite {
        made_before(folder, PICTURES)
    } else {
        Vec::new()
    }
}

/// Lists these pictures in what is staged for a folder, and those before that they do not replace.
///
/// # Errors
/// If the list cannot be written.
pub fn list(folder: &Path, staged: &Path, names: &[String], overwrite: bool) -> Result<()> {
    let before = if overwrite {
        Vec::new()
    } else {
        made_before(folder, PICTURES)
    };
    let before = before.iter().filter_map(|path| path.file_name()?.to_str());
    let all: Vec<&str> = before
        .filter(|name| names.iter().all(|n| n != name))
        .chain(names.iter().map(String::as_str))
        .collect();
    let list =
        serde_json::to_string_pretty(&serde_json::json!({ "images": all })).map_err(Error::data)?;
    atomic::write(&staged.join(PICTURES), (list + "\n").as_bytes())
}
