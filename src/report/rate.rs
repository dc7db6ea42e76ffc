//! Rate and distortion: what runs keep of images for how many bits, beside common codecs.

use super::axes::{self, Axis, Frame, Words};
use super::canvas::{Canvas, Colour};
use super::codecs::{At, Lossy, at_psnr};
use super::stroke;
use super::sweep::COLOURS;
use super::text::{self, Align, Style};
use crate::storage::table;
use crate::{Error, Result};
use std::fmt::Write;

/// The results of a run on the pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Coded {
    /// Its name.
    pub name: String,
    /// Mean squared error, pixels in [0, 1].
    pub mse: f64,
    /// `-10 log10(mse)`, in dB.
    pub psnr: f64,
    /// Its levels of codes, the coarsest first.
    pub levels: Vec<LevelRate>,
    /// Bits per pixel of packed files, one of each picture, headers and all.
    pub packed: f64,
}

/// Rate of one level of codes.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelRate {
    /// Its name; empty where there is one.
    pub name: String,
    /// Bits per pixel at the entropy of the codes, each by its frequency in the pictures: what an
    /// ideal entropy coder that knows the frequencies would write.
    pub entropy: f64,
    /// Bits per pixel at log2 K for each code.
    pub nominal: f64,
}

impl Coded {
    /// Bits per pixel at the codes' entropy, all levels.
    pub fn entropy(&self) -> f64 {
        self.levels.iter().map(|l| l.entropy).sum()
    }

    /// Bits per pixel at log2 K for each code, all levels.
    pub fn nominal(&self) -> f64 {
        self.levels.iter().map(|l| l.nominal).sum()
    }
}

/// Rates of common codecs for the same pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Codecs {
    /// JPEG, quality by quality.
    pub jpeg: Vec<Lossy>,
    /// Bits per pixel of JPEG's headers.
    pub jpeg_headers: f64,
    /// Bits per pixel of PNG.
    pub png: f64,
    /// Bits per pixel of WebP without loss.
    pub webp: f64,
}

/// JPEG at a PSNR, in words.
fn jpeg_rate(codecs: &Codecs, psnr: f64) -> String {
    match at_psnr(&codecs.jpeg, psnr) {
        None => "-".into(),
        Some(At::Rate(rate)) => format!("{rate:.3}"),
        Some(At::Below(l)) => format!(
            "below {:.3}, which reaches {:.2} dB",
            l.bits_per_pixel, l.psnr
        ),
        Some(At::Above(l)) => format!(
            "above {:.3}, which reaches {:.2} dB",
            l.bits_per_pixel, l.psnr
        ),
    }
}

/// Returns a rate, and in brackets those of the levels it sums.
fn summed(run: &Coded, of: fn(&LevelRate) -> f64) -> String {
    let sum: f64 = run.levels.iter().map(of).sum();
    match &run.levels[..] {
        [_] => format!("{sum:.3}"),
        levels => {
            let each: Vec<String> = levels
                .iter()
                .map(|l| format!("{} {:.3}", l.name, of(l)))
                .collect();
            format!("{sum:.3} ({})", each.join(", "))
        }
    }
}

/// The tables in Markdown: the runs, and the codecs.
pub fn table(runs: &[Coded], codecs: &Codecs) -> String {
    let mut text = String::from(
        "| run | PSNR, dB | MSE | bits per pixel, packed files | entropy of the codes | log2 K | \
         JPEG's at that PSNR |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for run in runs {
        let (entropy, nominal) = (summed(run, |l| l.entropy), summed(run, |l| l.nominal));
        let jpeg = jpeg_rate(codecs, run.psnr);
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.5} | {:.3} | {entropy} | {nominal} | {jpeg} |",
            run.name, run.psnr, run.mse, run.packed
        );
    }
    text.push_str("\n| codec | PSNR, dB | MSE | bits per pixel |\n| --- | --- | --- | --- |\n");
    for l in &codecs.jpeg {
        let _ = writeln!(
            text,
            "| JPEG {} | {:.2} | {:.5} | {:.3} |",
            l.quality, l.psnr, l.mse, l.bits_per_pixel
        );
    }
    let _ = writeln!(
        text,
        "| JPEG's headers, in each of these | | | {:.3} |",
        codecs.jpeg_headers
    );
    for (name, rate) in [("PNG", codecs.png), ("WebP, lossless", codecs.webp)] {
        let _ = writeln!(text, "| {name} | without loss | 0 | {rate:.3} |");
    }
    text
}

/// Returns the figures as CSV: a row to each run, each of its levels, and each setting of a codec.
/// Without loss, PSNR is infinite.
pub fn csv(runs: &[Coded], codecs: &Codecs) -> String {
    let header = "kind,name,level,quality,psnr,mse,bits_per_pixel,nominal_bits_per_pixel,\
                  jpeg_bits_per_pixel,packed_bits_per_pixel";
    let none = String::new;
    let six = |value: f64| format!("{value:.6}");
    let mut rows: Vec<[String; 10]> = Vec::new();
    for run in runs {
        let jpeg = match at_psnr(&codecs.jpeg, run.psnr) {
            Some(At::Rate(rate)) => six(rate),
            _ => none(),
        };
        rows.push([
            "run".into(),
            run.name.clone(),
            none(),
            none(),
            format!("{:.4}", run.psnr),
            format!("{:.8}", run.mse),
            six(run.entropy()),
            six(run.nominal()),
            jpeg,
            six(run.packed),
        ]);
        for l in run.levels.iter().filter(|l| !l.name.is_empty()) {
            let (name, level) = (run.name.clone(), l.name.clone());
            let (entropy, nominal) = (six(l.entropy), six(l.nominal));
            rows.push([
                "level".into(),
                name,
                level,
                none(),
                none(),
                none(),
                entropy,
                nominal,
                none(),
                none(),
            ]);
        }
    }
    let codec = |name: &str, quality: String, psnr: String, mse: String, rate: f64| {
        let name = name.to_owned();
        let kind = "codec".to_owned();
        [
            kind,
            name,
            none(),
            quality,
            psnr,
            mse,
            six(rate),
            none(),
            none(),
            none(),
        ]
    };
    for l in &codecs.jpeg {
        let (psnr, mse) = (format!("{:.4}", l.psnr), format!("{:.8}", l.mse));
        rows.push(codec(
            "JPEG",
            l.quality.to_string(),
            psnr,
            mse,
            l.bits_per_pixel,
        ));
    }
    rows.push(codec(
        "JPEG headers",
        none(),
        none(),
        none(),
        codecs.jpeg_headers,
    ));
    for (name, rate) in [("PNG", codecs.png), ("WebP lossless", codecs.webp)] {
        rows.push(codec(name, none(), "inf".into(), "0".into(), rate));
    }
    let header = header.split(',').map(str::to_owned).collect();
    table::csv(std::iter::once(header).chain(rows.into_iter().map(Vec::from)))
}

const SIZE: [usize; 2] = [900, 560];
const EDGE: usize = 12;
/// Width of a column of the legend.
const COLUMN: usize = 220;
const LABEL: Style = Style::regular(11.0, Colour::INK);
/// JPEG's curve, PNG's and WebP's lines.
const CODECS: [Colour; 3] = [Colour::INK, Colour(107, 114, 128), Colour(156, 163, 175)];
/// Runs that a legend has room for.
const MOST: usize = 24;

/// PSNR over bits per pixel: JPEG's curve, a line where each codec without loss lies, and each run
/// at its packed files (a ring), at its codes' entropy (a dot) and at log2 K, with a thin line
/// through all three. The bytes of a PNG file.
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
    let jpeg: Vec<(f64, f64)> = codecs
        .jpeg
        .iter()
        .map(|l| (l.bits_per_pixel, l.psnr))
        .collect();
    let ends = runs
        .iter()
        .flat_map(|r| [r.packed, r.entropy(), r.nominal()].map(|rate| (rate, r.psnr)));
    let good = |(rate, psnr): &(f64, f64)| *rate > 0.0 && rate.is_finite() && psnr.is_finite();
    let all: Vec<(f64, f64)> = jpeg.iter().copied().chain(ends).filter(good).collect();
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
    let curve = place(&jpeg);
    stroke::path(&mut canvas, &curve, 2.0, CODECS[0]);
    curve
        .iter()
        .for_each(|at| stroke::path(&mut canvas, &[*at], 5.0, CODECS[0]));
    let mut entries: Vec<(String, Colour)> = ["JPEG", "PNG, without loss", "WebP, without loss"]
        .into_iter()
        .zip(CODECS)
        .map(|(name, colour)| (name.to_owned(), colour))
        .collect();
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
        if i < CODECS.len() {
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
    use super::*;

    fn codecs() -> Codecs {
        let point = |quality, bits_per_pixel: f64, psnr: f64| Lossy {
            quality,
            bits_per_pixel,
            mse: 10f64.powf(-psnr / 10.0),
            psnr,
        };
        Codecs {
            jpeg: vec![point(5, 1.0, 20.0), point(50, 4.0, 30.0)],
            jpeg_headers: 0.5,
            png: 14.0,
            webp: 11.0,
        }
    }

    fn run(name: &str, psnr: f64, levels: &[(&str, f64, f64)]) -> Coded {
        let level = |(name, entropy, nominal): &(&str, f64, f64)| LevelRate {
            name: (*name).into(),
            entropy: *entropy,
            nominal: *nominal,
        };
        Coded {
            name: name.into(),
            mse: 10f64.powf(-psnr / 10.0),
            psnr,
            levels: levels.iter().map(level).collect(),
            packed: 0.75,
        }
    }

    #[test]
    fn levels_are_summed_and_said() {
        let runs = [
            run("two", 25.0, &[("top", 0.1, 0.125), ("bottom", 0.4, 0.5)]),
            run("low, one", 18.0, &[("", 0.2, 0.25)]),
        ];
        let text = table(&runs, &codecs());
        assert!(
            text.contains(
                "| two | 25.00 | 0.00316 | 0.750 | 0.500 (top 0.100, bottom 0.400) | 0.625 (top \
                 0.125, bottom 0.500) | 2.000 |"
            ),
            "{text}"
        );
        assert!(
            text.contains("| 0.200 | 0.250 | below 1.000, which reaches 20.00 dB |"),
            "{text}"
        );
        let text = csv(&runs, &codecs());
        let rows: Vec<&str> = text.lines().collect();
        assert!(
            rows.iter()
                .all(|r| r.replace("\"low, one\"", "x").matches(',').count() == 9),
            "{text}"
        );
        assert_eq!(
            rows[1],
            "run,two,,,25.0000,0.00316228,0.500000,0.625000,2.000000,0.750000"
        );
        assert_eq!(rows[2], "level,two,top,,,,0.100000,0.125000,,");
        assert_eq!(rows.len(), 1 + 2 + 2 + 2 + 1 + 2);
    }

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
}
