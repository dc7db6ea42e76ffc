//! Tokens of codes that a program has at hand.

use super::write;
use super::writer::Rows;
use crate::codes::shards::ShardSource;
use crate::codes::tokens::{NO_CLASS, TokenDatasetInfo, Tokens};
use crate::models::prior::Vocabulary;
use crate::{Error, Result};
use std::path::Path;

const OP: &str = "tokens of a program's codes";

/// Codes of images of one split, with their classes.
#[derive(Clone, Copy, Debug, Default)]
pub struct CodeRows<'a> {
    /// Codes, u32 [N, A + T]: of each image the A codes of [`Vocabulary::above`], which a prior
    /// knows, and then the T codes that it predicts.
    pub codes: &'a [u32],
    /// A class for each image; [`Vocabulary::no_class`] stands for none.
    pub classes: &'a [u32],
}

impl CodeRows<'_> {
    /// Checks that these are whole images of the vocabulary, at least one.
    fn check(&self, v: &Vocabulary, split: &str) -> Result<()> {
        let (images, each) = (self.classes.len(), v.known() + v.tokens());
        if images == 0 || self.codes.len() != images * each {
            let expected = format!("{split}: {each} codes for each class, and one image at least");
            let got = format!("{} codes and {images} classes", self.codes.len());
            return Err(Error::shape(OP, expected, got));
        }
        if let Some(class) = self.classes.iter().find(|class| **class > v.no_class()) {
            let what = format!(
                "{split}: there is no class {class}: there are {}",
                v.classes
            );
            return Err(Error::invalid(OP, what));
        }
        let above = v.above.iter();
        let mut sizes: Vec<u32> = above
            .flat_map(|level| vec![level.codebook_size as u32; level.codes()])
            .collect();
        sizes.resize(each, v.codebook_size as u32);
        let sizes = sizes.iter().cycle();
        match self
            .codes
            .iter()
            .zip(sizes)
            .find(|(code, size)| code >= size)
        {
            Some((code, size)) => {
                let what = format!("{split}: there is no code {code}: the codebook has {size}");
                Err(Error::invalid(OP, what))
            }
            None => Ok(()),
        }
    }

    fn images(&self, which: std::ops::Range<usize>) -> Rows {
        let each = self.codes.len() / self.classes.len().max(1);
        Rows {
            codes: self.codes[which.start * each..which.end * each].to_vec(),
            classes: self.classes[which].to_vec(),
            texts: None,
        }
    }
}

/// Writes codes that a program has at hand into `folder`, as the tokens that a prior is trained on.
/// `info` describes them, and [`Vocabulary::above`] in it may hold codes that no model made as
/// levels above: those of the image before, say, which a prior of the next image is then
/// conditioned on, cell by cell, beside the class.
///
/// # Errors
/// If `info` asks for texts or for mirrored images, the codes or classes are none of the
/// vocabulary, a split is empty, or a file cannot be written.
pub fn write_tokens(
    info: &TokenDatasetInfo,
    train: CodeRows,
    test: CodeRows,
    folder: &Path,
) -> Result<Tokens> {
    let v = &info.vocabulary;
    if v.text.is_some() || info.mirrored {
        let what = "codes and classes alone are written: leave `text` None and `mirrored` false";
        return Err(Error::invalid(OP, what));
    }
    train.check(v, "training split")?;
    test.check(v, "test split")?;
    let source = ShardSource::Tokens {
        about: Box::new(info.clone()),
        train: train.classes.len(),
        test: test.classes.len(),
    };
    write(info, &source, folder, &mut |batch| {
        let split = if batch.test { &test } else { &train };
        let mut rows = split.images(batch.images.clone());
        for class in rows.classes.iter_mut().filter(|c| **c == v.no_class()) {
            *class = NO_CLASS;
        }
        Ok(rows)
    })?;
    Tokens::open(folder)
}
