//! Time against the number of codes for every quantizer, a chart to each number of channels.

use super::canvas::{Canvas, Colour};
use super::sweep::{Legend, Series, sweep};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The quantizer.
    pub quantizer: String,
    /// Codes, K.
    pub k: usize,
    /// Channels of a latent, D.
    pub d: usize,
    /// Milliseconds.
    pub ms: f64,
}

const PANEL: [usize; 2] = [440, 380];
const ACROSS: usize = 3;
/// Width of a legend beside the last chart of the first row.
const LEGEND: usize = 150;

/// Draws the charts, as the bytes of a PNG file.
///
/// # Errors
/// If there is no point.
pub fn study(points: &[Point], caption: &str) -> Result<Vec<u8>> {
    let mut names: Vec<&str> = Vec::new();
    let mut panels: BTreeMap<usize, Vec<Vec<(f64, f64)>>> = BTreeMap::new();
    for p in points {
        let line = names
            .iter()
            .position(|n| *n == p.quantizer)
            .unwrap_or_else(|| {
                names.push(&p.quantizer);
                names.len() - 1
            });
        let lines = panels.entry(p.d).or_default();
        lines.resize(lines.len().max(line + 1), Vec::new());
        lines[line].push((p.k as f64, p.ms));
    }
    if panels.is_empty() {
        return Err(Error::invalid("report", "a study without measurements"));
    }
    let [width, height] = PANEL;
    let across = panels.len().min(ACROSS);
    let size = [
        across * width + LEGEND,
        panels.len().div_ceil(ACROSS) * height,
    ];
    let mut canvas = Canvas::new(size[0], size[1], Colour::WHITE)?;
    for (i, (d, lines)) in panels.into_iter().enumerate() {
        let lines = lines
            .into_iter()
            .zip(&names)
            .map(|(points, name)| Series::new(*name, points));
        let (series, title) = (
            lines.collect::<Vec<_>>(),
            format!("{d} channels: milliseconds"),
        );
        // One legend for all, where there is room for it.
        let (legend, wide) = if i + 1 == across {
            (Legend::Column, width + LEGEND)
        } else {
            (Legend::Elsewhere, width)
        };
        let said = if i == 0 { caption } else { "" };
        let panel = sweep([&title, said, "codes"], &series, legend, wide, height)?;
        canvas.place(i % ACROSS * width, i / ACROSS * height, &panel);
    }
    canvas.png()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_channels_has_a_chart() {
        let point = |quantizer: &str, k, d| Point {
            quantizer: quantizer.into(),
            k,
            d,
            ms: (k * d) as f64,
        };
        let some = [
            point("ema", 512, 8),
            point("ema", 1024, 8),
            point("fsq", 512, 64),
            point("ema", 512, 256),
        ];
        let size = |points: &[Point]| {
            let png = study(points, "here").unwrap();
            let picture = image::load_from_memory(&png).unwrap();
            [picture.width() as usize, picture.height() as usize]
        };
        assert_eq!(size(&some), [3 * PANEL[0] + LEGEND, PANEL[1]]);
        assert_eq!(size(&some[..1]), [PANEL[0] + LEGEND, PANEL[1]]);
        let four: Vec<Point> = some.iter().cloned().chain([point("lfq", 8, 16)]).collect();
        assert_eq!(size(&four), [3 * PANEL[0] + LEGEND, 2 * PANEL[1]]);
        assert!(study(&[], "").is_err());
    }
}
