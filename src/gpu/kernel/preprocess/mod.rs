//! WGSL text to WGSL text: the few directives that hand-written kernels need.
//!
//! A kernel file is WGSL but for lines that begin with one of these:
//!
//! - `#import shared/grid` pastes `shaders/shared/grid.wgsl` here, each time it is written;
//! - `#ifdef NAME`, `#ifndef NAME`, `#elif NAME` (else, if defined), `#else`, `#endif` choose by
//!   the variant's defines;
//! - `#unroll i 0 N/4` .. `#end` repeats its lines for each `i` from 0 to below `N/4`. Arrays that
//!   a loop indexes spill to memory on many drivers: named variables do not;
//! - `#for op in lhs rhs` .. `#end` repeats its lines for each word, `#for (op, SPAN) in (lhs,
//!   ROWS) (rhs, COLS)` for each pair of words: one text for things that differ by names;
//! - `#requires tile_row lane` says which names the text before this line must have declared
//!   (functions, types, variables, parameters), and `#provides acc_{v}_{c}` which ones this file
//!   declares: what a file and those that import it expect of each other;
//! - `enable ..;` and `diagnostic(off, ..);` are hoisted to the top, as WGSL demands.
//!
//! In every line, directives too, `{i}` stands for the value of a loop's variable, and `{4*i+N}`
//! for that of a whole-number expression of variables, defines and `+ - * / %`, without spaces; all
//! other braces are WGSL's. Loops' variables are in small letters where they are numbers, defines
//! in capitals. Every define becomes a `const NAME: u32` of the module.
//!
//! An unknown directive, import or name in braces is an error with the file and line. The build
//! script (`build.rs`) includes this module too, and [`check`]s every branch of every file with it.
//! So it depends on the standard library alone.

mod check;
mod contract;
mod expand;
mod expression;
mod parse;
#[cfg(test)]
mod tests;
mod walk;

pub use check::check;
pub use expand::{Expanded, expand};

use std::fmt;

/// A mistake in a kernel's text, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// The file's path below `shaders/`, without `.wgsl`.
    pub file: String,
    /// The line, from 1 on.
    pub line: usize,
    /// The mistake, and what would be right.
    pub what: String,
    /// The imports by which the file was reached, the innermost first.
    pub imported_by: Vec<(String, usize)>,
}

impl SourceError {
    /// Returns the mistake, and the imports by which the file was reached.
    pub fn what_and_imports(&self) -> String {
        let imports = self
            .imported_by
            .iter()
            .map(|(file, line)| format!(", imported by shaders/{file}.wgsl:{line}"));
        self.what.clone() + &imports.collect::<String>()
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "shaders/{}.wgsl:{}: {}",
            self.file,
            self.line,
            self.what_and_imports()
        )
    }
}

impl std::error::Error for SourceError {}

/// The text of a file that `#import` names, without `.wgsl`.
pub type Library<'a> = &'a dyn Fn(&str) -> Option<&'a str>;

/// The value of a loop's variable.
#[derive(Clone, Debug)]
enum Value {
    /// The variable of an `#unroll`.
    Number(u32),
    /// The variable of a `#for`.
    Word(String),
}

/// The variables of the loops around a line, the innermost last.
type Variables = Vec<(String, Value)>;

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_define(text: &str) -> bool {
    is_name(text)
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && !text.contains(|c: char| c.is_ascii_lowercase())
}
