//! Captions to tokens: byte-pair encoding (Sennrich et al. 2016) over bytes (Radford et al. 2019),
//! learned from the captions themselves and kept beside the model as `tokenizer.json`, which other
//! programs read too. Letters are folded to lower case, as DALL-E's.

use crate::models::text::{BEGIN, END, Text, TextFormat};
use crate::storage::atomic;
use crate::{Error, Result, files};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::normalizers::{Lowercase, NFKC, NormalizerWrapper, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, NormalizedString, Normalizer, PreTokenizerWrapper};

/// Names of the first two tokens, [`BEGIN`] and [`END`].
const SPECIAL: [&str; 2] = ["<begin>", "<end>"];
/// Tokens that every vocabulary has: the bytes, and the special ones.
pub const LEAST: usize = 256 + SPECIAL.len();
/// The characters that the captions had, beside the tokenizer.
const SEEN: &str = "characters.txt";
const FILE: &str = "tokenizer.json";

/// A tokenizer of texts by byte-pair encoding.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    seen: BTreeSet<char>,
    sha256: String,
}

/// A text in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Tokens, without [`BEGIN`] and [`END`].
    pub ids: Vec<u32>,
    /// Characters that no caption had, in their order.
    pub unknown: Vec<char>,
}

fn failed(what: &str, e: tokenizers::Error) -> Error {
    Error::data(format!("the tokenizer {what}: {e}"))
}

impl Tokenizer {
    /// Checks that a vocabulary may have this size.
    ///
    /// # Errors
    /// If the size is below [`LEAST`] or above 2^20.
    pub fn check_size(size: usize) -> Result<()> {
        if (LEAST..=1 << 20).contains(&size) {
            return Ok(());
        }
        Err(Error::config(
            "--vocabulary",
            format!("{size} is not allowed: it must be from {LEAST} to 2^20"),
        ))
    }

    /// Learns at most `size` tokens from captions; fewer, where the captions have no more pairs
    /// that come twice.
    ///
    /// # Errors
    /// If there is no caption, or the size is below [`LEAST`] or above 2^20.
    pub fn learn(captions: &[&str], size: usize) -> Result<Tokenizer> {
        if captions.is_empty() {
            return Err(Error::data("there is no caption to learn tokens from"));
        }
        Tokenizer::check_size(size)?;
        let mut inner = tokenizers::Tokenizer::new(ModelWrapper::BPE(BPE::default()));
        let folded = Sequence::new(vec![
            NormalizerWrapper::NFKC(NFKC),
            NormalizerWrapper::Lowercase(Lowercase),
        ]);
        let bytes = ByteLevel::new(true, true, true);
        inner.with_normalizer(Some(NormalizerWrapper::Sequence(folded)));
        inner.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(bytes)));
        inner.with_decoder(Some(DecoderWrapper::ByteLevel(bytes)));
        let trainer = BpeTrainer::builder()
            .vocab_size(size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(SPECIAL.map(|t| AddedToken::from(t, true)).to_vec())
            .build();
        inner
            .train(&mut TrainerWrapper::BpeTrainer(trainer), captions.iter())
            .map_err(|e| failed("cannot be learned", e))?;
        let mut seen = BTreeSet::new();
        for caption in captions {
            seen.extend(fold(&inner, caption)?.chars());
        }
        Tokenizer::checked(inner, seen)
    }

    fn checked(mut inner: tokenizers::Tokenizer, seen: BTreeSet<char>) -> Result<Tokenizer> {
        // `<end>` in a caption or a prompt is those five characters: only models put the special
        // tokens around texts.
        inner.set_encode_special_tokens(true);
        for (name, id) in SPECIAL.iter().zip([BEGIN, END]) {
            if inner.token_to_id(name) != Some(id) {
                return Err(Error::data(format!(
                    "the tokenizer has no `{name}` with the number {id}"
                )));
            }
        }
        let json = inner
            .to_string(false)
            .map_err(|e| failed("cannot be written", e))?;
        let sha256 = hex::encode(Sha256::digest(&json));
        Ok(Tokenizer {
            inner,
            seen,
            sha256,
        })
    }

    /// Writes `tokenizer.json` into a folder, and the characters that the captions had.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
        let json = self
            .inner
            .to_string(true)
            .map_err(|e| failed("cannot be written", e))?;
        atomic::write(
            &folder.join(SEEN),
            self.seen.iter().collect::<String>().as_bytes(),
        )?;
        atomic::write(&folder.join(FILE), json.as_bytes())
    }

    /// Reads what [`Tokenizer::save`] wrote.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn load(folder: &Path) -> Result<Tokenizer> {
        let path = folder.join(FILE);
        let json = files::read(&path, files::LIST)?;
        let seen = files::read_text(&folder.join(SEEN), files::LIST).unwrap_or_default();
        Tokenizer::from_bytes(&json, &seen).map_err(|e| Error::file(&path, e))
    }

    /// Reads the bytes of `tokenizer.json`, as [`Tokenizer::save`] wrote it, with the characters
    /// that the captions had; without any, none is unknown.
    ///
    /// # Errors
    /// If they are damaged.
    pub fn from_bytes(json: &[u8], characters: &str) -> Result<Tokenizer> {
        let inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|e| Error::data(format!("is damaged, or no tokenizer: {e}")))?;
        Tokenizer::checked(inner, characters.chars().collect())
    }

    /// SHA-256 of what it is.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Tokens that there are.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Returns the layout of texts of at most `length` tokens, [`BEGIN`] and [`END`] counted.
    pub fn text(&self, length: usize) -> Text {
        Text {
            form: TextFormat::Tokens(self.size()),
            length,
        }
    }

    /// Returns a text's tokens. Any text has some: what was never seen comes byte by byte, and is
    /// named.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Tokens> {
        let encoded = self
            .inner
            .encode(text, false)
            .map_err(|e| failed("cannot read a text", e))?;
        let mut unknown: Vec<char> = Vec::new();
        for c in fold(&self.inner, text)?.chars() {
            if !self.seen.is_empty() && !self.seen.contains(&c) && !unknown.contains(&c) {
                unknown.push(c);
            }
        }
        Ok(Tokens {
            ids: encoded.get_ids().to_vec(),
            unknown,
        })
    }

    /// Returns the text of tokens.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map(|s| s.trim().to_owned())
            .map_err(|e| failed("cannot write a text", e))
    }
}

fn fold(inner: &tokenizers::Tokenizer, text: &str) -> Result<String> {
    let mut folded = NormalizedString::from(text);
    if let Some(normalizer) = inner.get_normalizer() {
        normalizer
            .normalize(&mut folded)
            .map_err(|e| failed("cannot read a text", e))?;
    }
    Ok(folded.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTIONS: [&str; 5] = [
        "a red heart",
        "a Red car",
        "blue heart",
        "the blue car",
        "a red star",
    ];

    #[test]
    fn words_that_come_often_become_tokens() {
        let t = Tokenizer::learn(&CAPTIONS, 300).unwrap();
        assert!(t.size() > LEAST && t.size() <= 300, "{}", t.size());
        let heart = t.encode("A RED heart").unwrap();
        assert!(
            heart.ids.len() <= 4 && heart.unknown.is_empty(),
            "{heart:?}"
        );
        assert_eq!(t.decode(&heart.ids).unwrap(), "a red heart");
        let strange = t.encode("a réd 心").unwrap();
        assert_eq!(strange.unknown, ['é', '心']);
        assert_eq!(t.decode(&strange.ids).unwrap(), "a réd 心");
        assert!(t.encode("").unwrap().ids.is_empty());
    }

    #[test]
    fn the_same_captions_give_the_same_tokens() {
        let learned = || Tokenizer::learn(&CAPTIONS, 300).unwrap();
        assert_eq!(learned().sha256(), learned().sha256());
        let dir = tempfile::tempdir().unwrap();
        learned().save(dir.path()).unwrap();
        let again = Tokenizer::load(dir.path()).unwrap();
        assert_eq!(
            (again.sha256(), again.size()),
            (learned().sha256(), learned().size())
        );
        assert_eq!(
            again.encode("a réd").unwrap(),
            learned().encode("a réd").unwrap()
        );
    }

    #[test]
    fn special_tokens_in_a_text_are_text() {
        let dir = tempfile::tempdir().unwrap();
        let captions = [
            &CAPTIONS[..],
            &["the <end> of <begin>", "the <end> of <begin>"],
        ]
        .concat();
        for captions in [&CAPTIONS[..], &captions] {
            let learned = Tokenizer::learn(captions, 320).unwrap();
            learned.save(dir.path()).unwrap();
            for t in [learned, Tokenizer::load(dir.path()).unwrap()] {
                for text in ["a <end> red heart", "<begin>", "<end><END> a"] {
                    let ids = t.encode(text).unwrap().ids;
                    assert!(
                        !ids.contains(&BEGIN) && !ids.contains(&END),
                        "{text}: {ids:?}"
                    );
                    assert_eq!(t.decode(&ids).unwrap(), text.to_lowercase());
                }
            }
        }
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{}").unwrap();
        assert!(
            Tokenizer::load(dir.path())
                .err()
                .unwrap()
                .to_string()
                .contains("tokenizer.json")
        );
        assert!(Tokenizer::learn(&[], 300).is_err() && Tokenizer::learn(&CAPTIONS, 100).is_err());
    }
}
