//! The header of a NumPy array in a `.npy` file.

use npyz::{NpyHeader, Order, TypeChar};
use std::io::Read;

/// The first bytes of every such file.
pub(super) const MAGIC: &[u8; 4] = b"\x93NUM";

/// The longest header in bytes: NumPy's own are far shorter.
const LONGEST: usize = 64 << 10;
/// The most brackets in one: there are two for a plain array, and each level of them takes some of
/// the stack.
const BRACKETS: usize = 64;

/// Reads the header of an array, and leaves the reader at the numbers. The product of its
/// dimensions is a number that there is: readers multiply them without a check. `Err` says what is
/// wrong.
pub(crate) fn read_header(reader: &mut dyn Read) -> Result<NpyHeader, String> {
    let damaged =
        |e: &dyn std::fmt::Display| format!("is damaged: it has no header of a NumPy array: {e}");
    // The magic bytes and the version.
    let mut bytes = vec![0; 8];
    reader.read_exact(&mut bytes).map_err(|e| damaged(&e))?;
    let start = bytes.len();
    let wide = if bytes[6] == 1 { 2 } else { 4 };
    bytes.resize(start + wide, 0);
    let length = &mut bytes[start..];
    reader.read_exact(length).map_err(|e| damaged(&e))?;
    let length = length.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
    if length > LONGEST {
        return Err(damaged(&format!("it would take {length} bytes")));
    }
    let start = bytes.len();
    bytes.resize(start + length, 0);
    reader
        .read_exact(&mut bytes[start..])
        .map_err(|e| damaged(&e))?;
    check_text(&bytes[start..]).map_err(|what| damaged(&what))?;
    NpyHeader::from_reader(&bytes[..]).map_err(|e| damaged(&e))
}

/// Checks a header's text before it is parsed: it names its shape once, in the way of NumPy, and
/// the shape is of a number of values that there is.
fn check_text(text: &[u8]) -> Result<(), &'static str> {
    let text = String::from_utf8_lossy(text).replace('"', "'");
    if text.contains('\\') || text.matches(['(', '[', '{']).count() > BRACKETS {
        return Err("it is none of a plain array");
    }
    let mut parts = text.split("'shape'");
    let (Some(_), Some(shape), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it does not say the shape once");
    };
    let sides = shape.trim_start().strip_prefix(':');
    let sides = sides.and_then(|s| s.trim_start().strip_prefix('('));
    let Some((sides, _)) = sides.and_then(|s| s.split_once(')')) else {
        return Err("its shape is not written as (2, 3)");
    };
    let sides = sides.split(',').map(str::trim).filter(|s| !s.is_empty());
    let mut numbers = sides.map(str::parse::<u64>);
    let all = numbers.try_fold(1u64, |all, n| all.checked_mul(n.ok()?));
    all.map(drop).ok_or("no array has such a shape")
}

/// Reads the header of images or labels, and leaves the reader at the numbers. Returns the
/// dimensions and the bytes of a number; `Err` says what is not read here: numbers that are not
/// whole, in Fortran's order or with their highest byte first.
pub(super) fn header(reader: &mut dyn Read) -> Result<(Vec<usize>, usize), String> {
    let header = read_header(reader)?;
    let of = header.dtype();
    let plain = match &of {
        npyz::DType::Plain(plain) => plain,
        _ => return Err("is an array of records; whole numbers are read".into()),
    };
    let bytes = usize::try_from(plain.size_field()).unwrap_or(0);
    // A byte with a sign would be another number as a byte without.
    let whole = match plain.type_char() {
        TypeChar::Uint => matches!(bytes, 1 | 2 | 4 | 8),
        TypeChar::Int => matches!(bytes, 2 | 4 | 8),
        _ => false,
    };
    let little = bytes == 1 || plain.endianness() == npyz::Endianness::Little;
    if !whole || !little {
        let descr = of.descr();
        return Err(format!(
            "holds numbers of the type {descr}; images are uint8 from 0 to 255 (of values from 0 \
             to 1: `(x * 255).round().astype(\"uint8\")`), labels whole numbers, lowest byte first"
        ));
    }
    if header.order() == Order::Fortran && header.shape().len() > 1 {
        return Err("is in Fortran's order: save it again after `numpy.ascontiguousarray`".into());
    }
    let dims = header.shape().iter();
    let dims = dims.map(|n| usize::try_from(*n).unwrap_or(usize::MAX));
    Ok((dims.collect(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, length: u32, text: &str) -> Vec<u8> {
        let length = length.to_le_bytes();
        let wide = if version == 1 { 2 } else { 4 };
        let start = [&b"\x93NUMPY"[..], &[version, 0], &length[..wide]].concat();
        [&start[..], text.as_bytes()].concat()
    }

    fn read(version: u8, text: &str) -> Result<Vec<u64>, String> {
        let bytes = file(version, text.len() as u32, text);
        read_header(&mut &bytes[..]).map(|header| header.shape().to_vec())
    }

    #[test]
    fn headers_of_every_version_are_read() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n";
        for version in 1..=3 {
            assert_eq!(read(version, text).unwrap(), [2, 3]);
            let other = text.replace('\'', "\"");
            assert_eq!(read(version, &other).unwrap(), [2, 3]);
        }
        assert_eq!(read(1, &text.replace("(2, 3)", "(7,)")).unwrap(), [7]);
        assert!(read(1, &text.replace("(2, 3)", "()")).unwrap().is_empty());
        assert!(read(9, text).is_err());
    }

    #[test]
    fn headers_that_would_take_too_much_are_refused() {
        // Twelve bytes that claim 4 GiB.
        let said = read_header(&mut &file(2, u32::MAX, "")[..]).err().unwrap();
        assert!(said.contains("4294967295 bytes"), "{said}");
        let of = |shape: &str| format!("{{'descr': '|u1', 'fortran_order': False, {shape}}}");
        for (shape, words) in [
            ("'shape': (4294967296, 4294967296, 2)", "such a shape"),
            ("'shape': (99999999999999999999,)", "such a shape"),
            ("'shape': (-1,)", "such a shape"),
            ("'shape': 3", "(2, 3)"),
            ("'size': (1,)", "the shape once"),
            ("'shape': (1,), 'shape': (2,)", "the shape once"),
            (r"'sha\x70e': (4294967296, 4294967296)", "plain array"),
        ] {
            let said = read(1, &of(shape)).unwrap_err();
            assert!(said.contains(words), "{shape}: {said}");
        }
        let said = read(2, &"(".repeat(60_000)).unwrap_err();
        assert!(said.contains("plain array"), "{said}");
    }
}
