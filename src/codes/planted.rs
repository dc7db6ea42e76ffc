//! Codes and labels for tests, which were made up.

use super::{Codes, Labels};
use crate::models::Level;

/// Returns the codes of three images on two levels, the finer of which takes four bytes a code, and
/// their labels, some of which are missing.
pub(super) fn codes_of_three() -> (Codes, Labels) {
    let level = |name: &str, grid: [usize; 2], codebook_size: usize| Level {
        name: name.into(),
        grid,
        codebook_size,
        codebooks: 1,
    };
    let codes = Codes {
        model: "m".into(),
        quantizer: "vq".into(),
        levels: vec![level("top", [1, 1], 9), level("bottom", [1, 2], 70_000)],
        image: [4, 4, 3],
        names: ["a.png", "b.png", "c.png"].map(String::from).into(),
        indices: vec![8, 1, 2, 7, 3, 69_999, 6, 5, 6],
    };
    let labels = Labels {
        classes: vec!["cat".into(), "dog".into()],
        class: Some(vec![Some(1), None, Some(0)]),
        texts: Some(vec![Some("a dog".into()), None, Some(String::new())]),
    };
    (codes, labels)
}
