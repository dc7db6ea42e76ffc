//! A column of bytes in a Parquet file, of which one value is read at a time.
//!
//! A column lies in chunks, one to a group of rows, and a chunk in compressed pages of some values
//! each. What reads a chunk from its beginning on stays open behind the value that it read, so that
//! rows in their order cost each page once, whichever threads ask for them.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

/// Rows that a reader is led over instead of another being opened.
const NEAR: usize = 64;
const SHORT: &str = "its chunk has fewer rows than the file says";

/// A column of bytes in a file.
pub(crate) struct Column {
    path: Arc<Path>,
    /// Name of the column, as errors say it.
    name: String,
    metadata: Arc<ParquetMetaData>,
    /// Its place among the columns.
    number: usize,
    /// The first row of each group, and the number of all rows.
    firsts: Vec<usize>,
    readers: Arc<Readers>,
}

/// The readers of the columns of a set that nobody uses now, the newest last: each has a page in
/// memory, so that all columns share them.
#[derive(Default)]
pub(crate) struct Readers(Mutex<Vec<Reader>>);

/// A reader of a chunk, and the value that it read last.
struct Reader {
    path: Arc<Path>,
    group: usize,
    /// Rows of the chunk that are behind it.
    next: usize,
    values: ColumnReaderImpl<ByteArrayType>,
    newest: Option<ByteArray>,
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} of {}", self.name, self.path.display())
    }
}

impl PartialEq for Column {
    fn eq(&self, other: &Column) -> bool {
        (&self.path, self.number) == (&other.path, other.number)
    }
}

impl Eq for Column {}

impl Column {
    /// Returns the column of that number, which is one of bytes with at most one value to a row.
    /// The columns of a set share their readers.
    pub(crate) fn new(
        path: &Arc<Path>,
        name: &str,
        metadata: &Arc<ParquetMetaData>,
        number: usize,
        readers: &Arc<Readers>,
    ) -> Column {
        let mut firsts = vec![0usize];
        for group in metadata.row_groups() {
            let rows = usize::try_from(group.num_rows()).unwrap_or(0);
            firsts.push(firsts[firsts.len() - 1].saturating_add(rows));
        }
        Column {
            path: path.clone(),
            name: name.to_owned(),
            metadata: metadata.clone(),
            number,
            firsts,
            readers: readers.clone(),
        }
    }

    /// Returns the file.
    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Returns the column's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns how many rows the file has.
    pub(crate) fn rows(&self) -> usize {
        self.firsts[self.firsts.len() - 1]
    }

    /// Returns the value of a row, counted from 0.
    pub(crate) fn value(&self, row: usize) -> io::Result<ByteArray> {
        let group = self.firsts.partition_point(|first| *first <= row);
        let (Some(group), true) = (group.checked_sub(1), row < self.rows()) else {
            return Err(invalid("there is no such row"));
        };
        let at = row - self.firsts[group];
        // Other people's files: should the decoder panic, that is a damaged file.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut reader = match self.readers.nearest(&self.path, group, at) {
                Some(reader) => reader,
                None => self.reader(group)?,
            };
            let value = reader.value(at)?;
            self.readers.give_back(reader);
            Ok(value)
        }));
        let value = read.unwrap_or_else(|_| Err(invalid("the decoder gave up on it: damaged?")))?;
        value.ok_or_else(|| invalid("it is null: the file was written without its bytes"))
    }

    fn reader(&self, group: usize) -> io::Result<Reader> {
        let about = self.metadata.row_group(group);
        // A file of its own: clones of one share the place at which they read.
        let file = Arc::new(File::open(&self.path)?);
        let rows = self.firsts[group + 1] - self.firsts[group];
        let index = self.metadata.page_index_for_row_group(group);
        let pages = index.page_locations(self.number).cloned();
        let pages = SerializedPageReader::new(file, about.column(self.number), rows, pages);
        let descriptor = about.schema_descr().column(self.number);
        Ok(Reader {
            path: self.path.clone(),
            group,
            next: 0,
            values: ColumnReaderImpl::new(descriptor, Box::new(pages.map_err(words)?)),
            newest: None,
        })
    }
}

impl Readers {
    /// Takes a reader that stands at a row of a group or a little before it.
    fn nearest(&self, path: &Arc<Path>, group: usize, at: usize) -> Option<Reader> {
        let mut idle = self.0.lock();
        let is_full = idle.len() >= most_idle();
        let suits = |r: &Reader| {
            let is_near = at < r.next + NEAR || is_full;
            let stands = r.next == at + 1 || r.next <= at && is_near;
            r.group == group && Arc::ptr_eq(&r.path, path) && stands
        };
        let near = idle.iter().enumerate().filter(|(_, r)| suits(r));
        let (place, _) = near.max_by_key(|(_, r)| r.next)?;
        Some(idle.remove(place))
    }

    fn give_back(&self, reader: Reader) {
        let mut idle = self.0.lock();
        if idle.len() >= most_idle() {
            idle.remove(0);
        }
        idle.push(reader);
    }
}

/// Readers that are kept.
fn most_idle() -> usize {
    rayon::current_num_threads().clamp(1, 16)
}

impl Reader {
    /// Returns the value of a row of the chunk, which is not before the newest.
    fn value(&mut self, at: usize) -> io::Result<Option<ByteArray>> {
        if at + 1 == self.next {
            return Ok(self.newest.clone());
        }
        self.newest = None;
        let skip = at - self.next;
        if skip > 0 && self.values.skip_records(skip).map_err(words)? != skip {
            return Err(invalid(SHORT));
        }
        let (mut defined, mut values) = (Vec::new(), Vec::new());
        let read = self
            .values
            .read_records(1, Some(&mut defined), None, &mut values);
        if read.map_err(words)?.0 != 1 {
            return Err(invalid(SHORT));
        }
        self.next = at + 1;
        self.newest = values.pop();
        Ok(self.newest.clone())
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Returns an error of the decoder in its words, with the way out where a codec is missing.
pub(crate) fn words(error: parquet::errors::ParquetError) -> io::Error {
    let text = error.to_string();
    let text = text
        .split_once(": ")
        .map_or(text.as_str(), |(_, text)| text);
    if text.contains("Disabled feature at compile time") {
        let what = "write the file anew with snappy, zstd or lz4";
        return invalid(&format!("its compression is not read ({text}): {what}"));
    }
    invalid(text)
}
