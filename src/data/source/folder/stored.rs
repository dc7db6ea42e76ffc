//! A folder whose pictures stay on disk: one image of each, or the tiles of each.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use crate::data::cache::{ImageCache, Source, Stamp, View};
use crate::data::decode::picture::Header;
use crate::data::decode::resize::Resize;
use crate::data::source::folder::{ImageFile, UnreadableTexts, classes, group, official, stem};
use crate::data::source::grid::Grid;
use crate::data::{ImageSet, Item, Options, Residency, cache_dir, split};
use crate::{Error, Result};

/// The form of a set's pictures, and of its images.
pub(crate) struct SetLayout<'a> {
    /// Width, height and channels of an image.
    pub(crate) image: (usize, usize, usize),
    /// Resize pictures are brought to the size at which they are kept.
    pub(crate) how: Resize,
    /// That size, and the images that a picture gives; `None` leaves it out as too small.
    pub(crate) grid: &'a dyn Fn(&Header) -> Option<Grid>,
}

/// Returns the set of the pictures `kept`.
pub(crate) fn open(
    root: &Path,
    kept: Vec<(ImageFile, Header)>,
    form: &SetLayout,
    options: &Options,
    mut notes: Vec<String>,
) -> Result<ImageSet> {
    let SetLayout {
        image: (width, height, channels),
        how,
        grid,
    } = *form;
    let tile = (width as u32, height as u32);
    let all = kept.len();
    let stamps: Vec<Result<Stamp>> = kept
        .par_iter()
        .map(|(file, _)| Stamp::of(&file.place))
        .collect();
    let (mut files, mut sources, mut grids, mut groups) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Copies share the first one's group, though no picture was decoded: they have the same length
    // and ends.
    let mut first: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    for ((file, header), stamp) in kept.into_iter().zip(stamps) {
        let Some(grid) = grid(&header) else { continue };
        let stamp = stamp?;
        groups.push(*first.entry(stamp.ends).or_insert(group(&file.name)));
        let (place, cost) = (file.place.clone(), header.cost);
        sources.push(Source {
            place,
            stamp,
            width: grid.width,
            height: grid.height,
            cost,
        });
        grids.push(grid);
        files.push(file);
    }
    let count: usize = grids.iter().map(Grid::tiles).sum();
    if count == 0 {
        return Err(Error::file(
            root,
            format!("no photograph is as large as {width}x{height} pixels"),
        ));
    }
    if count >= 1 << 31 {
        return Err(Error::file(
            root,
            format!("would give {count} images; 2^31 - 1 can be had"),
        ));
    }
    let sides = official(&files);
    let mut unread = UnreadableTexts::default();
    let (classes, class_of) = classes(&files, usize::from(sides.is_some()), &mut unread);
    let (mut items, mut views) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (n, (file, grid)) in files.iter().zip(&grids).enumerate() {
        let caption = file.caption(&mut unread);
        for i in 0..grid.tiles() as u32 {
            let name = match how {
                Resize::Fit => file.name.clone(),
                Resize::Scale => format!("{}@{i:03}", stem(&file.name)),
            };
            items.push(Item {
                name,
                group: groups[n],
                class: class_of[n],
                caption: caption.clone(),
                embedding: None,
            });
            let (x, y) = (i % grid.across * tile.0, i / grid.across * tile.1);
            views.push(View {
                picture: n as u32,
                x,
                y,
            });
        }
    }
    unread.note(&mut notes);
    let (train, test) = match sides {
        Some((_, held_out)) => {
            let mut held = vec![false; files.len()];
            held_out.iter().for_each(|n| held[*n as usize] = true);
            (0..count as u32).partition(|i| !held[views[*i as usize].picture as usize])
        }
        None => {
            let (train, test, note) = split(&items);
            notes.extend(note);
            (train, test)
        }
    };
    if files.len() < all {
        let small = all - files.len();
        notes.push(format!(
            "{small} of {all} photographs are smaller than {width}x{height} and were left out"
        ));
    }
    if how == Resize::Scale {
        notes.push(format!(
            "{} photographs cut into {count} tiles of {width}x{height}",
            files.len()
        ));
    }
    notes.push(where_kept(options));
    let store = ImageCache::new(sources, views, tile, channels, how, options)?;
    let name = root.display().to_string();
    Ok(ImageSet {
        name,
        width,
        height,
        channels,
        pixels: store.into(),
        items,
        classes,
        notes,
        train,
        test,
    })
}

fn where_kept(options: &Options) -> String {
    if options.keep == Residency::Memory {
        let mib = options.memory_bytes >> 20;
        return format!(
            "pictures are decoded as they are needed, and up to {mib} MiB of them held in memory"
        );
    }
    let folder = options
        .cache_dir
        .clone()
        .unwrap_or_else(cache_dir)
        .join("decoded");
    let mib = options.cache_bytes >> 20;
    format!(
        "pictures are decoded as they are needed, and kept on disk in {}, up to {mib} MiB",
        folder.display()
    )
}
