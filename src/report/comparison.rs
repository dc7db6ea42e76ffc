//! Runs side by side: one table, one chart, and where a larger codebook stops helping.

use super::canvas::{Canvas, Colour};
use super::sweep::{Legend, Series, sweep};
use crate::Result;
use std::fmt::Write;

/// The result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunResult {
    /// Name of the run in the table; runs of one name and other seeds are averaged.
    pub name: String,
    /// Codes of all codebooks.
    pub codes: usize,
    /// Mean squared error of the test split, pixels in [0, 1].
    pub mse: f64,
    /// PSNR in dB.
    pub psnr: f64,
    /// NaN where images are too small for it.
    pub ssim: f64,
    /// Mean over codebooks.
    pub perplexity: f64,
    /// Codes used.
    pub used: f64,
    /// Bits per pixel of the codes' entropy.
    pub bits_per_pixel: f64,
    /// Median milliseconds of a training step; NaN where it was not measured.
    pub ms_per_step: f64,
    /// (step, test MSE) along the run.
    pub mse_curve: Vec<(f64, f64)>,
    /// (step, perplexity of the test split) along the run.
    pub perplexity_curve: Vec<(f64, f64)>,
}

/// Means over runs of one name, in the order in which names first come.
pub fn averaged(runs: &[RunResult]) -> Vec<(RunResult, usize)> {
    let mut names: Vec<&str> = Vec::new();
    runs.iter().for_each(|r| {
        if !names.contains(&r.name.as_str()) {
            names.push(&r.name)
        }
    });
    let mean = |of: &[&RunResult], f: fn(&RunResult) -> f64| {
        of.iter().map(|r| f(r)).sum::<f64>() / of.len() as f64
    };
    let curve = |of: &[&RunResult], f: fn(&RunResult) -> &Vec<(f64, f64)>| -> Vec<(f64, f64)> {
        let shortest = of.iter().map(|r| f(r).len()).min().unwrap_or(0);
        let at = |i: usize| {
            (
                f(of[0])[i].0,
                of.iter().map(|r| f(r)[i].1).sum::<f64>() / of.len() as f64,
            )
        };
        (0..shortest).map(at).collect()
    };
    names
        .into_iter()
        .map(|name| {
            let of: Vec<&RunResult> = runs.iter().filter(|r| r.name == name).collect();
            let all = RunResult {
                name: name.to_owned(),
                codes: of[0].codes,
                mse: mean(&of, |r| r.mse),
                psnr: mean(&of, |r| r.psnr),
                ssim: mean(&of, |r| r.ssim),
                perplexity: mean(&of, |r| r.perplexity),
                used: mean(&of, |r| r.used),
                bits_per_pixel: mean(&of, |r| r.bits_per_pixel),
                ms_per_step: mean(&of, |r| r.ms_per_step),
                mse_curve: curve(&of, |r| &r.mse_curve),
                perplexity_curve: curve(&of, |r| &r.perplexity_curve),
            };
            (all, of.len())
        })
        .collect()
}

/// A number, or nothing for one that was not measured.
fn shown(value: f64, digits: usize) -> String {
    if value.is_finite() {
        format!("{value:.digits$}")
    } else {
        "-".into()
    }
}

/// Returns the table in Markdown.
pub fn table(rows: &[(RunResult, usize)]) -> String {
    let mut text = String::from(
        "| quantizer | test MSE | PSNR, dB | SSIM | perplexity | codes used | bits per pixel | ms \
         per step |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (r, seeds) in rows {
        let name = if *seeds > 1 {
            format!("{} ({seeds} seeds)", r.name)
        } else {
            r.name.clone()
        };
        let used = format!(
            "{} of {} ({:.0} %)",
            shown(r.used, 0),
            r.codes,
            100.0 * r.used / r.codes.max(1) as f64
        );
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {used} | {} | {} |",
            shown(r.mse, 5),
            shown(r.psnr, 2),
            shown(r.ssim, 3),
            shown(r.perplexity, 1),
            shown(r.bits_per_pixel, 3),
            shown(r.ms_per_step, 0),
        );
    }
    text
}

/// Returns the runs' results beside another program's of the same names, in Markdown; `None` where
/// no name is in both.
pub fn held_against(rows: &[(RunResult, usize)], beside: &[(RunResult, usize)]) -> Option<String> {
    let mut text = String::from(
        "| quantizer | test MSE | beside | ratio | perplexity | beside | codes used | beside |\n| \
         --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut found = false;
    for (ours, _) in rows {
        for (theirs, _) in beside.iter().filter(|(b, _)| b.name == ours.name) {
            found = true;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} |",
                ours.name,
                shown(ours.mse, 5),
                shown(theirs.mse, 5),
                shown(ours.mse / theirs.mse, 2),
                shown(ours.perplexity, 1),
                shown(theirs.perplexity, 1),
                shown(ours.used, 0),
                shown(theirs.used, 0),
            );
        }
    }
    found.then_some(text)
}

/// Returns the test error and the perplexity along the runs, side by side; `beside` are another
/// program's, drawn thinly after the run of the same name.
///
/// # Errors
/// If a picture cannot be drawn.
pub fn curves(
    title: &str,
    rows: &[(RunResult, usize)],
    beside: &[(RunResult, usize)],
) -> Result<Vec<u8>> {
    let series = |f: fn(&RunResult) -> &Vec<(f64, f64)>| -> Vec<Series> {
        let mut all = Vec::new();
        for (r, _) in rows {
            all.push(Series::new(&r.name, f(r).clone()));
            let of = beside.iter().filter(|(b, _)| b.name == r.name);
            all.extend(of.map(|(b, _)| Series {
                beside: true,
                ..Series::new("thin: beside", f(b).clone())
            }));
        }
        all
    };
    let mse = sweep(
        [title, "test MSE, pixels in [0, 1]", "steps"],
        &series(|r| &r.mse_curve),
        Legend::Elsewhere,
        600,
        460,
    )?;
    let words = ["", "perplexity of the test split", "steps"];
    let perplexity = sweep(
        words,
        &series(|r| &r.perplexity_curve),
        Legend::Column,
        750,
        460,
    )?;
    pair(&mse, &perplexity)
}

/// Returns the test error and the share of codes used against the codes that there are, a line to
/// each quantizer.
///
/// # Errors
/// If a picture cannot be drawn.
pub fn sizes(title: &str, lines: &[(String, Vec<RunResult>)]) -> Result<Vec<u8>> {
    let series = |f: fn(&RunResult) -> f64| -> Vec<Series> {
        let line = |(name, runs): &(String, Vec<RunResult>)| {
            Series::new(name, runs.iter().map(|r| (r.codes as f64, f(r))).collect())
        };
        lines.iter().map(line).collect()
    };
    let mse = sweep(
        [title, "test MSE, pixels in [0, 1]", "codes"],
        &series(|r| r.mse),
        Legend::Elsewhere,
        600,
        460,
    )?;
    let used = sweep(
        ["", "codes used", "codes"],
        &series(|r| r.used),
        Legend::Column,
        750,
        460,
    )?;
    pair(&mse, &used)
}

fn pair(left: &Canvas, right: &Canvas) -> Result<Vec<u8>> {
    let mut both = Canvas::new(
        left.width() + right.width(),
        left.height().max(right.height()),
        Colour::WHITE,
    )?;
    both.place(0, 0, left);
    both.place(left.width(), 0, right);
    both.png()
}

/// Returns the smallest codebook on which no larger one gains a hundredth, in words. Runs in the
/// order of their codes.
pub fn saturation(name: &str, runs: &[RunResult]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let enough = |i: &usize| {
        runs[i + 1..]
            .iter()
            .all(|larger| larger.mse > 0.99 * runs[*i].mse)
    };
    let Some(best) = (0..runs.len()).find(enough).map(|i| &runs[i]) else {
        return String::new();
    };
    if let Some(largest) = runs.last().filter(|run| run.codes > best.codes) {
        return format!(
            "{name}: a larger codebook reconstructs better up to {} codes (test MSE {:.5}); {} \
             codes reach {:.5}, with {:.0} of them in use",
            best.codes, best.mse, largest.codes, largest.mse, largest.used
        );
    }
    format!(
        "{name}: a larger codebook reconstructs better up to the largest tried, {} codes (test \
         MSE {:.5})",
        best.codes, best.mse
    )
}

/// Renamed to [`RunResult`].
#[deprecated(since = "0.2.0", note = "renamed to `RunResult`")]
pub type Reached = RunResult;

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(name: &str, codes: usize, mse: f64) -> RunResult {
        RunResult {
            name: name.into(),
            codes,
            mse,
            psnr: -10.0 * mse.log10(),
            ssim: 0.9,
            perplexity: 40.0,
            used: 50.0,
            bits_per_pixel: 0.3,
            ms_per_step: f64::NAN,
            mse_curve: vec![(10.0, 2.0 * mse), (20.0, mse)],
            perplexity_curve: vec![(10.0, 20.0), (20.0, 40.0)],
        }
    }

    #[test]
    fn seeds_are_averaged_and_names_kept_in_order() {
        let rows = averaged(&[
            reached("b", 64, 0.02),
            reached("a", 64, 0.5),
            reached("b", 64, 0.04),
        ]);
        assert_eq!(
            (rows[0].0.name.as_str(), rows[0].1, rows[1].0.name.as_str()),
            ("b", 2, "a")
        );
        assert!((rows[0].0.mse - 0.03).abs() < 1e-12);
        assert!((rows[0].0.mse_curve[0].1 - 0.06).abs() < 1e-12);
        let text = table(&rows);
        assert!(
            text.contains("| b (2 seeds) | 0.03000 |") && text.contains("50 of 64 (78 %)"),
            "{text}"
        );
        assert!(
            text.contains("| - |\n"),
            "a pace that was not measured is a dash: {text}"
        );
    }

    #[test]
    fn only_names_that_both_have_are_held_against_each_other() {
        let (ours, theirs) = (
            averaged(&[reached("a", 64, 0.02), reached("b", 64, 0.5)]),
            averaged(&[reached("b", 64, 0.25)]),
        );
        let text = held_against(&ours, &theirs).unwrap();
        assert!(
            text.contains("| b | 0.50000 | 0.25000 | 2.00 |") && !text.contains("| a |"),
            "{text}"
        );
        assert_eq!(held_against(&ours, &[]), None);
    }

    #[test]
    fn saturation_is_where_the_error_stops_falling() {
        let runs = [
            (64, 0.02),
            (128, 0.0199),
            (256, 0.015),
            (512, 0.0149),
            (1024, 0.0155),
        ];
        let runs = runs.map(|(k, mse)| reached("x", k, mse));
        let text = saturation("ema", &runs);
        // A step that gains little, before one that gains much, is no end.
        assert!(
            text.contains("up to 256 codes") && text.contains("1024 codes reach"),
            "{text}"
        );
        assert!(saturation("ema", &runs[..3]).contains("the largest tried, 256"));
        assert_eq!(saturation("ema", &runs[..1]), "");
    }

    #[test]
    fn charts_are_drawn_from_anything() {
        let rows = averaged(&[reached("a", 64, 0.02), reached("b", 128, 0.01)]);
        assert!(curves("t", &rows, &rows).unwrap().len() > 1000);
        assert!(curves("t", &[], &[]).unwrap().len() > 100);
        assert!(
            sizes("t", &[("a".into(), vec![reached("a", 64, 0.02)])])
                .unwrap()
                .len()
                > 1000
        );
    }
}
