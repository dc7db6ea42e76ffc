//! Tables of codes read back, as [`Codes::save_parquet`] wrote them.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::column;
use crate::codes::{Codes, LabelKinds, Labels};
use crate::models::Level;
use crate::{Error, Result};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use serde::Deserialize;

/// The description of codes in the metadata of a table.
#[derive(Deserialize)]
struct Layout {
    model: String,
    quantizer: String,
    image: [usize; 3],
    levels: Vec<Level>,
}

impl Codes {
    /// Reads the codes that [`Codes::save_parquet`] wrote, with labels of these kinds.
    ///
    /// # Errors
    /// If the table cannot be read, or is another.
    pub(in crate::codes) fn load_parquet(
        path: &Path,
        kinds: &LabelKinds,
        images: usize,
    ) -> Result<(Codes, Labels)> {
        // Should the reader panic, that is a damaged file.
        let read = catch_unwind(AssertUnwindSafe(|| read(path, kinds, images)));
        let read = read.unwrap_or_else(|_| Err(Error::data("the reader gave up on it: damaged?")));
        let (codes, labels) = read.map_err(|e| Error::file(path, e))?;
        let other = |e: Error| {
            let what = format!("is no table of codes that can be used: {e}");
            Error::file(path, what)
        };
        codes.check().map_err(other)?;
        Ok((codes, labels))
    }
}

fn read(path: &Path, kinds: &LabelKinds, images: usize) -> Result<(Codes, Labels)> {
    let bad = |e: ParquetError| Error::data(format!("is damaged, or no table of codes: {e}"));
    let file = File::open(path).map_err(|e| Error::data(format!("cannot be read: {e}")))?;
    let file = SerializedFileReader::new(file).map_err(bad)?;
    let about = file.metadata().file_metadata();
    let pairs = about.key_value_metadata().into_iter().flatten();
    let mut own = pairs.filter(|pair| pair.key == "wgvq");
    let layout = own.next().and_then(|pair| pair.value.as_deref());
    let layout: Layout = serde_json::from_str(layout.unwrap_or_default())
        .map_err(|e| Error::data(format!("its metadata say nothing of codes: {e}")))?;
    let wanted = std::iter::once("name".to_owned())
        .chain(layout.levels.iter().map(column))
        .chain(kinds.classes.as_ref().map(|_| "label".to_owned()))
        .chain(kinds.texts.then(|| "text".to_owned()));
    let wanted: Vec<String> = wanted.collect();
    let columns = about.schema_descr().columns().iter();
    let there: Vec<&str> = columns
        .map(|c| c.path().parts().first().map_or("", String::as_str))
        .collect();
    if wanted != there {
        let (wanted, there) = (wanted.join(", "), there.join(", "));
        let what = format!("has the columns {there}, and not {wanted}");
        return Err(Error::data(what));
    }
    // Before anything is read by these numbers.
    let groups = file.metadata().row_groups().iter();
    let rows = groups.map(|g| usize::try_from(g.num_rows()).unwrap_or(usize::MAX));
    let rows = rows.fold(0, usize::saturating_add);
    if rows != images {
        return Err(Error::data(format!("has {rows} rows, of {images} images")));
    }
    let mut codes = Codes {
        model: layout.model,
        quantizer: layout.quantizer,
        levels: layout.levels,
        image: layout.image,
        names: Vec::new(),
        indices: Vec::new(),
    };
    let mut labels = kinds.labels();
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group).map_err(bad)?;
        append(&*group, &mut codes, &mut labels)?;
    }
    Ok((codes, labels))
}

/// Appends a group of rows.
fn append(group: &dyn RowGroupReader, codes: &mut Codes, labels: &mut Labels) -> Result<()> {
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
    let text = |bytes: ByteArray| {
        let own = bytes.as_utf8().map(str::to_owned);
        own.map_err(|_| Error::data("holds a text that is not UTF-8"))
    };
    for name in values::<ByteArrayType>(group, 0, rows, 1)? {
        let name = name.ok_or_else(|| Error::data("has a row without a name"))?;
        codes.names.push(text(name)?);
    }
    let mut levels = Vec::new();
    for (i, level) in codes.levels.iter().enumerate() {
        // Unsigned numbers are stored in the signed type of their bits.
        let own = values::<Int32Type>(group, 1 + i, rows, level.codes())?;
        let own: Vec<u32> = own.into_iter().flatten().map(|code| code as u32).collect();
        if rows.checked_mul(level.codes()) != Some(own.len()) {
            let what = format!(
                "has {} codes in {rows} rows of {}",
                own.len(),
                level.codes()
            );
            return Err(Error::data(what));
        }
        levels.push(own);
    }
    codes
        .indices
        .extend(crate::codes::interleave(&levels, rows));
    let mut next = 1 + levels.len();
    let mut class = vec![None; rows];
    if labels.class.is_some() {
        let of = |value: Option<i64>| match value {
            None => Ok(None),
            Some(value) => match u32::try_from(value) {
                Ok(class) if (class as usize) < labels.classes.len() => Ok(Some(class)),
                _ => Err(Error::data(format!(
                    "has a label {value}, of {}",
                    labels.classes.len()
                ))),
            },
        };
        let found = values::<Int64Type>(group, next, rows, 1)?;
        class = found.into_iter().map(of).collect::<Result<_>>()?;
        next += 1;
    }
    let mut said = vec![None; rows];
    if labels.texts.is_some() {
        let found = values::<ByteArrayType>(group, next, rows, 1)?.into_iter();
        said = found
            .map(|bytes| bytes.map(text).transpose())
            .collect::<Result<_>>()?;
    }
    for (class, said) in class.into_iter().zip(said) {
        labels.push(class, said);
    }
    Ok(())
}

/// Rows that are read at once: a page may name any number of values.
const AT_ONCE: usize = 1024;

/// Returns the values of a group's column, `each` of a row, in a list where it has one; `None`
/// where one is null.
fn values<T: DataType>(
    group: &dyn RowGroupReader,
    column: usize,
    rows: usize,
    each: usize,
) -> Result<Vec<Option<T::T>>> {
    let bad = |e: ParquetError| Error::data(format!("is damaged: {e}"));
    let about = group.metadata().column(column).column_descr();
    if about.physical_type() != T::get_physical_type() {
        let what = format!("has a column `{}` of another type", about.name());
        return Err(Error::data(what));
    }
    let (most, is_list) = (about.max_def_level(), about.max_rep_level() > 0);
    let mut reader = get_typed_column_reader::<T>(group.get_column_reader(column).map_err(bad)?);
    let (mut defined, mut repeated, mut there) = (Vec::new(), Vec::new(), Vec::new());
    let mut done = 0;
    while done < rows {
        let levels = is_list.then_some(&mut repeated);
        let (read, ..) = reader
            .read_records(
                AT_ONCE.min(rows - done),
                Some(&mut defined),
                levels,
                &mut there,
            )
            .map_err(bad)?;
        if read == 0 {
            return Err(Error::data("has fewer rows than it says"));
        }
        done += read;
        if is_list && done.checked_mul(each) != Some(repeated.len()) {
            let what = format!(
                "has other than {each} numbers in a row of `{}`",
                about.name()
            );
            return Err(Error::data(what));
        }
    }
    // A row begins where nothing is repeated.
    let begins = |(i, level): (usize, &i16)| (*level == 0) == i.is_multiple_of(each.max(1));
    if !repeated.iter().enumerate().all(begins) {
        let what = format!(
            "has rows of other lengths than {each} in `{}`",
            about.name()
        );
        return Err(Error::data(what));
    }
    // Where nothing can be null, no levels are stored.
    if most == 0 {
        return Ok(there.into_iter().map(Some).collect());
    }
    let mut there = there.into_iter();
    let value = |level: i16| (level == most).then(|| there.next()).flatten();
    Ok(defined.into_iter().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::planted::codes_of_three;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let (codes, labels) = codes_of_three();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.parquet");
        let none = Codes {
            names: Vec::new(),
            indices: Vec::new(),
            ..codes.clone()
        };
        for (codes, labels) in [
            (&codes, &labels),
            (&codes, &Labels::default()),
            (&none, &labels.part(0..0)),
        ] {
            codes.save_parquet(labels, &path).unwrap();
            let images = codes.names.len();
            let (read, found) = Codes::load_parquet(&path, &labels.kinds(), images).unwrap();
            assert_eq!((&read, &found), (codes, labels));
        }
        codes.save_parquet(&labels, &path).unwrap();
        let said = Codes::load_parquet(&path, &labels.kinds(), 4).unwrap_err();
        assert!(said.to_string().contains("3 rows, of 4 images"), "{said}");
        let refused = |kinds: &LabelKinds, word: &str| {
            let said = Codes::load_parquet(&path, kinds, 3)
                .unwrap_err()
                .to_string();
            assert!(
                said.contains(word) && said.contains("codes.parquet"),
                "{said}"
            );
        };
        refused(&LabelKinds::default(), "the columns name, codes_top");
        let kinds = LabelKinds {
            classes: Some(vec!["cat".into()]),
            texts: true,
        };
        refused(&kinds, "a label 1, of 1");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        refused(&labels.kinds(), "damaged");
    }
}
