//! `wgvq get`: a trained model that is part of the program, or one that somebody bundled, as a run.

use crate::cli::common::apart::apart;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Component, Path, PathBuf};
use wgvq::inference::Bundle;
use wgvq::inference::pretrained::{PRETRAINED, Pretrained};
use wgvq::storage::run_folder::RunFolder;
use wgvq::{Error, Result};

/// `wgvq get emoji32`
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq get                                 # the models that are part of the program
  wgvq text2image sample emoji32 \"a red heart\" --n 16    # to read one, its name is enough
  wgvq get emoji32                         # to runs/emoji32, where it can be trained on
  wgvq export runs/mine --bundle mine.bundle && wgvq get mine.bundle --out runs/theirs")]
pub struct Get {
    /// One of the models that `wgvq get` lists, or a file of `wgvq export --bundle`
    #[arg(value_name = "NAME|FILE")]
    what: Option<String>,
    /// The folder of the run [default: runs/ and the name]
    #[arg(long, short, value_name = "DIR", requires = "what")]
    out: Option<PathBuf>,
    /// Replace a run that is there
    #[arg(long, requires = "what")]
    overwrite: bool,
}

impl Get {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let Some(what) = &self.what else {
            PRETRAINED.iter().for_each(|model| list(global, model));
            return Ok(CommandStatus::Done);
        };
        let (bundle, name) = match Pretrained::named(what) {
            Some(model) => (model.bundle()?, model.name.to_owned()),
            None => from_file(what)?,
        };
        let mut parts = Path::new(&name).components();
        let is_a_name = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        let out = match &self.out {
            Some(out) => out.clone(),
            None if is_a_name => Path::new("runs").join(&name),
            None => {
                let what = format!("`{what}` gives no name to a run: say where it goes");
                return Err(Error::config("--out", what));
            }
        };
        let written: Vec<PathBuf> = bundle.names().map(|file| out.join(file)).collect();
        apart([Path::new(what)], &written)?;
        RunFolder::may_create(&out, self.overwrite)?;
        let folder = RunFolder::create(&out, self.overwrite)?;
        bundle.unpack(&folder)?;
        if global.json {
            let line = serde_json::json!({
                "run": output::shown(&out), "parameters": bundle.parameter_count(),
                "files": bundle.names().collect::<Vec<_>>(),
            });
            json::print("get", &line);
        } else {
            let n = bundle.parameter_count() as f64 / 1e6;
            output::result(&format!("{}: {n:.2} million parameters", out.display()));
        }
        Ok(CommandStatus::Done)
    }
}

/// Reads a bundle that lies in a file; its name is the file's.
fn from_file(what: &str) -> Result<(Bundle, String)> {
    let path = Path::new(what);
    if !path.exists() {
        let names = PRETRAINED.map(|model| model.name).join(", ");
        let what =
            format!("`{what}` is neither a file nor a model of the program, which has {names}");
        return Err(Error::config("NAME|FILE", what));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok((Bundle::load(path)?, name.into_owned()))
}

fn list(global: &Global, model: &Pretrained) {
    if global.json {
        let line = serde_json::json!({
            "name": model.name, "about": model.about, "bytes": model.bytes().len(),
        });
        json::print("pretrained", &line);
    } else {
        let kib = model.bytes().len().div_ceil(1 << 10);
        output::result(&format!(
            "{:<12}{:>6} KiB  {}",
            model.name, kib, model.about
        ));
    }
}
