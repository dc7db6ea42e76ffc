//! The final text of one variant.

use super::contract::{declared, fits, pattern};
use super::expression::{Failure, evaluate, substitute, with_words};
use super::parse::{Line, Node, parse};
use super::{Library, SourceError, Value, Variables};
use std::collections::HashSet;
use std::fmt::Write;

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
        library,
        stack: Vec::new(),
        enables: Vec::new(),
        out: Expanded::default(),
    };
    expander.file(name, text, &mut Vec::new())?;
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
    library: Library<'a>,
    /// The files that are being read, each with the line that imports the next.
    stack: Vec<(String, usize)>,
    enables: Vec<String>,
    out: Expanded,
}

impl Expander<'_, '_> {
    fn error(&self, line: Line, what: String) -> SourceError {
        mistake(&self.stack, line.number, what)
    }

    fn file(&mut self, name: &str, text: &str, vars: &mut Variables) -> Result<(), SourceError> {
        let nodes = parse(name, text).map_err(|e| SourceError {
            imported_by: callers(&self.stack),
            ..e
        })?;
        self.stack.push((name.to_owned(), 0));
        let start = self.out.text.len();
        self.out.files.push(name.to_owned());
        self.nodes(&nodes, self.out.files.len() - 1, start, vars)?;
        self.stack.pop();
        Ok(())
    }

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

    fn fill<'t>(&self, line: Line<'t>, vars: &Variables) -> Result<String, SourceError> {
        substitute(line.text, |inner| {
            if let Some((_, Value::Word(word))) = vars.iter().rev().find(|(name, _)| name == inner)
            {
                return Ok(word.clone());
            }
            let value = evaluate(inner, &|name| self.value(name, vars));
            value
                .map(|v| v.to_string())
                .map_err(|failure| self.error(line, reason(&format!("{{{inner}}}"), failure)))
        })
    }

    fn bound(&self, line: Line, text: &str, vars: &Variables) -> Result<u32, SourceError> {
        let text = self.fill(Line { text, ..line }, vars)?;
        evaluate(&text, &|name| self.value(name, vars))
            .map_err(|failure| self.error(line, reason(&text, failure)))
    }

    /// `start` is where the file's own text begins.
    fn nodes(
        &mut self,
        nodes: &[Node],
        file: usize,
        start: usize,
        vars: &mut Variables,
    ) -> Result<(), SourceError> {
        let mut provided = Vec::new();
        for node in nodes {
            match node {
                Node::Text(line) => {
                    let text = self.fill(*line, vars)?;
                    self.out.text.push_str(&text);
                    self.out.text.push('\n');
                    self.out.origins.push(Some((file, line.number)));
                }
                Node::Hoisted(line) => {
                    let text = self.fill(*line, vars)?;
                    if !self.enables.contains(&text) {
                        self.enables.push(text);
                    }
                }
                Node::Import(line) => {
                    let name = self.fill(*line, vars)?;
                    let text = imported(&name, self.library, &self.stack)
                        .map_err(|what| self.error(*line, what))?;
                    if let Some(top) = self.stack.last_mut() {
                        top.1 = line.number;
                    }
                    self.file(&name, text, vars)?;
                }
                Node::Requires(line) => {
                    let before = names_of(&self.out.text);
                    for name in self.fill(*line, vars)?.split_whitespace() {
                        if !before.contains(name) {
                            return Err(self.error(*line, missing(name, self.stack.first())));
                        }
                    }
                }
                Node::Provides(line) => provided.push((*line, with_words(line.text, vars))),
                Node::Choice(arms) => {
                    for arm in arms {
                        let taken = match arm.condition {
                            None => true,
                            Some((text, there)) => {
                                let name = self.fill(Line { text, ..arm.line }, vars)?;
                                self.defines.iter().any(|(define, _)| *define == name) == there
                            }
                        };
                        if taken {
                            self.nodes(&arm.body, file, start, vars)?;
                            break;
                        }
                    }
                }
                Node::Unroll(line, [name, from, to], body) => {
                    let values = self.bound(*line, from, vars)?..self.bound(*line, to, vars)?;
                    if values.len() > MOST_REPEATS {
                        let what = format!(
                            "repeats its lines {} times, of {MOST_REPEATS} at most",
                            values.len()
                        );
                        return Err(self.error(*line, what));
                    }
                    for value in values {
                        vars.push((name.to_string(), Value::Number(value)));
                        self.nodes(body, file, start, vars)?;
                        vars.pop();
                    }
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
                        self.nodes(body, file, start, vars)?;
                        vars.truncate(around);
                    }
                }
            }
        }
        if !provided.is_empty() {
            let own = names_of(&self.out.text[start..]);
            for (line, names) in provided {
                for name in names.split_whitespace() {
                    if !own.iter().any(|declared| fits(declared, &pattern(name))) {
                        return Err(self.error(line, undeclared(name)));
                    }
                }
            }
        }
        Ok(())
    }
}

fn names_of(text: &str) -> HashSet<String> {
    let mut names = HashSet::new();
    text.lines().for_each(|line| declared(line, &mut names));
    names
}

/// Returns the imports that lead to a file which is about to be read, the innermost first.
pub(super) fn callers(stack: &[(String, usize)]) -> Vec<(String, usize)> {
    stack.iter().rev().cloned().collect()
}

/// Returns an error in a line of the file on top of `stack`.
pub(super) fn mistake(stack: &[(String, usize)], line: usize, what: String) -> SourceError {
    let (file, below) = stack
        .split_last()
        .map_or(("?", stack), |((file, _), below)| (file.as_str(), below));
    SourceError {
        file: file.to_owned(),
        line,
        what,
        imported_by: callers(below),
    }
}

/// The text of an import, or what is wrong with it.
pub(super) fn imported<'a>(
    name: &str,
    library: Library<'a>,
    stack: &[(String, usize)],
) -> Result<&'a str, String> {
    if stack.iter().any(|(file, _)| file == name) {
        return Err(format!("`#import {name}` imports itself"));
    }
    library(name).ok_or_else(|| format!("`#import {name}`: there is no shaders/{name}.wgsl"))
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

/// Returns the error text for a required name that nothing declares.
pub(super) fn missing(name: &str, entry: Option<&(String, usize)>) -> String {
    let file = entry.map_or("?", |(file, _)| file.as_str());
    format!("requires `{name}`, which shaders/{file}.wgsl must declare before it imports this")
}

/// Returns the error text for a file that does not declare what it provides.
pub(super) fn undeclared(name: &str) -> String {
    format!("provides `{name}`, and declares nothing of that name")
}
