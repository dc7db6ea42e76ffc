//! Whether a JPEG is all there (ITU-T T.81).
//!
//! Decoders fill what a cut file lacks with grey and say nothing. Here the entropy-coded data of
//! every scan are walked through, block by block, without computing a pixel: a file is whole if
//! each scan has the bits of all of its blocks. A file that lacks nothing but its end marker is
//! whole if every coefficient was sent to its last bit; bytes after the end marker are not looked
//! at.

mod huffman;

use huffman::{Bits, Huffman};
/// The words for a file that ends before its image does.
pub(crate) const SHORT: &str = "ends too early: truncated";

type Walked<T> = Result<T, String>;

/// Checks that a file is whole, as far as its image goes. Kinds that are not walked through
/// (arithmetic coding, lossless) pass: decoders refuse them.
pub(crate) fn whole(bytes: &[u8]) -> Walked<()> {
    let mut walk = Walk {
        bytes,
        at: 0,
        dc: Default::default(),
        ac: Default::default(),
        restart: 0,
        frame: None,
    };
    walk.segments()
}

/// Returns the bytes that a decoder may take for the pixels of a file: the most that one of its
/// frames asks for; 0 where it has none.
pub(crate) fn decoded_bytes(bytes: &[u8]) -> u64 {
    let all = frames(bytes)
        .into_iter()
        .map(|frame| frame.iter().product());
    all.max().unwrap_or(0)
}

/// Returns width, height and components of every frame of a file.
pub(crate) fn frames(bytes: &[u8]) -> Vec<[u64; 3]> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(marker) = next_marker(bytes, &mut at) {
        // Without a length of their own.
        if matches!(marker, 0x01 | 0xD0..=0xD9) {
            continue;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let is_frame = matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC);
        if let (true, &[_, _, _, h0, h1, w0, w1, components, ..]) = (is_frame, rest) {
            let side = |a: u8, b: u8| u64::from(u16::from_be_bytes([a, b]));
            found.push([side(w0, w1), side(h0, h1), u64::from(components)]);
        }
        at += usize::from(number(rest, 0).unwrap_or(0));
    }
    found
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// Units between restart markers; 0 for none.
    restart: usize,
    frame: Option<Frame>,
}

struct Frame {
    progressive: bool,
    width: usize,
    height: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Blocks of a minimum coded unit, across and down.
    h: usize,
    v: usize,
    /// Blocks in a row, with those that fill the last unit.
    row: usize,
    /// Bits of each coefficient that are still to come; [`UNSENT`] where it was not sent at all.
    missing: [u8; 64],
    /// Bits of the coefficients of each block that are not 0: a refinement has a bit for each of
    /// them.
    nonzero: Vec<u64>,
}

const UNSENT: u8 = 255;

/// Header of a scan.
struct Scan {
    /// Components by their place in the frame, with the numbers of their tables.
    parts: Vec<(usize, usize, usize)>,
    first: usize,
    last: usize,
    /// Whether it is the first scan of its coefficients.
    begins: bool,
    /// Bits of them that come after it.
    low: u8,
}

impl<'a> Walk<'a> {
    fn segments(&mut self) -> Walked<()> {
        loop {
            match next_marker(self.bytes, &mut self.at) {
                None => return self.ended(false),
                Some(0xD9) => return self.ended(true),
                // Without a length of their own.
                Some(0x01 | 0xD0..=0xD8) => {}
                // Kinds that are not read.
                Some(0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF) => return Ok(()),
                Some(marker) => {
                    let segment = self.segment()?;
                    match marker {
                        0xC4 => self.tables(segment)?,
                        0xC0..=0xC2 => self.frame = Some(frame(segment, marker == 0xC2)?),
                        0xDD => self.restart = usize::from(number(segment, 0)?),
                        0xDA if !self.scan(segment)? => return Ok(()),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Returns the segment behind a marker, without its length.
    fn segment(&mut self) -> Walked<&'a [u8]> {
        let length = usize::from(number(&self.bytes[self.at..], 0)?);
        let segment = self.bytes.get(self.at + 2..self.at + length).ok_or(SHORT)?;
        self.at += length;
        Ok(segment)
    }

    /// At the end of the file, or at the marker of the image's end.
    fn ended(&self, marked: bool) -> Walked<()> {
        let Some(frame) = &self.frame else {
            return Err(SHORT.into());
        };
        // An encoder may leave coefficients out on purpose, but then it says that this is the end.
        let sent = |c: &Component| match marked {
            true => c.missing[0] != UNSENT,
            false => c.missing.iter().all(|bits| *bits == 0),
        };
        if frame.components.iter().all(sent) {
            Ok(())
        } else {
            Err(SHORT.into())
        }
    }

    fn tables(&mut self, mut segment: &[u8]) -> Walked<()> {
        while let Some(about) = segment.first() {
            let counts = segment.get(1..17).ok_or(SHORT)?;
            let symbols: usize = counts.iter().map(|n| usize::from(*n)).sum();
            let values = segment.get(17..17 + symbols).ok_or(SHORT)?;
            let kind = if about >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            kind[usize::from(about & 3)] = Some(Huffman::new(counts, values)?);
            segment = &segment[17 + symbols..];
        }
        Ok(())
    }

    /// Walks through a scan. `false`: it uses a table that the file does not have, so that nothing
    /// can be said.
    fn scan(&mut self, segment: &[u8]) -> Walked<bool> {
        let Walk {
            bytes,
            at,
            dc,
            ac,
            restart,
            frame,
        } = self;
        let Some(frame) = frame else {
            return Err("has a scan before its frame: damaged".into());
        };
        let scan = scan(segment, frame)?;
        let mut bits = Bits {
            bytes,
            at: *at,
            held: 0,
            count: 0,
        };
        let whole = scan.walk(frame, &mut bits, dc, ac, *restart)?;
        // What was read ahead is followed by the next marker all the same.
        *at = bits.at;
        for (c, _, _) in &scan.parts {
            frame.components[*c].missing[scan.first..=scan.last].fill(scan.low);
        }
        Ok(whole)
    }
}

/// Skips to the next marker and past it.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        let from = bytes.get(*at..)?.iter().position(|b| *b == 0xFF)?;
        *at += from + 1;
        while bytes.get(*at) == Some(&0xFF) {
            *at += 1;
        }
        let marker = *bytes.get(*at)?;
        *at += 1;
        if marker != 0 {
            return Some(marker);
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Walked<u16> {
    bytes
        .get(at..at + 2)
        .map(|n| u16::from(n[0]) << 8 | u16::from(n[1]))
        .ok_or(SHORT.into())
}

fn frame(segment: &[u8], progressive: bool) -> Walked<Frame> {
    let (height, width) = (
        usize::from(number(segment, 1)?),
        usize::from(number(segment, 3)?),
    );
    let all = segment.get(6..).unwrap_or_default();
    let count = usize::from(*segment.get(5).ok_or(SHORT)?);
    if width == 0 || height == 0 || !(1..=4).contains(&count) || all.len() < 3 * count {
        return Err("has a frame that is not read: damaged".into());
    }
    let mut components: Vec<Component> = Vec::new();
    for about in all.chunks(3).take(count) {
        let (h, v) = (usize::from(about[1] >> 4), usize::from(about[1] & 15));
        if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
            return Err("has a frame that is not read: damaged".into());
        }
        components.push(Component {
            id: about[0],
            h,
            v,
            row: 0,
            missing: [UNSENT; 64],
            nonzero: Vec::new(),
        });
    }
    let mut frame = Frame {
        progressive,
        width,
        height,
        components,
    };
    let [across, down] = frame.units();
    for c in &mut frame.components {
        c.row = across * c.h;
        if progressive {
            c.nonzero = vec![0; c.row * down * c.v];
        }
    }
    Ok(frame)
}

impl Frame {
    fn most(&self) -> [usize; 2] {
        let most = |f: fn(&Component) -> usize| self.components.iter().map(f).max().unwrap_or(1);
        [most(|c| c.h), most(|c| c.v)]
    }

    /// Minimum coded units of all components, across and down.
    fn units(&self) -> [usize; 2] {
        let [h, v] = self.most();
        [self.width.div_ceil(8 * h), self.height.div_ceil(8 * v)]
    }

    /// Blocks of one component that a scan of it alone has, across and down.
    fn blocks(&self, c: &Component) -> [usize; 2] {
        let [h, v] = self.most();
        [
            (self.width * c.h).div_ceil(h).div_ceil(8),
            (self.height * c.v).div_ceil(v).div_ceil(8),
        ]
    }
}

fn scan(segment: &[u8], frame: &Frame) -> Walked<Scan> {
    let wrong = || String::from("has a scan that does not fit its frame: damaged");
    let count = usize::from(*segment.first().ok_or(SHORT)?);
    let rest = segment.get(1 + 2 * count..4 + 2 * count).ok_or(SHORT)?;
    let mut parts = Vec::new();
    for about in segment[1..1 + 2 * count].chunks(2) {
        let c = frame
            .components
            .iter()
            .position(|c| c.id == about[0])
            .ok_or_else(wrong)?;
        parts.push((c, usize::from(about[1] >> 4 & 3), usize::from(about[1] & 3)));
    }
    let (first, last) = (usize::from(rest[0]), usize::from(rest[1]));
    let all = Scan {
        parts,
        first: 0,
        last: 63,
        begins: true,
        low: 0,
    };
    match frame.progressive {
        _ if all.parts.is_empty() => Err(wrong()),
        false => Ok(all),
        true if first > last || last > 63 || (first == 0) != (last == 0) => Err(wrong()),
        true if first > 0 && all.parts.len() > 1 => Err(wrong()),
        true => Ok(Scan {
            first,
            last,
            begins: rest[2] >> 4 == 0,
            low: rest[2] & 15,
            ..all
        }),
    }
}

type Tables = [Option<Huffman>; 4];

impl Scan {
    fn walk(
        &self,
        frame: &mut Frame,
        bits: &mut Bits,
        dc: &Tables,
        ac: &Tables,
        restart: usize,
    ) -> Walked<bool> {
        let [across, down] = match self.parts[..] {
            [(c, _, _)] => frame.blocks(&frame.components[c]),
            _ => frame.units(),
        };
        let alone = self.parts.len() == 1;
        let mut run = 0;
        for unit in 0..across * down {
            if restart > 0 && unit > 0 && unit % restart == 0 {
                bits.restart()?;
                run = 0;
            }
            let (x, y) = (unit % across, unit / across);
            for (c, dc_table, ac_table) in &self.parts {
                let component = &mut frame.components[*c];
                let (h, v) = if alone {
                    (1, 1)
                } else {
                    (component.h, component.v)
                };
                for i in 0..h * v {
                    let tables = (dc[*dc_table].as_ref(), ac[*ac_table].as_ref());
                    let passed = if frame.progressive {
                        let place = (y * v + i / h) * component.row + x * h + i % h;
                        self.part_of_block(bits, tables, &mut component.nonzero[place], &mut run)?
                    } else {
                        block(bits, tables)?
                    };
                    if passed.is_none() {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Returns a block of a progressive scan; `run` blocks from it on have nothing new. `None`
    /// without a table.
    fn part_of_block(
        &self,
        bits: &mut Bits,
        (dc, ac): (Option<&Huffman>, Option<&Huffman>),
        nonzero: &mut u64,
        run: &mut u32,
    ) -> Walked<Option<()>> {
        if self.first == 0 {
            if self.begins {
                let Some(dc) = dc else { return Ok(None) };
                let size = bits.symbol(dc)?;
                bits.skip(u32::from(size))?;
            } else {
                bits.skip(1)?;
            }
            return Ok(Some(()));
        }
        let mut k = self.first;
        if *run == 0 {
            let Some(ac) = ac else { return Ok(None) };
            while k <= self.last {
                let symbol = bits.symbol(ac)?;
                let (mut zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
                if size == 0 && zeros < 15 {
                    *run = (1 << zeros) + bits.take(zeros)?;
                    break;
                }
                if self.begins {
                    k += zeros as usize;
                    bits.skip(size)?;
                } else {
                    // Those that were not 0 before are refined in passing, and do not count as
                    // zeros.
                    bits.skip(u32::from(size > 0))?;
                    while k <= self.last {
                        if *nonzero >> k & 1 == 1 {
                            bits.skip(1)?;
                        } else if zeros == 0 {
                            break;
                        } else {
                            zeros -= 1;
                        }
                        k += 1;
                    }
                }
                if size > 0 && k <= self.last {
                    *nonzero |= 1 << k;
                }
                k += 1;
            }
        }
        if *run > 0 {
            if !self.begins && k <= self.last {
                let rest = *nonzero >> k & (u64::MAX >> (63 - (self.last - k)));
                bits.skip(rest.count_ones())?;
            }
            *run -= 1;
        }
        Ok(Some(()))
    }
}

/// Returns a block of a sequential scan. `None` without a table.
fn block(bits: &mut Bits, tables: (Option<&Huffman>, Option<&Huffman>)) -> Walked<Option<()>> {
    let (Some(dc), Some(ac)) = tables else {
        return Ok(None);
    };
    let size = bits.symbol(dc)?;
    bits.skip(u32::from(size))?;
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(ac)?;
        let (zeros, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 && zeros < 15 {
            break;
        }
        bits.skip(size)?;
        k += zeros + 1;
    }
    Ok(Some(()))
}

#[cfg(test)]
mod tests;
