//! Tokens that tests make up: images of 4 x 4 codes of 12, of two classes.

use std::path::Path;

use wgvq::codes::tokens::{TokenDatasetInfo, Tokens};
use wgvq::inference::tokenize::{CodeRows, write_tokens};
use wgvq::models::prior::Vocabulary;

/// Codes of an image.
pub const CELLS: u32 = 16;

/// Writes so many images to train on, and four held out; `row` gives an image's codes by its
/// number, and every other image is of the second class.
pub fn write(images: u32, row: fn(u32) -> Vec<u32>, folder: &Path) -> Tokens {
    let info = TokenDatasetInfo {
        model: String::new(),
        quantizer: String::new(),
        level: String::new(),
        vocabulary: Vocabulary {
            codebook_size: 12,
            codebooks: 1,
            grid: [4, 4],
            classes: 2,
            above: Vec::new(),
            text: None,
            scales: None,
        },
        image: [16, 16, 3],
        classes: vec!["a".into(), "b".into()],
        data: "made up".into(),
        data_sha256: String::new(),
        mirrored: false,
        reader: String::new(),
    };
    let codes = |n: u32| -> Vec<u32> { (0..n).flat_map(row).collect() };
    let classes = |n: u32| -> Vec<u32> { (0..n).map(class).collect() };
    let [train, test] = [images, 4].map(|n| (codes(n), classes(n)));
    let [train, test] = [&train, &test].map(|(codes, classes)| CodeRows { codes, classes });
    write_tokens(&info, train, test, folder).unwrap()
}

/// The class of an image.
pub fn class(image: u32) -> u32 {
    image % 2
}
