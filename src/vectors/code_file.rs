//! Codes in files of NumPy's.

use super::array_file::{ArrayFile, Number, Wanted, numbers};
use crate::{Error, Result};
use std::ops::Range;
use std::path::Path;

/// Codes [N, Q] in a file of NumPy's, read a part at a time.
#[derive(Debug)]
pub struct CodeFile(ArrayFile);

impl CodeFile {
    /// Opens an array `[N]` or [N, Q] of whole numbers.
    ///
    /// # Errors
    /// Names the file: it is no such array, is in Fortran's order, or is shorter than it says.
    pub fn open(path: &Path) -> Result<CodeFile> {
        let wanted = Wanted {
            numbers: &[
                Number::U8,
                Number::U16,
                Number::U32,
                Number::U64,
                Number::I32,
                Number::I64,
            ],
            advice: "codes are whole numbers: save `codes.astype(\"uint32\")`",
            row: "code",
        };
        ArrayFile::open(path, &wanted).map(CodeFile)
    }

    /// Returns N.
    pub fn len(&self) -> usize {
        self.0.rows
    }

    /// Whether there is no row, which no constructor allows.
    pub fn is_empty(&self) -> bool {
        self.0.rows == 0
    }

    /// Returns Q, the codes of a row.
    pub fn codebooks(&self) -> usize {
        self.0.dim
    }

    /// Returns the codes of some rows, one row after another.
    ///
    /// # Errors
    /// If there are no such rows, the file cannot be read, or a number is no code.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<u32>> {
        if rows.start > rows.end || rows.end > self.0.rows {
            let what = format!("rows {rows:?} of {}", self.0.rows);
            return Err(Error::invalid("codes", what));
        }
        let first = rows.start;
        let bytes = self.0.bytes(&mut self.0.file()?, rows)?;
        let codes: Vec<i128> = match self.0.number {
            Number::U8 => bytes.iter().map(|b| i128::from(*b)).collect(),
            Number::U16 => numbers(&bytes, |b| i128::from(u16::from_le_bytes(b))),
            Number::U32 => numbers(&bytes, |b| i128::from(u32::from_le_bytes(b))),
            Number::U64 => numbers(&bytes, |b| i128::from(u64::from_le_bytes(b))),
            Number::I32 => numbers(&bytes, |b| i128::from(i32::from_le_bytes(b))),
            Number::I64 => numbers(&bytes, |b| i128::from(i64::from_le_bytes(b))),
            // None of them is opened.
            Number::F16 | Number::F32 | Number::F64 => Vec::new(),
        };
        let code = |(i, code): (usize, i128)| {
            u32::try_from(code).map_err(|_| {
                let row = first + i / self.0.dim;
                let what = format!("row {row} holds {code}: codes count from 0, below 2^32");
                Error::file(self.0.path(), what)
            })
        };
        codes.into_iter().enumerate().map(code).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::array_file::file_of as file;

    #[test]
    fn whole_numbers_of_every_type_are_codes() {
        let files = [
            file(&[3, 2], &[0u8, 1, 2, 3, 4, 5]),
            file(&[3, 2], &[0u16, 1, 2, 3, 4, 5]),
            file(&[3, 2], &[0u32, 1, 2, 3, 4, 5]),
            file(&[3, 2], &[0u64, 1, 2, 3, 4, 5]),
            file(&[3, 2], &[0i32, 1, 2, 3, 4, 5]),
            file(&[3, 2], &[0i64, 1, 2, 3, 4, 5]),
        ];
        for file in &files {
            let codes = CodeFile::open(file.path()).unwrap();
            assert_eq!((codes.len(), codes.codebooks()), (3, 2));
            assert_eq!(codes.read(1..3).unwrap(), [2, 3, 4, 5]);
            assert!(codes.read(2..4).is_err());
        }
        let said = CodeFile::open(file(&[1], &[1.0f32]).path())
            .unwrap_err()
            .to_string();
        assert!(said.contains("astype(\"uint32\")"), "{said}");
        let negative = file(&[2, 1], &[1i64, -2]);
        let said = CodeFile::open(negative.path())
            .unwrap()
            .read(0..2)
            .unwrap_err()
            .to_string();
        assert!(said.contains("row 1 holds -2"), "{said}");
    }
}
