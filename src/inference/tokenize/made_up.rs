//! Tokens of no images, to try a prior with.

use super::write;
use super::writer::Rows;
use crate::Result;
use crate::codes::shards::ShardSource;
use crate::codes::tokens::{TokenDatasetInfo, Tokens};
use std::path::Path;

/// Writes tokens of `images` images to train on and of one held out, of codes that follow from
/// their places.
pub(crate) fn made_up(info: &TokenDatasetInfo, images: usize, folder: &Path) -> Result<Tokens> {
    let source = ShardSource::Tokens {
        about: Box::new(info.clone()),
        train: images,
        test: 1,
    };
    let v = &info.vocabulary;
    let above = v
        .above
        .iter()
        .flat_map(|l| vec![l.codebook_size; l.codes()]);
    let sizes: Vec<usize> = above.chain(vec![v.codebook_size; v.tokens()]).collect();
    write(info, &source, folder, &mut |batch| {
        let image = |i: usize| {
            let code = move |(at, size): (usize, &usize)| ((i * 31 + at * 7) % size) as u32;
            sizes.iter().enumerate().map(code)
        };
        Ok(Rows {
            codes: batch.images.clone().flat_map(image).collect(),
            classes: batch
                .images
                .clone()
                .map(|i| (i % v.classes.max(1)) as u32)
                .collect(),
            texts: None,
        })
    })?;
    Tokens::open(folder)
}
