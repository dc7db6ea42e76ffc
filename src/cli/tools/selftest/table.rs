//! A table of the lines that `wgvq selftest --json` wrote on several devices.

use serde::{Deserialize, Serialize};
use std::path::Path;
use wgvq::files;
use wgvq::storage::table::cell;
use wgvq::{Error, Result};

/// An operation on a device: a line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    pub op: String,
    pub adapter: String,
    pub driver: String,
    pub core: String,
    pub version: String,
    pub cases: usize,
    pub compared: usize,
    pub pass: bool,
    pub forward_max_error: Option<f64>,
    pub gradient_max_error: Option<f64>,
}

/// Reads the lines of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Line>> {
    let text = files::read_text(path, files::LIST)?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, l)| !l.trim().is_empty());
    let parsed = lines.map(|(i, line)| {
        serde_json::from_str(line).map_err(|e| {
            let what = format!(
                "line {}: {e}; `wgvq selftest --json > FILE` writes what is read here",
                i + 1
            );
            Error::file(path, what)
        })
    });
    let parsed = parsed.collect::<Result<Vec<Line>>>()?;
    match parsed.is_empty() {
        true => Err(Error::file(path, "holds no line of `wgvq selftest --json`")),
        false => Ok(parsed),
    }
}

/// Returns the devices, and operations with a column to each, as Markdown.
pub(super) fn markdown(lines: &[Line]) -> String {
    let mut devices: Vec<&Line> = Vec::new();
    let mut ops: Vec<&str> = Vec::new();
    let device = |a: &Line, b: &Line| {
        (&a.adapter, &a.driver, &a.core, &a.version) == (&b.adapter, &b.driver, &b.core, &b.version)
    };
    for line in lines {
        if !devices.iter().any(|d| device(d, line)) {
            devices.push(line);
        }
        if !ops.contains(&line.op.as_str()) {
            ops.push(&line.op);
        }
    }
    let mut text = String::from("| | adapter | driver | core | version |\n");
    text += "| --- | --- | --- | --- | --- |\n";
    for (i, d) in devices.iter().enumerate() {
        let words = [&d.adapter, &d.driver, &d.core, &d.version].map(|w| cell(w));
        text += &format!("| {} | {} |\n", i + 1, words.join(" | "));
    }
    let numbers: Vec<String> = (1..=devices.len()).map(|i| format!("{i} |")).collect();
    text += &format!("\n| operation | {}\n", numbers.join(" "));
    text += &format!("| --- |{}\n", " --- |".repeat(devices.len()));
    for op in ops {
        let cells: Vec<String> = devices
            .iter()
            .map(|d| {
                // A later line of the same device stands for an earlier one.
                let mut of = lines.iter().rev();
                let line = of.find(|l| device(l, d) && l.op == op);
                line.map_or(String::new(), said)
            })
            .collect();
        // Within marks of code nothing can be escaped.
        let name = |op: &str| op.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let op = match name(op) {
            true => format!("`{op}`"),
            false => cell(op),
        };
        text += &format!("| {op} | {} |\n", cells.join(" | "));
    }
    text
}

/// Returns the largest errors of an operation, or that it failed.
fn said(line: &Line) -> String {
    if !line.pass {
        return "FAILED".into();
    }
    let error = |error: f64| match error {
        0.0 => "0".to_owned(),
        e => format!("{e:.0e}"),
    };
    let both = [line.forward_max_error, line.gradient_max_error];
    let both: Vec<String> = both.into_iter().flatten().map(error).collect();
    both.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(op: &str, core: &str, pass: bool) -> Line {
        Line {
            op: op.into(),
            adapter: "an adapter".into(),
            driver: "a | driver".into(),
            core: core.into(),
            version: "1".into(),
            cases: 3,
            compared: 9,
            pass,
            forward_max_error: Some(2.4e-7),
            gradient_max_error: (op == "matmul").then_some(0.0),
        }
    }

    #[test]
    fn devices_stand_side_by_side() {
        let lines = [
            line("matmul", "subgroup", true),
            line("scale", "subgroup", true),
            line("matmul", "tiled", false),
            line("a ` | op", "tiled", true),
        ];
        let text = markdown(&lines);
        assert!(
            text.contains("| 2 | an adapter | a \\| driver | tiled | 1 |"),
            "{text}"
        );
        assert!(text.contains("| `matmul` | 2e-7, 0 | FAILED |"), "{text}");
        assert!(text.contains("| `scale` | 2e-7 |  |"), "{text}");
        assert!(text.contains("| a \\` \\| op |  | 2e-7 |"), "{text}");
    }

    #[test]
    fn files_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let wrote = [line("matmul", "tiled", true), line("scale", "tiled", true)];
        let text = wrote.each_ref().map(|l| serde_json::to_string(l).unwrap());
        std::fs::write(&path, text.join("\n") + "\n").unwrap();
        assert_eq!(read(&path).unwrap(), wrote);
        for (text, said) in [("", "no line"), ("{\"op\": 1}\n", "line 1")] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains(said));
        }
    }
}
