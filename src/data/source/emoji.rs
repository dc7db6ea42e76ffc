//! The embedded set: 3,786 Noto emoji at 32 px with captions, which need no network and no file.
//!
//! `scripts/make_emoji_atlas.py` made both files and tells what their rows and columns are.

use std::collections::BTreeMap;

use image::imageops;

use crate::data::decode::picture;
use crate::data::{ImageSet, Item, Options, split};
use crate::{Error, Result};

const ATLAS: &[u8] = include_bytes!("../../../assets/emoji32.webp");
const TABLE: &str = include_str!("../../../assets/emoji32.tsv");
const SIDE: usize = 32;
/// Bytes of a picture.
const PICTURE: usize = SIDE * SIDE * 3;

/// Returns the set; its classes are the ten categories.
pub(crate) fn open(options: &Options) -> Result<ImageSet> {
    picture::refit(read(ATLAS, TABLE)?, options)
}

fn read(atlas: &[u8], table: &str) -> Result<ImageSet> {
    let damaged =
        |what: &str| Error::data(format!("the emoji atlas in this build is damaged: {what}"));
    let atlas = picture::decode(atlas)
        .map_err(|what| damaged(&what))?
        .into_rgb8();
    let columns = atlas.width() as usize / SIDE;
    let mut classes: Vec<String> = Vec::new();
    let mut items = Vec::new();
    for line in table.lines().skip(1) {
        let [_code, name, category, _subcategory, group, caption] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            return Err(damaged(line));
        };
        let class = classes
            .iter()
            .position(|class| class == category)
            .unwrap_or_else(|| {
                classes.push(category.into());
                classes.len() - 1
            });
        items.push(Item {
            name: name.into(),
            group: group.parse().map_err(|_| damaged(line))?,
            class: Some(class as u32),
            caption: Some(caption.into()),
            embedding: None,
        });
    }
    if columns == 0
        || items.is_empty()
        || items.len().div_ceil(columns) * SIDE != atlas.height() as usize
    {
        return Err(damaged("the table and the image do not go together"));
    }
    let mut pixels = Vec::with_capacity(items.len() * PICTURE);
    for i in 0..items.len() {
        let (x, y) = (i % columns * SIDE, i / columns * SIDE);
        let tile = imageops::crop_imm(&atlas, x as u32, y as u32, SIDE as u32, SIDE as u32);
        pixels.extend_from_slice(tile.to_image().as_raw());
    }
    add_differences(&items, &mut pixels);
    share_groups(&mut items, &pixels);
    let (train, test, _) = split(&items);
    let (name, notes) = ("emoji".into(), vec![]);
    let pixels = pixels.into();
    Ok(ImageSet {
        name,
        width: SIDE,
        height: SIDE,
        channels: 3,
        pixels,
        items,
        classes,
        notes,
        train,
        test,
    })
}

/// Adds to each picture the one before it where both are one drawing in two skin tones, of which
/// the atlas holds what differs.
fn add_differences(items: &[Item], pixels: &mut [u8]) {
    for (i, pair) in items.windows(2).enumerate() {
        if pair[0].group == pair[1].group {
            let (before, own) = pixels[i * PICTURE..].split_at_mut(PICTURE);
            for (own, before) in own.iter_mut().zip(before) {
                *own = own.wrapping_add(*before);
            }
        }
    }
}

/// Gives images that are drawn alike (the flags of some countries and of their islands) one
/// group, the first one's, and so their variants: else what is trained on under one name would be
/// tested on under the other.
fn share_groups(items: &mut [Item], pixels: &[u8]) {
    let mut first: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut shared: BTreeMap<u64, u64> = BTreeMap::new();
    for (item, picture) in items.iter().zip(pixels.chunks_exact(PICTURE)) {
        let own = *shared.get(&item.group).unwrap_or(&item.group);
        let group = *first.entry(picture).or_insert(own);
        if group != own {
            shared
                .values_mut()
                .filter(|to| **to == own)
                .for_each(|to| *to = group);
            first
                .values_mut()
                .filter(|to| **to == own)
                .for_each(|to| *to = group);
            shared.extend([(own, group), (item.group, group)]);
        }
    }
    for item in items {
        item.group = *shared.get(&item.group).unwrap_or(&item.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::collections::BTreeSet;

    fn emoji() -> ImageSet {
        open(&Options::default()).unwrap()
    }

    fn pixels(set: &ImageSet) -> &[u8] {
        set.pixels.in_memory().unwrap()
    }

    #[test]
    fn the_set_is_what_the_documents_say() {
        let set = emoji();
        assert_eq!(
            (set.len(), set.width, set.height, set.channels),
            (3786, 32, 32, 3)
        );
        assert_eq!(
            (set.train.len(), set.test.len(), set.classes.len()),
            (3414, 372, 10)
        );
        assert_eq!(pixels(&set).len(), 3786 * 32 * 32 * 3);
        let names: BTreeSet<&str> = set.items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names.len(), set.len());
        assert!(set.notes.is_empty());
    }

    /// Runs know their data by its pixels: the atlas may be packed anew, and they may not change.
    #[test]
    fn the_pixels_are_those_of_every_version() {
        let sum = hex::encode(Sha256::digest(pixels(&emoji())));
        let first = "2661523746fc119ee37260ea37951c40110ef7db44eee29e9998bf2d51eb6685";
        assert_eq!(sum, first);
    }

    #[test]
    fn captions_and_classes_belong_to_their_pictures() {
        let set = emoji();
        let find = |name: &str| set.items.iter().position(|item| item.name == name).unwrap();
        let mean = |i: usize, channel: usize| {
            let values = pixels(&set)[i * 3072..(i + 1) * 3072]
                .iter()
                .skip(channel)
                .step_by(3);
            values.map(|&v| f64::from(v)).sum::<f64>() / (32.0 * 32.0)
        };
        let (heart, blue) = (find("heart"), find("blue_heart"));
        assert!(mean(heart, 0) > mean(heart, 2) + 50.0, "a red heart");
        assert!(mean(blue, 2) > mean(blue, 0) + 50.0, "a blue heart");
        assert_eq!(set.items[blue].caption.as_deref(), Some("blue heart"));
        assert_eq!(set.class_name(find("dog")), Some("Animals & Nature"));
        let dark = &set.items[find("male-cook-dark")];
        assert_eq!(dark.caption.as_deref(), Some("man cook, dark skin tone"));
        assert!(
            mean(find("male-cook-dark"), 0) < mean(find("male-cook-light"), 0),
            "skin tones are in order"
        );
        // Corners are white: the images are composited, not on black.
        assert!(set.image(heart).unwrap().starts_with(&[255, 255, 255]));
    }

    #[test]
    fn no_picture_has_variants_on_both_sides() {
        let set = emoji();
        let groups = |side: &[u32]| {
            side.iter()
                .map(|&i| set.items[i as usize].group)
                .collect::<BTreeSet<u64>>()
        };
        assert!(groups(&set.train).is_disjoint(&groups(&set.test)));
        let tones = set
            .items
            .iter()
            .filter(|item| item.name.starts_with("male-cook"));
        assert_eq!(tones.clone().count(), 6);
        assert_eq!(
            tones.map(|item| item.group).collect::<BTreeSet<_>>().len(),
            1
        );
    }

    #[test]
    fn no_drawing_is_on_both_sides() {
        let set = emoji();
        let drawings = |side: &[u32]| {
            side.iter()
                .map(|&i| set.image(i as usize).unwrap())
                .collect::<BTreeSet<_>>()
        };
        assert!(drawings(&set.train).is_disjoint(&drawings(&set.test)));
        let group = |name: &str| {
            set.items
                .iter()
                .find(|item| item.name == name)
                .unwrap()
                .group
        };
        assert_eq!(group("flag-um"), group("us"));
        assert_ne!(group("us"), group("fr"));
    }

    #[test]
    fn variants_go_with_the_drawing_they_belong_to() {
        // Drawings a b c d a b d e under groups 1 2 3 4 4 3 5 6: 4 is 1 and takes 5 along; 3 is 2;
        // 6 stays alone.
        let item = |group| Item {
            name: String::new(),
            group,
            class: None,
            caption: None,
            embedding: None,
        };
        let mut items: Vec<Item> = [1, 2, 3, 4, 4, 3, 5, 6].map(item).into();
        let pixels: Vec<u8> = b"abcdabde"
            .iter()
            .flat_map(|&v| [v; SIDE * SIDE * 3])
            .collect();
        share_groups(&mut items, &pixels);
        assert_eq!(
            items.iter().map(|item| item.group).collect::<Vec<_>>(),
            [1, 2, 2, 1, 1, 2, 1, 6]
        );
    }

    #[test]
    fn another_size_can_be_asked_for() {
        let options = Options {
            size: Some((28, 20)),
            channels: Some(1),
            ..Default::default()
        };
        let set = open(&options).unwrap();
        assert_eq!(
            (set.width, set.height, set.channels, pixels(&set).len()),
            (28, 20, 1, 3786 * 28 * 20)
        );
        assert_eq!(
            set.notes,
            ["images changed from 32x32 colour to 28x20 grey"]
        );
    }

    #[test]
    fn a_damaged_atlas_is_an_error() {
        assert!(read(&ATLAS[..1000], TABLE).is_err());
        assert!(read(ATLAS, &TABLE[..5000]).is_err());
        assert!(read(ATLAS, "").is_err());
    }
}
