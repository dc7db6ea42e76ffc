//! The rows of Parquet files, as the images of a set.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;

use super::columns::Columns;
use crate::data::decode::column::{Column, Readers, words};
use crate::data::decode::place::Place;
use crate::data::source::image_file::{ImageFile, MAX_CAPTION, Sidecar, too_long};
use crate::text::decode_text;
use crate::{Error, Result};

/// Rows that are read at once.
const ROWS: usize = 4096;

/// Returns the rows of files; the names of a file's rows begin with its prefix.
pub(super) fn read(
    files: &[(PathBuf, String)],
    prefixes: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<ImageFile>> {
    let (mut found, readers) = (Vec::new(), Arc::new(Readers::default()));
    let mut first: Option<(&Path, Columns)> = None;
    for ((path, _), prefix) in files.iter().zip(prefixes) {
        // Other people's files: should the reader panic, that is a damaged file.
        let table = catch_unwind(|| Table::open(path))
            .unwrap_or_else(|_| Err(Error::file(path, "the reader gave up on it: damaged?")))?;
        if let Some((other, columns)) = &first
            && columns.classes != table.columns.classes
        {
            let what = format!(
                "names its labels otherwise than {}: they are of two sets, open one of them",
                other.display()
            );
            return Err(Error::file(path, what));
        }
        let rows = catch_unwind(AssertUnwindSafe(|| table.rows(prefix, &readers)));
        found.extend(
            rows.unwrap_or_else(|_| Err(Error::file(path, "the reader gave up on it: damaged?")))?,
        );
        first = first.or(Some((path, table.columns)));
    }
    if let Some((_, columns)) = &first {
        let of = |what: &str, column: &Option<(usize, String)>| {
            column
                .as_ref()
                .map(|(_, name)| format!(", {what} from `{name}`"))
                .unwrap_or_default()
        };
        notes.push(format!(
            "images from the column `{}`{}{}",
            columns.image.1,
            of("texts", &columns.text),
            of("labels", &columns.label)
        ));
    }
    Ok(found)
}

/// A file.
struct Table {
    path: Arc<Path>,
    metadata: Arc<ParquetMetaData>,
    columns: Columns,
}

impl Table {
    fn open(path: &Path) -> Result<Table> {
        let file =
            File::open(path).map_err(|e| Error::file(path, format!("cannot be read: {e}")))?;
        let mut reader =
            ParquetMetaDataReader::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let bad = |e: ParquetError| {
            Error::file(
                path,
                format!("is damaged, or no Parquet file: {}", words(e)),
            )
        };
        reader.try_parse(&file).map_err(bad)?;
        let metadata = reader.finish().map_err(bad)?;
        let groups = metadata.row_groups().iter();
        if groups.clone().any(|group| group.num_rows() < 0) {
            return Err(Error::file(
                path,
                "has a group of less than no rows: damaged",
            ));
        }
        let columns = Columns::of(path, metadata.file_metadata())?;
        Ok(Table {
            path: path.into(),
            metadata: Arc::new(metadata),
            columns,
        })
    }

    /// Returns the rows as images, whose names begin with `prefix`.
    fn rows(&self, prefix: &str, readers: &Arc<Readers>) -> Result<Vec<ImageFile>> {
        let (number, name) = &self.columns.image;
        let images = Column::new(&self.path, name, &self.metadata, *number, readers);
        let images = Arc::new(images);
        let mut texts = match &self.columns.text {
            Some((number, name)) => self.texts(*number, name)?,
            None => Vec::new(),
        };
        let mut labels = match &self.columns.label {
            Some((number, name)) => self.labels(*number, name)?,
            None => Vec::new(),
        };
        for (beside, column) in [(&texts, &self.columns.text), (&labels, &self.columns.label)] {
            if let Some((_, name)) = column
                && beside.len() != images.rows()
            {
                let (own, all) = (beside.len(), images.rows());
                let what = format!("has {own} values, for {all} rows: damaged");
                return Err(self.error(name, None, &what));
            }
        }
        let take = |of: &mut Vec<Sidecar>, row: usize| {
            of.get_mut(row)
                .map_or(Sidecar::Nothing, |s| std::mem::replace(s, Sidecar::Nothing))
        };
        let row = |row: usize| ImageFile {
            place: Place::row(&images, row),
            name: format!("{prefix}{row:08}"),
            shard: 0..prefix.len(),
            caption: take(&mut texts, row),
            class: take(&mut labels, row),
        };
        Ok((0..images.rows()).map(row).collect())
    }

    fn texts(&self, number: usize, name: &str) -> Result<Vec<Sidecar>> {
        let mut texts = Vec::new();
        let most = self.most_defined(number);
        self.each_group(number, name, |reader, rows| {
            let ColumnReader::ByteArrayColumnReader(mut reader) = reader else {
                return Err(self.error(name, None, "holds no texts"));
            };
            values(&mut reader, rows, most, &mut |text| {
                let said = match &text {
                    None => Ok(Sidecar::Nothing),
                    Some(text) if text.len() as u64 > MAX_CAPTION => Err(too_long(MAX_CAPTION)),
                    Some(text) => decode_text(text.data()).map(|text| match text.trim() {
                        "" => Sidecar::Nothing,
                        _ => Sidecar::Said(text),
                    }),
                };
                let row = texts.len();
                texts.push(
                    said.unwrap_or_else(|what| Sidecar::Damaged(self.place(name, Some(row)), what)),
                );
                Ok(())
            })
        })?;
        Ok(texts)
    }

    fn labels(&self, number: usize, name: &str) -> Result<Vec<Sidecar>> {
        let physical = self.metadata.file_metadata().schema_descr().column(number);
        if physical.physical_type() == parquet::basic::Type::BYTE_ARRAY {
            return self.texts(number, name);
        }
        let mut labels = Vec::new();
        let mut push = |label: Option<i64>| {
            // `datasets` writes -1 where a label is not known.
            let label = match (label, &self.columns.classes) {
                (None | Some(-1), _) => Sidecar::Nothing,
                (Some(value), None) => Sidecar::Said(value.to_string()),
                (Some(value), Some(names)) => {
                    let class = usize::try_from(value).ok();
                    let Some((class, named)) = class.and_then(|c| Some((c, names.get(c)?))) else {
                        let what = format!("is {value}, and the file names {} labels", names.len());
                        return Err(self.error(name, Some(labels.len()), &what));
                    };
                    Sidecar::Class(class, named.clone())
                }
            };
            labels.push(label);
            Ok(())
        };
        let most = self.most_defined(number);
        self.each_group(number, name, |reader, rows| match reader {
            ColumnReader::Int32ColumnReader(mut reader) => {
                values::<Int32Type>(&mut reader, rows, most, &mut |v| push(v.map(i64::from)))
            }
            ColumnReader::Int64ColumnReader(mut reader) => {
                values::<Int64Type>(&mut reader, rows, most, &mut |v| push(v))
            }
            _ => Err(self.error(name, None, "holds no whole numbers")),
        })?;
        Ok(labels)
    }

    /// Calls `read` with a reader of each group's chunk of a column, and its rows.
    fn each_group(
        &self,
        number: usize,
        name: &str,
        mut read: impl FnMut(ColumnReader, usize) -> Result<()>,
    ) -> Result<()> {
        let failed =
            |e: ParquetError| self.error(name, None, &format!("cannot be read: {}", words(e)));
        let file = File::open(&self.path).map_err(|e| Error::file(&*self.path, e))?;
        let file = Arc::new(file);
        for group in self.metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            let pages = SerializedPageReader::new(file.clone(), group.column(number), rows, None);
            let pages = Box::new(pages.map_err(failed)?);
            let descriptor = group.schema_descr().column(number);
            let reader = parquet::column::reader::get_column_reader(descriptor, pages);
            read(reader, rows).map_err(|e| match e {
                Error::Data { what } => self.error(name, None, &format!("cannot be read: {what}")),
                other => other,
            })?;
        }
        Ok(())
    }

    /// The level at which a value of a column is there.
    fn most_defined(&self, number: usize) -> i16 {
        let schema = self.metadata.file_metadata().schema_descr();
        schema.column(number).max_def_level()
    }

    fn place(&self, column: &str, row: Option<usize>) -> String {
        let row = row.map_or(String::new(), |row| format!(", row {row}"));
        format!("{}, column {column}{row}", self.path.display())
    }

    fn error(&self, column: &str, row: Option<usize>, what: &str) -> Error {
        Error::file(PathBuf::from(self.place(column, row)), what)
    }
}

/// Calls `each` with the values of a chunk of so many rows; `None` where one is null, which is so
/// where its level is below `most`.
fn values<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    most: i16,
    each: &mut dyn FnMut(Option<T::T>) -> Result<()>,
) -> Result<()> {
    let (mut defined, mut values) = (Vec::new(), Vec::new());
    let mut done = 0;
    while done < rows {
        defined.clear();
        values.clear();
        let wanted = ROWS.min(rows - done);
        let read = reader.read_records(wanted, Some(&mut defined), None, &mut values);
        let (read, ..) = read.map_err(|e| Error::data(words(e)))?;
        if read == 0 {
            return Err(Error::data("its chunk has fewer rows than the file says"));
        }
        let mut values = values.drain(..);
        for row in 0..read {
            // Where nothing can be null, no levels are stored.
            let is_there = most == 0 || defined.get(row).is_some_and(|level| *level == most);
            each(is_there.then(|| values.next()).flatten())?;
        }
        done += read;
    }
    Ok(())
}
