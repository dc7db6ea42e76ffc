//! Images of any size through a first stage: padded to whole cells, and in tiles where the whole
//! would not fit the device.
//!
//! A model looks only so far ([`crate::models::Autoencoder::reach`]), and a tile has that much
//! around what is kept of it. So tiles give the codes and the pixels that the whole image would
//! give, but for the order in which a kernel adds; there are no seams to hide.

use crate::codes::{Codes, check};
use crate::gpu::Gpu;
use crate::inference::Trained;
use crate::inference::tiles::{Cells, Tile, smallest, tiles, window};
use crate::models::Level;
use crate::{Error, Result};

/// How large tiles may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tiling {
    /// Bytes of device memory that the engine may hold, the model with it. Unless given, the work
    /// on a tile takes 1 GiB at most. In either case it takes no more than one binding holds, so
    /// that none of its tensors is larger.
    pub memory_budget: Option<u64>,
}

/// What the work on a tile takes at most, unless it is told otherwise.
const MOST: u64 = 1 << 30;
/// Sides of the images that memory is measured on: first one that any budget can bear, then one
/// beside which what does not grow with the image weighs little.
const PROBES: [usize; 2] = [64, 256];

/// Pixels to codes, or codes to pixels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Encode,
    Decode,
}

/// A trained model at work on images of any size.
pub struct Tiled<'a> {
    model: &'a mut Trained,
    tiling: Tiling,
    /// Bytes that a pixel takes each way, once measured.
    bytes: [Option<f64>; 2],
}

/// Sides that images may have: what is reckoned of them stays far from overflowing.
fn check_size(op: &'static str, [w, h]: [usize; 2]) -> Result<()> {
    let sides = 1..=1 << 16;
    if sides.contains(&w) && sides.contains(&h) {
        return Ok(());
    }
    Err(Error::shape(
        op,
        "sides of 1 to 65536 pixels",
        format!("{w} x {h}"),
    ))
}

/// Told after each tile how many of how many are done.
pub type Progress<'a> = dyn FnMut(usize, usize) + 'a;

impl Trained {
    /// The model for images of any size.
    pub fn tiled(&mut self, tiling: Tiling) -> Tiled<'_> {
        Tiled {
            model: self,
            tiling,
            bytes: [None; 2],
        }
    }
}

impl Tiled<'_> {
    /// The size [width, height] padded to whole cells of the coarsest level.
    fn padded(&self, size: [usize; 2]) -> [usize; 2] {
        size.map(|n| n.next_multiple_of(self.factor()))
    }

    fn factor(&self) -> usize {
        self.model.stage.model.factors()[0]
    }

    /// What the codes of an image of [width, height] look like, level by level, each side from 1 to
    /// 65,536.
    pub fn levels(&self, size: [usize; 2]) -> Vec<Level> {
        let [w, h] = self.padded(size);
        self.model.stage.levels(w, h)
    }

    /// Codes of an image, u8 [H, W, C] of size [width, height]: level by level, row by row, those
    /// of a latent together. Where the coarsest cells do not divide a side, its last pixels go on
    /// until they do.
    ///
    /// # Errors
    /// If the bytes are not an image of this size, the memory that the engine may take is too
    /// little, or the device fails.
    pub fn encode(
        &mut self,
        pixels: &[u8],
        size: [usize; 2],
        progress: &mut Progress,
    ) -> Result<Vec<u32>> {
        check_size("encode", size)?;
        let channels = self.model.image[2];
        let expected = size[0]
            .checked_mul(size[1])
            .and_then(|n| n.checked_mul(channels));
        if expected != Some(pixels.len()) {
            let [w, h] = size;
            return Err(Error::shape(
                "encode",
                format!("{w} x {h} x {channels} bytes"),
                pixels.len(),
            ));
        }
        let levels = self.levels(size);
        let mut codes: Vec<Vec<u32>> = levels.iter().map(|l| vec![0; l.codes()]).collect();
        let image = Cells {
            factor: 1,
            each: channels,
            columns: size[0],
        };
        let plan = self.plan(size, Way::Encode)?;
        for (i, tile) in plan.iter().enumerate() {
            let [w, h] = tile.size();
            let part = self.model.code(&image.cut(tile, pixels), [1, w, h])?;
            for ((level, own), whole) in self.cells(&levels).iter().zip(&part).zip(&mut codes) {
                level.paste(tile, own, whole);
            }
            progress(i + 1, plan.len());
        }
        self.model.gpu.trim();
        Ok(codes.concat())
    }

    /// The image of size [width, height] that codes stand for, as [`Tiled::encode`] gives them: u8
    /// [H, W, C].
    ///
    /// # Errors
    /// If they are not one image's codes, the memory that the engine may take is too little, or the
    /// device fails.
    pub fn decode(
        &mut self,
        codes: &[u32],
        size: [usize; 2],
        progress: &mut Progress,
    ) -> Result<Vec<u8>> {
        check_size("decode", size)?;
        let levels = self.levels(size);
        if codes.len() != levels.iter().map(Level::codes).sum::<usize>() {
            let [w, h] = size;
            let grid = |l: &Level| {
                format!(
                    "{} x {} latents with {} codes each",
                    l.grid[0], l.grid[1], l.codebooks
                )
            };
            let grids: Vec<String> = levels.iter().map(grid).collect();
            let expected = format!("{} for an image of {w} x {h}", grids.join(" and "));
            return Err(Error::shape("decode", expected, codes.len()));
        }
        check(&levels, codes)?;
        let channels = self.model.image[2];
        let mut pixels = vec![0; size[0] * size[1] * channels];
        let image = Cells {
            factor: 1,
            each: channels,
            columns: size[0],
        };
        let plan = self.plan(size, Way::Decode)?;
        for (i, tile) in plan.iter().enumerate() {
            let [w, h] = tile.size();
            let (mut at, mut part) = (0, Vec::new());
            for (level, cells) in levels.iter().zip(self.cells(&levels)) {
                part.extend(cells.cut(tile, &codes[at..at + level.codes()]));
                at += level.codes();
            }
            let picture = self.model.picture(&part, &self.model.stage.levels(w, h))?;
            image.paste(tile, &picture, &mut pixels);
            progress(i + 1, plan.len());
        }
        self.model.gpu.trim();
        Ok(pixels)
    }

    /// The codes of an image as a file holds them.
    ///
    /// # Errors
    /// As [`Tiled::encode`].
    pub fn to_codes(
        &mut self,
        pixels: &[u8],
        size: [usize; 2],
        name: String,
        progress: &mut Progress,
    ) -> Result<Codes> {
        let indices = self.encode(pixels, size, progress)?;
        Ok(Codes {
            model: self.model.hash().to_owned(),
            quantizer: self.model.config.quantizer.kind.clone(),
            levels: self.levels(size),
            image: [size[0], size[1], self.model.image[2]],
            names: vec![name],
            indices,
        })
    }

    fn cells(&self, levels: &[Level]) -> Vec<Cells> {
        let of = |(level, factor): (&Level, &usize)| Cells {
            factor: *factor,
            each: level.codebooks,
            columns: level.grid[1],
        };
        levels
            .iter()
            .zip(self.model.stage.model.factors())
            .map(of)
            .collect()
    }

    /// How an image of this size is cut.
    fn plan(&mut self, size: [usize; 2], way: Way) -> Result<Vec<Tile>> {
        let (padded, factor) = (self.padded(size), self.factor());
        let halo = self.model.stage.model.reach().map(|reach| {
            let looks = if way == Way::Encode {
                reach.encode
            } else {
                reach.decode
            };
            looks.next_multiple_of(factor)
        });
        let area = self.area(padded, way)?;
        let window = match halo {
            Some(halo) => window(padded, area.most, halo, factor),
            None => (padded[0] * padded[1] <= area.most).then_some(padded),
        };
        let Some(window) = window else {
            let [w, h] = halo.map_or(padded, |halo| smallest(padded, halo, factor));
            let what = match halo {
                Some(_) => {
                    format!("a tile of {w} x {h} pixels, the least that this model's reach allows")
                }
                None => {
                    format!(
                        "an image of {w} x {h} pixels, all of which this model's norms and \
                         attention see at once"
                    )
                }
            };
            let (asked, limit) = ((area.bytes * (w * h) as f64) as u64, area.limit);
            return Err(match self.tiling.memory_budget {
                None => Error::Limit { what, asked, limit },
                Some(_) => {
                    let what = format!(
                        "leaves {limit} bytes beside the model, and {what}, takes {asked}; allow \
                         more"
                    );
                    Error::config("--memory-budget", what)
                }
            });
        };
        Ok(tiles(padded, window, halo.unwrap_or(0)))
    }

    /// How many pixels a tile may have.
    fn area(&mut self, size: [usize; 2], way: Way) -> Result<Area> {
        let gpu = self.model.gpu.clone();
        // What waits in the pool from other work would count against this.
        gpu.trim();
        let all = size[0] * size[1];
        if self.tiling.memory_budget.is_none() && all <= PROBES[1] * PROBES[1] {
            return Ok(Area {
                most: all,
                bytes: 0.0,
                limit: MOST,
            });
        }
        // What a binding holds, so that no tensor is larger, however it is cut; what cannot be cut
        // is for the kernels to take or refuse.
        let cut = self.model.stage.model.reach().is_some();
        let most = if cut {
            gpu.limits().max_storage_buffer_binding_size
        } else {
            u64::MAX
        };
        let held = gpu.memory().in_use;
        let limit = self
            .tiling
            .memory_budget
            .map_or(MOST, |budget| budget.saturating_sub(held))
            .min(most);
        let bytes = match self.bytes[way as usize] {
            Some(bytes) => bytes,
            None => self.measure(&gpu, way, limit)?,
        };
        self.bytes[way as usize] = Some(bytes);
        Ok(Area {
            most: (limit as f64 / bytes) as usize,
            bytes,
            limit,
        })
    }

    /// Bytes that the work on a pixel takes. Buffers come in classes, up to a quarter larger than
    /// what was asked for, and the size at hand may be less lucky than those measured here.
    fn measure(&mut self, gpu: &Gpu, way: Way, limit: u64) -> Result<f64> {
        let mut bytes = 0.0;
        for side in PROBES.map(|side| side.next_multiple_of(self.factor())) {
            let pixels = (side * side) as f64;
            // A budget that small is not to be broken by measuring.
            if bytes * pixels > limit as f64 {
                break;
            }
            let levels = self.model.stage.levels(side, side);
            let (work, peak) = gpu.peak_of(|| match way {
                Way::Encode => self
                    .model
                    .code(&vec![0; side * side * self.model.image[2]], [1, side, side])
                    .map(drop),
                Way::Decode => {
                    let codes = vec![0; levels.iter().map(Level::codes).sum()];
                    self.model.picture(&codes, &levels).map(drop)
                }
            });
            work?;
            gpu.trim();
            bytes = 1.25 * peak as f64 / pixels;
        }
        Ok(bytes)
    }
}

/// What a tile may be.
struct Area {
    /// Pixels.
    most: usize,
    /// Bytes that a pixel takes.
    bytes: f64,
    /// Bytes that there are.
    limit: u64,
}
