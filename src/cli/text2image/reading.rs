//! The captions of a set, as a model reads them.

use crate::cli::Global;
use crate::cli::common::output;
use std::path::Path;
use wgvq::codes::tokenizer::Tokenizer;
use wgvq::data::{ImageSet, load_embedding};
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::{Error, Result};

/// Examples that a note or an error lists.
const LISTED: usize = 3;

/// Leaves out the images that have no caption.
pub fn captioned(global: &Global, set: &mut ImageSet) -> Result<()> {
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
    output::note(
        global,
        &format!(
            "{} images without a caption are left out: {examples}",
            without.len()
        ),
    );
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

/// Returns the captions of all images in tokens, and how many are longer than `length` allows.
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

/// The tokens of the longest caption to train on, with the first and last that every text has.
pub fn longest(set: &ImageSet, tokenizer: &Tokenizer) -> Result<usize> {
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
pub fn tell_of_long(
    global: &Global,
    long: &[String],
    all: usize,
    length: usize,
    strict: bool,
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
    output::note(
        global,
        &format!("{what}; their ends are not read (--text-length allows longer ones)"),
    );
    Ok(())
}

/// A prompt in tokens: empty ones are an error, what cannot be read whole is told, or an error with
/// `strict`.
pub fn prompt(
    global: &Global,
    prompt: &str,
    tokenizer: &Tokenizer,
    text: &Text,
    strict: bool,
) -> Result<Vec<u32>> {
    if prompt.trim().is_empty() {
        return Err(Error::config(
            "the prompt",
            "is empty: say what is to be seen",
        ));
    }
    let read = tokenizer.encode(prompt)?;
    let mut faults = Vec::new();
    if read.ids.len() + 2 > text.length {
        let kept = tokenizer.decode(&read.ids[..text.length - 2])?;
        faults.push(format!(
            "has {} tokens and the model reads {}: it is cut to `{kept}`",
            read.ids.len(),
            text.length - 2
        ));
    }
    if !read.unknown.is_empty() {
        let letters = read
            .unknown
            .iter()
            .map(|c| format!("`{c}`"))
            .collect::<Vec<_>>()
            .join(", ");
        faults.push(format!(
            "has characters that no caption had, which mean nothing to the model: {letters}"
        ));
    }
    let name = prompt.chars().take(60).collect::<String>();
    if strict && !faults.is_empty() {
        return Err(Error::config(
            "--strict",
            format!("the prompt `{name}` {}", faults.join(", and ")),
        ));
    }
    faults
        .iter()
        .for_each(|fault| output::note(global, &format!("the prompt `{name}` {fault}")));
    Ok(read.ids)
}

/// Returns the layout of a set's texts whose rows an encoder from elsewhere made, of at most
/// `length` rows (0: the longest's).
pub fn rows(set: &ImageSet, length: usize) -> Result<Text> {
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

/// Returns the rows of one text, of so many channels.
pub fn embedding(path: &Path, channels: usize) -> Result<Vec<f32>> {
    let own = load_embedding(path)?;
    if own.channels != channels {
        let what = format!("has {} channels, the model reads {channels}", own.channels);
        return Err(Error::file(path, what));
    }
    Ok(own.values)
}

/// Returns the rows of some images' texts.
pub fn read_rows(set: &ImageSet, text: &Text, numbers: &[u32]) -> Result<Texts> {
    let TextFormat::Rows(channels) = text.form else {
        return Err(Error::data("the model reads tokens"));
    };
    let own = |i: &u32| {
        let path = set.items[*i as usize].embedding.as_deref();
        embedding(
            path.ok_or_else(|| Error::data("an image has no embedding"))?,
            channels,
        )
    };
    Texts::of_rows(text, &numbers.iter().map(own).collect::<Result<Vec<_>>>()?)
}
