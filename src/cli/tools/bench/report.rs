//! `wgvq bench report`

use crate::cli::common::apart::apart;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use wgvq::Result;
use wgvq::bench::{self, Results, Summary};
use wgvq::storage::atomic;

/// Nothing is measured, and nothing is loaded from elsewhere: the page can be sent as one file.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq bench report before.jsonl after.jsonl -o site
  wgvq bench report benches/runs/nvidia-h100.jsonl --format md
  wgvq bench report results/a.jsonl results/b.jsonl --format csv > all.csv")]
pub struct Report {
    /// Files that `wgvq bench --json` wrote
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The folder of the page, index.html
    #[arg(long, short, value_name = "DIR", default_value = "site")]
    out: PathBuf,
    /// What is made of them
    #[arg(long, value_enum, default_value = "html")]
    format: Format,
    /// Replace a page that is there
    #[arg(long)]
    overwrite: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A page with charts, and tables to sort and to filter
    Html,
    /// The machines, and workloads with a column to each file, on standard output
    Md,
    /// Every row, on standard output
    Csv,
}

const PAGE: &str = "index.html";

impl Report {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let read = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok(Summary::new(&name, &Results::read(path)?))
        };
        let files = self.files.iter().map(read).collect::<Result<Vec<_>>>()?;
        let text = match self.format {
            Format::Md => bench::markdown(&files),
            Format::Csv => bench::csv(&files),
            Format::Html => {
                let page = self.out.join(PAGE);
                apart(&self.files, [&page])?;
                let _place = Place::file(global, &page, self.overwrite)?;
                atomic::write(&page, bench::page(&files)?.as_bytes())?;
                output::note(global, &format!("wrote {}", page.display()));
                return Ok(CommandStatus::Done);
            }
        };
        output::result(text.trim_end());
        Ok(CommandStatus::Done)
    }
}

/// Writes results where others can be sent to, under a name of their machine, and prints their row
/// of a Markdown table.
pub(super) fn share(global: &Global, folder: &Path, results: &Results) -> Result<()> {
    let name = format!("{}.jsonl", slug(&results.header().adapter));
    let path = folder.join(&name);
    // A machine that is measured again replaces what it wrote before.
    let _place = Place::file(global, &path, true)?;
    atomic::write(&path, results.text()?.as_bytes())?;
    output::note(global, &format!("wrote {}", path.display()));
    if !global.json {
        let file = Summary::new(&name, results);
        output::result(bench::markdown(std::slice::from_ref(&file)).trim_end());
    }
    Ok(())
}

/// An adapter's name as that of a file.
fn slug(name: &str) -> String {
    let dash = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    };
    let words: String = name.chars().map(dash).collect();
    let words: Vec<&str> = words.split('-').filter(|w| !w.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_adapters_become_names_of_files() {
        for (name, slug) in [
            ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
            (
                "llvmpipe (LLVM 15.0.6, 256 bits)",
                "llvmpipe-llvm-15-0-6-256-bits",
            ),
            ("../../etc", "etc"),
        ] {
            assert_eq!(super::slug(name), slug);
        }
    }
}
