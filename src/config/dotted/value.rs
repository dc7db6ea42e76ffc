//! Values of keys: read from a command's words by the type that a key has, and held against it.

use crate::config::nearest;
use toml::Value;

/// The type of a key's value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Whole,
    Number,
    Switch,
    Text,
    List(Box<Kind>),
    /// A word, or a list of numbers.
    WordOrNumbers,
}

/// The largest whole number of TOML.
const MOST: i64 = i64::MAX;

impl Kind {
    /// The kind of a key that holds `value`. `takes` says whether the key takes another: an empty
    /// list does not show what is in it.
    pub(crate) fn of(value: &Value, takes: &dyn Fn(&Value) -> bool) -> Kind {
        let samples = [Value::Float(0.5), Value::Integer(1), Value::Boolean(true)];
        let numbers = || takes(&Value::Array(vec![Value::Float(0.5)]));
        let word = || takes(&Value::String("none".into()));
        match value {
            Value::String(_) if numbers() => Kind::WordOrNumbers,
            Value::Array(_) if word() => Kind::WordOrNumbers,
            Value::Integer(_) => Kind::Whole,
            Value::Float(_) => Kind::Number,
            Value::Boolean(_) => Kind::Switch,
            Value::Array(_) => {
                let found = samples
                    .iter()
                    .find(|v| takes(&Value::Array(vec![(*v).clone()])));
                Kind::List(Box::new(
                    found.map_or(Kind::Text, |v| Kind::of(v, &|_| false)),
                ))
            }
            _ => Kind::Text,
        }
    }

    /// Returns its name with an article: `a whole number`.
    fn one(&self) -> String {
        match self {
            Kind::Whole => "a whole number".into(),
            Kind::Number => "a number".into(),
            Kind::Switch => "true or false".into(),
            Kind::Text => "a word".into(),
            Kind::WordOrNumbers => "a word, or a list of numbers, such as 0.5,1".into(),
            Kind::List(of) => format!(
                "a list of {}, such as {}",
                match **of {
                    Kind::Whole => "whole numbers",
                    Kind::Number => "numbers",
                    Kind::Switch => "true and false",
                    _ => "words",
                },
                match **of {
                    Kind::Whole => "8,5,5",
                    Kind::Number => "0.5,1",
                    Kind::Switch => "true,false",
                    _ => "one,two",
                }
            ),
        }
    }

    /// The value that the text stands for. Words need no quotes and lists no brackets; both may
    /// have them, as in TOML.
    ///
    /// # Errors
    /// Returns what is wrong with the text.
    pub(crate) fn read(&self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let not = || format!("`{text}` is not {}", self.one());
        match self {
            Kind::Whole => match (text.parse(), literal(text)) {
                (Ok(number), _) => Ok(Value::Integer(number)),
                (_, Some(number @ Value::Integer(_))) => Ok(number),
                _ if digits(text) => Err(beyond(text)),
                _ => Err(not()),
            },
            Kind::Number => match (text.parse(), literal(text)) {
                (Ok(number), _) => Ok(Value::Float(number)),
                (_, Some(Value::Float(number))) => Ok(Value::Float(number)),
                (_, Some(Value::Integer(number))) => Ok(Value::Float(number as f64)),
                _ => Err(not()),
            },
            Kind::Switch => text.parse().map(Value::Boolean).map_err(|_| not()),
            Kind::Text => {
                let quoted = |q: char| text.len() > 1 && text.starts_with(q) && text.ends_with(q);
                match (quoted('"') || quoted('\''), literal(text)) {
                    (true, Some(word @ Value::String(_))) => Ok(word),
                    (true, _) => Err(format!(
                        "{text} is no quoted text of TOML: between double quotes a backslash \
                         begins an escape, between single quotes all stands for itself"
                    )),
                    (false, _) => Ok(Value::String(text.to_owned())),
                }
            }
            Kind::WordOrNumbers => {
                let numbers = |c: char| c.is_ascii_digit() || "[+-.".contains(c);
                let of = match text.starts_with(numbers) {
                    true => Kind::List(Box::new(Kind::Number)),
                    false => Kind::Text,
                };
                of.read(text)
            }
            Kind::List(of) => {
                let inner = match (text.strip_prefix('['), text.ends_with(']')) {
                    (Some(rest), true) => rest.strip_suffix(']').unwrap_or(rest),
                    (None, false) => text,
                    _ => return Err(format!("{}: one of its brackets is missing", not())),
                };
                let mut parts = parts(inner);
                // A comma may stand behind the last, as in TOML.
                if parts.last().is_some_and(|last| last.trim().is_empty()) {
                    parts.pop();
                }
                let read = |part: &&str| match (part.trim(), &**of) {
                    ("", _) => Err(format!(
                        "{}: something is missing between two commas",
                        not()
                    )),
                    (part, of) => of
                        .read(part)
                        .map_err(|what| format!("{what}; expected {}", self.one())),
                };
                parts
                    .iter()
                    .map(read)
                    .collect::<Result<_, _>>()
                    .map(Value::Array)
            }
        }
    }

    /// Checks the type of a value from a file.
    ///
    /// # Errors
    /// Returns what is wrong with the value.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Kind::Whole, Value::Integer(number)) if *number < 0 => {
                Err(format!("{number} is not allowed: it must be at least 0"))
            }
            (Kind::Whole, Value::Integer(_))
            | (Kind::Number, Value::Float(_) | Value::Integer(_))
            | (Kind::Switch, Value::Boolean(_))
            | (Kind::Text | Kind::WordOrNumbers, Value::String(_)) => Ok(()),
            (Kind::WordOrNumbers, Value::Array(all)) => {
                all.iter().try_for_each(|value| Kind::Number.check(value))
            }
            (Kind::List(of), Value::Array(all)) => all.iter().try_for_each(|value| of.check(value)),
            _ => Err(format!(
                "{value} is a {}, expected {}",
                value.type_str(),
                self.one()
            )),
        }
    }
}

/// The scalar that the text is in TOML.
fn literal(text: &str) -> Option<Value> {
    // What holds a line break could begin another key.
    let one = !text.contains(['\n', '\r']);
    one.then(|| {
        format!("v = {text}")
            .parse::<toml::Table>()
            .ok()?
            .remove("v")
    })
    .flatten()
}

fn digits(text: &str) -> bool {
    let bare = text.strip_prefix(['+', '-']).unwrap_or(text);
    !bare.is_empty() && bare.chars().all(|c| c.is_ascii_digit() || c == '_')
}

fn beyond(text: &str) -> String {
    format!("{text} is out of range: whole numbers go from 0 to {MOST} (2^63 - 1)")
}

/// Splits at commas outside of quotes.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quote, mut escaped) = (Vec::new(), 0, None, false);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(q), c) if c == q && !escaped => quote = None,
            (None, '"' | '\'') if text[from..i].trim().is_empty() => quote = Some(c),
            (None, ',') => {
                parts.push(&text[from..i]);
                from = i + 1;
            }
            _ => {}
        }
        escaped = false;
    }
    parts.push(&text[from..]);
    parts
}

/// Returns a value as a message shows it; a number of 32 bits without the digits that widening gave
/// it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Float(x) if f64::from(*x as f32) == *x => (*x as f32).to_string(),
        _ => value.to_string(),
    }
}

/// Returns serde's message in the words of this crate: for an unknown word it names the known ones,
/// and the nearest.
pub(crate) fn serde_message(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown variant `") else {
        return message.to_owned();
    };
    // The word may hold backticks itself; what is known does not.
    let Some((word, known)) = rest.rsplit_once("`, expected ") else {
        return message.to_owned();
    };
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    unknown_word(word, &known)
}

/// `cat` is not known: it must be a, b or c; the nearest is `c`.
fn unknown_word(word: &str, known: &[&str]) -> String {
    let list = match known {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => known.concat(),
    };
    format!(
        "`{word}` is not known: it must be {list}; the nearest is `{}`",
        nearest(word, known.iter().copied())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(of: Kind) -> Kind {
        Kind::List(Box::new(of))
    }

    #[test]
    fn lists_are_read_with_and_without_brackets_and_quotes() {
        let words =
            |all: &[&str]| Value::Array(all.iter().map(|w| Value::String((*w).into())).collect());
        let of = list(Kind::Text);
        for text in [
            "row,column",
            "[row, column]",
            r#"["row","column"]"#,
            "['row', column,]",
            " row , \"column\" ",
        ] {
            assert_eq!(of.read(text).unwrap(), words(&["row", "column"]), "{text}");
        }
        assert_eq!(
            of.read(r#""a, b",'c"',d\"#).unwrap(),
            words(&["a, b", "c\"", "d\\"])
        );
        assert_eq!(of.read(r#""a\",b",c"#).unwrap(), words(&["a\",b", "c"]));
        for empty in ["", "[]", "[ ]"] {
            assert_eq!(of.read(empty).unwrap(), words(&[]), "{empty}");
            assert_eq!(
                list(Kind::Whole).read(empty).unwrap(),
                Value::Array(Vec::new())
            );
        }
        let numbers = Value::Array(vec![Value::Integer(8), Value::Integer(5)]);
        for text in ["8,5", "[8, 5]", "[8,5,]", "8, 0x5"] {
            assert_eq!(list(Kind::Whole).read(text).unwrap(), numbers, "{text}");
        }
        for (text, what) in [
            ("[8,5", "bracket"),
            ("8,5]", "bracket"),
            ("8,,5", "missing"),
            ("8,x", "`x`"),
        ] {
            let told = list(Kind::Whole).read(text).unwrap_err();
            assert!(
                told.contains(what) && told.contains("8,5,5"),
                "{text}: {told}"
            );
        }
    }

    #[test]
    fn a_word_or_numbers_is_either() {
        let (of, word) = (Kind::WordOrNumbers, Value::String("balanced".into()));
        for text in ["balanced", " balanced ", "\"balanced\""] {
            assert_eq!(of.read(text).unwrap(), word, "{text}");
        }
        let numbers = Value::Array(vec![Value::Float(1.0), Value::Float(0.5)]);
        for text in ["1,0.5", "[1, .5]", "+1,0.5,"] {
            assert_eq!(of.read(text).unwrap(), numbers, "{text}");
        }
        assert!(of.read("1,x").unwrap_err().contains("`x`"));
        of.check(&Value::Array(vec![Value::Integer(1)])).unwrap();
        of.check(&word).unwrap();
        for wrong in [Value::Boolean(true), Value::Array(vec![word])] {
            assert!(of.check(&wrong).unwrap_err().contains("number"));
        }
    }

    #[test]
    fn scalars_are_read_by_their_kind() {
        assert_eq!(Kind::Whole.read("1_000").unwrap(), Value::Integer(1000));
        assert_eq!(
            Kind::Whole.read("9223372036854775807").unwrap(),
            Value::Integer(i64::MAX)
        );
        for beyond in ["9223372036854775808", "99999999999999999999999999"] {
            let told = Kind::Whole.read(beyond).unwrap_err();
            assert!(
                told.contains("out of range") && told.contains("from 0 to 9223372036854775807"),
                "{told}"
            );
        }
        for wrong in ["1.5", "", "many", "1e3", "0x", "\"3\""] {
            assert!(
                Kind::Whole
                    .read(wrong)
                    .unwrap_err()
                    .contains("not a whole number"),
                "{wrong}"
            );
        }
        assert_eq!(Kind::Number.read("3").unwrap(), Value::Float(3.0));
        assert_eq!(Kind::Number.read("1_0.5").unwrap(), Value::Float(10.5));
        assert!(Kind::Number.read("x").unwrap_err().contains("not a number"));
        assert_eq!(Kind::Switch.read("false").unwrap(), Value::Boolean(false));
        assert!(
            Kind::Switch
                .read("no")
                .unwrap_err()
                .contains("true or false")
        );
        for (text, want) in [
            ("a b", "a b"),
            ("\"a b\"", "a b"),
            ("'c:\\x'", "c:\\x"),
            ("c:\\x", "c:\\x"),
            ("\"", "\""),
        ] {
            assert_eq!(
                Kind::Text.read(text).unwrap(),
                Value::String(want.into()),
                "{text}"
            );
        }
        assert!(
            Kind::Text
                .read("\"c:\\x\"")
                .unwrap_err()
                .contains("single quotes")
        );
        assert!(Kind::Text.read("\"a\" = \"b\"").is_err());
    }

    #[test]
    fn a_word_that_is_not_known_names_those_that_are() {
        let told =
            serde_message("unknown variant `colum`, expected one of `full`, `row`, `column`");
        assert_eq!(
            told,
            "`colum` is not known: it must be full, row or column; the nearest is `column`"
        );
        assert_eq!(
            super::serde_message("unknown variant `x`, expected `a`"),
            unknown_word("x", &["a"])
        );
        assert_eq!(super::serde_message("something else"), "something else");
    }
}
