//! Small pictures in a terminal: a cell is two pixels, one above the other.

use super::state::Pictures;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::widgets::Widget;

/// Columns between two pictures.
const GAP: usize = 1;

/// Images over their reconstructions, as many and as large as the room allows.
pub struct Strip<'a> {
    pub pictures: &'a Pictures,
    pub true_colour: bool,
}

impl Pictures {
    /// Returns the rows of cells that a strip of so many columns wants, at most `most`.
    pub fn rows(&self, columns: u16, most: u16) -> u16 {
        let (_, height, _) = self.fitting(columns, most);
        2 * height.div_ceil(2) as u16
    }

    /// Returns the width and height of a picture in pixels, and how many there are in a row.
    fn fitting(&self, columns: u16, rows: u16) -> (usize, usize, usize) {
        let [height, width, channels] = self.size;
        let bytes = (height * width * channels).max(1);
        let (width, height) = (width.max(1), height.max(1));
        let images = (self.originals.len() / bytes).max(1);
        let columns = usize::from(columns).max(1);
        // Two rows of pictures, each cell two pixels high. All of them where they keep some size.
        let tall = usize::from(rows.max(2)) / 2 * 2;
        let across = ((columns + GAP) / images).saturating_sub(GAP);
        let wide = across.max(12).min(columns).min(width);
        let (mut w, mut h) = (wide, (wide * height).div_ceil(width));
        if h > tall {
            (w, h) = ((tall * width / height).max(1), tall);
        }
        (w, h.max(1), ((columns + GAP) / (w + GAP)).clamp(1, images))
    }
}

impl Widget for Strip<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let (w, h, shown) = self.pictures.fitting(area.width, area.height);
        let [height, width, channels] = self.pictures.size;
        let bytes = height * width * channels;
        if bytes == 0 || area.is_empty() {
            return;
        }
        let rows = h.div_ceil(2);
        let both = [&self.pictures.originals, &self.pictures.reconstructions];
        for (line, pixels) in both.into_iter().enumerate() {
            for (i, image) in pixels.chunks_exact(bytes).take(shown).enumerate() {
                let mean = |x: usize, y: usize| mean(image, self.pictures.size, [x, y], [w, h]);
                for (row, x) in (0..rows).flat_map(|row| (0..w).map(move |x| (row, x))) {
                    let at = (
                        area.x + (i * (w + GAP) + x) as u16,
                        area.y + (line * rows + row) as u16,
                    );
                    let Some(cell) = buffer.cell_mut(at).filter(|_| area.contains(at.into()))
                    else {
                        continue;
                    };
                    cell.set_symbol("▀").set_fg(self.colour(mean(x, 2 * row)));
                    if 2 * row + 1 < h {
                        cell.set_bg(self.colour(mean(x, 2 * row + 1)));
                    }
                }
            }
        }
    }
}

impl Strip<'_> {
    fn colour(&self, [r, g, b]: [u8; 3]) -> Color {
        if self.true_colour {
            return Color::Rgb(r, g, b);
        }
        // The cube of 6 x 6 x 6 colours, or the ramp of 24 greys.
        let near = |v: u8| (u16::from(v) * 5 + 127) / 255;
        let (low, high) = (r.min(g).min(b), r.max(g).max(b));
        if high - low < 12 && (8..=238).contains(&high) {
            return Color::Indexed(232 + ((u16::from(high) - 8) / 10) as u8);
        }
        Color::Indexed((16 + 36 * near(r) + 6 * near(g) + near(b)) as u8)
    }
}

/// Returns the mean colour of the part of an image that pixel (x, y) of `to` shows.
fn mean(
    image: &[u8],
    [height, width, channels]: [usize; 3],
    at: [usize; 2],
    to: [usize; 2],
) -> [u8; 3] {
    let part = |at: usize, of: usize, to: usize| {
        let from = at * of / to;
        from..((at + 1) * of).div_ceil(to).clamp(from + 1, of)
    };
    let (xs, ys) = (part(at[0], width, to[0]), part(at[1], height, to[1]));
    let (mut sum, mut count) = ([0u32; 3], 0);
    for (y, x) in ys.flat_map(|y| xs.clone().map(move |x| (y, x))) {
        let pixel = &image[(y * width + x) * channels..][..channels];
        for (i, sum) in sum.iter_mut().enumerate() {
            *sum += u32::from(pixel[i.min(channels - 1)]);
        }
        count += 1;
    }
    sum.map(|sum| (sum / count.max(1)) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(images: usize, size: [usize; 3]) -> Pictures {
        let bytes = images * size.iter().product::<usize>();
        Pictures {
            step: 1,
            size,
            originals: (0..bytes).map(|i| (i * 3) as u8).collect(),
            reconstructions: vec![200; bytes],
        }
    }

    #[test]
    fn pictures_keep_their_shape_and_stay_within_the_room() {
        for (images, size) in [
            (8, [32, 32, 3]),
            (3, [16, 64, 1]),
            (1, [5, 3, 3]),
            (8, [1, 1, 1]),
        ] {
            let pictures = pictures(images, size);
            for (columns, rows) in [(100, 40), (80, 10), (20, 4), (3, 2), (1, 1)] {
                let (w, h, shown) = pictures.fitting(columns, rows);
                assert!(w <= size[1] && shown <= images && w >= 1 && h >= 1);
                assert!(pictures.rows(columns, rows) <= rows.max(2));
                let area = Rect::new(0, 0, columns, rows);
                let strip = Strip {
                    pictures: &pictures,
                    true_colour: false,
                };
                strip.render(area, &mut Buffer::empty(area));
            }
        }
    }

    #[test]
    fn a_cell_has_the_colours_of_its_two_pixels() {
        let pictures = Pictures {
            step: 1,
            size: [2, 1, 3],
            originals: vec![255, 0, 0, 0, 0, 255],
            reconstructions: vec![10, 20, 30, 40, 50, 60],
        };
        let area = Rect::new(0, 0, 4, 2);
        let mut buffer = Buffer::empty(area);
        let strip = Strip {
            pictures: &pictures,
            true_colour: true,
        };
        strip.render(area, &mut buffer);
        let colours = |y: u16| (buffer[(0, y)].fg, buffer[(0, y)].bg);
        assert_eq!(colours(0), (Color::Rgb(255, 0, 0), Color::Rgb(0, 0, 255)));
        assert_eq!(colours(1), (Color::Rgb(10, 20, 30), Color::Rgb(40, 50, 60)));
        let plain = Strip {
            pictures: &pictures,
            true_colour: false,
        };
        assert_eq!(plain.colour([255, 0, 0]), Color::Indexed(196));
        assert_eq!(plain.colour([128, 128, 128]), Color::Indexed(244));
        assert_eq!(plain.colour([255, 255, 255]), Color::Indexed(231));
    }
}
