//! A decoded source image on disk: a header of 64 bytes, the CRC-32 of each row, the rows as they
//! are in memory.
//!
//! A crop reads the rows that it needs and their checksums, and nothing else. A file that is not
//! whole, is another source image's, or has a row that is not what was written, is
//! [`ReadOutcome::Damaged`]: whoever asked decodes the source image again.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The last byte is the version of the format.
const MAGIC: [u8; 8] = *b"wgvqu8\0\x01";
const HEADER: usize = 64;
const SUM: usize = 4;

/// Name of a source image's file.
pub(crate) type Key = [u8; 32];

/// The size of a source image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) channels: u32,
}

impl Size {
    /// Bytes in a row.
    pub(crate) fn row(self) -> usize {
        self.width as usize * self.channels as usize
    }

    /// Bytes of pixels.
    pub(crate) fn bytes(self) -> usize {
        self.row() * self.height as usize
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(self) -> u64 {
        (HEADER + SUM * self.height as usize + self.bytes()) as u64
    }
}

/// Result of a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    Rows(Vec<u8>),
    Absent,
    Damaged,
}

fn header(key: &Key, size: Size) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..40].copy_from_slice(key);
    for (i, n) in [size.width, size.height, size.channels]
        .into_iter()
        .enumerate()
    {
        out[40 + 4 * i..44 + 4 * i].copy_from_slice(&n.to_le_bytes());
    }
    let sum = crc32fast::hash(&out[..52]);
    out[52..56].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Is the source image at `path`, as far as its header and its length say?
pub(crate) fn is_there(path: &Path, key: &Key, size: Size) -> bool {
    matches!(read(path, key, size, 0, 0), ReadOutcome::Rows(_))
}

/// Writes `pixels` to `path`, beside it first, so that a reader never sees half a file. It is not
/// synced: what a loss of power leaves is found by its checksums.
pub(crate) fn write(path: &Path, key: &Key, size: Size, pixels: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut head = header(key, size).to_vec();
    head.extend(
        pixels
            .chunks(size.row().max(1))
            .flat_map(|row| crc32fast::hash(row).to_le_bytes()),
    );
    let mut file = crate::data::cache::disk_cache::scratch(folder)?;
    file.write_all(&head)?;
    file.write_all(pixels)?;
    file.persist(path).map(drop).map_err(|e| e.error)
}

/// Reads the rows `from..from + rows` of the source image at `path`.
pub(crate) fn read(path: &Path, key: &Key, size: Size, from: u32, rows: u32) -> ReadOutcome {
    match try_read(path, key, size, from as usize, rows as usize) {
        Ok(Some(rows)) => ReadOutcome::Rows(rows),
        Err(e) if e.kind() == io::ErrorKind::NotFound => ReadOutcome::Absent,
        Ok(None) | Err(_) => ReadOutcome::Damaged,
    }
}

fn try_read(
    path: &Path,
    key: &Key,
    size: Size,
    from: usize,
    rows: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let mut head = [0; HEADER];
    file.read_exact(&mut head)?;
    if head != header(key, size) || file.metadata()?.len() != size.file_bytes() {
        return Ok(None);
    }
    let mut part = |at: usize, bytes: usize| -> io::Result<Vec<u8>> {
        let mut out = vec![0; bytes];
        file.seek(SeekFrom::Start(at as u64))?;
        file.read_exact(&mut out)?;
        Ok(out)
    };
    let sums = part(HEADER + SUM * from, SUM * rows)?;
    let pixels = part(
        HEADER + SUM * size.height as usize + size.row() * from,
        size.row() * rows,
    )?;
    let whole = pixels
        .chunks(size.row().max(1))
        .zip(sums.as_chunks::<SUM>().0)
        .all(|(row, sum)| crc32fast::hash(row).to_le_bytes() == *sum);
    Ok(whole.then_some(pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [7; 32];
    const SIZE: Size = Size {
        width: 5,
        height: 4,
        channels: 3,
    };

    fn pixels() -> Vec<u8> {
        (0..60).collect()
    }

    #[test]
    fn rows_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("07/x.u8");
        assert_eq!(read(&path, &KEY, SIZE, 0, 4), ReadOutcome::Absent);
        write(&path, &KEY, SIZE, &pixels()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), SIZE.file_bytes());
        for (from, rows) in [(0, 4), (1, 2), (3, 1), (4, 0)] {
            let expected = pixels()[15 * from as usize..15 * (from + rows) as usize].to_vec();
            assert_eq!(
                read(&path, &KEY, SIZE, from, rows),
                ReadOutcome::Rows(expected)
            );
        }
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside"
        );
    }

    #[test]
    fn every_changed_byte_that_matters_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.u8");
        write(&path, &KEY, SIZE, &pixels()).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert_eq!(
                read(&path, &KEY, SIZE, 0, 4),
                ReadOutcome::Damaged,
                "byte {at}"
            );
        }
        for cut in [0, 63, 64, 80, good.len() - 1] {
            fs::write(&path, &good[..cut]).unwrap();
            assert_eq!(
                read(&path, &KEY, SIZE, 0, 1),
                ReadOutcome::Damaged,
                "{cut} bytes"
            );
        }
        fs::write(&path, [&good[..], &[0]].concat()).unwrap();
        assert_eq!(
            read(&path, &KEY, SIZE, 0, 1),
            ReadOutcome::Damaged,
            "a byte too many"
        );
        // Another source image's file, and one of another size.
        fs::write(&path, &good).unwrap();
        assert_eq!(read(&path, &[8; 32], SIZE, 0, 1), ReadOutcome::Damaged);
        assert_eq!(
            read(
                &path,
                &KEY,
                Size {
                    width: 4,
                    height: 5,
                    channels: 3
                },
                0,
                1
            ),
            ReadOutcome::Damaged
        );
        assert!(matches!(
            read(&path, &KEY, SIZE, 0, 1),
            ReadOutcome::Rows(_)
        ));
    }
}
