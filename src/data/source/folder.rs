//! A folder of images, with all its subfolders.
//!
//! Files are taken by their ending and read by their content, in the order of their paths. The
//! subfolders just below the folder are the classes; where these are `train` and one of `test`,
//! `val`, `valid`, `validation`, they are the split, and the classes lie one deeper. A `.txt` file
//! of the same stem is an image's caption, or one whose stem is the image's up to its first dot.
//! A folder without images that has tar archives is the images of these, and one that has Parquet
//! files is the rows of these. Images that differ only after an `@` in the file's name
//! (`boat@2x.png`), and images with the same pixels, are variants of one. A file that cannot be
//! read is skipped and told of, unless half or more cannot.
//!
//! A set that does not fit in memory stays on disk ([`stored`]): then images count as the same if
//! their files are.

mod classes;
mod notes;
pub(crate) mod stored;

use crate::data::decode::formats::{CONVERT, ENDINGS, UNREAD, kinds};
use crate::data::decode::memory_budget::{DECODING, MemoryBudget};
use classes::classes;
pub(crate) use notes::Skipped;
use notes::{choose_size, note_sizes};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::data::decode::picture;
use crate::data::decode::picture::Header;
use crate::data::decode::place::Place;
use crate::data::decode::resize::Resize;
use crate::data::source::archive;
use crate::data::source::grid::Grid;
use crate::data::source::image_file::{
    ImageFile, Sidecar, TEST, TRAIN, UnreadableTexts, first_few,
};
use crate::data::source::parquet;
use crate::data::source::tiles;
use crate::data::{ImageSet, Item, Options, budget, split};
use crate::{Error, Result};
use stored::SetLayout;

/// Opens Parquet files, given with their names below `root`.
pub(crate) fn open_parquet(
    root: &Path,
    files: &[(PathBuf, String)],
    options: &Options,
) -> Result<ImageSet> {
    let mut notes = Vec::new();
    let found = parquet::samples(files, &mut notes)?;
    match found.is_empty() {
        true => Err(Error::file(root, "holds no rows")),
        false => load(root, found, options, notes),
    }
}

/// Opens the folder `root`.
pub(crate) fn open(root: &Path, options: &Options) -> Result<ImageSet> {
    let mut notes = Vec::new();
    let found = walk(root, &mut notes)?;
    load(root, found, options, notes)
}

/// Reads these images, which `root` holds or names.
pub(crate) fn load(
    root: &Path,
    found: Vec<ImageFile>,
    options: &Options,
    mut notes: Vec<String>,
) -> Result<ImageSet> {
    let headers: Vec<Result<Header>> = found
        .par_iter()
        .map(|file| picture::header(&file.place))
        .collect();
    let mut skipped = Skipped::of(found.len());
    let mut kept: Vec<(ImageFile, Header)> = Vec::new();
    for (file, header) in found.into_iter().zip(headers) {
        match header {
            Ok(header) => kept.push((file, header)),
            Err(error) => skipped.push(file.name, error),
        }
    }
    skipped.enough(root)?;
    if options.whole {
        return tiles::stored(root, kept, skipped, options, notes);
    }
    let headers: Vec<Header> = kept.iter().map(|(_, header)| *header).collect();
    let (width, height) = options.size.unwrap_or_else(|| choose_size(&headers));
    let channels = options
        .channels
        .unwrap_or(if headers.iter().all(|header| header.grey) {
            1
        } else {
            3
        });
    note_sizes(&headers, (width, height), &mut notes);

    let bytes = width * height * channels;
    if options.on_disk(kept.len(), bytes) {
        let one = |_: &Header| {
            Some(Grid {
                width: width as u32,
                height: height as u32,
                across: 1,
                down: 1,
            })
        };
        let form = SetLayout {
            image: (width, height, channels),
            how: Resize::Fit,
            grid: &one,
        };
        return stored::open(root, kept, skipped, &form, options, notes);
    }
    let name = root.display().to_string();
    let mut pixels = picture::zeros(&name, budget(&name, kept.len(), width, height, channels)?)?;
    let budget = MemoryBudget::new(DECODING);
    let outcomes: Vec<Result<()>> = (&kept, pixels.par_chunks_mut(bytes))
        .into_par_iter()
        .map(|((file, header), out)| {
            let _permit = budget.enter(header.cost);
            out.copy_from_slice(&picture::load_fit(&file.place, width, height, channels)?);
            Ok(())
        })
        .collect();
    let mut files = Vec::with_capacity(kept.len());
    for (i, ((file, _), outcome)) in kept.into_iter().zip(outcomes).enumerate() {
        match outcome {
            Ok(()) => {
                pixels.copy_within(i * bytes..(i + 1) * bytes, files.len() * bytes);
                files.push(file);
            }
            Err(error) => skipped.push(file.name, error),
        }
    }
    skipped.enough(root)?;
    pixels.truncate(files.len() * bytes);
    skipped.note(&mut notes);

    let official = official(&files);
    let mut unread = UnreadableTexts::default();
    let (classes, class_of) = classes(&files, usize::from(official.is_some()), &mut unread);
    let groups = groups(&files, &pixels, bytes);
    let items: Vec<Item> = files
        .iter()
        .zip(groups)
        .zip(class_of)
        .map(|((file, group), class)| Item {
            name: file.name.clone(),
            group,
            class,
            caption: file.caption(&mut unread),
            embedding: None,
        })
        .collect();
    unread.note(&mut notes);
    let (train, test) = official.unwrap_or_else(|| {
        let (train, test, note) = split(&items);
        notes.extend(note);
        (train, test)
    });
    let pixels = pixels.into();
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

/// Returns every image below `root` in the order of the names; hidden files and folders are left
/// alone.
pub(crate) fn walk(root: &Path, notes: &mut Vec<String>) -> Result<Vec<ImageFile>> {
    let mut found = Vec::new();
    let mut unread: BTreeMap<String, usize> = BTreeMap::new();
    let mut closed = Vec::new();
    let mut others = 0;
    let mut texts = HashMap::<String, PathBuf>::new();
    let (mut shards, mut tables) = (Vec::new(), Vec::new());
    // A folder reached twice, through a link, holds the same images again, or itself.
    let mut seen = BTreeSet::new();
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        if !seen.insert(fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone())) {
            continue;
        }
        let listed =
            fs::read_dir(&folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let mut entries = match listed {
            Ok(entries) => entries,
            Err(error) if prefix.is_empty() => {
                return Err(Error::file(root, format!("cannot be listed: {error}")));
            }
            Err(_) => {
                closed.push(prefix);
                continue;
            }
        };
        // Last name first, since the stack turns them round: which of two links is followed must
        // not be chance.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
        for entry in entries {
            let file_name = entry.file_name().to_string_lossy().into_owned();
            if file_name.starts_with('.') {
                continue;
            }
            let (path, name) = (entry.path(), format!("{prefix}{file_name}"));
            let ending = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase();
            if fs::metadata(&path).is_ok_and(|meta| meta.is_dir()) {
                open.push((path, name + "/"));
            } else if ENDINGS.contains(&&*ending) {
                found.push(ImageFile::file(path, name));
            } else if ending == "txt" {
                others += 1;
                let end = name.len() - ending.len() - 1;
                // Of two that differ in case alone, the one that is so written before, and else the
                // first.
                if name.ends_with(".txt") || !texts.contains_key(&name[..end]) {
                    texts.insert(name[..end].to_owned(), path);
                }
            } else if archive::is_archive(&path) {
                shards.push((path, name));
            } else if parquet::is_parquet(&path) {
                tables.push((path, name));
            } else if UNREAD.contains(&&*ending) {
                *unread.entry(ending).or_default() += 1;
            } else {
                others += 1;
            }
        }
    }
    for file in &mut found {
        if let Some(text) = stems(&file.name).iter().find_map(|stem| texts.get(*stem)) {
            file.caption = Sidecar::At(Place::file(text));
        }
    }
    if found.is_empty() {
        for (path, name) in &shards {
            let prefix = format!("{name}/");
            found.extend(archive::samples(path, &prefix, &mut unread, notes)?);
        }
    } else if !shards.is_empty() {
        let what = "archives beside the images were passed over: give a folder of archives \
                    alone, or one of them";
        notes.push(format!("{} {what}", shards.len()));
    }
    if found.is_empty() && !tables.is_empty() {
        tables.sort_by(|(_, a), (_, b)| a.cmp(b));
        found.extend(parquet::samples(&tables, notes)?);
    } else if !tables.is_empty() {
        let what = "Parquet files beside the images were passed over: give one of them, or a \
                    folder of them alone";
        notes.push(format!("{} {what}", tables.len()));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if found.is_empty() {
        let passed = match unread.is_empty() {
            true => String::new(),
            false => format!(", {}", passed_over(&unread)),
        };
        let others = others + shards.len() + tables.len();
        let kinds = kinds();
        let what = format!(
            "holds no images ({kinds}), itself or in its subfolders; found {others} other \
             files{passed}"
        );
        return Err(Error::file(root, what));
    }
    note_passed_over(&unread, notes);
    if !closed.is_empty() {
        closed.sort();
        notes.push(format!(
            "folders that could not be listed: {}",
            first_few(closed.into_iter())
        ));
    }
    Ok(found)
}

/// Returns how many images of each ending are not read, and a way out.
pub(crate) fn passed_over(unread: &BTreeMap<String, usize>) -> String {
    let counts = unread.iter().map(|(ending, n)| format!("{n} .{ending}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let ending = unread.keys().next().map_or("", String::as_str);
    format!("{counts}; {CONVERT} *.{ending}`")
}

/// Tells of images in formats that are not read, where there are some.
pub(crate) fn note_passed_over(unread: &BTreeMap<String, usize>, notes: &mut Vec<String>) {
    if !unread.is_empty() {
        let what = "images in formats that are not read were passed over";
        notes.push(format!("{what}: {}", passed_over(unread)));
    }
}

/// Returns the names of an image's text without their ending: as the image without its own, or
/// up to its first dot.
fn stems(name: &str) -> [&str; 2] {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let last = name[file..].rfind('.').map_or(name.len(), |dot| file + dot);
    let first = name[file..].find('.').map_or(name.len(), |dot| file + dot);
    [&name[..last], &name[..first]]
}

/// Train and test, where the subfolders just below say so.
fn official(files: &[ImageFile]) -> Option<(Vec<u32>, Vec<u32>)> {
    let side = |file: &ImageFile| {
        let folder = file.folders().first()?.to_lowercase();
        match (TRAIN.contains(&&*folder), TEST.contains(&&*folder)) {
            (false, false) => None,
            (train, _) => Some(train),
        }
    };
    let sides: Vec<bool> = files.iter().map(side).collect::<Option<_>>()?;
    let (train, test): (Vec<u32>, Vec<u32>) =
        (0..files.len() as u32).partition(|&i| sides[i as usize]);
    (!train.is_empty() && !test.is_empty()).then_some((train, test))
}

/// Returns the first 8 bytes of SHA-256 of the name without its ending and without what follows an
/// `@`.
pub(crate) fn group(name: &str) -> u64 {
    Sha256::digest(stem(name))
        .iter()
        .take(8)
        .fold(0, |n, &byte| n << 8 | u64::from(byte))
}

/// Each image's [`group`]; images whose pixels are the same take the first one's.
fn groups(files: &[ImageFile], pixels: &[u8], bytes: usize) -> Vec<u64> {
    let sums: Vec<[u8; 32]> = pixels
        .par_chunks(bytes)
        .map(|image| Sha256::digest(image).into())
        .collect();
    let mut first: BTreeMap<[u8; 32], u64> = BTreeMap::new();
    files
        .iter()
        .zip(sums)
        .map(|(file, sum)| *first.entry(sum).or_insert(group(&file.name)))
        .collect()
}

pub(crate) fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let end = name[file..].rfind('.').map_or(name.len(), |dot| file + dot);
    match name[file..end].find('@') {
        Some(at) if at > 0 => &name[..file + at],
        _ => &name[..end],
    }
}

#[cfg(test)]
mod tests;
