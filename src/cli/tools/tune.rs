//! `wgvq tune`, and the tables that it stores.

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::io::ErrorKind;
use std::path::Path;
use wgvq::bench;
use wgvq::gpu::Tuning;
use wgvq::{Error, Result};

/// Measures which matrix core is the faster on this adapter, which of its tiles serves which
/// problems best, and up to how many channels the codebook search is faster by the kernels for few
/// of them, and stores the table. Every command then uses it. A table is of one adapter and driver
/// (and core, with --core); `wgvq info` shows it.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq tune                                # the table is kept, and shown by wgvq info
  wgvq tune --reset")]
pub struct Tune {
    /// Forget the stored table; the default one is used again
    #[arg(long)]
    reset: bool,
    /// Measure and print, and store nothing
    #[arg(long, conflicts_with = "reset")]
    dry_run: bool,
}

impl Tune {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let gpu = global.untuned_gpu()?;
        let path = bench::tuning_path(gpu.info(), global.one_core()?);
        if self.reset {
            let path = path.ok_or_else(no_cache_folder)?;
            let removed = match std::fs::remove_file(&path) {
                Ok(()) => true,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    false
                }
                Err(e) => return Err(Error::file(&path, e.to_string())),
            };
            let file = path.display().to_string();
            if global.json {
                let line = serde_json::json!({ "table": file, "removed": removed });
                json::print("tune-reset", &line);
            } else {
                output::note(
                    global,
                    &if removed {
                        format!("removed {file}")
                    } else {
                        "nothing was stored".into()
                    },
                );
            }
            return Ok(CommandStatus::Done);
        }
        if !self.dry_run {
            may_store(path.as_deref().ok_or_else(no_cache_folder)?)?;
        }
        output::note(
            global,
            &format!("{}: 10^9 operations per second by tile", gpu.info().name),
        );
        let tuning = bench::tune(&gpu, |class| {
            let [rows, cols, inner] = class.shape;
            if global.json {
                let tiles: Vec<_> = class
                    .tiles
                    .iter()
                    .map(|(t, g)| serde_json::json!({ "tile": t.to_string(), "gflops": g }))
                    .collect();
                let line = serde_json::json!({
                    "m": rows, "n": cols, "k": inner, "chosen": class.rule.tile, "tiles": tiles,
                });
                json::print("tile-choice", &line);
                return;
            }
            let tiles: Vec<String> = class
                .tiles
                .iter()
                .map(|(tile, gflops)| {
                    let mark = if tile.to_string() == class.rule.tile {
                        "*"
                    } else {
                        " "
                    };
                    let size = tile.to_string();
                    format!(
                        "{:>13} {gflops:>7.1}{mark}",
                        size.split_once(' ').map_or(size.as_str(), |(_, s)| s)
                    )
                })
                .collect();
            output::result(&format!(
                "{rows:>7} x {cols:<4} over {inner}: {}",
                tiles.join("")
            ));
        })?;
        if let Some(few) = tuning.few_channels {
            let what = "the kernels for few channels search faster than tiles up to";
            output::note(global, &format!("{what} {few} channels"));
        }
        if let Some(path) = path.filter(|_| !self.dry_run) {
            write(&path, &tuning)?;
            output::note(
                global,
                &format!(
                    "stored in {}; `wgvq tune --reset` forgets it",
                    path.display()
                ),
            );
        }
        Ok(CommandStatus::Done)
    }
}

fn no_cache_folder() -> Error {
    Error::config(
        "WGVQ_TUNING",
        "this system names no folder for caches; set it to a folder for tuning tables",
    )
}

/// Checks that a table can be stored there, before anything is measured.
fn may_store(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::file(
            path,
            "is a folder, and a tuning table is to go there; move it away",
        ));
    }
    path.parent()
        .map_or(Ok(()), wgvq::storage::atomic::may_write_below)
}

fn write(path: &Path, tuning: &Tuning) -> Result<()> {
    let fail = |e: &dyn std::fmt::Display| Error::file(path, e.to_string());
    let text = toml::to_string(tuning).map_err(|e| fail(&e))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| fail(&e))?;
    }
    wgvq::storage::atomic::write(path, text.as_bytes())
}
