//! Formats of image files: those that are read, and those that are refused by their names.

/// Endings of the files that are read as images, whatever their content then is.
pub(crate) const ENDINGS: [&str; 9] = [
    "png", "jpg", "jpeg", "jfif", "gif", "bmp", "webp", "tif", "tiff",
];

/// Endings of images in formats that are not read; people should know that they were passed over.
pub(crate) const UNREAD: [&str; 9] = [
    "avif", "heic", "heif", "jxl", "jp2", "j2k", "svg", "tga", "psd",
];

/// Formats that are read, in words.
pub(crate) const READ: &str = "PNG, JPEG, GIF, BMP, WebP or TIFF";

/// The way out for images in other formats, up to the pattern of their names.
pub(crate) const CONVERT: &str = "convert them, as by ImageMagick: `magick mogrify -format png";

/// Returns the endings of images, as a list.
pub(crate) fn kinds() -> String {
    ENDINGS.map(|ending| format!(".{ending}")).join(", ")
}

/// Returns the name and the usual ending of a format that is known and not read, by the first bytes
/// of a file.
fn unread(head: &[u8]) -> Option<(&'static str, &'static str)> {
    // A file of boxes: the length of the first, its kind, and a brand; others may follow it.
    if head.get(4..8) == Some(b"ftyp") {
        let brands = head.get(8..).unwrap_or_default().as_chunks::<4>().0;
        let has = |names: &[&[u8; 4]]| brands.iter().take(16).any(|b| names.contains(&b));
        if has(&[b"avif", b"avis"]) {
            return Some(("an AVIF", "avif"));
        }
        let is_heif = has(&[
            b"heic", b"heix", b"hevc", b"hevx", b"heim", b"mif1", b"msf1",
        ]);
        return is_heif.then_some(("a HEIF", "heic"));
    }
    let begins: [(&[u8], &str, &str); 6] = [
        (b"\xFF\x0A", "a JPEG XL", "jxl"),
        (b"\0\0\0\x0CJXL \r\n", "a JPEG XL", "jxl"),
        (b"\0\0\0\x0CjP  \r\n", "a JPEG 2000", "jp2"),
        (b"8BPS", "a Photoshop", "psd"),
        (b"<svg", "an SVG", "svg"),
        (b"<?xml", "an SVG or another XML", "svg"),
    ];
    let found = begins.iter().find(|(first, ..)| head.starts_with(first));
    found.map(|(_, name, ending)| (*name, *ending))
}

/// Returns the words for a file of no format that is read, by its first bytes.
pub(crate) fn refused(head: &[u8]) -> String {
    match unread(head) {
        Some((name, ending)) => format!(
            "is {name} file, which is not read: convert it, as by ImageMagick: \
             `magick IN.{ending} OUT.png`"
        ),
        None => format!("is not a {READ} image"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_not_read_is_named_with_a_way_out() {
        for (head, name, ending) in [
            (
                &b"\0\0\0\x1cftypavif\0\0\0\0mif1"[..],
                "an AVIF file",
                "avif",
            ),
            (b"\0\0\0\x1cftypmif1\0\0\0\0avif", "an AVIF file", "avif"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIF file", "heic"),
            (b"\xFF\x0Aany", "a JPEG XL file", "jxl"),
            (b"8BPS\0\x01", "a Photoshop file", "psd"),
            (b"<svg xmlns=", "an SVG file", "svg"),
        ] {
            let words = refused(head);
            assert!(
                words.contains(name) && words.contains(&format!("magick IN.{ending}")),
                "{words}"
            );
        }
        for head in [&b""[..], b"text", b"\0\0\0\x18ftypmp42", b"\0\0\0\x18ftyp"] {
            assert_eq!(refused(head), format!("is not a {READ} image"));
        }
    }
}
