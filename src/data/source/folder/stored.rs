//! A folder whose source images stay on disk: each gives one image of the set, or its tiles.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

use crate::data::cache::{ImageCache, Source, Stamp, View};
use crate::data::decode::picture::Header;
use crate::data::decode::resize::Resize;
use crate::data::source::folder::classes::classes;
use crate::data::source::folder::{Skipped, group, official, stem};
use crate::data::source::grid::Grid;
use crate::data::source::image_file::{ImageFile, UnreadableTexts};
use crate::data::{ImageSet, Item, Options, Residency, cache_dir, split};
use crate::{Error, Result};

/// The form of a set's source images, and of its images.
pub(crate) struct SetLayout<'a> {
    /// Width, height and channels of an image.
    pub(crate) image: (usize, usize, usize),
    /// The way in which images are brought to the size at which they are kept.
    pub(crate) how: Resize,
    /// That size, and the images that a source image gives; `None` leaves it out as too small.
    pub(crate) grid: &'a dyn Fn(&Header) -> Option<Grid>,
}

/// Returns the set of the source images `kept`. All that were not decoded before are decoded now,
/// so that a damaged one is found here, and not in the middle of training.
pub(crate) fn open(
    root: &Path,
    kept: Vec<(ImageFile, Header)>,
    mut skipped: Skipped,
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
    let (mut files, mut sources, mut grids) = (Vec::new(), Vec::new(), Vec::new());
    for ((file, header), stamp) in kept.into_iter().zip(stamps) {
        let Some(grid) = grid(&header) else { continue };
        sources.push(Source {
            place: file.place.clone(),
            stamp: stamp?,
            width: grid.width,
            height: grid.height,
            cost: header.cost,
        });
        grids.push(grid);
        files.push(file);
    }
    let small = all - files.len();
    let mut store = ImageCache::new(root, sources, tile, channels, how, options)?;
    let mut damaged = store.damaged()?;
    store.leave_out(&damaged);
    let mut whole = Vec::with_capacity(files.len());
    for (n, (file, grid)) in files.into_iter().zip(grids).enumerate() {
        match damaged.remove(&n) {
            Some(error) => skipped.push(file.name, error),
            None => whole.push((file, grid)),
        }
    }
    skipped.enough(root)?;
    skipped.note(&mut notes);
    let (files, grids): (Vec<ImageFile>, Vec<Grid>) = whole.into_iter().unzip();
    // Copies share the first one's group: they have the same length and ends.
    let mut first: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    let groups: Vec<u64> = files
        .iter()
        .zip(store.ends())
        .map(|(file, ends)| *first.entry(*ends).or_insert(group(&file.name)))
        .collect();
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
    if small > 0 {
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
    store.show(views);
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
            "images are decoded as they are needed, and up to {mib} MiB of them held in memory"
        );
    }
    let folder = options
        .cache_dir
        .clone()
        .unwrap_or_else(cache_dir)
        .join("decoded");
    let mib = options.cache_bytes >> 20;
    format!(
        "decoded images are kept on disk in {}, up to {mib} MiB; what is beyond that is decoded \
         as it is needed",
        folder.display()
    )
}
