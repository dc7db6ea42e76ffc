use super::*;
use crate::cli::common::keys::{Architecture, Keys, configuration};
use clap::{ArgMatches, FromArgMatches};
use wgvq::config::DottedConfig;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::config::vectors::VectorsConfig;
use wgvq::quantize::Registry;

/// Sets a key of a configuration to a value.
type Setter = Box<dyn FnMut(&str, &str) -> wgvq::Result<()>>;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");

#[test]
fn the_reference_is_what_clap_says() {
    let committed = std::fs::read_to_string(PAGE).unwrap().replace("\r\n", "\n");
    assert!(
        committed == reference::page(&built()),
        "docs/cli.md differs from the options; write it anew: cargo run -- generate docs > \
         docs/cli.md"
    );
}

/// The commands in the code of a page, each as the words that a shell makes of it, without what a
/// shell takes for itself. Lines of usage, which have brackets, are no commands.
fn commands(page: &str) -> Vec<Vec<String>> {
    let page = page.replace("\\\n", " ");
    let (mut fenced, mut commands) = (None, Vec::new());
    for line in page.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fenced = fenced.is_none().then_some(language);
        }
        let code = fenced == Some("sh") || fenced.is_none() && line.starts_with("    ");
        let line = line.trim_start();
        if !code || !line.starts_with("wgvq ") {
            continue;
        }
        let line = line.replace("; ", " && ");
        let words = shlex::split(&line).unwrap_or_else(|| panic!("no shell reads `{line}`"));
        for command in words.split(|word| word == "&&") {
            let end = command.iter().position(|word| word == ">");
            let command = &command[..end.unwrap_or(command.len())];
            if !command.iter().any(|word| word.starts_with(['[', '<'])) {
                commands.push(command.to_vec());
            }
        }
    }
    commands
}

/// The pages of the repository, by their paths.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [root.to_owned(), root.join("docs")].map(|folder| {
        let files = std::fs::read_dir(folder).unwrap();
        files.map(|file| file.unwrap().path()).collect::<Vec<_>>()
    });
    let page = |path: &PathBuf| path.extension().is_some_and(|e| e == "md");
    files.concat().into_iter().filter(page).collect()
}

/// Sets the keys that a command was given with an option for KEY=VALUE pairs, and those of its
/// flags, on the configuration that they are of. Returns how many pairs there were.
fn set_keys(name: &str, matches: &ArgMatches, command: &Command) -> wgvq::Result<usize> {
    let given = |id: &str| -> Vec<String> {
        let values = matches.get_many::<String>(id).into_iter().flatten();
        values.cloned().collect()
    };
    let mut count = 0;
    let of_prior = name == "wgvq plan" && matches.contains_id("prior");
    let of_keys = ["wgvq train", "wgvq plan", "wgvq compare"].contains(&name) && !of_prior;
    let keys = of_keys.then(|| Keys::from_arg_matches(matches).expect("clap has read them"));
    let of_vectors = |keys: &Keys| keys.model == Some(Architecture::Mlp);
    for option in command.get_arguments() {
        let value = option.get_value_names().unwrap_or_default().first();
        if value.is_none_or(|v| v.as_str() != "KEY=VALUE") {
            continue;
        }
        let id = option.get_id().as_str();
        let mut config: Setter = match (name, id) {
            ("wgvq prior", "set") | ("wgvq text2image train", "set") => {
                let mut config = PriorConfig::default();
                Box::new(move |key, value| config.set(key, value))
            }
            ("wgvq text2image train", "judge") => {
                let mut config = ContrastiveConfig::default();
                Box::new(move |key, value| config.set(key, value))
            }
            ("wgvq plan", "set") if of_prior => {
                let mut config = PriorConfig::default();
                Box::new(move |key, value| config.set(key, value))
            }
            (_, "set") if keys.as_ref().is_some_and(of_vectors) => {
                let mut config = VectorsConfig::default();
                Box::new(move |key, value| config.set(key, value))
            }
            ("wgvq text2image train", "stage1") | (_, "set") => {
                let mut config = RunConfig::default();
                Box::new(move |key, value| config.set(key, value))
            }
            _ => panic!("{name} --{id}: a key of which configuration?"),
        };
        for pair in given(id) {
            let (key, value) = pair.split_once('=').expect("a pair");
            config(key, value)?;
            count += 1;
        }
    }
    // The whole configuration of a run, but for a file that it begins with.
    if let Some(keys) = keys.filter(of_vectors) {
        let mut config = VectorsConfig::default();
        keys.apply_to_vectors(&mut config)?;
        config.resolve(&Registry::default())?;
    } else if of_keys {
        let keys = Keys::from_arg_matches(matches).expect("clap has read them");
        let preset = matches.get_one::<String>("preset");
        configuration(None, preset.map(String::as_str), &keys)?;
    }
    Ok(count)
}

/// Reads a command as the program does. Returns how many keys it sets.
fn read(words: &[String]) -> Result<usize, String> {
    let cli = built();
    let matches = cli
        .clone()
        .try_get_matches_from(words)
        .map_err(|e| e.to_string())?;
    Cli::from_arg_matches(&matches).map_err(|e| e.to_string())?;
    let (mut command, mut matches) = (&cli, &matches);
    while let Some((name, below)) = matches.subcommand() {
        command = command.find_subcommand(name).expect("clap found it");
        matches = below;
    }
    let name = command.get_bin_name().expect("a command has a name");
    set_keys(name, matches, command).map_err(|e| e.to_string())
}

#[test]
fn every_example_is_a_command() {
    let shown = commands(&std::fs::read_to_string(PAGE).unwrap());
    let mut keys = 0;
    for words in &shown {
        keys += read(words).unwrap_or_else(|e| panic!("{}\n{e}", words.join(" ")));
    }
    assert!(shown.len() >= 40, "{} examples were found", shown.len());
    assert!(keys >= 5, "{keys} keys were found");
    // Every command has one.
    for command in with_subcommands(&built())[1..]
        .iter()
        .filter(|c| super::runs(c))
    {
        let name = command.get_bin_name().unwrap();
        let begins = |words: &Vec<String>| words.join(" ").starts_with(name);
        assert!(shown.iter().any(begins), "{name} has no example");
    }
}

#[test]
fn commands_on_every_page_are_understood() {
    let mut seen = 0;
    for page in pages() {
        for words in commands(&std::fs::read_to_string(&page).unwrap()) {
            let said = read(&words);
            assert!(
                said.is_ok(),
                "{}: {}\n{said:?}",
                page.display(),
                words.join(" ")
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} commands were found");
}

#[test]
fn wrong_examples_are_found() {
    let words = |line: &str| shlex::split(line).unwrap();
    for wrong in [
        "wgvq train --presett emoji32",
        "wgvq train --set data.widht=64",
        "wgvq train --set train.steps=many",
        "wgvq train --quantizer fsq --set quantizer.levels=1",
        "wgvq prior runs/a --set prior.layer=1",
        "wgvq text2image train --judge model.dimm=1",
        "wgvq trian",
    ] {
        assert!(read(&words(wrong)).is_err(), "{wrong}");
    }
    let page = "    wgvq presets a > b && wgvq train \\\n        b # c\n";
    let parts = [vec!["wgvq", "presets", "a"], vec!["wgvq", "train", "b"]];
    assert_eq!(commands(page), parts);
}

#[test]
fn man_pages_and_completions_name_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = ManPages {
        folder: folder.path().to_owned(),
        overwrite: false,
    };
    let written = pages.write().unwrap();
    assert!(written > 20);
    let train = std::fs::read_to_string(folder.path().join("wgvq-train.1")).unwrap();
    assert!(
        train.contains("wgvq\\-train") && train.contains("checkpoint"),
        "{train}"
    );
    assert!(folder.path().join("wgvq-text2image-sample.1").exists());
    // What is there stays, unless it may go.
    assert!(
        pages
            .write()
            .unwrap_err()
            .to_string()
            .contains("--overwrite")
    );
    let again = ManPages {
        overwrite: true,
        ..pages
    };
    assert_eq!(again.write().unwrap(), written);
    for shell in [
        Shell::Bash,
        Shell::Zsh,
        Shell::Fish,
        Shell::PowerShell,
        Shell::Elvish,
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "wgvq", &mut script);
        let script = String::from_utf8(script).unwrap();
        for name in ["train", "text2image", "selftest", "completions"] {
            assert!(script.contains(name), "{shell}: {name}");
        }
    }
}
