//! The header of a NumPy array in a `.npy` file.

use npyz::{NpyHeader, Order, TypeChar};
use std::io::Read;

/// The first bytes of every such file.
pub(super) const MAGIC: &[u8; 4] = b"\x93NUM";

/// Reads a header, and leaves the reader at the numbers. Returns the dimensions and the bytes of a
/// number; `Err` says what is not read here: numbers that are not whole, in Fortran's order or with
/// their highest byte first.
pub(super) fn header(reader: &mut dyn Read) -> Result<(Vec<usize>, usize), String> {
    let header = NpyHeader::from_reader(reader)
        .map_err(|e| format!("has no header of a NumPy array: {e}"))?;
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
            "holds numbers of the type {descr}; images are of uint8, labels of whole numbers: \
             convert it by `.astype(\"uint8\")`"
        ));
    }
    if header.order() == Order::Fortran && header.shape().len() > 1 {
        return Err("is in Fortran's order: save it again after `numpy.ascontiguousarray`".into());
    }
    let dims = header.shape().iter();
    let dims = dims.map(|n| usize::try_from(*n).unwrap_or(usize::MAX));
    Ok((dims.collect(), bytes))
}
