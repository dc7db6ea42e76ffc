//! The options of the command line.

use super::game::Key;
use super::world::Settings;
use std::path::PathBuf;
use std::time::Duration;
use wgvq::{Error, Result};

/// The options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    pub headless: bool,
    pub settings: Settings,
    /// Time that one of the host's frames may train.
    pub budget: Duration,
    /// Dreams that are held against the game, and their steps.
    pub starts: usize,
    pub steps: usize,
    /// The keys of the first of them; a player's, where none are given.
    pub keys: Option<Vec<Key>>,
    /// The folder for the films.
    pub out: PathBuf,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            headless: false,
            settings: Settings::default(),
            budget: Duration::from_millis(20),
            starts: 16,
            steps: 20,
            keys: None,
            out: "dream".into(),
        }
    }
}

const ALL: &str = "--headless, --seed, --frames, --tokenizer-steps, --prior-steps, --temperature, \
                   --budget (ms), --starts, --steps, --keys (of l, r and -), --out, --tokenizer \
                   and --prior (KEY=VALUE of their configurations)";

fn number<T: std::str::FromStr>(option: &str, value: &str) -> Result<T> {
    let what = || Error::config(option, format!("`{value}` is no number that it takes"));
    value.parse().map_err(|_| what())
}

impl Options {
    /// Reads the arguments of a command line.
    ///
    /// # Errors
    /// Names the first that cannot be used, and what there is.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut all = Options::default();
        while let Some(option) = arguments.next() {
            if option == "--headless" {
                all.headless = true;
                continue;
            }
            let value = arguments.next().unwrap_or_default();
            let settings = &mut all.settings;
            match option.as_str() {
                "--seed" => settings.seed = number::<u32>(&option, &value)?.into(),
                "--frames" => settings.frames = number(&option, &value)?,
                "--tokenizer-steps" => settings.tokenizer_steps = number(&option, &value)?,
                "--prior-steps" => settings.prior_steps = number(&option, &value)?,
                "--tokenizer" => settings.tokenizer_keys.push(assignment(&option, &value)?),
                "--prior" => settings.prior_keys.push(assignment(&option, &value)?),
                "--temperature" => settings.temperature = number(&option, &value)?,
                "--budget" => all.budget = Duration::from_millis(number(&option, &value)?),
                "--starts" => all.starts = number(&option, &value)?,
                "--steps" => all.steps = number(&option, &value)?,
                "--keys" => all.keys = Some(keys(&value)?),
                "--out" => all.out = value.into(),
                _ => return Err(Error::config(option, format!("is none of {ALL}"))),
            }
        }
        if all.starts == 0 || all.steps == 0 {
            return Err(Error::config(
                "--starts, --steps",
                "one at least is needed of each",
            ));
        }
        Ok(all)
    }
}

/// Reads a key of a configuration and its value.
fn assignment(option: &str, text: &str) -> Result<[String; 2]> {
    let what = || Error::config(option, format!("`{text}` is no KEY=VALUE"));
    let (key, value) = text.split_once('=').ok_or_else(what)?;
    Ok([key.into(), value.into()])
}

/// Reads keys, a letter each.
fn keys(text: &str) -> Result<Vec<Key>> {
    let key = |letter: char| match letter {
        'l' => Ok(Key::Left),
        'r' => Ok(Key::Right),
        '-' => Ok(Key::None),
        other => {
            let what = format!("`{other}` is no key: l is left, r is right, - is none");
            Err(Error::config("--keys", what))
        }
    };
    text.chars().map(key).collect()
}
