//! CIFAR-10 and CIFAR-100 in their binary versions (A. Krizhevsky, "Learning multiple layers of
//! features from tiny images", 2009): records of one or two labels and 32 x 32 pixels, all of a
//! channel together.
//!
//! The folder is `cifar-10-batches-bin` (`data_batch_1.bin` and so on, `test_batch.bin`,
//! `batches.meta.txt`) or `cifar-100-binary` (`train.bin`, `test.bin`, `fine_label_names.txt`), by
//! whatever name.

use super::labelled::{Labelled, assemble};
use crate::data::decode::picture;
use crate::data::{ImageSet, Options, budget};
use crate::{Error, Result, files};
use std::path::Path;

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;

/// The files of a version.
struct Version {
    train: Vec<String>,
    /// Files of it that are not there.
    missing: Vec<String>,
    test: &'static str,
    names: &'static str,
    /// Labels of a record, of which the last is the class.
    labels: usize,
}

fn version(folder: &Path) -> Option<Version> {
    let there = |name: &str| folder.join(name).is_file();
    if there("data_batch_1.bin") {
        let names = (1..=5).map(|i| format!("data_batch_{i}.bin"));
        let (train, missing) = names.partition(|name| there(name));
        return Some(Version {
            train,
            missing,
            test: "test_batch.bin",
            names: "batches.meta.txt",
            labels: 1,
        });
    }
    (there("train.bin") && there("fine_label_names.txt")).then(|| Version {
        train: vec!["train.bin".into()],
        missing: Vec::new(),
        test: "test.bin",
        names: "fine_label_names.txt",
        labels: 2,
    })
}

/// Whether a folder holds CIFAR's binary files.
pub(crate) fn is_cifar(folder: &Path) -> bool {
    version(folder).is_some()
}

/// Opens a folder of CIFAR's binary files.
pub(crate) fn open(folder: &Path, options: &Options) -> Result<ImageSet> {
    let Some(version) = version(folder) else {
        return Err(Error::file(folder, "holds no binary files of CIFAR"));
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for name in &version.train {
        read(folder, name, version.labels, &mut pixels, &mut labels)?;
    }
    let train = labels.len();
    let missing = version.missing.iter();
    let mut notes: Vec<String> = missing
        .map(|name| format!("{name} is not there: its images are missing"))
        .collect();
    if folder.join(version.test).is_file() {
        read(
            folder,
            version.test,
            version.labels,
            &mut pixels,
            &mut labels,
        )?;
    } else {
        notes.push(format!(
            "{} is not there: the images held out are others than CIFAR's",
            version.test
        ));
    }
    let names = folder.join(version.names);
    let names = match names.is_file() {
        true => files::read_text(&names, files::TEXT)?,
        false => {
            notes.push(format!(
                "{} is not there: classes are named by numbers",
                version.names
            ));
            String::new()
        }
    };
    let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    let held_out = labels.len() - train;
    let set = assemble(Labelled {
        name: folder.display().to_string(),
        size: [SIDE, SIDE, 3],
        pixels,
        counts: [train, held_out],
        labels: Some(labels),
        names,
        notes,
    });
    picture::refit(set, options)
}

fn read(
    folder: &Path,
    name: &str,
    per_record: usize,
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u8>,
) -> Result<()> {
    let path = folder.join(name);
    let bytes = files::read(&path, files::LIST)?;
    let record = per_record + 3 * PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        let what = format!(
            "has {} bytes, and a record takes {record}: it is no binary file of CIFAR, or was cut \
             short",
            bytes.len()
        );
        return Err(Error::file(path, what));
    }
    let shown = path.display().to_string();
    let all = labels.len() + bytes.len() / record;
    budget(&shown, all, SIDE, SIDE, 3)?;
    for record in bytes.chunks_exact(record) {
        let (of, planes) = record.split_at(per_record);
        labels.push(of[per_record - 1]);
        let pixel = |i: usize| [planes[i], planes[PIXELS + i], planes[2 * PIXELS + i]];
        pixels.extend((0..PIXELS).flat_map(pixel));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record whose red rises with the pixel, with green and blue of its own.
    fn record(labels: &[u8], green: u8, blue: u8) -> Vec<u8> {
        let red: Vec<u8> = (0..PIXELS).map(|i| i as u8).collect();
        [labels, &red, &[green; PIXELS], &[blue; PIXELS]].concat()
    }

    fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn ten_classes_have_their_names_and_their_split() {
        let two = [record(&[3], 10, 20), record(&[0], 11, 21)].concat();
        let place = folder(&[
            ("data_batch_1.bin", two),
            ("data_batch_2.bin", record(&[3], 12, 22)),
            ("test_batch.bin", record(&[1], 13, 23)),
            (
                "batches.meta.txt",
                b"airplane\nautomobile\nbird\ncat\n\n".to_vec(),
            ),
        ]);
        assert!(is_cifar(place.path()));
        let set = open(place.path(), &Options::default()).unwrap();
        assert_eq!((&set.train[..], &set.test[..]), (&[0, 1, 2][..], &[3][..]));
        assert_eq!((set.width, set.height, set.channels), (32, 32, 3));
        let class = |i: usize| set.classes[set.items[i].class.unwrap() as usize].as_str();
        assert_eq!(
            [0, 1, 2, 3].map(class),
            ["cat", "airplane", "cat", "automobile"]
        );
        assert_eq!(set.image(1).unwrap()[..6], [0, 11, 21, 1, 11, 21]);
        let missing = set.notes.iter().filter(|n| n.contains("is not there"));
        let missing: Vec<&str> = missing.filter_map(|n| n.split(' ').next()).collect();
        let rest = [3, 4, 5].map(|i| format!("data_batch_{i}.bin"));
        assert_eq!(missing, rest);
    }

    #[test]
    fn what_a_whole_folder_has_and_this_one_lacks_is_named() {
        let place = folder(&[("data_batch_1.bin", record(&[3], 1, 2).repeat(2))]);
        let set = open(place.path(), &Options::default()).unwrap();
        for name in ["data_batch_2.bin", "test_batch.bin", "batches.meta.txt"] {
            let named = set.notes.iter().any(|note| note.starts_with(name));
            assert!(named, "{name}: {:?}", set.notes);
        }
        let all = ["train.bin", "test.bin"].map(|name| (name, record(&[9, 0], 1, 2)));
        let names = ("fine_label_names.txt", b"apple\n".to_vec());
        let whole = open(
            folder(&[&all[..], &[names]].concat()).path(),
            &Options::default(),
        );
        let notes = whole.unwrap().notes;
        assert!(
            !notes.iter().any(|n| n.contains("is not there")),
            "{notes:?}"
        );
    }

    #[test]
    fn a_hundred_classes_are_the_fine_ones() {
        let place = folder(&[
            ("train.bin", record(&[9, 2], 1, 2)),
            ("test.bin", record(&[9, 0], 3, 4)),
            ("fine_label_names.txt", b"apple\nbaby\nbear\n".to_vec()),
        ]);
        let set = open(place.path(), &Options::default()).unwrap();
        let class = |i: usize| set.classes[set.items[i].class.unwrap() as usize].as_str();
        assert_eq!([0, 1].map(class), ["bear", "apple"]);
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let cut = record(&[3], 1, 2)[..3000].to_vec();
        let place = folder(&[("data_batch_1.bin", cut)]);
        let said = open(place.path(), &Options::default()).unwrap_err();
        let said = said.to_string();
        assert!(
            said.contains("data_batch_1.bin") && said.contains("3073"),
            "{said}"
        );
        let place = folder(&[("data_batch_1.bin", Vec::new())]);
        assert!(open(place.path(), &Options::default()).is_err());
        assert!(!is_cifar(folder(&[("a.png", vec![])]).path()));
    }
}
