//! `scripts/setup.sh` on machines that lack things: each test makes a PATH of its own, with only
//! the tools that machine has.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine with the usual small tools, a working cargo and cc, an apt-get that installs, and an
/// ordinary user.
struct Machine {
    root: tempfile::TempDir,
    /// Variables beyond PATH and HOME.
    variables: Vec<(&'static str, String)>,
}

struct Outcome {
    code: Option<i32>,
    said: String,
}

impl Machine {
    fn new() -> Self {
        let machine = Machine {
            root: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
        };
        for folder in ["bin", "home", "icd.d", "lib"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        let tools = "bash cat dirname env grep head mktemp rm sed sort touch tr true uname";
        for tool in tools.split(' ') {
            let found = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
                .iter()
                .map(|d| Path::new(d).join(tool))
                .find(|p| p.exists());
            symlink(
                found.unwrap_or_else(|| panic!("this machine has no {tool}")),
                machine.path("bin").join(tool),
            )
            .unwrap();
        }
        machine.tool("cargo", "echo 'cargo 1.999.0 (0000000 2030-01-01)'");
        machine.tool("cc", "exit 0");
        machine.tool("id", "echo 1000");
        // Notes what it was called with, and installs what would be installed.
        let (icd, lib, log) = (
            machine.path("icd.d"),
            machine.path("lib"),
            machine.path("installed"),
        );
        machine.tool(
            "apt-get",
            &format!(
                "echo \"apt-get $* $DEBIAN_FRONTEND\" >> {log}\n[ \"$1\" = install ] || exit \
                 0\ntouch {lib}/libvulkan.so.1 {icd}/lvp_icd.x86_64.json",
                log = log.display(),
                lib = lib.display(),
                icd = icd.display()
            ),
        );
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Puts a program on the machine, or replaces one.
    fn tool(&self, name: &str, script: &str) {
        let file = self.path("bin").join(name);
        let _ = fs::remove_file(&file);
        fs::write(&file, format!("#!/usr/bin/env bash\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn without(self, tool: &str) -> Self {
        fs::remove_file(self.path("bin").join(tool)).unwrap();
        self
    }

    fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.variables.push((variable, value.to_owned()));
        self
    }

    fn root_user(self) -> Self {
        self.tool("id", "echo 0");
        self
    }

    fn driver(self) -> Self {
        fs::write(self.path("icd.d/lvp_icd.x86_64.json"), "{}").unwrap();
        fs::write(self.path("lib/libvulkan.so.1"), "").unwrap();
        self
    }

    /// Sources setup.sh as demo.sh and test.sh do; `ready` is printed where it lets them go on.
    fn set_up(&self) -> Outcome {
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/setup.sh");
        self.run(&format!(
            "set -euo pipefail; . '{}'; echo ready; echo \"runtime $XDG_RUNTIME_DIR\"",
            setup.display()
        ))
    }

    /// Runs a script of bash.
    fn run(&self, script: &str) -> Outcome {
        let mut command = Command::new("/bin/bash");
        command
            .arg("-c")
            .arg(script)
            .current_dir("/")
            .env_clear()
            .stdin(std::process::Stdio::null());
        command
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.root.path());
        command
            .env("WGVQ_VULKAN_DIRS", self.path("icd.d"))
            .env("WGVQ_LIBRARY_DIRS", self.path("lib"));
        for (variable, value) in &self.variables {
            command.env(variable, value);
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr]
            .map(|b| String::from_utf8(b).unwrap())
            .concat();
        Outcome {
            code: output.status.code(),
            said,
        }
    }

    fn installed(&self) -> String {
        fs::read_to_string(self.path("installed")).unwrap_or_default()
    }
}

impl Outcome {
    #[track_caller]
    fn ready(&self) -> &Self {
        assert!(
            self.code == Some(0) && self.said.contains("ready"),
            "{:?}: {}",
            self.code,
            self.said
        );
        self
    }

    #[track_caller]
    fn stopped(&self, said: &[&str]) -> &Self {
        assert!(
            self.code == Some(1) && !self.said.contains("ready"),
            "{:?}: {}",
            self.code,
            self.said
        );
        for part in said {
            assert!(self.said.contains(part), "no {part:?} in: {}", self.said);
        }
        self
    }
}

const APT: &str = "apt-get install -y --no-install-recommends mesa-vulkan-drivers libvulkan1";

#[test]
fn a_machine_with_everything_is_left_alone() {
    let machine = Machine::new().driver();
    machine.set_up().ready();
    assert_eq!(machine.installed(), "");
}

#[test]
fn a_missing_driver_is_installed_by_root() {
    let machine = Machine::new().root_user();
    machine.set_up().ready();
    assert_eq!(machine.installed(), format!("{APT} noninteractive\n"));
}

#[test]
fn a_missing_driver_is_installed_by_sudo_where_it_asks_for_no_password() {
    let machine = Machine::new();
    machine.tool("sudo", "shift; exec \"$@\"");
    machine.set_up().ready();
    assert!(machine.installed().contains(APT), "{}", machine.installed());
}

#[test]
fn without_the_right_to_install_the_command_is_told() {
    Machine::new()
        .set_up()
        .stopped(&["no Vulkan driver", "no right", APT]);
    let locked = Machine::new();
    locked.tool("sudo", "echo 'sudo: a password is required' >&2; exit 1");
    locked.set_up().stopped(&["no right", APT]);
    assert_eq!(locked.installed(), "");
    let refused = Machine::new().root_user().with("WGVQ_INSTALL", "no");
    refused.set_up().stopped(&["WGVQ_INSTALL=no", APT]);
    assert_eq!(refused.installed(), "");
}

#[test]
fn each_package_manager_is_told_its_own_names() {
    for (tool, command) in [
        ("dnf", "dnf install -y mesa-vulkan-drivers vulkan-loader"),
        (
            "pacman",
            "pacman -S --needed --noconfirm vulkan-swrast vulkan-icd-loader",
        ),
        ("apk", "apk add mesa-vulkan-swrast vulkan-loader"),
    ] {
        let machine = Machine::new().without("apt-get");
        machine.tool(tool, "exit 0");
        machine.set_up().stopped(&[command]);
    }
    Machine::new()
        .without("apt-get")
        .set_up()
        .stopped(&["no package manager", "libvulkan.so.1"]);
}

#[test]
fn old_package_lists_are_renewed_once() {
    let machine = Machine::new().root_user();
    let (log, icd, lib) = (
        machine.path("installed"),
        machine.path("icd.d"),
        machine.path("lib"),
    );
    let updated = machine.path("updated");
    machine.tool(
        "apt-get",
        &format!(
            "echo \"$1\" >> {}\nif [ \"$1\" = update ]; then touch {u}; exit 0; fi\n[ -e {u} ] || \
             exit 100\ntouch {}/libvulkan.so.1 {}/lvp_icd.json",
            log.display(),
            lib.display(),
            icd.display(),
            u = updated.display()
        ),
    );
    machine.set_up().ready();
    assert_eq!(machine.installed(), "install\nupdate\ninstall\n");
}

#[test]
fn a_failed_installation_is_no_success() {
    let machine = Machine::new().root_user();
    machine.tool("apt-get", "exit 100");
    machine.set_up().stopped(&["failed", APT]);
    machine.tool("apt-get", "exit 0");
    machine
        .set_up()
        .stopped(&["still there is no usable Vulkan driver"]);
}

#[test]
fn half_a_driver_is_none() {
    let no_loader = Machine::new().driver();
    fs::remove_file(no_loader.path("lib/libvulkan.so.1")).unwrap();
    no_loader.set_up().stopped(&[APT]);
    let no_manifest = Machine::new().driver();
    fs::remove_file(no_manifest.path("icd.d/lvp_icd.x86_64.json")).unwrap();
    no_manifest.set_up().stopped(&[APT]);
    // What the loader is told to use is what counts.
    Machine::new()
        .driver()
        .with("VK_DRIVER_FILES", "/nowhere/icd.json")
        .set_up()
        .stopped(&[APT]);
}

#[test]
fn missing_or_old_build_tools_are_named_with_the_way_to_get_them() {
    Machine::new()
        .driver()
        .without("cargo")
        .set_up()
        .stopped(&["cargo", "https://sh.rustup.rs"]);
    Machine::new()
        .driver()
        .without("cc")
        .set_up()
        .stopped(&["C linker", "apt-get install -y gcc libc6-dev"]);
    let headless = Machine::new().driver();
    headless.tool("cc", "echo 'cannot find crt1.o' >&2; exit 1");
    headless.set_up().stopped(&["C linker", "libc6-dev"]);
    let old = Machine::new().driver();
    old.tool("cargo", "echo 'cargo 1.60.0 (0000000 2022-01-01)'");
    old.set_up()
        .stopped(&["Rust 1.60.0 is older than", "rustup update"]);
}

#[test]
fn cargo_is_found_where_rustup_puts_it() {
    let machine = Machine::new().driver();
    let folder = machine.path("home/.cargo/bin");
    fs::create_dir_all(&folder).unwrap();
    fs::rename(machine.path("bin/cargo"), folder.join("cargo")).unwrap();
    machine.set_up().ready();
}

#[test]
fn the_runtime_folder_is_made_and_removed() {
    let machine = Machine::new().driver();
    let outcome = machine.set_up();
    let made = outcome
        .ready()
        .said
        .lines()
        .find_map(|l| l.strip_prefix("runtime "))
        .unwrap()
        .to_owned();
    assert!(
        Path::new(&made).starts_with(machine.root.path()) && !Path::new(&made).exists(),
        "{made}"
    );
    let kept = Machine::new()
        .driver()
        .with("XDG_RUNTIME_DIR", "/run/user/1000")
        .set_up();
    assert!(kept.ready().said.contains("runtime /run/user/1000"));
}

/// The tools of `scripts/check_docs.sh`, as a machine has them where Python cannot make a virtual
/// environment until its package is installed.
fn with_half_a_python(machine: Machine) -> Machine {
    machine.tool(
        "python3",
        &format!(
            "case \"$*\" in\n'-m venv'*) [ -e {lib}/libvulkan.so.1 ] || exit 1\n    /bin/mkdir -p \
             \"$3/bin\"\n    printf '#!/bin/bash\\necho typos \"$@\"\\n' >\"$3/bin/typos\"\n    \
             /bin/ln -s /bin/true \"$3/bin/python\"\n    /bin/chmod +x \"$3/bin/typos\" ;;\n'-m \
             pip'*) exit 1 ;;\nscripts/*) echo links ;;\nesac",
            lib = machine.path("lib").display()
        ),
    );
    let tools = machine.path("tools").display().to_string();
    machine.with("WGVQ_TOOLS", &tools)
}

#[test]
fn the_speller_is_installed_with_what_it_needs() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check_docs.sh");
    let script = format!("'{}' && echo ready", script.display());
    let machine = with_half_a_python(Machine::new().root_user());
    machine.run(&script).ready();
    let installed = machine.installed();
    assert!(
        installed.contains("python3-venv") && !installed.contains("mesa"),
        "{installed}"
    );
    // The second time everything is there.
    let typos = machine.path("tools/python/bin/typos");
    fs::write(&typos, "#!/bin/bash\necho typos-cli 1.52.0\n").unwrap();
    machine.run(&script).ready();
    assert_eq!(machine.installed(), installed);
    let refused = with_half_a_python(Machine::new().root_user()).with("WGVQ_INSTALL", "no");
    refused
        .run(&script)
        .stopped(&["typos", "WGVQ_INSTALL=no", "pip install typos=="]);
    assert_eq!(refused.installed(), "");
    let bare = Machine::new().with("WGVQ_INSTALL", "no");
    bare.run(&script).stopped(&["apt-get install", "python3"]);
    // A misspelt word is a failure.
    fs::write(&typos, "#!/bin/bash\n[ \"$*\" ] && echo typos-cli 1.52.0\n").unwrap();
    assert_ne!(machine.run(&script).code, Some(0));
}

/// Seconds of each binary of tests, and of each module of the largest.
#[test]
fn seconds_of_tests_are_summed_by_group() {
    let case = |classname: &str, name: &str, seconds: &str| {
        format!(
            "        <testcase name=\"{name}\" classname=\"{classname}\" \
             timestamp=\"2026-01-01T00:00:00.000+00:00\" time=\"{seconds}\">\n        </testcase>\n"
        )
    };
    let report = [
        case("wgvq", "gpu::tests::one", "1.5"),
        case("wgvq::bin/wgvq", "cli::tests::two", "0.5"),
        case("wgvq::ops", "matmul: subgroup", "3"),
        case("wgvq::it", "gan::three", "10.1"),
        case("wgvq::it", "gan::deeper::four", "0.2"),
        case("wgvq::it", "vit::five", "4"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("junit.xml");
    let text = format!("<testsuites>\n{}</testsuites>\n", report.concat());
    fs::write(&file, text).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/test_times.awk");
    let out = Command::new("awk")
        .arg("-f")
        .args([&script, &file])
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let mut lines: Vec<&str> = said.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "0.5\tcommand line",
            "1.5\tlibrary",
            "10.3\tit gan",
            "3.0\tops",
            "4.0\tit vit"
        ]
    );
}
