//! `wgvq bench report`

use crate::cli::common::apart::apart;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use wgvq::Result;
use wgvq::bench::{self, Header, Results, Summary};
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
    /// The form of the report
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

/// The place of results that others are sent: a file of a folder, named by the machine.
pub(super) struct Shared {
    name: String,
    path: PathBuf,
    _place: Place,
}

impl Shared {
    /// Takes the place. A machine that is measured again replaces what it wrote before; the
    /// results of another are replaced only where `overwrite` says so.
    ///
    /// # Errors
    /// If there are results of another machine, the folder cannot be written, or another command
    /// writes there.
    pub(super) fn take(
        global: &Global,
        folder: &Path,
        machine: &Header,
        overwrite: bool,
    ) -> Result<Shared> {
        let name = format!("{}.jsonl", slug(&machine.adapter));
        let path = folder.join(&name);
        let own = || Results::read(&path)?.comparable(machine, &[]);
        let _place = Place::file(global, &path, overwrite || own().is_ok())?;
        Ok(Shared { name, path, _place })
    }

    /// Writes results, without the folders that commands name, and prints their table as Markdown.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&self, global: &Global, results: &Results) -> Result<()> {
        let mut results = results.clone();
        for run in &mut results.runs {
            if let Some(environment) = &mut run.header.environment {
                environment.command = bare_words(&environment.command);
            }
            for peer in run.rows.iter_mut().flat_map(|row| &mut row.peers) {
                let bare = bare(&peer.command);
                // One that says no name is called by its command.
                if peer.peer == peer.command {
                    peer.peer.clone_from(&bare);
                }
                peer.command = bare;
            }
        }
        atomic::write(&self.path, results.text()?.as_bytes())?;
        output::note(global, &format!("wrote {}", self.path.display()));
        if !global.json {
            let file = Summary::new(&self.name, &results);
            output::result(bench::markdown(std::slice::from_ref(&file)).trim_end());
        }
        Ok(())
    }
}

/// Returns the name of a file without its folders: where it lies is nobody's business.
fn file_name(path: &str) -> &str {
    let mut parts = path.rsplit(['/', '\\']).filter(|part| !part.is_empty());
    parts.next().unwrap_or_default()
}

/// Returns the words of a command without the folders of files.
fn bare_words(words: &[String]) -> Vec<String> {
    let (mut bares, mut peer) = (Vec::new(), false);
    for word in words {
        bares.push(match word.split_once('=') {
            _ if peer => bare(word),
            Some(("--peer", command)) => format!("--peer={}", bare(command)),
            Some((option, path)) if option.starts_with("--") => {
                format!("{option}={}", file_name(path))
            }
            _ => file_name(word).to_owned(),
        });
        peer = word == "--peer";
    }
    bares
}

/// Returns a command of a shell without the folders of files.
fn bare(command: &str) -> String {
    let (mut text, mut word, mut quote) = (String::new(), String::new(), None);
    for c in command.chars() {
        let ends = match (quote, c) {
            (Some(open), c) => c == open,
            (None, c) => c.is_whitespace() || "='\"".contains(c),
        };
        if !ends {
            word.push(c);
            continue;
        }
        quote = match quote {
            None => Some(c).filter(|c| "'\"".contains(*c)),
            Some(_) => None,
        };
        text.push_str(file_name(&word));
        text.push(c);
        word.clear();
    }
    text + file_name(&word)
}

/// An adapter's name as that of a file.
fn slug(name: &str) -> String {
    let dash = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_lowercase(),
        false => '-',
    };
    let words: String = name.chars().map(dash).collect();
    let words: Vec<&str> = words.split('-').filter(|w| !w.is_empty()).collect();
    match words.is_empty() {
        true => "adapter".to_owned(),
        false => words.join("-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_no_folders() {
        let words = [
            "wgvq",
            "--share=/home/me and you/results/",
            "--size",
            "m=64,256",
            "--peer",
            "python '/home/me and you/peer.py' --tf32=on",
            "--peer=C:\\Python\\python.exe scripts/peers/pytorch.py",
            "/tmp/before.jsonl",
        ]
        .map(str::to_owned);
        let bare = [
            "wgvq",
            "--share=results",
            "--size",
            "m=64,256",
            "--peer",
            "python 'peer.py' --tf32=on",
            "--peer=python.exe pytorch.py",
            "before.jsonl",
        ];
        assert_eq!(bare_words(&words), bare);
    }

    #[test]
    fn names_of_adapters_become_names_of_files() {
        for (name, slug) in [
            ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
            (
                "llvmpipe (LLVM 15.0.6, 256 bits)",
                "llvmpipe-llvm-15-0-6-256-bits",
            ),
            ("../../etc", "etc"),
            ("显卡", "adapter"),
            ("", "adapter"),
        ] {
            assert_eq!(super::slug(name), slug, "{name}");
        }
    }
}
