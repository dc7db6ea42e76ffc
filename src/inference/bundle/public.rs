//! Model files without what is no one's business: where a training's images lay, and what else it
//! read.

use crate::data::{NAMED_SETS, NO_SOURCE};
use crate::storage::checkpoint::{self, Checkpoint};
use crate::{Error, Result};
use serde_json::{Value, json};
use std::path::Path;

/// The part of a data set's source that others may read.
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

/// Returns of a path its last part, whatever system it is a path of.
pub fn last_part(path: &str) -> String {
    let path = path.trim_end_matches(['/', '\\']);
    let last = path.rsplit(['/', '\\']).next().unwrap_or_default();
    match last {
        "" | "." | ".." => "(a folder)".to_owned(),
        name => name.to_owned(),
    }
}

/// Masks what a configuration says of a machine; nothing where it is none.
fn mask(config: &mut Value, told: Source) {
    if let Some(source) = config.pointer_mut("/data/source")
        && let Some(path) = source.as_str()
    {
        *source = json!(told.of(path));
    }
    for file in ["/loss/lpips", "/data/test_files"] {
        if let Some(file) = config.pointer_mut(file)
            && let Some(path) = file.as_str().filter(|path| !path.is_empty())
        {
            *file = json!(last_part(path));
        }
    }
}

/// Returns a first stage's file for others to read.
///
/// # Errors
/// If it cannot be read, is damaged, or is a decoder alone.
pub fn public_model(file: &Path, told: Source) -> Result<Checkpoint> {
    let (mut model, _) = checkpoint::load_file(file)?;
    let of = |model: &Checkpoint, at: &str| model.state.pointer(at).is_some_and(Value::is_object);
    if of(&model, "/decoder") {
        let what = "is a decoder, without the encoder of its model";
        return Err(Error::file(file, what));
    }
    let place = ["/config", "/vectors/config"];
    let Some(place) = place.into_iter().find(|place| of(&model, place)) else {
        let what = "is no first stage: name the folder of a run";
        return Err(Error::file(file, what));
    };
    if let Some(config) = model.state.pointer_mut(place) {
        mask(config, told);
    }
    Ok(model)
}

/// Returns a prior's file for others to read, as one over the codes of the model of that hash.
///
/// # Errors
/// If it cannot be read, is damaged, or is no prior.
pub fn public_prior(file: &Path, model: &str, told: Source) -> Result<Checkpoint> {
    let (mut prior, _) = checkpoint::load_file(file)?;
    let tokens = prior.state.pointer_mut("/prior/tokens");
    let Some(tokens) = tokens.filter(|tokens| tokens.is_object()) else {
        return Err(Error::file(file, "is no prior"));
    };
    if let Some(data) = tokens["data"].as_str() {
        tokens["data"] = Value::from(told.of(data));
    }
    tokens["model"] = json!(model);
    Ok(prior)
}

/// Returns the text of a configuration for others to read, without its comments.
pub(super) fn public_config(path: &Path, text: &str) -> Result<String> {
    let table: toml::Table = text
        .parse()
        .map_err(|e| Error::file(path, format!("is no configuration: {e}")))?;
    let mut value = serde_json::to_value(&table).map_err(Error::data)?;
    let before = value.clone();
    mask(&mut value, Source::Named);
    if value == before && !text.contains('#') {
        return Ok(text.to_owned());
    }
    let table: toml::Table = serde_json::from_value(value).map_err(Error::data)?;
    toml::to_string(&table).map_err(Error::data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_path_the_name_is_published() {
        for (path, name) in [
            ("/home/somebody/vgg.bin", "vgg.bin"),
            ("C:\\Users\\somebody\\vgg.bin", "vgg.bin"),
            ("/home/somebody/birds/", "birds"),
            ("/home/somebody/birds/..", "(a folder)"),
            ("/", "(a folder)"),
        ] {
            assert_eq!(last_part(path), name);
        }
    }

    #[test]
    fn configurations_name_no_places() {
        let public = |text: &str| public_config(Path::new("config.toml"), text).unwrap();
        let named = "[data]\nsource = \"emoji\"\n";
        assert_eq!(public(named), named);
        // What somebody wrote beside it may name places too.
        let own = public("# of /home/me\n[data]\nsource = \"emoji\"\n");
        assert!(!own.contains("/home"), "{own}");
        let own = public(
            "[data]\nsource = \"/home/me/pictures\"\ntest_files = \"/home/me/held.txt\"\n[loss]\n\
             lpips = \"/a/vgg.bin\"\n",
        );
        assert!(!own.contains("/home") && !own.contains("/a/"), "{own}");
        for part in [NO_SOURCE, "\"vgg.bin\"", "\"held.txt\""] {
            assert!(own.contains(part), "{own}");
        }
    }
}
