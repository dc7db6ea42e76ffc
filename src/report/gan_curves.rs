//! Curves of model and discriminator over a run: a chart for each metric of both.

use super::canvas::{Canvas, Colour};
use super::curves::{Curve, curve};
use crate::Result;

/// Charts: the log's column, what stands over it, a logarithmic axis, and whose it is.
const CHARTS: [(&str, &str, bool, Whose); 9] = [
    (
        "reconstruction",
        "mean squared error, pixels in [-1, 1]",
        true,
        Whose::Model,
    ),
    (
        "generator",
        "generator's adversarial loss",
        false,
        Whose::Model,
    ),
    ("features", "feature matching", false, Whose::Model),
    (
        "gradient_norm",
        "norm of the model's gradients",
        true,
        Whose::Model,
    ),
    (
        "adversarial_weight",
        "weight of the discriminator's word",
        false,
        Whose::Model,
    ),
    (
        "discriminator",
        "discriminator's loss",
        false,
        Whose::Discriminator,
    ),
    (
        "logits_real",
        "mean logit for originals",
        false,
        Whose::Discriminator,
    ),
    (
        "logits_fake",
        "mean logit for reconstructions",
        false,
        Whose::Discriminator,
    ),
    (
        "discriminator_gradient_norm",
        "norm of the discriminator's gradients",
        true,
        Whose::Discriminator,
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Model,
    Discriminator,
}

const PANEL: [usize; 2] = [440, 300];
const ACROSS: usize = 3;
/// Around and between the charts.
const MARGIN: usize = 24;

/// Draws the charts of a log's columns, by name, as the bytes of a PNG file. A column that is
/// missing leaves its chart empty.
///
/// # Errors
/// If columns have other lengths than that of `step`.
pub fn gan_curves(columns: &[(String, Vec<f64>)]) -> Result<Vec<u8>> {
    let column = |name: &str| {
        columns
            .iter()
            .find(|(n, _)| n == name)
            .map_or(&[][..], |(_, values)| values)
    };
    let steps = column("step");
    let [width, height] = PANEL;
    let across = |charts: usize, side: usize| charts * (side + MARGIN) + MARGIN;
    let size = [
        across(ACROSS, width),
        across(CHARTS.len().div_ceil(ACROSS), height),
    ];
    let mut canvas = Canvas::new(size[0], size[1], Colour::WHITE)?;
    for (i, (name, title, log, whose)) in CHARTS.into_iter().enumerate() {
        let values = column(name);
        let colour = if whose == Whose::Model {
            Colour(37, 99, 235)
        } else {
            Colour(217, 119, 6)
        };
        let steps = if values.is_empty() { &[][..] } else { steps };
        let chart = Curve {
            title,
            steps,
            values,
            reference: &[],
            log,
            ceiling: None,
            colour,
        };
        canvas.place(
            across(i % ACROSS, width),
            across(i / ACROSS, height),
            &curve(&chart, width, height)?,
        );
    }
    canvas.png()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_has_its_chart() {
        let steps: Vec<f64> = (1..40).map(f64::from).collect();
        let of = |name: &str| {
            (
                name.to_owned(),
                steps
                    .iter()
                    .map(|s| (s / 9.0).sin() + 1.5)
                    .collect::<Vec<f64>>(),
            )
        };
        let mut columns = vec![("step".to_owned(), steps.clone())];
        let draw = |columns: &[(String, Vec<f64>)]| {
            let picture = image::load_from_memory(&gan_curves(columns).unwrap())
                .unwrap()
                .to_rgb8();
            assert_eq!(picture.dimensions(), (3 * 464 + 24, 3 * 324 + 24));
            picture
        };
        let empty = draw(&columns);
        columns.extend(CHARTS.iter().map(|(name, ..)| of(name)));
        let full = draw(&columns);
        for (i, (_, _, _, whose)) in CHARTS.iter().enumerate() {
            let ink = if *whose == Whose::Model {
                [37, 99, 235]
            } else {
                [217, 119, 6]
            };
            let inked = |p: &image::RgbImage| {
                let inside = |x: u32, y: u32| {
                    x.saturating_sub(24) / 464 + 3 * (y.saturating_sub(24) / 324) == i as u32
                };
                p.enumerate_pixels()
                    .filter(|(x, y, c)| inside(*x, *y) && c.0 == ink)
                    .count()
            };
            assert!(inked(&full) > 100 && inked(&empty) == 0, "{i}");
        }
        columns[1].1.pop();
        assert!(gan_curves(&columns).is_err());
    }
}
