//! Tokens of no images, to try a prior with.

use super::write;
use super::writer::Rows;
use crate::Result;
use crate::codes::shards::ShardSource;
use crate::codes::tokens::{TokenDatasetInfo, Tokens};
use crate::models::text::{Text, TextFormat, Texts};
use std::ops::Range;
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
            texts: v
                .text
                .map(|text| texts(&text, batch.images.clone()))
                .transpose()?,
        })
    })?;
    Tokens::open(folder)
}

/// Returns texts of the greatest length.
fn texts(text: &Text, images: Range<usize>) -> Result<Texts> {
    let of = |i: usize| (0..text.words()).map(move |at| i * 31 + at * 7);
    match text.form {
        TextFormat::Tokens(size) => {
            let tokens = |i| of(i).map(|n| (n % size) as u32).collect();
            Texts::of_tokens(text, &images.map(tokens).collect::<Vec<Vec<u32>>>())
        }
        TextFormat::Rows(_) => {
            let rows = |i| of(i).map(|n| (n % 17) as f32 / 8.5 - 1.0).collect();
            Texts::of_rows(text, &images.map(rows).collect::<Vec<Vec<f32>>>())
        }
    }
}
