//! `scripts/archive.sh` packs a release under the names that `package.metadata.binstall` of
//! Cargo.toml has for it.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

fn manifest() -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// A template of cargo-binstall, filled in.
fn filled(template: &str, target: &str) -> String {
    let values = [
        ("name", env!("CARGO_PKG_NAME")),
        ("version", env!("CARGO_PKG_VERSION")),
        ("target", target),
        ("bin", "wgvq"),
        ("binary-ext", ""),
        ("archive-suffix", ".tgz"),
    ];
    let fill =
        |text: String, (key, value): &(&str, &str)| text.replace(&format!("{{ {key} }}"), value);
    values.iter().fold(template.to_owned(), fill)
}

fn stdout_of(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_release_has_the_names_that_binstall_looks_for() {
    let (folder, target) = (tempfile::tempdir().unwrap(), "x86_64-unknown-linux-gnu");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/archive.sh");
    let mut pack = Command::new(script);
    pack.arg(env!("CARGO_BIN_EXE_wgvq"))
        .arg(target)
        .arg(folder.path().join("dist"));
    let archive = stdout_of(&mut pack);
    let manifest = manifest();
    let metadata = &manifest["package"]["metadata"]["binstall"];
    let of = |key: &str| filled(metadata[key].as_str().unwrap(), target);
    let (address, program) = (of("pkg-url"), of("bin-dir"));
    assert!(!program.contains('{'), "{program}");
    assert_eq!(metadata["pkg-fmt"].as_str(), Some("tgz"));
    let name = address.rsplit('/').next().unwrap();
    assert_eq!(Path::new(archive.trim()).file_name().unwrap(), name);
    let held = stdout_of(Command::new("tar").arg("-tzf").arg(archive.trim()));
    let page = format!(
        "{}/man/wgvq-train.1",
        Path::new(&program).parent().unwrap().display()
    );
    for file in [&program, &page] {
        assert!(
            held.lines().any(|line| line == file),
            "no {file} in\n{held}"
        );
    }
    for file in [
        "completions/wgvq.bash",
        "completions/wgvq.zsh",
        "LICENSE-MIT",
        "LICENSE-APACHE",
    ] {
        assert!(held.contains(file), "no {file} in\n{held}");
    }
    // The workflow uploads what the script makes.
    let workflow = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows/release.yml");
    if let Ok(workflow) = std::fs::read_to_string(workflow) {
        assert!(workflow.contains("scripts/archive.sh") && workflow.contains(target));
    }
}
