//! Tests that cannot run here say so in one form, which `scripts/test.sh` counts.

use std::io::Write;

/// Prints that `test` was not run and why, and adds the line to the file that `WGVQ_SKIPPED` names.
pub fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}");
    println!("{line}");
    if let Some(path) = std::env::var_os("WGVQ_SKIPPED") {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .expect("the list of skipped tests takes a line");
    }
}
