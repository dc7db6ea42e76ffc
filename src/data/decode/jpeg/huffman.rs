//! Huffman codes of a JPEG scan, and the bits that they are read from.

use super::{SHORT, Walked, next_marker};

/// Codes of up to [`FAST`] bits are found in a table of their first bits: length and value.
pub(super) struct Huffman {
    pub(super) fast: Vec<(u8, u8)>,
    /// The first code of each length, the number of codes, and where their values begin.
    pub(super) lengths: [(u32, u32, usize); 17],
    pub(super) values: Vec<u8>,
}

pub(super) const FAST: u32 = 9;

impl Huffman {
    pub(super) fn new(counts: &[u8], values: &[u8]) -> Walked<Huffman> {
        let (mut fast, mut lengths) = (vec![(0, 0); 1 << FAST], [(0, 0, 0); 17]);
        let (mut code, mut begin) = (0u32, 0usize);
        for (length, count) in (1..=16u32).zip(counts) {
            let count = u32::from(*count);
            if code + count > 1 << length {
                return Err("has a table of codes that is none: damaged".into());
            }
            lengths[length as usize] = (code, count, begin);
            if length <= FAST {
                for (i, value) in (code..code + count).zip(&values[begin..]) {
                    let from = (i << (FAST - length)) as usize;
                    fast[from..from + (1 << (FAST - length))].fill((length as u8, *value));
                }
            }
            begin += count as usize;
            code = (code + count) << 1;
        }
        Ok(Huffman {
            fast,
            lengths,
            values: values.to_vec(),
        })
    }
}

/// The bits of a scan, up to the next marker.
pub(super) struct Bits<'a> {
    pub(super) bytes: &'a [u8],
    /// The first byte that is not held.
    pub(super) at: usize,
    pub(super) held: u64,
    pub(super) count: u32,
}

impl Bits<'_> {
    pub(super) fn fill(&mut self) {
        while self.count <= 56 {
            let Some(byte) = self.bytes.get(self.at) else {
                return;
            };
            if *byte == 0xFF {
                match self.bytes.get(self.at + 1) {
                    Some(0) => self.at += 1,
                    Some(0xFF) => {
                        self.at += 1;
                        continue;
                    }
                    _ => return,
                }
            }
            self.at += 1;
            self.held = self.held << 8 | u64::from(*byte);
            self.count += 8;
        }
    }

    /// Returns the next `n` bits, at most 16, with zeros after the last.
    pub(super) fn peek(&mut self, n: u32) -> u32 {
        if self.count < n {
            self.fill();
        }
        let mask = (1u64 << n) - 1;
        let bits = if self.count >= n {
            self.held >> (self.count - n)
        } else {
            self.held << (n - self.count)
        };
        (bits & mask) as u32
    }

    pub(super) fn skip(&mut self, n: u32) -> Walked<()> {
        let mut left = n;
        while left > 0 {
            if self.count < left.min(32) {
                self.fill();
            }
            let now = left.min(32);
            self.count = self.count.checked_sub(now).ok_or(SHORT)?;
            self.held &= (1 << self.count) - 1;
            left -= now;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, n: u32) -> Walked<u32> {
        let bits = if n == 0 { 0 } else { self.peek(n) };
        self.skip(n)?;
        Ok(bits)
    }

    pub(super) fn symbol(&mut self, table: &Huffman) -> Walked<u8> {
        let bits = self.peek(16);
        let (length, value) = table.fast[(bits >> (16 - FAST)) as usize];
        if length > 0 {
            self.skip(u32::from(length))?;
            return Ok(value);
        }
        for length in FAST + 1..=16 {
            let (code, count, begin) = table.lengths[length as usize];
            let own = (bits >> (16 - length)).wrapping_sub(code);
            if own < count {
                self.skip(length)?;
                return table
                    .values
                    .get(begin + own as usize)
                    .copied()
                    .ok_or("is damaged".into());
            }
        }
        // Where the data end, what looks like a wrong code is the lack of one.
        if self.count < 16 {
            Err(SHORT.into())
        } else {
            Err("has a code that its tables do not know: damaged".into())
        }
    }

    /// Goes past the restart marker that is due here.
    pub(super) fn restart(&mut self) -> Walked<()> {
        (self.held, self.count) = (0, 0);
        match next_marker(self.bytes, &mut self.at) {
            Some(0xD0..=0xD7) => Ok(()),
            None | Some(0xD9) => Err(SHORT.into()),
            Some(_) => Err("lacks a restart marker: damaged".into()),
        }
    }
}
