//! Rows of numbers, in memory or in a file of NumPy's.

use super::array_file::{ArrayFile, Number, Wanted, numbers};
use crate::{Error, Result};
use half::f16;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

#[derive(Debug)]
enum Place {
    Memory(Vec<f32>),
    File(ArrayFile),
}

/// Vectors [N, D], read a part at a time.
#[derive(Debug)]
pub struct Vectors {
    /// [N, ..], whose dimensions behind the first make a vector.
    shape: Vec<usize>,
    rows: usize,
    dim: usize,
    place: Place,
}

impl Vectors {
    /// Takes rows of `dim` numbers each, one after another.
    ///
    /// # Errors
    /// If there is none, or they are no whole rows.
    pub fn from_rows(dim: usize, values: Vec<f32>) -> Result<Vectors> {
        if dim == 0 || values.is_empty() || !values.len().is_multiple_of(dim) {
            let got = format!("{} numbers", values.len());
            return Err(Error::shape(
                "vectors",
                format!("rows of {dim} numbers"),
                got,
            ));
        }
        let rows = values.len() / dim;
        Ok(Vectors {
            shape: vec![rows, dim],
            rows,
            dim,
            place: Place::Memory(values),
        })
    }

    /// Opens a file of NumPy's: an array [N, ..] of float32, float64, float16 or uint8. The
    /// dimensions behind the first make a row.
    ///
    /// # Errors
    /// Names the file: it is no such array, is in Fortran's order, or is shorter than it says.
    pub fn open(path: &Path) -> Result<Vectors> {
        let wanted = Wanted {
            numbers: &[Number::U8, Number::F16, Number::F32, Number::F64],
            advice: "float32, float64, float16 and uint8 are read: save `x.astype(\"float32\")`",
            row: "vector",
        };
        let array = ArrayFile::open(path, &wanted)?;
        Ok(Vectors {
            shape: array.shape.clone(),
            rows: array.rows,
            dim: array.dim,
            place: Place::File(array),
        })
    }

    /// Returns N.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row, which no constructor allows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns [N, ..], the dimensions of the array: those behind the first make up D.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the numbers of some rows, one row after another.
    ///
    /// # Errors
    /// If there are no such rows, the file cannot be read, or holds a number that is not finite, or
    /// one so large that squared distances are not.
    pub fn read(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        if rows.start > rows.end || rows.end > self.rows {
            let what = format!("rows {rows:?} of {}", self.rows);
            return Err(Error::invalid("vectors", what));
        }
        let values = match &self.place {
            Place::Memory(values) => values[rows.start * self.dim..rows.end * self.dim].to_vec(),
            Place::File(array) => widened(array, &mut array.file()?, rows.clone())?,
        };
        self.check(rows.start, &values)?;
        Ok(values)
    }

    /// Returns the numbers of chosen rows, in the order of `rows`.
    ///
    /// # Errors
    /// As [`Vectors::read`].
    pub fn pick(&self, rows: &[usize]) -> Result<Vec<f32>> {
        let mut found = Vec::with_capacity(rows.len() * self.dim);
        let mut file = match &self.place {
            Place::Memory(_) => None,
            Place::File(array) => Some((array, array.file()?)),
        };
        for &row in rows {
            match &mut file {
                Some((array, file)) if row < self.rows => {
                    let values = widened(array, file, row..row + 1)?;
                    self.check(row, &values)?;
                    found.extend(values);
                }
                _ => found.extend(self.read(row..row + 1)?),
            }
        }
        Ok(found)
    }

    fn check(&self, first: usize, values: &[f32]) -> Result<()> {
        // Beyond this, squared distances are no numbers of f32.
        let most = 1e18 / (self.dim as f32).sqrt();
        let Some(at) = values.iter().position(|v| !(v.abs() <= most)) else {
            return Ok(());
        };
        let row = first + at / self.dim;
        let way_out = match values[at].is_finite() {
            true => "squared distances in float32 would overflow; scale the vectors",
            false => "every number of a vector is finite in float32; leave such rows out",
        };
        let what = format!(
            "row {row} holds {} at {}: {way_out}",
            values[at],
            at % self.dim
        );
        Err(match &self.place {
            Place::Memory(_) => Error::data(format!("vectors: {what}")),
            Place::File(array) => Error::file(array.path(), what),
        })
    }
}

/// The numbers of some rows of an array.
fn widened(array: &ArrayFile, file: &mut File, rows: Range<usize>) -> Result<Vec<f32>> {
    let bytes = array.bytes(file, rows)?;
    Ok(match array.number {
        Number::U8 => bytes.iter().map(|b| f32::from(*b)).collect(),
        Number::F16 => numbers(&bytes, |b| f16::from_le_bytes(b).to_f32()),
        Number::F32 => numbers(&bytes, f32::from_le_bytes),
        Number::F64 => numbers(&bytes, |b| f64::from_le_bytes(b) as f32),
        // Only those are opened.
        Number::U16 | Number::U32 | Number::U64 | Number::I32 | Number::I64 => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::array_file::file_of as file;

    #[test]
    fn numbers_of_every_type_are_read_in_parts() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let bytes: Vec<u8> = (0..24).collect();
        let halves: Vec<f16> = values.iter().map(|v| f16::from_f32(*v)).collect();
        let doubles: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        let files = [
            file(&[4, 2, 3], &values),
            file(&[4, 6], &bytes),
            file(&[4, 6], &halves),
            file(&[4, 6], &doubles),
        ];
        for file in &files {
            let vectors = Vectors::open(file.path()).unwrap();
            assert_eq!((vectors.len(), vectors.dim()), (4, 6));
            assert_eq!(vectors.read(1..3).unwrap(), values[6..18]);
            let picked = [&values[18..24], &values[0..6]].concat();
            assert_eq!(vectors.pick(&[3, 0]).unwrap(), picked);
            assert!(vectors.read(3..5).is_err());
            assert!(vectors.pick(&[4]).is_err());
        }
        let memory = Vectors::from_rows(6, values.clone()).unwrap();
        assert_eq!(memory.read(0..4).unwrap(), values);
        assert!(memory.pick(&[4]).is_err());
    }

    #[test]
    fn what_is_no_array_of_vectors_is_refused() {
        let said =
            |file: &tempfile::NamedTempFile| Vectors::open(file.path()).unwrap_err().to_string();
        assert!(said(&file(&[3], &[1i32, 2, 3])).contains("<i4"));
        assert!(said(&file::<f32>(&[0, 3], &[])).contains("no vector"));
        let short = file(&[2, 3], &[0f32; 6]);
        let long = short.as_file().metadata().unwrap().len();
        short.as_file().set_len(long - 1).unwrap();
        assert!(said(&short).contains("damaged"));
        let none = tempfile::NamedTempFile::new().unwrap();
        assert!(said(&none).contains("header"));
        let nan = file(&[2, 2], &[1f32, 2.0, 3.0, f32::NAN]);
        let vectors = Vectors::open(nan.path()).unwrap();
        assert_eq!(vectors.read(0..1).unwrap(), [1.0, 2.0]);
        let said = vectors.read(0..2).unwrap_err().to_string();
        assert!(said.contains("row 1 holds NaN at 1"), "{said}");
        let large = Vectors::from_rows(2, vec![1.0, -1e19]).unwrap();
        let said = large.read(0..1).unwrap_err().to_string();
        assert!(said.contains("scale the vectors"), "{said}");
        assert!(Vectors::from_rows(2, vec![1.0; 3]).is_err());
    }
}
