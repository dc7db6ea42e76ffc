//! `scripts/data.sh` without a network: each test gives it the tools that it is to find.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine with the usual small tools and an empty cache.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        fs::create_dir(machine.path("bin")).unwrap();
        let tools =
            "bash cat cp dirname env find grep gzip mkdir mktemp mv rm sed sha256sum sort tail tar";
        for tool in tools.split(' ') {
            let found = ["/usr/bin", "/bin"]
                .iter()
                .map(|folder| Path::new(folder).join(tool))
                .find(|path| path.exists());
            let found = found.unwrap_or_else(|| panic!("this machine has no {tool}"));
            symlink(found, machine.path("bin").join(tool)).unwrap();
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn tool(&self, name: &str, script: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/data.sh");
        let mut command = Command::new(script);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("WGVQ_DATA", self.path("cache"));
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Returns the names in the cache, hidden files too.
    fn cached(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("cache")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn it_says_what_it_takes() {
    let machine = Machine::new();
    for arguments in [&[][..], &["mnist"], &["photos", "twemoji"]] {
        let (code, said) = machine.run(arguments);
        assert_eq!(code, Some(2));
        for name in [
            "fashion-mnist",
            "openclipart",
            "photos",
            "twemoji",
            "WGVQ_DATA",
        ] {
            assert!(said.contains(name), "{name}: {said}");
        }
    }
    assert_eq!(machine.run(&["--help"]).0, Some(0));
    let (code, said) = machine.run(&["emoji"]);
    assert!(
        code == Some(0) && said.contains("part of the program"),
        "{said}"
    );
    assert!(machine.cached().is_empty());
}

#[test]
fn a_missing_tool_is_named_with_the_way_to_it() {
    let machine = Machine::new();
    for (name, tool) in [
        ("fashion-mnist", "apt-get"),
        ("openclipart", "apt-get"),
        ("twemoji", "npm"),
    ] {
        let (code, said) = machine.run(&[name]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("{name} needs {tool}")), "{said}");
    }
    assert!(machine.cached().is_empty());
}

#[test]
fn a_network_that_is_missing_is_said_and_nothing_is_left() {
    let machine = Machine::new();
    machine.tool("dpkg-deb", "exit 0");
    machine.tool(
        "apt-get",
        "echo 'E: Temporary failure resolving deb.debian.org' >&2; exit 100",
    );
    machine.tool("npm", "echo 'ENOTFOUND registry.npmjs.org' >&2; exit 1");
    for (name, words) in [
        ("photos", "Temporary failure resolving"),
        ("twemoji", "ENOTFOUND"),
    ] {
        let (code, said) = machine.run(&[name]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(words) && said.contains("Is there a network?"),
            "{said}"
        );
    }
    assert!(machine.cached().is_empty());
}

#[test]
fn what_is_not_what_was_published_is_not_kept() {
    let machine = Machine::new();
    machine.tool(
        "apt-get",
        "touch package_1_all.deb; mv package_1_all.deb \"${@: -1}_1_all.deb\"",
    );
    machine.tool(
        "dpkg-deb",
        "place=$3/usr/share/datasets/fashion-mnist; mkdir -p $place\nfor half in train t10k; do \
         for kind in images-idx3 labels-idx1; do\necho other | gzip >$place/$half-$kind-ubyte.gz; \
         done; done",
    );
    machine.tool("npm", "echo other >emoji-datasource-twitter-16.0.0.tgz");
    machine.tool("touch", ": >\"$1\"");
    for name in ["fashion-mnist", "twemoji"] {
        let (code, said) = machine.run(&[name]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("is not what was published") && said.contains("nothing was kept"),
            "{said}"
        );
    }
    assert!(machine.cached().is_empty());
}

#[test]
fn a_set_is_fetched_once_and_whole() {
    let machine = Machine::new();
    machine.tool(
        "apt-get",
        "echo once >>\"$WGVQ_DATA/../fetched\"; : >\"${@: -1}_1_all.deb\"",
    );
    machine.tool(
        "dpkg-deb",
        "mkdir -p $3/usr/share/openclipart/png/animals $3/usr/share/doc/openclipart-png\necho \
         picture >$3/usr/share/openclipart/png/animals/cat.png\necho free \
         >$3/usr/share/doc/openclipart-png/copyright",
    );
    for words in ["openclipart is in", "is here already"] {
        let (code, said) = machine.run(&["openclipart"]);
        assert!(code == Some(0) && said.contains(words), "{said}");
        assert_eq!(machine.cached(), ["openclipart"]);
    }
    assert_eq!(
        fs::read_to_string(machine.path("cache/openclipart/animals/cat.png")).unwrap(),
        "picture\n"
    );
    assert_eq!(
        fs::read_to_string(machine.path("fetched")).unwrap(),
        "once\n"
    );
}
