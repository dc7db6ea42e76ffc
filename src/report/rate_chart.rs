//! The chart of rate and distortion.

use super::axes::{self, Axis, Frame, Words};
use super::canvas::{Canvas, Colour};
use super::rate::{Codecs, Coded};
use super::stroke;
use super::sweep::COLOURS;
use super::text::{self, Align, Style};
use crate::{Error, Result};

const SIZE: [usize; 2] = [900, 560];
const EDGE: usize = 12;
/// Width of a column of the legend.
const COLUMN: usize = 220;
const LABEL: Style = Style::regular(11.0, Colour::INK);
/// JPEG's curve, PNG's and WebP's lines.
const CODECS: [Colour; 3] = [Colour::INK, Colour(107, 114, 128), Colour(156, 163, 175)];
/// AVIF's curve.
const AVIF: Colour = Colour(153, 27, 27);
/// Runs that a legend has room for.
const MOST: usize = 24;

/// PSNR over bits per pixel: JPEG's curve, and AVIF's where it was measured, a line where each
/// codec without loss lies, and each run at its packed files (a ring), at its codes' entropy (a
/// dot) and at log2 K, with a thin line through all three. The bytes of a PNG file.
///
/// # Errors
/// If there is no run, or more than the chart can tell apart.
pub fn chart(title: &str, caption: &str, runs: &[Coded], codecs: &Codecs) -> Result<Vec<u8>> {
    if !(1..=MOST).contains(&runs.len()) {
        return Err(Error::invalid(
            "report",
            format!("{} runs: a chart shows 1 to {MOST}", runs.len()),
        ));
    }
    let [width, height] = SIZE;
    let mut whole = Canvas::new(width, height, Colour::WHITE)?;
    let mut canvas = Canvas::new(width - EDGE - COLUMN, height, Colour::WHITE)?;
    let curves: Vec<Vec<(f64, f64)>> = codecs
        .lossy()
        .iter()
        .map(|(_, curve, _)| curve.iter().map(|l| (l.bits_per_pixel, l.psnr)).collect())
        .collect();
    let ends = runs
        .iter()
        .flat_map(|r| [r.packed, r.entropy(), r.nominal()].map(|rate| (rate, r.psnr)));
    let good = |(rate, psnr): &(f64, f64)| *rate > 0.0 && rate.is_finite() && psnr.is_finite();
    let all: Vec<(f64, f64)> = curves
        .iter()
        .flatten()
        .copied()
        .chain(ends)
        .filter(good)
        .collect();
    let words = Words {
        title,
        caption,
        x: "bits per pixel",
    };
    if all.is_empty() {
        axes::empty(&mut canvas, &words, "nothing has a rate")?;
        whole.place(EDGE, 0, &canvas);
        return whole.png();
    }
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let lossless = [codecs.png, codecs.webp]
        .into_iter()
        .filter(|r| *r > 0.0 && r.is_finite());
    let (left, right) = range(&mut all.iter().map(|p| p.0).chain(lossless));
    let (low, high) = range(&mut all.iter().map(|p| p.1));
    let air = 0.05 * (high - low).max(1.0);
    let frame = Frame::draw(
        &mut canvas,
        &words,
        Axis::log(left, right, 8),
        Axis::linear(low - air, high + air, 8),
        axes::short,
    )?;
    let place = |points: &[(f64, f64)]| -> Vec<(f32, f32)> {
        points
            .iter()
            .filter(|p| good(p))
            .filter_map(|(x, y)| frame.place(*x, *y))
            .collect()
    };
    for (rate, colour) in [(codecs.png, CODECS[1]), (codecs.webp, CODECS[2])] {
        stroke::path(
            &mut canvas,
            &place(&[(rate, low - air), (rate, high + air)]),
            2.0,
            colour,
        );
    }
    for (curve, colour) in curves.iter().zip([CODECS[0], AVIF]) {
        let curve = place(curve);
        stroke::path(&mut canvas, &curve, 2.0, colour);
        curve
            .iter()
            .for_each(|at| stroke::path(&mut canvas, &[*at], 5.0, colour));
    }
    let mut entries: Vec<(String, Colour)> = ["JPEG", "PNG, without loss", "WebP, without loss"]
        .into_iter()
        .zip(CODECS)
        .map(|(name, colour)| (name.to_owned(), colour))
        .collect();
    if let Some(avif) = &codecs.avif {
        entries.insert(1, (format!("AVIF, {}", avif.by), AVIF));
    }
    let lines = entries.len();
    for (run, colour) in runs.iter().zip(COLOURS.iter().cycle()) {
        let mut rates = [run.packed, run.entropy(), run.nominal()];
        rates.sort_by(f64::total_cmp);
        let line = rates.map(|rate| (rate, run.psnr));
        stroke::path(&mut canvas, &place(&line), 1.2, *colour);
        if let [at] = place(&[(run.packed, run.psnr)])[..] {
            stroke::path(&mut canvas, &[at], 9.0, *colour);
            stroke::path(&mut canvas, &[at], 5.0, Colour::WHITE);
        }
        if let [at] = place(&[(run.entropy(), run.psnr)])[..] {
            stroke::path(&mut canvas, &[at], 11.0, Colour::WHITE);
            stroke::path(&mut canvas, &[at], 9.0, *colour);
        }
        entries.push((run.name.clone(), *colour));
    }
    whole.place(EDGE, 0, &canvas);
    let from = (width - COLUMN) as f32 + 14.0;
    for (i, (name, colour)) in entries.iter().enumerate() {
        let line = frame.top as f32 + 10.0 + 17.0 * i as f32;
        if i < lines {
            stroke::path(
                &mut whole,
                &[(from, line), (from + 16.0, line)],
                2.0,
                *colour,
            );
        } else {
            stroke::path(&mut whole, &[(from + 8.0, line)], 9.0, *colour);
        }
        let name = text::cut(name, LABEL, COLUMN as f32 - 44.0)?;
        text::draw(&mut whole, from + 22.0, line, &name, LABEL, Align::Left)?;
    }
    whole.png()
}

#[cfg(test)]
mod tests {
    use super::super::rate::tests::{codecs, run, with_avif};
    use super::*;

    #[test]
    fn every_run_has_its_dot() {
        let runs = [
            run("a", 25.0, &[("", 0.4, 0.6)]),
            run("b", 22.0, &[("", 0.2, 0.3)]),
        ];
        let png = chart("t", "c", &runs, &codecs()).unwrap();
        let picture = image::load_from_memory(&png).unwrap().into_rgb8();
        for colour in &COLOURS[..2] {
            // In the chart, left of the legend.
            let dots = picture
                .enumerate_pixels()
                .filter(|(x, _, p)| *x < 660 && p.0 == [colour.0, colour.1, colour.2]);
            assert!(dots.count() > 40);
        }
        assert!(chart("t", "c", &[], &codecs()).is_err());
        assert!(chart("t", "c", &vec![runs[0].clone(); 25], &codecs()).is_err());
        // A run that keeps nothing has no rate, and a perfect one no finite PSNR.
        let odd = [
            run("nothing", 5.0, &[("", 0.0, 0.0)]),
            run("all", f64::INFINITY, &[("", 0.1, 0.1)]),
        ];
        chart("t", "c", &odd, &codecs()).unwrap();
    }

    #[test]
    fn avif_has_its_curve_where_it_was_measured() {
        let runs = [run("one", 25.0, &[("", 0.2, 0.25)])];
        let red = |codecs: &Codecs| {
            let png = chart("t", "c", &runs, codecs).unwrap();
            let picture = image::load_from_memory(&png).unwrap().into_rgb8();
            let of = |p: &&image::Rgb<u8>| p.0 == [AVIF.0, AVIF.1, AVIF.2];
            picture.pixels().filter(of).count()
        };
        assert_eq!(red(&codecs()), 0);
        assert!(red(&with_avif()) > 200);
    }
}
