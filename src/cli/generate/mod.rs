//! Files made of the command line's own description: its reference, man pages, and completions
//! for shells.

mod reference;

use super::{Cli, CommandStatus, Global};
use crate::cli::common::output;
use clap::{Args, Command, CommandFactory, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;
use std::path::{Path, PathBuf};
use wgvq::storage::atomic;
use wgvq::{Error, Result};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq completions bash > ~/.local/share/bash-completion/completions/wgvq
  wgvq completions zsh > ~/.zfunc/_wgvq    # a folder of $fpath
  wgvq completions fish > ~/.config/fish/completions/wgvq.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> Result<CommandStatus> {
        let (mut script, mut cli) = (Vec::new(), Cli::command());
        clap_complete::generate(self.shell, &mut cli, "wgvq", &mut script);
        output::result(String::from_utf8_lossy(&script).trim_end());
        Ok(CommandStatus::Done)
    }
}

/// Files for those who package the program or keep its documentation.
#[derive(Args)]
pub struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print docs/cli.md
    Docs,
    /// Write a man page for each command
    Man(ManPages),
}

#[derive(Args)]
struct ManPages {
    /// The folder for the pages
    folder: PathBuf,
    /// Replace pages that are there
    #[arg(long)]
    overwrite: bool,
}

impl Generate {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        match &self.what {
            What::Docs => output::result(reference::page(&built()).trim_end()),
            What::Man(pages) => {
                let written = pages.write()?;
                output::note(global, &format!("{written} pages written"));
            }
        }
        Ok(CommandStatus::Done)
    }
}

impl ManPages {
    /// Writes the pages, and returns how many there are.
    fn write(&self) -> Result<usize> {
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::file(&self.folder, e))?;
        let mut pages = Vec::new();
        for command in with_subcommands(&built()) {
            let mut text = Vec::new();
            let name = command.get_display_name().unwrap_or(command.get_name());
            let name = format!("{name}.1");
            Man::new(command.clone())
                .render(&mut text)
                .map_err(|e| Error::file(&self.folder, e))?;
            pages.push((self.folder.join(name), text));
        }
        for (path, _) in pages.iter().filter(|_| !self.overwrite) {
            refuse_existing(path)?;
        }
        for (path, text) in &pages {
            atomic::write(path, text)?;
        }
        Ok(pages.len())
    }
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.exists() {
        return Err(Error::file(
            path,
            "is there already; --overwrite replaces it",
        ));
    }
    Ok(())
}

/// The description of the command line, with what clap adds to every command.
fn built() -> Command {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    cli
}

/// A command and those below it that are listed in its help, in that order.
fn with_subcommands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|c| !c.is_hide_set());
    [command]
        .into_iter()
        .chain(below.flat_map(with_subcommands))
        .collect()
}

/// Whether a command does something by itself, whatever subcommands it has.
fn runs(command: &Command) -> bool {
    !command.has_subcommands() || command.is_args_conflicts_with_subcommands_set()
}

#[cfg(test)]
mod tests;
