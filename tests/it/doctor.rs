//! `wgvq doctor` and `wgvq selftest` on machines that lack things.

use crate::common::{refused, run, stderr, stdout, text, wgvq};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

/// The findings of a call, by check and status.
fn findings(output: &Output) -> Vec<(String, String, Value)> {
    let text = stdout(output);
    text.lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect(line);
            let of = |name: &str| value[name].as_str().expect(name).to_owned();
            (of("check"), of("status"), value.clone())
        })
        .collect()
}

fn has(found: &[(String, String, Value)], check: &str, status: &str) -> bool {
    found.iter().any(|(c, s, _)| c == check && s == status)
}

#[test]
fn here_every_family_of_kernels_agrees_and_the_pace_is_measured() {
    let out = run(&["doctor", "--json"]);
    let found = findings(&out);
    assert!(out.status.success(), "{}", stdout(&out));
    for check in [
        "machine", "adapters", "features", "limits", "kernels", "pace",
    ] {
        assert!(
            has(&found, check, "ok") || has(&found, check, "warning"),
            "{check}: {}",
            stdout(&out)
        );
    }
    assert!(!found.iter().any(|(_, status, _)| status == "failed"));
    // Whatever is not as it should be comes with what to do.
    for (check, status, value) in &found {
        assert_eq!(value["advice"].is_string(), status != "ok", "{check}");
    }
    let kernels = found.iter().find(|f| f.0 == "kernels").unwrap();
    let named = kernels.2["found"].as_str().unwrap();
    for op in ["matmul", "conv2d", "attention", "vq_search", "adam"] {
        assert!(named.contains(op), "{op}: {named}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_driver_it_says_what_to_install() {
    let output = wgvq()
        .args(["doctor"])
        .env("VK_DRIVER_FILES", "/nonexistent/driver.json")
        .env_remove("VK_ICD_FILENAMES")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("FAILED   drivers"), "{text}");
    assert!(text.contains("unset VK_DRIVER_FILES"), "{text}");
    assert!(text.contains("FAILED   adapter"), "{text}");
    // An empty folder of drivers, as on a machine without any.
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.json");
    std::fs::write(&empty, "{}").unwrap();
    let output = wgvq()
        .args(["doctor", "--json"])
        .env("VK_DRIVER_FILES", &empty)
        .output()
        .unwrap();
    let found = findings(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(has(&found, "drivers", "failed") && has(&found, "drivers", "warning"));
}

/// The loader is a library of that name which is found first and is none.
#[cfg(target_os = "linux")]
#[test]
fn without_a_loader_it_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libvulkan.so.1"), "no library").unwrap();
    let without = |args: &[&str]| {
        let mut command = wgvq();
        command.args(args).env("LD_LIBRARY_PATH", folder.path());
        command.output().unwrap()
    };
    let output = without(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let found = findings(&output);
    assert!(has(&found, "loader", "failed") && has(&found, "adapter", "failed"));
    let loader = found.iter().find(|f| f.0 == "loader").unwrap();
    let advice = loader.2["advice"].as_str().unwrap();
    assert!(advice.contains("install"), "{advice}");
    // Other commands say so too, and leave nothing behind.
    let out = folder.path().join("run");
    let train = without(&["train", "--steps", "1", "--out", text(&out)]);
    refused(train, &["no usable GPU adapter", "install"]);
    assert!(!out.exists());
}

#[cfg(unix)]
#[test]
fn a_home_that_is_missing_or_cannot_be_read_is_a_warning() {
    // A file cannot be read as a folder, not even by a user who may read everything.
    let file = tempfile::NamedTempFile::new().unwrap();
    for home in ["/nonexistent/home".as_ref(), file.path()] {
        let output = wgvq()
            .args(["doctor", "--json"])
            .env("HOME", home)
            .env_remove("XDG_CACHE_HOME")
            .env_remove("WGVQ_TUNING")
            .output()
            .unwrap();
        let found = findings(&output);
        assert!(output.status.success(), "{}", stdout(&output));
        assert!(has(&found, "home", "warning"), "{}", stdout(&output));
        assert!(has(&found, "kernels", "ok"), "{}", stdout(&output));
    }
}

/// Somebody reads the first line of `wgvq selftest` and goes: it ends long before its work does.
#[test]
fn a_selftest_that_nobody_reads_ends() {
    let mut child = wgvq()
        .args(["selftest", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let first: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(first["pass"], true, "{line}");
    // What it says of its end is its own, not a signal's.
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_selftest_of_one_operation_runs_all_of_its_cases() {
    let out = run(&["selftest", "--op", "scale", "--json"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let line: Value = serde_json::from_str(stdout(&out).trim()).unwrap();
    let scale = wgvq::registry::find("scale").unwrap();
    assert_eq!(line["cases"], scale.cases().len());
    let chosen = wgvq::verify::chosen(scale).len();
    assert!(chosen < scale.cases().len(), "{chosen}");
}
