//! The folders that commands, and drivers for them, write to.

use super::Finding;
use std::env;
use std::path::{Path, PathBuf};
use wgvq::bench::tuning_folder;
use wgvq::storage::atomic::may_write_below;

/// Checks the working directory, the home, and the folders of caches.
pub(super) fn check() -> Vec<Finding> {
    let mut findings = vec![match may_write_below(Path::new("runs")) {
        Ok(()) => Finding::ok("runs", "runs can be written below the working directory"),
        Err(e) => Finding::warning(
            "runs",
            e.to_string(),
            "run wgvq in a folder of your own, or name another place by --out",
        ),
    }];
    let home = env::var_os("HOME").map(PathBuf::from);
    if let Some(home) = home.filter(|_| cfg!(unix)) {
        findings.push(match std::fs::read_dir(&home) {
            Ok(_) => Finding::ok("home", home.display().to_string()),
            Err(e) => Finding::warning(
                "home",
                format!("HOME is {}, which cannot be read: {e}", home.display()),
                "commands run without it; set HOME, or XDG_CACHE_HOME for caches alone, to a \
                 folder of this user, so that compiled kernels and tuning tables are kept",
            ),
        });
    }
    findings.push(tuning());
    findings.extend(driver_cache());
    findings
}

/// The folder of tuning tables.
fn tuning() -> Finding {
    let check = "cache";
    let Some(folder) = tuning_folder() else {
        return Finding::warning(
            check,
            "this system names no folder for caches",
            "set WGVQ_TUNING to a folder for tuning tables",
        );
    };
    match may_write_below(&folder) {
        Ok(()) => Finding::ok(check, format!("tuning tables in {}", folder.display())),
        Err(e) => Finding::warning(
            check,
            e.to_string(),
            "`wgvq tune` cannot keep its table there; set WGVQ_TUNING or XDG_CACHE_HOME to a \
             folder that this user may write",
        ),
    }
}

/// Mesa's cache of compiled kernels, where it can be told: without it every start compiles anew.
fn driver_cache() -> Option<Finding> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let check = "cache";
    let on = |name: &str| {
        let value = env::var(name).unwrap_or_default().to_lowercase();
        ["1", "true", "yes", "y"].contains(&value.as_str())
    };
    for name in ["MESA_SHADER_CACHE_DISABLE", "MESA_GLSL_CACHE_DISABLE"] {
        if on(name) {
            return Some(Finding::warning(
                check,
                format!("{name} is set: Mesa's drivers compile every kernel at every start"),
                format!("unset {name}"),
            ));
        }
    }
    let folder = match env::var_os("MESA_SHADER_CACHE_DIR").filter(|dir| !dir.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => dirs::cache_dir()?,
    };
    Some(match may_write_below(&folder) {
        Ok(()) => Finding::ok(
            check,
            format!("Mesa keeps compiled kernels in {}", folder.display()),
        ),
        Err(e) => Finding::warning(
            check,
            format!("Mesa's drivers cannot keep compiled kernels: {e}"),
            "every start compiles anew; set MESA_SHADER_CACHE_DIR to a folder that this user may \
             write",
        ),
    })
}
