use std::fs;
use std::path::PathBuf;

use image::ImageFormat;
use image::imageops;
use proptest::prelude::*;

use image::DynamicImage;

use crate::data::cache::*;
use crate::data::decode::picture::tests::{encoded, gradient};
use crate::data::{BatchPlan, ImageSet, open};

const TILE: usize = 16;

/// Twenty photographs of 64 x 48, which is 3 x 4 tiles, and one that is too small for a tile.
fn photographs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..20u8 {
        let class = ["land", "sea"][i as usize % 2];
        fs::create_dir_all(dir.path().join(class)).unwrap();
        let picture = encoded(&gradient(64, 48, 9 * i), ImageFormat::Png);
        fs::write(dir.path().join(format!("{class}/{i:02}.png")), picture).unwrap();
    }
    fs::write(
        dir.path().join("small.png"),
        encoded(&gradient(20, 9, 0), ImageFormat::Png),
    )
    .unwrap();
    dir
}

fn options(cache: &tempfile::TempDir) -> Options {
    Options {
        size: Some((TILE, TILE)),
        cache_dir: Some(cache.path().into()),
        keep: Residency::Disk,
        ..Default::default()
    }
}

fn opened(dir: &tempfile::TempDir, options: &Options) -> ImageSet {
    open(dir.path().to_str().unwrap(), options).unwrap()
}

fn all(set: &ImageSet) -> Vec<u8> {
    set.gather(&(0..set.len() as u32).collect::<Vec<_>>())
        .unwrap()
}

/// Returns every file of decoded source images.
fn decoded(cache: &tempfile::TempDir) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for folder in fs::read_dir(cache.path().join("decoded")).unwrap() {
        out.extend(
            fs::read_dir(folder.unwrap().path())
                .unwrap()
                .map(|file| file.unwrap().path()),
        );
    }
    out.sort();
    out
}

#[test]
fn a_folder_on_disk_is_the_folder_in_memory() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let stored = opened(&dir, &options(&cache));
    let memory = opened(
        &dir,
        &Options {
            keep: Residency::Memory,
            ..options(&cache)
        },
    );
    assert!(stored.pixels.in_memory().is_none() && memory.pixels.in_memory().is_some());
    assert_eq!(all(&stored), memory.pixels.in_memory().unwrap());
    assert_eq!(decoded(&cache).len(), 21);
    // From disk this time, and one by one.
    let again = opened(&dir, &options(&cache));
    for i in 0..again.len() {
        assert_eq!(again.image(i).unwrap(), memory.image(i).unwrap());
    }
    assert_eq!(
        (&again.items, &again.train, &again.classes),
        (&memory.items, &memory.train, &memory.classes)
    );
    assert_eq!(again, stored);
    assert!(again.gather(&[21]).is_err() && again.image(21).is_err());
}

#[test]
fn what_does_not_fit_the_memory_budget_goes_to_disk() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let bytes = (21 * TILE * TILE * 3) as u64;
    for (memory_bytes, stored) in [(bytes, false), (bytes - 1, true)] {
        let set = opened(
            &dir,
            &Options {
                memory_bytes,
                keep: Residency::Auto,
                ..options(&cache)
            },
        );
        assert_eq!(set.pixels.in_memory().is_none(), stored);
        assert_eq!(
            set.notes.iter().any(|note| note.contains("on disk")),
            stored,
            "{:?}",
            set.notes
        );
    }
}

#[test]
fn whole_photographs_are_split_by_photograph_and_keep_their_classes() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let set = opened(
        &dir,
        &Options {
            whole: true,
            ..options(&cache)
        },
    );
    assert_eq!(
        (set.len(), set.pixels.photographs().unwrap().pictures()),
        (20 * 12, 20)
    );
    assert_eq!(set.items[13].name, "land/02@001");
    assert_eq!(
        (set.class_name(0), set.class_name(239)),
        (Some("land"), Some("sea"))
    );
    assert!(
        set.notes
            .iter()
            .any(|note| note.contains("1 of 21 photographs")),
        "{:?}",
        set.notes
    );
    let side = |side: &[u32]| {
        side.iter()
            .map(|i| set.items[*i as usize].group)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert!(
        !set.train.is_empty()
            && !set.test.is_empty()
            && side(&set.train).is_disjoint(&side(&set.test))
    );
    // The tiles are the photograph's own pixels here: 48 rows hold three tiles.
    let photograph = gradient(64, 48, 0).into_rgb8();
    let tile = imageops::crop_imm(&photograph, 16, 32, 16, 16).to_image();
    assert_eq!(*set.image(9).unwrap(), *tile.as_raw().as_slice());
    // Kept smaller, they have fewer tiles.
    let small = opened(
        &dir,
        &Options {
            whole: true,
            photo_side: 32,
            ..options(&cache)
        },
    );
    assert_eq!(small.len(), 20 * 2 * 2);
    assert_ne!(small.sha256(), set.sha256());
}

#[test]
fn crops_come_from_the_photograph() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let set = opened(
        &dir,
        &Options {
            whole: true,
            ..options(&cache)
        },
    );
    let store = set.pixels.photographs().unwrap();
    let photograph = gradient(64, 48, 0).into_rgb8();
    // The smallest crop is the source image's own pixels, in the last corner and in the middle.
    for (at, x, y) in [
        ((0.0, 0.0), 0, 0),
        ((0.9999, 0.9999), 48, 32),
        ((0.5, 0.5), 24, 16),
    ] {
        let expected = imageops::crop_imm(&photograph, x, y, 16, 16).to_image();
        assert_eq!(store.crop(3, 0.0, at).unwrap(), expected.into_raw());
    }
    // The largest is the square of 48 scaled.
    let square = imageops::crop_imm(&photograph, 16, 0, 48, 48).to_image();
    let expected = picture::fit(DynamicImage::ImageRgb8(square), 16, 16, 3);
    assert_eq!(store.crop(3, 1.0, (0.9999, 0.3)).unwrap(), expected);
    assert!(store.crop(240, 1.0, (0.0, 0.0)).is_err());
}

proptest! {
    #[test]
    fn crops_lie_inside_and_keep_the_shape(
        tile_w in 1u32..64, tile_h in 1u32..64, more_w in 0u32..500, more_h in 0u32..500,
        area in 0.0f64..=1.0, u in 0.0f64..1.0, v in 0.0f64..1.0,
    ) {
        let (w, h) = (tile_w + more_w, tile_h + more_h);
        let part = place((w, h), (tile_w, tile_h), area, (u, v));
        prop_assert!(part.x + part.width <= w && part.y + part.height <= h);
        prop_assert!(part.width >= tile_w && part.height >= tile_h, "{:?}", part);
        // The shape, where the smallest crop does not bind: the largest crop is cut to whole
        // pixels, and each side is rounded.
        let wide = f64::from(part.width) * f64::from(tile_h)
            - f64::from(part.height) * f64::from(tile_w);
        prop_assert!(
            wide.abs() <= 2.0 * f64::from(tile_w.max(tile_h)),
            "{:?} of {w}x{h} for {tile_w}x{tile_h}", part
        );
        if area == 1.0 {
            prop_assert!(part.width == w || part.height == h);
        }
    }
}

#[test]
fn beyond_the_disk_budget_pictures_are_decoded_again() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let size = Size {
        width: 64,
        height: 48,
        channels: 3,
    }
    .file_bytes();
    let full = opened(
        &dir,
        &Options {
            whole: true,
            keep: Residency::Memory,
            ..options(&cache)
        },
    );
    assert!(!cache.path().join("decoded").exists(), "in memory");
    for budget in [0, 7] {
        let tight = Options {
            whole: true,
            cache_bytes: budget * size + size / 2,
            memory_bytes: 2 * 64 * 48 * 3,
            ..options(&cache)
        };
        let set = opened(&dir, &tight);
        assert_eq!(all(&set), all(&full));
        // And the list of the others' names.
        assert_eq!(decoded(&cache).len(), budget as usize + 1);
        assert_eq!(all(&set), all(&full), "and again");
    }
}

#[test]
fn a_damaged_file_is_made_again() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let whole = Options {
        whole: true,
        cache_bytes: 20 * 9500,
        ..options(&cache)
    };
    let set = opened(&dir, &whole);
    let good = all(&set);
    let files = decoded(&cache);
    assert_eq!(files.len(), 20);
    let before: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    for (i, (file, bytes)) in files.iter().zip(&before).enumerate() {
        let mut bad = bytes.clone();
        match i % 3 {
            0 => bad.truncate(bytes.len() / 2),
            1 => bad[bytes.len() - 1] ^= 4,
            _ => bad.clear(),
        }
        fs::write(file, bad).unwrap();
    }
    assert_eq!(all(&set), good);
    let after: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!(after, before);
}

#[test]
fn a_picture_that_went_or_changed_is_named() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let kept = opened(&dir, &options(&cache));
    // With no place on disk.
    let other = tempfile::tempdir().unwrap();
    let set = opened(
        &dir,
        &Options {
            cache_bytes: 0,
            memory_bytes: 0,
            ..options(&other)
        },
    );
    let at = |name: &str| set.items.iter().position(|item| item.name == name).unwrap();
    fs::remove_file(dir.path().join("sea/03.png")).unwrap();
    kept.image(at("sea/03.png")).unwrap();
    let error = set.image(at("sea/03.png")).unwrap_err().to_string();
    assert!(error.contains("sea/03.png: was there when"), "{error}");
    fs::write(dir.path().join("sea/05.png"), b"other").unwrap();
    let error = set
        .gather(&[0, at("sea/05.png") as u32])
        .unwrap_err()
        .to_string();
    assert!(error.contains("sea/05.png: has changed"), "{error}");
}

#[test]
fn the_sum_sees_files_and_form_but_not_where_they_are() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let sum = |dir: &tempfile::TempDir, options: &Options| opened(dir, options).sha256();
    let first = sum(&dir, &options(&cache));
    assert_eq!(
        sum(&photographs(), &options(&cache)),
        first,
        "the same files elsewhere, of another time"
    );
    assert_ne!(
        sum(
            &dir,
            &Options {
                channels: Some(1),
                ..options(&cache)
            }
        ),
        first
    );
    assert_ne!(
        sum(
            &dir,
            &Options {
                whole: true,
                ..options(&cache)
            }
        ),
        first
    );
    fs::write(
        dir.path().join("sea/05.png"),
        encoded(&gradient(64, 48, 200), ImageFormat::Png),
    )
    .unwrap();
    assert_ne!(sum(&dir, &options(&cache)), first);
}

#[test]
fn copies_share_a_group_unread() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    fs::copy(
        dir.path().join("sea/01.png"),
        dir.path().join("land/copy.png"),
    )
    .unwrap();
    let set = opened(&dir, &options(&cache));
    let group = |name: &str| {
        set.items
            .iter()
            .find(|item| item.name == name)
            .unwrap()
            .group
    };
    assert_eq!(group("land/copy.png"), group("sea/01.png"));
    assert_ne!(group("land/00.png"), group("sea/01.png"));
}

#[test]
fn batches_do_not_depend_on_where_pixels_lie() {
    let (dir, cache) = (photographs(), tempfile::tempdir().unwrap());
    let whole = Options {
        whole: true,
        ..options(&cache)
    };
    let recipe = BatchPlan {
        seed: 3,
        batch: 9,
        flip: true,
        crop: Some((0.05, 0.9)),
        color: 0.4,
        classes: None,
    };
    let sets = [
        opened(&dir, &whole),
        opened(&dir, &whole),
        opened(
            &dir,
            &Options {
                keep: Residency::Memory,
                ..whole.clone()
            },
        ),
        opened(
            &dir,
            &Options {
                cache_bytes: 0,
                memory_bytes: 0,
                ..whole.clone()
            },
        ),
    ];
    let batches = sets.map(|set| {
        (0..5)
            .map(|step| recipe.batch(&set, step).unwrap())
            .collect::<Vec<_>>()
    });
    assert!(batches.iter().all(|b| *b == batches[0]));
}
