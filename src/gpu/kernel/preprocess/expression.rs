//! Whole-number expressions, and their values in place of `{..}`.

use super::{Value, Variables};
use std::convert::Infallible;

/// The reason why an expression has no value.
#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    /// It is not an expression.
    Syntax,
    /// A name that stands for nothing.
    Unknown(String),
    /// A number below 0 or past `u32`, or a division by 0.
    Range,
}

/// The value of a name.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Result<u32, Failure>;

/// The value of an expression of numbers, names, `+ - * / %` and parentheses, without spaces. Every
/// name is looked up, even where the value is out of range before.
pub(super) fn evaluate(text: &str, lookup: Lookup) -> Result<u32, Failure> {
    let mut rest = text;
    let value = sum(&mut rest, lookup)?;
    if rest.is_empty() {
        value.ok_or(Failure::Range)
    } else {
        Err(Failure::Syntax)
    }
}

/// A part of an expression; `None` is out of range.
type Part = Result<Option<u32>, Failure>;

fn operator(text: &mut &str, among: &[char]) -> Option<char> {
    let op = text.chars().next().filter(|op| among.contains(op))?;
    *text = &text[1..];
    Some(op)
}

fn sum(text: &mut &str, lookup: Lookup) -> Part {
    let mut value = product(text, lookup)?;
    while let Some(op) = operator(text, &['+', '-']) {
        let right = product(text, lookup)?;
        let apply = if op == '+' {
            u32::checked_add
        } else {
            u32::checked_sub
        };
        value = value.zip(right).and_then(|(a, b)| apply(a, b));
    }
    Ok(value)
}

fn product(text: &mut &str, lookup: Lookup) -> Part {
    let mut value = atom(text, lookup)?;
    while let Some(op) = operator(text, &['*', '/', '%']) {
        let right = atom(text, lookup)?;
        let apply = match op {
            '*' => u32::checked_mul,
            '/' => u32::checked_div,
            _ => u32::checked_rem,
        };
        value = value.zip(right).and_then(|(a, b)| apply(a, b));
    }
    Ok(value)
}

fn atom(text: &mut &str, lookup: Lookup) -> Part {
    if operator(text, &['(']).is_some() {
        let value = sum(text, lookup)?;
        return operator(text, &[')']).map(|_| value).ok_or(Failure::Syntax);
    }
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    *text = rest;
    match word.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) if !super::is_name(word) => Err(Failure::Syntax),
        Err(_) => match lookup(word) {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Range) => Ok(None),
            Err(failure) => Err(failure),
        },
    }
}

/// `line` with `value(expression)` for each `{expression}`. Comments stay as they are, and so do
/// braces around anything that a space, a sign of WGSL's or nothing follows.
pub(super) fn substitute<E>(
    line: &str,
    mut value: impl FnMut(&str) -> Result<String, E>,
) -> Result<String, E> {
    let code = line.find("//").unwrap_or(line.len());
    let (mut rest, comment) = line.split_at(code);
    let mut text = String::with_capacity(line.len());
    while let Some(open) = rest.find('{') {
        text.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        let close = inner.find(|c: char| !(c.is_ascii_alphanumeric() || "_+-*/%()".contains(c)));
        match close.filter(|close| *close > 0 && inner[*close..].starts_with('}')) {
            Some(close) => {
                text.push_str(&value(&inner[..close])?);
                rest = &inner[close + 1..];
            }
            None => {
                text.push('{');
                rest = inner;
            }
        }
    }
    text.push_str(rest);
    text.push_str(comment);
    Ok(text)
}

/// `line` with the words of `#for` in their places, and all other braces as they are.
pub(super) fn with_words(line: &str, vars: &Variables) -> String {
    let word = |inner: &str| match vars.iter().rev().find(|(name, _)| name == inner) {
        Some((_, Value::Word(word))) => word.clone(),
        _ => format!("{{{inner}}}"),
    };
    substitute(line, |inner| Ok::<_, Infallible>(word(inner))).unwrap_or_default()
}
