//! Lines of the project's code: none is longer than 100 columns, and comments on items begin with
//! the thing that they describe.

use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;

/// Words that a comment does not begin with.
const RIDDLES: [&str; 3] = ["What", "How", "Of"];

const FOLDERS: [&str; 12] = [
    "src", "shaders", "tests", "benches", "examples", "python", "capi", "fuzz", "scripts", "web",
    "plugins", "assets",
];

const EXTENSIONS: [&str; 6] = ["rs", "wgsl", "py", "js", "css", "html"];

/// The files of these extensions in a folder and in those within it, `target` folders aside.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return; // a package has no `web`
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                files(&path, found);
            }
        } else if EXTENSIONS
            .iter()
            .any(|e| path.extension() == Some(e.as_ref()))
        {
            found.push(path);
        }
    }
}

/// The numbers of the lines that are too long.
fn long_lines(text: &str) -> Vec<usize> {
    numbers(text, |line| line.chars().count() > COLUMNS)
}

/// The numbers of the lines of documentation that begin as a riddle does.
fn riddles(text: &str) -> Vec<usize> {
    numbers(text, |line| {
        let words = line.trim_start();
        let words = words.strip_prefix("///").or(words.strip_prefix("//!"));
        let first = words.and_then(|words| words.split_whitespace().next());
        first.is_some_and(|first| RIDDLES.contains(&first))
    })
}

fn numbers(text: &str, is_wrong: impl Fn(&str) -> bool) -> Vec<usize> {
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| is_wrong(line).then_some(number))
        .collect()
}

/// Returns the places that `wrong` finds in the code, as `FILE:LINE`.
fn places(wrong: impl Fn(&str) -> Vec<usize>) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("build.rs")];
    for folder in FOLDERS {
        files(&root.join(folder), &mut paths);
    }
    assert!(paths.len() > 500, "only {} files were found", paths.len());
    let mut found = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().display();
        found.extend(wrong(&text).iter().map(|line| format!("{name}:{line}")));
    }
    found
}

#[test]
fn code_keeps_to_100_columns() {
    let (fits, too_long) = ("é".repeat(COLUMNS), "x".repeat(COLUMNS + 1));
    assert_eq!(long_lines(&format!("{fits}\n{too_long}\n{fits}")), [2]);

    let found = places(long_lines);
    assert!(
        found.is_empty(),
        "lines of more than {COLUMNS} columns:\n{}",
        found.join("\n")
    );
}

#[test]
fn comments_begin_with_what_they_describe() {
    let text = "/// Whatever fits.\n    /// Of a codebook.\n// What comes.\n//! How it goes.\n";
    assert_eq!(riddles(text), [2, 4]);

    let found = places(riddles);
    assert!(
        found.is_empty(),
        "comments that begin with one of {RIDDLES:?}, instead of the thing:\n{}",
        found.join("\n")
    );
}
