//! The run on one page: originals over reconstructions, the loss and perplexity curves, and the
//! codebook's usage.

use super::canvas::{Canvas, Colour};
use super::curves::{Curve, curve};
use super::grid::{self, Shape};
use super::text::{self, Align, Style};
use super::usage::usage;
use crate::{Error, Result};

/// The page of a run. Everything but the pictures' shape may be empty; the page then says so or
/// leaves it out.
#[derive(Debug, Clone, Default)]
pub struct Summary<'a> {
    /// The page's heading, on one line.
    pub title: &'a str,
    /// Originals and their reconstructions: u8 NHWC, as many of one as of the other, all of one
    /// size.
    pub pairs: (&'a [u8], &'a [u8]),
    /// Width of every picture in pixels.
    pub width: usize,
    /// Height of every picture in pixels.
    pub height: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// The steps at which loss and perplexity were taken.
    pub steps: &'a [f64],
    /// The loss at each step.
    pub loss: &'a [f64],
    /// The perplexity at each step; empty if there is none.
    pub perplexity: &'a [f64],
    /// (step, loss) that a reference run of this model reached, in the units of `loss`.
    pub reference: &'a [(f64, f64)],
    /// (step, perplexity) of the same reference run.
    pub reference_perplexity: &'a [(f64, f64)],
    /// Number of uses of each of the K codes.
    pub usage: &'a [u64],
    /// Measurements, under the heading: `test MSE 0.0102, PSNR 19.9 dB, ...`; wrapped, own line
    /// ends kept.
    pub figures: String,
}

/// Size of the page: everything is drawn for this width; the height follows from what there is to
/// show.
const WIDTH: usize = 1280;
const MARGIN: usize = 36;
/// The most height that pictures are enlarged to fill.
const PICTURES: usize = 560;
const CHART: usize = 300;
/// Between two charts.
const BETWEEN: usize = 28;

const TITLE: Style = Style::bold(22.0, Colour::INK);
const FIGURES: Style = Style::regular(14.0, Colour::GREY);
const LOSS: Colour = Colour(37, 99, 235);
const PERPLEXITY: Colour = Colour(13, 148, 136);

/// Draws `run` as one page and gives the bytes of its PNG file.
///
/// # Errors
/// [`Error::Shape`] if pictures or curves do not fit one another, [`Error::Invalid`] for channels
/// that cannot be shown or more pictures than a page holds.
pub fn summary(run: &Summary<'_>) -> Result<Vec<u8>> {
    page(run)?.png()
}

fn page(run: &Summary<'_>) -> Result<Canvas> {
    let inner = WIDTH - 2 * MARGIN;
    let shape = Shape {
        width: run.width,
        height: run.height,
        channels: run.channels,
    };
    let (originals, reconstructions) = run.pairs;
    let pictures = if originals.is_empty() && reconstructions.is_empty() {
        None
    } else {
        let count = shape.count(originals)?;
        Some(grid::pairs(
            originals,
            reconstructions,
            shape,
            grid::fit(count, shape, inner, PICTURES),
        )?)
    };

    let chart = (inner - 2 * BETWEEN) / 3;
    let codes = Some(run.usage.len() as f64).filter(|k| *k > 0.0);
    let loss = Curve {
        title: "loss",
        steps: run.steps,
        values: run.loss,
        reference: run.reference,
        log: true,
        ceiling: None,
        colour: LOSS,
    };
    let perplexity_steps = if run.perplexity.is_empty() {
        &[]
    } else {
        run.steps
    };
    let perplexity = Curve {
        title: "perplexity",
        steps: perplexity_steps,
        values: run.perplexity,
        reference: run.reference_perplexity,
        log: false,
        ceiling: codes,
        colour: PERPLEXITY,
    };
    let charts = [
        curve(&loss, chart, CHART).map_err(|e| named("loss", e))?,
        curve(&perplexity, chart, CHART).map_err(|e| named("perplexity", e))?,
        usage(run.usage, chart, CHART)?,
    ];

    let figures = text::wrap(&run.figures, FIGURES, inner as f32)?;
    let mut y = MARGIN;
    let title_at = y + 10;
    y += 34;
    let figures_at = y;
    y += figures.len() * 21 + 20;
    let pictures_at = y;
    if let Some(pictures) = &pictures {
        y += pictures.height() + 36;
    }
    let charts_at = y;
    let mut canvas = Canvas::new(WIDTH, charts_at + CHART + MARGIN - 8, Colour::WHITE)?;

    let left = MARGIN as f32;
    let title = text::cut(run.title, TITLE, inner as f32)?;
    text::draw(
        &mut canvas,
        left,
        title_at as f32,
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
    if let Some(pictures) = &pictures {
        canvas.place(MARGIN, pictures_at, pictures);
    }
    for (n, one) in charts.iter().enumerate() {
        canvas.place(MARGIN + n * (chart + BETWEEN), charts_at, one);
    }
    Ok(canvas)
}

/// Says which of the curves does not fit.
fn named(which: &str, e: Error) -> Error {
    match e {
        Error::Shape { op, expected, got } => Error::Shape {
            op,
            expected: format!("{expected} ({which})"),
            got,
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_pictures_and_charts() {
        let pictures: Vec<u8> = (0..16 * 32 * 32 * 3).map(|i| (i / 7 % 256) as u8).collect();
        let steps: Vec<f64> = (1..=200).map(|i| f64::from(i) * 5.0).collect();
        let loss: Vec<f64> = steps.iter().map(|s| 1.0 / s).collect();
        let perplexity: Vec<f64> = steps.iter().map(|s| 400.0 * s / (s + 100.0)).collect();
        let counts: Vec<u64> = (0..512).map(|i| 1000 / (i + 1)).collect();
        let run = Summary {
            title: "emoji32",
            pairs: (&pictures, &pictures),
            width: 32,
            height: 32,
            channels: 3,
            steps: &steps,
            loss: &loss,
            perplexity: &perplexity,
            reference: &[(500.0, 0.0102)],
            reference_perplexity: &[(500.0, 402.0)],
            usage: &counts,
            figures: "test MSE 0.0102".to_owned(),
        };
        let bytes = summary(&run).unwrap();
        assert_eq!(bytes, summary(&run).unwrap(), "the same bytes each time");
        let image = image::load_from_memory(&bytes).unwrap();
        assert_eq!(image.width(), WIDTH as u32);
        assert!((600..1400).contains(&image.height()), "{}", image.height());
        assert!(
            summary(&Summary {
                loss: &loss[1..],
                ..run.clone()
            })
            .unwrap_err()
            .to_string()
            .contains("loss")
        );
        assert!(
            summary(&Summary {
                perplexity: &loss[1..],
                ..run.clone()
            })
            .unwrap_err()
            .to_string()
            .contains("perplexity")
        );
        assert!(
            summary(&Summary {
                channels: 2,
                ..run.clone()
            })
            .is_err()
        );
        assert!(
            summary(&Summary {
                pairs: (&pictures, &pictures[1..]),
                ..run
            })
            .is_err()
        );
    }

    #[test]
    fn a_run_with_nothing_to_show_still_gets_a_page() {
        assert!(summary(&Summary::default()).is_ok());
        assert!(
            summary(&Summary {
                title: "an empty run",
                figures: "\n\n".to_owned(),
                ..Summary::default()
            })
            .is_ok()
        );
    }
}
