//! Watching a run while it trains: a codebook that collapses, and a loss that runs away. What is
//! said names the figure, the likely cause and what to change.

use crate::metrics::Row;
use crate::quantize::Options;
use serde::{Deserialize, Serialize};

/// Steps before a codebook is judged: it begins in disorder.
const WARM_UP: u64 = 200;
/// A codebook that uses less than this share of what it could is collapsing.
const LEAST_USE: f64 = 0.1;
/// Rows of the log in a row that must say so.
const PATIENCE: u32 = 5;
/// A loss this many times the least so far has run away.
const RUNAWAY: f64 = 20.0;

/// A warning about a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Warning {
    /// Few codes are in use.
    Collapse(String),
    /// The loss grows.
    Runaway(String),
}

impl Warning {
    /// Returns the mistake, the likely cause and what to change.
    pub fn text(&self) -> &str {
        match self {
            Warning::Collapse(text) | Warning::Runaway(text) => text,
        }
    }

    /// Returns the warning with the name of a level.
    pub fn at_level(self, name: &str) -> Warning {
        match self {
            Warning::Collapse(text) if !name.is_empty() => {
                Warning::Collapse(format!("{name} level: {text}"))
            }
            other => other,
        }
    }
}

/// Observations of a run. They follow from the rows alone, and are kept in checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    low: u32,
    least_loss: Option<f64>,
    told_collapse: bool,
    told_runaway: bool,
}

/// The most of a codebook that a step can use.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Codes of all codebooks.
    pub codes: usize,
    /// Latents of a step, times the codebooks.
    pub choices: usize,
}

impl Health {
    /// Looks at one more row. Each warning is given once.
    pub fn observe(&mut self, row: &Row, capacity: Capacity, options: &Options) -> Vec<Warning> {
        let mut found = Vec::new();
        let could = capacity.codes.min(capacity.choices) as f64;
        let low = row.step >= WARM_UP && row.codes.used < LEAST_USE * could;
        self.low = if low { self.low + 1 } else { 0 };
        if self.low >= PATIENCE && !self.told_collapse {
            self.told_collapse = true;
            found.push(Warning::Collapse(collapse(row, capacity, options)));
        }
        let least = self
            .least_loss
            .map_or(row.losses.loss, |l| l.min(row.losses.loss));
        self.least_loss = Some(least);
        if least > 0.0
            && row.losses.loss > RUNAWAY * least
            && row.step >= WARM_UP
            && !self.told_runaway
        {
            self.told_runaway = true;
            found.push(Warning::Runaway(format!(
                "the loss is {:.4} at step {}, {:.0} times the least so far: training runs away. \
                 Lower train.lr, or set train.grad_clip = 1; --auto-recover halves the rate",
                row.losses.loss,
                row.step,
                row.losses.loss / least
            )));
        }
        found
    }

    /// Begins to judge anew, after a recovery.
    pub fn resolved(&mut self) {
        *self = Health {
            least_loss: self.least_loss,
            ..Health::default()
        };
    }
}

fn collapse(row: &Row, capacity: Capacity, o: &Options) -> String {
    let what = format!(
        "the codebook collapses: {:.0} of {} codes in use at step {}, perplexity {:.1}",
        row.codes.used, capacity.codes, row.step, row.codes.perplexity
    );
    let way_out = match o.kind.as_str() {
        "gumbel" => {
            "the temperature falls too fast, or kl_weight is too small: raise \
             quantizer.temperature_steps or quantizer.kl_weight"
        }
        "fsq" => "the latents hardly move: train longer, or with a larger train.lr",
        "lfq" | "bsq" => {
            "the entropy loss is too weak: raise quantizer.entropy_loss_weight or \
             quantizer.diversity_gamma"
        }
        "ibq" if !o.normalize_latents => {
            "few codes have large products with the latents: set quantizer.normalize_latents = true"
        }
        "ibq" => {
            "few codes have large products with the latents: raise \
             quantizer.entropy_loss_weight or quantizer.diversity_gamma"
        }
        "simvq" => {
            "the map learns too slowly: raise train.lr, or take fewer quantizer.codebook_dim"
        }
        _ if o.threshold_ema_dead_code == 0.0 => {
            "dead codes are not revived: set quantizer.threshold_ema_dead_code = -1 \
             (--auto-recover does), or place the codes by quantizer.kmeans_init = true"
        }
        _ => {
            "the codes lie far from the latents: take fewer quantizer.codebook_dim (8 to 32), \
             quantizer.kmeans_init = true, or another quantizer.decay"
        }
    };
    format!("{what}. Likely cause and way out: {way_out}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CodeMetrics, LevelRow, LossMetrics};

    fn row(step: u64, used: f64, loss: f64) -> Row {
        let level = LevelRow {
            name: String::new(),
            codes: 1,
            codebooks: 1,
            metrics: CodeMetrics {
                perplexity: used,
                used,
                ..Default::default()
            },
        };
        let losses = LossMetrics {
            loss,
            reconstruction: loss,
            ..Default::default()
        };
        Row::new(step, losses, vec![level])
    }

    #[test]
    fn collapse_is_told_once_with_a_way_out() {
        let capacity = Capacity {
            codes: 512,
            choices: 2048,
        };
        let dead = Options {
            threshold_ema_dead_code: 0.0,
            ..Options::default()
        };
        let mut health = Health::default();
        let mut told = Vec::new();
        for step in (10..600).step_by(10) {
            told.extend(health.observe(&row(step, 20.0, 0.1), capacity, &dead));
        }
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].text().contains("20 of 512")
                && told[0].text().contains("threshold_ema_dead_code")
        );
        let mut health = Health::default();
        let fine = (10..600)
            .step_by(10)
            .flat_map(|s| health.observe(&row(s, 300.0, 0.1), capacity, &dead))
            .count();
        assert_eq!(fine, 0);
        // Few latents cannot use many codes: 64 in use of 65,536 by 128 latents is no collapse.
        let capacity = Capacity {
            codes: 65_536,
            choices: 128,
        };
        let mut health = Health::default();
        assert_eq!(
            (10..600)
                .step_by(10)
                .flat_map(|s| health.observe(&row(s, 64.0, 0.1), capacity, &dead))
                .count(),
            0
        );
    }

    #[test]
    fn a_loss_that_runs_away_is_told() {
        let capacity = Capacity {
            codes: 8,
            choices: 64,
        };
        let mut health = Health::default();
        let told: Vec<Warning> = (1..60)
            .flat_map(|i| {
                health.observe(
                    &row(10 * i, 8.0, if i < 40 { 0.1 } else { 9.0 }),
                    capacity,
                    &Options::default(),
                )
            })
            .collect();
        assert!(
            matches!(&told[..], [Warning::Runaway(text)] if text.contains("90 times")),
            "{told:?}"
        );
    }
}
