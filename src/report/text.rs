//! Text on a [`Canvas`], in the embedded DejaVu Sans: no system font is looked for, so that a
//! picture is the same everywhere. Characters outside of the embedded subset are drawn as `?`.

use super::canvas::{Canvas, Colour};
use crate::{Error, Result};
use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};

/// Weight of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// The end of the text that lies at the given x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Centre,
    Right,
}

/// A weight, a size and a colour. The size is that of the em square in pixels; capitals are 0.73 of
/// it high.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub weight: Weight,
    pub size: f32,
    pub colour: Colour,
}

impl Style {
    pub(super) const fn regular(size: f32, colour: Colour) -> Self {
        Style {
            weight: Weight::Regular,
            size,
            colour,
        }
    }

    pub(super) const fn bold(size: f32, colour: Colour) -> Self {
        Style {
            weight: Weight::Bold,
            size,
            colour,
        }
    }

    fn font(&self) -> Result<(FontRef<'static>, PxScale)> {
        let bytes: &'static [u8] = match self.weight {
            Weight::Regular => include_bytes!("../../assets/fonts/DejaVuSans-subset.ttf"),
            Weight::Bold => include_bytes!("../../assets/fonts/DejaVuSans-Bold-subset.ttf"),
        };
        let font = FontRef::try_from_slice(bytes).map_err(|e| {
            Error::invalid("report", format!("the embedded font cannot be read: {e}"))
        })?;
        // ab_glyph scales by ascent plus descent; people think in em.
        let scale = self.size * font.height_unscaled() / font.units_per_em().unwrap_or(2048.0);
        Ok((font, PxScale::from(scale)))
    }
}

/// Glyphs with their x offsets in pixels, kerned, and the width of the whole.
fn lay_out(text: &str, font: &FontRef<'_>, scale: PxScale) -> (Vec<(GlyphId, f32)>, f32) {
    let scaled = font.as_scaled(scale);
    let mut glyphs: Vec<(GlyphId, f32)> = Vec::new();
    let mut x = 0.0;
    for c in text.chars() {
        let mut id = font.glyph_id(c);
        if id.0 == 0 {
            id = font.glyph_id('?');
        }
        if let Some(&(before, _)) = glyphs.last() {
            x += scaled.kern(before, id);
        }
        glyphs.push((id, x));
        x += scaled.h_advance(id);
    }
    (glyphs, x)
}

/// Width of `text` in pixels.
pub(super) fn width(text: &str, style: Style) -> Result<f32> {
    let (font, scale) = style.font()?;
    Ok(lay_out(text, &font, scale).1)
}

/// Breaks `text` at spaces (and at its own line ends) into lines of at most `limit` pixels; a
/// longer word stays whole.
pub(super) fn wrap(text: &str, style: Style, limit: f32) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let longer = if line.is_empty() {
                word.to_owned()
            } else {
                format!("{line} {word}")
            };
            if !line.is_empty() && width(&longer, style)? > limit {
                lines.push(std::mem::replace(&mut line, word.to_owned()));
            } else {
                line = longer;
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    Ok(lines)
}

/// `text` cut at `limit` pixels, with an ellipsis where something was cut.
pub(super) fn cut(text: &str, style: Style, limit: f32) -> Result<String> {
    if width(text, style)? <= limit {
        return Ok(text.to_owned());
    }
    let mut kept = text.to_owned();
    while kept.pop().is_some() {
        let shown = format!("{}\u{2026}", kept.trim_end());
        if width(&shown, style)? <= limit {
            return Ok(shown);
        }
    }
    Ok(String::new())
}

/// Draws one line of text; `x` is the end that `align` names, `middle` the height of the middle of
/// its capitals.
pub(super) fn draw(
    canvas: &mut Canvas,
    x: f32,
    middle: f32,
    text: &str,
    style: Style,
    align: Align,
) -> Result<()> {
    let (font, scale) = style.font()?;
    let (glyphs, width) = lay_out(text, &font, scale);
    let left = match align {
        Align::Left => x,
        Align::Centre => x - width / 2.0,
        Align::Right => x - width,
    };
    // Half of the capitals' height below the middle, on a whole pixel so that feet are sharp.
    let baseline = (middle + style.size * 0.365).round();
    for (id, dx) in glyphs {
        let Some(outline) =
            font.outline_glyph(id.with_scale_and_position(scale, point(left + dx, baseline)))
        else {
            continue;
        };
        let corner = outline.px_bounds().min;
        outline.draw(|gx, gy, coverage| {
            canvas.dot(
                corner.x as i64 + i64::from(gx),
                corner.y as i64 + i64::from(gy),
                style.colour,
                coverage,
            );
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style = Style::regular(12.0, Colour(0, 0, 0));

    #[test]
    fn both_fonts_draw_every_printable_ascii_character() {
        for weight in [Weight::Regular, Weight::Bold] {
            let (font, _) = Style { weight, ..STYLE }.font().unwrap();
            for c in ' '..='~' {
                assert_ne!(
                    font.glyph_id(c).0,
                    0,
                    "{c:?} is missing from the {weight:?} font"
                );
            }
        }
    }

    #[test]
    fn text_is_centred_on_its_middle_and_ends_at_its_end() {
        let mut canvas = Canvas::new(100, 40, Colour::WHITE).unwrap();
        draw(&mut canvas, 90.0, 20.0, "HH", STYLE, Align::Right).unwrap();
        let inked: Vec<(usize, usize)> = (0..40)
            .flat_map(|y| (0..100).map(move |x| (x, y)))
            .filter(|&(x, y)| canvas.get(x, y) != Colour::WHITE)
            .collect();
        let (top, bottom) = (
            inked.iter().map(|p| p.1).min().unwrap(),
            inked.iter().map(|p| p.1).max().unwrap(),
        );
        assert!(
            (15..=17).contains(&top) && (22..=24).contains(&bottom),
            "ink from {top} to {bottom}"
        );
        assert!(inked.iter().map(|p| p.0).max().unwrap() <= 90);
    }

    #[test]
    fn unknown_characters_and_empty_text_do_no_harm() {
        let mut canvas = Canvas::new(20, 20, Colour::WHITE).unwrap();
        draw(
            &mut canvas,
            0.0,
            10.0,
            "\u{1F600}\u{4e2d}\n",
            STYLE,
            Align::Left,
        )
        .unwrap();
        assert_eq!(width("", STYLE).unwrap(), 0.0);
        assert_eq!(
            width("\u{4e2d}", STYLE).unwrap(),
            width("?", STYLE).unwrap()
        );
    }

    #[test]
    fn long_text_is_wrapped_or_cut() {
        let text = "test MSE 0.0102, PSNR 19.9 dB, perplexity 402\nsecond line";
        let lines = wrap(text, STYLE, 120.0).unwrap();
        assert!(
            lines.len() > 3 && lines.iter().all(|l| width(l, STYLE).unwrap() <= 120.0),
            "{lines:?}"
        );
        assert_eq!(lines.join(" "), text.replace('\n', " "));
        assert_eq!(cut("short", STYLE, 500.0).unwrap(), "short");
        let short = cut(text, STYLE, 60.0).unwrap();
        assert!(
            short.ends_with('\u{2026}') && width(&short, STYLE).unwrap() <= 60.0,
            "{short}"
        );
        assert_eq!(cut("wide", STYLE, 1.0).unwrap(), "");
    }
}
