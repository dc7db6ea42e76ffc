//! Large photographs cut into many small images.
//!
//! Each photograph is scaled so that [`ROWS`] tiles fit its height or width, whichever is shorter (never enlarged for
//! it: a smaller one gives fewer), and cut into tiles side by side. A photograph's tiles share its group, so that no
//! part of a photograph trained on is tested on.

use std::path::Path;

use image::DynamicImage;
use image::imageops::{self, FilterType};
use rayon::prelude::*;

use super::folder::{self, DECODING, Gate};
use super::{ImageSet, Item, Options, budget, picture, split};
use crate::{Error, Result};

/// Tiles across the shorter side of a photograph.
const ROWS: u32 = 8;
/// The side of a tile where no size is asked for.
const SIDE: usize = 64;

/// Opens the folder `root` of photographs as tiles.
pub(super) fn open(root: &Path, options: &Options) -> Result<ImageSet> {
    let (width, height) = options.size.unwrap_or((SIDE, SIDE));
    let channels = options.channels.unwrap_or(3);
    let name = root.display().to_string();
    let mut notes = Vec::new();
    let files = folder::walk(root, &mut notes)?;
    let gate = Gate::new(DECODING);
    let cut: Vec<Result<Vec<Vec<u8>>>> = files
        .par_iter()
        .map(|file| {
            let _pass = gate.enter(picture::header(&file.path)?.cost);
            cut(&file.path, width, height, channels)
        })
        .collect();
    let mut set = ImageSet {
        name,
        width,
        height,
        channels,
        pixels: Vec::new(),
        items: Vec::new(),
        classes: Vec::new(),
        notes,
        train: Vec::new(),
        test: Vec::new(),
    };
    let photographs = files.len();
    for (file, tiles) in files.into_iter().zip(cut) {
        let tiles = tiles?;
        budget(&set.name, set.len() + tiles.len(), width, height, channels)?;
        for (i, tile) in tiles.into_iter().enumerate() {
            set.pixels.extend_from_slice(&tile);
            let name = format!("{}@{i:03}", folder::stem(&file.name));
            set.items.push(Item { name, group: folder::group(&file.name), class: None, caption: None });
        }
    }
    if set.is_empty() {
        return Err(Error::file(root, format!("no photograph is as large as {width}x{height} pixels")));
    }
    set.notes.push(format!("{photographs} photographs cut into {} tiles of {width}x{height}", set.len()));
    let (train, test, note) = split(&set.items);
    (set.train, set.test) = (train, test);
    set.notes.extend(note);
    Ok(set)
}

/// The tiles of one photograph, row by row; none if it is smaller than a tile.
fn cut(path: &Path, width: usize, height: usize, channels: usize) -> Result<Vec<Vec<u8>>> {
    let photograph = picture::load_whole(path)?;
    let (w, h) = photograph.dimensions();
    let (tile_w, tile_h) = (width as u32, height as u32);
    let rows = (w / tile_w).min(h / tile_h).min(ROWS);
    if rows == 0 {
        return Ok(Vec::new());
    }
    // The scale at which the side that is shorter, in tiles, holds `rows` of them.
    let scale = (f64::from(rows * tile_w) / f64::from(w)).max(f64::from(rows * tile_h) / f64::from(h));
    let scaled = |side: u32| (f64::from(side) * scale).round() as u32;
    let small = imageops::resize(&photograph, scaled(w), scaled(h), FilterType::Lanczos3);
    let (across, down) = (small.width() / tile_w, small.height() / tile_h);
    let tile = |i: u32| {
        let view = imageops::crop_imm(&small, i % across * tile_w, i / across * tile_h, tile_w, tile_h);
        picture::fit(DynamicImage::ImageRgb8(view.to_image()), width, height, channels)
    };
    Ok((0..across * down).map(tile).collect())
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::{encoded, gradient};
    use super::*;
    use std::collections::BTreeMap;

    fn folder(sizes: &[(u32, u32)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (i, (w, h)) in sizes.iter().enumerate() {
            let picture = encoded(&gradient(*w, *h, 20 * i as u8), image::ImageFormat::Png);
            std::fs::write(dir.path().join(format!("{i}.png")), picture).unwrap();
        }
        dir
    }

    #[test]
    fn photographs_become_tiles_of_one_group_each() {
        // 8 x 12 of 16 px after halving; 3 x 4 as they are; one too small.
        let dir = folder(&[(384, 256), (48, 64), (15, 200)]);
        let set = open(dir.path(), &Options { size: Some((16, 16)), ..Default::default() }).unwrap();
        let mut count: BTreeMap<u64, usize> = BTreeMap::new();
        for item in &set.items {
            *count.entry(item.group).or_default() += 1;
        }
        let mut counts: Vec<usize> = count.into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, [12, 96]);
        assert_eq!((set.len(), set.items[95].name.as_str(), set.items[96].name.as_str()), (108, "0@095", "1@000"));
        assert_eq!(set.pixels.len(), 108 * 16 * 16 * 3);
        // Tiles at full size are the picture's own pixels: the first row of the second tile starts at column 16.
        assert_eq!(set.image(97)[..3], [(16 * 7) as u8, 0, 20]);
        assert!(!set.train.is_empty() && !set.test.is_empty());
        let side = |i: &u32| set.items[*i as usize].group;
        assert!(!set.train.iter().map(side).any(|group| set.test.iter().map(side).any(|other| other == group)));
    }

    #[test]
    fn tiles_larger_than_every_photograph_are_refused() {
        let dir = folder(&[(20, 20)]);
        let error = open(dir.path(), &Options::default()).unwrap_err().to_string();
        assert!(error.contains("as large as 64x64"), "{error}");
    }
}
