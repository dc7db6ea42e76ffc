//! RELIABILITY.md's statements on the source hold.

use std::collections::BTreeMap;
use std::path::Path;

/// Adds how often each file of a folder says that the compiler cannot check something.
fn count(root: &Path, folder: &Path, found: &mut BTreeMap<String, usize>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder that can be read").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                count(root, &path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let code = text.lines().map(|line| line.split("//").next());
            let n: usize = code.flatten().map(of_line).sum();
            if n > 0 {
                let name = path.strip_prefix(root).expect("a file below the root");
                found.insert(name.display().to_string().replace('\\', "/"), n);
            }
        }
    }
}

/// Blocks, functions and implementations.
fn of_line(code: &str) -> usize {
    let word = "unsafe ";
    let begins = |at: usize| {
        let rest = &code[at + word.len()..];
        ["{", "fn ", "impl ", "extern "]
            .iter()
            .any(|next| rest.starts_with(next))
            && !code[..at].ends_with('"')
    };
    code.match_indices(word)
        .filter(|(at, _)| begins(*at))
        .count()
}

/// Rows of the list: a file, and how many.
fn listed(text: &str) -> BTreeMap<String, usize> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let file = cells.next()?.strip_suffix('`')?;
        let n = cells.next()?.parse().ok()?;
        let reason = cells.next()?.trim_end_matches(['|', ' ']);
        (file.ends_with(".rs") && reason.len() > 20).then(|| (file.to_owned(), n))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn the_list_of_unsafe_code_is_whole() {
    let two = "let x = unsafe- { f() }; unsafe- fn g() {}".replace('-', "");
    assert_eq!(of_line(&two), 2);
    let none = r#"["unsafe- fn "]; unsafe-_code"#.replace('-', "");
    assert_eq!(of_line(&none), 0);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("RELIABILITY.md");
    let Ok(text) = std::fs::read_to_string(page) else {
        return; // a package has none
    };
    let mut found = BTreeMap::new();
    for folder in [
        "src",
        "python/src",
        "web/src",
        "examples",
        "benches",
        "tests",
        "fuzz",
        "capi/src",
        "plugins",
    ] {
        count(root, &root.join(folder), &mut found);
    }
    assert!(found.len() > 5, "{found:?}");
    let mut listed = listed(&text);
    // Nor has a package those.
    for folder in ["fuzz", "capi", "plugins"]
        .into_iter()
        .filter(|f| !root.join(f).is_dir())
    {
        listed.retain(|file, _| !file.starts_with(folder));
    }
    assert_eq!(found, listed, "RELIABILITY.md, \"Unsafe code\"");
}
