//! Runs that commands read, and models of the program that are named in their place.

use crate::cli::Global;
use crate::cli::common::output;
use std::path::{Component, Path, PathBuf};
use wgvq::inference::pretrained::{PRETRAINED, Pretrained};
use wgvq::{Error, Result};

/// The runs of a command, by the paths that it was given.
pub struct Runs<'a> {
    pub paths: &'a mut [PathBuf],
    pub output: Output,
}

/// Where a command writes what it makes.
#[derive(Clone, Copy)]
pub enum Output {
    /// Where it is told to, beside its runs.
    Elsewhere,
    /// Into the folder of the first run, unless this option says where.
    Unless(&'static str),
    /// Into the folder of the first run.
    InRun,
}

impl Output {
    /// Returns `option` as what is missing, unless it was given.
    pub fn by(option: &'static str, given: Option<&PathBuf>) -> Output {
        match given {
            Some(_) => Output::Elsewhere,
            None => Output::Unless(option),
        }
    }
}

impl Runs<'_> {
    /// Puts the folder of a model of the program in the place of its name. What is there of that
    /// name, a run's folder or a file, comes first.
    ///
    /// # Errors
    /// If a name is of neither, the command writes into the run's folder, or the model cannot be
    /// unpacked.
    pub fn find(self, global: &Global) -> Result<()> {
        for (i, path) in self.paths.iter_mut().enumerate() {
            let Some(model) = named(path)? else { continue };
            match self.output {
                Output::Unless(option) if i == 0 => {
                    let what = format!(
                        "is missing: `{}` is a model of the program, which has no folder of its \
                         own to write to",
                        model.name
                    );
                    return Err(Error::config(option, what));
                }
                Output::InRun if i == 0 => {
                    let what = format!(
                        "is a model of the program, which has no folder of its own to write to: \
                         `wgvq get {}` makes a run of it",
                        model.name
                    );
                    return Err(Error::file(&*path, what));
                }
                _ => *path = unpacked(global, model)?,
            }
        }
        Ok(())
    }
}

/// Returns the model of the program that a path names; `None` where it names something else.
///
/// # Errors
/// If it is a name, and nothing has it.
fn named(path: &Path) -> Result<Option<&'static Pretrained>> {
    let mut parts = path.components();
    let (Some(Component::Normal(name)), None) = (parts.next(), parts.next()) else {
        return Ok(None);
    };
    if path.symlink_metadata().is_ok() {
        return Ok(None);
    }
    match name.to_str().and_then(Pretrained::named) {
        Some(model) => Ok(Some(model)),
        None => {
            let names = PRETRAINED.map(|model| model.name).join(", ");
            let what = format!(
                "is not there: expected a run's folder, its final.safetensors, or the name of a \
                 model of the program ({names})"
            );
            Err(Error::file(path, what))
        }
    }
}

/// Returns the folder of a model's run, which is written below the user's folder for caches.
fn unpacked(global: &Global, model: &Pretrained) -> Result<PathBuf> {
    let name = model.name;
    let otherwise = format!("`wgvq get {name} --out DIR` makes a run of `{name}` elsewhere");
    let Some(caches) = dirs::cache_dir() else {
        let what = format!("this system names no folder for them: set it, or {otherwise}");
        return Err(Error::config("XDG_CACHE_HOME", what));
    };
    let run = model
        .run_below(&caches.join("wgvq").join("models"))
        .map_err(|e| Error::data(format!("{e}; {otherwise}")))?;
    let what = format!("{name}: the model of the program, in {}", run.display());
    output::note(global, &what);
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_nothing_else_are_models() {
        let is = |path: &str| named(Path::new(path)).map(|found| found.is_some());
        assert!(is("emoji32").unwrap());
        // Paths are paths, and what is there comes first: tests run in the crate's folder.
        for path in ["./emoji32", "runs/emoji32", "/emoji32", "..", "", "src"] {
            assert!(!is(path).unwrap(), "{path}");
        }
        let said = is("emoji23").unwrap_err().to_string();
        assert!(
            said.contains("emoji23") && said.contains("emoji32"),
            "{said}"
        );
    }
}
