//! A chart's frame: title and caption, axes with ticks at round numbers, and where a value lies
//! within them.

use super::canvas::{Canvas, Colour};
use super::text::{self, Align, Style};
use crate::Result;

const TITLE: Style = Style::bold(14.0, Colour::INK);
const CAPTION: Style = Style::regular(12.0, Colour::GREY);
const TICK: Style = Style::regular(11.0, Colour::GREY);

/// One axis: the values at its ends, and its ticks.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// Creates a linear axis over `low..=high`, with about `most` ticks at most.
    pub(super) fn linear(low: f64, high: f64, most: usize) -> Self {
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        };
        Axis {
            low,
            high,
            log: false,
            ticks: round_steps(low, high, most),
        }
    }

    /// Creates a logarithmic axis over `low..=high`, both above 0, widened a little so that curves
    /// keep off the frame.
    pub(super) fn log(low: f64, high: f64, most: usize) -> Self {
        let (mut from, mut to) = (low.ln(), high.ln());
        let air = ((to - from) * 0.06).max(0.1);
        (from, to) = (from - air, to + air);
        // The smallest and largest numbers have no room beyond them.
        let (low, high) = (from.exp().max(f64::MIN_POSITIVE), to.exp().min(f64::MAX));
        Axis {
            low,
            high,
            log: true,
            ticks: round_powers(low, high, most),
        }
    }

    /// Returns the values that have ticks.
    pub(super) fn ticks(&self) -> &[f64] {
        &self.ticks
    }

    /// Returns this axis with ticks at whole numbers only.
    pub(super) fn whole(mut self) -> Self {
        self.ticks.retain(|t| (t - t.round()).abs() < 1e-9);
        self
    }

    /// Returns the place of `value`: 0 at the low end, 1 at the high end; nothing for what this
    /// axis cannot show.
    pub(super) fn at(&self, value: f64) -> Option<f64> {
        let (v, low, high) = if self.log {
            (value.ln(), self.low.ln(), self.high.ln())
        } else {
            (value, self.low, self.high)
        };
        Some((v - low) / (high - low)).filter(|f| f.is_finite())
    }
}

/// Multiples of 1, 2 or 5 times a power of ten within `low..=high`: as many as possible up to
/// `most`.
fn round_steps(low: f64, high: f64, most: usize) -> Vec<f64> {
    let rough = (high - low) / most.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|s| *s >= rough * 0.999)
        .unwrap_or(power * 10.0);
    if !(step > 0.0 && step.is_finite()) {
        return vec![low, high];
    }
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    let count = (last - first).clamp(0.0, 2.0 * most as f64) as usize;
    (0..=count).map(|i| (first + i as f64) * step).collect()
}

/// Powers of ten within `low..=high`, every so many where there are more than `most`, and round
/// numbers between them where there are few.
fn round_powers(low: f64, high: f64, most: usize) -> Vec<f64> {
    const BETWEEN: [&[f64]; 4] = [
        &[1.0],
        &[1.0, 3.0],
        &[1.0, 2.0, 5.0],
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
    ];
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let inside = |stride: usize, mantissas: &[f64]| -> Vec<f64> {
        (first..=last)
            .step_by(stride)
            .flat_map(|e| {
                mantissas
                    .iter()
                    .map(move |m| format!("{m}e{e}").parse::<f64>().unwrap_or(f64::NAN))
            })
            .filter(|v| *v >= low && *v <= high)
            .collect()
    };
    let decades = inside(1, BETWEEN[0]);
    if decades.len() > most {
        return inside(decades.len().div_ceil(most.max(1)), BETWEEN[0]);
    }
    // The finest set that does not crowd; within part of a decade even the finest may be too
    // coarse.
    let chosen = BETWEEN
        .iter()
        .map(|set| inside(1, set))
        .rfind(|ticks| ticks.len() <= most);
    match chosen {
        Some(ticks) if ticks.len() >= 3 => ticks,
        _ => round_steps(low, high, most),
    }
}

/// Returns a tick's number, short: `2000`, `15k`, `0.005`, `2e-5`.
pub(super) fn short(v: f64) -> String {
    let size = v.abs();
    let trimmed = |v: f64, decimals: usize| {
        let s = format!("{v:.decimals$}");
        if s.contains('.') {
            s.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            s
        }
    };
    match size {
        0.0 => "0".to_owned(),
        1e15.. => format!("{v:.0e}"),
        1e9.. => format!("{}G", trimmed(v / 1e9, 2)),
        1e6.. => format!("{}M", trimmed(v / 1e6, 2)),
        1e4.. => format!("{}k", trimmed(v / 1e3, 2)),
        1e-3.. => trimmed(v, 5),
        _ => format!("{v:.1e}").replace(".0e", "e"),
    }
}

/// Returns a measured number with three significant digits: `402`, `0.0102`, `1.25`; four digits
/// and more are whole.
pub(super) fn measured(v: f64) -> String {
    let size = v.abs();
    if !v.is_finite() {
        format!("{v}")
    } else if size >= 1e6 || (size > 0.0 && size < 1e-4) {
        format!("{v:.2e}")
    } else if size >= 100.0 || size == 0.0 {
        format!("{v:.0}")
    } else {
        let decimals = (2 - size.log10().floor() as i32).clamp(0, 7) as usize;
        format!("{v:.decimals$}")
    }
}

/// Title and labels around a chart.
pub(super) struct Words<'a> {
    pub title: &'a str,
    pub caption: &'a str,
    pub x: &'a str,
}

/// The chart's own area on its canvas, in whole pixels, and its axes.
pub(super) struct Frame {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
    pub x: Axis,
    pub y: Axis,
}

impl Frame {
    /// Draws title, caption, grid lines, ticks and axis label on `canvas` and says where the chart
    /// goes. `y_label` writes the numbers of the y axis.
    pub(super) fn draw(
        canvas: &mut Canvas,
        words: &Words<'_>,
        x: Axis,
        y: Axis,
        y_label: impl Fn(f64) -> String,
    ) -> Result<Frame> {
        let (w, h) = (canvas.width(), canvas.height());
        heading(canvas, words)?;
        let labels: Vec<String> = y.ticks.iter().map(|&v| y_label(v)).collect();
        let mut widest = 0.0_f32;
        for label in &labels {
            widest = widest.max(text::width(label, TICK)?);
        }
        let left = (widest.ceil() as usize + 8).min(w.saturating_sub(1));
        let (top, right, bottom) = (52, 12, 40);
        let frame = Frame {
            left,
            top,
            width: w.saturating_sub(left + right).max(1),
            height: h.saturating_sub(top + bottom).max(1),
            x,
            y,
        };
        let floor = (frame.top + frame.height) as i64;
        for (&v, label) in frame.y.ticks.iter().zip(&labels) {
            if let Some((_, y)) = frame.place_y(v) {
                canvas.fill(
                    frame.left as i64,
                    y.floor() as i64,
                    frame.width,
                    1,
                    Colour::RULE,
                );
                text::draw(
                    canvas,
                    frame.left as f32 - 6.0,
                    y,
                    label,
                    TICK,
                    Align::Right,
                )?;
            }
        }
        canvas.fill(frame.left as i64, floor, frame.width, 1, Colour::AXIS);
        let mut free_from = f32::NEG_INFINITY;
        for &v in &frame.x.ticks {
            let Some(f) = frame.x.at(v) else { continue };
            let x = frame.left as f32 + f as f32 * frame.width as f32;
            canvas.fill(x as i64, floor, 1, 4, Colour::AXIS);
            let label = short(v);
            let half = text::width(&label, TICK)? / 2.0;
            let middle = x.min(w as f32 - half);
            if middle - half > free_from {
                text::draw(
                    canvas,
                    middle,
                    floor as f32 + 12.0,
                    &label,
                    TICK,
                    Align::Centre,
                )?;
                free_from = middle + half + 6.0;
            }
        }
        let centre = frame.left as f32 + frame.width as f32 / 2.0;
        text::draw(
            canvas,
            centre,
            floor as f32 + 29.0,
            words.x,
            CAPTION,
            Align::Centre,
        )?;
        Ok(frame)
    }

    /// Returns the pixel of (`x`, `y`), clamped to the chart's edge in y; nothing for what the axes
    /// cannot show.
    pub(super) fn place(&self, x: f64, y: f64) -> Option<(f32, f32)> {
        let fx = self.x.at(x)?;
        let (_, py) = self.place_y(y)?;
        Some((
            self.left as f32 + fx.clamp(0.0, 1.0) as f32 * self.width as f32,
            py,
        ))
    }

    fn place_y(&self, y: f64) -> Option<(f64, f32)> {
        let f = self.y.at(y)?;
        Some((
            f,
            self.top as f32 + (1.0 - f.clamp(0.0, 1.0) as f32) * self.height as f32,
        ))
    }
}

/// Title and caption, cut to the canvas.
pub(super) fn heading(canvas: &mut Canvas, words: &Words<'_>) -> Result<()> {
    let limit = canvas.width() as f32 - 4.0;
    for (line, style, middle) in [(words.title, TITLE, 11.0), (words.caption, CAPTION, 31.0)] {
        text::draw(
            canvas,
            2.0,
            middle,
            &text::cut(line, style, limit)?,
            style,
            Align::Left,
        )?;
    }
    Ok(())
}

/// A chart without data: its heading, and in the middle why it is empty.
pub(super) fn empty(canvas: &mut Canvas, words: &Words<'_>, why: &str) -> Result<()> {
    heading(canvas, words)?;
    let (w, h) = (canvas.width() as f32, canvas.height() as f32);
    text::draw(
        canvas,
        w / 2.0,
        h / 2.0 + 8.0,
        &text::cut(why, CAPTION, w)?,
        CAPTION,
        Align::Centre,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(
            round_steps(0.0, 2000.0, 5),
            [0.0, 500.0, 1000.0, 1500.0, 2000.0]
        );
        assert_eq!(
            round_powers(0.004, 0.6, 7),
            [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]
        );
        for (low, high) in [
            (1e-8, 1e12),
            (0.0061, 0.0068),
            (3.0, 4.0),
            (1e-300, 1e300),
            (0.9, 1.1),
        ] {
            let ticks = round_powers(low, high, 6);
            assert!(
                (2..=13).contains(&ticks.len()),
                "{low} to {high}: {ticks:?}"
            );
            assert!(
                ticks.is_sorted()
                    && ticks
                        .iter()
                        .all(|t| *t >= low * (1.0 - 1e-9) && *t <= high * (1.0 + 1e-9)),
                "{low} to {high}: {ticks:?}"
            );
        }
    }

    #[test]
    fn axes_without_extent_still_have_one() {
        assert!(Axis::linear(3.0, 3.0, 5).at(3.0).is_some());
        assert_eq!(
            Axis::log(0.5, 0.5, 5).at(0.5).map(|f| (f * 1e6).round()),
            Some(5e5)
        );
        assert_eq!(Axis::log(0.5, 5.0, 5).at(0.0), None);
        assert_eq!(Axis::log(0.5, 5.0, 5).at(f64::NAN), None);
        assert!(Axis::log(f64::MIN_POSITIVE, f64::MAX, 5).at(1.0).is_some());
    }

    #[test]
    fn numbers_are_short() {
        let shorts: Vec<String> = [0.0, 0.005, 2e-5, 1500.0, 15_000.0, 2.5e6, 1e20]
            .into_iter()
            .map(short)
            .collect();
        assert_eq!(
            shorts,
            ["0", "0.005", "2e-5", "1500", "15k", "2.5M", "1e20"]
        );
        let long: Vec<String> = [402.31, 0.010_234, 1.0, 19.93, 3e-7, f64::NAN]
            .into_iter()
            .map(measured)
            .collect();
        assert_eq!(long, ["402", "0.0102", "1.00", "19.9", "3.00e-7", "NaN"]);
    }
}
