//! Results of an earlier run, to hold new ones against.

use super::profile::Share;
use super::row::{FORMAT, Header, Row};
use crate::{Error, Result, files};
use std::path::Path;

/// A file that `wgvq bench --json` wrote.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// The machine that it was measured on.
    pub header: Header,
    /// The measured rows.
    pub rows: Vec<Row>,
}

/// The change of a workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The baseline has no such workload on this core, or no time for it.
    New,
    /// The new time over the old; the quartiles overlap, so the difference may be noise.
    Within(f64),
    /// The new time over the old; the quartiles lie apart.
    Apart(f64),
}

impl Baseline {
    /// Reads such a file.
    ///
    /// # Errors
    /// If it cannot be read, is of another kind, or of a later format; the error names the line.
    pub fn read(path: &Path) -> Result<Baseline> {
        let text = files::read_text(path, files::LIST)?;
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty());
        let kind = "a baseline is what `wgvq bench --json > FILE` writes";
        let first = lines
            .next()
            .ok_or_else(|| Error::file(path, format!("empty; {kind}")))?
            .1;
        let version = serde_json::from_str::<serde_json::Value>(first)
            .ok()
            .and_then(|v| v.get("wgvq_bench")?.as_u64());
        match version {
            None => {
                return Err(Error::file(
                    path,
                    format!("its first line is no header of `wgvq bench`; {kind}"),
                ));
            }
            Some(v) if v != FORMAT as u64 => {
                return Err(Error::file(
                    path,
                    format!("format {v}, and this version reads {FORMAT}; measure it again"),
                ));
            }
            Some(_) => {}
        }
        let header = serde_json::from_str(first)
            .map_err(|e| Error::file(path, format!("line 1: {e}; {kind}")))?;
        let rows = lines
            // What --profile adds is no workload.
            .filter(|(_, l)| serde_json::from_str::<Share>(l).is_err())
            .map(|(i, l)| {
                serde_json::from_str(l)
                    .map_err(|e| Error::file(path, format!("line {}: {e}; {kind}", i + 1)))
            })
            .collect::<Result<_>>()?;
        Ok(Baseline { header, rows })
    }

    /// Compares `row` with the baseline's row of the same workload, core and type.
    pub fn change(&self, row: &Row) -> Change {
        let same =
            |old: &&Row| (&old.name, &old.core, &old.dtype) == (&row.name, &row.core, &row.dtype);
        let Some(old) = self.rows.iter().find(same) else {
            return Change::New;
        };
        let (Some(new_ms), Some(old_ms)) = (row.ms, old.ms) else {
            return Change::New;
        };
        let (Some([a, b]), Some([c, d])) = (row.ms_quartiles, old.ms_quartiles) else {
            return Change::New;
        };
        if a <= d && c <= b {
            Change::Within(new_ms / old_ms)
        } else {
            Change::Apart(new_ms / old_ms)
        }
    }
}
