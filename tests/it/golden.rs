//! Pictures of reports, held against pictures that are committed: every kind, from small inputs
//! that never change. What was meant to change is written anew by
//! `WGVQ_GOLDEN=write cargo test --test it golden`, and looked at before it is committed.

mod drawn;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ImageEncoder, Rgb, RgbImage, imageops};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The most that a channel may differ, of 255. One machine draws the same bytes each time; another
/// may round the logarithms and coverages of a line's edge another way.
const TOLERANCE: u8 = 8;

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden")
}

/// Wider pictures are pages of several, and held at half their size.
const PAGE: u32 = 600;

fn shown(png: &[u8]) -> RgbImage {
    let whole = image::load_from_memory(png).unwrap().to_rgb8();
    let (w, h) = whole.dimensions();
    if w > PAGE {
        imageops::thumbnail(&whole, w / 2, h / 2)
    } else {
        whole
    }
}

/// Writes a picture as small as PNG makes it.
fn save(path: &Path, picture: &RgbImage) {
    let (mut bytes, (w, h)) = (Vec::new(), picture.dimensions());
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive)
        .write_image(picture, w, h, image::ExtendedColorType::Rgb8)
        .unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Returns the difference between pictures, if there is one; the picture and the difference are
/// then written to `folder`. Pixels that agree are pale in the second, those that do not are red.
fn wrong(name: &str, new: &RgbImage, old: &RgbImage, folder: &Path) -> Option<String> {
    let write = |kind: &str, picture: &RgbImage| {
        let path = folder.join(format!("{name}.{kind}.png"));
        std::fs::create_dir_all(folder).unwrap();
        save(&path, picture);
        path.display().to_string()
    };
    if new.dimensions() != old.dimensions() {
        let (is, was) = (new.dimensions(), old.dimensions());
        let new = write("new", new);
        return Some(format!("{name}: {is:?} pixels, {was:?} before; see {new}"));
    }
    let apart = |a: &Rgb<u8>, b: &Rgb<u8>| (0..3).map(|c| a.0[c].abs_diff(b.0[c])).max().unwrap();
    let (mut count, mut most, mut diff) = (0, 0, old.clone());
    for ((a, b), d) in new.pixels().zip(old.pixels()).zip(diff.pixels_mut()) {
        let by = apart(a, b);
        most = most.max(by);
        *d = match by {
            0..=TOLERANCE => Rgb(b.0.map(|v| 200 + v / 5)),
            _ => Rgb([220, 0, 0]),
        };
        count += usize::from(by > TOLERANCE);
    }
    if count == 0 {
        return None;
    }
    let (new, diff) = (write("new", new), write("diff", &diff));
    Some(format!(
        "{name}: {count} pixels differ, by up to {most} of 255; see {new} and {diff}"
    ))
}

#[test]
fn pictures_are_those_that_are_committed() {
    let (folder, failed) = (
        committed(),
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden"),
    );
    let rewrite = match std::env::var("WGVQ_GOLDEN").ok().as_deref() {
        None | Some("") => false,
        Some("write") => true,
        Some(other) => panic!("WGVQ_GOLDEN={other}; `write` writes the pictures anew"),
    };
    let (mut names, mut faults) = (BTreeSet::new(), Vec::new());
    for (name, png) in drawn::all() {
        let new = shown(&png);
        let path = folder.join(format!("{name}.png"));
        names.insert(format!("{name}.png"));
        if rewrite {
            save(&path, &new);
            continue;
        }
        match image::open(&path) {
            Ok(old) => faults.extend(wrong(name, &new, &old.to_rgb8(), &failed)),
            Err(e) => faults.push(format!("{name}: {}: {e}", path.display())),
        }
    }
    let there = std::fs::read_dir(&folder).unwrap();
    let there: BTreeSet<String> = there
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    faults.extend(
        there
            .difference(&names)
            .map(|name| format!("{name}: nothing draws it")),
    );
    let again = "if that is meant: WGVQ_GOLDEN=write cargo test --test it golden";
    assert!(faults.is_empty(), "{}\n{again}", faults.join("\n"));
}

#[test]
fn a_picture_that_changed_is_found_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let old = RgbImage::from_pixel(9, 5, Rgb([250, 250, 250]));
    let mut new = old.clone();
    new.put_pixel(3, 2, Rgb([250, 250 - TOLERANCE, 250]));
    assert_eq!(wrong("a", &new, &old, folder.path()), None);
    new.put_pixel(4, 2, Rgb([250, 249 - TOLERANCE, 250]));
    let said = wrong("a", &new, &old, folder.path()).unwrap();
    assert!(said.contains("a: 1 pixels differ, by up to 9"), "{said}");
    let diff = image::open(folder.path().join("a.diff.png"))
        .unwrap()
        .to_rgb8();
    let red: Vec<(u32, u32)> = diff
        .enumerate_pixels()
        .filter(|(.., p)| p.0 == [220, 0, 0])
        .map(|(x, y, _)| (x, y))
        .collect();
    assert_eq!(red, [(4, 2)]);
    let wider = RgbImage::new(10, 5);
    assert!(
        wrong("b", &wider, &old, folder.path())
            .unwrap()
            .contains("(9, 5) before")
    );
}
