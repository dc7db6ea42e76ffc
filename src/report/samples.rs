//! Samples of a prior: rows of pictures with the class that was asked for beside them, and the page
//! of a prior's training.

use super::canvas::{Canvas, Colour};
use super::curves::{Curve, curve};
use super::grid::{Layout, Shape, images};
use super::text::{self, Align, Style};
use crate::Result;

const TITLE: Style = Style::bold(22.0, Colour::INK);
const FIGURES: Style = Style::regular(14.0, Colour::GREY);
const LABEL: Style = Style::regular(13.0, Colour::INK);
const LOSS: Colour = Colour(37, 99, 235);
const NORM: Colour = Colour(13, 148, 136);
const WIDTH: usize = 1280;
const MARGIN: usize = 36;
const CHART: usize = 300;
const BETWEEN: usize = 28;
/// Room for a class's name.
const GUTTER: usize = 150;
const GAP: usize = 4;
const HEADING: Style = Style::regular(11.0, Colour::GREY);
/// Room for headings over columns.
const HEAD: usize = 20;
/// Pixels from one line of a label to the next.
const LINE: usize = 16;

/// Pictures, u8 NHWC, in rows of `columns` with a label to each; a label may be empty.
///
/// # Errors
/// If the pictures do not fit `shape`, or the canvas would be too large.
pub fn rows(
    pictures: &[u8],
    shape: Shape,
    columns: usize,
    labels: &[&str],
    tile: usize,
) -> Result<Canvas> {
    let layout = Layout {
        columns,
        tile,
        gap: GAP,
        labels: false,
    };
    let grid = images(pictures, shape, layout)?;
    let left = if labels.iter().all(|l| l.is_empty()) {
        0
    } else {
        GUTTER
    };
    let mut canvas = Canvas::new(left + grid.width(), grid.height(), Colour::WHITE)?;
    canvas.place(left, 0, &grid);
    let (_, h) = shape.tile_size(tile);
    for (row, label) in labels.iter().enumerate() {
        let middle = GAP + row * (h + GAP) + h / 2;
        // On as many lines as the pictures are high; what is left of a long one stands on the last,
        // cut.
        let limit = (GUTTER - 12) as f32;
        let words = text::wrap(label, LABEL, limit)?;
        let most = (h / LINE).max(1);
        let mut lines: Vec<String> = words.iter().take(most).cloned().collect();
        if let (true, Some(last)) = (words.len() > most, lines.last_mut()) {
            *last = words[most - 1..].join(" ");
        }
        let top = middle as f32 - (lines.len().saturating_sub(1) * LINE) as f32 / 2.0;
        for (i, line) in lines.iter().enumerate() {
            let (line, at) = (text::cut(line, LABEL, limit)?, top + (i * LINE) as f32);
            text::draw(
                &mut canvas,
                (left.max(12) - 10) as f32,
                at,
                &line,
                LABEL,
                Align::Right,
            )?;
        }
    }
    Ok(canvas)
}

/// Returns how many rows of `columns` pictures fit the picture that [`rows`] makes of them with
/// labels.
pub fn rows_that_fit(shape: Shape, columns: usize, tile: usize) -> usize {
    let (w, h) = shape.tile_size(tile);
    let of = |n: usize, each: usize| n.saturating_mul(each.saturating_add(GAP));
    let width = of(columns, w).saturating_add(GUTTER + GAP);
    let highest = Canvas::most_rows(width).saturating_sub(GAP);
    highest / (h + GAP)
}

/// [`rows`] with a heading over each column; one too long for its column is cut.
///
/// # Errors
/// As there.
pub fn headed_rows(
    pictures: &[u8],
    shape: Shape,
    headings: &[&str],
    labels: &[&str],
    tile: usize,
) -> Result<Canvas> {
    let below = rows(pictures, shape, headings.len(), labels, tile)?;
    let mut canvas = Canvas::new(below.width(), HEAD + below.height(), Colour::WHITE)?;
    canvas.place(0, HEAD, &below);
    let (w, _) = shape.tile_size(tile);
    let left = below.width() - GAP - headings.len() * (w + GAP);
    for (i, heading) in headings.iter().enumerate() {
        let middle = (left + GAP + i * (w + GAP)) as f32 + w as f32 / 2.0;
        let heading = text::cut(heading, HEADING, w as f32)?;
        text::draw(
            &mut canvas,
            middle,
            HEAD as f32 / 2.0,
            &heading,
            HEADING,
            Align::Centre,
        )?;
    }
    Ok(canvas)
}

/// Originals, and below them the same images from their first level of codes, their first two, and
/// so on: all of one after all of the other, u8 NHWC. `levels` are their names, the coarsest first.
///
/// # Errors
/// If the pictures do not fit `shape`, or the canvas would be too large.
pub fn by_level(pictures: &[u8], shape: Shape, levels: &[&str]) -> Result<Canvas> {
    let columns = shape.count(pictures)? / (levels.len() + 1);
    let label = |i: usize| match i {
        0 => "original".to_owned(),
        1 => format!("{} alone", levels[0]),
        i => format!("and {}", levels[i - 1]),
    };
    let labels: Vec<String> = (0..=levels.len()).map(label).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    rows(
        pictures,
        shape,
        columns.max(1),
        &labels,
        shape.width.max(shape.height).max(96),
    )
}

/// The page of a prior's training.
#[derive(Debug, Clone, Default)]
pub struct PriorPage<'a> {
    /// The page's heading, on one line.
    pub title: &'a str,
    /// Measurements, wrapped.
    pub figures: &'a str,
    /// The steps of the training log.
    pub steps: &'a [f64],
    /// Nats per token at each.
    pub loss: &'a [f64],
    /// The gradients' norm at each.
    pub gradient_norm: &'a [f64],
    /// (step, nats per token) of the tokens held out.
    pub held_out: &'a [(f64, f64)],
    /// Samples.
    pub samples: Option<&'a Canvas>,
}

/// Draws the page, as the bytes of a PNG file.
///
/// # Errors
/// If the curves do not fit one another.
pub fn page(page: &PriorPage<'_>) -> Result<Vec<u8>> {
    let width = page
        .samples
        .map_or(0, Canvas::width)
        .max(WIDTH - 2 * MARGIN);
    let chart = (width - BETWEEN) / 2;
    let (steps, held_out) = (page.steps, page.held_out);
    let loss = Curve {
        title: "nats per token; diamonds: held out",
        steps,
        values: page.loss,
        reference: held_out,
        log: false,
        ceiling: None,
        colour: LOSS,
    };
    let norm = Curve {
        title: "norm of the gradients",
        steps,
        values: page.gradient_norm,
        reference: &[],
        log: true,
        ceiling: None,
        colour: NORM,
    };
    let figures = text::wrap(page.figures, FIGURES, width as f32)?;
    let figures_at = MARGIN + 34;
    let charts_at = figures_at + figures.len() * 21 + 16;
    let samples_at = charts_at + CHART + 24;
    let height = samples_at + page.samples.map_or(0, Canvas::height) + MARGIN - 8;
    let mut canvas = Canvas::new(width + 2 * MARGIN, height, Colour::WHITE)?;
    let left = MARGIN as f32;
    let title = text::cut(page.title, TITLE, width as f32)?;
    text::draw(
        &mut canvas,
        left,
        (MARGIN + 10) as f32,
        &title,
        TITLE,
        Align::Left,
    )?;
    for (n, line) in figures.iter().enumerate() {
        text::draw(
            &mut canvas,
            left,
            (figures_at + n * 21 + 8) as f32,
            line,
            FIGURES,
            Align::Left,
        )?;
    }
    canvas.place(MARGIN, charts_at, &curve(&loss, chart, CHART)?);
    canvas.place(
        MARGIN + chart + BETWEEN,
        charts_at,
        &curve(&norm, chart, CHART)?,
    );
    if let Some(samples) = page.samples {
        canvas.place(MARGIN, samples_at, samples);
    }
    canvas.png()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_pictures_and_labels_and_a_page_holds_them() {
        let pictures = vec![0u8; 6 * 8 * 8];
        let shape = Shape {
            width: 8,
            height: 8,
            channels: 1,
        };
        let labelled = rows(
            &pictures,
            shape,
            3,
            &[
                "a",
                "a class with a name that is far too long for its place",
            ],
            16,
        )
        .unwrap();
        let plain = rows(&pictures, shape, 3, &["", ""], 16).unwrap();
        assert_eq!(
            (labelled.width(), labelled.height()),
            (plain.width() + GUTTER, plain.height())
        );
        assert_eq!(plain.get(GAP + 2, GAP + 2), Colour(0, 0, 0));
        assert!(rows(&pictures[1..], shape, 3, &[], 16).is_err());
        let headed = headed_rows(
            &pictures,
            shape,
            &["x", "a heading too long for its column", ""],
            &["", ""],
            16,
        )
        .unwrap();
        assert_eq!(
            (headed.width(), headed.height()),
            (plain.width(), plain.height() + HEAD)
        );
        assert_eq!(headed.get(GAP + 2, HEAD + GAP + 2), Colour(0, 0, 0));
        let inked = |from: usize| {
            (from..from + 16).any(|x| (0..HEAD).any(|y| headed.get(x, y) != Colour::WHITE))
        };
        assert_eq!(
            [GAP, 2 * GAP + 16, 3 * GAP + 32].map(inked),
            [true, true, false]
        );
        let fit = rows_that_fit(shape, 8, 96);
        let height = |rows: usize| GAP + rows * (96 + GAP);
        let width = GUTTER + GAP + 8 * (96 + GAP);
        assert!(Canvas::holds(width, height(fit)) && !Canvas::holds(width, height(fit + 1)));
        let steps = [10.0, 20.0];
        let full = PriorPage {
            title: "prior",
            figures: "3 bits",
            steps: &steps,
            loss: &[3.0, 2.0],
            gradient_norm: &[1.0, 0.5],
            held_out: &[(20.0, 2.5)],
            samples: Some(&labelled),
        };
        let bytes = page(&full).unwrap();
        assert_eq!(bytes, page(&full).unwrap(), "the same bytes each time");
        assert!(image::load_from_memory(&bytes).unwrap().width() >= 1200);
        assert!(
            page(&PriorPage {
                loss: &[1.0],
                ..full
            })
            .is_err()
        );
        assert!(page(&PriorPage::default()).is_ok());
    }
}
