//! The file of a tuning table: where it lies, and how it is read.

use crate::gpu::{Core, Gpu, Tuning};
use crate::{Error, Result};
use std::io::ErrorKind;
use std::path::PathBuf;
use wgpu::AdapterInfo;

/// Returns the folder of the tables: `$WGVQ_TUNING`, or the user's folder for caches.
pub fn tuning_folder() -> Option<PathBuf> {
    match std::env::var_os("WGVQ_TUNING") {
        Some(folder) => Some(PathBuf::from(folder)),
        None => Some(dirs::cache_dir()?.join("wgvq")),
    }
}

/// Returns the path of the table of an adapter, and of a core that was asked for.
pub fn tuning_path(info: &AdapterInfo, core: Option<Core>) -> Option<PathBuf> {
    let folder = tuning_folder()?;
    let words = format!(
        "{} {} {} {}",
        info.name,
        info.driver,
        info.driver_info,
        core.map_or("", Core::name)
    );
    let slug: String = words
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    Some(folder.join(format!("tuning-{}.toml", slug.trim_matches('-'))))
}

/// Returns the stored table of an adapter, and of a core that was asked for, and its file. Tables
/// are a convenience: where the user's own folder cannot be looked into (no home, or one that is
/// closed to this process), there is none.
///
/// # Errors
/// If there is one that is damaged, or the folder that `WGVQ_TUNING` names cannot be looked into.
pub fn stored_tuning(info: &AdapterInfo, core: Option<Core>) -> Result<Option<(PathBuf, Tuning)>> {
    let Some(path) = tuning_path(info, core) else {
        return Ok(None);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            // What an error says in full shows the file, over several lines.
            let wrong = |e: toml::de::Error| {
                let words = e.message().split_whitespace().collect::<Vec<_>>().join(" ");
                let what = format!("no tuning table ({words}); remove it, or run `wgvq tune`");
                Error::file(&path, what)
            };
            let tuning = toml::from_str(&text).map_err(wrong)?;
            Ok(Some((path, tuning)))
        }
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) if std::env::var_os("WGVQ_TUNING").is_some() => {
            let what = format!("cannot be read ({e}); WGVQ_TUNING names the folder, or unset it");
            Err(Error::file(&path, what))
        }
        Err(e) => {
            tracing::warn!(
                "note: {}: the tuning table cannot be read ({e}); the default one is used",
                path.display()
            );
            Ok(None)
        }
    }
}

/// Makes a device, opened with or without asking for a core, use its stored table, if there is one.
///
/// # Errors
/// If there is one that cannot be used; the error names the file.
pub fn apply_stored_tuning(gpu: &Gpu, core: Option<Core>) -> Result<()> {
    let Some((path, tuning)) = stored_tuning(gpu.info(), core)? else {
        return Ok(());
    };
    gpu.set_tuning(&tuning)
        .map_err(|e| Error::file(&path, format!("{e}; remove it, or run `wgvq tune`")))
}
