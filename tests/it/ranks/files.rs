//! Reads of ranks from a set that lies in files: the rows and images that they draw and nothing
//! else, which together are those of one process; and what all are told where one cannot read its
//! own.

use super::{on, prior, trainer};
use crate::passes::config;
use crate::second_stage::small;
use crate::small_tokens::{self, CELLS};
use std::path::Path;
use std::sync::Arc;
use wgvq::codes::tokens::Tokens;
use wgvq::data::{BatchPlan, ImageSet, Options, Residency, batch_indices, open};

/// The bytes that this thread has read from files, where the system counts them. To ask reads some
/// more.
fn bytes_read() -> Option<u64> {
    let about = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    let line = about.lines().find_map(|line| line.strip_prefix("rchar:"))?;
    line.trim().parse().ok()
}

/// The most that asking reads.
const ASKING: u64 = 1024;

/// Checks that `f` reads no more than so many bytes.
fn reading<T>(most: usize, f: impl FnOnce() -> T) -> T {
    let before = bytes_read();
    let found = f();
    if let (Some(before), Some(after)) = (before, bytes_read()) {
        let read = after - before;
        assert!(
            read <= most as u64 + ASKING,
            "{read} bytes, {most} expected"
        );
    }
    found
}

/// The codes of an image.
fn row(image: u32) -> Vec<u32> {
    let codes = (0..CELLS).map(|at| (image * 5 + at * (1 + image % 3)) % 12);
    codes.collect()
}

/// Writes tokens of so many images to train on.
fn write(images: u32, folder: &Path) -> Tokens {
    small_tokens::write(images, row, folder)
}

/// However large a set of tokens is, a rank reads from its files the rows that stand at its places
/// of the batch: those of all ranks together are the rows of one process.
#[test]
fn a_rank_reads_the_tokens_that_it_draws() {
    const BATCH: usize = 8;
    for images in [40, 40_000] {
        let folder = tempfile::tempdir().unwrap();
        let tokens = write(images, folder.path());
        for step in 0..3 {
            let drawn = batch_indices(7, step, BATCH, images as usize);
            let whole = tokens.train.read(&drawn).unwrap();
            let wanted: (Vec<Vec<u32>>, Vec<u32>) = drawn
                .iter()
                .map(|i| (row(*i), small_tokens::class(*i)))
                .unzip();
            assert_eq!(whole, (wanted.0.concat(), wanted.1));
            for ranks in [1, 2, 4] {
                let (mut codes, mut classes) = (Vec::new(), Vec::new());
                for own in drawn.chunks(BATCH / ranks) {
                    // Codes of two bytes, and a class of four.
                    let (c, k) = reading(own.len() * (2 * CELLS as usize + 4), || {
                        tokens.train.read(own).unwrap()
                    });
                    codes.extend(c);
                    classes.extend(k);
                }
                assert_eq!((codes, classes), whole, "{ranks} ranks");
            }
        }
    }
}

/// Writes so many images into a folder.
fn draw(images: u32, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..images {
        let picture = image::RgbImage::from_fn(16, 16, |x, y| {
            image::Rgb([(i * 5) as u8, (x * 16) as u8, (y * 16) as u8])
        });
        picture.save(folder.join(format!("{i:04}.png"))).unwrap();
    }
}

fn opened(folder: &Path, keep: Residency, cache: &Path) -> ImageSet {
    let options = Options {
        keep,
        cache_dir: Some(cache.to_owned()),
        ..Options::default()
    };
    open(folder.to_str().unwrap(), &options).unwrap()
}

/// A rank reads its own of the images that are kept on disk, with the bytes of a set in memory.
#[test]
fn a_rank_reads_the_images_that_it_draws() {
    let place = tempfile::tempdir().unwrap();
    let [pictures, cache] = ["pictures", "cache"].map(|name| place.path().join(name));
    draw(100, &pictures);
    let stored = opened(&pictures, Residency::Disk, &cache);
    let held = opened(&pictures, Residency::Memory, &cache);
    assert!(stored.pixels.in_memory().is_none() && held.pixels.in_memory().is_some());
    let plan = BatchPlan {
        seed: 5,
        batch: 8,
        flip: true,
        crop: None,
        color: 0.2,
        classes: None,
    };
    // As an image lies in the cache: a header, and a sum to each row.
    let bytes = 64 + 4 * 16 + stored.image_bytes();
    for step in 0..3 {
        let whole = plan.batch(&held, step).unwrap();
        for ranks in [1, 2, 4] {
            let (mut pixels, mut mirrored) = (Vec::new(), Vec::new());
            for rank in 0..ranks {
                let each = 8 / ranks;
                let places = rank * each..(rank + 1) * each;
                let own = reading(each * bytes, || plan.part(&stored, step, places).unwrap());
                pixels.extend(own.pixels);
                mirrored.extend(own.mirrored);
            }
            assert!(pixels == whole.pixels && mirrored == whole.mirrored);
        }
    }
}

/// A rank whose tokens or images are gone is named on all ranks, with the file; none waits.
#[test]
fn a_rank_that_cannot_read_its_own_is_named() {
    let place = tempfile::tempdir().unwrap();
    let of = |rank: usize, what: &str| place.path().join(format!("{what}-{rank}"));
    let judged = |errors: Vec<String>, file: &str| {
        let [first, second] = &errors[..] else {
            panic!("{errors:?}");
        };
        assert!(first.contains("rank 1 has failed: "), "{first}");
        let named = [first, second].iter().all(|said| said.contains(file));
        assert!(named, "{errors:?}");
    };
    for rank in 0..2 {
        write(24, &of(rank, "run").join("prior/tokens"));
        draw(40, &of(rank, "pictures"));
    }
    let errors = on(2, |ranks| {
        let rank = ranks.rank();
        let mut config = small("rotary");
        config.train.batch_size = 4;
        let mut trainer = prior(&config, &of(rank, "run"), ranks).unwrap();
        trainer.step().unwrap();
        if rank == 1 {
            let tokens = of(rank, "run").join("prior/tokens");
            let file = Tokens::files(&tokens).unwrap().into_iter();
            for file in file.filter(|file| file.extension().is_some_and(|e| e == "safetensors")) {
                let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
                file.set_len(16).unwrap();
            }
        }
        trainer.step().unwrap_err().to_string()
    });
    judged(errors, "run-1/prior/tokens/train-");
    let errors = on(2, |ranks| {
        let rank = ranks.rank();
        let [pictures, cache] = ["pictures", "cache"].map(|what| of(rank, what));
        let data = Arc::new(opened(&pictures, Residency::Disk, &cache));
        let mut trainer = trainer(&config(&[], 1), &data, ranks).unwrap();
        trainer.step().unwrap();
        if rank == 1 {
            std::fs::remove_dir_all(&pictures).unwrap();
            std::fs::remove_dir_all(&cache).unwrap();
        }
        // Some batches were made ahead.
        let failed = (0..100).find_map(|_| trainer.step().err());
        failed.expect("an error").to_string()
    });
    judged(errors, "pictures-1");
}
