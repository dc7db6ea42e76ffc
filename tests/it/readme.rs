//! The README's commands are commands: each line of it that calls the program parses, flags and
//! all.

use crate::common::{run, stderr};

#[test]
fn every_command_line_parses() {
    let readme = include_str!("../../README.md");
    let lines = readme
        .lines()
        .filter_map(|l| l.strip_prefix("    wgvq "))
        .map(|l| l.split('#').next().unwrap_or_default());
    let mut seen = 0;
    for line in lines {
        // `--help` at the end prints and leaves, once everything before it was understood.
        let args: Vec<&str> = line.split_whitespace().chain(["--help"]).collect();
        let output = run(&args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "wgvq {line}\n{}",
            stderr(&output)
        );
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} commands were found in the README");
    let wrong = run(&["train", "--presett", "emoji32", "--help"]);
    assert_eq!(
        wrong.status.code(),
        Some(2),
        "a flag that does not exist passes"
    );
}

#[test]
fn files_that_the_documents_name_are_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["README.md", "ARCHITECTURE.md", "docs/add-an-op.md"] {
        let text = std::fs::read_to_string(root.join(page)).expect("the page");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let from = root.join(page).parent().expect("a folder").join(link);
            assert!(
                link.starts_with("http") || from.exists(),
                "{page} links to {link}"
            );
        }
    }
}
