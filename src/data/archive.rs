//! Pictures in a tar archive, as WebDataset lays them: the files of a sample share a name up to its first dot, `00012.jpg`, `00012.txt`.
//!
//! The archive is unpacked once, beside the decoded pictures of other sets ([`super::cache_dir`]), and read as a folder is. A sample's text is
//! its `.txt`, or the `caption` or `text` of its `.json`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{ImageSet, Options, cache_dir, folder, hex};
use crate::{Error, Result, files};

/// A text longer than this is no caption.
const MAX_JSON: u64 = 1 << 20;
/// Written last into an unpacked folder.
const WHOLE: &str = ".whole";

/// Opens the archive.
pub(super) fn open(path: &Path, options: &Options) -> Result<ImageSet> {
    let root = options.cache_dir.clone().unwrap_or_else(cache_dir).join("archives");
    let to = root.join(key(path)?);
    if !to.join(WHOLE).is_file() {
        unpack(path, &root, &to)?;
    }
    let set = folder::open(&to, options)?;
    Ok(ImageSet { name: path.display().to_string(), ..set })
}

/// An archive by its path, length and time of change.
fn key(path: &Path) -> Result<String> {
    let cannot = |e: std::io::Error| Error::file(path, format!("cannot be read: {e}"));
    let meta = fs::metadata(path).map_err(cannot)?;
    let full = fs::canonicalize(path).map_err(cannot)?;
    let changed = meta.modified().map_err(cannot)?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let text = format!("{}\n{}\n{}", full.display(), meta.len(), changed.as_nanos());
    Ok(hex(&Sha256::digest(text))[..16].to_owned())
}

fn unpack(path: &Path, root: &Path, to: &Path) -> Result<()> {
    let damaged = |e: std::io::Error| Error::file(path, format!("is damaged, or no tar archive: {e}"));
    let cannot = |at: &Path, e: std::io::Error| Error::file(at, format!("cannot be written: {e}"));
    fs::create_dir_all(root).map_err(|e| cannot(root, e))?;
    let place = tempfile::Builder::new().prefix(".unpacking").tempdir_in(root).map_err(|e| cannot(root, e))?;
    let file = files::open(path)?;
    let mut archive = tar::Archive::new(std::io::BufReader::new(file));
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(damaged)?.into_owned();
        // Nothing is written outside the folder, whatever the archive says.
        let parts: Option<PathBuf> = name
            .components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| if let Component::Normal(part) = part { Some(part) } else { None })
            .collect();
        let Some(own) = parts.filter(|parts| parts.components().next().is_some()) else { continue };
        let (target, caption) = sample(&place.path().join(own));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|e| cannot(parent, e))?;
        }
        if caption {
            let mut text = String::new();
            entry.by_ref().take(MAX_JSON).read_to_string(&mut text).map_err(damaged)?;
            let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            let said = ["caption", "text"].iter().find_map(|key| value[*key].as_str());
            if let (Some(said), false) = (said, target.exists()) {
                fs::write(&target, said).map_err(|e| cannot(&target, e))?;
            }
        } else {
            let mut out = File::create(&target).map_err(|e| cannot(&target, e))?;
            std::io::copy(&mut entry, &mut out).map_err(damaged)?;
        }
    }
    fs::write(place.path().join(WHOLE), "").map_err(|e| cannot(place.path(), e))?;
    match fs::rename(place.path(), to) {
        Ok(()) => {
            // Its place is taken over.
            let _ = place.keep();
            Ok(())
        }
        // Another process was faster.
        Err(_) if to.join(WHOLE).is_file() => Ok(()),
        Err(e) => Err(cannot(to, e)),
    }
}

/// Where an entry goes, so that texts lie beside their pictures under one stem; and whether it is JSON that may hold a caption.
fn sample(path: &Path) -> (PathBuf, bool) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match (name.split_once('.'), &*ending) {
        (Some((stem, _)), "json") => (path.with_file_name(format!("{stem}.txt")), true),
        _ => (path.to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    fn png(shade: u8) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_pixel(4, 4, image::Rgb([shade, 0, 0]));
        picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn write(path: &Path, files: &[(&str, Vec<u8>)]) {
        let mut builder = tar::Builder::new(File::create(path).unwrap());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            // As an archive may have it that means harm: the builder's own way refuses such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, &bytes[..]).unwrap();
        }
        builder.finish().unwrap();
    }

    #[test]
    fn samples_have_their_texts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.tar");
        let files = [
            ("./a/000.png", png(1)),
            ("./a/000.txt", b"a red\n square".to_vec()),
            ("./a/001.json", br#"{"caption": "dark", "x": 1}"#.to_vec()),
            ("./a/001.png", png(2)),
            ("../outside.png", png(3)),
            ("/outside.png", png(4)),
        ];
        write(&path, &files);
        let options = Options { cache_dir: Some(dir.path().join("cache")), ..Default::default() };
        for _ in 0..2 {
            let set = data::open(path.to_str().unwrap(), &options).unwrap();
            let captions: Vec<_> = set.items.iter().map(|i| i.caption.as_deref()).collect();
            assert_eq!(captions, [Some("a red square"), Some("dark")]);
            assert_eq!(set.image(1).unwrap()[0], 2);
        }
        assert!(!dir.path().join("outside.png").exists() && !dir.path().join("cache/outside.png").exists());
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("set.tar");
        fs::write(&path, vec![7; 3000]).unwrap();
        let options = Options { cache_dir: Some(dir.path().join("cache")), ..Default::default() };
        let error = data::open(path.to_str().unwrap(), &options).unwrap_err().to_string();
        assert!(error.contains("set.tar") && error.contains("no tar archive"), "{error}");
        write(&path, &[("a.txt", b"x".to_vec())]);
        let error = data::open(path.to_str().unwrap(), &options).unwrap_err().to_string();
        assert!(error.contains("holds no images"), "{error}");
    }
}
