//! Source images that are not in memory: decoded when their set is opened, brought to the size at
//! which they are kept, written to the cache as bytes, and read from there by rows. The images of
//! the set are these, or tiles and crops of them.
//!
//! Memory holds a name and some numbers for each source image, what is being decoded (1 GiB at
//! most, all threads together), and the source images used last that have no place on disk.

mod disk_cache;
mod file;
pub(super) mod folder;
mod memory_cache;
mod sound;

use crate::data::decode::resize::{Resize, scaled};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::data::decode::memory_budget::{DECODING, MemoryBudget};
use crate::data::decode::picture;
use crate::data::decode::place::Place;
use crate::data::{Options, Residency, cache_dir};
use crate::{Error, Result};
use disk_cache::DiskCache;
use file::{Key, ReadOutcome, Size};
use memory_cache::MemoryCache;

/// Bytes of source images without a place on disk that are held in memory, where the disk is used.
const HELD: u64 = 256 << 20;
/// Bytes at either end of a file that stand for its content.
const END: u64 = 4 << 10;
/// Locks under which source images are made, so that one is not decoded twice at once.
const LOCKS: usize = 64;

/// The file of a source image, as it was when the set was opened.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) place: Place,
    pub(crate) stamp: Stamp,
    /// The size at which it is kept.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Bytes that decoding may take.
    pub(crate) cost: u64,
}

/// A fingerprint that tells a file from another, or from what it was, without reading all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
    /// SHA-256 of its length and both ends.
    pub(crate) ends: [u8; 32],
}

/// Place of an image of the set in a source image: its upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) picture: u32,
    pub(crate) x: u32,
    pub(crate) y: u32,
}

#[derive(Debug)]
struct CachedImage {
    place: Place,
    bytes: u64,
    modified: SystemTime,
    /// [`Stamp::ends`].
    ends: [u8; 32],
    key: Key,
    width: u32,
    height: u32,
    cost: u64,
}

/// The source images of a set on disk.
#[derive(Debug)]
pub struct ImageCache {
    pictures: Vec<CachedImage>,
    views: Vec<View>,
    /// Width and height of an image.
    tile: (u32, u32),
    channels: u32,
    how: Resize,
    whole: bool,
    disk: Option<DiskCache>,
    /// The name of the list of those that were whole and have no place on disk.
    listed: Key,
    memory: MemoryCache,
    budget: MemoryBudget,
    making: Vec<Mutex<()>>,
    sum: [u8; 32],
}

/// A part of a source image, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Stamp {
    pub(crate) fn of(place: &Place) -> Result<Stamp> {
        let cannot = |e: std::io::Error| place.error(format!("cannot be read: {e}"));
        let mut file = place.open().map_err(cannot)?;
        let (bytes, modified) = place.about().map_err(cannot)?;
        let mut ends = Vec::new();
        (&mut file)
            .take(END)
            .read_to_end(&mut ends)
            .map_err(cannot)?;
        file.seek(SeekFrom::Start(bytes.saturating_sub(END)))
            .map_err(cannot)?;
        file.take(END).read_to_end(&mut ends).map_err(cannot)?;
        let hash = Sha256::new()
            .chain_update(bytes.to_le_bytes())
            .chain_update(ends);
        Ok(Stamp {
            bytes,
            modified,
            ends: hash.finalize().into(),
        })
    }
}

impl ImageCache {
    /// The source images of the set at `root`, of which no image is shown yet: see
    /// [`ImageCache::show`].
    ///
    /// # Errors
    /// If the cache on disk cannot be used.
    pub(crate) fn new(
        root: &Path,
        sources: Vec<Source>,
        tile: (u32, u32),
        channels: usize,
        how: Resize,
        options: &Options,
    ) -> Result<ImageCache> {
        let channels = channels as u32;
        let mut pictures = Vec::with_capacity(sources.len());
        for source in sources {
            let Source {
                place,
                stamp,
                width,
                height,
                cost,
            } = source;
            let key = key(&place, &stamp, how, width, height, channels);
            let Stamp {
                bytes,
                modified,
                ends,
            } = stamp;
            pictures.push(CachedImage {
                place,
                bytes,
                modified,
                ends,
                key,
                width,
                height,
                cost,
            });
        }
        let listed = sound::name(root, how, tile, channels);
        let (disk, held) = match options.keep {
            Residency::Memory => (None, options.memory_bytes),
            Residency::Auto | Residency::Disk => {
                let size = |p: &CachedImage| {
                    Size {
                        width: p.width,
                        height: p.height,
                        channels,
                    }
                    .file_bytes()
                };
                let mut own: Vec<(Key, u64)> = pictures.iter().map(|p| (p.key, size(p))).collect();
                // Names beside the budget, and few bytes.
                own.push((listed, 0));
                own.sort_unstable();
                let root = options
                    .cache_dir
                    .clone()
                    .unwrap_or_else(cache_dir)
                    .join("decoded");
                (
                    Some(DiskCache::open(root, options.cache_bytes, &own)?),
                    options.memory_bytes.min(HELD),
                )
            }
        };
        Ok(ImageCache {
            pictures,
            views: Vec::new(),
            tile,
            channels,
            how,
            whole: options.whole,
            disk,
            listed,
            memory: MemoryCache::new(usize::try_from(held).unwrap_or(usize::MAX)),
            budget: MemoryBudget::new(DECODING),
            making: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            sum: [0; 32],
        })
    }

    /// Makes `views` the images, each as large as a tile of the set, which must lie in its source
    /// image.
    pub(crate) fn show(&mut self, views: Vec<View>) {
        let mut sum = Sha256::new();
        for CachedImage {
            ends,
            width,
            height,
            ..
        } in &self.pictures
        {
            sum.update(ends);
            sum.update(form(self.how, *width, *height, self.channels));
        }
        for View { picture, x, y } in &views {
            [picture, x, y]
                .iter()
                .for_each(|n| sum.update(n.to_le_bytes()));
        }
        (self.views, self.sum) = (views, sum.finalize().into());
    }

    /// Whether crops can be drawn from anywhere in the source images.
    pub fn whole(&self) -> bool {
        self.whole
    }

    /// Source images behind the images.
    pub fn pictures(&self) -> usize {
        self.pictures.len()
    }

    /// Stands for all pixels: see [`crate::data::ImageSet::sha256`].
    pub(crate) fn sum(&self) -> &[u8; 32] {
        &self.sum
    }

    /// Image `i`, `[H, W, C]`.
    pub(crate) fn image(&self, i: usize) -> Result<Vec<u8>> {
        let view = self.view(i)?;
        let (width, height) = self.tile;
        self.part(
            view.picture,
            Part {
                x: view.x,
                y: view.y,
                width,
                height,
            },
        )
    }

    /// Returns a crop of the source image that image `i` is from, brought to the size of an image,
    /// `[H, W, C]`. The crop has an image's shape and `area` of the area of the largest such crop,
    /// but is never smaller than an image; `at` says where it lies, from one side (0, 0) to the
    /// other (towards 1, 1).
    ///
    /// # Errors
    /// If there is no such image, or its source image can no longer be read.
    pub fn crop(&self, i: usize, area: f64, at: (f64, f64)) -> Result<Vec<u8>> {
        let picture = self.view(i)?.picture;
        let CachedImage { width, height, .. } = self.pictures[picture as usize];
        let part = place((width, height), self.tile, area, at);
        let pixels = self.part(picture, part)?;
        if (part.width, part.height) == self.tile {
            return Ok(pixels);
        }
        let whole = picture::whole(
            &pixels,
            (
                part.width as usize,
                part.height as usize,
                self.channels as usize,
            ),
        );
        let whole = whole.ok_or_else(|| {
            self.pictures[picture as usize]
                .place
                .error("its crop is short")
        })?;
        Ok(picture::fit(
            whole,
            self.tile.0 as usize,
            self.tile.1 as usize,
            self.channels as usize,
        ))
    }

    fn view(&self, i: usize) -> Result<View> {
        let missing = || Error::invalid("image", format!("image {i} of {}", self.views.len()));
        self.views.get(i).copied().ok_or_else(missing)
    }

    fn size(&self, picture: &CachedImage) -> Size {
        Size {
            width: picture.width,
            height: picture.height,
            channels: self.channels,
        }
    }

    /// Part of a source image: from memory, from disk, or from its file.
    fn part(&self, number: u32, part: Part) -> Result<Vec<u8>> {
        if let ReadOutcome::Rows(pixels) = self.kept(number, part) {
            return Ok(pixels);
        }
        let _one = self.making[number as usize % LOCKS].lock();
        // Another thread may have made it meanwhile.
        let damaged = match self.kept(number, part) {
            ReadOutcome::Rows(pixels) => return Ok(pixels),
            ReadOutcome::Damaged => true,
            ReadOutcome::Absent => false,
        };
        let picture = &self.pictures[number as usize];
        let (size, pixels) = (self.size(picture), self.decode(picture)?);
        let out = cut(&pixels, size, 0, part);
        self.keep(number, pixels, damaged)?;
        Ok(out)
    }

    /// Keeps a decoded source image where there is room for it: on disk, or among those used last.
    fn keep(&self, number: u32, pixels: Vec<u8>, damaged: bool) -> Result<()> {
        let picture = &self.pictures[number as usize];
        let size = self.size(picture);
        match &self.disk {
            // A damaged file's room is its own.
            Some(disk) if damaged || disk.reserve(size.file_bytes()) => {
                let path = disk.path(&picture.key);
                file::write(&path, &picture.key, size, &pixels).map_err(|e| {
                    if !damaged {
                        disk.release(size.file_bytes());
                    }
                    disk.refused(&path, &e)
                })
            }
            _ => {
                self.memory.put(number, Arc::new(pixels));
                Ok(())
            }
        }
    }

    /// Part of a source image, if it is decoded already.
    fn kept(&self, number: u32, part: Part) -> ReadOutcome {
        let picture = &self.pictures[number as usize];
        let size = self.size(picture);
        if let Some(pixels) = self.memory.get(number) {
            return ReadOutcome::Rows(cut(&pixels, size, 0, part));
        }
        let Some(disk) = &self.disk else {
            return ReadOutcome::Absent;
        };
        match file::read(
            &disk.path(&picture.key),
            &picture.key,
            size,
            part.y,
            part.height,
        ) {
            ReadOutcome::Rows(rows) => ReadOutcome::Rows(cut(&rows, size, part.y, part)),
            other => other,
        }
    }

    /// Returns the source image in the form in which it is kept.
    fn decode(&self, picture: &CachedImage) -> Result<Vec<u8>> {
        let gone = |e: std::io::Error| {
            picture
                .place
                .error(format!("was there when the set was opened: {e}"))
        };
        if picture.place.about().map_err(gone)? != (picture.bytes, picture.modified) {
            return Err(picture
                .place
                .error("has changed since the set was opened; begin again with it as it is now"));
        }
        let _pass = self.budget.enter(picture.cost);
        let (width, height, channels) = (
            picture.width as usize,
            picture.height as usize,
            self.channels as usize,
        );
        match self.how {
            Resize::Fit => picture::load_fit(&picture.place, width, height, channels),
            Resize::Scale => Ok(picture::in_channels(
                scaled(&picture.place, picture.width, picture.height)?,
                channels,
            )),
        }
    }
}

/// The bytes that say in what form a source image is kept.
fn form(how: Resize, width: u32, height: u32, channels: u32) -> [u8; 13] {
    let mut out = [0; 13];
    // Another number here, should the same form ever be made in another way.
    out[0] = match how {
        Resize::Fit => 1,
        Resize::Scale => 2,
    };
    for (i, n) in [width, height, channels].into_iter().enumerate() {
        out[1 + 4 * i..5 + 4 * i].copy_from_slice(&n.to_le_bytes());
    }
    out
}

fn key(place: &Place, stamp: &Stamp, how: Resize, width: u32, height: u32, channels: u32) -> Key {
    let modified = stamp
        .modified
        .duration_since(UNIX_EPOCH)
        .map_or(0, |t| t.as_nanos());
    let hash = Sha256::new()
        .chain_update(place.identity())
        .chain_update(modified.to_le_bytes())
        .chain_update(stamp.ends)
        .chain_update(form(how, width, height, channels));
    hash.finalize().into()
}

/// `part` out of rows that begin at row `from` of a source image of that size.
fn cut(rows: &[u8], size: Size, from: u32, part: Part) -> Vec<u8> {
    let (row, pixel) = (size.row(), size.channels as usize);
    let (left, bytes) = (part.x as usize * pixel, part.width as usize * pixel);
    let lines = rows
        .chunks(row.max(1))
        .skip((part.y - from) as usize)
        .take(part.height as usize);
    lines
        .flat_map(|line| &line[left..left + bytes])
        .copied()
        .collect()
}

/// The crop of a source image: see [`ImageCache::crop`].
fn place(picture: (u32, u32), tile: (u32, u32), area: f64, at: (f64, f64)) -> Part {
    let (w, h, tile_w, tile_h) = (
        u64::from(picture.0),
        u64::from(picture.1),
        u64::from(tile.0),
        u64::from(tile.1),
    );
    let (most_w, most_h) = if w * tile_h > h * tile_w {
        (h * tile_w / tile_h, h)
    } else {
        (w, w * tile_h / tile_w)
    };
    let side = area.clamp(0.0, 1.0).sqrt();
    let of = |most: u64, least: u64| ((most as f64 * side).round() as u64).max(least).min(most);
    let (width, height) = (of(most_w, tile_w), of(most_h, tile_h));
    let from =
        |room: u64, at: f64| ((at.clamp(0.0, 1.0) * (room + 1) as f64) as u64).min(room) as u32;
    Part {
        x: from(w - width, at.0),
        y: from(h - height, at.1),
        width: width as u32,
        height: height as u32,
    }
}

#[cfg(test)]
mod tests;
