//! `scripts/new_op.sh` in a copy of the tree: what it writes, what it refuses, and (before a
//! release, since it compiles for minutes) that the operation it wrote passes every check.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use wgvq::gpu::{Elements, Kernel, Source};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of the given folders and files of the tree.
fn copy(names: &[&str]) -> tempfile::TempDir {
    fn copy_to(from: &Path, to: &Path) {
        if from.is_dir() {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let name = entry.unwrap().file_name();
                copy_to(&from.join(&name), &to.join(&name));
            }
        } else {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        }
    }
    let copy = tempfile::tempdir().unwrap();
    for name in names {
        copy_to(&root().join(name), &copy.path().join(name));
    }
    copy
}

/// Copies the files that the script reads.
fn tree() -> tempfile::TempDir {
    copy(&[
        "src/ops",
        "src/autograd",
        "src/registry.rs",
        "tests/ops.rs",
        "shaders",
    ])
}

fn script(tree: &Path, args: &[&str]) -> Output {
    Command::new(root().join("scripts/new_op.sh"))
        .args(args)
        .env("WGVQ_ROOT", tree)
        .output()
        .unwrap()
}

/// The text of every file, by its path.
fn texts(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn it_writes_an_operations_files_and_their_lines() {
    let tree = tree();
    let before = texts(tree.path());
    let done = script(tree.path(), &["norm", "soft_shift2"]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let after = texts(tree.path());

    let new: Vec<&str> = after
        .keys()
        .filter(|path| !before.contains_key(*path))
        .map(|path| path.to_str().unwrap())
        .collect();
    let written = [
        "shaders/norm/soft_shift2.wgsl",
        "shaders/norm/soft_shift2_grad.wgsl",
        "src/ops/norm/soft_shift2/mod.rs",
        "src/ops/norm/soft_shift2/reference.rs",
        "src/ops/norm/soft_shift2/spec.rs",
    ];
    assert_eq!(new, written);
    assert!(
        written
            .iter()
            .all(|path| !after[Path::new(path)].to_lowercase().contains("softplus"))
    );

    let line_of = |text: &str, line: &str| text.lines().position(|l| l.trim() == line);
    let mut changed = 0;
    for (path, line, behind) in [
        (
            "src/ops/norm/mod.rs",
            "pub mod soft_shift2;",
            "pub mod rms_norm;",
        ),
        (
            "src/registry.rs",
            "&norm::soft_shift2::SoftShift2,",
            "&elementwise::slice_columns::SliceColumns,",
        ),
        ("tests/ops.rs", "\"soft_shift2\",", "\"slice_columns\","),
    ] {
        let (old, new) = (&before[Path::new(path)], &after[Path::new(path)]);
        let at = line_of(new, line).unwrap_or_else(|| panic!("{path} lacks {line}"));
        assert_eq!(line_of(new, behind), Some(at - 1), "{path}");
        let rest = new.lines().enumerate().filter(|(i, _)| *i != at);
        assert!(
            rest.map(|(_, line)| line).eq(old.lines()),
            "{path}: more than a line"
        );
        changed += 1;
    }
    let kept = before
        .iter()
        .filter(|(path, text)| after.get(*path) == Some(text));
    assert_eq!(kept.count() + changed, before.len());

    // The kernels, as far as naga goes.
    for (name, bindings) in [("soft_shift2", 2), ("soft_shift2_grad", 3)] {
        let path = tree.path().join(format!("shaders/norm/{name}.wgsl"));
        let text = fs::read_to_string(path).unwrap().leak();
        let source: &'static Source = Box::leak(Box::new(Source { name: "new", text }));
        source.check().unwrap();
        let (_, _, reflection) = Kernel::new(source).parse(true).unwrap();
        assert_eq!(reflection.storage.len(), bindings);
        let last = reflection.storage.last().unwrap();
        assert!(last.write && last.elements == Elements::Words && reflection.params == 4);
    }
}

#[test]
fn what_it_refuses_it_leaves_alone() {
    let tree = tree();
    let before = texts(tree.path());
    for (args, what) in [
        (vec![], "usage: scripts/new_op.sh FAMILY NAME"),
        (vec!["elementwise"], "usage"),
        (vec!["elementwise", "a", "b"], "usage"),
        (
            vec!["activations", "softplus"],
            "there are attention conv elementwise",
        ),
        (vec!["elementwise", "SoftPlus"], "small letters"),
        (vec!["elementwise", "../x"], "small letters"),
        (vec!["elementwise", "loop"], "a word of Rust's"),
        (
            vec!["elementwise", "scale"],
            "src/ops/elementwise/scale is there already",
        ),
        (
            vec!["elementwise", "swiglu_grad"],
            "swiglu_grad.wgsl is there already",
        ),
        (vec!["elementwise", "matmul"], "called `matmul` already"),
        (vec!["norm", "backward"], "called `backward` already"),
    ] {
        let done = script(tree.path(), &args);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.code() == Some(1) && said.contains(what),
            "{args:?}: {said}"
        );
        assert!(done.stdout.is_empty(), "{args:?}");
        assert!(
            texts(tree.path()) == before,
            "{args:?}: something was written"
        );
    }
}

#[test]
fn what_it_writes_passes_every_check() {
    if std::env::var_os("WGVQ_THOROUGH").is_none() {
        let what = "compiles for minutes; WGVQ_THOROUGH=1 (scripts/release.sh) runs it";
        return crate::skip::skipped("what_it_writes_passes_every_check", what);
    }
    let tree = copy(&[
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "src",
        "tests",
        "benches",
        "examples",
        "shaders",
        "assets",
        "docs",
        "python",
        "README.md",
    ]);
    let done = script(tree.path(), &["elementwise", "softplus"]);
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    // What it is built on was built for these tests.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let done = Command::new(env!("CARGO"))
        .args(["test", "--offline", "--test", "ops", "softplus"])
        .current_dir(tree.path())
        .env("CARGO_TARGET_DIR", target)
        .env_remove("WGVQ_THOROUGH")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
    for test in [
        "error_inputs::softplus",
        "differences::softplus",
        "agree::softplus::default",
    ] {
        let ran = said
            .lines()
            .any(|line| line.contains(test) && line.ends_with("ok"));
        assert!(ran, "{test} did not run:\n{said}");
    }
}

#[test]
fn the_page_shows_what_it_writes() {
    let page = fs::read_to_string(root().join("docs/add-an-op.md")).unwrap();
    let page: Vec<&str> = page.lines().map(str::trim).collect();
    let text = fs::read_to_string(root().join("scripts/new_op/forward.wgsl")).unwrap();
    for line in text.lines() {
        assert!(
            page.contains(&line.trim()),
            "docs/add-an-op.md lacks: {line}"
        );
    }
    for file in fs::read_dir(root().join("scripts/new_op")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = match name.as_str() {
            "forward.wgsl" => "softplus.wgsl",
            "grad.wgsl" => "softplus_grad.wgsl",
            other => other,
        };
        assert!(
            page.iter().any(|line| line.contains(name)),
            "docs/add-an-op.md lacks {name}"
        );
    }
}
