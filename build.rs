//! Embeds the shaders that others import, and checks every line of every shader by the crate's own
//! preprocessor, so that a mistake in one is an error of the build that names the file and the
//! line.

#[allow(dead_code, unused_imports)] // it checks here, and expands in the crate
#[path = "src/gpu/kernel/preprocess/mod.rs"]
mod preprocess;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shaders");
    println!("cargo::rerun-if-changed=src/gpu/kernel/preprocess");
    if let Err(what) = embed() {
        println!("cargo::error={what}");
    }
    describe_build();
}

/// Tells the crate what it was built of, for the files of `wgvq bench`.
fn describe_build() {
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=Cargo.toml");
    let profile = std::env::var("PROFILE").unwrap_or_default();
    // Nobody quotes the times of a debug build, and looking at the commit makes every commit
    // compile the crate again.
    let commit = (profile == "release").then(commit).flatten();
    let (commit, dirty) = match commit {
        Some((commit, dirty)) => (commit, dirty.to_string()),
        None => Default::default(),
    };
    println!("cargo::rustc-env=WGVQ_COMMIT={commit}");
    println!("cargo::rustc-env=WGVQ_DIRTY={dirty}");
    println!("cargo::rustc-env=WGVQ_PROFILE={profile}");
    let lock = std::fs::read_to_string("Cargo.lock").unwrap_or_default();
    for name in ["wgpu", "naga"] {
        let version = locked(&lock, name).unwrap_or("unknown");
        println!("cargo::rustc-env=WGVQ_{}={version}", name.to_uppercase());
    }
}

/// The version of a package in a `Cargo.lock`.
fn locked<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = lock
        .lines()
        .skip_while(|l| *l != format!("name = \"{name}\""));
    lines
        .nth(1)?
        .strip_prefix("version = \"")?
        .strip_suffix('"')
}

/// The commit of the sources, and whether they differ from it: that of the repository, or what
/// `cargo package` wrote into the archive.
fn commit() -> Option<(String, bool)> {
    let git = |args: &[&str]| {
        let out = std::process::Command::new("git").args(args).output().ok()?;
        let text = String::from_utf8(out.stdout).ok()?;
        out.status.success().then(|| text.trim().to_owned())
    };
    let packed = std::fs::read_to_string(".cargo_vcs_info.json");
    if let Ok(packed) = packed {
        let sum = packed.split("\"sha1\": \"").nth(1)?.split('"').next()?;
        return Some((sum.to_owned(), packed.contains("\"dirty\": true")));
    }
    // A folder above may be a repository of something else.
    let tracked = git(&["ls-files", "--error-unmatch", "build.rs"]);
    tracked?;
    for path in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={path}");
    }
    for path in ["HEAD", "logs/HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", path]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let sources = [
        "src",
        "shaders",
        "assets",
        "build.rs",
        "Cargo.toml",
        "Cargo.lock",
    ];
    let changed = git(&[&["status", "--porcelain", "--"][..], &sources].concat())?;
    Some((git(&["rev-parse", "HEAD"])?, !changed.is_empty()))
}

fn embed() -> Result<(), String> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .ok_or(format!("{name} is not set"))
    };
    let (root, out) = (
        variable("CARGO_MANIFEST_DIR")?.join("shaders"),
        variable("OUT_DIR")?,
    );
    let mut files = BTreeMap::new();
    read(&root, "", &mut files)?;
    let imported = check(&files)?;
    let mut list = String::from("static FRAGMENTS: &[(&str, &str)] = &[\n");
    for name in &imported {
        writeln!(
            list,
            "    ({name:?}, include_str!({:?})),",
            root.join(format!("{name}.wgsl"))
        )
        .ok();
    }
    list.push_str("];\n");
    let path = out.join("shaders.rs");
    std::fs::write(&path, list).map_err(|e| format!("{}: {e}", path.display()))
}

/// The text of each shader below `folder`, by its path below `shaders/` without `.wgsl`.
fn read(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) -> Result<(), String> {
    let failed = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    for entry in std::fs::read_dir(folder).map_err(|e| failed(folder, e))? {
        let path = entry.map_err(|e| failed(folder, e))?.path();
        let stem = path
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        let name = format!("{prefix}{stem}");
        if path.is_dir() {
            read(&path, &format!("{name}/"), files)?;
        } else if path.extension().is_some_and(|e| e == "wgsl") {
            files.insert(
                name,
                std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?,
            );
        }
    }
    Ok(())
}

/// Checks each shader with an entry point, and through it what it imports. Returns what is
/// imported.
fn check(files: &BTreeMap<String, String>) -> Result<BTreeSet<String>, String> {
    let library = |name: &str| files.get(name).map(String::as_str);
    let is_entry = |text: &str| {
        ["@compute", "@vertex", "@fragment"]
            .iter()
            .any(|stage| text.contains(stage))
    };
    let mut imported = BTreeSet::new();
    for (name, text) in files.iter().filter(|(_, text)| is_entry(text)) {
        imported.extend(
            preprocess::check(name, text, &library)
                .map_err(|e| e.to_string())?
                .imports,
        );
    }
    match files
        .iter()
        .find(|(name, text)| !is_entry(text) && !imported.contains(*name))
    {
        Some((name, _)) => Err(format!(
            "shaders/{name}.wgsl: has no entry point, and no shader imports it"
        )),
        None => Ok(imported),
    }
}
