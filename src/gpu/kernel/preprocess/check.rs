//! Every branch of a kernel's text, for what a single variant would not show: done when the crate
//! is built.

use super::contract::declared;
use super::expression::{Failure, evaluate, substitute};
use super::parse::Line;
use super::walk::{Files, Reading, read, reason, word};
use super::{Library, SourceError, Value, Variables, is_define, is_name};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

/// The defines and imports that a checked text refers to.
#[derive(Debug, Default, PartialEq)]
pub struct Checked {
    /// The files that it imports, by itself or by way of others.
    pub imports: BTreeSet<String>,
    /// The defines that it knows, in conditions and in expressions.
    pub defines: BTreeSet<String>,
}

/// Checks every branch of `text`, the file `name`: directives, imports, names in braces, and
/// contracts as far as some branch must meet them. Whatever is written as a define counts as one.
///
/// # Errors
/// Returns the file and line of the first mistake.
pub fn check(name: &str, text: &str, library: Library) -> Result<Checked, SourceError> {
    let mut checker = Checker {
        files: Files::new(library),
        before: HashSet::new(),
        seen: HashSet::new(),
        found: Checked::default(),
    };
    read(&mut checker, name, text, &mut Vec::new())?;
    checker.found.imports.remove(name);
    Ok(checker.found)
}

struct Checker<'a> {
    files: Files<'a>,
    /// Names that some branch had declared before the file that is being read.
    before: HashSet<String>,
    /// Those that one has declared in it so far; loops' variables in them as `*`.
    seen: HashSet<String>,
    found: Checked,
}

impl Checker<'_> {
    /// Checks that the expression has a value in some variant.
    fn value(&mut self, text: &str, vars: &Variables) -> Result<(), Failure> {
        let defines = RefCell::new(Vec::new());
        let value = any_value(text, vars, &defines);
        self.found.defines.extend(defines.into_inner());
        match value {
            // Of other defines it may be in range.
            Ok(_) | Err(Failure::Range) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn bound(&mut self, line: Line, text: &str, vars: &Variables) -> Result<(), SourceError> {
        let text = self.fill(Line { text, ..line }, vars)?;
        // What is left of braces has been looked at.
        let text = text.replace(['{', '}'], "");
        self.value(&text, vars)
            .map_err(|failure| self.files.error(line, reason(&text, failure)))
    }
}

impl<'a> Reading<'a> for Checker<'a> {
    const EVERY_BRANCH: bool = true;
    type Around = [HashSet<String>; 2];

    fn files(&mut self) -> &mut Files<'a> {
        &mut self.files
    }

    fn enter(&mut self, name: &str) -> Self::Around {
        self.found.imports.insert(name.to_owned());
        let seen = std::mem::take(&mut self.seen);
        let before = self.before.union(&seen).cloned().collect();
        [std::mem::replace(&mut self.before, before), seen]
    }

    fn leave(&mut self, [before, seen]: Self::Around) {
        self.before = before;
        self.seen.extend(seen);
    }

    /// `#for`'s words are put in place, and the rest of what braces hold is left standing.
    fn fill(&mut self, line: Line, vars: &Variables) -> Result<String, SourceError> {
        substitute(line.text, |inner| {
            if let Some(word) = word(inner, vars) {
                return Ok(word.to_owned());
            }
            let text = format!("{{{inner}}}");
            self.value(inner, vars)
                .map_err(|failure| self.files.error(line, reason(&text, failure)))?;
            Ok(text)
        })
    }

    fn text(&mut self, _: Line, text: String) {
        declared(&pattern_of(&text), &mut self.seen);
    }

    fn hoist(&mut self, _: String) {}

    fn takes(&mut self, line: Line, define: String, _: bool) -> Result<bool, SourceError> {
        if !is_define(&define) {
            let what = format!("`{define}` is no define: those are in capitals");
            return Err(self.files.error(line, what));
        }
        self.found.defines.insert(define);
        Ok(true)
    }

    /// One stands for all.
    fn values(
        &mut self,
        line: Line,
        [name, from, to]: [&str; 3],
        vars: &Variables,
    ) -> Result<Range<u32>, SourceError> {
        self.bound(line, from, vars)?;
        self.bound(line, to, vars)?;
        if !is_name(name) || is_define(name) {
            let what = format!("`{name}`: a loop's variable is in small letters");
            return Err(self.files.error(line, what));
        }
        Ok(1..2)
    }

    fn declared(&self) -> Cow<'_, HashSet<String>> {
        Cow::Owned(self.before.union(&self.seen).cloned().collect())
    }

    fn declared_here(&self) -> Cow<'_, HashSet<String>> {
        Cow::Borrowed(&self.seen)
    }
}

/// A value of the expression where every define is 1.
fn any_value(text: &str, vars: &Variables, defines: &RefCell<Vec<String>>) -> Result<u32, Failure> {
    evaluate(
        text,
        &|name| match vars.iter().rev().find(|(n, _)| n == name) {
            Some((_, Value::Number(value))) => Ok(*value),
            Some((_, Value::Word(word))) => any_value(word, vars, defines),
            None if is_define(name) => {
                defines.borrow_mut().push(name.to_owned());
                Ok(1)
            }
            None => Err(Failure::Unknown(name.to_owned())),
        },
    )
}

/// The line with `*` where a loop's variable stands in a name. Braces of WGSL's stay.
fn pattern_of(line: &str) -> String {
    substitute(line, |_| Ok::<_, std::convert::Infallible>("*".into())).unwrap_or_default()
}
