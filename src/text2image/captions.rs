//! The captions of a set, as a model reads them.

use super::request::TrainRequest;
use crate::codes::tokenizer::Tokenizer;
use crate::codes::tokens::{Captions, vocabulary_of};
use crate::data::{ImageSet, load_embedding};
use crate::inference::texts::read_embedding;
use crate::models::Level;
use crate::models::prior::Vocabulary;
use crate::models::text::{Text, TextFormat, Texts};
use crate::{Error, Result};
use std::sync::Arc;

/// Examples that a note or an error lists.
const LISTED: usize = 3;
/// Length of texts where none is asked for, at least and at most: prompts are often longer than
/// captions.
const LEAST: usize = 12;
const LONGEST: usize = 128;

/// The data that the models of a run are trained on.
pub struct Material {
    /// The images.
    pub set: Arc<ImageSet>,
    /// The tokenizer of their captions.
    pub tokenizer: Tokenizer,
    /// Layout of the captions in tokens.
    pub text: Text,
    /// The captions in tokens.
    pub texts: Arc<Texts>,
    /// Layout of the rows that the prior reads, where those are something else.
    pub rows: Option<Text>,
}

impl Material {
    /// Reads the captions of a set as they are asked for, by the tokenizer `kept`, or one that is
    /// learned of them.
    ///
    /// # Errors
    /// If there are no captions, or they cannot be read.
    pub fn read(
        mut set: ImageSet,
        kept: Option<Tokenizer>,
        request: &TrainRequest,
        note: &mut dyn FnMut(&str),
    ) -> Result<Material> {
        captioned(&mut set, note)?;
        if request.text_length > 0 && !request.embeddings {
            // Before captions are read that nothing could hold.
            let text = Text {
                form: TextFormat::Tokens(request.vocabulary),
                length: request.text_length,
            };
            text.check_memory(set.len())
                .map_err(|e| Error::config("--text-length", e))?;
        }
        let tokenizer = match kept {
            Some(tokenizer) => tokenizer,
            None => {
                let captions: Vec<&str> = set
                    .train
                    .iter()
                    .filter_map(|i| set.items[*i as usize].caption.as_deref())
                    .collect();
                Tokenizer::learn(&captions, request.vocabulary)?
            }
        };
        let own = longest(&set, &tokenizer)?;
        let length = if request.text_length == 0 || request.embeddings {
            own.clamp(LEAST, LONGEST)
        } else {
            request.text_length
        };
        let text = tokenizer.text(length);
        let (texts, long) = tokens(&set, &tokenizer, &text)?;
        tell_of_long(&long, set.len(), length, request.strict, note)?;
        let rows = if request.embeddings {
            Some(rows(&set, request.text_length)?)
        } else {
            None
        };
        note(&format!(
            "{}: {} captions to train on, {} held out; {} tokens learned of them, {length} to a \
             text",
            set.name,
            set.train.len(),
            set.test.len(),
            tokenizer.size()
        ));
        Ok(Material {
            set: Arc::new(set),
            tokenizer,
            text,
            texts: Arc::new(texts),
            rows,
        })
    }

    /// Returns what a prior over a level's codes reads and predicts.
    pub fn vocabulary(&self, levels: &[Level], level: usize) -> Vocabulary {
        Vocabulary {
            text: Some(self.rows.unwrap_or(self.text)),
            ..vocabulary_of(levels, level, self.set.classes.len())
        }
    }

    /// Returns what gives the texts of images by their numbers, as the prior reads them.
    pub fn reader(&self) -> impl Fn(&[u32]) -> Result<Texts> {
        |numbers| match &self.rows {
            Some(text) => read_rows(&self.set, text, numbers),
            None => Ok(self.texts.gather(numbers.iter().map(|i| *i as usize))),
        }
    }

    /// Returns the captions, as `of` gives them: [`Material::reader`].
    pub fn captions<'a>(&'a self, of: &'a dyn Fn(&[u32]) -> Result<Texts>) -> Captions<'a> {
        Captions {
            text: self.rows.unwrap_or(self.text),
            reader: self.tokenizer.sha256(),
            of,
        }
    }
}

/// Leaves out the images that have no caption, and tells `note` of them.
///
/// # Errors
/// If none has one, or none of those to train on or of those held out.
pub fn captioned(set: &mut ImageSet, note: &mut dyn FnMut(&str)) -> Result<()> {
    let without: Vec<&str> = set
        .items
        .iter()
        .filter(|i| i.caption.is_none())
        .map(|i| i.name.as_str())
        .collect();
    if without.is_empty() {
        return Ok(());
    }
    let examples = without
        .iter()
        .take(LISTED)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if without.len() == set.len() {
        let what = format!(
            "{}: no image has a caption ({examples}, ..): put a .txt beside each, or name a file \
             of lines such as {{\"image\": \"a.png\", \"text\": \"a red heart\"}}",
            set.name
        );
        return Err(Error::data(what));
    }
    note(&format!(
        "{} images without a caption are left out: {examples}",
        without.len()
    ));
    let has: Vec<bool> = set.items.iter().map(|i| i.caption.is_some()).collect();
    set.train.retain(|i| has[*i as usize]);
    set.test.retain(|i| has[*i as usize]);
    if set.train.is_empty() || set.test.is_empty() {
        return Err(Error::data(format!(
            "{}: one side of the split has no caption",
            set.name
        )));
    }
    Ok(())
}

/// Returns the captions of all images in tokens, and those that are longer than `text` allows.
///
/// # Errors
/// If one cannot be read.
pub fn tokens(set: &ImageSet, tokenizer: &Tokenizer, text: &Text) -> Result<(Texts, Vec<String>)> {
    let (mut all, mut long) = (Vec::with_capacity(set.len()), Vec::new());
    for item in &set.items {
        let caption = item.caption.as_deref().unwrap_or_default();
        let ids = tokenizer.encode(caption)?.ids;
        if ids.len() + 2 > text.length {
            long.push(caption.to_owned());
        }
        all.push(ids);
    }
    Ok((Texts::of_tokens(text, &all)?, long))
}

/// Returns the tokens of the longest caption to train on, with the first and last that every text
/// has.
fn longest(set: &ImageSet, tokenizer: &Tokenizer) -> Result<usize> {
    let mut most = 0;
    for i in &set.train {
        let caption = set.items[*i as usize]
            .caption
            .as_deref()
            .unwrap_or_default();
        most = most.max(tokenizer.encode(caption)?.ids.len());
    }
    Ok(most + 2)
}

/// Says of captions that are too long, or fails with `strict`.
fn tell_of_long(
    long: &[String],
    all: usize,
    length: usize,
    strict: bool,
    note: &mut dyn FnMut(&str),
) -> Result<()> {
    if long.is_empty() {
        return Ok(());
    }
    let examples = long
        .iter()
        .take(LISTED)
        .map(|c| format!("`{c}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let what = format!(
        "{} of {all} captions are longer than {} tokens: {examples}",
        long.len(),
        length - 2
    );
    if strict {
        return Err(Error::config(
            "--strict",
            format!("{what}; allow longer ones by --text-length"),
        ));
    }
    note(&format!(
        "{what}; their ends are not read (--text-length allows longer ones)"
    ));
    Ok(())
}

/// Returns the layout of a set's texts whose rows an encoder from elsewhere made, of at most
/// `length` rows (0: the longest's).
fn rows(set: &ImageSet, length: usize) -> Result<Text> {
    let (mut channels, mut most) = (None, 0);
    for item in &set.items {
        let path = item.embedding.as_deref().ok_or_else(|| {
            let what = format!(
                "`{}` has no embedding: each line names one, as {{\"embedding\": \"a.npy\", ..}}",
                item.name
            );
            Error::config("--embeddings", what)
        })?;
        let own = load_embedding(path)?;
        if *channels.get_or_insert(own.channels) != own.channels {
            let what = format!(
                "has {} channels, others have {}",
                own.channels,
                channels.unwrap_or(0)
            );
            return Err(Error::file(path, what));
        }
        most = most.max(own.values.len() / own.channels);
    }
    let length = if length == 0 { most } else { length };
    Ok(Text {
        form: TextFormat::Rows(channels.unwrap_or(0)),
        length,
    })
}

/// Returns the rows of some images' texts.
///
/// # Errors
/// If the model reads tokens, or a file cannot be read.
pub fn read_rows(set: &ImageSet, text: &Text, numbers: &[u32]) -> Result<Texts> {
    let TextFormat::Rows(channels) = text.form else {
        return Err(Error::data("the model reads tokens"));
    };
    let own = |i: &u32| {
        let path = set.items[*i as usize].embedding.as_deref();
        read_embedding(
            path.ok_or_else(|| Error::data("an image has no embedding"))?,
            channels,
        )
    };
    Texts::of_rows(text, &numbers.iter().map(own).collect::<Result<Vec<_>>>()?)
}
