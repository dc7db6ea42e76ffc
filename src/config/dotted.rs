//! Configurations of sections and keys: read from TOML with the nearest known key for a mistyped
//! one, set by dotted names, and written out whole.

mod value;

use crate::{Error, Result, files};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Once;
use strsim::levenshtein;
use value::{Kind, serde_message, shown};

/// A configuration whose sections are structs of plain values, each with its default.
pub trait DottedConfig: Serialize + DeserializeOwned + Default + Clone {
    /// Keys that had another name in earlier versions, by dotted names: that one, and the one that
    /// they have. The former is read, too.
    const RENAMED: &'static [(&'static str, &'static str)] = &[];

    /// Keys that earlier versions did not have, by dotted names whose last part is that of no other
    /// key, and the value of each, as TOML has it, that stands for what those versions did.
    const ADDED: &'static [(&'static str, &'static str)] = &[];

    /// Parses TOML. Missing keys take their defaults; unknown ones are errors that name the nearest
    /// known key.
    ///
    /// # Errors
    /// If it is no TOML, a key is unknown or a value of the wrong type.
    fn from_toml(text: &str) -> Result<Self> {
        let table: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| Error::data(format!("no TOML: {}", located(text, &e))))?;
        from_table(table)
    }

    /// Reads a file, see [`DottedConfig::from_toml`].
    ///
    /// # Errors
    /// Also if the file cannot be read.
    fn load(path: &Path) -> Result<Self> {
        Self::from_toml(&files::read_text(path, files::TEXT)?).map_err(|e| Error::file(path, e))
    }

    /// Sets one key by its dotted name, such as `quantizer.codebook_size`, to a value as TOML would
    /// have it; words need no quotes, and lists no brackets.
    ///
    /// # Errors
    /// If there is no such key, or the value is of another type.
    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let renamed = Self::RENAMED.iter().find(|(old, _)| *old == key);
        let key = renamed.map_or(key, |(old, new)| {
            tell_of_new_name(old, new);
            new
        });
        let mut table = to_table(self)?;
        let all = dotted(&table);
        let (section, name) = key.split_once('.').unwrap_or_default();
        let found = table
            .get_mut(section)
            .and_then(|s| s.as_table_mut()?.get_mut(name));
        let Some(slot) = found else {
            return Err(unknown(key, all.iter().map(String::as_str)));
        };
        let kind = Kind::of(slot, &|v| alone::<Self>(section, name, v).is_ok());
        let new = kind.read(value);
        let new =
            new.map_err(|what| Error::config(key, format!("{what}; it is now {}", shown(slot))))?;
        fits::<Self>(section, name, &kind, &new)?;
        *slot = new;
        *self = whole(table)?;
        Ok(())
    }

    /// Returns every value, written out.
    ///
    /// # Errors
    /// If a number is beyond what TOML holds (2^63).
    fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::config("the configuration", e))
    }

    /// Returns a hash of every value. Keys stand in it under the names that they first had, so that
    /// a new name changes no hash; nor does a new key that has the value of what was before it.
    ///
    /// # Errors
    /// As [`DottedConfig::to_toml`].
    fn sha256(&self) -> Result<String> {
        let mut text = self.to_toml()?;
        for (old, new) in Self::RENAMED {
            let line = |key: &str| format!("\n{} = ", tail(key));
            text = text.replace(&line(new), &line(old));
        }
        for (key, value) in Self::ADDED {
            text = text.replace(&format!("\n{} = {value}\n", tail(key)), "\n");
        }
        Ok(hex::encode(Sha256::digest(text)))
    }
}

/// An error that names the key and what is allowed, unless it holds.
pub(crate) fn check(
    key: &str,
    value: impl std::fmt::Display,
    holds: bool,
    allowed: &str,
) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::config(
            key,
            format!("{value} is not allowed: it must be {allowed}"),
        ))
    }
}

/// Says once that a key has another name now.
fn tell_of_new_name(old: &str, new: &str) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| tracing::warn!("note: the key `{old}` is called `{new}` now"));
}

/// Gives renamed keys their names of now.
fn rename<T: DottedConfig>(table: &mut toml::Table, known: &toml::Table) -> Result<()> {
    for (old, new) in T::RENAMED {
        let (section, name) = (new.split('.').next().unwrap_or_default(), tail(new));
        let Some(keys) = table.get_mut(section).and_then(toml::Value::as_table_mut) else {
            continue;
        };
        let Some(value) = keys.remove(tail(old)) else {
            continue;
        };
        // Every run of an earlier version has it written out; it is news to whoever set it.
        if known.get(section).and_then(|keys| keys.get(name)) != Some(&value) {
            tell_of_new_name(old, new);
        }
        if keys.insert(name.to_owned(), value).is_some() {
            let what =
                format!("is the former name of `{new}`, which stands beside it: leave it out");
            return Err(Error::config(*old, what));
        }
    }
    Ok(())
}

/// The name of a key within its section.
fn tail(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}

fn from_table<T: DottedConfig>(mut table: toml::Table) -> Result<T> {
    let known = to_table(&T::default())?;
    rename::<T>(&mut table, &known)?;
    for (section, value) in &table {
        let Some(keys) = known.get(section).and_then(toml::Value::as_table) else {
            return Err(unknown(section, known.keys().map(String::as_str)));
        };
        let Some(given) = value.as_table() else {
            return Err(Error::config(
                section,
                "is a section: write it as `[section]` with keys below",
            ));
        };
        for (key, value) in given {
            let path = format!("{section}.{key}");
            let Some(default) = keys.get(key) else {
                let all: Vec<String> = dotted(&known);
                return Err(unknown(&path, all.iter().map(String::as_str)));
            };
            let kind = Kind::of(default, &|v| alone::<T>(section, key, v).is_ok());
            fits::<T>(section, key, &kind, value)?;
        }
    }
    whole(table)
}

fn whole<T: DottedConfig>(table: toml::Table) -> Result<T> {
    toml::Value::Table(table)
        .try_into()
        .map_err(|e: toml::de::Error| Error::config("the configuration", e.message()))
}

/// Returns the default configuration with one value in it.
fn alone<T: DottedConfig>(
    section: &str,
    key: &str,
    value: &toml::Value,
) -> Result<T, toml::de::Error> {
    let inner = toml::Table::from_iter([(key.to_owned(), value.clone())]);
    toml::Value::Table(toml::Table::from_iter([(section.to_owned(), inner.into())])).try_into()
}

/// Checks that this is a value of that key. If not, the error names the key, and not the place in a
/// file where reading ended.
fn fits<T: DottedConfig>(section: &str, key: &str, kind: &Kind, value: &toml::Value) -> Result<()> {
    let wrong = |what: String| Error::config(format!("{section}.{key}"), what);
    kind.check(value).map_err(wrong)?;
    alone::<T>(section, key, value)
        .map(drop)
        .map_err(|e| wrong(serde_message(e.message())))
}

/// Returns a mistake in a text in one line: the number of the line and the message, without the
/// excerpt.
fn located(text: &str, error: &toml::de::Error) -> String {
    let what = error
        .message()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {what}", before.matches('\n').count() + 1),
        None => what,
    }
}

fn to_table(config: &impl Serialize) -> Result<toml::Table> {
    toml::Table::try_from(config).map_err(|e| Error::config("the configuration", e))
}

fn dotted(table: &toml::Table) -> Vec<String> {
    let keys = |(section, value): (&String, &toml::Value)| -> Vec<String> {
        value
            .as_table()
            .map(|t| t.keys().map(|k| format!("{section}.{k}")).collect())
            .unwrap_or_default()
    };
    table.iter().flat_map(keys).collect()
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Error {
    Error::config(
        key,
        format!("is not known; the nearest key is `{}`", nearest(key, known)),
    )
}

/// Returns the candidate at the smallest edit distance.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> &'a str {
    // A key is as often misplaced as misspelt: its last part alone counts too.
    candidates
        .min_by_key(|c| levenshtein(word, c).min(levenshtein(tail(word), tail(c)) + 1))
        .unwrap_or_default()
}
