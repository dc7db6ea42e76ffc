//! Priors side by side: one table, and one chart of what they cost.

use super::sweep::{Legend, Series, lines};
use crate::Result;
use std::fmt::Write;

/// The result of a prior.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorResult {
    /// Name of the prior in the table; those of one name and other seeds are averaged.
    pub name: String,
    /// Numbers that were trained.
    pub parameters: usize,
    /// Bits per code held out; NaN of one that predicts hidden codes from all others, whose bits
    /// are no likelihood of an image.
    pub bits: f64,
    /// Median milliseconds of a training step.
    pub ms_per_step: f64,
    /// Seconds of the training, measurements included.
    pub seconds: f64,
    /// Passes of the model that an image took, on average.
    pub passes: f64,
    /// Seconds that an image took.
    pub seconds_per_image: f64,
    /// Measures of the samples: name, value and floor.
    pub figures: Vec<(String, f64, f64)>,
    /// (step, bits per code held out) along the training; empty where `bits` is NaN.
    pub curve: Vec<(f64, f64)>,
}

/// Means over priors of one name, with how many there are, in the order in which names first come.
pub fn averaged(all: &[PriorResult]) -> Vec<(PriorResult, usize)> {
    let mut names: Vec<&str> = Vec::new();
    for r in all {
        if !names.contains(&r.name.as_str()) {
            names.push(&r.name);
        }
    }
    let one = |name: &str| {
        let of: Vec<&PriorResult> = all.iter().filter(|r| r.name == name).collect();
        let mean = |f: &dyn Fn(&PriorResult) -> f64| {
            of.iter().map(|r| f(r)).sum::<f64>() / of.len() as f64
        };
        let points = of.iter().map(|r| r.curve.len()).min().unwrap_or(0);
        let figure = |(i, (name, ..)): (usize, &(String, f64, f64))| {
            let part =
                |f: fn(&(String, f64, f64)) -> f64| mean(&|r| r.figures.get(i).map_or(f64::NAN, f));
            (name.clone(), part(|f| f.1), part(|f| f.2))
        };
        let mean = PriorResult {
            name: name.to_owned(),
            parameters: of[0].parameters,
            bits: mean(&|r| r.bits),
            ms_per_step: mean(&|r| r.ms_per_step),
            seconds: mean(&|r| r.seconds),
            passes: mean(&|r| r.passes),
            seconds_per_image: mean(&|r| r.seconds_per_image),
            figures: of[0].figures.iter().enumerate().map(figure).collect(),
            curve: (0..points)
                .map(|i| (of[0].curve[i].0, mean(&|r| r.curve[i].1)))
                .collect(),
        };
        (mean, of.len())
    };
    names.into_iter().map(one).collect()
}

/// A number, or a dash for one that is not defined.
fn shown(value: f64, digits: usize) -> String {
    match value.is_finite() {
        true => format!("{value:.digits$}"),
        false => "-".into(),
    }
}

/// Returns the table in Markdown.
pub fn table(rows: &[(PriorResult, usize)]) -> String {
    let figures: Vec<&str> = rows
        .first()
        .map_or(&[][..], |(r, _)| &r.figures)
        .iter()
        .map(|(name, ..)| name.as_str())
        .collect();
    let mut head = vec![
        "prior",
        "parameters",
        "bits per code",
        "ms per step",
        "seconds of training",
        "passes an image",
        "seconds an image",
    ];
    head.extend(&figures);
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let own: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = line(&own) + &line(&vec!["---".to_owned(); head.len()]);
    for (r, seeds) in rows {
        let name = match seeds {
            1 => r.name.clone(),
            n => format!("{} ({n} seeds)", r.name),
        };
        let mut cells = vec![
            name,
            r.parameters.to_string(),
            shown(r.bits, 3),
            shown(r.ms_per_step, 0),
            shown(r.seconds, 0),
            shown(r.passes, 1),
            shown(r.seconds_per_image, 3),
        ];
        cells.extend(r.figures.iter().map(|(_, value, _)| shown(*value, 4)));
        text += &line(&cells);
    }
    if let Some((r, _)) = rows.first().filter(|_| !figures.is_empty()) {
        let floor = |(name, _, floor): &(String, f64, f64)| format!("{name} {}", shown(*floor, 4));
        let floors: Vec<String> = r.figures.iter().map(floor).collect();
        let _ = write!(text, "\nreal images get: {}\n", floors.join(", "));
    }
    text
}

/// Returns the bits per code held out along the trainings, as a PNG.
///
/// # Errors
/// If a picture cannot be drawn.
pub fn chart(title: &str, rows: &[(PriorResult, usize)]) -> Result<Vec<u8>> {
    let series: Vec<Series> = rows
        .iter()
        .filter(|(r, _)| !r.curve.is_empty())
        .map(|(r, _)| Series::new(&r.name, r.curve.clone()))
        .collect();
    let words = [title, "bits per code held out", "steps"];
    lines(words, &series, Legend::Column, 900, 460)?.png()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, bits: f64) -> PriorResult {
        PriorResult {
            name: name.into(),
            parameters: 1000,
            bits,
            ms_per_step: 20.0,
            seconds: 8.0,
            passes: 49.0,
            seconds_per_image: 0.25,
            figures: vec![("accuracy".into(), bits / 10.0, 0.875)],
            curve: match bits.is_finite() {
                true => vec![(1.0, 2.0 * bits), (2.0, bits)],
                false => Vec::new(),
            },
        }
    }

    #[test]
    fn seeds_are_averaged_and_what_is_not_defined_is_a_dash() {
        let all = [
            result("any", 4.0),
            result("masked", f64::NAN),
            result("any", 2.0),
        ];
        let rows = averaged(&all);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].1, rows[0].0.bits), (2, 3.0));
        assert_eq!(rows[0].0.curve, [(1.0, 6.0), (2.0, 3.0)]);
        let text = table(&rows);
        for line in [
            "| any (2 seeds) | 1000 | 3.000 | 20 | 8 | 49.0 | 0.250 | 0.3000 |",
            "| masked | 1000 | - | 20 | 8 | 49.0 | 0.250 | - |",
            "real images get: accuracy 0.8750",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(chart("t", &rows).unwrap().len() > 1000);
        assert!(chart("t", &[]).unwrap().len() > 100);
        assert!(!table(&averaged(&[])).contains("real"));
    }
}
