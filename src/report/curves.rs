//! Curves over training steps: loss, perplexity. Many noisy points are shown as their running mean
//! over a pale band of what was measured; a reference's points as diamonds.

use super::axes::{self, Axis, Frame, Words};
use super::canvas::{Canvas, Colour};
use super::stroke;
use crate::{Error, Result};

/// One curve and what stands around it.
#[derive(Debug, Clone, Copy)]
pub struct Curve<'a> {
    /// Over the chart.
    pub title: &'a str,
    /// The step of each value.
    pub steps: &'a [f64],
    /// The values. Those that are not finite (and on a log scale those not above 0) leave a gap,
    /// and are counted in the caption.
    pub values: &'a [f64],
    /// Points (step, value) that another run of the same model reached, in the same units.
    pub reference: &'a [(f64, f64)],
    /// Logarithmic y axis.
    pub log: bool,
    /// The largest value that can be reached (the number of codes, for a perplexity), if there is
    /// one.
    pub ceiling: Option<f64>,
    /// The line's colour.
    pub colour: Colour,
}

/// Draws `curve` on a canvas of `width` x `height` pixels. Without a value that can be shown, the
/// chart says so.
///
/// # Errors
/// [`Error::Shape`] if there are not as many steps as values, [`Error::Invalid`] for an impossible
/// size.
pub fn curve(curve: &Curve<'_>, width: usize, height: usize) -> Result<Canvas> {
    let Curve {
        title,
        steps,
        values,
        reference,
        log,
        ceiling,
        colour,
    } = *curve;
    if steps.len() != values.len() {
        return Err(Error::shape(
            "report",
            format!("a value for each of {} steps", steps.len()),
            values.len(),
        ));
    }
    let mut canvas = Canvas::new(width, height, Colour::WHITE)?;
    let fit = |v: f64| v.is_finite() && (!log || v > 0.0);
    let shown = |&(x, y): &(f64, f64)| x.is_finite() && fit(y);
    let points: Vec<(f64, f64)> = steps.iter().copied().zip(values.iter().copied()).collect();
    let good: Vec<(f64, f64)> = points.iter().copied().filter(shown).collect();
    let marks: Vec<(f64, f64)> = reference.iter().copied().filter(shown).collect();
    let mean = running_mean(&good);

    let mut notes = Vec::new();
    if let Some(&(_, last)) = mean.last() {
        let of = ceiling.map_or(String::new(), |c| format!(" of {}", axes::measured(c)));
        notes.push(format!(
            "latest {}{of}{}",
            axes::measured(last),
            if log { ", log scale" } else { "" }
        ));
    }
    if good.len() < points.len() {
        notes.push(format!(
            "{} of {} points cannot be shown",
            points.len() - good.len(),
            points.len()
        ));
    }
    let caption = notes.join(", ");
    let words = Words {
        title,
        caption: &caption,
        x: "step",
    };
    if good.is_empty() {
        axes::empty(&mut canvas, &words, "no values yet")?;
        return Ok(canvas);
    }

    let all = || good.iter().chain(&marks);
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        all()
            .map(of)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            })
    };
    let (first, last) = bounds(|p| p.0);
    let (low, high) = bounds(|p| p.1);
    let x = Axis::linear(if first >= 0.0 { 0.0 } else { first }, last, 6).whole();
    let y = if log {
        Axis::log(low, high, 7)
    } else {
        // From 0 where nothing lies below; the ceiling is shown once the curve comes near it.
        let top = if high > 0.0 { high * 1.06 } else { high };
        let top = ceiling
            .filter(|c| *c >= high && *c < top * 2.0)
            .map_or(top, |c| c * 1.02);
        Axis::linear(low.min(0.0), top, 6)
    };
    let frame = Frame::draw(&mut canvas, &words, x, y, axes::short)?;

    if let Some((_, y)) = ceiling
        .filter(|c| frame.y.at(*c).is_some_and(|f| f <= 1.0))
        .and_then(|c| frame.place(0.0, c))
    {
        stroke::dashes(
            &mut canvas,
            frame.left as i64,
            (frame.left + frame.width) as i64,
            y as i64,
            Colour::AXIS,
        );
    }
    let smooth = mean.len() > SMOOTH_FROM;
    if smooth {
        for (x, (low, high)) in columns(&frame, &points, &shown) {
            let (top, bottom) = (low.floor() as i64, high.ceil() as i64);
            canvas.fill(x, top, 1, (bottom - top).max(1) as usize, colour.tint(0.3));
        }
    }
    // A value that cannot be shown breaks the line: nothing is drawn where nothing is known.
    let mut values = mean.iter();
    let mut runs = vec![Vec::new()];
    for point in &points {
        if shown(point) {
            if let (Some(run), Some(at)) = (
                runs.last_mut(),
                values.next().and_then(|&(x, y)| frame.place(x, y)),
            ) {
                run.push(at);
            }
        } else {
            runs.push(Vec::new());
        }
    }
    for run in &runs {
        stroke::path(
            &mut canvas,
            run,
            if run.len() == 1 { 5.0 } else { 2.0 },
            colour,
        );
    }
    for &(x, y) in &marks {
        if let Some(at) = frame.place(x, y) {
            stroke::diamond(&mut canvas, at, 6.0, Colour::REFERENCE);
        }
    }
    if !marks.is_empty() {
        legend(&mut canvas, width)?;
    }
    Ok(canvas)
}

/// Number of points above which single values are noise to the eye.
const SMOOTH_FROM: usize = 60;

/// Returns the mean over a window around each point of about 1/40 of all; few points stay as they
/// are.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= SMOOTH_FROM {
        return points.to_vec();
    }
    let reach = points.len() / 80 + 1;
    (0..points.len())
        .map(|i| {
            // At the start, where curves fall fast, as far to one side as to the other, or the
            // curve would be pulled down; at the end the window keeps its left half, or the last
            // value would be a single noisy one.
            let left = reach.min(i);
            let right = left.min(points.len() - 1 - i);
            let window = &points[i - left..=i + right];
            (
                points[i].0,
                window.iter().map(|p| p.1 / window.len() as f64).sum(),
            )
        })
        .collect()
}

/// Returns, for each pixel column that points fall into, from the left, the highest and lowest of
/// them, in pixels from the top.
fn columns(
    frame: &Frame,
    points: &[(f64, f64)],
    shown: &dyn Fn(&(f64, f64)) -> bool,
) -> std::collections::BTreeMap<i64, (f32, f32)> {
    let mut columns = std::collections::BTreeMap::new();
    for (x, y) in points
        .iter()
        .filter(|p| shown(p))
        .filter_map(|p| frame.place(p.0, p.1))
    {
        let entry = columns.entry(x as i64).or_insert((y, y));
        *entry = (entry.0.min(y), entry.1.max(y));
    }
    columns
}

/// "reference" with its diamond, in the right upper corner.
fn legend(canvas: &mut Canvas, width: usize) -> Result<()> {
    use super::text::{self, Align, Style};
    let style = Style::regular(12.0, Colour::GREY);
    let wide = text::width("reference", style)?;
    if width as f32 > wide + 40.0 {
        text::draw(
            canvas,
            width as f32 - 12.0,
            31.0,
            "reference",
            style,
            Align::Right,
        )?;
        stroke::diamond(
            canvas,
            (width as f32 - wide - 22.0, 31.0),
            5.0,
            Colour::REFERENCE,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: Colour = Colour(37, 99, 235);

    fn plain<'a>(steps: &'a [f64], values: &'a [f64]) -> Curve<'a> {
        Curve {
            title: "loss",
            steps,
            values,
            reference: &[],
            log: true,
            ceiling: None,
            colour: BLUE,
        }
    }

    fn count(canvas: &Canvas, colour: Colour) -> usize {
        canvas
            .pixels()
            .chunks(3)
            .filter(|p| *p == [colour.0, colour.1, colour.2])
            .count()
    }

    #[test]
    fn a_curve_is_drawn_in_its_colour_with_its_reference() {
        let steps: Vec<f64> = (0..500).map(f64::from).collect();
        let values: Vec<f64> = steps
            .iter()
            .map(|s| 0.3 * (-s / 100.0).exp() + 0.01 + (s * 7.7).sin().abs() * 0.004)
            .collect();
        let canvas = curve(
            &Curve {
                reference: &[(400.0, 0.02)],
                ..plain(&steps, &values)
            },
            380,
            280,
        )
        .unwrap();
        assert!(count(&canvas, BLUE) > 300);
        assert!(
            count(&canvas, BLUE.tint(0.3)) > 300,
            "the band of single values"
        );
        assert!(
            count(&canvas, Colour::REFERENCE) > 60,
            "one diamond in the chart and one in the legend"
        );
        let without = curve(&plain(&steps, &values), 380, 280).unwrap();
        assert_eq!(count(&without, Colour::REFERENCE), 0);
    }

    #[test]
    fn nothing_to_show_is_no_error() {
        let nan = f64::NAN;
        for (steps, values) in [
            (vec![], vec![]),
            (vec![1.0], vec![nan]),
            (vec![nan], vec![1.0]),
            (vec![1.0, 2.0], vec![0.0, -3.0]),
            (vec![1.0], vec![f64::INFINITY]),
        ] {
            let canvas = curve(&plain(&steps, &values), 380, 280).unwrap();
            assert_eq!(count(&canvas, BLUE), 0, "{steps:?} {values:?}");
        }
    }

    #[test]
    fn one_point_equal_points_and_extremes_are_drawn() {
        for log in [true, false] {
            for (steps, values) in [
                (vec![5.0], vec![0.3]),
                (vec![0.0], vec![2.0]),
                (vec![0.0, 1.0, 2.0], vec![0.5, 0.5, 0.5]),
                (vec![0.0, 1.0], vec![f64::MIN_POSITIVE, f64::MAX]),
                (vec![0.0, f64::MAX], vec![1.0, 2.0]),
                (vec![3.0, 1.0, 2.0], vec![0.5, 0.1, 0.9]),
            ] {
                let canvas = curve(
                    &Curve {
                        log,
                        ..plain(&steps, &values)
                    },
                    380,
                    280,
                )
                .unwrap();
                assert!(count(&canvas, BLUE) > 5, "log {log}: {steps:?} {values:?}");
            }
        }
        let negative = curve(
            &Curve {
                log: false,
                ..plain(&[0.0, 1.0], &[-2.0, -1.0])
            },
            380,
            280,
        )
        .unwrap();
        assert!(count(&negative, BLUE) > 100);
    }

    #[test]
    fn values_that_cannot_be_shown_break_the_line() {
        let steps: Vec<f64> = (0..9).map(f64::from).collect();
        let whole = [0.5; 9];
        let mut broken = whole;
        broken[3..6].fill(f64::NAN);
        let ink = |values: &[f64]| count(&curve(&plain(&steps, values), 380, 280).unwrap(), BLUE);
        assert!(
            ink(&broken) * 10 < ink(&whole) * 7,
            "{} of {}",
            ink(&broken),
            ink(&whole)
        );
    }

    #[test]
    fn the_running_mean_keeps_the_start_and_the_level() {
        let points: Vec<(f64, f64)> = (0..400).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let mean = running_mean(&points);
        assert_eq!((mean.len(), mean[0]), (400, points[0]));
        assert!((10..400).all(|i| (mean[i].1 - 0.5).abs() < 0.1));
    }

    #[test]
    fn misfits_and_tiny_canvases() {
        assert!(curve(&plain(&[1.0], &[]), 380, 280).is_err());
        assert!(curve(&plain(&[1.0], &[1.0]), 0, 280).is_err());
        for (w, h) in [(1, 1), (20, 20), (60, 100), (2000, 40)] {
            curve(
                &Curve {
                    reference: &[(1.0, 1.0)],
                    ..plain(&[1.0, 2.0], &[1.0, 3.0])
                },
                w,
                h,
            )
            .unwrap();
        }
    }
}
