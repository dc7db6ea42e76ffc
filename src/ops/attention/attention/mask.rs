//! Masks: the keys that a query may see, as bits, for the patterns of sparse attention and the
//! padding of sequences.

use crate::gpu::{Gpu, Tensor};
use crate::{Error, Result};

/// A bit for each pair of a query and a key, of one image for all or of each. The kernels read it
/// along keys or along queries, so it lies on the device both ways: a little over Tq Tk / 4 bytes.
#[derive(Clone, Debug)]
pub struct Mask {
    by_query: Bits,
    by_key: Bits,
    /// Images; `None` is one for all.
    images: Option<usize>,
    /// Queries; `None` is one row for all.
    queries: Option<usize>,
    keys: usize,
}

/// Words of 32 rows of one side, for each row of the other.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    pub words: Tensor,
    /// Words from one image, row, and 32 rows of the side that is walked over to the next.
    pub strides: [u32; 3],
    /// Past the words a bit for 32 rows of both sides, whether any of those pairs has one: where
    /// they begin, and from one image and 32 rows to the next.
    pub blocks: [u32; 3],
}

fn pack(bits: impl Iterator<Item = bool>) -> Vec<u32> {
    let bits: Vec<bool> = bits.collect();
    let word = |w: &[bool]| {
        w.iter()
            .enumerate()
            .fold(0, |word, (i, bit)| word | u32::from(*bit) << i)
    };
    bits.chunks(32).map(word).collect()
}

/// Uploads `images` x `rows` rows of `wide` words. `strides` are 0 where all images, all rows, or
/// all words of a row are one.
fn upload(
    gpu: &Gpu,
    mut words: Vec<u32>,
    [images, rows, wide]: [usize; 3],
    strides: [usize; 3],
) -> Result<Bits> {
    let (start, high, across) = (words.len(), rows.div_ceil(32), wide.div_ceil(32));
    let mut blocks = vec![0; images * high * across];
    for (i, _) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
        let (row, column) = (i / wide, i % wide);
        let at = (row / rows * high + row % rows / 32) * across + column / 32;
        // One word for all that follow each other is one for all blocks of them.
        blocks[at] |= if strides[2] == 0 {
            u32::MAX
        } else {
            1 << (column % 32)
        };
    }
    words.extend(blocks);
    let step = |stride: usize, blocks: usize| if stride == 0 { 0 } else { blocks };
    Ok(Bits {
        words: Tensor::from_slice(gpu, &[words.len()], &words)?,
        strides: strides.map(|s| s as u32),
        blocks: [
            start as u32,
            step(strides[0], high * across) as u32,
            step(strides[1], across) as u32,
        ],
    })
}

fn check(images: usize, queries: usize, keys: usize) -> Result<()> {
    if images == 0
        || queries == 0
        || keys == 0
        || images.saturating_mul(queries).saturating_mul(keys) as u64 > 1 << 34
    {
        let what = format!(
            "{images} images of {queries} queries and {keys} keys: at least one of each, 2^34 \
             pairs at most"
        );
        return Err(Error::invalid("attention mask", what));
    }
    Ok(())
}

impl Mask {
    /// Every query of image b sees its first `lengths[b]` of `keys` keys: sequences that are padded
    /// at their ends.
    ///
    /// # Errors
    /// If there is no image or no key, or a length is above `keys`.
    pub fn lengths(gpu: &Gpu, lengths: &[usize], keys: usize) -> Result<Mask> {
        check(lengths.len(), 1, keys)?;
        if let Some(length) = lengths.iter().find(|l| **l > keys) {
            return Err(Error::invalid(
                "attention mask",
                format!("a length of {length} for {keys} keys"),
            ));
        }
        let by_query = lengths
            .iter()
            .flat_map(|l| pack((0..keys).map(|j| j < *l)))
            .collect();
        let by_key = lengths
            .iter()
            .flat_map(|l| (0..keys).map(move |j| if j < *l { u32::MAX } else { 0 }))
            .collect();
        Ok(Mask {
            by_query: upload(
                gpu,
                by_query,
                [lengths.len(), 1, keys.div_ceil(32)],
                [keys.div_ceil(32), 0, 1],
            )?,
            by_key: upload(gpu, by_key, [lengths.len(), keys, 1], [keys, 1, 0])?,
            images: Some(lengths.len()),
            queries: None,
            keys,
        })
    }

    /// Query i of every image sees the keys j of which `sees(i, j)`.
    ///
    /// # Errors
    /// If there is no query or no key.
    pub fn pattern(
        gpu: &Gpu,
        queries: usize,
        keys: usize,
        sees: impl Fn(usize, usize) -> bool,
    ) -> Result<Mask> {
        check(1, queries, keys)?;
        let mask = Mask::build(gpu, 1, queries, keys, |_, i, j| sees(i, j))?;
        let all = |bits: Bits| Bits {
            strides: [0, bits.strides[1], bits.strides[2]],
            blocks: [bits.blocks[0], 0, bits.blocks[2]],
            ..bits
        };
        Ok(Mask {
            by_query: all(mask.by_query),
            by_key: all(mask.by_key),
            images: None,
            ..mask
        })
    }

    /// Query i of image b sees the keys j of which `sees(b, i, j)`.
    ///
    /// # Errors
    /// If there is no image, no query or no key.
    pub fn each(
        gpu: &Gpu,
        images: usize,
        queries: usize,
        keys: usize,
        sees: impl Fn(usize, usize, usize) -> bool,
    ) -> Result<Mask> {
        check(images, queries, keys)?;
        Mask::build(gpu, images, queries, keys, sees)
    }

    fn build(
        gpu: &Gpu,
        images: usize,
        queries: usize,
        keys: usize,
        sees: impl Fn(usize, usize, usize) -> bool,
    ) -> Result<Mask> {
        let rows = |n: usize| (0..images).flat_map(move |b| (0..n).map(move |i| (b, i)));
        let by_query = rows(queries)
            .flat_map(|(b, i)| pack((0..keys).map(|j| sees(b, i, j))))
            .collect();
        let by_key = rows(keys)
            .flat_map(|(b, j)| pack((0..queries).map(|i| sees(b, i, j))))
            .collect();
        let (wide, high) = (keys.div_ceil(32), queries.div_ceil(32));
        Ok(Mask {
            by_query: upload(
                gpu,
                by_query,
                [images, queries, wide],
                [queries * wide, wide, 1],
            )?,
            by_key: upload(gpu, by_key, [images, keys, high], [keys * high, high, 1])?,
            images: Some(images),
            queries: Some(queries),
            keys,
        })
    }

    /// Checks that it fits this many images, queries and keys.
    pub(crate) fn check(&self, op: &'static str, [b, tq, tk]: [usize; 3]) -> Result<()> {
        if self.images.is_some_and(|n| n != b)
            || self.queries.is_some_and(|n| n != tq)
            || self.keys != tk
        {
            let or_any = |n: Option<usize>| n.map_or("any".into(), |n| n.to_string());
            let (images, queries) = (or_any(self.images), or_any(self.queries));
            let got = format!(
                "a mask of {images} images, {queries} queries and {} keys",
                self.keys
            );
            return Err(Error::shape(
                op,
                format!("a mask of {b} images, {tq} queries and {tk} keys"),
                got,
            ));
        }
        Ok(())
    }

    pub(crate) fn by_query(&self) -> &Bits {
        &self.by_query
    }

    pub(crate) fn by_key(&self) -> &Bits {
        &self.by_key
    }
}
