//! `wgvq presets`: the configurations that there are by name, and the file of each.

use crate::cli::common::json;
use crate::cli::common::keys::preset_names;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use wgvq::Result;
use wgvq::config::presets::{Preset, preset, presets};

/// `wgvq presets emoji32 > mine.toml`
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq presets                             # their names
  wgvq presets gan64                       # the file of one
  wgvq presets emoji32 > mine.toml && wgvq train mine.toml --out runs/mine")]
pub struct Presets {
    /// The preset whose file to print: copied, it is a configuration for `wgvq train FILE`
    #[arg(value_name = "NAME", value_parser = preset_names())]
    name: Option<String>,
}

impl Presets {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        match &self.name {
            Some(name) => {
                let preset = preset(name)?;
                if global.json {
                    json::print("preset", &line(preset, Some(preset.toml)));
                } else {
                    output::result(preset.toml.trim_end());
                }
            }
            None => {
                for preset in presets() {
                    if global.json {
                        json::print("preset", &line(preset, None));
                    } else {
                        output::result(&format!("{:<12}{}", preset.name, preset.about()));
                    }
                }
            }
        }
        Ok(CommandStatus::Done)
    }
}

fn line(preset: &Preset, toml: Option<&str>) -> serde_json::Value {
    let mut line = serde_json::json!({ "name": preset.name, "about": preset.about() });
    if let Some(toml) = toml {
        line["toml"] = toml.into();
    }
    line
}
