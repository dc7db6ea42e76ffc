//! A split by a list of files: a text file that names the images that are held out, one a line.
//!
//! A line is the name of an image as the set has it, which for a folder is its path below it with
//! `/`, for a tar the name in it, for a folder of tars both (`00012.tar/0001.jpg`); or a pattern:
//! `*` stands for any letters of one part of a path, `?` for one of them, `**` for any parts. A
//! photograph that gives several images is held out with all of them. Empty lines, and lines that
//! begin with `#`, say nothing.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use crate::data::source::folder::stem;
use crate::data::source::image_file::first_few;
use crate::data::{ImageSet, Options, TOO_FEW};
use crate::{Error, Result, files};

/// The key that errors of a list of images held out name ([`Options::test_files`]).
pub const KEY: &str = "data.test_files";

/// Returns the error of two rules for one split.
pub(crate) fn two_rules() -> Error {
    let what = "and data.split = \"captions\" are two rules for one split: leave one of them out";
    Error::config(KEY, what)
}

/// Checks that no files are to be held out of a source whose images are none.
pub(crate) fn none(source: &str, options: &Options) -> Result<()> {
    match &options.test_files {
        None => Ok(()),
        Some(_) => Err(Error::config(
            KEY,
            format!(
                "names files, and the images of `{source}` are none: they lie together in one \
                 file, in the order that they have there; leave it out, or give a folder, a tar, \
                 Parquet files or JSON Lines"
            ),
        )),
    }
}

/// Holds out the images that the file `list` names, and trains on all others.
///
/// # Errors
/// If it cannot be read, a line of it names no image, or a side would be empty.
pub(crate) fn hold_out(set: &mut ImageSet, list: &Path) -> Result<()> {
    let kept = "; a run keeps its list as `test-files.txt` in its folder";
    let text = files::read_text(list, files::LIST)
        .map_err(|e| Error::config(KEY, format!("{e}{kept}")))?;
    let held = held(set, list, &text)?;
    let (test, train): (Vec<u32>, Vec<u32>) =
        (0..set.len() as u32).partition(|i| held[*i as usize]);
    let shown = list.display();
    if test.is_empty() || train.is_empty() {
        let what = match test.is_empty() {
            true => format!("{shown} names no image: it has no line that says something"),
            false => format!(
                "{shown} names all {} images of {}, so that none is left to train on",
                test.len(),
                set.name
            ),
        };
        return Err(Error::config(KEY, what));
    }
    set.notes.retain(|note| !note.starts_with(TOO_FEW));
    set.notes.push(format!(
        "split by {shown}: {} images to train on, {} held out",
        train.len(),
        test.len()
    ));
    let groups = |side: &[u32]| -> BTreeSet<u64> {
        side.iter().map(|i| set.items[*i as usize].group).collect()
    };
    let trained = groups(&train);
    let is_shared = |i: &&u32| trained.contains(&set.items[**i as usize].group);
    let shared = test.iter().filter(is_shared).count();
    if shared > 0 {
        set.notes.push(format!(
            "{shared} images that are held out have variants or copies among those that are \
             trained on, so that the test figures say less: name these in {shown} too"
        ));
    }
    (set.train, set.test) = (train, test);
    Ok(())
}

/// Returns which images the lines name.
fn held(set: &ImageSet, list: &Path, text: &str) -> Result<Vec<bool>> {
    let names = set.items.iter().map(|item| item.name.as_str());
    // Of photographs cut into tiles the ending is not in the name.
    let mut by_name: HashMap<&str, Vec<u32>> = HashMap::new();
    for (i, name) in (0..).zip(names) {
        by_name.entry(name).or_default().push(i);
        if let Some(photograph) = photograph(name) {
            by_name.entry(photograph).or_default().push(i);
        }
    }
    let lines = text.lines().map(|line| line.trim_start_matches('\u{feff}'));
    let lines: Vec<&str> = lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let (mut held, mut unknown) = (vec![false; set.len()], Vec::new());
    for written in &lines {
        // Names of JSON Lines may begin so, too.
        let line = match by_name.contains_key(written) {
            true => written,
            false => written.trim_start_matches("./"),
        };
        let mut found = false;
        let mut take = |images: &[u32]| {
            found |= !images.is_empty();
            images.iter().for_each(|i| held[*i as usize] = true);
        };
        let tiles = || by_name.get(stem(line)).filter(|all| is_tiles(set, all));
        if let Some(images) = by_name.get(line).or_else(tiles) {
            take(images);
        } else if line.contains(['*', '?']) {
            let pattern = Pattern::new(line);
            let of_photographs = Pattern::new(stem(line));
            for (name, images) in &by_name {
                let is_photograph = is_tiles(set, images);
                if pattern.fits(name) || is_photograph && of_photographs.fits(name) {
                    take(images);
                }
            }
        }
        if !found {
            unknown.push((*written).to_owned());
        }
    }
    if unknown.is_empty() {
        return Ok(held);
    }
    let an_image = set.items.first().map_or("", |item| item.name.as_str());
    let what = format!(
        "{} of the {} lines of {} name no image of {}: {}; a line is an image's path there, such \
         as `{an_image}`, or a pattern of `*`, `?` and `**`, and images that cannot be read count \
         as none",
        unknown.len(),
        lines.len(),
        list.display(),
        set.name,
        first_few(unknown.into_iter())
    );
    Err(Error::config(KEY, what))
}

/// Returns the part of a tile's name that is its photograph's.
fn photograph(name: &str) -> Option<&str> {
    let (photograph, tile) = name.rsplit_once('@')?;
    let is_number = tile.len() >= 3 && tile.bytes().all(|b| b.is_ascii_digit());
    is_number.then_some(photograph)
}

/// Whether these are tiles of a photograph.
fn is_tiles(set: &ImageSet, images: &[u32]) -> bool {
    let name = |i: &u32| set.items[*i as usize].name.as_str();
    images.iter().all(|i| photograph(name(i)).is_some())
}

/// A pattern of paths.
struct Pattern(Vec<Part>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// This byte.
    One(u8),
    /// Any letter but `/`; of several bytes, too.
    Letter,
    /// Any of these in a row, or none.
    Letters,
    /// Anything.
    All,
    /// Any folders, or none.
    Folders,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        let (mut parts, mut rest) = (Vec::new(), text.as_bytes());
        while let Some(first) = rest.first() {
            let at_part = parts.last().is_none_or(|p| *p == Part::One(b'/'));
            let (part, length) = match (first, rest) {
                (b'*', [_, b'*', b'/', ..]) if at_part => (Part::Folders, 3),
                (b'*', [_, b'*', ..]) => (Part::All, 2),
                (b'*', _) => (Part::Letters, 1),
                (b'?', _) => (Part::Letter, 1),
                (byte, _) => (Part::One(*byte), 1),
            };
            parts.push(part);
            rest = &rest[length..];
        }
        Pattern(parts)
    }

    /// Whether a name fits it: all ways to read the pattern are followed at once, so that no
    /// pattern takes longer than its length times the name's.
    fn fits(&self, name: &str) -> bool {
        let parts = &self.0;
        // Whether the parts before each place can be what was read.
        let mut at = vec![false; parts.len() + 1];
        at[0] = true;
        let skip = |at: &mut [bool]| {
            for (i, part) in parts.iter().enumerate() {
                let may_be_none = matches!(part, Part::Letters | Part::All | Part::Folders);
                at[i + 1] |= at[i] && may_be_none;
            }
        };
        skip(&mut at);
        // Folders that were begun and have not ended.
        let mut within = vec![false; parts.len()];
        for letter in name.chars() {
            let mut bytes = [0; 4];
            let bytes = letter.encode_utf8(&mut bytes).as_bytes();
            let mut next = vec![false; at.len()];
            for (i, part) in parts.iter().enumerate() {
                let open = at[i];
                match part {
                    // A letter of several bytes is as many parts.
                    Part::One(_) if open => {
                        let own = parts.get(i..i + bytes.len());
                        let is_letter = own.is_some_and(|own| {
                            own.iter().zip(bytes).all(|(p, b)| *p == Part::One(*b))
                        });
                        if is_letter {
                            next[i + bytes.len()] = true;
                        }
                    }
                    Part::Letter if open && letter != '/' => next[i + 1] = true,
                    Part::Letters if open && letter != '/' => next[i] = true,
                    Part::All if open => next[i] = true,
                    Part::Folders => {
                        within[i] |= open;
                        // A folder ends here; another may follow.
                        if within[i] && letter == '/' {
                            next[i + 1] = true;
                        }
                    }
                    _ => {}
                }
            }
            skip(&mut next);
            at = next;
        }
        at[parts.len()]
    }
}

#[cfg(test)]
mod tests;
