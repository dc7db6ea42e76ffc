//! A file's text as a tree of its directives.

use super::SourceError;

/// A line and its number, from 1 on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'t> {
    pub number: usize,
    pub text: &'t str,
}

#[derive(Debug)]
pub(super) enum Node<'t> {
    Text(Line<'t>),
    /// `enable` or `diagnostic`.
    Hoisted(Line<'t>),
    Import(Line<'t>),
    Requires(Line<'t>),
    Provides(Line<'t>),
    Choice(Vec<Arm<'t>>),
    /// Name, from, to.
    Unroll(Line<'t>, [&'t str; 3], Vec<Node<'t>>),
    For(Line<'t>, ForTable<'t>, Vec<Node<'t>>),
}

/// One way of an `#ifdef` .. `#endif`.
#[derive(Debug)]
pub(super) struct Arm<'t> {
    pub line: Line<'t>,
    /// The define, and whether it must be there; `None` for `#else`.
    pub condition: Option<(&'t str, bool)>,
    pub body: Vec<Node<'t>>,
}

/// The variables of a `#for` and their values in each round.
#[derive(Debug)]
pub(super) struct ForTable<'t> {
    pub names: Vec<&'t str>,
    pub rows: Vec<Vec<&'t str>>,
}

const DIRECTIVES: &str =
    "#import, #ifdef, #ifndef, #elif, #else, #endif, #unroll, #for, #end, #requires and #provides";

/// A block whose end has not been read yet.
enum Open<'t> {
    Choice(Vec<Arm<'t>>),
    Unroll(Line<'t>, [&'t str; 3]),
    For(Line<'t>, ForTable<'t>),
}

/// Returns the tree of `text`.
pub(super) fn parse<'t>(file: &str, text: &'t str) -> Result<Vec<Node<'t>>, SourceError> {
    let error = |line: Line, what: String| {
        Err(SourceError {
            file: file.to_owned(),
            line: line.number,
            what,
            imported_by: Vec::new(),
        })
    };
    let mut nodes: Vec<Node> = Vec::new();
    // What is open, and the nodes before it.
    let mut open: Vec<(Open, Vec<Node>)> = Vec::new();
    for (i, text) in text.lines().enumerate() {
        let line = Line {
            number: i + 1,
            text,
        };
        let trimmed = text.trim();
        let (word, rest) = trimmed
            .split_once(char::is_whitespace)
            .unwrap_or((trimmed, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        match word {
            "#ifdef" | "#ifndef" => {
                let [name] = words.as_slice() else {
                    return error(line, format!("`{word}` takes one define"));
                };
                let arm = Arm {
                    line,
                    condition: Some((*name, word == "#ifdef")),
                    body: Vec::new(),
                };
                open.push((Open::Choice(vec![arm]), std::mem::take(&mut nodes)));
            }
            "#elif" | "#else" => {
                let condition = match (word, words.as_slice()) {
                    ("#elif", [name]) => Some((*name, true)),
                    ("#else", []) => None,
                    ("#elif", _) => return error(line, "`#elif` takes one define".into()),
                    _ => {
                        return error(
                            line,
                            format!("`{trimmed}`: `#else` takes nothing; `#elif NAME` does"),
                        );
                    }
                };
                let Some((Open::Choice(arms), _)) = open.last_mut() else {
                    return error(line, format!("`{word}` without `#ifdef`"));
                };
                match arms.last_mut() {
                    Some(last) if last.condition.is_some() => {
                        last.body = std::mem::take(&mut nodes)
                    }
                    _ => return error(line, format!("`{word}` after `#else`")),
                }
                arms.push(Arm {
                    line,
                    condition,
                    body: Vec::new(),
                });
            }
            "#endif" => match open.pop() {
                Some((Open::Choice(mut arms), before)) => {
                    let body = std::mem::replace(&mut nodes, before);
                    if let Some(last) = arms.last_mut() {
                        last.body = body;
                    }
                    nodes.push(Node::Choice(arms));
                }
                _ => return error(line, "`#endif` without `#ifdef`".into()),
            },
            "#unroll" => {
                let [name, from, to] = words.as_slice() else {
                    return error(
                        line,
                        format!(
                            "`{trimmed}`: expected `#unroll NAME FROM TO`, without spaces within \
                             each"
                        ),
                    );
                };
                open.push((
                    Open::Unroll(line, [name, from, to]),
                    std::mem::take(&mut nodes),
                ));
            }
            "#for" => match rows(rest) {
                Some(rows) => open.push((Open::For(line, rows), std::mem::take(&mut nodes))),
                None => {
                    let what = "expected `#for NAME in WORD WORD ..` or `#for (NAME, NAME) in \
                                (WORD, WORD) (WORD, WORD) ..`";
                    return error(line, format!("`{trimmed}`: {what}"));
                }
            },
            "#end" => match open.pop() {
                Some((Open::Unroll(line, bounds), before)) => {
                    let body = std::mem::replace(&mut nodes, before);
                    nodes.push(Node::Unroll(line, bounds, body));
                }
                Some((Open::For(line, rows), before)) => {
                    let body = std::mem::replace(&mut nodes, before);
                    nodes.push(Node::For(line, rows, body));
                }
                _ => return error(line, "`#end` without `#unroll` or `#for`".into()),
            },
            "#import" => match words.len() {
                1 => nodes.push(Node::Import(Line {
                    text: rest.trim(),
                    ..line
                })),
                _ => return error(line, format!("`{trimmed}`: expected `#import FOLDER/FILE`")),
            },
            "#requires" => nodes.push(Node::Requires(Line { text: rest, ..line })),
            "#provides" => nodes.push(Node::Provides(Line { text: rest, ..line })),
            "enable" | "diagnostic(off," => nodes.push(Node::Hoisted(Line {
                text: trimmed,
                ..line
            })),
            _ if word.starts_with('#') => {
                return error(
                    line,
                    format!("no directive is called `{word}`; there are {DIRECTIVES}"),
                );
            }
            _ => nodes.push(Node::Text(line)),
        }
    }
    match open.pop() {
        None => Ok(nodes),
        Some((Open::Choice(arms), _)) => error(arms[0].line, "`#ifdef` without `#endif`".into()),
        Some((Open::Unroll(line, _), _)) => error(line, "`#unroll` without `#end`".into()),
        Some((Open::For(line, _), _)) => error(line, "`#for` without `#end`".into()),
    }
}

/// `NAME in WORD WORD`, or `(NAME, NAME) in (WORD, WORD) (WORD, WORD)`.
fn rows(text: &str) -> Option<ForTable<'_>> {
    let (names, words) = text.split_once(" in ")?;
    let names = group(&mut names.trim())?;
    let mut rest = words.trim();
    let mut rows = Vec::new();
    while !rest.is_empty() {
        rows.push(group(&mut rest).filter(|row| row.len() == names.len())?);
    }
    (!rows.is_empty() && names.iter().all(|name| super::is_name(name)))
        .then_some(ForTable { names, rows })
}

/// Takes a word, or several in parentheses, off the start of `text`.
fn group<'t>(text: &mut &'t str) -> Option<Vec<&'t str>> {
    let (inner, rest) = match text.strip_prefix('(') {
        Some(inner) => inner.split_once(')')?,
        None => text.split_once(char::is_whitespace).unwrap_or((text, "")),
    };
    *text = rest.trim_start();
    let words: Vec<&str> = inner.split(',').map(str::trim).collect();
    words
        .iter()
        .all(|word| !word.is_empty() && !word.contains(char::is_whitespace))
        .then_some(words)
}
