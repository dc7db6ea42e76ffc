//! The forms in which `wgvq encode` writes codes for other programs.

use crate::cli::Global;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use wgvq::codes::shards::ShardForm;
use wgvq::codes::{Codes, Labels};
use wgvq::{Error, Result};

/// The form of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CodesFormat {
    /// A file that `wgvq decode` reads
    Safetensors,
    /// A table for pyarrow, Polars and the library datasets
    Parquet,
    /// A folder of tars for WebDataset
    Webdataset,
}

/// The options of `wgvq encode` that are about the form of codes.
#[derive(Args)]
pub struct CodesForm {
    /// The form of the codes, with --shard that of each shard. A table has a row to each image,
    /// with its name, codes, class and text; tars have a sample to each, likewise
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value = "safetensors",
        conflicts_with_all = ["tokens", "npy", "native_size", "latents"]
    )]
    format: CodesFormat,
    /// Samples of a tar, with --format webdataset; a shard is one tar
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10_000,
        conflicts_with = "shard"
    )]
    per_tar: usize,
}

impl CodesForm {
    /// Whether the codes are for other programs, in a form that `wgvq decode` does not read.
    pub fn is_foreign(&self) -> bool {
        self.format != CodesFormat::Safetensors
    }

    /// Returns the form of a shard.
    pub fn of_shard(&self) -> ShardForm {
        match self.format {
            CodesFormat::Safetensors => ShardForm::Safetensors,
            CodesFormat::Parquet => ShardForm::Parquet,
            CodesFormat::Webdataset => ShardForm::Tar,
        }
    }

    /// Checks where the codes are to be written, before the work.
    ///
    /// # Errors
    /// If they cannot be, or something is there that may not be replaced.
    pub fn place(&self, global: &Global, out: &Path, overwrite: bool) -> Result<Place> {
        if self.per_tar == 0 {
            return Err(Error::config(
                "--per-tar",
                "0: a tar holds at least one sample",
            ));
        }
        if self.format != CodesFormat::Webdataset {
            return Place::file(global, out, overwrite);
        }
        let place = Place::folder(global, out)?;
        if !overwrite && let Some(file) = tars(out)?.first() {
            let what = "is there already; --overwrite replaces the tars of the folder";
            return Err(Error::file(file, what));
        }
        Ok(place)
    }

    /// Writes the codes.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, place: &Place, out: &Path, codes: &Codes, labels: &Labels) -> Result<()> {
        if self.format != CodesFormat::Webdataset {
            return codes.save_parquet(labels, out);
        }
        let staged = place.staged()?;
        codes.save_webdataset(labels, staged.path(), self.per_tar)?;
        staged.put(&tars(out)?)
    }

    /// Prints what was written.
    pub fn tell(&self, global: &Global, out: &Path, codes: &Codes, peak: u64) {
        let images = codes.names.len();
        let tars = images.div_ceil(self.per_tar);
        if global.json {
            let line = serde_json::json!({
                "codes": output::shown(out), "images": images, "peak_device_bytes": peak,
            });
            return json::print("encode-table", &line);
        }
        let (out, per_image) = (out.display(), codes.per_image());
        output::result(&match self.format {
            CodesFormat::Webdataset => {
                format!("{out}: {images} images of {per_image} codes in {tars} tars")
            }
            _ => format!("{out}: {images} rows of {per_image} codes"),
        });
    }
}

/// Returns the tars of codes that a folder has, and the file beside them.
fn tars(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let cannot = |e: std::io::Error| Error::file(folder, format!("cannot be listed: {e}"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = name
            .strip_prefix("codes-")
            .and_then(|n| n.strip_suffix(".tar"));
        let is_tar = number.is_some_and(|n| n.len() >= 6 && n.bytes().all(|b| b.is_ascii_digit()));
        if is_tar || name == wgvq::codes::WEBDATASET_ABOUT {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
