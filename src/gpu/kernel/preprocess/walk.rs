//! The walk through a kernel's text and what it imports, which is the same whether one variant is
//! written out or every branch is looked at.

use super::contract::{fits, pattern};
use super::expression::{Failure, with_words};
use super::parse::{Line, Node, parse};
use super::{Library, SourceError, Value, Variables};
use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

/// The files that are being read.
pub(super) struct Files<'a> {
    library: Library<'a>,
    /// Each with the line that imports the next.
    stack: Vec<(String, usize)>,
}

impl<'a> Files<'a> {
    pub fn new(library: Library<'a>) -> Self {
        Files {
            library,
            stack: Vec::new(),
        }
    }

    /// Returns the imports that lead to a file which is about to be read, the innermost first.
    fn callers(&self) -> Vec<(String, usize)> {
        self.stack.iter().rev().cloned().collect()
    }

    /// Returns an error in a line of the file that is being read.
    pub fn error(&self, line: Line, what: String) -> SourceError {
        let mut files = self.callers().into_iter();
        let file = files
            .next()
            .map_or_else(|| "?".to_owned(), |(file, _)| file);
        SourceError {
            file,
            line: line.number,
            what,
            imported_by: files.collect(),
        }
    }

    /// Returns the text of an import.
    fn import(&mut self, line: Line, name: &str) -> Result<&'a str, SourceError> {
        if self.stack.iter().any(|(file, _)| file == name) {
            return Err(self.error(line, format!("`#import {name}` imports itself")));
        }
        let text = (self.library)(name).ok_or_else(|| {
            let what = format!("`#import {name}`: there is no shaders/{name}.wgsl");
            self.error(line, what)
        })?;
        if let Some(top) = self.stack.last_mut() {
            top.1 = line.number;
        }
        Ok(text)
    }

    /// Returns the error of a required name that nothing declares.
    fn missing(&self, line: Line, name: &str) -> SourceError {
        let file = self.stack.first().map_or("?", |(file, _)| file.as_str());
        let what = format!(
            "requires `{name}`, which shaders/{file}.wgsl must declare before it imports this"
        );
        self.error(line, what)
    }
}

/// One way to read a kernel's text.
pub(super) trait Reading<'a> {
    /// Whether every branch of a choice is read, or the first that is taken.
    const EVERY_BRANCH: bool;
    /// The state of a file, kept while one that it imports is read.
    type Around;

    fn files(&mut self) -> &mut Files<'a>;
    /// Begins a file.
    fn enter(&mut self, name: &str) -> Self::Around;
    /// Goes back to the file around it.
    fn leave(&mut self, around: Self::Around);
    /// Returns the line with what braces stand for.
    fn fill(&mut self, line: Line, vars: &Variables) -> Result<String, SourceError>;
    /// Takes a line of the kernel.
    fn text(&mut self, line: Line, text: String);
    /// Takes a line for the top of the kernel.
    fn hoist(&mut self, text: String);
    /// Returns whether the branch of this condition is read.
    fn takes(&mut self, line: Line, define: String, there: bool) -> Result<bool, SourceError>;
    /// Returns the values for which a loop's lines are read.
    fn values(
        &mut self,
        line: Line,
        name_from_to: [&str; 3],
        vars: &Variables,
    ) -> Result<Range<u32>, SourceError>;
    /// Returns the names that are declared so far.
    fn declared(&self) -> Cow<'_, HashSet<String>>;
    /// Returns those of the file that is being read, and of what it imports.
    fn declared_here(&self) -> Cow<'_, HashSet<String>>;
}

/// Reads a file.
pub(super) fn read<'a, R: Reading<'a>>(
    reading: &mut R,
    name: &str,
    text: &str,
    vars: &mut Variables,
) -> Result<(), SourceError> {
    let nodes = parse(name, text).map_err(|e| SourceError {
        imported_by: reading.files().callers(),
        ..e
    })?;
    reading.files().stack.push((name.to_owned(), 0));
    let around = reading.enter(name);
    let mut provided = Vec::new();
    read_nodes(reading, &nodes, vars, &mut provided)?;
    let unkept = {
        let own = reading.declared_here();
        let kept = |name: &str| own.iter().any(|declared| fits(declared, &pattern(name)));
        provided.into_iter().find_map(|(line, names)| {
            let name = names.split_whitespace().find(|name| !kept(name))?;
            Some((line, name.to_owned()))
        })
    };
    if let Some((line, name)) = unkept {
        let what = format!("provides `{name}`, and declares nothing of that name");
        return Err(reading.files().error(line, what));
    }
    reading.leave(around);
    reading.files().stack.pop();
    Ok(())
}

fn read_nodes<'a, 't, R: Reading<'a>>(
    reading: &mut R,
    nodes: &[Node<'t>],
    vars: &mut Variables,
    provided: &mut Vec<(Line<'t>, String)>,
) -> Result<(), SourceError> {
    for node in nodes {
        match node {
            Node::Text(line) => {
                let text = reading.fill(*line, vars)?;
                reading.text(*line, text);
            }
            Node::Hoisted(line) => {
                let text = reading.fill(*line, vars)?;
                reading.hoist(text);
            }
            Node::Import(line) => {
                let name = reading.fill(*line, vars)?;
                let text = reading.files().import(*line, &name)?;
                read(reading, &name, text, vars)?;
            }
            Node::Requires(line) => {
                let names = reading.fill(*line, vars)?;
                let missing = {
                    let declared = reading.declared();
                    names.split_whitespace().find(|n| !declared.contains(*n))
                };
                if let Some(name) = missing {
                    return Err(reading.files().missing(*line, name));
                }
            }
            Node::Provides(line) => provided.push((*line, with_words(line.text, vars))),
            Node::Choice(arms) => {
                for arm in arms {
                    let taken = match arm.condition {
                        None => true,
                        Some((text, there)) => {
                            let define = reading.fill(Line { text, ..arm.line }, vars)?;
                            reading.takes(arm.line, define, there)?
                        }
                    };
                    if taken {
                        read_nodes(reading, &arm.body, vars, provided)?;
                        if !R::EVERY_BRANCH {
                            break;
                        }
                    }
                }
            }
            Node::Unroll(line, name_from_to, body) => {
                for value in reading.values(*line, *name_from_to, vars)? {
                    vars.push((name_from_to[0].to_owned(), Value::Number(value)));
                    read_nodes(reading, body, vars, provided)?;
                    vars.pop();
                }
            }
            Node::For(line, rows, body) => {
                for row in &rows.rows {
                    let around = vars.len();
                    for (name, text) in rows.names.iter().zip(row) {
                        let word = reading.fill(Line { text, ..*line }, vars)?;
                        vars.push((name.to_string(), Value::Word(word)));
                    }
                    read_nodes(reading, body, vars, provided)?;
                    vars.truncate(around);
                }
            }
        }
    }
    Ok(())
}

/// Returns the word of a `#for` that a variable stands for.
pub(super) fn word<'v>(name: &str, vars: &'v Variables) -> Option<&'v str> {
    match vars.iter().rev().find(|(n, _)| n == name) {
        Some((_, Value::Word(word))) => Some(word),
        _ => None,
    }
}

/// Returns the reason why an expression has no value, for an error.
pub(super) fn reason(text: &str, failure: Failure) -> String {
    match failure {
        Failure::Unknown(name) => {
            format!("`{text}`: `{name}` is neither a loop's variable nor a define of this variant")
        }
        Failure::Range => format!("`{text}` is below 0, too large, or divides by 0"),
        Failure::Syntax => {
            format!("`{text}` is no expression of numbers, loops' variables and defines")
        }
    }
}
