//! `#requires` and `#provides`: names that a text declares.

use std::collections::HashSet;

/// `text` with `*` for each `{..}`: names that loops make are compared by it.
pub(super) fn pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push('*');
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out
}

/// Whether `name` matches `pattern`, whose `*` stand for numbers or further patterns.
pub(super) fn fits(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let end = rest
                .find(|c: char| !(c.is_ascii_digit() || c == '*'))
                .unwrap_or(rest.len());
            end > 0 && fits(&rest[end..], after)
        }),
    }
}

/// Adds what `code` declares, a line without directives: functions, types, variables, constants,
/// parameters and members.
pub(super) fn declared(code: &str, names: &mut HashSet<String>) {
    let code = code.split("//").next().unwrap_or_default();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '*';
    let mut rest = code;
    let mut declares = false;
    while let Some(start) = rest.find(is_part) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        if matches!(
            word,
            "fn" | "struct" | "alias" | "let" | "var" | "const" | "override"
        ) {
            declares = true;
            // The address space of a `var`.
            if let (Some(inner), true) = (rest.strip_prefix('<'), word == "var") {
                rest = inner.split_once('>').map_or("", |(_, after)| after);
            }
        } else {
            if declares || rest.trim_start().starts_with(':') {
                names.insert(word.to_owned());
            }
            declares = false;
        }
    }
}
