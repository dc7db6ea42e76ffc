//! Bytes of other people's text files, whatever editor they come from: UTF-8, or UTF-16 that says
//! so in its first bytes.

/// Returns the text of these bytes, decoded as their byte order mark says and without it; UTF-8
/// where there is none.
///
/// # Errors
/// Says what is not text, and from which byte on.
pub fn decode_text(bytes: &[u8]) -> Result<String, String> {
    let text = match bytes {
        // The mark of UTF-32 begins as that of UTF-16 does.
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => {
            return Err("is UTF-32: save it as UTF-8".into());
        }
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest, 3)?,
        all => utf8(all, 0)?,
    };
    match text.find('\0') {
        Some(_) => {
            Err("holds zero bytes: is it UTF-16 without a byte order mark? Save it as UTF-8".into())
        }
        None => Ok(text),
    }
}

fn utf8(bytes: &[u8], before: usize) -> Result<String, String> {
    let wrong = |e: std::str::Utf8Error| {
        format!(
            "is not UTF-8 from byte {} on: save it as UTF-8",
            before + e.valid_up_to()
        )
    };
    std::str::from_utf8(bytes).map(str::to_owned).map_err(wrong)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(pairs.len());
    let mut at = 2;
    for c in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        let c = c.map_err(|_| format!("is not UTF-16 from byte {at} on, though it begins so"))?;
        at += 2 * c.len_utf16();
        text.push(c);
    }
    if rest.is_empty() {
        Ok(text)
    } else {
        Err("is UTF-16 that ends within a character: truncated".into())
    }
}

/// Returns a text in one line, without byte order marks.
pub fn one_line(text: &str) -> String {
    // Files that were put together keep the marks of each in their midst, where they mean nothing.
    let text = text.replace('\u{feff}', " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns a class's name as part of a file's: `ankle-boot` of `Ankle boot`. Characters of all
/// scripts stay, and pictographs; only what stands between words, what some file system forbids and
/// what cannot be seen does not.
pub fn slug(name: &str) -> String {
    let invisible = |c: char| {
        matches!(
            c,
            '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
    };
    let between = |c: char| match c.is_ascii() {
        true => !c.is_ascii_alphanumeric(),
        false => c.is_whitespace() || c.is_control() || invisible(c),
    };
    let words = name.split(between).filter(|w| !w.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_how_text_is_read() {
        let text = "ein rotes Herz \u{2764} \u{1F600}\n心";
        let utf16 =
            |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            [&b"\xFF\xFE"[..], &utf16(u16::to_le_bytes)].concat(),
            [&b"\xFE\xFF"[..], &utf16(u16::to_be_bytes)].concat(),
        ] {
            assert_eq!(decode_text(&bytes).unwrap(), text);
        }
        assert_eq!(decode_text(b"").unwrap(), "");
        assert_eq!(
            one_line("\u{feff}a\u{feff} red\n heart \u{feff}"),
            "a red heart"
        );
    }

    #[test]
    fn what_is_no_text_is_said() {
        for (bytes, words) in [
            (&b"caf\xE9"[..], "not UTF-8 from byte 3"),
            (b"\xEF\xBB\xBFcaf\xE9", "not UTF-8 from byte 6"),
            (b"\xFF\xFEa\0\0\xD8b\0", "not UTF-16 from byte 4"),
            (b"\xFF\xFEa\0b", "ends within a character"),
            (b"a\0b\0", "zero bytes"),
            (b"\xFF\xFE\0\0a\0\0\0", "UTF-32"),
        ] {
            let error = decode_text(bytes).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn names_make_files() {
        assert_eq!(slug("T-shirt/top"), "t-shirt-top");
        assert_eq!(slug("Ankle boot"), "ankle-boot");
        assert_eq!(slug("../x"), "x");
        assert_eq!(slug("Красный  Круг?"), "красный-круг");
        assert_eq!(slug("红色的 心/星"), "红色的-心-星");
        assert_eq!(
            slug("\u{feff}\u{2764}\u{fe0f} \u{202e}हिन्दी"),
            "\u{2764}\u{fe0f}-हिन्दी"
        );
        assert_eq!(slug("?!"), "");
    }
}
