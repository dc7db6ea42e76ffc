//! Robustness of codes to changed pixels: a chart, a table, and rows for a file.

use super::axes::{self, Axis, Frame, Words};
use super::canvas::{Canvas, Colour};
use super::stroke;
use super::text::{self, Align, Style};
use crate::Result;
use crate::analysis::robustness::{Outcome, Perturbation};
use crate::storage::table;

const SURVIVING: Colour = Colour(0, 114, 178);
const LATENTS: Colour = Colour(213, 94, 0);
const QUANTIZED: Colour = Colour(0, 158, 115);
const LABEL: Style = Style::regular(12.0, Colour::INK);
const PANEL: usize = 560;
const HEIGHT: usize = 360;
const BETWEEN: usize = 40;
const LINE: usize = 20;
const MARGIN: usize = 24;

/// Returns the name of a perturbation in pictures.
fn title(by: Perturbation) -> [&'static str; 2] {
    match by {
        Perturbation::Noise => [
            "noise on every pixel",
            "Gaussian; its deviation in grey levels of 255",
        ],
        Perturbation::GradientSign => [
            "pixels changed against the model",
            "gradient-sign (FGSM); the change in grey levels of 255",
        ],
    }
}

/// Draws a chart to each perturbation: codes that survive, and how far latents drift.
///
/// # Errors
/// [`crate::Error::Invalid`] for an impossible size.
pub fn chart(outcomes: &[Outcome]) -> Result<Canvas> {
    let books = outcomes.first().map_or(0, |o| o.by_book.len());
    let lines = if books > 1 { 4 } else { 3 };
    let mut canvas = Canvas::new(
        2 * PANEL + BETWEEN,
        HEIGHT + 16 + lines * LINE,
        Colour::WHITE,
    )?;
    let top = outcomes
        .iter()
        .flat_map(|o| [o.latents, o.quantized])
        .filter(|v| v.is_finite())
        .fold(1.0, f64::max);
    for (i, by) in Perturbation::ALL.into_iter().enumerate() {
        let of: Vec<&Outcome> = outcomes.iter().filter(|o| o.by == by).collect();
        canvas.place(i * (PANEL + BETWEEN), 0, &panel(by, &of, top)?);
    }
    let mut names = vec![
        (SURVIVING, 2.5, "codes that stay the same"),
        (
            LATENTS,
            2.5,
            "drift of the encoder's continuous latents: length of the change / length of the \
             latents",
        ),
        (
            QUANTIZED,
            2.5,
            "drift of the quantized latents, which is what the decoder is given",
        ),
    ];
    if books > 1 {
        names.insert(
            1,
            (
                SURVIVING.tint(0.55),
                1.0,
                "the same in each codebook, the first on top where later ones are finer",
            ),
        );
    }
    for (n, (colour, thick, name)) in names.into_iter().enumerate() {
        let y = (HEIGHT + 20 + n * LINE) as f32;
        stroke::path(&mut canvas, &[(48.0, y), (76.0, y)], thick, colour);
        text::draw(&mut canvas, 86.0, y, name, LABEL, Align::Left)?;
    }
    canvas.with_margin(MARGIN)
}

fn panel(by: Perturbation, of: &[&Outcome], top: f64) -> Result<Canvas> {
    let mut canvas = Canvas::new(PANEL, HEIGHT, Colour::WHITE)?;
    let [title, caption] = title(by);
    let words = Words {
        title,
        caption,
        x: "strength",
    };
    let Some(last) = of.iter().map(|o| o.strength).reduce(f64::max) else {
        axes::empty(&mut canvas, &words, "nothing was measured")?;
        return Ok(canvas);
    };
    let percent = |v: f64| format!("{}%", axes::short(v * 100.0));
    let frame = Frame::draw(
        &mut canvas,
        &words,
        Axis::linear(0.0, last, 8),
        Axis::linear(0.0, top * 1.04, 6),
        percent,
    )?;
    let line =
        |canvas: &mut Canvas, value: &dyn Fn(&Outcome) -> f64, thick: f32, colour: Colour| {
            let points: Vec<(f32, f32)> = of
                .iter()
                .filter_map(|o| frame.place(o.strength, value(o)))
                .collect();
            stroke::path(canvas, &points, thick, colour);
            if thick > 2.0 {
                points
                    .iter()
                    .for_each(|p| stroke::path(canvas, &[*p], 6.0, colour));
            }
        };
    let books = of.iter().map(|o| o.by_book.len()).min().unwrap_or(0);
    if books > 1 {
        (0..books).for_each(|b| line(&mut canvas, &|o| o.by_book[b], 1.0, SURVIVING.tint(0.55)));
    }
    line(&mut canvas, &|o| o.latents, 2.5, LATENTS);
    line(&mut canvas, &|o| o.quantized, 2.5, QUANTIZED);
    line(&mut canvas, &|o| o.surviving, 2.5, SURVIVING);
    Ok(canvas)
}

/// Returns the header of a table, and its rows, as text.
pub fn table(outcomes: &[Outcome]) -> (Vec<String>, Vec<Vec<String>>) {
    let books = outcomes.first().map_or(0, |o| o.by_book.len());
    let mut head: Vec<String> = ["change", "strength", "codes that stay"]
        .map(String::from)
        .to_vec();
    if books > 1 {
        head.extend((1..=books).map(|b| format!("in codebook {b}")));
    }
    head.extend(["latents drift", "quantized drift"].map(String::from));
    let percent = |v: &f64| format!("{:.1}%", v * 100.0);
    let row = |o: &Outcome| {
        let name = if o.by == Perturbation::Noise {
            "noise"
        } else {
            "gradient sign"
        };
        let mut row = vec![
            name.to_owned(),
            axes::short(o.strength),
            percent(&o.surviving),
        ];
        if books > 1 {
            row.extend(o.by_book.iter().map(percent));
        }
        row.extend([percent(&o.latents), percent(&o.quantized)]);
        row
    };
    (head, outcomes.iter().map(row).collect())
}

/// The outcomes as CSV: `surviving_N` is codebook N's.
pub fn csv(outcomes: &[Outcome]) -> String {
    let books = outcomes.first().map_or(0, |o| o.by_book.len());
    let names = [
        "perturbation",
        "strength",
        "surviving",
        "latents_drift",
        "quantized_drift",
    ];
    let mut header = names.map(str::to_owned).to_vec();
    header.extend((1..=books).map(|b| format!("surviving_{b}")));
    let row = |o: &Outcome| {
        let mut row = vec![o.by.name().to_string(), o.strength.to_string()];
        let shares = [o.surviving, o.latents, o.quantized];
        row.extend(shares.iter().chain(&o.by_book).map(|x| format!("{x:.6}")));
        row
    };
    table::csv(std::iter::once(header).chain(outcomes.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(books: usize) -> Vec<Outcome> {
        let one = |by: Perturbation, strength: f64| Outcome {
            by,
            strength,
            surviving: 1.0 / (1.0 + strength),
            by_book: (0..books)
                .map(|b| 1.0 / (1.0 + strength * (b + 1) as f64))
                .collect(),
            latents: strength / 20.0,
            quantized: strength / 30.0,
        };
        Perturbation::ALL
            .iter()
            .flat_map(|by| by.strengths().iter().map(move |s| one(*by, *s)))
            .collect()
    }

    #[test]
    fn lines_are_drawn_and_rows_written() {
        for books in [1, 3] {
            let all = outcomes(books);
            let picture = chart(&all).unwrap();
            for colour in [SURVIVING, LATENTS, QUANTIZED] {
                let seen = picture
                    .pixels()
                    .chunks(3)
                    .filter(|p| *p == [colour.0, colour.1, colour.2])
                    .count();
                assert!(seen > 500, "{colour:?}: {seen}");
            }
            let (head, rows) = table(&all);
            assert!(rows.len() == all.len() && rows.iter().all(|r| r.len() == head.len()));
            let csv = csv(&all);
            let columns: Vec<usize> = csv.lines().map(|l| l.split(',').count()).collect();
            assert!(
                columns.len() == all.len() + 1 && columns.iter().all(|n| *n == 5 + books),
                "{csv}"
            );
            assert!(csv.contains("noise,0,1.000000,0.000000"), "{csv}");
        }
        chart(&[]).unwrap();
    }
}
