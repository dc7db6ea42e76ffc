//! The texts of the command line, word for word: the help of every command, and the main errors.
//! Intended changes are written by `INSTA_UPDATE=always cargo test --test it help`, and read before
//! they are committed.

use crate::common::wgvq;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Columns of the terminal that the texts are wrapped for, whatever the tests run in.
const COLUMNS: &str = "100";

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/words")
}

/// Holds a text against the committed one of that name. Spaces at the ends of lines do not count.
fn held(name: &str, text: &str) {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(committed());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, lines.join("\n")));
}

/// The program's answer, run in `folder`: its output, then what it says of errors, and whether it
/// succeeded.
fn answer(folder: &Path, args: &[&str]) -> (String, bool) {
    let mut command = wgvq();
    command
        .args(args)
        .current_dir(folder)
        .env("COLUMNS", COLUMNS)
        .env_remove("NO_COLOR");
    let output = command.output().expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    (
        String::from_utf8(text).expect("the program writes text"),
        output.status.success(),
    )
}

/// The commands that a help lists, but `help` itself.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let entries = lines.take_while(|line| !line.is_empty());
    let names = entries.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_says_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut next, mut names) = (vec![Vec::new()], BTreeSet::new());
    while let Some(command) = next.pop() {
        let words: Vec<&str> = command
            .iter()
            .map(String::as_str)
            .chain(["--help"])
            .collect();
        let (help, done) = answer(folder.path(), &words);
        assert!(done, "{words:?}: {help}");
        let name = [vec!["help".to_owned()], command.clone()]
            .concat()
            .join("-");
        held(&name, &help);
        names.insert(format!("{name}.snap"));
        next.extend(
            listed(&help)
                .into_iter()
                .map(|name| [command.clone(), vec![name]].concat()),
        );
    }
    assert!(names.len() > 20, "{names:?}");
    let there = std::fs::read_dir(committed()).unwrap();
    let there = there.map(|file| file.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<String> = there.filter(|n| n.starts_with("help")).collect();
    let gone: Vec<&String> = there
        .difference(&names)
        .filter(|n| n.ends_with(".snap"))
        .collect();
    assert!(gone.is_empty(), "no command says this any more: {gone:?}");
}

/// Commands that are answered by an error; the files that they name are those of [`errors`].
const WRONG: &[&str] = &[
    "trian",
    "train --stpes 3",
    "train --preset emoji33",
    "train --set train.step=3",
    "train --set train.steps=many",
    "train --set train.steps=0",
    "train --set steps",
    "train --data emojy",
    "train --out taken",
    "train none.toml",
    "train torn.toml",
    "train typo.toml",
    "train --resume none",
    "plan --batch 0",
    "compare --quantizers ema,fsk",
    "reconstruct none a.png",
    "inspect none",
    "report none",
    "encode none a.png -o codes",
    "decode none codes.txt -o pictures",
    "export none --decoder -o part",
    "import text.txt --out run",
    "prior none",
    "sample none",
    "sample taken --core tiled,subgroup",
    "complete none a.png",
    "text2image sample none",
    "bench matmul_102",
    "kernels adamm",
    "kernels adam --ir ir --robust-access maybe",
];

#[test]
fn errors_say_what_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("torn.toml"), "[train\nsteps = 3\n").unwrap();
    std::fs::write(at("typo.toml"), "[model]\nhiden = 3\n").unwrap();
    std::fs::write(at("text.txt"), "no model\n").unwrap();
    std::fs::create_dir(at("taken")).unwrap();
    std::fs::write(at("taken/mine.txt"), "mine\n").unwrap();
    let mut all = String::new();
    for line in WRONG {
        let words: Vec<&str> = line.split(' ').collect();
        let (said, done) = answer(folder.path(), &words);
        assert!(!done && !said.is_empty(), "{line}: {said}");
        all += &format!("$ wgvq {line}\n{}\n\n", said.trim_end());
    }
    held("errors", &all);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 4, "a command that was refused leaves nothing");
}
