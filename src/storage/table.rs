//! Tables as CSV (RFC 4180): a field that holds a comma, a quote or a line break is quoted, so that
//! names may hold anything; and what may stand in a cell of one in Markdown.

/// Returns the rows as CSV.
pub fn csv<R>(rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item: AsRef<[u8]>>,
{
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::new());
    for row in rows {
        // Memory takes all that is written to it.
        let _ = writer.write_record(row);
    }
    String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned()
}

/// Returns text for a cell of a table in Markdown: one line, which neither ends the cell nor
/// becomes markup.
pub fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Backslashes first: those that are put in are no others' text.
    let line = line.replace('\\', "\\\\").replace('<', "&lt;");
    ['|', '[', '`']
        .iter()
        .fold(line, |line, mark| line.replace(*mark, &format!("\\{mark}")))
}

/// Returns a field for a number in words; what was not measured is no number, and stays empty.
pub fn measured(number: String) -> String {
    if number == "NaN" {
        String::new()
    } else {
        number
    }
}

/// Returns the rows of CSV, each with the line at which it begins. Rows may be of different
/// lengths; empty lines are none.
pub fn rows(text: &str) -> Vec<(u64, Vec<String>)> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    // Text is read from memory, so that nothing can fail.
    let records = reader.into_records().filter_map(Result::ok);
    records
        .map(|record| {
            let line = record.position().map_or(0, csv::Position::line);
            (line, record.iter().map(str::to_owned).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_fields_stay_plain() {
        let text = csv([["step", "mse"], ["1", "2.5e-3"], ["2", ""]]);
        assert_eq!(text, "step,mse\n1,2.5e-3\n2,\n");
        assert_eq!(rows(&text)[2], (3, vec!["2".to_owned(), String::new()]));
        let earlier = rows("a,b\r\n\"x, \"\"y\"\"\",1\r\n\n3\n");
        assert_eq!(earlier[1].1, ["x, \"y\"", "1"]);
        assert_eq!(earlier[2].1, ["3"]);
    }

    #[test]
    fn cells_stay_cells() {
        assert_eq!(cell("a plain (one), 15.0"), "a plain (one), 15.0");
        assert_eq!(cell("a | b\nc"), "a \\| b c");
        assert_eq!(cell("\\|"), "\\\\\\|");
        assert_eq!(cell("<b>[x](y)`"), "&lt;b>\\[x](y)\\`");
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(
            rows in prop::collection::vec(
                prop::collection::vec("[a,\"\n\r é]{0,6}", 1..4),
                0..5,
            )
        ) {
            let read: Vec<Vec<String>> = super::rows(&csv(&rows))
                .into_iter()
                .map(|(_, row)| row)
                .collect();
            prop_assert_eq!(read, rows);
        }
    }
}
