//! Every branch of a kernel's text, for what a single variant would not show: done when the crate
//! is built.

use super::contract::{declared, fits, pattern};
use super::expand::{callers, imported, missing, mistake, reason, undeclared};
use super::expression::{Failure, evaluate, substitute, with_words};
use super::parse::{Line, Node, parse};
use super::{Library, SourceError, Value, Variables, is_define, is_name};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

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
        library,
        stack: Vec::new(),
        seen: HashSet::new(),
        found: Checked::default(),
    };
    checker.file(name, text, &mut Vec::new())?;
    Ok(checker.found)
}

struct Checker<'a> {
    library: Library<'a>,
    stack: Vec<(String, usize)>,
    /// Names that some branch has declared so far, loops' variables in them as `*`.
    seen: HashSet<String>,
    found: Checked,
}

impl Checker<'_> {
    fn error(&self, line: Line, what: String) -> SourceError {
        mistake(&self.stack, line.number, what)
    }

    fn file(&mut self, name: &str, text: &str, vars: &mut Variables) -> Result<(), SourceError> {
        let nodes = parse(name, text).map_err(|e| SourceError {
            imported_by: callers(&self.stack),
            ..e
        })?;
        self.stack.push((name.to_owned(), 0));
        // What this file declares is told from what stood before it.
        let before = std::mem::take(&mut self.seen);
        let mut provided = Vec::new();
        self.nodes(&nodes, vars, &before, &mut provided)?;
        for (line, names) in provided {
            for name in names.split_whitespace() {
                if !self
                    .seen
                    .iter()
                    .any(|declared| fits(declared, &pattern(name)))
                {
                    return Err(self.error(line, undeclared(name)));
                }
            }
        }
        self.seen.extend(before);
        self.stack.pop();
        Ok(())
    }

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

    /// Returns the line with `#for`'s words in place, and the rest of what braces hold left
    /// standing.
    fn fill(&mut self, line: Line, vars: &Variables) -> Result<String, SourceError> {
        substitute(line.text, |inner| {
            if let Some((_, Value::Word(word))) = vars.iter().rev().find(|(name, _)| name == inner)
            {
                return Ok(word.clone());
            }
            let text = format!("{{{inner}}}");
            self.value(inner, vars)
                .map_err(|failure| self.error(line, reason(&text, failure)))?;
            Ok(text)
        })
    }

    fn bound(&mut self, line: Line, text: &str, vars: &Variables) -> Result<(), SourceError> {
        let text = self.fill(Line { text, ..line }, vars)?;
        // What is left of braces has been looked at.
        let text = text.replace(['{', '}'], "");
        self.value(&text, vars)
            .map_err(|failure| self.error(line, reason(&text, failure)))
    }

    fn nodes<'t>(
        &mut self,
        nodes: &[Node<'t>],
        vars: &mut Variables,
        before: &HashSet<String>,
        provided: &mut Vec<(Line<'t>, String)>,
    ) -> Result<(), SourceError> {
        for node in nodes {
            match node {
                Node::Text(line) => {
                    let text = self.fill(*line, vars)?;
                    declared(&pattern_of(&text), &mut self.seen);
                }
                Node::Hoisted(line) => drop(self.fill(*line, vars)?),
                Node::Import(line) => {
                    let name = self.fill(*line, vars)?;
                    let text = imported(&name, self.library, &self.stack)
                        .map_err(|what| self.error(*line, what))?;
                    if let Some(top) = self.stack.last_mut() {
                        top.1 = line.number;
                    }
                    let own = self.seen.clone();
                    self.seen.extend(before.iter().cloned());
                    self.file(&name, text, vars)?;
                    self.seen
                        .retain(|name| own.contains(name) || !before.contains(name));
                    self.found.imports.insert(name);
                }
                Node::Requires(line) => {
                    for name in self.fill(*line, vars)?.split_whitespace() {
                        if !self.seen.contains(name) && !before.contains(name) {
                            return Err(self.error(*line, missing(name, self.stack.first())));
                        }
                    }
                }
                Node::Provides(line) => provided.push((*line, with_words(line.text, vars))),
                Node::Choice(arms) => {
                    for arm in arms {
                        if let Some((text, _)) = arm.condition {
                            let name = self.fill(Line { text, ..arm.line }, vars)?;
                            if !is_define(&name) {
                                return Err(self.error(
                                    arm.line,
                                    format!("`{name}` is no define: those are in capitals"),
                                ));
                            }
                            self.found.defines.insert(name);
                        }
                        self.nodes(&arm.body, vars, before, provided)?;
                    }
                }
                Node::Unroll(line, [name, from, to], body) => {
                    self.bound(*line, from, vars)?;
                    self.bound(*line, to, vars)?;
                    if !is_name(name) || is_define(name) {
                        return Err(self.error(
                            *line,
                            format!("`{name}`: a loop's variable is in small letters"),
                        ));
                    }
                    vars.push((name.to_string(), Value::Number(1)));
                    self.nodes(body, vars, before, provided)?;
                    vars.pop();
                }
                Node::For(line, rows, body) => {
                    for row in &rows.rows {
                        let around = vars.len();
                        for (name, word) in rows.names.iter().zip(row) {
                            let word = self.fill(
                                Line {
                                    text: word,
                                    ..*line
                                },
                                vars,
                            )?;
                            vars.push((name.to_string(), Value::Word(word)));
                        }
                        self.nodes(body, vars, before, provided)?;
                        vars.truncate(around);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns a value of the expression where every define is 1.
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

/// Returns the line with `*` where a loop's variable stands in a name. Braces of WGSL's stay.
fn pattern_of(line: &str) -> String {
    substitute(line, |_| Ok::<_, std::convert::Infallible>("*".into())).unwrap_or_default()
}
