//! No line of the project's code is longer than 100 columns.

use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;

const FOLDERS: [&str; 10] = [
    "src", "shaders", "tests", "benches", "examples", "python", "scripts", "web", "plugins",
    "assets",
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
    let long = |line: &str| line.chars().count() > COLUMNS;
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| long(line).then_some(number))
        .collect()
}

#[test]
fn code_keeps_to_100_columns() {
    let (fits, too_long) = ("é".repeat(COLUMNS), "x".repeat(COLUMNS + 1));
    assert_eq!(long_lines(&format!("{fits}\n{too_long}\n{fits}")), [2]);

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
        found.extend(
            long_lines(&text)
                .iter()
                .map(|line| format!("{name}:{line}")),
        );
    }
    assert!(
        found.is_empty(),
        "lines of more than {COLUMNS} columns:\n{}",
        found.join("\n")
    );
}
