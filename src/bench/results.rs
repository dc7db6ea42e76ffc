//! Files of results: what `wgvq bench --json` writes, read back.

use super::cold::Cache;
use super::row::{FORMAT, Header, Row};
use crate::{Error, Result, files};
use std::collections::BTreeSet;
use std::path::Path;

/// The results of one process.
#[derive(Clone, Debug)]
pub struct Run {
    /// The machine, and its peaks at the time.
    pub header: Header,
    /// The measured rows.
    pub rows: Vec<Row>,
}

impl Run {
    /// Returns the results of a process that `measure` runs for workloads by name; what was refused
    /// in it, since the clock moved, `measure` is asked for again, as often as there is one to
    /// spare. It is told whether it is asked again.
    ///
    /// # Errors
    /// If `measure` fails.
    pub fn steady(
        names: &[&str],
        spare: &mut usize,
        mut measure: impl FnMut(&[&str], bool) -> Result<Run>,
    ) -> Result<Run> {
        let mut run = measure(names, false)?;
        while *spare > 0 {
            let refused = run.rows.iter().filter(|row| row.refused.is_some());
            let refused: BTreeSet<String> = refused.map(|row| row.name.clone()).collect();
            if refused.is_empty() {
                break;
            }
            *spare -= 1;
            let refused: Vec<&str> = refused.iter().map(String::as_str).collect();
            for row in measure(&refused, true)?.rows {
                let is_it = |old: &&mut Row| old.refused.is_some() && old.key() == row.key();
                if let Some(old) = run.rows.iter_mut().find(is_it) {
                    *old = row;
                }
            }
        }
        Ok(run)
    }
}

/// The results of one or several processes on one machine: what `wgvq bench --json` writes, with
/// `--processes` or without, and what joining such files gives.
#[derive(Clone, Debug)]
pub struct Results {
    /// A run to each process: one at least.
    pub runs: Vec<Run>,
}

/// A line of a file.
enum Line {
    Header(Box<Header>),
    Row(Box<Row>),
    /// A line that is no row: a kernel's share, a comparison.
    Other,
}

fn line(text: &str) -> std::result::Result<Line, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let read = |e: serde_json::Error| e.to_string();
    if let Some(format) = value.get("wgvq_bench") {
        return match format.as_u64() {
            Some(f) if f == u64::from(FORMAT) => {
                Ok(Line::Header(serde_json::from_value(value).map_err(read)?))
            }
            _ => Err(format!(
                "format {format}, and this version reads {FORMAT}; measure it again"
            )),
        };
    }
    if value.get("kernel").is_some() || value.get("verdict").is_some() {
        return Ok(Line::Other);
    }
    Ok(Line::Row(serde_json::from_value(value).map_err(read)?))
}

impl Results {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is of another kind, or of a later format; the error names the line.
    pub fn read(path: &Path) -> Result<Results> {
        let text = files::read_text(path, files::LIST)?;
        Results::parse(&text).map_err(|what| Error::file(path, what))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Says what is wrong with it, and where.
    pub fn parse(text: &str) -> std::result::Result<Results, String> {
        let kind = "results are what `wgvq bench --json > FILE` writes";
        let lines = text.lines().enumerate();
        let mut runs: Vec<Run> = Vec::new();
        for (i, text) in lines.filter(|(_, l)| !l.trim().is_empty()) {
            match (line(text), runs.last_mut()) {
                (Ok(Line::Header(header)), _) => runs.push(Run {
                    header: *header,
                    rows: Vec::new(),
                }),
                (Ok(Line::Row(row)), Some(run)) => run.rows.push(*row),
                (Ok(Line::Other), Some(_)) => {}
                (Err(what), _) if what.starts_with("format") => return Err(what),
                (_, None) => {
                    let what = "its first line is no header of `wgvq bench`";
                    return Err(format!("{what}; {kind}"));
                }
                (Err(what), Some(_)) => return Err(format!("line {}: {what}; {kind}", i + 1)),
            }
        }
        let Some(first) = runs.first() else {
            return Err(format!("empty; {kind}"));
        };
        if let Some(what) = runs.iter().find_map(|r| differs(&first.header, &r.header)) {
            return Err(format!("holds results of two machines: {what}"));
        }
        Ok(Results { runs })
    }

    /// Returns the text of a file.
    ///
    /// # Errors
    /// If a value is none of JSON's.
    pub fn text(&self) -> Result<String> {
        let mut text = String::new();
        for run in &self.runs {
            text += &serde_json::to_string(&run.header).map_err(Error::data)?;
            text.push('\n');
            for row in &run.rows {
                text += &serde_json::to_string(row).map_err(Error::data)?;
                text.push('\n');
            }
        }
        Ok(text)
    }

    /// Returns the machine.
    pub fn header(&self) -> &Header {
        // There is one at least.
        &self.runs[0].header
    }

    /// Returns each workload, core, type and cache that some process measured, in the order of the
    /// first: a row of each.
    pub fn kinds(&self) -> Vec<&Row> {
        let mut kinds: Vec<&Row> = Vec::new();
        for row in self.runs.iter().flat_map(|run| &run.rows) {
            if kinds.iter().all(|kind| kind.key() != row.key()) {
                kinds.push(row);
            }
        }
        kinds
    }

    /// Returns the rows of one kind that have a time, each with its process's header. None where a
    /// process found it wrong: a result that is right at times has no speed.
    pub fn timed(&self, kind: &Row) -> Vec<(&Header, &Row)> {
        let mut rows = self.runs.iter().flat_map(|run| &run.rows);
        if rows.any(|row| row.key() == kind.key() && !row.pass) {
            return Vec::new();
        }
        let of = |run: &'_ Run| {
            let row = run.rows.iter().position(|row| row.key() == kind.key())?;
            run.rows[row].ms.map(|_| row)
        };
        self.runs
            .iter()
            .filter_map(|run| Some((&run.header, &run.rows[of(run)?])))
            .collect()
    }

    /// Refuses to compare what cannot be: results of another adapter, driver or machine, of another
    /// matrix core alone, or of cold inputs with warm ones.
    ///
    /// # Errors
    /// Says what differs.
    pub fn comparable(&self, header: &Header, rows: &[&Row]) -> Result<()> {
        let refused = |what: String| Err(Error::data(format!("cannot be compared: {what}")));
        if let Some(what) = differs(self.header(), header) {
            return refused(what);
        }
        let kinds = self.kinds();
        for row in rows {
            let same = |old: &&&Row| old.name == row.name && old.dtype == row.dtype;
            let mut others = kinds.iter().filter(same).peekable();
            if others.peek().is_none() || others.clone().any(|old| old.key() == row.key()) {
                continue;
            }
            let words = |core: &str, cache: Cache| format!("{core} core, {} inputs", cache.name());
            let there: Vec<String> = others.map(|old| words(&old.core, old.cache)).collect();
            return refused(format!(
                "{} was measured with: {}; now with: {}",
                row.name,
                there.join("; "),
                words(&row.core, row.cache)
            ));
        }
        Ok(())
    }
}

/// Says what of two machines differs that times depend on.
fn differs(one: &Header, other: &Header) -> Option<String> {
    let profile = |h: &Header| h.environment.as_ref().map(|e| e.profile.clone());
    let known = |h: &Header| profile(h).unwrap_or_default();
    let both = profile(one).is_some() && profile(other).is_some();
    [
        ("adapter", one.adapter.clone(), other.adapter.clone(), true),
        ("driver", one.driver.clone(), other.driver.clone(), true),
        (
            "processor",
            one.processor.clone(),
            other.processor.clone(),
            true,
        ),
        ("profile", known(one), known(other), both),
    ]
    .into_iter()
    .find(|(_, a, b, said)| *said && a != b)
    .map(|(what, a, b, _)| format!("the {what} was `{a}`, and is `{b}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::planted::{header, row};

    fn text(header: &Header, rows: &[Row]) -> String {
        let run = Run {
            header: header.clone(),
            rows: rows.to_vec(),
        };
        Results { runs: vec![run] }.text().unwrap()
    }

    #[test]
    fn joined_files_are_processes() {
        let one = text(&header(), &[row("a", 1.0), row("b", 2.0)]);
        let two = text(&header(), &[row("a", 3.0)]);
        let share = "{\"name\":\"a\",\"op\":\"a\",\"kernel\":\"k\"}\n{\"verdict\":\"SAME\"}\n";
        let results = Results::parse(&format!("{one}{share}{two}")).unwrap();
        assert_eq!(results.runs.len(), 2);
        let kinds = results.kinds();
        assert_eq!(
            kinds.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        let ms = |kind: &Row| -> Vec<f64> {
            let timed = results.timed(kind);
            timed.iter().filter_map(|(_, row)| row.ms).collect()
        };
        assert_eq!((ms(kinds[0]), ms(kinds[1])), (vec![1.0, 3.0], vec![2.0]));

        let other = Header {
            driver: "another".into(),
            ..header()
        };
        let mixed = Results::parse(&format!("{one}{}", text(&other, &[]))).unwrap_err();
        assert!(mixed.contains("two machines"), "{mixed}");
    }

    #[test]
    fn what_was_refused_is_measured_again_as_long_as_there_is_one_to_spare() {
        let refused = |name: &str| Row {
            ms: None,
            refused: Some("the clock moved".into()),
            ..row(name, 0.0)
        };
        // The times of a workload by its calls: 0 stands for a refusal.
        let calls = |spare: usize, times: &'static [f64]| {
            let (mut left, mut asked) = (spare, Vec::new());
            let run = Run::steady(&["a", "b"], &mut left, |names, again| {
                let time = times[asked.len()];
                asked.push(names.join(" "));
                assert_eq!(again, asked.len() > 1);
                let of = |name: &&str| match (*name, time) {
                    ("b", 0.0) => refused("b"),
                    ("b", time) => row("b", time),
                    (other, _) => row(other, asked.len() as f64),
                };
                Ok(Run {
                    header: header(),
                    rows: names.iter().map(of).collect(),
                })
            });
            let rows = run.unwrap().rows;
            let ms: Vec<Option<f64>> = rows.iter().map(|row| row.ms).collect();
            (ms, left, asked)
        };
        let whole = vec![Some(1.0), Some(5.0)];
        assert_eq!(calls(3, &[5.0]), (whole.clone(), 3, vec!["a b".into()]));
        let asked = ["a b", "b", "b"].map(str::to_owned).to_vec();
        assert_eq!(calls(3, &[0.0, 0.0, 5.0]), (whole, 1, asked));
        let asked = ["a b", "b"].map(str::to_owned).to_vec();
        assert_eq!(calls(1, &[0.0, 0.0]), (vec![Some(1.0), None], 0, asked));
        assert_eq!(calls(0, &[0.0]).0, [Some(1.0), None]);
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let results = Results::parse(&text(&header(), &[row("a", 1.0)])).unwrap();
        let refused = |header: &Header, row: &Row| match results.comparable(header, &[row]) {
            Ok(()) => String::new(),
            Err(e) => e.to_string(),
        };
        assert_eq!(refused(&header(), &row("a", 9.0)), "");
        assert_eq!(refused(&header(), &row("b", 9.0)), "", "a new workload");
        let changed = |change: &dyn Fn(&mut Header)| {
            let mut header = header();
            change(&mut header);
            refused(&header, &row("a", 1.0))
        };
        assert!(changed(&|h| h.adapter = "b".into()).contains("adapter"));
        assert!(changed(&|h| h.driver = "b".into()).contains("driver"));
        assert!(changed(&|h| h.processor = "b".into()).contains("processor"));
        let cold = Row {
            cache: Cache::Cold,
            ..row("a", 1.0)
        };
        assert!(refused(&header(), &cold).contains("cold inputs"));
        let core = Row {
            core: "tiled".into(),
            ..row("a", 1.0)
        };
        assert!(refused(&header(), &core).contains("tiled core"));
    }
}
