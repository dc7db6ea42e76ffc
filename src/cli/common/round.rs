//! One round of a comparison: what was begun, and how far it came.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wgvq::gpu::Gpu;
use wgvq::storage::atomic;
use wgvq::storage::run_parts::COMPARED;
use wgvq::train::{Task, Trainer};
use wgvq::{Error, Result};

/// One replacing of a comparison, which may take several calls of the same command: what was
/// trained in it is gone on with.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Round {
    /// Hash of what is compared: another command begins another round.
    of: String,
    /// Time at which it began, which names it in the runs that it made. `None` where nothing is
    /// replaced.
    began: Option<String>,
    #[serde(skip)]
    file: PathBuf,
}

impl Round {
    /// The round that a folder is in, or a new one.
    /// `runs` are the folders of the runs, with the sums of their configurations.
    pub fn begin<'a>(
        out: &Path,
        runs: impl IntoIterator<Item = (&'a Path, Result<String>)>,
        overwrite: bool,
    ) -> Result<Round> {
        let identity = |(folder, sum): (&Path, Result<String>)| -> Result<String> {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            Ok(format!("{name} {}", sum?))
        };
        let of = runs
            .into_iter()
            .map(identity)
            .collect::<Result<Vec<_>>>()?
            .join("\n");
        let file = out.join("replacing.json");
        if !overwrite {
            return Ok(Round {
                of,
                began: None,
                file,
            });
        }
        let known = std::fs::read(&file)
            .ok()
            .and_then(|text| serde_json::from_slice::<Round>(&text).ok());
        if let Some(round) = known.filter(|round| round.of == of) {
            return Ok(Round { file, ..round });
        }
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos());
        let round = Round {
            of,
            began: Some(began.to_string()),
            file,
        };
        std::fs::create_dir_all(out)
            .map_err(|e| Error::file(out, format!("cannot be made: {e}")))?;
        atomic::write(
            &round.file,
            &serde_json::to_vec_pretty(&round).map_err(Error::data)?,
        )?;
        Ok(round)
    }

    /// Whether the run in this folder is from before the round.
    pub fn replaces(&self, folder: &Path) -> bool {
        let made = std::fs::read_to_string(folder.join(COMPARED)).unwrap_or_default();
        self.began.as_ref().is_some_and(|began| made != *began)
    }

    /// Notes in the folder of a run that the round made it.
    pub fn mark(&self, folder: &Path) -> Result<()> {
        match &self.began {
            Some(began) => atomic::write(&folder.join(COMPARED), began.as_bytes()),
            None => Ok(()),
        }
    }

    /// All is replaced: the same command begins another round.
    pub fn end(self) -> Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::file(&self.file, format!("cannot be removed: {e}")))
            }
            _ => Ok(()),
        }
    }
}

/// Median milliseconds of a few more steps of a trained model.
pub fn ms_per_step(gpu: &Gpu, trainer: &mut Trainer<impl Task>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..7 {
        gpu.finish()?;
        let start = Instant::now();
        trainer.step()?;
        gpu.finish()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(Duration::as_secs_f64(&times[times.len() / 2]) * 1e3)
}
