//! Texts, as a prior reads them.

use wgvq::codes::tokenizer::Tokenizer;
use wgvq::inference::texts::read_prompt;
use wgvq::models::text::{Text, Texts};
use wgvq::{Error, Result};

/// A tokenizer of texts, and the layout of the texts that a prior reads.
pub struct Reader {
    tokenizer: Tokenizer,
    text: Text,
}

impl Reader {
    /// Reads `tokenizer.json`, and the characters that captions had.
    pub fn new(tokenizer: Vec<u8>, characters: &str, text: Text) -> Result<Reader> {
        let tokenizer = Tokenizer::from_bytes(&tokenizer, characters)?;
        let layout = tokenizer.text(text.length);
        if layout != text {
            return Err(Error::data(
                "the page's tokenizer of texts is not the prior's",
            ));
        }
        Ok(Reader { tokenizer, text })
    }

    /// Returns a text for each of `n` pictures.
    pub fn texts(&self, prompt: &str, n: usize) -> Result<Texts> {
        let ids = read_prompt(prompt, &self.tokenizer, &self.text, false, &mut |_| ())?;
        Texts::of_tokens(&self.text, &vec![ids; n])
    }

    /// Returns what of a text cannot be read, in words.
    pub fn unread(&self, prompt: &str) -> Result<String> {
        let mut notes = Vec::new();
        let mut note = |text: &str| notes.push(text.to_owned());
        read_prompt(prompt, &self.tokenizer, &self.text, false, &mut note)?;
        Ok(notes.join("; "))
    }
}
