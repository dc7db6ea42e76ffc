//! Model files without what is no one's business: where a training's images lay, and what else it
//! read.

use crate::data::{NAMED_SETS, NO_SOURCE};
use crate::storage::checkpoint::{self, Checkpoint};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;

/// What is told of where images lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing.
    Untold,
    /// The name of a set that every program has, and nothing else.
    Named,
}

impl Source {
    /// Returns the source of a configuration as others may read it.
    fn of(self, source: &str) -> &str {
        let is_named = || NAMED_SETS.iter().any(|(name, _)| *name == source);
        match self {
            Source::Named if is_named() => source,
            _ => NO_SOURCE,
        }
    }
}

/// Returns of a path its last part.
fn last_part(path: &str) -> String {
    let name = Path::new(path).file_name();
    name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Returns a first stage's file for others to read.
///
/// # Errors
/// If it cannot be read, is damaged, or is a decoder alone.
pub fn public_model(file: &Path, told: Source) -> Result<Checkpoint> {
    let (mut model, _) = checkpoint::load_file(file)?;
    if !model.state["decoder"].is_null() {
        let what = "is a decoder, without the encoder of its model";
        return Err(Error::file(file, what));
    }
    let config = &mut model.state["config"];
    if let Some(source) = config["data"]["source"].as_str() {
        config["data"]["source"] = json!(told.of(source));
    }
    if let Some(lpips) = config["loss"]["lpips"].as_str().filter(|p| !p.is_empty()) {
        config["loss"]["lpips"] = json!(last_part(lpips));
    }
    Ok(model)
}

/// Returns a prior's file for others to read, as one over the codes of the model of that hash.
///
/// # Errors
/// If it cannot be read, is damaged, or is no prior.
pub fn public_prior(file: &Path, model: &str, told: Source) -> Result<Checkpoint> {
    let (mut prior, _) = checkpoint::load_file(file)?;
    let tokens = &mut prior.state["prior"]["tokens"];
    if !tokens.is_object() {
        return Err(Error::file(file, "is no prior"));
    }
    tokens["model"] = json!(model);
    if let Some(data) = tokens["data"].as_str() {
        tokens["data"] = Value::from(told.of(data));
    }
    Ok(prior)
}

/// Returns the text of a configuration for others to read: as it is where it names nothing of a
/// machine.
pub(super) fn public_config(path: &Path, text: String) -> Result<String> {
    let mut table: toml::Table = text
        .parse()
        .map_err(|e| Error::file(path, format!("is no configuration: {e}")))?;
    let mut changed = false;
    for (section, key, of) in [
        (
            "data",
            "source",
            (|s| Source::Named.of(s).to_owned()) as fn(&str) -> String,
        ),
        ("loss", "lpips", last_part),
    ] {
        let value = table.get_mut(section).and_then(|s| s.get_mut(key));
        let Some(value) = value else { continue };
        let Some(public) = value.as_str().map(of) else {
            continue;
        };
        if value.as_str() != Some(&public) {
            *value = public.into();
            changed = true;
        }
    }
    match changed {
        true => toml::to_string(&table).map_err(Error::data),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_name_no_places() {
        let public = |text: &str| public_config(Path::new("config.toml"), text.into()).unwrap();
        // Its comments, too.
        let named = "# mine\n[data]\nsource = \"emoji\"\n";
        assert_eq!(public(named), named);
        let own =
            public("[data]\nsource = \"/home/me/pictures\"\n[loss]\nlpips = \"/a/vgg.bin\"\n");
        assert!(!own.contains("/home") && !own.contains("/a/"), "{own}");
        assert!(
            own.contains(NO_SOURCE) && own.contains("\"vgg.bin\""),
            "{own}"
        );
    }
}
