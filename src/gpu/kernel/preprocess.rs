//! WGSL text to WGSL text: the few directives that hand-written kernels need.
//!
//! A kernel file is valid WGSL but for these lines, each at the start of a line:
//!
//! - `#import gemm/subgroup_tile` pastes `shaders/gemm/subgroup_tile.wgsl` here, each time it is
//!   written;
//! - `#ifdef NAME`, `#ifndef NAME`, `#else`, `#endif` choose by the variant's defines;
//! - `#unroll i 0 N/4` .. `#end` repeats its lines with `{i}` replaced, and whole-number
//!   expressions of loop variables and defines too (`acc_{4*i+j}`); loops nest. Arrays that a loop
//!   indexes spill to memory on many drivers: named variables do not.
//!
//! Every define becomes a `const NAME: u32` of the module. `enable` and `diagnostic` lines are
//! hoisted to the top, as WGSL demands.

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
            text: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/shaders/",
                $name,
                ".wgsl"
            )),
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
const FRAGMENTS: &[(&str, &str)] = fragments![
    "attention/attention/begin",
    "attention/attention/keys",
    "attention/attention/mask",
    "attention/attention/operands",
    "loss/cross_entropy/logits",
    "loss/feature_distance/rows",
    "gemm/core",
    "gemm/accumulate",
    "gemm/operands",
    "gemm/stored",
    "gemm/coopmat",
    "gemm/coopmat_tiles",
    "gemm/subgroup",
    "gemm/tiled",
    "conv/max_pool/window",
    "shared/activations",
    "shared/grid",
    "shared/group_max",
    "shared/gumbel",
    "shared/ln_unit",
    "shared/philox",
    "shared/reduce",
    "shared/rows",
    "shared/sigmoid",
    "shared/srgb",
    "shared/tanh"
];

/// The final WGSL of `source` under `defines`.
pub fn preprocess(source: &Source, defines: &[(&str, u32)]) -> Result<String> {
    let mut out = Expander {
        file: source.name,
        defines,
        enables: Vec::new(),
        depth: 0,
    };
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
        Error::Gpu {
            op: format!("shader {}", self.file),
            what,
        }
    }

    fn defined(&self, name: &str) -> bool {
        self.defines.iter().any(|(n, _)| *n == name)
    }

    fn number(&self, text: &str, vars: &[(String, u32)]) -> Result<u32> {
        evaluate(text, &|name| self.value(name, vars)).ok_or_else(|| {
            self.error(format!(
                "#unroll bound `{text}` is no expression of numbers and defines"
            ))
        })
    }

    fn value(&self, name: &str, vars: &[(String, u32)]) -> Option<u32> {
        let var = vars.iter().rev().find(|(n, _)| n == name).map(|(_, v)| *v);
        var.or_else(|| {
            self.defines
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| *v)
        })
    }

    /// Replaces `{expression}` by its value where it is one; other braces are WGSL's.
    fn substitute(&self, line: &str, vars: &[(String, u32)]) -> String {
        if vars.is_empty() || !line.contains('{') {
            return line.to_owned();
        }
        let mut text = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(open) = rest.find('{') {
            text.push_str(&rest[..open]);
            let inner = &rest[open + 1..];
            let close =
                inner.find(|c: char| !(c.is_ascii_alphanumeric() || "_+-*/%()".contains(c)));
            let value = close
                .filter(|c| *c > 0 && inner[*c..].starts_with('}'))
                .and_then(|c| Some((c, evaluate(&inner[..c], &|name| self.value(name, vars))?)));
            match value {
                Some((c, value)) => {
                    text.push_str(&value.to_string());
                    rest = &inner[c + 1..];
                }
                None => {
                    text.push('{');
                    rest = inner;
                }
            }
        }
        text.push_str(rest);
        text
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
                    let args: Vec<&str> = words.collect();
                    let [name, from, to] = args.as_slice() else {
                        return Err(
                            self.error(format!("`{trimmed}`: expected #unroll NAME FROM TO"))
                        );
                    };
                    let (from, to) = (self.number(from, vars)?, self.number(to, vars)?);
                    let end = matching_end(&lines[i..])
                        .ok_or_else(|| self.error("#unroll without #end".into()))?;
                    let body = &lines[i..i + end];
                    for value in from..to {
                        let mut inner = vars.to_vec();
                        inner.push((name.to_string(), value));
                        self.block(body, &inner, out)?;
                    }
                    i += end + 1;
                }
                Some("#end") => return Err(self.error("#end without #unroll".into())),
                Some("enable" | "diagnostic(off,") => {
                    if !self.enables.iter().any(|e| e == trimmed) {
                        self.enables.push(trimmed.to_owned());
                    }
                }
                _ => {
                    out.push_str(&self.substitute(line, vars));
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

/// The value of a whole-number expression with `+ - * / %` and parentheses; `None` if it is not
/// one.
fn evaluate(text: &str, lookup: &dyn Fn(&str) -> Option<u32>) -> Option<u32> {
    fn sum(s: &mut &str, lookup: &dyn Fn(&str) -> Option<u32>) -> Option<u32> {
        let mut value = product(s, lookup)?;
        while let Some(op @ ('+' | '-')) = s.chars().next() {
            *s = &s[1..];
            let right = product(s, lookup)?;
            value = if op == '+' {
                value.checked_add(right)?
            } else {
                value.checked_sub(right)?
            };
        }
        Some(value)
    }
    fn product(s: &mut &str, lookup: &dyn Fn(&str) -> Option<u32>) -> Option<u32> {
        let mut value = atom(s, lookup)?;
        while let Some(op @ ('*' | '/' | '%')) = s.chars().next() {
            *s = &s[1..];
            let right = atom(s, lookup)?;
            value = match op {
                '*' => value.checked_mul(right)?,
                '/' => value.checked_div(right)?,
                _ => value.checked_rem(right)?,
            };
        }
        Some(value)
    }
    fn atom(s: &mut &str, lookup: &dyn Fn(&str) -> Option<u32>) -> Option<u32> {
        if let Some(inner) = s.strip_prefix('(') {
            *s = inner;
            let value = sum(s, lookup)?;
            *s = s.strip_prefix(')')?;
            return Some(value);
        }
        let end = s
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(s.len());
        let (word, rest) = s.split_at(end);
        *s = rest;
        word.parse().ok().or_else(|| lookup(word))
    }
    let mut rest = text;
    let value = sum(&mut rest, lookup)?;
    rest.is_empty().then_some(value)
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
        let text = "fn f() {\n#unroll i 0 N\n  let a_{i} = {i}u;\n#ifdef B\n  \
                    b_{i}();\n#endif\n#end\n}\nenable f16;\n";
        let wgsl = run(text, &[("N", 2), ("B", 1)]).unwrap();
        assert!(
            wgsl.starts_with("enable f16;\nconst N: u32 = 2u;\n"),
            "{wgsl}"
        );
        assert!(
            wgsl.contains("let a_0 = 0u;\n  b_0();\n  let a_1 = 1u;\n  b_1();"),
            "{wgsl}"
        );
        assert!(!run(text, &[("N", 2)]).unwrap().contains("b_0"));
    }

    #[test]
    fn nested_loops_see_outer_variables() {
        let wgsl = run("#unroll i 0 2\n#unroll j i 2\nx_{i}_{j}\n#end\n#end\n", &[]).unwrap();
        assert_eq!(wgsl, "x_0_0\nx_0_1\nx_1_1\n");
    }

    #[test]
    fn expressions_of_loop_variables_and_defines() {
        let wgsl = run(
            "#unroll q 0 N/4\nacc_{4*q+1}_{(q+3)%N}_{N}; if a {b} else {0} { q }\n#end\n",
            &[("N", 8)],
        )
        .unwrap();
        let body: Vec<&str> = wgsl.lines().skip(1).collect();
        assert_eq!(
            body,
            [
                "acc_1_3_8; if a {b} else 0 { q }",
                "acc_5_4_8; if a {b} else 0 { q }"
            ]
        );
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
