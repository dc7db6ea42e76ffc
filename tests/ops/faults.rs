//! Faults of the kinds that kernels have, as changes of a line of WGSL.

use std::ops::Range;

/// A change of one line of a file of `shaders/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The name under which such faults are counted.
    pub kind: &'static str,
    /// The line, from 0 on.
    pub line: usize,
    pub from: String,
    pub to: String,
}

impl Fault {
    /// Returns the file's text with the fault in it.
    pub fn plant(&self, text: &str) -> String {
        let lines = text.lines().enumerate().map(|(i, line)| {
            if i == self.line {
                self.to.as_str()
            } else {
                line
            }
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }
}

/// The operators between two operands, with a space on both sides, and the wrong one for each.
/// Without spaces, `<` is of a type.
const OPERATORS: [(&str, &str, &str); 10] = [
    (" < ", " <= ", "bound or tie"),
    (" <= ", " < ", "bound or tie"),
    (" > ", " >= ", "bound or tie"),
    (" >= ", " > ", "bound or tie"),
    (" + ", " - ", "sign"),
    (" - ", " + ", "sign"),
    (" += ", " -= ", "sign"),
    (" -= ", " += ", "sign"),
    ("max(", "min(", "extremum"),
    ("min(", "max(", "extremum"),
];

/// Returns every fault of these kinds that the text of a file may get.
pub fn faults(text: &str) -> Vec<Fault> {
    let mut found = Vec::new();
    let mut whole = true;
    for (line, full) in text.lines().enumerate() {
        // A comment is no code, and stays.
        let code = full.split("//").next().unwrap_or_default();
        let begins_statement = whole;
        let trimmed = code.trim();
        if !trimmed.is_empty() {
            whole = trimmed.starts_with('#') || trimmed.ends_with([';', '{', '}']);
        }
        let declares = [
            "#",
            "struct ",
            "@",
            "var<",
            "const ",
            "fn ",
            "enable ",
            "diagnostic(",
        ];
        if declares.iter().any(|word| trimmed.starts_with(word)) || !trimmed.contains(' ') {
            continue;
        }
        let mut add = |kind, range: Range<usize>, with: &str| {
            let mut to = full.to_owned();
            to.replace_range(range, with);
            let fault = Fault {
                kind,
                line,
                from: full.to_owned(),
                to,
            };
            if fault.to != fault.from && !found.contains(&fault) {
                found.push(fault);
            }
        };
        // Of a loop's head, only the bound: others would never end.
        let head = trimmed.starts_with("for ");
        for (operator, wrong, kind) in OPERATORS {
            for (at, _) in code.match_indices(operator) {
                let is_word = operator.ends_with('(')
                    && code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
                if !(is_word || head && kind != "bound or tie") {
                    add(kind, at..at + operator.len(), wrong);
                }
            }
        }
        if head {
            continue;
        }
        for (at, _) in code.match_indices(" * ") {
            if let Some(len) = operand(&code[at + 3..]) {
                add("lost factor", at..at + 3 + len, "");
            }
        }
        for inner in indices(code) {
            let index = &code[inner.clone()];
            add("off by one", inner.clone(), &format!("({index}) + 1"));
            if let Some(swapped) = swapped(index) {
                add("swapped index", inner, &swapped);
            }
        }
        for (one, other) in [(".x", ".y"), (".y", ".x"), (".z", ".x")] {
            for (at, _) in code.match_indices(one) {
                if !code[at + 2..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
                    add("swapped index", at..at + 2, other);
                }
            }
        }
        if let Some(write) = write(code, begins_statement) {
            add("missing write", write, "");
        }
    }
    found
}

/// Returns the length of the operand that a text begins with: a name or a number with what is
/// called, indexed or taken of it, or something in parentheses.
fn operand(text: &str) -> Option<usize> {
    let mut len = 0;
    loop {
        let rest = &text[len..];
        let next = rest.chars().next();
        len += match next {
            Some(c) if c.is_ascii_alphanumeric() || c == '_' || c == '.' => 1,
            Some('{') => rest.find('}')? + 1,
            Some('(' | '[') => closing(rest)? + 1,
            _ => break,
        };
    }
    (len > 0).then_some(len)
}

/// Returns where the bracket is closed that a text begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Returns the places of what stands in square brackets.
fn indices(code: &str) -> Vec<Range<usize>> {
    let open = code.match_indices('[');
    let inner = open.filter_map(|(at, _)| Some(at + 1..at + closing(&code[at..])?));
    inner.filter(|range| !range.is_empty()).collect()
}

/// Returns `c * b + a` of `a * b + c`.
fn swapped(index: &str) -> Option<String> {
    let (product, added) = index.split_once(" + ")?;
    let (a, b) = product.split_once(" * ")?;
    let plain = |text: &str| operand(text) == Some(text.len());
    (plain(a) && plain(b) && plain(added) && a != added).then(|| format!("{added} * {b} + {a}"))
}

/// Returns the place of an assignment that is a statement by itself: of the whole line, or alone in
/// the braces of one.
fn write(code: &str, begins_statement: bool) -> Option<Range<usize>> {
    let assigns = |text: &str| {
        let left = text.split([' ', '[', '.']).next().unwrap_or_default();
        let keyword = ["let", "var", "return", "if", "for", "else", "const", "_"].contains(&left);
        let is_name = left.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*');
        let operator = [" = ", " += ", " -= ", " *= ", " |= "]
            .iter()
            .any(|operator| text.contains(operator));
        let ends = text.ends_with(';') && text.matches(';').count() == 1;
        is_name && !keyword && operator && ends
    };
    let trimmed = code.trim();
    if begins_statement && assigns(trimmed) {
        let at = code.len() - code.trim_start().len();
        return Some(at..at + trimmed.len());
    }
    let open = code.find("{ ")? + 2;
    let close = code.rfind(" }").filter(|close| *close > open)?;
    assigns(&code[open..close]).then_some(open..close)
}

/// The kinds that there are, each on a line that shows it.
pub fn kinds_are_found() -> Result<(), libtest_mimic::Failed> {
    let text = "\
fn main() {
    // a * b + 1.0
    for (var i = lane; i < p.n; i += 64u) {
        if x[i] > best { best = x[i]; }
    }
    y[row * p.d + col] = 2.0 * x[i] + max(a, b);
    let t: vec4<f32> = a - b * tile_{v}.w;
}
";
    let found = faults(text);
    let kinds_of = |line: usize| -> Vec<(&str, String)> {
        let of = found.iter().filter(|fault| fault.line == line);
        of.map(|fault| (fault.kind, fault.to.trim().to_owned()))
            .collect()
    };
    let expected: [(usize, &[(&str, &str)]); 5] = [
        (1, &[]),
        (
            2,
            &[("bound or tie", "for (var i = lane; i <= p.n; i += 64u) {")],
        ),
        (
            3,
            &[
                ("bound or tie", "if x[i] >= best { best = x[i]; }"),
                ("off by one", "if x[(i) + 1] > best { best = x[i]; }"),
                ("off by one", "if x[i] > best { best = x[(i) + 1]; }"),
                ("missing write", "if x[i] > best {  }"),
            ],
        ),
        (
            5,
            &[
                ("sign", "y[row * p.d - col] = 2.0 * x[i] + max(a, b);"),
                ("sign", "y[row * p.d + col] = 2.0 * x[i] - max(a, b);"),
                ("extremum", "y[row * p.d + col] = 2.0 * x[i] + min(a, b);"),
                ("lost factor", "y[row + col] = 2.0 * x[i] + max(a, b);"),
                ("lost factor", "y[row * p.d + col] = 2.0 + max(a, b);"),
                (
                    "off by one",
                    "y[(row * p.d + col) + 1] = 2.0 * x[i] + max(a, b);",
                ),
                (
                    "swapped index",
                    "y[col * p.d + row] = 2.0 * x[i] + max(a, b);",
                ),
                (
                    "off by one",
                    "y[row * p.d + col] = 2.0 * x[(i) + 1] + max(a, b);",
                ),
                ("missing write", ""),
            ],
        ),
        (
            6,
            &[
                ("sign", "let t: vec4<f32> = a + b * tile_{v}.w;"),
                ("lost factor", "let t: vec4<f32> = a - b;"),
            ],
        ),
    ];
    for (line, expected) in expected {
        let found = kinds_of(line);
        let expected: Vec<(&str, String)> =
            expected.iter().map(|(k, t)| (*k, (*t).into())).collect();
        if found != expected {
            return Err(format!("line {line}: {found:#?}, expected {expected:#?}").into());
        }
    }
    let planted = found[0].plant(text);
    if !planted.contains("i <= p.n") || planted.lines().count() != text.lines().count() {
        return Err(planted.into());
    }
    Ok(())
}
