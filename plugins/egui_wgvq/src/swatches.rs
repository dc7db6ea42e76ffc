//! The look of each code of a codebook.

use egui::{Color32, ColorImage, Pos2, Rect, TextureHandle, TextureOptions};
use wgvq::inference::Decoder;
use wgvq::{Error, Result};

/// Images that are decoded at a time.
const PART: usize = 64;

/// A colour field for each code: the cell at the centre of the image that has the code everywhere.
pub struct Swatches {
    texture: TextureHandle,
    count: usize,
    columns: usize,
    rows: usize,
    level: usize,
    codebook: usize,
    /// Whether each code is light, so that dark text is read on it.
    light: Vec<bool>,
}

impl Swatches {
    /// Calls [`Swatches::new_async`], and waits for the device.
    ///
    /// # Errors
    /// As there.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn new(
        ctx: &egui::Context,
        decoder: &Decoder,
        level: usize,
        codebook: usize,
    ) -> Result<Swatches> {
        let swatches = Swatches::new_async(ctx, decoder, level, codebook);
        decoder.gpu().block_on(swatches)
    }

    /// Decodes each code of a codebook, counted from 0, of a level of the decoder's. Codes of other
    /// levels and codebooks are 0 in these images.
    ///
    /// # Errors
    /// If there is no such level or codebook, or the device fails.
    pub async fn new_async(
        ctx: &egui::Context,
        decoder: &Decoder,
        level: usize,
        codebook: usize,
    ) -> Result<Swatches> {
        let layout = Layout::of(decoder, level, codebook)?;
        let mut cells = Cells::default();
        for codes in layout.parts() {
            layout.take(&mut cells, &decoder.decode_async(&codes).await?);
        }
        Ok(Swatches::of_cells(ctx, (layout, cells), level, codebook))
    }

    fn of_cells(
        ctx: &egui::Context,
        (layout, cells): (Layout, Cells),
        level: usize,
        codebook: usize,
    ) -> Swatches {
        let [w, h] = layout.cell;
        let columns = (layout.count as f64).sqrt().ceil().max(1.0) as usize;
        let rows = layout.count.div_ceil(columns);
        let mut atlas = vec![Color32::TRANSPARENT; columns * w * rows * h];
        for (code, cell) in cells.pixels.chunks(w * h).enumerate() {
            let (left, top) = (code % columns * w, code / columns * h);
            for (y, row) in cell.chunks(w).enumerate() {
                atlas[(top + y) * columns * w + left..][..w].copy_from_slice(row);
            }
        }
        let most = ctx.input(|input| input.max_texture_side);
        let image = shrunk(
            ColorImage::new([columns * w, rows * h], atlas),
            [w, h],
            most,
        );
        Swatches {
            texture: ctx.load_texture("swatches of wgvq", image, TextureOptions::NEAREST),
            count: layout.count,
            columns,
            rows,
            level,
            codebook,
            light: cells.light,
        }
    }

    /// Returns the number of codes.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the level of codes that these are of.
    pub fn level(&self) -> usize {
        self.level
    }

    /// Returns the codebook of the level that these are of.
    pub fn codebook(&self) -> usize {
        self.codebook
    }

    /// Draws a code's field into a rectangle. Nothing is drawn for a code that does not exist.
    pub fn paint(&self, painter: &egui::Painter, code: u32, to: Rect) {
        let code = code as usize;
        if code >= self.count {
            return;
        }
        let [x, y] = [code % self.columns, code / self.columns].map(|n| n as f32);
        let part = [1.0 / self.columns as f32, 1.0 / self.rows as f32];
        let uv = Rect::from_min_max(
            Pos2::new(x * part[0], y * part[1]),
            Pos2::new((x + 1.0) * part[0], (y + 1.0) * part[1]),
        );
        painter.image(self.texture.id(), to, uv, Color32::WHITE);
    }

    /// Returns a colour in which text is read on a code's field.
    pub fn text_color(&self, code: u32) -> Color32 {
        match self.light.get(code as usize) {
            Some(true) => Color32::from_black_alpha(190),
            _ => Color32::from_white_alpha(210),
        }
    }
}

/// Pixels of the cells, code by code, and whether each is light.
#[derive(Default)]
struct Cells {
    pixels: Vec<Color32>,
    light: Vec<bool>,
}

/// The place of the codes among those of an image, and of the cell that is looked at.
struct Layout {
    /// Codes of an image.
    each: usize,
    /// Codes of the codebook.
    count: usize,
    /// The codes of an image that are set: the first, how many, and from one to the next.
    first: usize,
    places: usize,
    stride: usize,
    /// Width, height and channels of an image.
    image: [usize; 3],
    /// Width and height of a cell.
    cell: [usize; 2],
    /// Left and top of the cell that is looked at.
    corner: [usize; 2],
}

impl Layout {
    fn of(decoder: &Decoder, level: usize, codebook: usize) -> Result<Layout> {
        let levels = decoder.levels();
        let Some(own) = levels.get(level) else {
            let what = format!("{level}: the model has {} levels of codes", levels.len());
            return Err(Error::invalid("swatches", format!("level {what}")));
        };
        if codebook >= own.codebooks {
            let what = format!("codebook {codebook}: the level has {}", own.codebooks);
            return Err(Error::invalid("swatches", what));
        }
        let ([rows, columns], image) = (own.grid, decoder.image());
        let cell = [image[0] / columns, image[1] / rows].map(|n| n.max(1));
        let before: usize = levels[..level].iter().map(|l| l.codes()).sum();
        Ok(Layout {
            each: decoder.codes_per_image(),
            count: own.codebook_size,
            first: before + codebook,
            places: rows * columns,
            stride: own.codebooks,
            image,
            cell,
            corner: [columns / 2 * cell[0], rows / 2 * cell[1]],
        })
    }

    /// Returns the codes of the images that are decoded at a time.
    fn parts(&self) -> impl Iterator<Item = Vec<u32>> {
        (0..self.count).step_by(PART).map(|begin| {
            let part = begin..(begin + PART).min(self.count);
            let mut codes = vec![0; part.len() * self.each];
            for (image, code) in codes.chunks_mut(self.each).zip(part) {
                for place in 0..self.places {
                    image[self.first + place * self.stride] = code as u32;
                }
            }
            codes
        })
    }

    /// Cuts the cells out of images.
    fn take(&self, cells: &mut Cells, images: &[u8]) {
        let ([width, height, channels], [w, h], [left, top]) = (self.image, self.cell, self.corner);
        for image in images.chunks(width * height * channels) {
            let mut sum = 0.0;
            for y in 0..h {
                for x in 0..w {
                    let pixel = &image[((top + y) * width + left + x) * channels..][..channels];
                    let [r, g, b] = [0, 1, 2].map(|c| pixel[c.min(channels - 1)]);
                    sum += 0.213 * f32::from(r) + 0.715 * f32::from(g) + 0.072 * f32::from(b);
                    cells.pixels.push(Color32::from_rgb(r, g, b));
                }
            }
            cells.light.push(sum / (w * h) as f32 > 140.0);
        }
    }
}

/// Returns an image of cells with cells so small that no side is above `most`: every so manieth of
/// their pixels.
fn shrunk(image: ColorImage, [w, h]: [usize; 2], most: usize) -> ColorImage {
    let [wide, high] = image.size;
    let step = wide.max(high).div_ceil(most.max(1));
    if step < 2 {
        return image;
    }
    let [own_w, own_h] = [(w / step).max(1), (h / step).max(1)];
    let [columns, rows] = [wide / w, high / h];
    let mut pixels = Vec::with_capacity(columns * own_w * rows * own_h);
    for y in 0..rows * own_h {
        let from = y / own_h * h + (y % own_h * h) / own_h;
        for x in 0..columns * own_w {
            let at = x / own_w * w + (x % own_w * w) / own_w;
            pixels.push(image.pixels[from * wide + at]);
        }
    }
    ColorImage::new([columns * own_w, rows * own_h], pixels)
}

#[cfg(test)]
mod tests {
    use super::shrunk;
    use egui::{Color32, ColorImage};

    #[test]
    fn cells_shrink_until_they_fit() {
        // Three by two cells of 4 x 4 pixels, each of its own colour.
        let pixel = |i: usize| Color32::from_gray((i % 12 / 4 + 3 * (i / 48)) as u8);
        let image = ColorImage::new([12, 8], (0..96).map(pixel).collect());
        assert_eq!(shrunk(image.clone(), [4, 4], 12), image);
        let small = shrunk(image.clone(), [4, 4], 6);
        assert_eq!(small.size, [6, 4]);
        for (i, pixel) in small.pixels.iter().enumerate() {
            let cell = i % 6 / 2 + 3 * (i / 12);
            assert_eq!(*pixel, Color32::from_gray(cell as u8));
        }
        assert_eq!(shrunk(image, [4, 4], 3).size, [3, 2]);
    }
}
