//! Images in tar archives, as WebDataset lays them: the files of a sample share a name up to its
//! first dot, `00012.jpg`, `00012.txt`.
//!
//! An archive's headers are read when the set is opened, and its images from where they lie in it
//! when they are wanted: nothing is unpacked. A sample's text is its `.txt`, or the `caption` or
//! `text` of its `.json`; its class is its `.cls`. Endings count in whatever case. A sample that
//! has an image under a plain ending (`00012.jpg`) has that one; others (`00012.seg.png`) are
//! beside it. What macOS puts beside files (`._00012.jpg`, `__MACOSX`) and other hidden files are
//! left alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Component, Path};
use std::sync::Arc;

use crate::data::decode::formats::{ENDINGS, UNREAD, kinds};
use crate::data::decode::place::Place;
use crate::data::source::folder;
use crate::data::source::image_file::{ImageFile, MAX_CAPTION, Sidecar, first_few, too_long};
use crate::data::{ImageSet, Options, cache_dir};
use crate::text::decode_text;
use crate::{Error, Result, files};

/// A sample's JSON, which holds more than its caption, is at most this long.
const MAX_JSON: u64 = 1 << 20;
/// The first bytes of compressed archives, their names, and the commands that unpack them.
const COMPRESSED: [(&[u8], &str, &str); 6] = [
    (b"\x1F\x8B", "compressed by gzip", "gunzip -k"),
    (b"BZh", "compressed by bzip2", "bunzip2 -k"),
    (b"\xFD7zXZ", "compressed by xz", "unxz -k"),
    (b"\x28\xB5\x2F\xFD", "compressed by zstd", "unzstd"),
    (b"PK\x03\x04", "a zip archive", "unzip"),
    (b"7z\xBC\xAF", "a 7z archive", "7z x"),
];

/// Whether it is an archive, by its name.
pub(crate) fn is_archive(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let endings = [
        ".tar", ".tgz", ".tbz2", ".txz", ".tzst", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst",
        ".zip", ".7z",
    ];
    endings.iter().any(|ending| name.ends_with(ending))
}

/// Opens the archive.
pub(crate) fn open(path: &Path, options: &Options) -> Result<ImageSet> {
    let mut notes = Vec::new();
    clear_unpacked(
        &options.cache_dir.clone().unwrap_or_else(cache_dir),
        &mut notes,
    );
    let mut unread = BTreeMap::new();
    let found = samples(path, "", &mut unread, &mut notes)?;
    if found.is_empty() {
        let others = match unread.is_empty() {
            true => String::new(),
            false => format!("; found {}", folder::passed_over(&unread)),
        };
        let kinds = kinds();
        return Err(Error::file(
            path,
            format!("holds no images ({kinds}){others}"),
        ));
    }
    folder::note_passed_over(&unread, &mut notes);
    folder::load(path, found, options, notes)
}

/// Removes what earlier versions unpacked archives to, or began to, which nothing reads any more.
fn clear_unpacked(cache: &Path, notes: &mut Vec<String>) {
    let root = cache.join("archives");
    let Ok(entries) = fs::read_dir(&root) else {
        return;
    };
    let mut cleared = false;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let own = name.starts_with(".unpacking")
            || name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit());
        cleared |= own && fs::remove_dir_all(entry.path()).is_ok();
    }
    // Others' files keep the folder.
    let _ = fs::remove_dir(&root);
    if cleared {
        notes.push(format!(
            "archives unpacked by an earlier version were removed from {}",
            root.display()
        ));
    }
}

/// A file of an archive.
#[derive(Clone)]
enum Member {
    Picture(Place),
    /// Its content, or the reason why it cannot be read.
    Text(Result<String, String>),
    /// An image in a format that is not read, by its ending.
    Unread(String),
}

/// An image of a sample, or a text beside it, by its ending in lower case.
#[derive(Default)]
struct Sample {
    pictures: Vec<(String, String, Place)>,
    texts: BTreeMap<String, (String, Result<String, String>)>,
}

/// Returns the images of an archive in the order of their names, which begin with `prefix`. Those
/// in formats that are not read are counted in `unread`, by their endings.
pub(crate) fn samples(
    path: &Path,
    prefix: &str,
    unread: &mut BTreeMap<String, usize>,
    notes: &mut Vec<String>,
) -> Result<Vec<ImageFile>> {
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    for (name, member) in members(path)? {
        let file = name.rfind('/').map_or(0, |slash| slash + 1);
        let Some(dot) = name[file..].find('.').map(|dot| file + dot) else {
            continue;
        };
        let (key, ending) = (name[..dot].to_owned(), name[dot + 1..].to_lowercase());
        let sample = samples.entry(key).or_default();
        match member {
            Member::Picture(place) => sample.pictures.push((ending, name, place)),
            Member::Text(text) => {
                sample.texts.insert(ending, (name, text));
            }
            Member::Unread(ending) => *unread.entry(ending).or_default() += 1,
        }
    }
    let (mut found, mut beside) = (Vec::new(), Vec::new());
    for sample in samples.into_values() {
        let Sample { pictures, texts } = sample;
        let plain = pictures.iter().any(|(ending, ..)| !ending.contains('.'));
        for (ending, name, place) in pictures {
            if plain && ending.contains('.') {
                beside.push(format!("{prefix}{name}"));
                continue;
            }
            let said = |endings: &[&str]| said(&texts, &ending, endings, prefix);
            let (caption, class) = (said(&["txt", "json"]), said(&["cls"]));
            found.push(ImageFile {
                place,
                name: format!("{prefix}{name}"),
                shard: 0..prefix.len(),
                caption,
                class,
            });
        }
    }
    if !beside.is_empty() {
        let what = "images were passed over, which lie beside the image of their sample";
        notes.push(format!(
            "{} {what}: {}",
            beside.len(),
            first_few(beside.into_iter())
        ));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Returns the content of the texts of a sample for its image with that ending: those that share
/// more of its name come first.
fn said(
    texts: &BTreeMap<String, (String, Result<String, String>)>,
    picture: &str,
    endings: &[&str],
    prefix: &str,
) -> Sidecar {
    let more = picture.rfind('.').map_or("", |dot| &picture[..dot + 1]);
    let mut damaged = None;
    for ending in endings {
        let own = texts
            .get(&format!("{more}{ending}"))
            .or_else(|| texts.get(*ending));
        let Some((name, text)) = own else { continue };
        match text.as_ref().map_err(String::clone).and_then(|text| {
            if *ending == "json" {
                json(text)
            } else {
                Ok(text.clone())
            }
        }) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => return Sidecar::Said(text),
            Err(what) => {
                damaged = damaged.or(Some(Sidecar::Damaged(format!("{prefix}{name}"), what)))
            }
        }
    }
    damaged.unwrap_or(Sidecar::Nothing)
}

/// Returns the caption of a sample's JSON; empty if it has none.
fn json(text: &str) -> Result<String, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))?;
    Ok(["caption", "text"]
        .iter()
        .find_map(|key| value[*key].as_str())
        .unwrap_or_default()
        .to_owned())
}

/// Returns the images and texts of an archive, by their names. Of two that share a name the later
/// counts, as it would were they unpacked.
fn members(path: &Path) -> Result<BTreeMap<String, Member>> {
    let cannot = |e: std::io::Error| Error::file(path, format!("cannot be read: {e}"));
    let damaged =
        |e: std::io::Error| Error::file(path, format!("is damaged, or no tar archive: {e}"));
    let mut head = Vec::new();
    let file = files::open(path)?;
    let length = file.metadata().map_err(cannot)?.len();
    (&file).take(8).read_to_end(&mut head).map_err(cannot)?;
    if let Some((_, what, by)) = COMPRESSED
        .iter()
        .find(|(magic, ..)| head.starts_with(magic))
    {
        let way = if *by == "unzip" || *by == "7z x" {
            "; then give the folder"
        } else {
            "; then give the plain tar"
        };
        let what = format!(
            "is {what}, and images are read from where they lie: unpack it, as by `{by} {}`{way}",
            path.display()
        );
        return Err(Error::file(path, what));
    }
    let archive_path: Arc<Path> = path.into();
    let mut archive = tar::Archive::new(files::open(path)?);
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let Some(name) = inner_name(&entry.path().map_err(damaged)?) else {
            continue;
        };
        let kind = entry.header().entry_type();
        if kind.is_hard_link() {
            let target = entry
                .link_name()
                .map_err(damaged)?
                .and_then(|target| inner_name(&target));
            if let Some(member) = target.and_then(|target| members.get(&target).cloned()) {
                members.insert(name, member);
            }
            continue;
        }
        if !kind.is_file() {
            continue;
        }
        let (at, bytes) = (entry.raw_file_position(), entry.size());
        if at.checked_add(bytes).is_none_or(|end| end > length) {
            let what = format!(
                "ends within `{name}`: truncated; get it again, or unpack what there is and give \
                 the folder"
            );
            return Err(Error::file(path, what));
        }
        let ending = name
            .rsplit_once('.')
            .map_or(String::new(), |(_, ending)| ending.to_lowercase());
        let most = if ending == "json" {
            MAX_JSON
        } else {
            MAX_CAPTION
        };
        if ENDINGS.contains(&&*ending) {
            members.insert(
                name.clone(),
                Member::Picture(Place::within(&archive_path, &name, at, bytes)),
            );
        } else if ["txt", "json", "cls"].contains(&&*ending) {
            let mut text = Vec::new();
            let text = if bytes > most {
                Err(too_long(most))
            } else {
                entry.read_to_end(&mut text).map_err(damaged)?;
                decode_text(&text)
            };
            members.insert(name, Member::Text(text));
        } else if UNREAD.contains(&&*ending) {
            members.insert(name, Member::Unread(ending));
        }
    }
    Ok(members)
}

/// Returns the name of an entry with `/`; none for what lies outside the archive, and for hidden
/// files.
fn inner_name(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => {
                let part = part.to_string_lossy();
                if part.starts_with('.') || part == "__MACOSX" {
                    return None;
                }
                parts.push(part.into_owned());
            }
            _ => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests;
