//! `wgvq doctor`: what this machine offers, whether it computes rightly, and what to do about what
//! is wrong.

mod device;
mod folders;
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
mod vulkan;

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use serde::Serialize;
use wgvq::Result;

/// Looks at the Vulkan loader, drivers, the adapter, its limits and features, memory, the folders
/// that commands write to; runs a kernel of each family against its reference; measures the pace.
/// Says what to do about each finding. Exit code 1 if something has to be done before `wgvq` works.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq doctor
  wgvq doctor --json
  wgvq doctor --adapter nvidia")]
pub struct Doctor {}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Warning,
    /// It does not work.
    Failed,
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    /// The finding.
    found: String,
    /// The way out.
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding {
            check,
            status: Status::Ok,
            found: found.into(),
            advice: None,
        }
    }
    fn warning(
        check: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding {
            status: Status::Warning,
            advice: Some(advice.into()),
            ..Finding::ok(check, found)
        }
    }
    fn failed(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            status: Status::Failed,
            ..Finding::warning(check, found, advice)
        }
    }
}

/// The findings so far, each printed when it is made: a later check may take seconds, or the driver
/// may end the process in it.
struct Report<'a> {
    global: &'a Global,
    warnings: usize,
    failures: usize,
    is_read: bool,
}

impl Report<'_> {
    fn add(&mut self, finding: Finding) {
        match finding.status {
            Status::Ok => {}
            Status::Warning => self.warnings += 1,
            Status::Failed => self.failures += 1,
        }
        if self.global.json {
            self.is_read &= output::is_read(&json::text("finding", &finding));
            return;
        }
        let mark = match finding.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "FAILED",
        };
        let text = format!("{:<8} {:<10} {}", mark, finding.check, finding.found);
        self.is_read &= output::is_read(&text);
        if let Some(advice) = finding.advice {
            self.is_read &= output::is_read(&format!("{:<8} {:<10} -> {advice}", "", ""));
        }
    }

    fn add_all(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }
}

impl Doctor {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let mut report = Report {
            global,
            warnings: 0,
            failures: 0,
            is_read: true,
        };
        report.add(machine());
        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        report.add_all(vulkan::check());
        report.add_all(folders::check());
        device::check(global, &mut report);
        let (failures, warnings) = (report.failures, report.warnings);
        if !global.json {
            output::result(&match (failures, warnings) {
                (0, 0) => "all is well".into(),
                (0, n) => format!("wgvq works here; warnings: {n}"),
                (n, _) => format!("wgvq does not work here; to be put right: {n}"),
            });
        }
        Ok(if failures == 0 {
            CommandStatus::Done
        } else {
            CommandStatus::Failed
        })
    }
}

/// The program, the system and its memory.
fn machine() -> Finding {
    let memory = match wgvq::memory::available() {
        u64::MAX => String::new(),
        bytes => format!(", {} MiB of memory free for it", bytes >> 20),
    };
    let found = format!(
        "wgvq {} on {} {}, {}{memory}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        super::bench::processor(),
    );
    match wgvq::memory::available() {
        bytes if bytes < 512 << 20 => Finding::warning(
            "machine",
            found,
            "training wants some 500 MiB: end other programs, or raise the limit of this process",
        ),
        _ => Finding::ok("machine", found),
    }
}
