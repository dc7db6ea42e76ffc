//! Captions: images with their texts from a file of JSON Lines, and a split that holds out
//! combinations of words.
//!
//! A line is an object with the image's path, absolute or from the file's own folder, and its
//! text: `{"image": "hearts/1.png", "text": "a red heart"}`. Other names that such files use are
//! understood ([`IMAGE`], [`TEXT`]); `split` names the side of a line, `embedding` a file with the
//! text as an encoder from elsewhere made it. An image may stand on several lines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::data::source::folder;
use crate::data::source::image_file::{ImageFile, TEST, TEXT, TRAIN};
use crate::data::{ImageSet, Item, Options};
use crate::text::one_line;
use crate::{Error, Result, files};

/// Names of the image's path.
const IMAGE: [&str; 5] = ["image", "file_name", "file", "path", "image_path"];
/// Images that are missing are passed over up to one in so many.
const MISSING: usize = 100;
/// Names that an error lists.
const LISTED: usize = 5;

/// One line.
struct Line {
    name: String,
    path: PathBuf,
    text: String,
    test: Option<bool>,
    embedding: Option<PathBuf>,
}

/// Whether a file is one of captions, by its name.
pub(crate) fn is_captions(path: &Path) -> bool {
    let ending = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    ["jsonl", "ndjson", "json", "csv", "tsv", "txt"].contains(&&*ending)
}

/// Whether so many images of all are more than may be passed over.
fn too_many(gone: usize, all: usize) -> bool {
    gone.saturating_mul(MISSING) > all
}

/// Opens the images that the file names, with its texts.
pub(crate) fn open(path: &Path, options: &Options) -> Result<ImageSet> {
    if options.whole {
        return Err(Error::config(
            "data.crop",
            "`random` cuts images into parts, of which a caption need not be true",
        ));
    }
    let lines = read(path)?;
    let (mut missing, mut names) = (Vec::new(), HashMap::new());
    let mut found = Vec::new();
    for line in &lines {
        if line.path.is_file() {
            found.push(ImageFile::file(line.path.clone(), line.name.clone()));
            names.insert(line.name.clone(), line);
        } else {
            missing.push(line.path.display().to_string());
        }
    }
    let mut notes = Vec::new();
    let (all, gone) = (lines.len(), missing.len());
    if gone > 0 {
        let listed = missing
            .iter()
            .take(LISTED)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        let more = if gone > LISTED {
            format!(" and {} more", gone - LISTED)
        } else {
            String::new()
        };
        let what = format!("{gone} of its {all} images are missing: {listed}{more}");
        if too_many(gone, all) {
            let way =
                "paths are taken from the file's own folder; up to one in a hundred is passed over";
            return Err(Error::file(path, format!("{what}; {way}")));
        }
        notes.push(what);
    }
    let mut set = folder::load(path, found, options, notes)?;
    if too_many(all.saturating_sub(set.len() + gone), all) {
        let what = format!(
            "{} of its {all} images are missing or cannot be read: {}",
            all - set.len(),
            set.notes.join("; ")
        );
        return Err(Error::file(path, what));
    }
    let mut sides = Vec::new();
    for item in &mut set.items {
        let Some(line) = names.get(&item.name) else {
            continue;
        };
        item.caption = Some(line.text.clone());
        item.embedding = line.embedding.clone();
        sides.push(line.test);
    }
    set.classes.clear();
    set.items.iter_mut().for_each(|item| item.class = None);
    if sides.iter().any(|side| side.is_some()) {
        (set.test, set.train) =
            (0..set.len() as u32).partition(|i| sides[*i as usize] == Some(true));
        if set.test.is_empty() || set.train.is_empty() {
            return Err(Error::file(
                path,
                "its lines name a split that leaves one side empty: `split` is train or test",
            ));
        }
    }
    Ok(set)
}

fn read(path: &Path) -> Result<Vec<Line>> {
    let text = files::read_text(path, files::LIST)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let mut lines = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (i, row) in text
        .lines()
        .map(|row| row.trim_start_matches('\u{feff}'))
        .enumerate()
        .filter(|(_, row)| !row.trim().is_empty())
    {
        let wrong = |what: String| {
            let form = r#"{"image": "hearts/1.png", "text": "a red heart"}"#;
            let what = format!("{what}; each line is an object such as {form}");
            Error::file(path, format!("line {}: {what}", i + 1))
        };
        let value: serde_json::Value =
            serde_json::from_str(row).map_err(|e| wrong(format!("is not JSON ({e})")))?;
        let object = value
            .as_object()
            .ok_or_else(|| wrong("is not an object".into()))?;
        let string = |names: &[&str]| names.iter().find_map(|name| object.get(*name)?.as_str());
        let keys = || {
            object
                .keys()
                .take(8)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        };
        let image =
            string(&IMAGE).ok_or_else(|| wrong(format!("names no image (it has {})", keys())))?;
        let text =
            string(&TEXT).ok_or_else(|| wrong(format!("has no text (it has {})", keys())))?;
        let text = one_line(text);
        if text.is_empty() {
            return Err(wrong(format!("the text of {image} is empty")));
        }
        let test = match string(&["split"]).map(str::to_lowercase) {
            None => None,
            Some(side) if TRAIN.contains(&&*side) => Some(false),
            Some(side) if TEST.contains(&&*side) => Some(true),
            Some(side) => {
                return Err(wrong(format!(
                    "the split `{side}` is neither train nor test"
                )));
            }
        };
        let times = seen
            .entry(image.to_owned())
            .and_modify(|n| *n += 1)
            .or_insert(1);
        // What follows an @ names a variant of one image.
        let name = if *times == 1 {
            image.to_owned()
        } else {
            variant(image, *times)
        };
        let embedding = string(&["embedding"]).map(|file| base.join(file));
        lines.push(Line {
            name,
            path: base.join(image),
            text,
            test,
            embedding,
        });
    }
    if lines.is_empty() {
        return Err(Error::file(path, "holds no line"));
    }
    Ok(lines)
}

fn variant(name: &str, n: usize) -> String {
    match name.rfind('.') {
        Some(dot) if !name[dot..].contains('/') => {
            format!("{}@line{n}{}", &name[..dot], &name[dot..])
        }
        _ => format!("{name}@line{n}"),
    }
}

/// Returns a caption's words, in lower case.
fn words(caption: &str) -> BTreeSet<String> {
    let letters = |c: char| !(c.is_alphanumeric() || c == '\'');
    caption
        .split(letters)
        .filter(|w| !w.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Captions that a word of a held-out one must at least stand in on the other side.
const KNOWN: usize = 3;

/// Splits a set so that what is held out are combinations of words: about one in ten of the
/// different captions, each of several words, all of which stand in three captions or more that are
/// trained on, while that combination of words does not. All images of a combination are on
/// one side.
///
/// # Errors
/// If an image has no caption, or too few captions share words for a combination to be held out.
pub fn hold_out_combinations(set: &mut ImageSet) -> Result<()> {
    let mut combinations: BTreeMap<BTreeSet<String>, Vec<u32>> = BTreeMap::new();
    for (i, item) in set.items.iter().enumerate() {
        let Item { name, caption, .. } = item;
        let caption = caption.as_deref().ok_or_else(|| {
            Error::data(format!(
                "{}: `{name}` has no caption: data.split = captions holds out combinations of \
                 words",
                set.name
            ))
        })?;
        combinations
            .entry(words(caption))
            .or_default()
            .push(i as u32);
    }
    let mut standing: HashMap<&str, usize> = HashMap::new();
    for word in combinations.keys().flatten() {
        *standing.entry(word).or_default() += 1;
    }
    // In an order that depends on the combination alone, so that another image moves few from
    // side to side.
    let mut order: Vec<(u64, &BTreeSet<String>)> = combinations
        .keys()
        .map(|words| {
            (
                folder::group(&words.iter().cloned().collect::<Vec<_>>().join(" ")),
                words,
            )
        })
        .collect();
    order.sort();
    let most = combinations.len().div_ceil(10);
    let mut held: BTreeSet<&BTreeSet<String>> = BTreeSet::new();
    for (_, words) in order {
        if held.len() < most
            && words.len() > 1
            && words.iter().all(|w| standing[w.as_str()] > KNOWN)
        {
            words
                .iter()
                .for_each(|w| *standing.entry(w).or_default() -= 1);
            held.insert(words);
        }
    }
    if held.is_empty() {
        let what = format!(
            "{}: no combination of words can be held out: of {} different captions none has words \
             that {KNOWN} others share",
            set.name,
            combinations.len()
        );
        return Err(Error::data(what));
    }
    let mut side = vec![false; set.items.len()];
    held.iter()
        .flat_map(|words| &combinations[*words])
        .for_each(|i| side[*i as usize] = true);
    (set.test, set.train) = (0..set.items.len() as u32).partition(|i| side[*i as usize]);
    set.notes.push(format!(
        "held out: {} images of {} combinations of words that training never sees together, \
         though it sees each word",
        set.test.len(),
        held.len()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;
    use std::fs;

    fn pictures(dir: &Path, n: usize) {
        for i in 0..n {
            image::RgbImage::from_pixel(4, 4, image::Rgb([i as u8, 7, 9]))
                .save(dir.join(format!("{i}.png")))
                .unwrap();
        }
    }

    fn opened(dir: &Path, lines: &str) -> Result<ImageSet> {
        let path = dir.join("captions.jsonl");
        fs::write(&path, lines).unwrap();
        data::open(path.to_str().unwrap(), &Options::default())
    }

    #[test]
    fn lines_name_pictures_and_their_texts() {
        let dir = tempfile::tempdir().unwrap();
        pictures(dir.path(), 3);
        let lines = "\u{feff}{\"image\": \"0.png\", \"text\": \"a  \
                     red\\nheart\"}\n\n{\"caption\": \"two\", \"file_name\": \"1.png\", \
                     \"split\": \"test\"}\n{\"path\": \"0.png\", \"prompt\": \"love\", \
                     \"embedding\": \"e.npy\"}\n";
        let set = opened(dir.path(), lines).unwrap();
        let by_name = |name: &str| set.items.iter().position(|i| i.name == name).unwrap();
        let (first, again) = (by_name("0.png"), by_name("0@line2.png"));
        assert_eq!(set.items[first].caption.as_deref(), Some("a red heart"));
        assert_eq!(set.items[again].caption.as_deref(), Some("love"));
        assert_eq!(set.items[again].embedding, Some(dir.path().join("e.npy")));
        assert_eq!(set.image(first).unwrap(), set.image(again).unwrap());
        assert_eq!(set.test, [by_name("1.png") as u32]);
        assert_eq!((set.len(), set.train.len()), (3, 2));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        pictures(dir.path(), 1);
        for (lines, words) in [
            ("0.png,a heart\n", "line 1: is not JSON"),
            (
                "{\"image\": \"0.png\", \"text\": \"x\"}\n[1]\n",
                "line 2: is not an object",
            ),
            (
                "{\"url\": \"0.png\", \"text\": \"x\"}\n",
                "names no image (it has text, url)",
            ),
            ("{\"image\": \"0.png\", \"label\": \"x\"}\n", "has no text"),
            (
                "{\"image\": \"0.png\", \"text\": \" \"}\n",
                "the text of 0.png is empty",
            ),
            (
                "{\"image\": \"0.png\", \"text\": \"x\", \"split\": \"left\"}\n",
                "neither train nor test",
            ),
            ("\n", "holds no line"),
            (
                "{\"image\": \"9.png\", \"text\": \"x\"}\n",
                "1 of its 1 images are missing",
            ),
        ] {
            let error = opened(dir.path(), lines).unwrap_err().to_string();
            assert!(
                error.contains(words) && error.contains("captions.jsonl"),
                "{lines}: {error}"
            );
        }
    }

    #[test]
    fn one_in_a_hundred_is_passed_over() {
        assert!(!too_many(0, 0) && !too_many(1, 100) && !too_many(2, 299));
        assert!(too_many(1, 99) && too_many(2, 199) && too_many(1, 0));
    }

    #[test]
    fn a_few_missing_pictures_are_passed_over_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        pictures(dir.path(), 200);
        let line = |i: usize| format!("{{\"image\": \"{i}.png\", \"text\": \"number {i}\"}}\n");
        let set = opened(dir.path(), &(0..201).map(line).collect::<String>()).unwrap();
        assert_eq!(set.len(), 200);
        assert!(
            set.notes
                .iter()
                .any(|n| n.contains("1 of its 201 images are missing") && n.contains("200.png"))
        );
        assert!(opened(dir.path(), &(0..203).map(line).collect::<String>()).is_err());
    }

    #[test]
    fn held_out_combinations_are_new_and_their_words_are_not() {
        let colours = ["red", "green", "blue", "black", "white"];
        let things = ["heart", "star", "car", "cat", "book", "key"];
        let captions = colours
            .iter()
            .flat_map(|c| things.iter().map(move |t| format!("a {c} {t}")));
        let item = |(i, caption): (usize, String)| Item {
            name: i.to_string(),
            group: 0,
            class: None,
            caption: Some(caption),
            embedding: None,
        };
        // Each combination twice, once in other words' order.
        let mut items: Vec<Item> = captions.enumerate().map(item).collect();
        let again = items.iter().map(|i| Item {
            caption: i.caption.as_ref().map(|c| c.to_uppercase()),
            ..i.clone()
        });
        items.extend(again.collect::<Vec<_>>());
        let mut set = ImageSet {
            name: "things".into(),
            width: 1,
            height: 1,
            channels: 1,
            pixels: vec![0; items.len()].into(),
            items,
            classes: vec![],
            notes: vec![],
            train: vec![],
            test: vec![],
        };
        hold_out_combinations(&mut set).unwrap();
        assert_eq!((set.test.len(), set.train.len()), (6, 54));
        let said = |side: &[u32]| -> Vec<BTreeSet<String>> {
            side.iter()
                .map(|i| words(set.items[*i as usize].caption.as_deref().unwrap()))
                .collect()
        };
        let (train, test) = (said(&set.train), said(&set.test));
        for combination in test {
            assert!(!train.contains(&combination));
            assert!(
                combination
                    .iter()
                    .all(|w| train.iter().filter(|c| c.contains(w)).count() >= KNOWN)
            );
        }
        set.items[3].caption = None;
        assert!(
            hold_out_combinations(&mut set)
                .unwrap_err()
                .to_string()
                .contains("has no caption")
        );
        set.items
            .iter_mut()
            .zip(0..)
            .for_each(|(item, i)| item.caption = Some(format!("word{i} other{i}")));
        assert!(hold_out_combinations(&mut set).is_err());
    }
}
