//! A run's response to signals: a save for each that asks it to stop, nothing for one that was
//! ignored at the start.

use super::pictures;
use crate::common::{tiny_config, wgvq};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};

/// A training that would take very long, past its first step.
struct Running {
    child: Child,
    said: BufReader<ChildStderr>,
    out: PathBuf,
}

/// Makes steps take so long that what comes during one comes before its end, and leaves the
/// checkpoints out that are due without a signal.
const SLOW: [&str; 8] = [
    "--batch",
    "64",
    "--set",
    "model.hidden=128",
    "--set",
    "model.residual_hidden=64",
    "--set",
    "train.checkpoint_every=1000000",
];

/// Starts a training with these signals ignored, as `nohup` and shells start programs.
fn start(folder: &Path, ignored: &'static [i32], options: &[&str]) -> Running {
    let (config, out) = (folder.join("tiny.toml"), folder.join("run"));
    tiny_config(&config, 1_000_000);
    let mut command = wgvq();
    command
        .arg("train")
        .arg(&config)
        .arg("--data")
        .arg(pictures(folder))
        .arg("--out")
        .arg(&out)
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // SAFETY: `signal` may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            for signal in ignored {
                libc::signal(*signal, libc::SIG_IGN);
            }
            Ok(())
        });
    }
    let mut child = command.spawn().expect("the program starts");
    let said = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut running = Running { child, said, out };
    running.until("step ");
    running
}

fn signal(child: &Child, number: i32) {
    // SAFETY: the child is ours, and not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, number) }, 0);
}

impl Running {
    /// Reads on until a line begins so; gives that line.
    fn until(&mut self, start: &str) -> String {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            assert!(
                self.said.read_line(&mut line).expect("text") > 0,
                "it ended without `{start}`:\n{before}"
            );
            if line.starts_with(start) {
                return line;
            }
            before += &line;
        }
    }

    fn signal(&self, number: i32) {
        signal(&self.child, number);
    }

    /// Waits for the end; gives the exit code and what was said last.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("text");
        let status = self.child.wait().expect("it is waited for once");
        assert_eq!(status.signal(), None, "it died: {rest}");
        (status.code(), rest)
    }
}

fn checkpoints(out: &Path) -> usize {
    std::fs::read_dir(out.join("checkpoints")).map_or(0, Iterator::count)
}

#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let folder = tempfile::tempdir().unwrap();
    // As `nohup wgvq train &` in a script.
    let running = start(folder.path(), &[libc::SIGHUP, libc::SIGINT], &[]);
    let pid = running.child.id();
    let caught = |name: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mask = status
            .lines()
            .find_map(|l| l.strip_prefix(name).map(|v| v.trim().to_owned()));
        mask.map(|m| u64::from_str_radix(&m, 16).expect("a mask"))
    };
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGINT] {
        running.signal(signal);
    }
    if let Some(ignored) = caught("SigIgn:") {
        let bit = |signal: i32| ignored >> (signal - 1) & 1;
        assert_eq!(
            (bit(libc::SIGHUP), bit(libc::SIGINT), bit(libc::SIGTERM)),
            (1, 1, 0)
        );
    }
    running.signal(libc::SIGTERM);
    let out = running.out.clone();
    let (code, said) = running.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(
        said.contains("stopped and saved") && !said.contains("Ctrl-C"),
        "{said}"
    );
    assert!(checkpoints(&out) > 0);
}

#[test]
fn a_repeated_request_to_stop_waits_for_the_save() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), &[], &[]);
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGTERM, libc::SIGHUP] {
        running.signal(signal);
    }
    let out = running.out.clone();
    let (code, said) = running.end();
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("stopped and saved at step"), "{said}");
    assert!(checkpoints(&out) > 0);
}

#[test]
fn only_a_second_interrupt_leaves_at_once_and_does_not_claim_a_save() {
    let folder = tempfile::tempdir().unwrap();
    // Steps that take so long that the second one comes within one.
    let mut running = start(folder.path(), &[], &SLOW);
    running.signal(libc::SIGINT);
    running.until("finishing this step");
    running.signal(libc::SIGINT);
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("not saved") && !said.contains("stopped and saved"),
        "{said}"
    );
}

#[test]
fn with_nobody_left_to_read_a_run_is_saved_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Running {
        mut child,
        said,
        out,
    } = start(folder.path(), &[], &[]);
    // The reading end of its standard error goes.
    drop(said);
    signal(&child, libc::SIGHUP);
    signal(&child, libc::SIGTERM);
    let status = child.wait().expect("it is waited for once");
    assert_eq!(status.code(), Some(130), "{status:?}");
    assert!(checkpoints(&out) > 0);
}

#[test]
fn with_nobody_left_to_read_every_signal_is_still_heard() {
    let folder = tempfile::tempdir().unwrap();
    let Running {
        mut child,
        said,
        out,
    } = start(folder.path(), &[], &SLOW);
    drop(said);
    let status = loop {
        // As somebody who presses Ctrl-C over and over; two that come at once may be one.
        signal(&child, libc::SIGINT);
        if let Some(status) = child.try_wait().expect("it is waited for") {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(1), "{status:?}");
    assert_eq!(checkpoints(&out), 0);
}
