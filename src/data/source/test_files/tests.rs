use super::*;
use crate::data::{self, Item};
use std::fs;

fn fits(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).fits(name)
}

#[test]
fn a_pattern_takes_parts_of_paths() {
    for (pattern, name, holds) in [
        ("*.png", "a.png", true),
        ("*.png", "cats/a.png", false),
        ("*.png", "a.jpg", false),
        ("cats/*", "cats/a.png", true),
        ("cats/*", "cats/old/a.png", false),
        ("cats/**", "cats/old/a.png", true),
        ("**/a.png", "a.png", true),
        ("**/a.png", "cats/old/a.png", true),
        ("**/a.png", "cats/ba.png", false),
        ("cats/**/a.png", "cats/a.png", true),
        ("cats/**/a.png", "cats/x/y/a.png", true),
        ("cats/**/a.png", "dogs/a.png", false),
        ("?.png", "é.png", true),
        ("?.png", "/.png", false),
        ("??.png", "é.png", false),
        ("ü*é", "über é", true),
        ("ü*é", "uber é", false),
        ("a*b*c", "axxbxxc", true),
        ("a*b*c", "axxcxxb", false),
        ("*", "", true),
        ("", "a", false),
        ("**", "a/b/c", true),
    ] {
        assert_eq!(fits(pattern, name), holds, "{pattern} {name}");
    }
    // All ways at once: no pattern takes for ever.
    let name = "a".repeat(2000);
    assert!(!fits(&format!("{}b", "*a".repeat(40)), &name));
}

/// A set of images of these names, each of a group of its own, but for those whose first letter is
/// the same.
fn set(names: &[&str]) -> ImageSet {
    let item = |name: &&str| Item {
        name: (*name).to_owned(),
        group: u64::from(name.as_bytes()[0]),
        class: None,
        caption: None,
        embedding: None,
    };
    ImageSet {
        name: "some".into(),
        width: 1,
        height: 1,
        channels: 1,
        pixels: vec![0; names.len()].into(),
        items: names.iter().map(item).collect(),
        classes: vec![],
        notes: vec![format!("{TOO_FEW}: 1 held out for the test")],
        train: vec![],
        test: vec![],
    }
}

const NAMES: [&str; 5] = ["a/1.png", "b/2.png", "c/3.png", "d/4@2x.png", "e/#5.png"];

fn split(names: &[&str], list: &str) -> Result<ImageSet> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("held.txt");
    fs::write(&path, list).unwrap();
    let mut set = set(names);
    hold_out(&mut set, &path)?;
    Ok(set)
}

#[test]
fn lines_hold_out_what_they_name() {
    for (list, test) in [
        ("a/1.png\n", &[0u32][..]),
        (
            "\u{feff}./a/1.png\r\n\r\n# a comment\r\n  c/3.png  ",
            &[0, 2],
        ),
        ("a/1.png\na/1.png\n*/1.png", &[0]),
        ("d/4@2x.png", &[3]),
        ("?/#5.png", &[4]),
        ("[a]/1.png\n", &[]),
    ] {
        let set = split(&NAMES, list);
        if test.is_empty() {
            assert!(set.unwrap_err().to_string().contains("[a]/1.png"));
            continue;
        }
        let set = set.unwrap();
        assert_eq!(set.test, test, "{list:?}");
        let train: Vec<u32> = (0..5).filter(|i| !test.contains(i)).collect();
        assert_eq!(set.train, train);
        let said = format!(
            "{} images to train on, {} held out",
            train.len(),
            test.len()
        );
        // The note on the rule that is not used is gone.
        assert!(
            set.notes.len() == 1 && set.notes[0].ends_with(&said),
            "{:?}",
            set.notes
        );
    }
}

#[test]
fn a_name_may_begin_as_comments_and_folders_do() {
    for list in ["./#5.png", "?5.png", "./a/1.png\n./#5.png"] {
        let set = split(&["#5.png", "b/2.png", "./a/1.png"], list).unwrap();
        let test: &[u32] = if list.contains('a') { &[0, 2] } else { &[0] };
        assert_eq!(set.test, test, "{list:?}");
    }
    // Without the folder it is a comment.
    assert!(split(&["#5.png", "b/2.png"], "#5.png\n").is_err());
}

#[test]
fn a_photograph_is_held_out_with_all_its_tiles() {
    let tiles = ["a/1@000", "a/1@001", "b/2@000", "c/3.png"];
    for (list, test) in [
        ("a/1.jpg", &[0u32, 1][..]),
        ("a/1@001", &[1]),
        ("a/*.jpg", &[0, 1]),
        ("**/2.png", &[2]),
        ("c/3.png", &[3]),
    ] {
        assert_eq!(split(&tiles, list).unwrap().test, test, "{list}");
    }
    // What is no tile is held out by its whole name.
    assert!(split(&tiles, "c/3.jpg").is_err());
}

#[test]
fn variants_on_both_sides_are_told_of() {
    let set = split(&["a/1.png", "a/1@2x.png", "b/2.png"], "a/1.png").unwrap();
    let notes = set.notes.join("\n");
    assert!(
        notes.contains("1 images that are held out have variants"),
        "{notes}"
    );
}

#[test]
fn what_names_nothing_is_an_error_with_the_first_of_them() {
    let refused = |list: &str, words: &[&str]| {
        let error = split(&NAMES, list).unwrap_err().to_string();
        for words in [&["data.test_files", "held.txt"][..], words].concat() {
            assert!(error.contains(words), "{words}: {error}");
        }
    };
    let unknown: Vec<String> = (0..7).map(|i| format!("x/{i}.png")).collect();
    refused(
        &format!("a/1.png\n{}", unknown.join("\n")),
        &[
            "7 of the 8 lines",
            "x/0.png, x/1.png",
            "x/4.png and 2 more",
            "such as `a/1.png`",
        ],
    );
    refused("z*\n", &["1 of the 1 lines", "z*"]);
    refused("# nothing\n\n", &["names no image"]);
    refused("**", &["names all 5 images"]);
    let gone = hold_out(&mut set(&NAMES), Path::new("/nowhere/held.txt"));
    let gone = gone.unwrap_err().to_string();
    assert!(
        gone.contains("/nowhere/held.txt") && gone.contains("test-files.txt"),
        "{gone}"
    );
}

#[test]
fn sources_without_files_and_other_rules_refuse_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("held.txt");
    fs::write(&list, "1.png").unwrap();
    let array = dir.path().join("x-images-idx3-ubyte");
    fs::write(
        &array,
        crate::data::source::idx::tests::idx(&[2, 1, 1], &[1, 2]),
    )
    .unwrap();
    let options = data::Options {
        test_files: Some(list),
        ..Default::default()
    };
    for source in [array.to_str().unwrap(), "fashion-mnist"] {
        let error = data::open(source, &options).unwrap_err().to_string();
        for words in ["data.test_files", source, "give a folder"] {
            assert!(error.contains(words), "{words}: {error}");
        }
    }
    let both = data::Options {
        hold_out: data::SplitRule::Combinations,
        ..options.clone()
    };
    let error = data::open("emoji", &both).unwrap_err().to_string();
    assert!(error.contains("two rules for one split"), "{error}");
    // The embedded emoji have names.
    fs::write(options.test_files.as_ref().unwrap(), "grinning\n").unwrap();
    let set = data::open("emoji", &options).unwrap();
    assert_eq!(set.items[set.test[0] as usize].name, "grinning");
    assert_eq!((set.test.len(), set.train.len()), (1, set.len() - 1));
}

/// Folders, tars and files of captions, in memory and on disk, by one list.
#[test]
fn folders_tars_and_captions_are_split_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    let mut archive = tar::Builder::new(Vec::new());
    let mut lines = String::new();
    for (i, name) in ["train/cats/0.png", "train/cats/1.png", "val/cats/2.png"]
        .iter()
        .enumerate()
    {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_pixel(4, 4, image::Luma([i as u8]))
            .save(&path)
            .unwrap();
        archive.append_path_with_name(&path, name).unwrap();
        lines += &format!(
            "{{\"image\": \"set/{name}\", \"text\": \"cat {i}\", \"split\": \"train\"}}\n"
        );
    }
    fs::write(dir.path().join("all.tar"), archive.into_inner().unwrap()).unwrap();
    lines = lines.replacen("\"train\"}\n", "\"test\"}\n", 1);
    fs::write(dir.path().join("captions.jsonl"), lines).unwrap();
    let list = dir.path().join("held.txt");
    fs::write(&list, "**/1.png").unwrap();
    for keep in [data::Residency::Memory, data::Residency::Disk] {
        for source in ["set", "all.tar", "captions.jsonl"] {
            let options = data::Options {
                keep,
                cache_dir: Some(dir.path().join("cache")),
                test_files: Some(list.clone()),
                ..Default::default()
            };
            let set = data::open(dir.path().join(source).to_str().unwrap(), &options).unwrap();
            assert_eq!((&set.train, &set.test), (&vec![0, 2], &vec![1]), "{source}");
            // The folders of the split that the data has stay no classes.
            if source != "captions.jsonl" {
                assert_eq!(set.classes, ["cats"], "{source}");
            }
        }
    }
}
