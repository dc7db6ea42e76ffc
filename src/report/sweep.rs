//! Values against a size: one line per series, named in a legend.

use super::axes::{self, Axis, Frame, Words};
use super::canvas::{Canvas, Colour};
use super::stroke;
use super::text::{self, Align, Style};
use crate::Result;

/// One line: its name, and points (size, value), both above 0.
#[derive(Debug, Clone)]
pub struct Series {
    /// Said in the legend.
    pub name: String,
    /// Points, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// Drawn thinly, in the colour of the series before: what it is held against.
    pub beside: bool,
}

impl Series {
    /// Creates a whole line.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Series {
        Series {
            name: name.into(),
            points,
            beside: false,
        }
    }
}

/// The place of a chart's legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Legend {
    /// A column of its own, right of the lines.
    Column,
    /// No: a chart beside it does.
    Elsewhere,
}

/// Pixels left free at the left edge, and that a legend takes.
const EDGE: usize = 12;
const COLUMN: usize = 150;

/// Colours that stay apart for most eyes (Okabe and Ito 2008), the light yellow left out.
pub(super) const COLOURS: [Colour; 10] = [
    Colour(0, 114, 178),
    Colour(213, 94, 0),
    Colour(0, 158, 115),
    Colour(204, 121, 167),
    Colour(86, 180, 233),
    Colour(230, 159, 0),
    Colour(31, 41, 55),
    Colour(120, 94, 240),
    Colour(140, 86, 75),
    Colour(128, 140, 32),
];
const LABEL: Style = Style::regular(11.0, Colour::INK);

/// Draws the series over logarithmic axes, on a canvas of `width` x `height` pixels; `words` are
/// the title, the caption and the name of the size.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) for an impossible size.
pub fn sweep(
    words: [&str; 3],
    series: &[Series],
    legend: Legend,
    width: usize,
    height: usize,
) -> Result<Canvas> {
    draw(
        words,
        series,
        legend,
        [width, height],
        |[left, right], [low, high]| [Axis::log(left, right, 8), Axis::log(low, high, 7)],
    )
}

/// [`sweep`] over linear axes, that of the values from 0.
///
/// # Errors
/// As there.
pub fn lines(
    words: [&str; 3],
    series: &[Series],
    legend: Legend,
    width: usize,
    height: usize,
) -> Result<Canvas> {
    draw(
        words,
        series,
        legend,
        [width, height],
        |[left, right], [_, high]| {
            [
                Axis::linear(left, right, 8),
                Axis::linear(0.0, 1.05 * high, 7),
            ]
        },
    )
}

/// The lines, over axes that are made of the least and the largest size and value.
fn draw(
    words: [&str; 3],
    series: &[Series],
    legend: Legend,
    [width, height]: [usize; 2],
    axes_over: fn([f64; 2], [f64; 2]) -> [Axis; 2],
) -> Result<Canvas> {
    let mut whole = Canvas::new(width, height, Colour::WHITE)?;
    let column = if legend == Legend::Column { COLUMN } else { 0 };
    let mut canvas = Canvas::new(
        width.saturating_sub(EDGE + column).max(1),
        height,
        Colour::WHITE,
    )?;
    let [title, caption, x] = words;
    let words = Words { title, caption, x };
    let good = |p: &&(f64, f64)| p.0 > 0.0 && p.1 > 0.0 && p.0.is_finite() && p.1.is_finite();
    let all: Vec<(f64, f64)> = series
        .iter()
        .flat_map(|s| s.points.iter().filter(good).copied())
        .collect();
    if all.is_empty() {
        axes::empty(&mut canvas, &words, "nothing was measured")?;
        whole.place(EDGE, 0, &canvas);
        return Ok(whole);
    }
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        all.iter()
            .map(of)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), v| {
                (low.min(v), high.max(v))
            })
    };
    let [across, up] = axes_over(bounds(|p| p.0).into(), bounds(|p| p.1).into());
    let frame = Frame::draw(&mut canvas, &words, across, up, axes::short)?;
    let mut colour = COLOURS[0];
    let mut colours = COLOURS.iter().cycle();
    let mut entries: Vec<(&str, f32, Colour)> = Vec::new();
    for s in series {
        if !s.beside {
            colour = colours.next().copied().unwrap_or(colour);
        }
        let path: Vec<(f32, f32)> = s
            .points
            .iter()
            .filter(good)
            .filter_map(|(x, y)| frame.place(*x, *y))
            .collect();
        stroke::path(&mut canvas, &path, if s.beside { 0.7 } else { 2.0 }, colour);
        for at in &path {
            stroke::path(
                &mut canvas,
                &[*at],
                if s.beside { 3.0 } else { 5.0 },
                colour,
            );
        }
        if !s.beside {
            entries.push((&s.name, 2.0, colour));
        }
    }
    whole.place(EDGE, 0, &canvas);
    if legend == Legend::Column {
        // One entry says what all thin lines are.
        entries.extend(
            series
                .iter()
                .find(|s| s.beside)
                .map(|s| (s.name.as_str(), 0.7, Colour::INK)),
        );
        let from = (width - COLUMN) as f32 + 14.0;
        for (i, (name, thick, colour)) in entries.into_iter().enumerate() {
            let line = frame.top as f32 + 10.0 + 17.0 * i as f32;
            if line < height as f32 - 8.0 {
                stroke::path(
                    &mut whole,
                    &[(from, line), (from + 16.0, line)],
                    thick,
                    colour,
                );
                text::draw(&mut whole, from + 22.0, line, name, LABEL, Align::Left)?;
            }
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_drawn_in_its_colour() {
        let line =
            |name: &str, f: f64| Series::new(name, [1.0, 10.0, 100.0].map(|x| (x, f * x)).to_vec());
        for chart in [sweep, lines] {
            let canvas = chart(
                ["t", "c", "n"],
                &[line("one", 1.0), line("two", 7.0)],
                Legend::Column,
                400,
                300,
            )
            .unwrap();
            for colour in &COLOURS[..2] {
                let pixels = (0..300).flat_map(|y| (0..400).map(move |x| (x, y)));
                assert!(
                    pixels
                        .filter(|(x, y)| canvas.get(*x, *y) == *colour)
                        .count()
                        > 100
                );
            }
        }
    }

    #[test]
    fn nothing_and_impossible_points_are_no_error() {
        sweep(["t", "c", "n"], &[], Legend::Elsewhere, 200, 100).unwrap();
        let odd = Series::new("odd", vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)]);
        sweep(["t", "c", "n"], &[odd], Legend::Column, 200, 100).unwrap();
    }
}
