//! Kernel files as the crate has them: embedded, with what they import.

use super::preprocess::{self, Expanded, SourceError};
use crate::{Error, Result};

// `FRAGMENTS`: every file that another imports, by its path. The build script makes it.
include!(concat!(env!("OUT_DIR"), "/shaders.rs"));

/// One kernel file of `shaders/`, embedded. Made by [`shader!`](crate::shader).
#[derive(Debug, Eq)]
pub struct Source {
    /// The file's path below `shaders/`, without `.wgsl`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        // Nearly always the same one, whose text need not be read.
        std::ptr::eq(self, other) || (self.name == other.name && self.text == other.text)
    }
}

/// Embeds `shaders/$name.wgsl` as a `&'static` [`Source`](crate::gpu::Source).
#[macro_export]
macro_rules! shader {
    ($name:literal) => {{
        static SOURCE: $crate::gpu::Source = $crate::gpu::Source {
            name: $name,
            text: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/shaders/",
                $name,
                ".wgsl"
            )),
        };
        &SOURCE
    }};
}

fn fragment(name: &str) -> Option<&'static str> {
    FRAGMENTS
        .binary_search_by_key(&name, |(name, _)| name)
        .ok()
        .map(|at| FRAGMENTS[at].1)
}

/// Returns the final WGSL of `source` under `defines`.
///
/// # Errors
/// If the text has a mistake, with its file and line.
pub fn preprocess(source: &Source, defines: &[(&str, u32)]) -> Result<String> {
    Ok(expand(source, defines, None)?.text)
}

/// `planted` is read in place of the file of its name.
pub(super) fn expand(
    source: &Source,
    defines: &[(&str, u32)],
    planted: Option<&Source>,
) -> Result<Expanded> {
    let instead = |name: &str| planted.filter(|p| p.name == name).map(|p| p.text);
    let text = instead(source.name).unwrap_or(source.text);
    let library = |name: &str| instead(name).or_else(|| fragment(name));
    preprocess::expand(source.name, text, defines, &library).map_err(mistake)
}

impl Source {
    /// Checks every branch of the text, as the build script does with the crate's own, and returns
    /// the defines that it asks for.
    ///
    /// # Errors
    /// If it has a mistake, with its file and line.
    pub fn check(&self) -> Result<std::collections::BTreeSet<String>> {
        Ok(preprocess::check(self.name, self.text, &fragment)
            .map_err(mistake)?
            .defines)
    }
}

fn mistake(e: SourceError) -> Error {
    Error::Shader {
        file: format!("shaders/{}.wgsl", e.file),
        line: e.line,
        what: e.what_and_imports(),
    }
}
