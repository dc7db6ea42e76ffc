//! Lines of JSON, each of a kind whose fields `docs/json.md` lists.

#[cfg(debug_assertions)]
mod documented;

use crate::cli::common::output;
use serde::Serialize;

#[cfg(all(test, debug_assertions))]
pub use documented::check_value;

/// Prints a line of a kind.
pub fn print(kind: &str, line: &impl Serialize) {
    output::result(&text(kind, line));
}

/// Returns a line of a kind. Where the tests ask for it, in a build with debug assertions, a line
/// that is not as the page says ends the program.
pub fn text(kind: &str, line: &impl Serialize) -> String {
    // A line of our own types always serialises.
    let text = serde_json::to_string(line).unwrap_or_default();
    #[cfg(debug_assertions)]
    if std::env::var_os("WGVQ_CHECK_JSON").is_some() {
        documented::assert(kind, &text);
    }
    let _ = kind;
    text
}
