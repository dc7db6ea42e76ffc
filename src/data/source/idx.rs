//! IDX files (Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits"): two zero
//! bytes, a type, the number of dimensions, the dimensions as big-endian u32, the numbers. Unsigned
//! bytes are read, plain or gzipped: images `[N, H, W]` or `[N, H, W, C]`, labels `[N]`.
//!
//! Beside `train-images-idx3-ubyte` belong `train-labels-idx1-ubyte` (classes) and
//! `t10k-images-idx3-ubyte` (the test side), and so for other names that say `images`, `labels`,
//! `train`, `t10k` or `test`. NumPy's arrays (`train-images.npy`, `train-labels.npy`) are read in
//! the same way.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::labelled::{Labelled, assemble};
use super::numpy;
use crate::data::decode::picture;
use crate::data::{ImageSet, MAX_SIDE, Options, budget};
use crate::{Error, Result, files};

/// Opens an IDX file of images with all that belongs to it.
pub(crate) fn open(path: &Path, options: &Options) -> Result<ImageSet> {
    let other = |from: &str, to: &str| sibling(path, &[(from, to)]);
    let (train, test) = match other("train", "t10k").or_else(|| other("train", "test")) {
        Some(test) => (path.to_owned(), Some(test)),
        None => match other("t10k", "train").or_else(|| other("test", "train")) {
            Some(train) => (train, Some(path.to_owned())),
            None => (path.to_owned(), None),
        },
    };
    picture::refit(open_files(&train, test.as_deref())?, options)
}

/// Returns the set of one file, or of a train and a test file, with the labels beside each.
pub(crate) fn open_files(train: &Path, test: Option<&Path>) -> Result<ImageSet> {
    let mut pixels = Vec::new();
    let shape @ Shape {
        count,
        height,
        width,
        channels,
    } = read_images(train, None, &mut pixels)?;
    let held_out = match test {
        None => 0,
        Some(test) => read_images(test, Some((train, shape)), &mut pixels)?.count,
    };
    let mut notes = Vec::new();
    let mut labels = labels_of(train, count, &mut notes)?;
    if let Some(test) = test {
        // Classes on one side only would be of no use.
        labels = labels
            .zip(labels_of(test, held_out, &mut notes)?)
            .map(|(a, b)| [a, b].concat());
    }
    Ok(assemble(Labelled {
        name: train.display().to_string(),
        size: [width, height, channels],
        pixels,
        counts: [count, held_out],
        labels,
        names: Vec::new(),
        notes,
    }))
}

/// The existing file whose name is `path`'s with `changes` made to it, gzipped or not, if `path`'s
/// has the first.
fn sibling(path: &Path, changes: &[(&str, &str)]) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    if !name.contains(changes.first()?.0) {
        return None;
    }
    let name = changes
        .iter()
        .fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    let other = name
        .strip_suffix(".gz")
        .map_or(format!("{name}.gz"), str::to_owned);
    [name, other]
        .into_iter()
        .map(|name| path.with_file_name(name))
        .find(|path| path.is_file())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
}

/// Appends the images of `path` to `pixels`; they must be of the size of those `before`.
fn read_images(path: &Path, before: Option<(&Path, Shape)>, pixels: &mut Vec<u8>) -> Result<Shape> {
    let (dims, bytes, mut reader) = header(path)?;
    if bytes != 1 {
        let what = format!("holds numbers of {bytes} bytes; images are of uint8");
        return Err(Error::file(path, what));
    }
    let [count, height, width, channels] = match dims[..] {
        [n, h, w] => [n, h, w, 1],
        [n, h, w, c] => [n, h, w, c],
        [_] => return Err(Error::file(path, "holds labels; give the file of images")),
        _ => {
            return Err(Error::file(
                path,
                format!("has {} dimensions; images have 3 or 4", dims.len()),
            ));
        }
    };
    let side = |side| (1..=MAX_SIDE).contains(&side);
    if count == 0 || !side(height) || !side(width) || !(channels == 1 || channels == 3) {
        let what = format!("says that it holds {count} images of {width}x{height}x{channels}");
        return Err(Error::file(
            path,
            format!("{what}; 1 or more of 1 to {MAX_SIDE} pixels a side are read"),
        ));
    }
    let shape = Shape {
        count,
        height,
        width,
        channels,
    };
    if let Some((other, first)) = before
        && (Shape { count, ..first }) != shape
    {
        let what = format!(
            "images of {width}x{height}x{channels}, but those in {} are",
            other.display()
        );
        return Err(Error::file(
            path,
            format!("{what} {}x{}x{}", first.width, first.height, first.channels),
        ));
    }
    let name = path.display().to_string();
    let earlier = before.map_or(0, |(_, first)| first.count);
    let all = earlier.saturating_add(count);
    budget(&name, all, width, height, channels)?;
    read_exactly(
        path,
        &mut reader,
        budget(&name, count, width, height, channels)?,
        pixels,
    )?;
    Ok(shape)
}

fn labels_of(images: &Path, count: usize, notes: &mut Vec<String>) -> Result<Option<Vec<u8>>> {
    let Some(path) = sibling(
        images,
        &[("images", "labels"), ("idx3", "idx1"), ("idx4", "idx1")],
    ) else {
        notes.push(format!(
            "no file of labels beside {}: no classes",
            images.display()
        ));
        return Ok(None);
    };
    let (dims, bytes, mut reader) = header(&path)?;
    if dims != [count] {
        let what = format!(
            "its dimensions are {dims:?}; {} needs {count} labels",
            images.display()
        );
        return Err(Error::file(&path, what));
    }
    let mut found = Vec::new();
    read_exactly(&path, &mut reader, count * bytes, &mut found)?;
    // The lowest byte first: a label past 255 has more than that one.
    if let Some(label) = found
        .chunks_exact(bytes)
        .find(|label| label[1..].iter().any(|byte| *byte != 0))
    {
        let what = format!("holds a label of bytes {label:?}; labels are from 0 to 255");
        return Err(Error::file(&path, what));
    }
    Ok(Some(found.into_iter().step_by(bytes).collect()))
}

/// The dimensions, the bytes of a number, and a reader that stands at the numbers.
fn header(path: &Path) -> Result<(Vec<usize>, usize, Box<dyn Read>)> {
    let unreadable = |error| Error::file(path, format!("cannot be read: {error}"));
    let mut file = BufReader::new(files::open(path)?);
    let zipped = file
        .fill_buf()
        .map_err(unreadable)?
        .starts_with(&[0x1f, 0x8b]);
    let mut reader: Box<dyn Read> = if zipped {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut magic = [0; 4];
    let whole = reader.read_exact(&mut magic).is_ok();
    if whole && magic == *numpy::MAGIC {
        let (dims, bytes) = numpy::header(&mut magic.as_slice().chain(&mut reader))
            .map_err(|what| Error::file(path, what))?;
        return Ok((dims, bytes, reader));
    }
    let known = whole && magic[..2] == [0, 0] && magic[3] > 0;
    if !known {
        let what = "is not an IDX file, nor a NumPy array; give a folder of images, an IDX file of \
             images or a named data set";
        return Err(Error::file(path, what));
    }
    if magic[2] != 8 {
        return Err(Error::file(
            path,
            format!(
                "holds numbers of IDX type {:#04x}; 0x08 (bytes) is read",
                magic[2]
            ),
        ));
    }
    let mut dims = Vec::new();
    for _ in 0..magic[3] {
        let mut dim = [0; 4];
        reader
            .read_exact(&mut dim)
            .map_err(|_| Error::file(path, "ends within its header: truncated"))?;
        dims.push(u32::from_be_bytes(dim) as usize);
    }
    Ok((dims, 1, reader))
}

/// Appends the `bytes` that must follow, and makes sure that nothing else does. Memory grows with
/// what is there, not with what the header claims.
fn read_exactly(path: &Path, reader: &mut dyn Read, bytes: usize, out: &mut Vec<u8>) -> Result<()> {
    let before = out.len();
    let damaged = |error| Error::file(path, format!("cannot be unpacked: {error}"));
    reader
        .take(bytes as u64)
        .read_to_end(out)
        .map_err(damaged)?;
    let found = out.len() - before;
    if found < bytes {
        return Err(Error::file(
            path,
            format!("ends after {found} of the {bytes} bytes that it says it holds"),
        ));
    }
    match reader.take(1).read(&mut [0]).map_err(damaged)? {
        0 => Ok(()),
        _ => Err(Error::file(
            path,
            format!("goes on after the {bytes} bytes that it says it holds"),
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::io::Write;

    pub(crate) fn idx(dims: &[u32], numbers: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        bytes.extend(numbers);
        bytes
    }

    pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn files(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn numbers(n: usize) -> Vec<u8> {
        (0..n).map(|i| i as u8).collect()
    }

    fn open_in(dir: &tempfile::TempDir, name: &str) -> Result<ImageSet> {
        open(&dir.path().join(name), &Options::default())
    }

    #[test]
    fn a_pair_gives_the_official_split_and_classes() {
        let dir = files(&[
            (
                "train-images-idx3-ubyte.gz",
                gz(&idx(&[3, 2, 4], &numbers(24))),
            ),
            ("train-labels-idx1-ubyte.gz", gz(&idx(&[3], &[1, 0, 2]))),
            ("t10k-images-idx3-ubyte", idx(&[2, 2, 4], &numbers(16))),
            ("t10k-labels-idx1-ubyte.gz", gz(&idx(&[2], &[4, 0]))),
        ]);
        let set = open_in(&dir, "train-images-idx3-ubyte.gz").unwrap();
        assert_eq!(
            (set.len(), set.width, set.height, set.channels),
            (5, 4, 2, 1)
        );
        assert_eq!(
            (&set.train[..], &set.test[..]),
            (&[0, 1, 2][..], &[3, 4][..])
        );
        assert_eq!(*set.image(3).unwrap(), numbers(8)[..]);
        assert_eq!(
            set.items
                .iter()
                .map(|item| item.class.unwrap())
                .collect::<Vec<_>>(),
            [1, 0, 2, 3, 0]
        );
        assert_eq!(set.classes, ["0", "1", "2", "4"], "no image is labelled 3");
        assert_eq!(set.items[4].name, "test/00001");
        // The other half named gives the same set.
        assert_eq!(
            open_in(&dir, "t10k-images-idx3-ubyte").unwrap().sha256(),
            set.sha256()
        );
    }

    #[test]
    fn one_file_alone_is_split_by_group() {
        let dir = files(&[("digits.idx", idx(&[20, 1, 1, 3], &numbers(60)))]);
        let set = open_in(&dir, "digits.idx").unwrap();
        assert_eq!(
            (set.channels, &set.test[..], set.train.len()),
            (3, &[0, 10][..], 18)
        );
        assert!(set.classes.is_empty() && set.items[0].class.is_none());
        assert!(set.notes[0].contains("no classes"), "{:?}", set.notes);
        let options = Options {
            size: Some((2, 2)),
            channels: Some(1),
            ..Default::default()
        };
        let grey = open(&dir.path().join("digits.idx"), &options).unwrap();
        assert_eq!(
            (
                grey.width,
                grey.height,
                grey.channels,
                grey.pixels.in_memory().unwrap().len()
            ),
            (2, 2, 1, 80)
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (bytes, words) in [
            (vec![], "not an IDX file"),
            (b"\x89PNG\r\n\x1a\n".to_vec(), "not an IDX file"),
            (vec![0, 0, 8, 3, 0, 0], "within its header"),
            (vec![0, 0, 0x0d, 3, 0, 0, 0, 1], "type 0x0d"),
            (idx(&[2], &[0, 1]), "holds labels"),
            (idx(&[2, 2], &[0; 4]), "2 dimensions"),
            (idx(&[0, 2, 2], &[]), "0 images"),
            (idx(&[1, 0, 2], &[]), "2x0x1"),
            (idx(&[1, 1, 1, 2], &[0; 2]), "1x1x2"),
            (idx(&[2, 2, 2], &[0; 7]), "after 7 of the 8 bytes"),
            (idx(&[2, 2, 2], &[0; 9]), "goes on after the 8 bytes"),
            (idx(&[u32::MAX, 16_384, 16_384], &[0; 9]), "4 GiB"),
            (
                idx(&[1_000_000, 64, 64], &[0; 9]),
                "of the 4096000000 bytes",
            ),
            (gz(&idx(&[9, 9, 9], &[7; 729]))[..30].to_vec(), "images.gz"),
            (
                gz(&idx(&[1, 1, 1], &[7; 100_000])),
                "goes on after the 1 bytes",
            ),
        ] {
            let dir = files(&[("images.gz", bytes)]);
            let error = open_in(&dir, "images.gz").unwrap_err().to_string();
            assert!(
                error.contains("images.gz") && error.contains(words),
                "{words}: {error}"
            );
        }
    }

    #[test]
    fn halves_and_labels_that_do_not_match_are_refused() {
        let images = idx(&[3, 2, 2], &numbers(12));
        let dir = files(&[("images", images.clone()), ("labels", idx(&[2], &[0, 1]))]);
        let error = open_in(&dir, "images").unwrap_err().to_string();
        assert!(
            error.contains("labels") && error.contains("needs 3 labels"),
            "{error}"
        );
        let dir = files(&[
            ("train-images", images),
            ("test-images", idx(&[1, 3, 2], &[0; 6])),
        ]);
        let error = open_in(&dir, "train-images").unwrap_err().to_string();
        assert!(
            error.contains("test-images") && error.contains("2x3x1"),
            "{error}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes_are_read_or_refused(
            dims in proptest::collection::vec(0u32..5, 0..5),
            bytes: Vec<u8>,
            zip: bool,
            raw: bool,
        ) {
            let bytes = if raw { bytes } else { idx(&dims, &bytes) };
            let dir = files(&[("images", if zip { gz(&bytes) } else { bytes })]);
            match open_in(&dir, "images") {
                Ok(set) => prop_assert_eq!(
                    set.pixels.in_memory().unwrap().len(),
                    set.len() * set.image_bytes()
                ),
                Err(error) => prop_assert!(error.to_string().contains("images")),
            }
        }
    }

    fn npy<T: npyz::AutoSerialize>(shape: &[u64], values: Vec<T>) -> Vec<u8> {
        use npyz::WriterBuilder;
        let mut bytes = Vec::new();
        let writer = npyz::WriteOptions::new().default_dtype().shape(shape);
        let mut writer = writer.writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn halves_that_are_more_than_any_number_together_are_refused() {
        let text = "{'descr': '|u1', 'fortran_order': False, \
                    'shape': (18446744073709551615, 1, 1), }\n";
        let length = (text.len() as u16).to_le_bytes();
        let far = [&b"\x93NUMPY\x01\0"[..], &length, text.as_bytes()].concat();
        let dir = files(&[
            ("train-images.npy", npy(&[3, 1, 1], numbers(3))),
            ("test-images.npy", far),
        ]);
        let error = open_in(&dir, "train-images.npy").unwrap_err().to_string();
        assert!(error.contains("4 GiB"), "{error}");
    }

    #[test]
    fn arrays_of_numpy_are_read_as_idx_files_are() {
        let labels = |of: [i64; 3]| npy(&[3], of.to_vec());
        let dir = files(&[
            ("train-images.npy", npy(&[3, 2, 4], numbers(24))),
            ("train-labels.npy", labels([7, 0, 7])),
            ("test-images.npy", npy(&[1, 2, 4], numbers(8))),
            ("test-labels.npy", npy(&[1], vec![0u8])),
            ("colour.npy", npy(&[2, 2, 2, 3], numbers(24))),
            ("floats.npy", npy(&[1, 2, 2], vec![0.5f32; 4])),
            ("wide.npy", npy(&[1, 2, 2], vec![5i64; 4])),
            ("far-images.npy", npy(&[3, 2, 2], numbers(12))),
            ("far-labels.npy", labels([1, 2, 300])),
        ]);
        let set = open_in(&dir, "train-images.npy").unwrap();
        assert_eq!((&set.train[..], &set.test[..]), (&[0, 1, 2][..], &[3][..]));
        assert_eq!((set.width, set.height, set.channels), (4, 2, 1));
        let class = |i: usize| set.classes[set.items[i].class.unwrap() as usize].as_str();
        assert_eq!([0, 1, 2, 3].map(class), ["7", "0", "7", "0"]);
        assert_eq!(*set.image(1).unwrap(), numbers(24)[8..16]);
        assert_eq!(open_in(&dir, "colour.npy").unwrap().channels, 3);
        for (name, said) in [
            ("floats.npy", "(x * 255).round().astype(\"uint8\")"),
            ("wide.npy", "8 bytes"),
            ("far-images.npy", "0 to 255"),
        ] {
            let e = open_in(&dir, name).unwrap_err().to_string();
            assert!(
                e.contains(name.split('-').next().unwrap()) && e.contains(said),
                "{e}"
            );
        }
        let cut = dir.path().join("colour.npy");
        let bytes = std::fs::read(&cut).unwrap();
        for n in [0, 3, 5, 20, 60, bytes.len() - 1] {
            std::fs::write(&cut, &bytes[..n]).unwrap();
            assert!(open_in(&dir, "colour.npy").is_err(), "{n} bytes");
        }
    }
}
