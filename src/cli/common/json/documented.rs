//! Lines of JSON against the page that lists their fields.

use serde_json::{Map, Value};

const PAGE: &str = include_str!("../../../../docs/json.md");

/// A field of a kind.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    /// Its name, behind those of the objects and lists that it lies in: `a[].b`, `a.b`.
    path: String,
    /// The types that it may have.
    types: Vec<String>,
    /// Whether it is always there, in each object that it belongs to.
    always: bool,
}

/// Ends the program unless a line is as the page says.
///
/// # Panics
/// If the page has no such kind, or other fields.
pub(super) fn assert(kind: &str, line: &str) {
    let value = serde_json::from_str(line).unwrap_or(Value::Null);
    if let Err(what) = check(PAGE, kind, &value) {
        panic!("docs/json.md, `{kind}`: {what}: {line}");
    }
}

/// Checks a value that a test made against the page.
///
/// # Errors
/// Returns what of it is not as the page says.
#[cfg(test)]
pub fn check_value(kind: &str, line: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string(line).map_err(|e| e.to_string())?;
    check(
        PAGE,
        kind,
        &serde_json::from_str(&text).map_err(|e| e.to_string())?,
    )
}

/// Checks that a line has the fields of its kind, and no others.
fn check(page: &str, kind: &str, line: &Value) -> Result<(), String> {
    let fields = fields(page, kind)?;
    let line = line.as_object().ok_or("the line is no object")?;
    object(&fields, "", line)
}

/// Returns the fields of a kind: the rows of the table below its heading.
fn fields(page: &str, kind: &str) -> Result<Vec<Field>, String> {
    let heading = format!("### `{kind}`");
    let mut lines = page.lines().skip_while(|line| *line != heading).skip(1);
    let table = lines.by_ref().take_while(|line| !line.starts_with('#'));
    let fields: Vec<Field> = table.filter_map(row).collect();
    match fields.is_empty() {
        true => Err("there is no such kind".into()),
        false => Ok(fields),
    }
}

/// Returns the field of a row: its name, its type, its unit, and when it is there.
fn row(line: &str) -> Option<Field> {
    let cells: Vec<&str> = line
        .strip_prefix("| `")?
        .split(" |")
        .map(str::trim)
        .collect();
    let [name, types, _unit, when, ..] = cells[..] else {
        return None;
    };
    Some(Field {
        path: name.trim_end_matches('`').to_owned(),
        types: types.split(" or ").map(str::to_owned).collect(),
        always: when.is_empty(),
    })
}

/// Checks an object whose fields' paths begin with `place`.
fn object(fields: &[Field], place: &str, found: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in found {
        let path = format!("{place}{name}");
        let field = fields.iter().find(|field| field.path == path);
        let field = field.ok_or_else(|| format!("`{path}` is not listed"))?;
        if !field.types.iter().any(|of| is_of(value, of)) {
            return Err(format!(
                "`{path}` is {value}, and no {}",
                field.types.join(" or ")
            ));
        }
        let has = |place: &str| fields.iter().any(|field| field.path.starts_with(place));
        let (inner, element) = (format!("{path}."), format!("{path}[]."));
        match value {
            Value::Object(value) if has(&inner) => object(fields, &inner, value)?,
            Value::Array(all) if has(&element) => {
                for value in all.iter().filter_map(Value::as_object) {
                    object(fields, &element, value)?;
                }
            }
            _ => {}
        }
    }
    let own = fields.iter().filter(|field| field.always);
    let own = own.filter_map(|field| field.path.strip_prefix(place));
    match own
        .into_iter()
        .find(|name| !name.contains(['.', '[']) && !found.contains_key(*name))
    {
        Some(name) => Err(format!("`{place}{name}` is not there")),
        None => Ok(()),
    }
}

/// Whether a value is of a type by its name.
fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "text" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        _ => match (value, name.strip_prefix("list of ")) {
            (Value::Array(all), Some(of)) => {
                let of = of.trim_end_matches('s');
                all.iter().all(|value| is_of(value, of))
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;
    use std::path::Path;

    const SMALL: &str = "
### `cat`

Printed by nobody.

| field | type | unit | when | |
| --- | --- | --- | --- | --- |
| `name` | text | | | |
| `mass` | number or null | kg | | |
| `kittens` | list of objects | | with kittens | |
| `kittens[].age` | integer | days | | |
| `kittens[].fur` | list of texts | | where it has some | |
| `home` | object | | with a home | |
| `home.rooms` | integer | | | |
| `marks` | object | | with marks | by their names |

### `dog`
";

    #[test]
    fn a_line_has_the_fields_of_its_kind_and_no_others() {
        let whole = json!({
            "name": "a", "mass": null, "home": { "rooms": 2 }, "marks": { "any": [1] },
            "kittens": [{ "age": 3 }, { "age": 4, "fur": ["red"] }],
        });
        check(SMALL, "cat", &whole).unwrap();
        check(SMALL, "cat", &json!({ "name": "a", "mass": 1.5 })).unwrap();
        for (line, what) in [
            (json!({ "name": "a" }), "`mass` is not there"),
            (
                json!({ "name": "a", "mass": 1, "age": 2 }),
                "`age` is not listed",
            ),
            (json!({ "name": 1, "mass": 1 }), "`name` is 1, and no text"),
            (
                json!({ "name": "a", "mass": 1, "kittens": [{ "age": 1 }, {}] }),
                "`kittens[].age` is not there",
            ),
            (
                json!({ "name": "a", "mass": 1, "kittens": [{ "age": 1.5 }] }),
                "`kittens[].age` is 1.5, and no integer",
            ),
            (
                json!({ "name": "a", "mass": 1, "kittens": [{ "age": 1, "fur": [1] }] }),
                "`kittens[].fur` is [1], and no list of texts",
            ),
            (
                json!({ "name": "a", "mass": 1, "home": {} }),
                "`home.rooms` is not there",
            ),
            (json!([]), "no object"),
        ] {
            let said = check(SMALL, "cat", &line).unwrap_err();
            assert!(said.contains(what), "{what}: {said}");
        }
        for kind in ["dog", "bird"] {
            assert!(
                check(SMALL, kind, &whole)
                    .unwrap_err()
                    .contains("no such kind")
            );
        }
    }

    /// Lines of the library's own types that no test of the commands prints everywhere: a profile
    /// needs timestamps, a verdict a second build.
    #[test]
    fn lines_of_the_library_are_as_the_page_says() {
        let share = wgvq::bench::Share {
            name: "matmul_1024".into(),
            op: "matmul".into(),
            kernel: "matmul(TILE=8)".into(),
            dispatches: 1.0,
            ms: 0.5,
            share: 1.0,
            gflops: 3.0,
            gbps: 2.0,
        };
        check_value("bench-share", &share).unwrap();
        let comparison = wgvq::bench::Comparison {
            name: "matmul_1024".into(),
            core: "tiled".into(),
            dtype: "f32".into(),
            cache: "warm".into(),
            verdict: wgvq::bench::Change::Same,
            ratio: f64::NAN,
            interval: None,
            new_ms: vec![1.0],
            old_ms: Vec::new(),
        };
        check_value("bench-comparison", &comparison).unwrap();
    }

    /// Every kind that the page lists is printed somewhere, every kind that is printed is listed,
    /// and every row of the page is read.
    #[test]
    fn the_page_lists_the_kinds_that_are_printed() {
        let listed: Vec<&str> = PAGE
            .lines()
            .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
            .collect();
        let kinds: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(kinds.len(), listed.len());
        let known = ["text", "number", "integer", "boolean", "object", "null"];
        let mut rows = 0;
        for kind in &listed {
            let fields = fields(PAGE, kind).unwrap();
            rows += fields.len();
            for of in fields.iter().flat_map(|field| &field.types) {
                let one = of
                    .strip_prefix("list of ")
                    .map_or(&**of, |of| of.trim_end_matches('s'));
                assert!(known.contains(&one), "{kind}: {of}");
            }
        }
        assert_eq!(
            rows,
            PAGE.lines().filter(|line| line.starts_with("| `")).count()
        );

        let mut sources = Vec::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => sources.push(std::fs::read_to_string(path).unwrap()),
                }
            }
        }
        let mut printed = BTreeSet::new();
        for source in &sources {
            // On one line or several, as the formatter has it.
            let source: String = source.split_whitespace().collect();
            for call in ["json::print(\"", "json::text(\""] {
                let calls = source.split(call).skip(1);
                printed.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
        printed.retain(|kind| {
            kind.bytes()
                .all(|b| b.is_ascii_lowercase() || b"-0123456789".contains(&b))
        });
        let listed: BTreeSet<String> = listed.iter().map(|kind| (*kind).to_owned()).collect();
        assert_eq!(listed, printed);
    }
}
