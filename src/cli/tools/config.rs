//! `wgvq config`: every key of a configuration, with its meaning and its default.

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::{Args, ValueEnum};
use wgvq::config::described::{Key, contrastive_keys, prior_keys, run_keys, vectors_keys};
use wgvq::{Error, Result};

/// The configurations to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A first stage: `wgvq train`
    Run,
    /// A prior: `wgvq prior`
    Prior,
    /// A contrastive model: `wgvq text2image train --judge`
    Contrastive,
    /// A first stage over vectors: `wgvq train --model mlp`
    Vectors,
}

/// `wgvq config quantizer`
#[derive(Args)]
#[command(after_long_help = "\
Without names it prints a whole configuration as TOML. `wgvq train FILE` takes that of a run;
keys of a prior go to `wgvq prior --set KEY=VALUE`, those of a contrastive model to
`wgvq text2image train --judge KEY=VALUE`.

Examples:
  wgvq config                              # a first stage
  wgvq config quantizer train.lr           # a section, a key
  wgvq config --of prior                   # a prior
  wgvq config --of vectors                 # a model of vectors, --model mlp
  wgvq config > mine.toml")]
pub struct Config {
    /// Sections, or keys by dotted names
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The kind of configuration: run, prior, contrastive or vectors
    #[arg(long, value_enum, hide_possible_values = true, default_value = "run")]
    of: Kind,
}

/// The most columns of a comment.
const COLUMNS: usize = 96;

impl Config {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let mut keys = match self.of {
            Kind::Run => run_keys()?,
            Kind::Prior => prior_keys()?,
            Kind::Contrastive => contrastive_keys()?,
            Kind::Vectors => vectors_keys()?,
        };
        let is = |key: &Key, name: &str| {
            key.section == name
                || name.split_once('.') == Some((key.section.as_str(), key.name.as_str()))
        };
        for name in &self.names {
            if !keys.iter().any(|key| is(key, name)) {
                let mut sections: Vec<&str> = keys.iter().map(|k| k.section.as_str()).collect();
                sections.dedup();
                let what = format!(
                    "is no section and no key of it; the sections are {}",
                    sections.join(", ")
                );
                return Err(Error::config(name, what));
            }
        }
        if !self.names.is_empty() {
            keys.retain(|key| self.names.iter().any(|name| is(key, name)));
        }
        if global.json {
            for Key {
                section,
                name,
                default,
                about,
            } in &keys
            {
                let line = serde_json::json!({
                    "key": format!("{section}.{name}"), "default": default, "about": about,
                });
                json::print("key", &line);
            }
        } else {
            output::result(&toml(&keys));
        }
        Ok(CommandStatus::Done)
    }
}

/// The keys as TOML, each below its meaning.
fn toml(keys: &[Key]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut section = "";
    for key in keys {
        if section != key.section {
            if !lines.is_empty() {
                lines.push(String::new());
            }
            section = &key.section;
            lines.push(format!("[{section}]"));
        }
        let mut line = String::from("#");
        for word in key.about.split_whitespace() {
            if line.len() + 1 + word.len() > COLUMNS {
                lines.push(std::mem::replace(&mut line, "#".into()));
            }
            line = line + " " + word;
        }
        lines.push(line);
        lines.push(format!("{} = {}", key.name, key.default));
    }
    lines.join("\n")
}
