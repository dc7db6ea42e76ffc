//! Notes on the images of a folder, for the user who opens it.

use crate::data::decode::picture::Header;
use crate::data::source::image_file::first_few;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The files of a folder that cannot be read, and why.
#[derive(Debug)]
pub(crate) struct Skipped {
    files: Vec<(String, Error)>,
    /// Files in all.
    total: usize,
}

impl Skipped {
    /// None so far, of `total` files.
    pub(crate) fn of(total: usize) -> Skipped {
        Skipped {
            files: Vec::new(),
            total,
        }
    }

    pub(crate) fn push(&mut self, name: String, error: Error) {
        self.files.push((name, error));
    }

    /// An error that names the first failure if half of the files or more failed.
    pub(crate) fn enough(&self, root: &Path) -> Result<()> {
        if 2 * self.files.len() < self.total {
            return Ok(());
        }
        let first = self
            .files
            .iter()
            .min_by(|a, b| a.0.cmp(&b.0))
            .map_or(String::new(), |(_, error)| error.to_string());
        let what = format!(
            "{} of its {} images cannot be read; the first: {first}",
            self.files.len(),
            self.total
        );
        Err(Error::file(root, what))
    }

    pub(crate) fn note(mut self, notes: &mut Vec<String>) {
        if self.files.is_empty() {
            return;
        }
        self.files.sort_by(|a, b| a.0.cmp(&b.0));
        let reasons = self.files.iter().map(|(name, error)| match error {
            Error::File { what, .. } => format!("{name} ({what})"),
            other => format!("{name} ({other})"),
        });
        notes.push(format!(
            "{} of {} files skipped: {}",
            self.files.len(),
            self.total,
            first_few(reasons)
        ));
    }
}

/// Returns the size of most, if half or more agree on it and it is not large; a small square
/// otherwise.
pub(super) fn choose_size(headers: &[Header]) -> (usize, usize) {
    let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for header in headers {
        *counts.entry((header.width, header.height)).or_default() += 1;
    }
    // Of two sizes as common, the smaller: the map is in order and the later of equals would win.
    let (&size, &count) = counts
        .iter()
        .rev()
        .max_by_key(|(_, count)| **count)
        .unwrap_or((&(64, 64), &0));
    if count == headers.len() || (2 * count >= headers.len() && size.0.max(size.1) <= 256) {
        return size;
    }
    let mut sides: Vec<usize> = headers
        .iter()
        .map(|header| header.width.min(header.height))
        .collect();
    sides.sort_unstable();
    let median = sides[sides.len() / 2].max(1);
    let side = (1 << median.ilog2()).min(64);
    (side, side)
}

pub(super) fn note_sizes(
    headers: &[Header],
    (width, height): (usize, usize),
    notes: &mut Vec<String>,
) {
    let other = headers
        .iter()
        .filter(|header| (header.width, header.height) != (width, height))
        .count();
    if other == 0 {
        return;
    }
    let small = headers
        .iter()
        .filter(|header| header.width < width || header.height < height)
        .count();
    let enlarged = if small > 0 {
        format!(" ({small} of them smaller, so enlarged)")
    } else {
        String::new()
    };
    let all = headers.len();
    notes.push(format!(
        "{other} of {all} images have another size: cropped and scaled to \
         {width}x{height}{enlarged}"
    ));
}
