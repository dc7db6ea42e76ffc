//! Imports as the sources state them: `use`, `pub use` and paths in bodies, resolved to the files
//! that define what they name. What only tests import (`#[cfg(test)]`) is left out.

use std::collections::{BTreeMap, BTreeSet};

/// A module's path below the crate's root.
type Path = Vec<String>;

/// The files of a crate, and what each imports.
pub struct Tree {
    /// Paths below `src/`.
    pub files: Vec<String>,
    /// The files that define what a file imports, by positions in [`Tree::files`]. A file that
    /// only offers what lies in its own folder under its own name (`pub use`) does not import it.
    pub imports: Vec<BTreeSet<usize>>,
}

/// Imports and modules that one file states.
#[derive(Default)]
struct Stated {
    /// Modules that it holds in itself.
    inline: Vec<Path>,
    /// Imports: the module that imports, the name there, the path as written, whether others may
    /// see it.
    uses: Vec<(Path, String, Path, bool)>,
    /// Paths in bodies: the module, the path as written.
    paths: Vec<(Path, Path)>,
}

impl Tree {
    /// Reads sources, given as (path below `src/`, text).
    pub fn read(sources: &[(String, String)]) -> Tree {
        let modules: Vec<Path> = sources.iter().map(|(file, _)| module(file)).collect();
        let stated: Vec<Stated> = sources
            .iter()
            .zip(&modules)
            .map(|((_, text), at)| state(text, at))
            .collect();
        let mut names = Names {
            files: BTreeMap::new(),
            uses: BTreeMap::new(),
        };
        for (i, (at, said)) in modules.iter().zip(&stated).enumerate() {
            names.files.insert(at.clone(), i);
            names
                .files
                .extend(said.inline.iter().map(|inline| (inline.clone(), i)));
        }
        for (at, name, path, _) in stated.iter().flat_map(|said| &said.uses) {
            if let Some(absolute) = names.absolute(at, path) {
                names.uses.insert((at.clone(), name.clone()), absolute);
            }
        }
        let mut imports = vec![BTreeSet::new(); sources.len()];
        for (i, said) in stated
            .iter()
            .enumerate()
            .filter(|(i, _)| sources[*i].0 != "lib.rs")
        {
            let folder = sources[i]
                .0
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            let offers = |target: usize| {
                sources[i].0.ends_with("mod.rs") && sources[target].0.starts_with(folder)
            };
            let seen = said
                .uses
                .iter()
                .map(|(at, _, path, public)| (at, path, *public));
            let seen = seen.chain(said.paths.iter().map(|(at, path)| (at, path, false)));
            for (at, path, public) in seen {
                let Some(target) = names
                    .absolute(at, path)
                    .and_then(|path| names.file(&path, 0))
                else {
                    continue;
                };
                if target != i && !(public && offers(target)) && !modules[target].is_empty() {
                    imports[i].insert(target);
                }
            }
        }
        Tree {
            files: sources.iter().map(|(file, _)| file.clone()).collect(),
            imports,
        }
    }
}

struct Names {
    files: BTreeMap<Path, usize>,
    /// The items that names stand for in a module that imports them.
    uses: BTreeMap<(Path, String), Path>,
}

impl Names {
    /// The path from the crate's root; `None` for other crates'.
    fn absolute(&self, at: &Path, path: &[String]) -> Option<Path> {
        let first = path.first()?;
        let joined = |base: &[String], rest: &[String]| Some([base, rest].concat());
        match first.as_str() {
            "crate" | "wgvq" => joined(&[], &path[1..]),
            "self" => joined(at, &path[1..]),
            "super" => {
                let up = path.iter().take_while(|s| *s == "super").count();
                joined(at.get(..at.len().checked_sub(up)?)?, &path[up..])
            }
            name => {
                let child = [at.as_slice(), &[name.to_owned()]].concat();
                if self.files.contains_key(&child) {
                    return joined(at, path);
                }
                joined(self.uses.get(&(at.clone(), name.to_owned()))?, &path[1..])
            }
        }
    }

    /// The file that defines what a path from the root names, through whatever offers it under
    /// another.
    fn file(&self, path: &[String], depth: usize) -> Option<usize> {
        let known = (0..=path.len())
            .rev()
            .find(|n| self.files.contains_key(&path[..*n]))?;
        let offered = path
            .get(known)
            .and_then(|name| self.uses.get(&(path[..known].to_vec(), name.clone())));
        match offered {
            Some(target) if depth < 8 => {
                self.file(&[target.as_slice(), &path[known + 1..]].concat(), depth + 1)
            }
            _ => self.files.get(&path[..known]).copied(),
        }
    }
}

/// The module of a file: `gpu/mod.rs` is `gpu`, `lib.rs` and `main.rs` are the root.
fn module(file: &str) -> Path {
    let mut path: Path = file
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(
        path.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        path.pop();
    }
    path
}

/// Reads what a source states, in its module `at`.
fn state(text: &str, at: &Path) -> Stated {
    let tokens = tokens(text);
    let mut said = Stated::default();
    // Inline modules that are open, and the depth of braces at which each ends.
    let mut open: Vec<(String, usize)> = Vec::new();
    let (mut i, mut depth) = (0, 0);
    let word = |i: usize| tokens.get(i).map_or("", |t: &String| t.as_str());
    while i < tokens.len() {
        let here = || {
            at.iter()
                .cloned()
                .chain(open.iter().map(|(name, _)| name.clone()))
                .collect::<Path>()
        };
        match word(i) {
            "#" if (1..7).map(|k| word(i + k)).collect::<Vec<_>>()
                == ["[", "cfg", "(", "test", ")", "]"] =>
            {
                i = skip_item(&tokens, i + 7);
                continue;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                open.retain(|(_, end)| *end <= depth);
            }
            "mod" if word(i + 2) == "{" => {
                depth += 1;
                open.push((word(i + 1).to_owned(), depth));
                said.inline.push(
                    at.iter()
                        .cloned()
                        .chain(open.iter().map(|(name, _)| name.clone()))
                        .collect(),
                );
                i += 2;
            }
            "use" if word(i + 1) != "<" => {
                let public = i > 0 && (word(i - 1) == "pub" || word(i - 1) == ")");
                let mut leaves = Vec::new();
                let end = tree(&tokens, i + 1, &[], &mut leaves);
                said.uses.extend(
                    leaves
                        .into_iter()
                        .map(|(name, path)| (here(), name, path, public)),
                );
                i = end;
            }
            first
                if word(i + 1) == "::"
                    && i > 0
                    && word(i - 1) != "::"
                    && word(i - 1) != "."
                    && is_name(first) =>
            {
                let mut path = vec![first.to_owned()];
                while word(i + 1) == "::" && is_name(word(i + 2)) {
                    path.push(word(i + 2).to_owned());
                    i += 2;
                }
                said.paths.push((here(), path));
            }
            _ => {}
        }
        i += 1;
    }
    said
}

/// The position after an item that begins at `i`: past its `;`, or past the brace that closes it.
fn skip_item(tokens: &[String], mut i: usize) -> usize {
    let mut depth = 0;
    while i < tokens.len() {
        match tokens[i].as_str() {
            ";" | "," if depth == 0 => return i + 1,
            "{" | "(" | "[" => depth += 1,
            close @ ("}" | ")" | "]") => {
                depth -= 1;
                if depth == 0 && close == "}" {
                    return i + 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    i
}

/// The leaves of a use tree, as (name here, path); the position of what follows it.
fn tree(
    tokens: &[String],
    mut i: usize,
    prefix: &[String],
    leaves: &mut Vec<(String, Path)>,
) -> usize {
    let mut path = prefix.to_vec();
    while i < tokens.len() {
        match tokens[i].as_str() {
            "{" => {
                i += 1;
                while tokens[i] != "}" {
                    i = tree(tokens, i, &path, leaves);
                    if tokens[i] == "," {
                        i += 1;
                    }
                }
                return i + 1;
            }
            "::" => {}
            ";" | "," | "}" => break,
            "*" => {
                leaves.push(("*".to_owned(), path));
                return i + 1;
            }
            "as" => {
                leaves.push((tokens[i + 1].clone(), path));
                return i + 2;
            }
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        i += 1;
    }
    leaves.push((path.last().cloned().unwrap_or_default(), path));
    i
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single characters; no comments, no literals of text.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let c = chars[i];
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            while i < chars.len() && !(chars[i] == '*' && at(i + 1) == '/') {
                i += 1;
            }
            i += 2;
        } else if c == 'r'
            && (at(i + 1) == '"' || (at(i + 1) == '#' && matches!(at(i + 2), '#' | '"')))
        {
            let hashes = (i + 1..).take_while(|k| at(*k) == '#').count();
            i += hashes + 2;
            while i < chars.len() && !(chars[i] == '"' && (1..=hashes).all(|k| at(i + k) == '#')) {
                i += 1;
            }
            i += hashes + 1;
        } else if c == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        } else if c.is_alphanumeric() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            tokens.push(chars[start..i].iter().collect());
        } else if c == ':' && at(i + 1) == ':' {
            tokens.push("::".to_owned());
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            i += 1;
        }
    }
    tokens
}
