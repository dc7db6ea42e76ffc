//! The folder of fetched sets and decoded images.

use std::path::PathBuf;

/// Returns the folder in which `scripts/data.sh` puts what it fetches: `$WGVQ_DATA`, else `wgvq`
/// below `$XDG_CACHE_HOME`, else below `~/.cache`.
pub fn cache_dir() -> PathBuf {
    let set = |key| {
        std::env::var_os(key)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = || std::env::home_dir().unwrap_or_default().join(".cache");
    set("WGVQ_DATA").unwrap_or_else(|| set("XDG_CACHE_HOME").unwrap_or_else(home).join("wgvq"))
}
