//! Smooth lines and markers: a pixel's coverage is read off its distance to the shape.

use super::canvas::{Canvas, Colour};
use std::ops::Range;

/// Draws the path through `points` (pixel coordinates, centres at .5), `width` pixels wide with
/// round joins. A path of one point is a dot. Joins are not drawn twice: coverage is gathered first
/// and laid down once.
pub(super) fn path(canvas: &mut Canvas, points: &[(f32, f32)], width: f32, colour: Colour) {
    if points.is_empty() || points.iter().any(|p| !p.0.is_finite() || !p.1.is_finite()) {
        return;
    }
    // Over the path's bounds alone: pages are large, and markers small.
    let reach = width / 2.0 + 1.0;
    let bounds = |of: fn(&(f32, f32)) -> f32, end: usize| {
        let values = points.iter().map(of);
        let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        span(low - reach, high + reach, 0..end)
    };
    let (columns, rows) = (
        bounds(|p| p.0, canvas.width()),
        bounds(|p| p.1, canvas.height()),
    );
    let mut coverage = vec![0.0_f32; columns.len() * rows.len()];
    let ends = |i: usize| (points[i], points[(i + 1).min(points.len() - 1)]);
    for (a, b) in (0..(points.len() - 1).max(1)).map(ends) {
        for y in span(a.1.min(b.1) - reach, a.1.max(b.1) + reach, rows.clone()) {
            for x in span(a.0.min(b.0) - reach, a.0.max(b.0) + reach, columns.clone()) {
                let apart = distance((x as f32 + 0.5, y as f32 + 0.5), a, b);
                let covered = (width / 2.0 + 0.5 - apart).clamp(0.0, 1.0);
                let at = &mut coverage[(y - rows.start) * columns.len() + x - columns.start];
                *at = at.max(covered);
            }
        }
    }
    let places = rows.flat_map(|y| columns.clone().map(move |x| (x, y)));
    for ((x, y), &covered) in places.zip(&coverage).filter(|(_, c)| **c > 0.0) {
        canvas.dot(x as i64, y as i64, colour, covered);
    }
}

/// The pixels of `within` that lie between two places.
fn span(from: f32, to: f32, within: Range<usize>) -> Range<usize> {
    let inside = |v: f32| (v.max(0.0) as usize).clamp(within.start, within.end);
    inside(from.floor())..inside(to.ceil())
}

/// A filled circle.
pub(super) fn disc(canvas: &mut Canvas, centre: (f32, f32), radius: f32, colour: Colour) {
    path(canvas, &[centre], 2.0 * radius, colour);
}

/// Distance of `p` from the segment `a`-`b`.
fn distance(p: (f32, f32), a: (f32, f32), b: (f32, f32)) -> f32 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = dx * dx + dy * dy;
    let t = if length > 0.0 {
        (((p.0 - a.0) * dx + (p.1 - a.1) * dy) / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (p.0 - a.0 - t * dx).hypot(p.1 - a.1 - t * dy)
}

/// A diamond with a white rim around `centre`; `radius` is from the centre to a corner.
pub(super) fn diamond(canvas: &mut Canvas, centre: (f32, f32), radius: f32, colour: Colour) {
    for (radius, colour) in [(radius + 1.5, Colour::WHITE), (radius, colour)] {
        let reach = radius.ceil() as i64 + 1;
        let (cx, cy) = (centre.0.floor() as i64, centre.1.floor() as i64);
        for y in cy - reach..=cy + reach {
            for x in cx - reach..=cx + reach {
                let apart = (x as f32 + 0.5 - centre.0).abs() + (y as f32 + 0.5 - centre.1).abs();
                // The edge runs at 45 degrees, so a step of one pixel along an axis is 1/sqrt(2)
                // across it.
                let covered =
                    ((radius - apart) * std::f32::consts::FRAC_1_SQRT_2 + 0.5).clamp(0.0, 1.0);
                canvas.dot(x, y, colour, covered);
            }
        }
    }
}

/// A dashed line one pixel high from `x0` to `x1`.
pub(super) fn dashes(canvas: &mut Canvas, x0: i64, x1: i64, y: i64, colour: Colour) {
    for x in (x0..x1).step_by(7) {
        canvas.fill(x, y, (x1 - x).min(4) as usize, 1, colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horizontal_line_covers_its_width_and_no_more() {
        let mut canvas = Canvas::new(20, 9, Colour::WHITE).unwrap();
        path(
            &mut canvas,
            &[(3.0, 4.5), (17.0, 4.5)],
            3.0,
            Colour(0, 0, 0),
        );
        for y in 3..6 {
            assert_eq!(canvas.get(10, y), Colour(0, 0, 0), "row {y}");
        }
        assert_eq!(canvas.get(10, 1), Colour::WHITE);
        assert_eq!(canvas.get(10, 7), Colour::WHITE);
        assert_eq!(canvas.get(0, 4), Colour::WHITE);
    }

    #[test]
    fn single_points_are_dots_and_bad_points_draw_nothing() {
        let blank = Canvas::new(9, 9, Colour::WHITE).unwrap();
        let mut canvas = blank.clone();
        path(&mut canvas, &[], 2.0, Colour(0, 0, 0));
        path(&mut canvas, &[(f32::NAN, 1.0)], 2.0, Colour(0, 0, 0));
        path(
            &mut canvas,
            &[(1.0, f32::INFINITY), (2.0, 2.0)],
            2.0,
            Colour(0, 0, 0),
        );
        path(
            &mut canvas,
            &[(-500.0, -500.0), (-400.0, -500.0)],
            2.0,
            Colour(0, 0, 0),
        );
        assert_eq!(canvas, blank);
        path(&mut canvas, &[(4.5, 4.5)], 3.0, Colour(0, 0, 0));
        assert_eq!(canvas.get(4, 4), Colour(0, 0, 0));
        diamond(&mut canvas, (0.0, 0.0), 4.0, Colour(9, 0, 0));
        assert_eq!(canvas.get(0, 0), Colour(9, 0, 0));
        dashes(&mut canvas, 5, 2, 0, Colour(0, 0, 0));
    }
}
