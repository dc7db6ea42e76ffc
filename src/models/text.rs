//! Texts as models read them: tokens, or the rows that an encoder from elsewhere made of them.

pub mod encoder;

use crate::gpu::{Gpu, Tensor};
use crate::ops::attention::attention::Mask;
use crate::{Error, Result, memory};
use serde::{Deserialize, Serialize};

/// The token before a text.
pub const BEGIN: u32 = 0;
/// The token after it.
pub const END: u32 = 1;
/// A place of a text that is no target.
pub(super) const IGNORED: u32 = u32::MAX;

/// Representation of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextFormat {
    /// Tokens of a vocabulary of this size, [`BEGIN`] and [`END`] among them.
    Tokens(usize),
    /// Rows of this many channels.
    Rows(usize),
}

/// Layout of the texts that images are conditioned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Tokens or rows.
    pub form: TextFormat,
    /// Tokens or rows of the longest, S; of tokens, the first is [`BEGIN`] and [`END`] is counted.
    pub length: usize,
}

impl Text {
    /// 32-bit words of a text: S tokens, or S rows of f32.
    pub fn words(&self) -> usize {
        match self.form {
            TextFormat::Tokens(_) => self.length,
            TextFormat::Rows(channels) => self.length * channels,
        }
    }

    /// Checks that such texts are possible.
    ///
    /// # Errors
    /// If a size is 0, or beyond 2^20.
    pub fn check(&self) -> Result<()> {
        let (least, size) = match self.form {
            TextFormat::Tokens(size) => (2, size),
            TextFormat::Rows(channels) => (1, channels),
        };
        let fits = |n: usize| (least..=1 << 20).contains(&n);
        if !fits(size) || !fits(self.length) {
            return Err(Error::invalid(
                "text",
                format!("{self:?}: sizes from {least} to 2^20"),
            ));
        }
        Ok(())
    }

    /// Holds what `n` such texts take against the memory that there is.
    ///
    /// # Errors
    /// If there is not so much, or there can be no such texts.
    pub fn check_memory(&self, n: usize) -> Result<()> {
        self.check()?;
        let unit = if matches!(self.form, TextFormat::Tokens(_)) {
            "tokens"
        } else {
            "rows"
        };
        memory::check_available(
            format!("{n} texts of {} {unit} each", self.length),
            memory::product(&[n, self.words(), 4]),
        )
    }

    /// Returns the words and length of a text that says nothing.
    fn nothing(&self) -> (Vec<u32>, u32) {
        let mut words = vec![0; self.words()];
        match self.form {
            TextFormat::Tokens(_) => {
                (words[0], words[1]) = (BEGIN, END);
                (words, 2)
            }
            TextFormat::Rows(_) => (words, 0),
        }
    }
}

/// Texts on the host, padded to one length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Tokens u32 [N, S], or rows f32 [N, S, E] by their bits; past a text's length anything.
    pub words: Vec<u32>,
    /// Tokens or rows of each.
    pub lengths: Vec<u32>,
    /// Texts that the model is not to see, and that nothing is learned of.
    pub hidden: Vec<bool>,
}

impl Texts {
    /// Texts of tokens, without [`BEGIN`] and [`END`], which are added; what is longer than S is
    /// cut.
    ///
    /// # Errors
    /// If texts are not of tokens, or there is no such token.
    pub fn of_tokens<T: AsRef<[u32]>>(text: &Text, tokens: &[T]) -> Result<Texts> {
        let TextFormat::Tokens(size) = text.form else {
            return Err(Error::invalid(
                "text",
                "tokens for a model that reads rows of an encoder from elsewhere",
            ));
        };
        text.check_memory(tokens.len())?;
        let mut texts = Texts::default();
        for tokens in tokens {
            let tokens = tokens.as_ref();
            if let Some(token) = tokens.iter().find(|t| **t as usize >= size) {
                return Err(Error::invalid(
                    "text",
                    format!("there is no token {token}: there are {size}"),
                ));
            }
            let kept = tokens.iter().copied().take(text.length - 2);
            let mut words: Vec<u32> = std::iter::once(BEGIN).chain(kept).chain([END]).collect();
            texts.lengths.push(words.len() as u32);
            words.resize(text.length, 0);
            texts.words.extend(words);
            texts.hidden.push(false);
        }
        Ok(texts)
    }

    /// Texts of rows, each f32 [t, E]; what is longer than S is cut.
    ///
    /// # Errors
    /// If texts are not of rows, or these have other channels.
    pub fn of_rows<T: AsRef<[f32]>>(text: &Text, rows: &[T]) -> Result<Texts> {
        let TextFormat::Rows(channels) = text.form else {
            return Err(Error::invalid("text", "rows for a model that reads tokens"));
        };
        text.check_memory(rows.len())?;
        let mut texts = Texts::default();
        for rows in rows {
            let rows = rows.as_ref();
            if !rows.len().is_multiple_of(channels) {
                return Err(Error::shape(
                    "text",
                    format!("rows of {channels} channels"),
                    format!("{} values", rows.len()),
                ));
            }
            let mut words: Vec<u32> = rows
                .iter()
                .take(text.words())
                .map(|x| x.to_bits())
                .collect();
            texts.lengths.push((words.len() / channels) as u32);
            words.resize(text.words(), 0);
            texts.words.extend(words);
            texts.hidden.push(false);
        }
        Ok(texts)
    }

    /// Texts that say nothing.
    pub fn nothing(text: &Text, n: usize) -> Texts {
        let mut texts = Texts {
            words: vec![0; n * text.words()],
            lengths: vec![0; n],
            hidden: vec![false; n],
        };
        (0..n).for_each(|i| texts.hide(text, i));
        texts
    }

    /// Hides the text of one image: the model sees one that says nothing.
    pub fn hide(&mut self, text: &Text, i: usize) {
        let (words, length) = text.nothing();
        self.words[i * words.len()..][..words.len()].copy_from_slice(&words);
        (self.lengths[i], self.hidden[i]) = (length, true);
    }

    /// Appends `other`, texts of the same kind.
    pub fn append(&mut self, other: &Texts) {
        self.words.extend(&other.words);
        self.lengths.extend(&other.lengths);
        self.hidden.extend(&other.hidden);
    }

    /// Returns the texts of these numbers, in their order; a number may come several times. The
    /// time is linear in what is returned.
    ///
    /// # Panics
    /// If there is no text of a number.
    pub fn gather(&self, numbers: impl IntoIterator<Item = usize>) -> Texts {
        let each = self.words.len() / self.lengths.len().max(1);
        let mut texts = Texts::default();
        for i in numbers {
            texts.words.extend(&self.words[i * each..][..each]);
            texts.lengths.push(self.lengths[i]);
            texts.hidden.push(self.hidden[i]);
        }
        texts
    }

    /// Returns the texts of a range.
    pub fn slice(&self, text: &Text, at: std::ops::Range<usize>) -> Texts {
        let each = text.words();
        Texts {
            words: self.words[at.start * each..at.end * each].to_vec(),
            lengths: self.lengths[at.clone()].to_vec(),
            hidden: self.hidden[at].to_vec(),
        }
    }

    /// Uploads them as models read them.
    ///
    /// # Errors
    /// If these are not such texts, or the device cannot hold them.
    pub fn upload(&self, gpu: &Gpu, text: &Text) -> Result<TextBatch> {
        let (n, s) = (self.lengths.len(), text.length);
        if self.words.len() != n * text.words() || self.hidden.len() != n || n == 0 {
            let expected = format!("{} words for each of {n} texts", text.words());
            return Err(Error::shape("text", expected, self.words.len()));
        }
        if let Some(length) = self.lengths.iter().find(|l| **l as usize > s) {
            return Err(Error::invalid(
                "text",
                format!("a text of {length} tokens or rows: at most {s}"),
            ));
        }
        let lengths: Vec<usize> = self.lengths.iter().map(|l| *l as usize).collect();
        let place = |i: usize| (i / s, i % s);
        let (mut input, mut targets, mut counted) = (None, None, 0);
        match text.form {
            TextFormat::Tokens(size) => {
                // Past its end a text has a token of its own at each place (Ramesh et al. 2021,
                // section 2.2).
                let padded = |i: usize| {
                    let (b, t) = place(i);
                    if t < lengths[b] {
                        self.words[i]
                    } else {
                        (size + t) as u32
                    }
                };
                let ids: Vec<u32> = (0..n * s).map(padded).collect();
                if let Some(token) = self.words.iter().zip(0..).find_map(|(w, i)| {
                    let (b, t) = place(i);
                    (t < lengths[b] && *w as usize >= size).then_some(*w)
                }) {
                    return Err(Error::invalid(
                        "text",
                        format!("there is no token {token}: there are {size}"),
                    ));
                }
                let next = |i: usize| {
                    let (b, t) = (i / (s - 1), i % (s - 1) + 1);
                    if t < lengths[b] && !self.hidden[b] {
                        self.words[b * s + t]
                    } else {
                        IGNORED
                    }
                };
                let next: Vec<u32> = (0..n * (s - 1)).map(next).collect();
                counted = next.iter().filter(|t| **t != IGNORED).count();
                targets = Some(Tensor::from_slice(gpu, &[next.len()], &next)?);
                input = Some(Tensor::from_slice(gpu, &[n * s], &ids)?);
            }
            TextFormat::Rows(channels) => {
                let rows: Vec<f32> = self.words.iter().map(|w| f32::from_bits(*w)).collect();
                input.replace(Tensor::from_slice(gpu, &[n * s, channels], &rows)?);
            }
        }
        Ok(TextBatch {
            input: input.ok_or_else(|| Error::invalid("text", "no input"))?,
            targets,
            counted,
            mask: Mask::lengths(gpu, &lengths, s)?,
            lengths: Tensor::from_slice(gpu, &[n], &self.lengths)?,
        })
    }
}

/// Texts on the device.
#[derive(Clone, Debug)]
pub struct TextBatch {
    /// Tokens u32 [B S], those past a text's end from the vocabulary's size on; or rows f32 [B S,
    /// E].
    pub(super) input: Tensor,
    /// The token after each but the last, u32 [B (S - 1)].
    pub(super) targets: Option<Tensor>,
    /// Targets that are none of what is ignored.
    pub(super) counted: usize,
    /// Every query sees a text's own tokens.
    pub(super) mask: Mask,
    /// u32 [B].
    pub(super) lengths: Tensor,
}

/// Renamed to [`TextFormat`].
#[deprecated(since = "0.2.0", note = "renamed to `TextFormat`")]
pub type Form = TextFormat;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    #[test]
    fn texts_beyond_all_memory_are_refused() {
        let text = Text {
            form: TextFormat::Tokens(9),
            length: 1 << 20,
        };
        let error = text.check_memory(1 << 40).unwrap_err().to_string();
        assert!(
            error.contains("1048576 tokens") && error.contains("memory asked for"),
            "{error}"
        );
        text.check_memory(usize::MAX).unwrap_err();
        let none: [Vec<u32>; 1] = [Vec::new()];
        assert!(
            Texts::of_tokens(
                &Text {
                    length: 100_000_000,
                    ..text
                },
                &none
            )
            .is_err()
        );
    }

    #[test]
    fn texts_are_padded_cut_and_hidden() {
        let text = Text {
            form: TextFormat::Tokens(9),
            length: 5,
        };
        let mut texts =
            Texts::of_tokens(&text, &[vec![4, 5], vec![2, 3, 4, 5, 6], vec![]]).unwrap();
        assert_eq!(texts.words, [0, 4, 5, 1, 0, 0, 2, 3, 4, 1, 0, 1, 0, 0, 0]);
        assert_eq!(texts.lengths, [4, 5, 2]);
        texts.hide(&text, 1);
        assert_eq!(
            (&texts.words[5..10], texts.lengths[1]),
            (&[0, 1, 0, 0, 0][..], 2)
        );
        let gpu = Gpu::new(Options::default()).unwrap();
        let batch = texts.upload(&gpu, &text).unwrap();
        let ids = batch.input.read::<u32>().unwrap();
        assert_eq!(ids, [0, 4, 5, 1, 13, 0, 1, 11, 12, 13, 0, 1, 11, 12, 13]);
        let x = IGNORED;
        assert_eq!(
            batch.targets.unwrap().read::<u32>().unwrap(),
            [4, 5, 1, x, x, x, x, x, 1, x, x, x]
        );
        assert_eq!(batch.counted, 4);
        assert!(Texts::of_tokens(&text, &[vec![9]]).is_err());
        assert_eq!(
            texts.slice(&text, 2..3),
            Texts::nothing(&text, 1).slice(&text, 0..1).shown()
        );
    }

    impl Texts {
        fn shown(mut self) -> Texts {
            self.hidden.fill(false);
            self
        }
    }

    #[test]
    fn texts_are_gathered_by_number() {
        let text = Text {
            form: TextFormat::Tokens(9),
            length: 5,
        };
        let mut texts = Texts::of_tokens(&text, &[vec![4, 5], vec![2], vec![3, 7, 8]]).unwrap();
        texts.hide(&text, 1);
        let numbers = [2, 0, 2, 1];
        let mut expected = Texts::default();
        for i in numbers {
            expected.append(&texts.slice(&text, i..i + 1));
        }
        assert_eq!(texts.gather(numbers), expected);
        assert_eq!(expected.hidden, [false, false, false, true]);
        assert_eq!(texts.gather([]), Texts::default());
        let text = Text {
            form: TextFormat::Rows(2),
            length: 3,
        };
        let texts = Texts::of_rows(&text, &[vec![1.5, -2.0], vec![]]).unwrap();
        assert_eq!(texts.gather([1]), texts.slice(&text, 1..2));
    }

    #[test]
    fn rows_from_elsewhere_are_kept_to_the_bit() {
        let text = Text {
            form: TextFormat::Rows(2),
            length: 3,
        };
        let texts = Texts::of_rows(&text, &[vec![1.5, -2.0], vec![0.0; 8], vec![]]).unwrap();
        assert_eq!(texts.lengths, [1, 3, 0]);
        let gpu = Gpu::new(Options::default()).unwrap();
        let batch = texts.upload(&gpu, &text).unwrap();
        assert_eq!(
            batch.input.read::<f32>().unwrap()[..4],
            [1.5, -2.0, 0.0, 0.0]
        );
        assert!(
            Texts::of_rows(&text, &[vec![1.0]]).is_err()
                && Texts::of_tokens(&text, &[vec![1]]).is_err()
        );
    }
}
