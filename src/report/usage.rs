//! Codebook usage: each code's share of all codes taken, largest first, beside what equal shares
//! would be.

use super::axes::{self, Axis, Frame, Words};
use super::canvas::{Canvas, Colour};
use super::metrics::code_usage;
use super::stroke;
use super::text::{self, Align, Style};
use crate::Result;

const BARS: Colour = Colour(124, 58, 237);
const UNUSED: Colour = Colour(254, 226, 226);
/// Width from which on there is room for the entropy.
const WIDE: usize = 600;
const NOTE: Style = Style::regular(11.0, Colour::GREY);

/// Draws how often each of the K codes was taken, sorted, on a canvas of `width` x `height` pixels;
/// perplexity and codes in use, and where there is room the entropy, stand in the caption, and
/// codes never taken lie on a red ground.
///
/// # Errors
/// [`crate::Error::Invalid`] for an impossible size.
pub fn usage(counts: &[u64], width: usize, height: usize) -> Result<Canvas> {
    let mut canvas = Canvas::new(width, height, Colour::WHITE)?;
    let figures = code_usage(counts);
    let mut caption = format!(
        "perplexity {}, {} of {} codes in use",
        axes::measured(figures.perplexity),
        figures.used,
        figures.codes
    );
    if width >= WIDE {
        let bits = |v: f64| v.max(1.0).log2();
        let (have, most) = (bits(figures.perplexity), bits(figures.codes as f64));
        caption += &format!(", entropy {have:.2} of at most {most:.2} bits");
    }
    let words = Words {
        title: "codebook usage",
        caption: &caption,
        x: "codes, most used first",
    };
    if figures.total == 0 {
        axes::empty(
            &mut canvas,
            &Words {
                caption: "",
                ..words
            },
            "no codes counted yet",
        )?;
        return Ok(canvas);
    }
    let mut sorted = counts.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let codes = sorted.len();
    let share = |count: u64| count as f64 / figures.total as f64 * 100.0;
    let equal = 100.0 / codes as f64;
    let top = share(sorted[0]).max(equal) * 1.06;
    let frame = Frame::draw(
        &mut canvas,
        &words,
        Axis::linear(0.0, codes as f64, 6).whole(),
        Axis::linear(0.0, top, 6),
        |v| format!("{}%", axes::short(v)),
    )?;

    let floor = frame.top + frame.height;
    for column in 0..frame.width {
        // The codes under this column; where several share one, the largest of them, which is the
        // first.
        let code = (column * codes / frame.width).min(codes - 1);
        let x = (frame.left + column) as i64;
        if sorted[code] == 0 {
            canvas.fill(x, frame.top as i64, 1, frame.height, UNUSED);
        } else if let Some((_, y)) = frame.place(0.0, share(sorted[code])) {
            // A code that was taken is seen, however seldom it was.
            let y = (y.round() as usize).min(floor - 1);
            canvas.fill(x, y as i64, 1, floor - y, BARS);
        }
    }
    if let Some((_, y)) = frame.place(0.0, equal) {
        let (left, right) = (frame.left as i64, (frame.left + frame.width) as i64);
        stroke::dashes(&mut canvas, left, right, y as i64, Colour::INK);
        // Over the line where codes lie below it, which is at the right; a flat usage leaves no
        // room, and needs no note.
        if y > frame.top as f32 + 24.0 {
            text::draw(
                &mut canvas,
                right as f32 - 4.0,
                y - 9.0,
                "equal shares",
                NOTE,
                Align::Right,
            )?;
        }
    }
    Ok(canvas)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(canvas: &Canvas, colour: Colour) -> usize {
        canvas
            .pixels()
            .chunks(3)
            .filter(|p| *p == [colour.0, colour.1, colour.2])
            .count()
    }

    #[test]
    fn bars_fill_their_share_of_the_chart() {
        let half = usage(&[8, 0, 8, 0], 400, 300).unwrap();
        let (bars, unused) = (count(&half, BARS), count(&half, UNUSED));
        assert!(bars > 20_000, "{bars}");
        assert!(unused > 20_000, "{unused}");
        assert_eq!(count(&usage(&[3, 3, 3], 400, 300).unwrap(), UNUSED), 0);
        assert_eq!(
            usage(&[8, 0, 8, 0], 400, 300).unwrap(),
            usage(&[0, 8, 8, 0], 400, 300).unwrap(),
            "order is no matter"
        );
    }

    #[test]
    fn a_rare_code_is_still_seen() {
        let canvas = usage(&[1_000_000, 1], 400, 300).unwrap();
        assert_eq!(count(&canvas, UNUSED), 0);
        let last = (0..300).filter(|&y| canvas.get(380, y) == BARS).count();
        assert_eq!(last, 1);
    }

    #[test]
    fn empty_and_extreme_counts_are_drawn() {
        let mut one = vec![0; 8192];
        one[77] = u64::MAX;
        for counts in [
            vec![],
            vec![0],
            vec![0; 512],
            vec![1],
            one,
            vec![u64::MAX; 3],
            vec![1; 100_000],
        ] {
            for (w, h) in [(1, 1), (60, 60), (400, 300)] {
                usage(&counts, w, h).unwrap();
            }
        }
    }
}
