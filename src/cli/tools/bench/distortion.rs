//! `wgvq bench --suite distortion`

use super::Bench;
use crate::cli::common::apart::apart;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::common::signals::stop_flag;
use crate::cli::{CommandStatus, Global};
use half::f16;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wgvq::bench::{DistortionRow, Peer, Reached, distortion, distortion_settings};
use wgvq::memory;
use wgvq::report::sweep::{Legend, Series, sweep};
use wgvq::storage::{atomic, table};
use wgvq::vectors::Vectors;
use wgvq::{Error, Result};

/// The longest time that another library may take for one setting.
const PATIENCE: Duration = Duration::from_secs(3600);

impl Bench {
    /// Refuses options that this suite does not read.
    fn check_distortion(&self) -> Result<()> {
        let others = [
            ("--last-level-cache", self.last_level_cache.is_some()),
            ("--any-clock", self.any_clock),
        ];
        let why = "is not for --suite distortion, which writes a table and a chart to --out";
        self.refuse_of_suites(&others, why)
    }

    /// Measures how near codes come to vectors, for how much time.
    pub(super) fn distortion(&self, global: &Global) -> Result<CommandStatus> {
        let Some(path) = &self.vectors else {
            let what = "is needed by --suite distortion: a .npy file with an array [N, D]";
            return Err(Error::config("--vectors", what));
        };
        self.check_distortion()?;
        if path.is_dir() {
            let what = "is a folder: of a run, `wgvq encode RUN --data SET --latents -o z.npy` \
                        writes the latents as an array";
            return Err(Error::file(path, what));
        }
        let file = Vectors::open(path)?;
        let (n, dim) = (file.len(), file.dim());
        // Others get them in memory too, and in a file.
        let what = format!("{n} vectors, for each of those who take turns");
        let copies = 4 * (2 + self.peer.len());
        memory::check_available(what, memory::product(&[n, dim, copies]))?;
        let numbers = file.read(0..n)?;
        let fits_half = numbers.iter().all(|v| v.abs() <= f16::MAX.to_f32());
        let vectors = Vectors::from_rows(dim, numbers)?;
        let files = ["distortion.csv", "distortion.png"].map(|name| self.out.join(name));
        let _places = files
            .iter()
            .map(|file| Place::file(global, file, self.overwrite))
            .collect::<Result<Vec<_>>>()?;
        apart([path], &files)?;
        let gpu = global.gpu()?;
        let folder = tempfile::tempdir()
            .map_err(|e| Error::data(format!("no folder for temporary files: {e}")))?;
        let peers = self.peers(global)?.into_iter();
        let mut peers: Vec<Peer> = peers.map(|peer| peer.with_patience(PATIENCE)).collect();
        let stop = stop_flag();
        let mut settings = distortion_settings(n, dim);
        if !fits_half {
            settings.retain(|setting| !setting.half);
            output::note(
                global,
                &format!(
                    "no search in f16: the vectors hold numbers beyond {}; scale them",
                    f16::MAX
                ),
            );
        }
        let dim = dim as f64;
        let mut rows = Vec::new();
        for setting in settings {
            if stop.load(Ordering::Relaxed) {
                let what = match rows.is_empty() {
                    true => "stopped before anything was measured: nothing was written",
                    false => {
                        "stopped: the table has what was measured, and there is no chart of it"
                    }
                };
                output::note(global, what);
                return Ok(CommandStatus::Abandoned);
            }
            let row = distortion(
                &gpu,
                &vectors,
                setting,
                self.seed,
                &mut peers,
                folder.path(),
            )?;
            if global.json {
                json::print("bench-distortion", &line(&row));
            } else {
                for (by, reached) in results(&row) {
                    output::result(&match reached {
                        Ok(reached) => format!(
                            "{:<36} {:>8.1} ms  {:.5e} a number  {by}",
                            setting.name(),
                            reached.ms,
                            reached.distortion / dim
                        ),
                        Err(why) => format!("{:<36} {by}: {why}", setting.name()),
                    });
                }
            }
            rows.push(row);
            if rows.len() == 1 && files[1].is_file() {
                // It is of another table.
                std::fs::remove_file(&files[1]).map_err(|e| Error::file(&files[1], e))?;
            }
            // What took long to measure is kept at once.
            atomic::write(&files[0], csv(&rows).as_bytes())?;
        }
        let info = gpu.info();
        let caption = format!(
            "{} vectors of {} numbers; {}, {}",
            vectors.len(),
            vectors.dim(),
            info.name,
            info.driver_info
        );
        atomic::write(&files[1], &chart(&rows, dim, &caption)?)?;
        let [table, chart] = files.each_ref().map(|file| file.display());
        output::note(global, &format!("wrote {table} and {chart}"));
        Ok(CommandStatus::Done)
    }
}

/// Ours, then the others'.
fn results(row: &DistortionRow) -> impl Iterator<Item = (&str, Result<&Reached, &str>)> {
    let peers = row.peers.iter();
    let peers = peers.map(|(name, found)| (name.as_str(), found.as_ref().map_err(String::as_str)));
    std::iter::once(("wgvq", Ok(&row.ours))).chain(peers)
}

fn line(row: &DistortionRow) -> serde_json::Value {
    let of = |(by, found): (&str, Result<&Reached, &str>)| match found {
        Ok(found) => serde_json::json!({
            "by": by, "distortion": found.distortion, "ms": found.ms, "samples_ms": found.samples,
        }),
        Err(why) => serde_json::json!({ "by": by, "missing": why }),
    };
    serde_json::json!({
        "name": row.setting.name(), "setting": row.setting, "bits": row.setting.bits(),
        "results": results(row).map(of).collect::<Vec<_>>(),
    })
}

fn csv(rows: &[DistortionRow]) -> String {
    let header = ["name", "by", "bits", "distortion", "ms"].map(str::to_owned);
    let line = |row: &DistortionRow| {
        let (name, bits) = (row.setting.name(), row.setting.bits());
        let of = |(by, found): (&str, Result<&Reached, &str>)| {
            let figure =
                |of: fn(&Reached) -> f64| found.map_or(String::new(), |f| of(f).to_string());
            vec![
                name.clone(),
                by.to_owned(),
                format!("{bits:.2}"),
                figure(|found| found.distortion),
                figure(|found| found.ms),
            ]
        };
        results(row).map(of).collect::<Vec<_>>()
    };
    table::csv(std::iter::once(header.to_vec()).chain(rows.iter().flat_map(line)))
}

/// Distortion against time, a line to each family; another library's thinly, in the same colour.
fn chart(rows: &[DistortionRow], dim: f64, caption: &str) -> Result<Vec<u8>> {
    let mut series: Vec<Series> = Vec::new();
    let families = rows.chunk_by(|a, b| a.setting.family() == b.setting.family());
    for family in families {
        let name = family[0].setting.family();
        for i in 0..=family[0].peers.len() {
            let points = family.iter().filter_map(|row| {
                let (_, found) = results(row).nth(i)?;
                found
                    .ok()
                    .map(|found| (found.ms / 1e3, found.distortion / dim))
            });
            // What others are not asked for has no line.
            if i > 0 && family[0].setting.half {
                continue;
            }
            let by = results(&family[0]).nth(i).map_or("", |(by, _)| by);
            let by = by.split(',').next().unwrap_or(by);
            series.push(Series {
                name: match i {
                    0 => name.to_owned(),
                    _ => by.to_owned(),
                },
                points: points.collect(),
                beside: i > 0,
            });
        }
    }
    let title = "mean squared error of a number, against seconds to learn and code";
    sweep(
        [title, caption, "seconds"],
        &series,
        Legend::Column,
        900,
        560,
    )?
    .png()
}
