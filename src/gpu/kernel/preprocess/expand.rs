//! The final text of one variant.

use super::contract::declared;
use super::expression::{Failure, evaluate, substitute};
use super::parse::Line;
use super::walk::{Files, Reading, read, reason, word};
use super::{Library, SourceError, Value, Variables};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;

/// Loops are for what registers hold: more is a mistake in their bounds.
const MOST_REPEATS: usize = 4096;

/// The final WGSL of a variant.
#[derive(Debug, Default)]
pub struct Expanded {
    /// The text.
    pub text: String,
    files: Vec<String>,
    /// The file and line that each line of the text came from.
    origins: Vec<Option<(usize, usize)>>,
}

impl Expanded {
    /// Returns where line `line` (from 1 on) of the text came from: the file's path below
    /// `shaders/`, and its line.
    pub fn origin(&self, line: usize) -> Option<(&str, usize)> {
        let (file, line) = (*self.origins.get(line.checked_sub(1)?)?)?;
        Some((&self.files[file], line))
    }
}

/// Returns the final WGSL of `text`, the file `name`, under `defines`.
///
/// # Errors
/// If a directive, an import, or a name in braces or in a contract is not known, with the file and
/// line.
pub fn expand<'a, 'd>(
    name: &str,
    text: &str,
    defines: &'d [(&'d str, u32)],
    library: Library<'a>,
) -> Result<Expanded, SourceError> {
    let mut expander = Expander {
        defines,
        files: Files::new(library),
        file: 0,
        start: 0,
        enables: Vec::new(),
        out: Expanded::default(),
    };
    read(&mut expander, name, text, &mut Vec::new())?;
    let Expander {
        enables, out: body, ..
    } = expander;
    let mut head = String::new();
    for line in &enables {
        writeln!(head, "{line}").ok();
    }
    for (name, value) in defines {
        writeln!(head, "const {name}: u32 = {value}u;").ok();
    }
    let above = vec![None; enables.len() + defines.len()];
    Ok(Expanded {
        text: head + &body.text,
        files: body.files,
        origins: [above, body.origins].concat(),
    })
}

struct Expander<'a, 'd> {
    defines: &'d [(&'d str, u32)],
    files: Files<'a>,
    /// The file that is being read, by its place in `out.files`.
    file: usize,
    /// Where its own text begins.
    start: usize,
    enables: Vec<String>,
    out: Expanded,
}

impl Expander<'_, '_> {
    fn value(&self, name: &str, vars: &Variables) -> Result<u32, Failure> {
        match vars.iter().rev().find(|(n, _)| n == name) {
            Some((_, Value::Number(value))) => Ok(*value),
            Some((_, Value::Word(word))) => evaluate(word, &|name| self.value(name, vars)),
            None => {
                let define = self
                    .defines
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| *value);
                define.ok_or_else(|| Failure::Unknown(name.to_owned()))
            }
        }
    }

    fn bound(&mut self, line: Line, text: &str, vars: &Variables) -> Result<u32, SourceError> {
        let text = self.fill(Line { text, ..line }, vars)?;
        evaluate(&text, &|name| self.value(name, vars))
            .map_err(|failure| self.files.error(line, reason(&text, failure)))
    }
}

impl<'a> Reading<'a> for Expander<'a, '_> {
    const EVERY_BRANCH: bool = false;
    type Around = [usize; 2];

    fn files(&mut self) -> &mut Files<'a> {
        &mut self.files
    }

    fn enter(&mut self, name: &str) -> Self::Around {
        let around = [self.file, self.start];
        self.out.files.push(name.to_owned());
        (self.file, self.start) = (self.out.files.len() - 1, self.out.text.len());
        around
    }

    fn leave(&mut self, around: Self::Around) {
        [self.file, self.start] = around;
    }

    fn fill(&mut self, line: Line, vars: &Variables) -> Result<String, SourceError> {
        substitute(line.text, |inner| {
            if let Some(word) = word(inner, vars) {
                return Ok(word.to_owned());
            }
            let value = evaluate(inner, &|name| self.value(name, vars));
            value.map(|v| v.to_string()).map_err(|failure| {
                let what = reason(&format!("{{{inner}}}"), failure);
                self.files.error(line, what)
            })
        })
    }

    fn text(&mut self, line: Line, text: String) {
        self.out.text.push_str(&text);
        self.out.text.push('\n');
        self.out.origins.push(Some((self.file, line.number)));
    }

    fn hoist(&mut self, text: String) {
        if !self.enables.contains(&text) {
            self.enables.push(text);
        }
    }

    fn takes(&mut self, _: Line, name: String, there: bool) -> Result<bool, SourceError> {
        Ok(self.defines.iter().any(|(define, _)| *define == name) == there)
    }

    fn values(
        &mut self,
        line: Line,
        [_, from, to]: [&str; 3],
        vars: &Variables,
    ) -> Result<Range<u32>, SourceError> {
        let values = self.bound(line, from, vars)?..self.bound(line, to, vars)?;
        if values.len() > MOST_REPEATS {
            let what = format!(
                "repeats its lines {} times, of {MOST_REPEATS} at most",
                values.len()
            );
            return Err(self.files.error(line, what));
        }
        Ok(values)
    }

    fn declared(&self) -> Cow<'_, HashSet<String>> {
        Cow::Owned(names_of(&self.out.text))
    }

    fn declared_here(&self) -> Cow<'_, HashSet<String>> {
        Cow::Owned(names_of(&self.out.text[self.start..]))
    }
}

fn names_of(text: &str) -> HashSet<String> {
    let mut names = HashSet::new();
    text.lines().for_each(|line| declared(line, &mut names));
    names
}
