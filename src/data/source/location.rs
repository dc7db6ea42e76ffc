//! The location of a set, as a configuration names it.

use std::path::{Path, PathBuf};

use crate::data::NAMED_SETS;
use crate::data::source::parquet;

/// The source under a name that holds from any working directory: a path in full, without `.` and
/// without a slash at its end. Built-in names stay as they are, and so does what names nothing
/// here.
pub fn absolute(source: &str) -> String {
    let path = Path::new(source);
    if is_built_in(source) || !is_there(source) {
        return source.to_owned();
    }
    let full = std::path::absolute(path).map(|full| full.components().collect::<PathBuf>());
    // A working directory that is no Unicode cannot be written into a configuration.
    full.ok()
        .and_then(|full| full.to_str().map(str::to_owned))
        .unwrap_or_else(|| source.to_owned())
}

/// Whether something is there that [`crate::data::open`] could open.
pub fn is_there(source: &str) -> bool {
    let fits = || parquet::matching(source).is_ok();
    is_built_in(source) || Path::new(source).exists() || parquet::is_pattern(source) && fits()
}

fn is_built_in(source: &str) -> bool {
    NAMED_SETS.iter().any(|(name, _)| *name == source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_name_and_a_built_in_name_stays() {
        let here = std::env::current_dir().unwrap();
        let full = here.join("src").to_str().unwrap().to_owned();
        for written in ["src", "./src", "src/", "././src/.", &full] {
            assert_eq!(absolute(written), full, "{written}");
        }
        assert_eq!(absolute("emoji"), "emoji");
        assert_eq!(
            absolute("my set, which lies nowhere"),
            "my set, which lies nowhere"
        );
        assert!(is_there("emoji") && is_there("./src") && !is_there("my set, which lies nowhere"));
    }
}
