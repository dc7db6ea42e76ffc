//! WGSL text to WGSL text: the few directives that hand-written kernels need.
//!
//! A kernel file is valid WGSL but for these lines, each at the start of a line:
//!
//! - `#import gemm/subgroup_tile` pastes `shaders/gemm/subgroup_tile.wgsl` here, each time it is written;
//! - `#ifdef NAME`, `#ifndef NAME`, `#else`, `#endif` choose by the variant's defines;
//! - `#unroll i 0 N` .. `#end` repeats its lines with `{i}` replaced; `N` is a number or a define, and the
//!   loops nest. Arrays that a loop indexes spill to memory on many drivers: `acc_{i}` does not.
//!
//! Every define becomes a `const NAME: u32` of the module. `enable` lines are hoisted to the top, as WGSL demands.

use crate::{Error, Result};
use std::fmt::Write;

/// One kernel file of `shaders/`, embedded. Made by [`shader!`](crate::shader).
#[derive(Debug)]
pub struct Source {
    /// The file's path below `shaders/`, without `.wgsl`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// Embeds `shaders/$name.wgsl` as a `&'static` [`Source`](crate::gpu::Source).
#[macro_export]
macro_rules! shader {
    ($name:literal) => {{
        static SOURCE: $crate::gpu::Source = $crate::gpu::Source {
            name: $name,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")),
        };
        &SOURCE
    }};
}

macro_rules! fragments {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl")))),*]
    };
}

/// What `#import` knows: pieces that several kernels share.
const FRAGMENTS: &[(&str, &str)] = fragments!["shared/activations", "shared/grid", "shared/philox", "shared/reduce"];

/// The final WGSL of `source` under `defines`.
pub fn preprocess(source: &Source, defines: &[(&str, u32)]) -> Result<String> {
    let mut out = Expander { file: source.name, defines, enables: Vec::new(), depth: 0 };
    let lines: Vec<&str> = source.text.lines().collect();
    let mut body = String::with_capacity(source.text.len() * 2);
    out.block(&lines, &[], &mut body)?;
    let mut text = String::with_capacity(body.len() + 256);
    for line in &out.enables {
        writeln!(text, "{line}").ok();
    }
    for (name, value) in defines {
        writeln!(text, "const {name}: u32 = {value}u;").ok();
    }
    text.push_str(&body);
    Ok(text)
}

struct Expander<'a> {
    file: &'a str,
    defines: &'a [(&'a str, u32)],
    enables: Vec<String>,
    depth: usize,
}

impl Expander<'_> {
    fn error(&self, what: String) -> Error {
        Error::Gpu { op: format!("shader {}", self.file), what }
    }

    fn defined(&self, name: &str) -> bool {
        self.defines.iter().any(|(n, _)| *n == name)
    }

    fn number(&self, text: &str) -> Result<u32> {
        if let Some((_, value)) = self.defines.iter().find(|(n, _)| *n == text) {
            return Ok(*value);
        }
        text.parse().map_err(|_| self.error(format!("#unroll bound `{text}` is neither a number nor a define")))
    }

    /// Writes `lines` to `out` with the loop variables of `vars` filled in.
    fn block(&mut self, lines: &[&str], vars: &[(String, u32)], out: &mut String) -> Result<()> {
        self.depth += 1;
        if self.depth > 16 {
            return Err(self.error("imports or loops nest deeper than 16".into()));
        }
        // One entry per open #ifdef: is this branch taken?
        let mut taken: Vec<bool> = Vec::new();
        let mut i = 0;
        while i < lines.len() {
            let line = lines[i];
            i += 1;
            let trimmed = line.trim_start();
            let mut words = trimmed.split_whitespace();
            match words.next() {
                Some("#ifdef") => taken.push(self.defined(words.next().unwrap_or_default())),
                Some("#ifndef") => taken.push(!self.defined(words.next().unwrap_or_default())),
                Some("#else") => match taken.last_mut() {
                    Some(t) => *t = !*t,
                    None => return Err(self.error("#else without #ifdef".into())),
                },
                Some("#endif") => {
                    if taken.pop().is_none() {
                        return Err(self.error("#endif without #ifdef".into()));
                    }
                }
                _ if taken.contains(&false) => {}
                Some("#import") => {
                    let name = words.next().unwrap_or_default();
                    let (_, text) = FRAGMENTS
                        .iter()
                        .find(|(n, _)| *n == name)
                        .ok_or_else(|| self.error(format!("#import of unknown `{name}`")))?;
                    let inner: Vec<&str> = text.lines().collect();
                    self.block(&inner, vars, out)?;
                }
                Some("#unroll") => {
                    let args: Vec<String> = words.map(|w| substitute(w, vars)).collect();
                    let [name, from, to] = args.as_slice() else {
                        return Err(self.error(format!("`{trimmed}`: expected #unroll NAME FROM TO")));
                    };
                    let (from, to) = (self.number(from)?, self.number(to)?);
                    let end = matching_end(&lines[i..]).ok_or_else(|| self.error("#unroll without #end".into()))?;
                    let body = &lines[i..i + end];
                    for value in from..to {
                        let mut inner = vars.to_vec();
                        inner.push((name.clone(), value));
                        self.block(body, &inner, out)?;
                    }
                    i += end + 1;
                }
                Some("#end") => return Err(self.error("#end without #unroll".into())),
                Some("enable") => {
                    if !self.enables.iter().any(|e| e == trimmed) {
                        self.enables.push(trimmed.to_owned());
                    }
                }
                _ => {
                    out.push_str(&substitute(line, vars));
                    out.push('\n');
                }
            }
        }
        if !taken.is_empty() {
            return Err(self.error("#ifdef without #endif".into()));
        }
        self.depth -= 1;
        Ok(())
    }
}

/// Index of the `#end` that closes the loop whose body starts at `lines[0]`.
fn matching_end(lines: &[&str]) -> Option<usize> {
    let mut open = 0;
    for (i, line) in lines.iter().enumerate() {
        match line.split_whitespace().next() {
            Some("#unroll") => open += 1,
            Some("#end") if open == 0 => return Some(i),
            Some("#end") => open -= 1,
            _ => {}
        }
    }
    None
}

/// Replaces `{name}` by the loop variable's value.
fn substitute(line: &str, vars: &[(String, u32)]) -> String {
    if vars.is_empty() || !line.contains('{') {
        return line.to_owned();
    }
    let mut text = line.to_owned();
    for (name, value) in vars {
        text = text.replace(&format!("{{{name}}}"), &value.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &'static str, defines: &[(&str, u32)]) -> Result<String> {
        let source = Source { name: "test", text };
        preprocess(&source, defines)
    }

    #[test]
    fn directives() {
        let text = "fn f() {\n#unroll i 0 N\n  let a_{i} = {i}u;\n#ifdef B\n  b_{i}();\n#endif\n#end\n}\nenable f16;\n";
        let wgsl = run(text, &[("N", 2), ("B", 1)]).unwrap();
        assert!(wgsl.starts_with("enable f16;\nconst N: u32 = 2u;\n"), "{wgsl}");
        assert!(wgsl.contains("let a_0 = 0u;\n  b_0();\n  let a_1 = 1u;\n  b_1();"), "{wgsl}");
        assert!(!run(text, &[("N", 2)]).unwrap().contains("b_0"));
    }

    #[test]
    fn nested_loops_see_outer_variables() {
        let wgsl = run("#unroll i 0 2\n#unroll j {i} 2\nx_{i}_{j}\n#end\n#end\n", &[]).unwrap();
        assert_eq!(wgsl, "x_0_0\nx_0_1\nx_1_1\n");
    }

    #[test]
    fn mistakes_are_errors() {
        for text in [
            "#unroll i 0 4\n",
            "#end\n",
            "#ifdef A\n",
            "#endif\n",
            "#else\n",
            "#import nowhere\n",
            "#unroll i 0 Q\n#end\n",
        ] {
            assert!(run(text, &[]).is_err(), "{text:?} was accepted");
        }
    }
}
