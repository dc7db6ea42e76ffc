//! A codebook as a map: each code a dot, where its vector lies in the plane in which the codes
//! differ most.

use super::axes::{self, Axis, Frame, Words};
use super::canvas::{Canvas, Colour};
use super::colours::{ramp, wheel};
use super::pca::Plane;
use super::stroke::disc;
use super::text::{self, Align, Style};
use crate::{Error, Result};

const LABEL: Style = Style::regular(12.0, Colour::GREY);
const UNUSED: Colour = Colour(220, 38, 38);
const PANEL: usize = 560;
const HEIGHT: usize = 520;
const BETWEEN: usize = 40;
const FOOT: usize = 48;
const MARGIN: usize = 24;

/// Returns the colours of codes on a plane: the direction from the middle is the hue, so that
/// neighbours on the map are alike.
pub fn colours(plane: &Plane) -> Vec<Colour> {
    let mut distances: Vec<f64> = plane.places.iter().map(|[x, y]| x.hypot(*y)).collect();
    distances.sort_by(f64::total_cmp);
    // One code far out must not pale all others.
    let far = distances
        .get(distances.len() * 9 / 10)
        .or(distances.last())
        .copied()
        .unwrap_or(0.0);
    plane
        .places
        .iter()
        .map(|[x, y]| wheel(*x, *y, far))
        .collect()
}

/// Draws the codes' plane twice: coloured by `counts`, how often each was taken, and in the colours
/// of the index map.
///
/// # Errors
/// [`Error::Shape`] if there is not a count to each place, [`Error::Invalid`] if there is none.
pub fn map(title: &str, plane: &Plane, counts: &[u64]) -> Result<Canvas> {
    if plane.places.len() != counts.len() || counts.is_empty() {
        return Err(Error::shape(
            "report",
            format!("a count to each of {} codes", plane.places.len()),
            counts.len(),
        ));
    }
    let mut canvas = Canvas::new(2 * PANEL + BETWEEN, HEIGHT + FOOT, Colour::WHITE)?;
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    // A few codes are taken far more often than the rest; roots keep the rest apart.
    let share = |count: u64| {
        if most > 1 {
            ((count.max(1) - 1) as f64 / (most - 1) as f64).sqrt()
        } else {
            1.0
        }
    };
    let by_use: Vec<Option<Colour>> = counts
        .iter()
        .map(|c| (*c > 0).then(|| ramp(share(*c))))
        .collect();
    let by_place: Vec<Option<Colour>> = colours(plane).into_iter().map(Some).collect();
    let [a, b] = plane.shares.map(|s| axes::measured(s * 100.0));
    let x = format!("first direction: {a}% of how codes differ");
    let y = format!("up: the second direction, {b}%");
    for (i, (caption, colours)) in [
        ("dark: taken often", by_use),
        ("the colours of the index map", by_place),
    ]
    .into_iter()
    .enumerate()
    {
        let title = if i == 0 { title } else { "the same codes" };
        let words = Words {
            title,
            caption: &format!("{caption}; {y}"),
            x: &x,
        };
        canvas.place(
            i * (PANEL + BETWEEN),
            0,
            &panel(&words, plane, counts, &colours)?,
        );
    }
    legend(&mut canvas, most, counts.contains(&0))?;
    canvas.with_margin(MARGIN)
}

fn panel(
    words: &Words<'_>,
    plane: &Plane,
    counts: &[u64],
    colours: &[Option<Colour>],
) -> Result<Canvas> {
    let mut canvas = Canvas::new(PANEL, HEIGHT, Colour::WHITE)?;
    let ends = |i: usize| {
        let all = plane.places.iter().map(|p| p[i]);
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        let air = ((high - low) * 0.04).max(1e-9);
        (low - air, high + air)
    };
    // One scale for both, or distances would say nothing.
    let ((left, right), (low, high)) = (ends(0), ends(1));
    let half = ((right - left) / 2.0).max((high - low) / 2.0 * 1.2);
    let (cx, cy) = ((left + right) / 2.0, (low + high) / 2.0);
    let x = Axis::linear(cx - half, cx + half, 6);
    let y = Axis::linear(cy - half / 1.2, cy + half / 1.2, 6);
    let frame = Frame::draw(&mut canvas, words, x, y, axes::short)?;
    let radius = match counts.len() {
        0..=300 => 5.0,
        301..=1200 => 4.0,
        _ => 2.5,
    };
    // The most used last, on top.
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|i| counts[*i]);
    for i in order {
        let [px, py] = plane.places[i];
        if let Some(at) = frame.place(px, py) {
            match colours[i] {
                Some(colour) => {
                    disc(&mut canvas, at, radius + 1.0, Colour::WHITE);
                    disc(&mut canvas, at, radius, colour);
                }
                None => {
                    disc(&mut canvas, at, radius, UNUSED);
                    disc(&mut canvas, at, radius - 1.2, Colour::WHITE);
                }
            }
        }
    }
    Ok(canvas)
}

/// The ramp with its ends, and what a red ring is.
fn legend(canvas: &mut Canvas, most: u64, unused: bool) -> Result<()> {
    let middle = HEIGHT as f32 + 26.0;
    let mut x = 40.0;
    text::draw(canvas, x, middle, "taken once", LABEL, Align::Left)?;
    x += text::width("taken once", LABEL)? + 10.0;
    for i in 0..160 {
        canvas.fill(
            x as i64 + i,
            middle as i64 - 6,
            1,
            12,
            ramp(i as f64 / 159.0),
        );
    }
    x += 170.0;
    let end = format!("{most} times");
    text::draw(canvas, x, middle, &end, LABEL, Align::Left)?;
    if unused {
        x += text::width(&end, LABEL)? + 34.0;
        disc(canvas, (x, middle), 5.0, UNUSED);
        disc(canvas, (x, middle), 3.8, Colour::WHITE);
        text::draw(canvas, x + 12.0, middle, "never taken", LABEL, Align::Left)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_codes_are_dots_and_unused_ones_rings() {
        let plane = Plane {
            places: vec![[0.0, 0.0], [3.0, 1.0], [-2.0, 0.5]],
            shares: [0.7, 0.2],
        };
        let picture = map("codebook", &plane, &[0, 100, 1]).unwrap();
        let count = |c: Colour| {
            picture
                .pixels()
                .chunks(3)
                .filter(|p| *p == [c.0, c.1, c.2])
                .count()
        };
        let (rings, most, least) = (count(UNUSED), count(ramp(1.0)), count(ramp(0.0)));
        assert!(
            rings > 0 && most > 20 && least > 20,
            "{rings} pixels of rings, {most} and {least} of dots"
        );
        assert!(map("t", &plane, &[1, 2]).is_err());
        let one = Plane {
            places: vec![[0.0, 0.0]],
            shares: [0.0, 0.0],
        };
        map("one code", &one, &[0]).unwrap();
    }
}
