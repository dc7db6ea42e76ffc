//! The names that stand for a set, and where fetched sets lie.

use std::path::Path;

use strsim::levenshtein;

use crate::data::decode::picture;
use crate::data::source::{emoji, folder, idx, test_files, tiles};
use crate::data::{self, ImageSet, Options};
use crate::{Error, Result};

/// The named data sets and what they hold. The first is part of the program; `scripts/data.sh NAME`
/// fetches the others.
pub const NAMED_SETS: [(&str, &str); 5] = [
    (
        "emoji",
        "3,786 Noto emoji, 32x32 colour, with captions (part of the program)",
    ),
    (
        "fashion-mnist",
        "70,000 images of clothes, 28x28 grey, 10 classes",
    ),
    ("openclipart", "some 7,000 drawings of mixed sizes"),
    ("photos", "tiles of two dozen photographs"),
    ("twemoji", "Twitter's emoji with captions, 64x64 colour"),
];

/// Fashion-MNIST's classes (H. Xiao, K. Rasul, R. Vollgraf, 2017, table 2).
const CLOTHES: [&str; 10] = [
    "t-shirt or top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

/// Folder of Debian's package dataset-fashion-mnist.
const DEBIAN: &str = "/usr/share/datasets/fashion-mnist";

/// The set of that name; `None` if it is no named set.
pub(crate) fn open(name: &str, options: &Options) -> Option<Result<ImageSet>> {
    if !NAMED_SETS.iter().any(|(known, _)| *known == name) {
        return None;
    }
    let place = options
        .cache_dir
        .clone()
        .unwrap_or_else(data::cache_dir)
        .join(name);
    let set = match name {
        "emoji" => emoji::open(options),
        "fashion-mnist" => test_files::none(name, options)
            .and_then(|()| fashion_mnist(&[&place, Path::new(DEBIAN)], options)),
        "photos" if place.is_dir() => tiles::open(&place, options),
        _ if place.is_dir() => folder::open(&place, options),
        _ => Err(missing(name, &[&place])),
    };
    Some(set.map(|set| ImageSet {
        name: name.into(),
        ..set
    }))
}

fn fashion_mnist(places: &[&Path], options: &Options) -> Result<ImageSet> {
    let file = |place: &Path, half: &str, kind: &str| {
        let name = format!("{half}-{kind}-ubyte");
        [format!("{name}.gz"), name]
            .into_iter()
            .map(|name| place.join(name))
            .find(|path| path.is_file())
    };
    let find = |half, kind| places.iter().find_map(|place| file(place, half, kind));
    let (Some(train), Some(test)) = (find("train", "images-idx3"), find("t10k", "images-idx3"))
    else {
        return Err(missing("fashion-mnist", places));
    };
    let mut set = idx::open_files(&train, Some(&test))?;
    let clothes = |label: &String| {
        CLOTHES
            .get(label.parse::<usize>().ok()?)
            .map(|name| (*name).to_owned())
    };
    let named: Option<Vec<String>> = set.classes.iter().map(clothes).collect();
    let (28, 28, 1, Some(named)) = (set.width, set.height, set.channels, named) else {
        let what = format!(
            "{}x{} images of the classes {}",
            set.width,
            set.height,
            set.classes.join(", ")
        );
        return Err(Error::file(
            train,
            format!("holds {what}; Fashion-MNIST has 28x28 images of 10, 0 to 9"),
        ));
    };
    if set.classes.is_empty() {
        return Err(Error::file(
            train,
            "its labels are missing; `scripts/data.sh fashion-mnist`, in a clone of the \
             repository, gets them",
        ));
    }
    set.classes = named;
    picture::refit(set, options)
}

fn missing(name: &str, places: &[&Path]) -> Error {
    let places: Vec<String> = places
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    Error::data(format!(
        "the data set {name} is not here (looked in {}); `scripts/data.sh {name}`, in a clone of \
         the repository, fetches it",
        places.join(" and ")
    ))
}

/// The error for a source that is neither a path nor a named set.
pub(crate) fn unknown(source: &str) -> Error {
    let names = NAMED_SETS.map(|(name, _)| name);
    let nearest = names
        .into_iter()
        .min_by_key(|name| levenshtein(source, name))
        .filter(|name| {
            // Not a guess at any price: at most a third of the letters wrong.
            levenshtein(source, name) <= name.len().div_ceil(3)
        });
    let meant = nearest.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    Error::data(format!(
        "data `{source}`: there is no such file or folder, and the named data sets are {}{meant}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::idx::tests::{gz, idx};
    use std::fs;

    #[test]
    fn an_unknown_name_lists_the_known_ones_and_the_nearest() {
        let error = crate::data::open("emojy", &Options::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("did you mean `emoji`") && error.contains("fashion-mnist, openclipart"),
            "{error}"
        );
        let error = crate::data::open("fashion_mnist", &Options::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("`fashion-mnist`?"), "{error}");
        let error = crate::data::open("/no/such/folder", &Options::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/no/such/folder") && !error.contains("did you mean"),
            "{error}"
        );
    }

    #[test]
    fn a_set_that_was_not_fetched_says_how() {
        let dir = tempfile::tempdir().unwrap();
        for error in [
            fashion_mnist(&[dir.path()], &Options::default()).unwrap_err(),
            open(
                "photos",
                &Options {
                    cache_dir: Some(dir.path().into()),
                    ..Default::default()
                },
            )
            .unwrap()
            .unwrap_err(),
        ] {
            let error = error.to_string();
            assert!(
                error.contains("`scripts/data.sh ") && error.contains(dir.path().to_str().unwrap()),
                "{error}"
            );
        }
    }

    #[test]
    fn fashion_mnist_is_read_from_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("fashion-mnist");
        fs::create_dir(&place).unwrap();
        let write = |name: &str, bytes: Vec<u8>| fs::write(place.join(name), gz(&bytes)).unwrap();
        write(
            "train-images-idx3-ubyte.gz",
            idx(&[3, 28, 28], &[7; 3 * 784]),
        );
        write("t10k-images-idx3-ubyte.gz", idx(&[1, 28, 28], &[9; 784]));
        let options = Options {
            size: Some((32, 32)),
            cache_dir: Some(dir.path().into()),
            ..Default::default()
        };
        let error = open("fashion-mnist", &options)
            .unwrap()
            .unwrap_err()
            .to_string();
        assert!(error.contains("labels are missing"), "{error}");
        write("train-labels-idx1-ubyte.gz", idx(&[3], &[9, 0, 3]));
        write("t10k-labels-idx1-ubyte.gz", idx(&[1], &[1]));
        let set = open("fashion-mnist", &options).unwrap().unwrap();
        assert_eq!(
            (set.len(), set.width, set.name.as_str(), set.class_name(0)),
            (4, 32, "fashion-mnist", Some("ankle boot"))
        );
        assert_eq!((&set.test[..], set.classes.len()), (&[3][..], 4));
        write("t10k-labels-idx1-ubyte.gz", idx(&[1], &[10]));
        assert!(
            open("fashion-mnist", &options)
                .unwrap()
                .unwrap_err()
                .to_string()
                .contains("0 to 9")
        );
    }

    /// The published files, where they are installed.
    #[test]
    fn the_real_fashion_mnist() {
        if !Path::new(DEBIAN).is_dir() {
            eprintln!("SKIPPED: {DEBIAN} is missing; `scripts/data.sh fashion-mnist` gets it");
            return;
        }
        let set = fashion_mnist(&[Path::new(DEBIAN)], &Options::default()).unwrap();
        assert_eq!(
            (set.train.len(), set.test.len(), set.width, set.height),
            (60_000, 10_000, 28, 28)
        );
        for class in 0..10 {
            assert_eq!(
                set.test
                    .iter()
                    .filter(|&&i| set.items[i as usize].class == Some(class))
                    .count(),
                1000
            );
        }
        // The first image of the training set is an ankle boot; the mean brightness is the
        // published 0.2860.
        assert_eq!(set.class_name(0), Some("ankle boot"));
        let train = &set.pixels.in_memory().unwrap()[..60_000 * 784];
        let mean = train.iter().map(|&v| f64::from(v)).sum::<f64>() / (train.len() as f64 * 255.0);
        assert!((mean - 0.2860).abs() < 1e-4, "{mean}");
    }
}
