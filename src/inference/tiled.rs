//! Images of any size through a first stage: padded to whole cells, and in tiles where the whole
//! would not fit the device.
//!
//! A model looks only so far ([`crate::models::Autoencoder::receptive_field`]), and a tile has that
//! much around what is kept of it. So tiles give the codes and the pixels that the whole image
//! would give, but for the order in which a kernel adds; there are no seams to hide.

use crate::codes::{Codes, check};
use crate::gpu::Gpu;
use crate::inference::FirstStageModel;
use crate::inference::decoder::DecoderView;
use crate::inference::progress::Progress;
use crate::inference::tiles::{Cells, Tile, smallest, tiles, window};
use crate::models::Level;
use crate::{Error, Result};

/// Options for images of any size: how large tiles may be.
#[derive(Clone, Copy, Debug, Default)]
pub struct TilingOptions {
    /// Bytes of device memory that the engine may hold, the model with it. Unless given, the work
    /// on a tile takes 1 GiB at most. In either case it takes no more than one binding holds, so
    /// that none of its tensors is larger.
    pub memory_budget: Option<u64>,
}

/// Bytes that the work on a tile takes at most, unless the options say otherwise.
const MOST: u64 = 1 << 30;
/// Sides of the images that memory is measured on: first one that any budget can bear, then one
/// beside which what does not grow with the image weighs little.
const PROBES: [usize; 2] = [64, 256];

/// Pixels to codes, or codes to pixels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Encode,
    Decode,
}

/// A first stage for images of any size, see [`FirstStageModel::tiled`].
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::{FirstStageModel, TilingOptions, no_progress};
///
/// # fn run(pixels: &[u8]) -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let model = FirstStageModel::load(&gpu, "runs/photos".as_ref())?;
/// let mut tiled = model.tiled(TilingOptions { memory_budget: Some(512 << 20) });
/// let size = [4000, 3000];
/// let codes = tiled.encode(pixels, size, &mut no_progress)?;
/// let reconstruction = tiled.decode(&codes, size, &mut no_progress)?;
/// # Ok(())
/// # }
/// ```
pub struct TiledModel<'a> {
    model: &'a FirstStageModel,
    tiling: TilingOptions,
    /// Bytes that a pixel takes in each direction, once measured.
    bytes: [Option<f64>; 2],
}

/// Checks the sides of an image: what is computed of them stays far from overflowing.
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

impl FirstStageModel {
    /// Returns the model for images of any size.
    pub fn tiled(&self, tiling: TilingOptions) -> TiledModel<'_> {
        TiledModel {
            model: self,
            tiling,
            bytes: [None; 2],
        }
    }
}

impl TiledModel<'_> {
    /// Returns the size [width, height] padded to whole cells of the coarsest level.
    fn padded(&self, size: [usize; 2]) -> [usize; 2] {
        size.map(|n| n.next_multiple_of(self.factor()))
    }

    fn factor(&self) -> usize {
        self.model.stage.model.factors()[0]
    }

    /// Returns the levels of the codes of an image of size [width, height], each side from 1 to
    /// 65,536 pixels.
    pub fn levels(&self, size: [usize; 2]) -> Vec<Level> {
        let [w, h] = self.padded(size);
        self.model.stage.levels(w, h)
    }

    /// Encodes an image, u8 [H, W, C] of size [width, height], to codes, u32: level by level, row
    /// by row, those of a latent together. Where the coarsest cells do not divide a side, its last
    /// pixels go on until they do. `progress` is called with the tiles done, and the tiles in all.
    ///
    /// # Errors
    /// If the bytes are not an image of this size, the memory that the engine may take is too
    /// little, `progress` ends the work, or the device fails.
    pub async fn encode_async(
        &mut self,
        pixels: &[u8],
        size: [usize; 2],
        progress: &mut Progress<'_>,
    ) -> Result<Vec<u32>> {
        check_size("encode", size)?;
        self.model
            .stage
            .check_no_scales("to encode images of any size")?;
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
        let plan = self.plan(size, Direction::Encode).await?;
        for (i, tile) in plan.iter().enumerate() {
            let [w, h] = tile.size();
            let cut = image.cut(tile, pixels);
            let part = self.model.encode_levels(&cut, [1, w, h]).await?;
            for ((level, own), whole) in self.cells(&levels).iter().zip(&part).zip(&mut codes) {
                level.paste(tile, own, whole);
            }
            progress(i + 1, plan.len())?;
        }
        self.model.gpu.trim();
        Ok(codes.concat())
    }

    /// Decodes codes, as [`TiledModel::encode_async`] gives them, to the image of size [width,
    /// height]: u8 [H, W, C].
    ///
    /// # Errors
    /// If they are not one image's codes, the memory that the engine may take is too little,
    /// `progress` ends the work, or the device fails.
    pub async fn decode_async(
        &mut self,
        codes: &[u32],
        size: [usize; 2],
        progress: &mut Progress<'_>,
    ) -> Result<Vec<u8>> {
        check_size("decode", size)?;
        self.model
            .stage
            .check_no_scales("to decode images of any size")?;
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
        let plan = self.plan(size, Direction::Decode).await?;
        for (i, tile) in plan.iter().enumerate() {
            let [w, h] = tile.size();
            let (mut at, mut part) = (0, Vec::new());
            for (level, cells) in levels.iter().zip(self.cells(&levels)) {
                part.extend(cells.cut(tile, &codes[at..at + level.codes()]));
                at += level.codes();
            }
            let pixels_of_tile = self.decode_tile(&part, [w, h]).await?;
            image.paste(tile, &pixels_of_tile, &mut pixels);
            progress(i + 1, plan.len())?;
        }
        self.model.gpu.trim();
        Ok(pixels)
    }

    /// [`TiledModel::encode_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`TiledModel::encode_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn encode(
        &mut self,
        pixels: &[u8],
        size: [usize; 2],
        progress: &mut Progress,
    ) -> Result<Vec<u32>> {
        let gpu = &self.model.gpu;
        gpu.block_on(self.encode_async(pixels, size, progress))
    }

    /// [`TiledModel::decode_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`TiledModel::decode_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn decode(
        &mut self,
        codes: &[u32],
        size: [usize; 2],
        progress: &mut Progress,
    ) -> Result<Vec<u8>> {
        let gpu = &self.model.gpu;
        gpu.block_on(self.decode_async(codes, size, progress))
    }

    /// Encodes an image to a file of codes that describes itself; `name` is the image's.
    ///
    /// # Errors
    /// As [`TiledModel::encode_async`].
    pub async fn to_codes_async(
        &mut self,
        pixels: &[u8],
        size: [usize; 2],
        name: String,
        progress: &mut Progress<'_>,
    ) -> Result<Codes> {
        let indices = self.encode_async(pixels, size, progress).await?;
        let image = [size[0], size[1], self.model.image[2]];
        let levels = self.levels(size);
        Ok(self.model.codes_file(indices, levels, image, vec![name]))
    }

    /// [`TiledModel::to_codes_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`TiledModel::to_codes_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn to_codes(
        &mut self,
        pixels: &[u8],
        size: [usize; 2],
        name: String,
        progress: &mut Progress,
    ) -> Result<Codes> {
        let gpu = self.model.gpu.clone();
        gpu.block_on(self.to_codes_async(pixels, size, name, progress))
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

    /// Decodes the codes of a tile of this size.
    async fn decode_tile(&self, codes: &[u32], [w, h]: [usize; 2]) -> Result<Vec<u8>> {
        let view = DecoderView {
            levels: &self.model.stage.levels(w, h),
            image: [w, h, self.model.image[2]],
            ..self.model.decoder()
        };
        view.decode_async(codes).await
    }

    /// Returns the tiles that an image of this size is cut into.
    async fn plan(&mut self, size: [usize; 2], direction: Direction) -> Result<Vec<Tile>> {
        let (padded, factor) = (self.padded(size), self.factor());
        let halo = self.model.stage.model.receptive_field().map(|reach| {
            let looks = if direction == Direction::Encode {
                reach.encode
            } else {
                reach.decode
            };
            looks.next_multiple_of(factor)
        });
        let area = self.area(padded, direction).await?;
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

    /// Returns how many pixels a tile may have.
    async fn area(&mut self, size: [usize; 2], direction: Direction) -> Result<Area> {
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
        let cut = self.model.stage.model.receptive_field().is_some();
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
        let bytes = match self.bytes[direction as usize] {
            Some(bytes) => bytes,
            None => self.measure(&gpu, direction, limit).await?,
        };
        self.bytes[direction as usize] = Some(bytes);
        Ok(Area {
            most: (limit as f64 / bytes) as usize,
            bytes,
            limit,
        })
    }

    /// Measures the bytes that the work on a pixel takes. Buffers come in classes, up to a quarter
    /// larger than what was asked for, and the size at hand may be less lucky than those measured
    /// here.
    async fn measure(&self, gpu: &Gpu, direction: Direction, limit: u64) -> Result<f64> {
        let mut bytes = 0.0;
        for side in PROBES.map(|side| side.next_multiple_of(self.factor())) {
            let pixels = (side * side) as f64;
            // A budget that small is not to be broken by measuring.
            if bytes * pixels > limit as f64 {
                break;
            }
            let levels = self.model.stage.levels(side, side);
            let work = async {
                match direction {
                    Direction::Encode => {
                        let pixels = vec![0; side * side * self.model.image[2]];
                        let codes = self.model.encode_levels(&pixels, [1, side, side]);
                        codes.await.map(drop)
                    }
                    Direction::Decode => {
                        let codes = vec![0; levels.iter().map(Level::codes).sum()];
                        self.decode_tile(&codes, [side, side]).await.map(drop)
                    }
                }
            };
            let (done, peak) = gpu.peak_of(work).await;
            done?;
            gpu.trim();
            bytes = 1.25 * peak as f64 / pixels;
        }
        Ok(bytes)
    }
}

/// Limits of a tile.
struct Area {
    /// Pixels.
    most: usize,
    /// Bytes that a pixel takes.
    bytes: f64,
    /// Bytes that there are.
    limit: u64,
}
