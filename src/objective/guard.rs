//! Watches a run with a discriminator for collapse. Users of VQ-GANs meet it when the discriminator
//! is first adversarial: reconstructions fall apart, the codebook empties, or gradients explode.

use serde::{Deserialize, Serialize};

/// Rows in a row that must be bad.
const PATIENCE: u32 = 3;
/// Rows, since the discriminator was heard, that the figures are compared with at least.
const LEAST_ROWS: usize = 3;
/// A mean squared error this many times its least so far is a collapse. A discriminator costs some:
/// 1.2 to 2 times are usual.
const WORSE: f64 = 4.0;
/// So is a use of codes below this share of that before.
const FEWER: f64 = 0.25;
/// And gradients this many times their median so far.
const STEEPER: f64 = 100.0;
/// Gradients' norms that are remembered.
const REMEMBERED: usize = 64;

/// A row of the log, as far as the guard reads it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Steps done.
    pub(crate) step: u64,
    /// Mean squared error.
    pub(crate) reconstruction: f64,
    /// Codes in use.
    pub(crate) used: f64,
    /// Norm of the model's gradients.
    pub(crate) norm: f64,
    /// Whether the discriminator takes part.
    pub(crate) adversarial: bool,
}

/// Observations so far. They follow from the rows alone, and are kept in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Guard {
    least: Option<f64>,
    most_used: f64,
    #[serde(deserialize_with = "finite")]
    norms: Vec<f64>,
    bad: u32,
}

/// Reads norms, and leaves out those that are not finite, which JSON has as null.
fn finite<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let norms = Vec::<Option<f64>>::deserialize(from)?;
    Ok(norms.into_iter().flatten().collect())
}

impl Guard {
    /// Looks at one more row. Returns what has collapsed, where something has.
    pub(crate) fn observe(&mut self, row: Sample) -> Option<String> {
        let median = self.median();
        let before = self.clone();
        self.least = Some(
            self.least
                .map_or(row.reconstruction, |least| least.min(row.reconstruction)),
        );
        self.most_used = self.most_used.max(row.used);
        if !row.adversarial || before.norms.len() < LEAST_ROWS {
            self.remember(row.norm);
            return None;
        }
        let found = self.wrong(&before, median, row);
        match &found {
            // What is bad is no measure of what comes.
            Some(_) => self.bad = before.bad + 1,
            None => {
                self.bad = 0;
                self.remember(row.norm);
            }
        }
        found.filter(|_| self.bad >= PATIENCE)
    }

    fn wrong(&self, before: &Guard, median: f64, row: Sample) -> Option<String> {
        let step = row.step;
        let least = before.least.unwrap_or(row.reconstruction);
        if row.reconstruction > WORSE * least {
            let (now, times) = (row.reconstruction, row.reconstruction / least);
            return Some(format!(
                "reconstructions fall apart at step {step}: their error is {now:.4}, {times:.1} \
                 times the least so far"
            ));
        }
        if row.used < FEWER * before.most_used {
            return Some(format!(
                "the codebook collapses at step {step}: {:.0} codes in use, {:.0} before",
                row.used, before.most_used
            ));
        }
        if row.norm > STEEPER * median {
            return Some(format!(
                "gradients explode at step {step}: their norm is {:.3}, {median:.3} before",
                row.norm
            ));
        }
        None
    }

    fn median(&self) -> f64 {
        let mut all = self.norms.clone();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::INFINITY)
    }

    fn remember(&mut self, norm: f64) {
        // That of a step whose gradients overflowed says nothing of what is usual.
        if !norm.is_finite() {
            return;
        }
        if self.norms.len() == REMEMBERED {
            self.norms.remove(0);
        }
        self.norms.push(norm);
    }

    /// Whether nothing was wrong at the last row. A checkpoint made then is one to go back to.
    pub(crate) fn is_sound(&self) -> bool {
        self.bad == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(i: u64) -> Sample {
        Sample {
            step: 10 * i,
            reconstruction: 0.02,
            used: 200.0,
            norm: 1.0,
            adversarial: i > 5,
        }
    }

    fn told(worse: impl Fn(&mut Sample), rows: u64) -> Option<String> {
        let mut guard = Guard::default();
        assert!((0..20).all(|i| guard.observe(row(i)).is_none() && guard.is_sound()));
        let mut found = None;
        for i in 20..20 + rows {
            let mut seen = row(i);
            worse(&mut seen);
            found = found.or(guard.observe(seen));
        }
        assert!(!guard.is_sound());
        found
    }

    #[test]
    fn a_collapse_is_told_after_three_rows_with_its_figure() {
        assert!(
            told(|s| s.reconstruction = 0.1, 3)
                .unwrap()
                .contains("5.0 times")
        );
        assert!(
            told(|s| s.used = 20.0, 3)
                .unwrap()
                .contains("20 codes in use, 200 before")
        );
        assert!(told(|s| s.norm = 1e4, 3).unwrap().contains("explode"));
        assert_eq!(told(|s| s.norm = 1e4, 2), None);
    }

    /// A step that overflows is skipped, and the loss scale halved: usual in mixed precision.
    #[test]
    fn an_overflow_is_not_remembered() {
        let mut guard = Guard::default();
        for i in 0..20 {
            let norm = if i % 2 == 0 { f64::INFINITY } else { 1.0 };
            assert_eq!(
                guard.observe(Sample {
                    norm,
                    adversarial: false,
                    ..row(i)
                }),
                None
            );
        }
        assert_eq!(guard.norms, [1.0; 10]);
        let text = serde_json::to_string(&guard).unwrap();
        let older = text.replacen("[1.0", "[null,1.0", 1);
        for text in [text, older] {
            assert_eq!(serde_json::from_str::<Guard>(&text).unwrap(), guard);
        }
    }

    /// The usual price of a discriminator is no collapse, nor is disorder before it takes part.
    #[test]
    fn the_usual_price_is_no_collapse() {
        let mut guard = Guard::default();
        for i in 0..60 {
            let reconstruction = if i < 2 {
                1.0
            } else if i < 10 {
                0.02
            } else {
                0.05
            };
            let norm = if i % 7 == 0 { 20.0 } else { 1.0 };
            assert_eq!(
                guard.observe(Sample {
                    reconstruction,
                    norm,
                    ..row(i)
                }),
                None,
                "{i}"
            );
        }
        let again: Guard = serde_json::from_str(&serde_json::to_string(&guard).unwrap()).unwrap();
        assert_eq!(again, guard);
    }
}
