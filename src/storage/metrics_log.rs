//! Logs as CSV: one row per measurement, appended as it comes. A resumed run cuts off what lies
//! past its checkpoint, so its log is that of the run left alone.

use crate::storage::table;
use crate::{Error, Result, files};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A CSV file that grows. Its first column is the step.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

/// A row of some log.
pub trait Record {
    /// Names of the columns.
    fn header() -> String;
    /// Returns the values, in their order.
    fn values(&self) -> String;
}

/// Returns the values of a row by the names of these columns; NaN where it has none.
pub fn named_values(columns: &str, row: &impl Record) -> Vec<(String, f64)> {
    let (names, values) = (columns, row.values());
    let number = |value: &str| value.parse().unwrap_or(f64::NAN);
    let pairs = names.split(',').zip(values.split(','));
    pairs
        .map(|(name, value)| (name.to_owned(), number(value)))
        .collect()
}

impl Log {
    /// Opens the log of these columns, made if it is missing. Rows past `step`, and a last line
    /// that was cut short, go. The log of an earlier version, which has some of the columns, gets
    /// the others, empty in its rows.
    ///
    /// # Errors
    /// If the file cannot be written, or is no such log.
    pub fn open(path: &Path, header: &str, step: u64) -> Result<Log> {
        let failed = |e: std::io::Error| Error::file(path, format!("cannot be written: {e}"));
        let before = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::file(path, format!("cannot be read: {e}"))),
        };
        let wanted: Vec<&str> = header.split(',').collect();
        let found = match first(&before) {
            found if found.is_empty() => wanted.iter().map(|name| (*name).to_owned()).collect(),
            found => found,
        };
        let known = |name: &String| wanted.contains(&name.as_str());
        if found.first().map(String::as_str) != wanted.first().copied() || !found.iter().all(known)
        {
            return Err(Error::file(
                path,
                format!("is no log of this kind: its columns are not {header}"),
            ));
        }
        let places: Vec<Option<usize>> = wanted
            .iter()
            .map(|name| found.iter().position(|f| f == name))
            .collect();
        let kept = rows(&before)
            .into_iter()
            .filter(|row| row[0].parse::<u64>().is_ok_and(|at| at <= step));
        let kept = kept.map(|row| {
            let of = |place: &Option<usize>| place.and_then(|i| row.get(i).cloned());
            let values = places.iter().map(|place| of(place).unwrap_or_default());
            values.collect::<Vec<_>>()
        });
        let names = wanted.iter().map(|name| (*name).to_owned()).collect();
        let text = table::csv(std::iter::once(names).chain(kept));
        crate::storage::atomic::write(path, text.as_bytes())?;
        let file = File::options().append(true).open(path).map_err(failed)?;
        Ok(Log {
            path: path.to_owned(),
            file,
        })
    }

    /// Makes what was appended outlast a loss of power.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn sync(&self) -> Result<()> {
        crate::storage::file_system::sync(&self.file, &self.path)
            .map_err(|e| Error::file(&self.path, format!("cannot be written: {e}")))
    }

    /// Appends a row.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push<R: Record>(&mut self, row: &R) -> Result<()> {
        let values = row.values();
        let values = values.split(',').map(|v| table::measured(v.to_owned()));
        let line = table::csv([values]);
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.flush())
            .map_err(|e| Error::file(&self.path, format!("cannot be written: {e}")))
    }
}

/// The names of a log's columns.
fn first(text: &str) -> Vec<String> {
    let rows = table::rows(text.lines().next().unwrap_or_default());
    rows.into_iter().next().unwrap_or_default().1
}

/// The rows of a log below the names. A last line without its end may be short of digits as well as
/// of columns, and does not count.
fn rows(text: &str) -> Vec<Vec<String>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let rows = table::rows(whole).into_iter();
    rows.skip(1).map(|(_, row)| row).collect()
}

/// The columns of a log by name, NaN where nothing was measured. Lines cut short are passed over.
///
/// # Errors
/// If the file cannot be read.
pub fn columns(path: &Path) -> Result<Vec<(String, Vec<f64>)>> {
    let text = files::read_text(path, files::LIST)?;
    let mut columns: Vec<(String, Vec<f64>)> = first(&text)
        .into_iter()
        .map(|name| (name, Vec::new()))
        .collect();
    for row in rows(&text) {
        // Earlier versions wrote NaN.
        let of = |value: &String| match value.as_str() {
            "" => Some(f64::NAN),
            value => value.parse().ok(),
        };
        let values: Vec<f64> = row.iter().filter_map(of).collect();
        if values.len() == columns.len() {
            columns
                .iter_mut()
                .zip(values)
                .for_each(|((_, column), v)| column.push(v));
        }
    }
    Ok(columns)
}

/// One of the [`columns`] of a log, by its name; empty where there is none.
pub fn column(columns: &[(String, Vec<f64>)], name: &str) -> Vec<f64> {
    columns
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A measurement like those of a run.
    struct Evaluation {
        step: u64,
        mse: f64,
        edge_sharpness: f64,
        used: usize,
    }

    impl Record for Evaluation {
        fn header() -> String {
            "step,mse,edge_sharpness,used".into()
        }
        fn values(&self) -> String {
            let Evaluation {
                step,
                mse,
                edge_sharpness,
                used,
            } = self;
            format!("{step},{mse:.6e},{edge_sharpness:.4},{used}")
        }
    }

    fn row(step: u64) -> Evaluation {
        Evaluation {
            step,
            mse: 0.5 / step as f64,
            edge_sharpness: 0.6,
            used: 3,
        }
    }

    #[test]
    fn a_resumed_log_equals_one_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.csv"), folder.path().join("b.csv"));
        let mut log = Log::open(&a, &Evaluation::header(), 0).unwrap();
        (1..=6).for_each(|s| log.push(&row(s)).unwrap());
        let mut log = Log::open(&b, &Evaluation::header(), 0).unwrap();
        (1..=5).for_each(|s| log.push(&row(s)).unwrap());
        let torn = std::fs::read_to_string(&b).unwrap() + "6,0.08";
        std::fs::write(&b, torn).unwrap();
        let mut log = Log::open(&b, &Evaluation::header(), 4).unwrap();
        (5..=6).for_each(|s| log.push(&row(s)).unwrap());
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        let columns = columns(&a).unwrap();
        assert_eq!(
            columns[0],
            ("step".into(), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        );
        assert!(
            Log::open(&a, "step,loss", 0).is_err(),
            "a log of other columns"
        );
    }

    #[test]
    fn the_log_of_an_earlier_version_gets_the_columns_that_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.csv");
        std::fs::write(&path, "step,used,mse\n1,7,0.5\n2,8,0.25\n3,9,0.125\n").unwrap();
        let mut log = Log::open(&path, &Evaluation::header(), 2).unwrap();
        log.push(&row(3)).unwrap();
        let columns = columns(&path).unwrap();
        assert_eq!(column(&columns, "step"), [1.0, 2.0, 3.0]);
        assert_eq!(column(&columns, "used"), [7.0, 8.0, 3.0]);
        let edges = column(&columns, "edge_sharpness");
        assert!(edges[0].is_nan() && edges[2] == 0.6, "{edges:?}");
        std::fs::write(&path, "step,mse,colour\n").unwrap();
        assert!(
            Log::open(&path, &Evaluation::header(), 2).is_err(),
            "a column that there never was"
        );
    }
}
