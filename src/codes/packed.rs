//! Packed codes: images in as few bytes as their codes need, in a file that says which model reads
//! it.
//!
//! Layout, little-endian, numbers of 7 bits a byte where `varint` stands (as in LEB128):
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | `wgvq` |
//! | 1 | version: 1 |
//! | 1 | flags: 1, statistics were used; 2, images have names |
//! | 8 | the first bytes of the model's SHA-256 |
//! | 8 | with statistics, the first bytes of theirs |
//! | varint | groups; each: images, width, height, channels, then rows and columns of each level |
//! | varint, bytes | with names, each image's in UTF-8 behind its length |
//! | the rest but 4 | a range coder's words of 32 bits; zeros at its end are left out |
//! | 4 | CRC-32 of all before |

use super::Codes;
use super::entropy::{CODES_PER_BYTE, CodeStatistics, PRECISION, Predictor, Shares};
use crate::models::Level;
use crate::{Error, Result};
use constriction::stream::model::{DecoderModel, EncoderModel, EntropyModel};
use constriction::stream::queue::{DefaultRangeDecoder, DefaultRangeEncoder};
use constriction::stream::{Decode, Encode};
use std::borrow::Borrow;
use std::num::NonZeroU32;

const MAGIC: &[u8; 4] = b"wgvq";
const VERSION: u8 = 1;
const WITH_STATISTICS: u8 = 1;
const WITH_NAMES: u8 = 2;
/// Bytes for whose codes a file needs none of its own.
const FREE_BYTES: usize = 64;
/// Bytes of a SHA-256 that a file keeps.
const SUM: usize = 8;

impl EntropyModel<PRECISION> for Shares<'_> {
    type Symbol = u32;
    type Probability = u32;
}

impl EncoderModel<PRECISION> for Shares<'_> {
    fn left_cumulative_and_probability(
        &self,
        symbol: impl Borrow<u32>,
    ) -> Option<(u32, NonZeroU32)> {
        let (below, own) = self.of(*symbol.borrow())?;
        Some((below, NonZeroU32::new(own)?))
    }
}

impl DecoderModel<PRECISION> for Shares<'_> {
    fn quantile_function(&self, quantile: u32) -> (u32, u32, NonZeroU32) {
        let (code, below, own) = self.at(quantile);
        (code, below, NonZeroU32::new(own).unwrap_or(NonZeroU32::MIN))
    }
}

/// A packed file, and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// The file.
    pub bytes: Vec<u8>,
    /// Bytes of it that stand for codes; the others name the model, the sizes and the images.
    pub payload: usize,
    /// Bits that the codes take by their probabilities: what no coder under this model undercuts.
    pub estimate: f64,
}

/// Packs codes of one model: images of one size in each of `codes`, as [`Codes::save`] or
/// [`save_all`](super::save_all) would write them. The file names `statistics`, and is unpacked
/// with the same.
///
/// # Errors
/// If there is none, they are not whole, of several models, or of another model than the
/// statistics.
pub fn pack(codes: &[Codes], statistics: Option<&CodeStatistics>) -> Result<Packed> {
    let wrong = |what: &str| Err(Error::invalid("codes", what));
    let Some(first) = codes.first() else {
        return wrong("none to pack");
    };
    for group in codes {
        group.check()?;
        if group.model != first.model {
            return wrong("codes of several models in one file");
        }
        if group.names.is_empty() {
            return wrong("none to pack");
        }
    }
    if let Some(statistics) = statistics {
        statistics.check_model(first)?;
    }
    let images: usize = codes.iter().map(|c| c.names.len()).sum();
    let mut bytes = MAGIC.to_vec();
    let named = images > 1;
    bytes.extend([
        VERSION,
        u8::from(statistics.is_some()) * WITH_STATISTICS + u8::from(named) * WITH_NAMES,
    ]);
    bytes.extend(&sum_of(&first.model)?);
    if let Some(statistics) = statistics {
        bytes.extend(&sum_of(statistics.hash())?);
    }
    put(&mut bytes, codes.len());
    let counted = bytes.len();
    for group in codes {
        put(&mut bytes, group.names.len());
        group.image.iter().for_each(|n| put(&mut bytes, *n));
        let grids = group.levels.iter().flat_map(|l| l.grid);
        grids.for_each(|n| put(&mut bytes, n));
    }
    if named {
        for name in codes.iter().flat_map(|c| &c.names) {
            put(&mut bytes, name.len());
            bytes.extend(name.as_bytes());
        }
    }
    let header = bytes.len();
    let (words, estimate) = encode(codes, statistics)?;
    bytes.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    while bytes.len() > header && bytes.last() == Some(&0) {
        bytes.pop();
    }
    // Codes that cost next to nothing, as those of a codebook of one do, still take the bytes that
    // a reader asks for.
    let all: usize = codes.iter().map(|group| group.indices.len()).sum();
    let least = all.div_ceil(CODES_PER_BYTE).saturating_sub(FREE_BYTES);
    bytes.resize(bytes.len().max(counted + least), 0);
    let payload = bytes.len() - header;
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    Ok(Packed {
        bytes,
        payload,
        estimate,
    })
}

/// The coder's words, and the bits that the probabilities ask for.
fn encode(codes: &[Codes], statistics: Option<&CodeStatistics>) -> Result<(Vec<u32>, f64)> {
    let mut coder = DefaultRangeEncoder::new();
    let mut estimate = 0.0;
    let mut predictor = Predictor::new(&codes[0].levels, statistics)?;
    for group in codes {
        predictor.turn_to(&group.levels)?;
        for image in group.indices.chunks(group.per_image().max(1)) {
            for (i, place) in Predictor::places(&group.levels).enumerate() {
                if let Some(shares) = predictor.shares(place, &image[..i]) {
                    let (_, own) = shares.of(image[i]).unwrap_or((0, 1));
                    estimate += PRECISION as f64 - f64::from(own).log2();
                    coder
                        .encode_symbol(image[i], &shares)
                        .map_err(|e| Error::invalid("codes", format!("not packed: {e}")))?;
                }
                predictor.learn(place, &image[..i], image[i]);
            }
        }
    }
    let words = match coder.into_compressed() {
        Ok(words) => words,
        Err(never) => match never {},
    };
    Ok((words, estimate))
}

/// Unpacks a file, which may be anything at all: the codes of its images, those of one size
/// together. `model` is what made them: the SHA-256, the quantizer's name and the levels are
/// taken from it, whatever images it holds. A file allocates at most six thousand times its size
/// and 400 kB, beside what one codebook takes.
///
/// # Errors
/// If the file is damaged, of another model, or made with other statistics.
pub fn unpack(
    bytes: &[u8],
    model: &Codes,
    statistics: Option<&CodeStatistics>,
) -> Result<Vec<Codes>> {
    let bad = |what: &str| Error::data(format!("no packed codes: {what}"));
    if !bytes.starts_with(MAGIC) {
        return Err(bad("it does not begin as `wgvq pack` writes"));
    }
    let (body, crc) = bytes
        .split_last_chunk::<4>()
        .ok_or_else(|| bad("it ends early"))?;
    let mut at = Reader(&body[MAGIC.len().min(body.len())..]);
    let version = at.byte()?;
    if version != VERSION {
        return Err(bad(&format!(
            "version {version}, and this one reads {VERSION}"
        )));
    }
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(bad("it is damaged: its checksum is another"));
    }
    let flags = at.byte()?;
    let made_by = at.take(SUM)?;
    if made_by != sum_of(&model.model)? {
        return Err(Error::data(format!(
            "these codes are of the model {}.., and this one is {}..",
            hex::encode(made_by),
            hex::encode(sum_of(&model.model)?)
        )));
    }
    let statistics = if flags & WITH_STATISTICS != 0 {
        let wanted = at.take(SUM)?;
        let wanted = hex::encode(wanted);
        match statistics {
            Some(s) if s.hash().starts_with(&wanted) => Some(s),
            _ => {
                return Err(Error::data(format!(
                    "these codes were packed with statistics {wanted}.., which are {}; \
                     --statistics names their file",
                    statistics.map_or("not there", |_| "not the ones given")
                )));
            }
        }
    } else {
        None
    };
    let mut groups = at.groups(model)?;
    let images: usize = groups.iter().map(|(_, images)| images).sum();
    let mut names = if flags & WITH_NAMES != 0 {
        (0..images).map(|_| at.name()).collect::<Result<Vec<_>>>()?
    } else if images == 1 {
        vec![String::new()]
    } else {
        return Err(bad("its images have no names"));
    };
    let mut rest = names.drain(..);
    for (group, images) in &mut groups {
        group.names = rest.by_ref().take(*images).collect();
    }
    let mut groups: Vec<Codes> = groups.into_iter().map(|(group, _)| group).collect();
    decode(at.0, &mut groups, statistics)?;
    groups.iter().try_for_each(Codes::check)?;
    Ok(groups)
}

fn decode(payload: &[u8], groups: &mut [Codes], statistics: Option<&CodeStatistics>) -> Result<()> {
    let Some(first) = groups.first() else {
        return Err(Error::data("no packed codes: no image"));
    };
    let words = payload.chunks(4).map(|word| {
        let mut bytes = [0; 4];
        bytes[..word.len()].copy_from_slice(word);
        u32::from_le_bytes(bytes)
    });
    let mut coder = match DefaultRangeDecoder::from_compressed(words.collect::<Vec<u32>>()) {
        Ok(coder) => coder,
        Err(never) => match never {},
    };
    let mut predictor = Predictor::new(&first.levels, statistics)?;
    for group in groups {
        predictor.turn_to(&group.levels)?;
        for _ in 0..group.names.len() {
            let mut image = Vec::with_capacity(group.per_image());
            for place in Predictor::places(&group.levels) {
                let code = match predictor.shares(place, &image) {
                    None => 0,
                    Some(shares) => coder
                        .decode_symbol(&shares)
                        .map_err(|e| Error::data(format!("packed codes cannot be read: {e}")))?,
                };
                predictor.learn(place, &image, code);
                image.push(code);
            }
            group.indices.extend(image);
        }
    }
    Ok(())
}

/// The first bytes of a SHA-256.
fn sum_of(model: &str) -> Result<[u8; SUM]> {
    let mut sum = [0; SUM];
    let digits = model.get(..2 * SUM);
    match digits.map(|digits| hex::decode_to_slice(digits, &mut sum)) {
        Some(Ok(())) => Ok(sum),
        _ => Err(Error::invalid("model", format!("`{model}` is no SHA-256"))),
    }
}

fn put(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The bytes that are left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let early = || Error::data("no packed codes: it ends early");
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(early)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<usize> {
        let mut number = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if let Ok(number) = u32::try_from(number) {
                    return Ok(number as usize);
                }
                break;
            }
        }
        Err(Error::data("no packed codes: a number is too large"))
    }

    fn name(&mut self) -> Result<String> {
        let length = self.number()?;
        let name = self.take(length)?.to_vec();
        String::from_utf8(name).map_err(|_| Error::data("no packed codes: a name is no text"))
    }

    /// The groups' sizes and how many images each has: no more codes than the file can hold.
    fn groups(&mut self, model: &Codes) -> Result<Vec<(Codes, usize)>> {
        let count = self.number()?;
        let most = (self.0.len() + FREE_BYTES) as u64 * CODES_PER_BYTE as u64;
        let mut codes = 0u64;
        let mut groups = Vec::new();
        for _ in 0..count {
            let images = self.number()?;
            let mut group = Codes {
                image: [self.number()?, self.number()?, self.number()?],
                names: Vec::new(),
                indices: Vec::new(),
                ..model.clone()
            };
            for level in &mut group.levels {
                *level = Level {
                    grid: [self.number()?, self.number()?],
                    ..level.clone()
                };
            }
            let sizes: Vec<Option<u64>> = group
                .levels
                .iter()
                .map(|l| {
                    let mut parts = [images, l.grid[0], l.grid[1], l.codebooks].into_iter();
                    parts.try_fold(1u64, |n, by| n.checked_mul(by as u64))
                })
                .collect();
            let mut all = Some(codes);
            for size in sizes {
                all = all.zip(size).and_then(|(sum, n)| sum.checked_add(n));
            }
            codes = all.unwrap_or(u64::MAX);
            if codes > most || images == 0 || images > self.0.len() + 1 {
                return Err(Error::data(
                    "no packed codes: it claims more of them than it can hold",
                ));
            }
            groups.push((group, images));
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests;
