//! Large photographs cut into many small images.
//!
//! Each photograph is scaled so that [`ROWS`] tiles, or as many as fit the side asked for, fit its
//! height or width, whichever is shorter (never enlarged for it: a smaller one gives fewer), and
//! cut into tiles side by side. A photograph's tiles share its group, so that no part of a
//! photograph trained on is tested on.

use super::grid::Grid;
use std::path::Path;

use image::imageops;
use rayon::prelude::*;

use crate::data::decode::memory_budget::{DECODING, MemoryBudget};
use crate::data::decode::picture;
use crate::data::decode::picture::Header;
use crate::data::decode::place::Place;
use crate::data::decode::resize::{Resize, scaled};
use crate::data::source::folder;
use crate::data::source::folder::Skipped;
use crate::data::source::folder::stored::SetLayout;
use crate::data::source::image_file::ImageFile;
use crate::data::{ImageSet, Item, Options, budget, split};
use crate::{Error, Result};

/// The side of a tile where no size is asked for.
const SIDE: usize = 64;

/// Opens the folder `root` of photographs as tiles.
pub(crate) fn open(root: &Path, options: &Options) -> Result<ImageSet> {
    let (width, height) = options.size.unwrap_or((SIDE, SIDE));
    let channels = options.channels.unwrap_or(3);
    let name = root.display().to_string();
    let mut notes = Vec::new();
    let files = folder::walk(root, &mut notes)?;
    let headers: Vec<Result<Header>> = files
        .par_iter()
        .map(|file| picture::header(&file.place))
        .collect();
    let headers: Vec<Header> = headers.into_iter().collect::<Result<_>>()?;
    let tile = (width as u32, height as u32);
    let grids: Vec<Option<Grid>> = headers
        .iter()
        .map(|h| Grid::of(h, tile, options.photo_side))
        .collect();
    let count = grids.iter().flatten().map(Grid::tiles).sum();
    if options.whole || options.on_disk(count, width * height * channels) {
        let skipped = Skipped::of(files.len());
        let kept = files.into_iter().zip(headers).collect();
        return stored(root, kept, skipped, options, notes);
    }
    budget(&name, count, width, height, channels)?;
    let budget = MemoryBudget::new(DECODING);
    let cut: Vec<Result<Vec<Vec<u8>>>> = (&files, &headers, &grids)
        .into_par_iter()
        .map(|(file, header, grid)| {
            let Some(grid) = grid else {
                return Ok(Vec::new());
            };
            let _permit = budget.enter(header.cost);
            cut(&file.place, *grid, tile, channels)
        })
        .collect();
    let mut pixels = Vec::new();
    let mut items = Vec::new();
    let photographs = files.len();
    for (file, tiles) in files.into_iter().zip(cut) {
        for (i, tile) in tiles?.into_iter().enumerate() {
            pixels.extend_from_slice(&tile);
            let name = format!("{}@{i:03}", folder::stem(&file.name));
            items.push(Item {
                name,
                group: folder::group(&file.name),
                class: None,
                caption: None,
                embedding: None,
            });
        }
    }
    if items.is_empty() {
        return Err(Error::file(
            root,
            format!("no photograph is as large as {width}x{height} pixels"),
        ));
    }
    notes.push(format!(
        "{photographs} photographs cut into {} tiles of {width}x{height}",
        items.len()
    ));
    let (train, test, note) = split(&items);
    notes.extend(note);
    let (pixels, classes) = (pixels.into(), Vec::new());
    Ok(ImageSet {
        name,
        width,
        height,
        channels,
        pixels,
        items,
        classes,
        notes,
        train,
        test,
    })
}

/// Returns the set of photographs that stay on disk.
pub(crate) fn stored(
    root: &Path,
    kept: Vec<(ImageFile, Header)>,
    skipped: Skipped,
    options: &Options,
    notes: Vec<String>,
) -> Result<ImageSet> {
    let (width, height) = options.size.unwrap_or((SIDE, SIDE));
    let grid =
        |header: &Header| Grid::of(header, (width as u32, height as u32), options.photo_side);
    let image = (width, height, options.channels.unwrap_or(3));
    folder::stored::open(
        root,
        kept,
        skipped,
        &SetLayout {
            image,
            how: Resize::Scale,
            grid: &grid,
        },
        options,
        notes,
    )
}

/// Returns the tiles of one photograph, row by row.
fn cut(
    place: &Place,
    grid: Grid,
    (tile_w, tile_h): (u32, u32),
    channels: usize,
) -> Result<Vec<Vec<u8>>> {
    let small = scaled(place, grid.width, grid.height)?;
    let tile = |i: u32| {
        let (x, y) = (i % grid.across * tile_w, i / grid.across * tile_h);
        picture::in_channels(
            imageops::crop_imm(&small, x, y, tile_w, tile_h).to_image(),
            channels,
        )
    };
    Ok((0..grid.tiles() as u32).map(tile).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::decode::picture::tests::{encoded, gradient};
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
        let set = open(
            dir.path(),
            &Options {
                size: Some((16, 16)),
                ..Default::default()
            },
        )
        .unwrap();
        let mut count: BTreeMap<u64, usize> = BTreeMap::new();
        for item in &set.items {
            *count.entry(item.group).or_default() += 1;
        }
        let mut counts: Vec<usize> = count.into_values().collect();
        counts.sort_unstable();
        assert_eq!(counts, [12, 96]);
        assert_eq!(
            (
                set.len(),
                set.items[95].name.as_str(),
                set.items[96].name.as_str()
            ),
            (108, "0@095", "1@000")
        );
        assert_eq!(set.pixels.in_memory().unwrap().len(), 108 * 16 * 16 * 3);
        // Tiles at full size are the source image's own pixels: the first row of the second tile
        // starts at column 16.
        assert_eq!(set.image(97).unwrap()[..3], [(16 * 7) as u8, 0, 20]);
        assert!(!set.train.is_empty() && !set.test.is_empty());
        let side = |i: &u32| set.items[*i as usize].group;
        assert!(
            !set.train.iter().map(side).any(|group| set
                .test
                .iter()
                .map(side)
                .any(|other| other == group))
        );
    }

    #[test]
    fn tiles_on_disk_are_the_tiles_in_memory() {
        let (dir, cache) = (
            folder(&[(384, 256), (48, 64), (15, 200), (100, 80)]),
            tempfile::tempdir().unwrap(),
        );
        for channels in [1, 3] {
            let options = Options {
                size: Some((16, 16)),
                channels: Some(channels),
                cache_dir: Some(cache.path().into()),
                photo_side: 70,
                ..Default::default()
            };
            let memory = open(dir.path(), &options).unwrap();
            let stored = open(
                dir.path(),
                &Options {
                    memory_bytes: 1000,
                    ..options.clone()
                },
            )
            .unwrap();
            assert!(stored.pixels.in_memory().is_none() && stored.pixels.photographs().is_none());
            // Four rows in 70 pixels, six columns; 3 x 4 as they are; 4 x 5.
            assert_eq!((memory.len(), &memory.items), (24 + 12 + 20, &stored.items));
            let all: Vec<u32> = (0..memory.len() as u32).collect();
            assert_eq!(stored.gather(&all).unwrap(), memory.gather(&all).unwrap());
            assert_eq!((stored.train, stored.test), (memory.train, memory.test));
        }
    }

    #[test]
    fn tiles_larger_than_every_photograph_are_refused() {
        let dir = folder(&[(20, 20)]);
        let error = open(dir.path(), &Options::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("as large as 64x64"), "{error}");
    }
}
