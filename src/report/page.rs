//! A page of pictures and tables in one HTML file: nothing is loaded from elsewhere, and it is
//! readable in light and dark.

use std::fmt::Write;

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Its heading.
    pub title: String,
    /// Under the heading: one paragraph each.
    pub intro: Vec<String>,
    /// Its parts, in their order.
    pub sections: Vec<Section>,
}

/// A part under a heading of its own.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// Its name in links: letters and digits.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// Explanation of the pictures, in paragraphs.
    pub text: Vec<String>,
    /// The names of its charts' curves, as HTML.
    pub legend: String,
    /// Its charts, as SVG.
    pub charts: Vec<String>,
    /// Rows of small pictures, below each other.
    pub strip: Vec<Strip>,
    /// Its pictures.
    pub figures: Vec<Figure>,
    /// A table after them.
    pub table: Option<Table>,
    /// Text as it stands in a file, after that.
    pub code: String,
}

/// A row of small pictures in one.
#[derive(Clone, Debug)]
pub struct Strip {
    /// The words beside it.
    pub label: String,
    /// The bytes of a PNG file.
    pub png: Vec<u8>,
}

/// A picture with what is said under it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The bytes of a PNG file.
    pub png: Vec<u8>,
    /// Text for who does not see it.
    pub alt: String,
    /// Under the picture.
    pub caption: String,
}

/// Rows under a header.
#[derive(Clone, Debug)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<String>,
    /// Rows of as many cells each.
    pub rows: Vec<Vec<String>>,
}

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fbfbfc; --ink: #1f2937; --soft: #5b6472; --line: \
                     #dfe3e8; --card: #ffffff; --link: #1d4ed8; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14161a; --ink: #e6e8eb; --soft: #a3abb8; --line: #343a44; --card: #1c1f25; \
                     --link: #8ab4f8; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, \
                     -apple-system, 'Segoe UI', sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 12px; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 56px 0 8px; padding-top: 16px; border-top: 1px solid var(--line); }
p { margin: 8px 0; max-width: 78ch; overflow-wrap: anywhere; }
nav { margin: 16px 0 0; display: flex; flex-wrap: wrap; gap: 6px 18px; }
a { color: var(--link); }
figure { margin: 20px 0 28px; }
figure div { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: \
                     8px; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: .92rem; margin-top: 8px; max-width: 88ch; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); \
                     gap: 18px; margin: 16px 0; }
svg { width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); \
                     border-radius: 8px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .t { font-weight: 600; font-size: 14px; fill: var(--ink); }
svg .s { font-weight: 400; font-size: 12px; fill: var(--soft); }
svg .y { text-anchor: end; }
svg .x { text-anchor: middle; }
svg .g { stroke: var(--line); fill: none; }
.legend span { margin-right: 18px; white-space: nowrap; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; \
                     margin-right: 6px; }
.strip { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 14px; \
                     align-items: center; margin: 16px 0; color: var(--soft); font-size: .92rem; \
                     font-variant-numeric: tabular-nums; }
.strip img { margin: 0; width: 100%; max-width: 900px; image-rendering: pixelated; }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); \
                     border-radius: 8px; padding: 12px 16px; font-size: .85rem; line-height: 1.45; }
.table { overflow-x: auto; }
table { border-collapse: collapse; margin: 16px 0; background: var(--card); font-variant-numeric: \
                     tabular-nums; font-size: .93rem; }
th, td { padding: 5px 14px; border: 1px solid var(--line); text-align: right; white-space: nowrap; \
                     }
th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
";

/// Text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let word = part
            .iter()
            .enumerate()
            .fold(0u32, |word, (i, b)| word | u32::from(*b) << (16 - 8 * i));
        for digit in 0..4 {
            let sextet = (word >> (18 - 6 * digit)) & 63;
            out.push(if digit <= part.len() {
                DIGITS[sextet as usize] as char
            } else {
                '='
            });
        }
    }
    out
}

impl Table {
    fn html(&self) -> String {
        let cells = |tag: &str, row: &[String]| -> String {
            row.iter()
                .map(|c| format!("<{tag}>{}</{tag}>", escaped(c)))
                .collect()
        };
        let rows: String = self
            .rows
            .iter()
            .map(|r| format!("<tr>{}</tr>\n", cells("td", r)))
            .collect();
        format!(
            "<div class=\"table\"><table>\n<tr>{}</tr>\n{rows}</table></div>\n",
            cells("th", &self.head)
        )
    }
}

impl Page {
    /// Returns the whole file.
    pub fn html(&self) -> String {
        let paragraphs = |all: &[String]| -> String {
            all.iter()
                .map(|p| format!("<p>{}</p>\n", escaped(p)))
                .collect()
        };
        let title = escaped(&self.title);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
             name=\"viewport\" content=\"width=device-width, \
             initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <main>\n<h1>{title}</h1>\n{}<nav>",
            paragraphs(&self.intro)
        );
        for s in &self.sections {
            _ = write!(html, "<a href=\"#{}\">{}</a>", s.id, escaped(&s.title));
        }
        html += "</nav>\n";
        for s in &self.sections {
            _ = write!(
                html,
                "<section id=\"{}\">\n<h2>{}</h2>\n{}",
                s.id,
                escaped(&s.title),
                paragraphs(&s.text)
            );
            if !s.charts.is_empty() {
                _ = write!(
                    html,
                    "{}<div class=\"charts\">\n{}</div>\n",
                    s.legend,
                    s.charts.concat()
                );
            }
            if !s.strip.is_empty() {
                html += "<div class=\"strip\">\n";
                for row in &s.strip {
                    let (label, png) = (escaped(&row.label), base64(&row.png));
                    _ = writeln!(
                        html,
                        "<span>{label}</span><img alt=\"{label}\" \
                         src=\"data:image/png;base64,{png}\">"
                    );
                }
                html += "</div>\n";
            }
            for f in &s.figures {
                _ = write!(
                    html,
                    "<figure><div><img alt=\"{}\" \
                     src=\"data:image/png;base64,{}\"></div>\n<figcaption>{}</figcaption></\
                     figure>\n",
                    escaped(&f.alt),
                    base64(&f.png),
                    escaped(&f.caption)
                );
            }
            if let Some(table) = &s.table {
                html += &table.html();
            }
            if !s.code.is_empty() {
                _ = writeln!(html, "<pre>{}</pre>", escaped(&s.code));
            }
            html += "</section>\n";
        }
        html + "</main>\n</body>\n</html>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_the_letters_of_the_standard() {
        // RFC 4648, section 10.
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|s| base64(s.as_bytes()));
        assert_eq!(
            cases,
            [
                "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"
            ]
        );
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn names_cannot_become_markup() {
        let page = Page {
            title: "<script>alert('run')</script>".into(),
            intro: vec!["a & b".into()],
            sections: vec![Section {
                id: "one".into(),
                title: "\"one\"".into(),
                figures: vec![Figure {
                    png: vec![1, 2, 3],
                    alt: "\" onload=\"x".into(),
                    caption: "<b>".into(),
                }],
                table: Some(Table {
                    head: vec!["<i>".into()],
                    rows: vec![vec!["<td>".into()]],
                }),
                ..Default::default()
            }],
        };
        let html = page.html();
        for bad in ["<script", "onload=\"", "<b>", "<i>", "<td><td>"] {
            assert!(!html.contains(bad), "{bad} in {html}");
        }
        assert!(html.contains("a &amp; b") && html.contains("data:image/png;base64,AQID"));
        assert!(!html.contains("http"), "nothing is loaded from elsewhere");
        assert!(html.contains("<body>\n<main>"), "{html}");
    }
}
