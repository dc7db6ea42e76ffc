//! Comparison of two arrays. NaN and "nothing was compared" fail.

use super::{Data, HostTensor, Tolerance};

/// The result of a comparison.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Elements compared.
    pub compared: usize,
    /// The largest ratio of error to what is allowed: at most 1 passes.
    pub worst: f64,
    /// The largest absolute error.
    pub max_error: f64,
    /// The worst element in words.
    pub detail: String,
    /// Whether all of it held.
    pub pass: bool,
}

impl Verdict {
    /// Joins the verdicts of several outputs into one.
    pub fn join(self, other: Verdict) -> Verdict {
        let detail = if !self.pass || (other.pass && self.worst >= other.worst) {
            self.detail
        } else {
            other.detail
        };
        Verdict {
            compared: self.compared + other.compared,
            worst: if self.worst >= other.worst {
                self.worst
            } else {
                other.worst
            },
            max_error: self.max_error.max(other.max_error),
            detail,
            pass: self.pass && other.pass,
        }
    }
    /// A comparison that failed before there was anything to compare.
    pub fn failure(detail: String) -> Verdict {
        Verdict {
            compared: 0,
            worst: f64::INFINITY,
            max_error: f64::INFINITY,
            detail,
            pass: false,
        }
    }
}

/// Compares element by element; a NaN anywhere, a missing element or nothing to compare fails.
pub fn compare(what: &str, got: &HostTensor, want: &HostTensor, tolerance: Tolerance) -> Verdict {
    if got.shape != want.shape {
        return Verdict::failure(format!(
            "{what}: shape {:?}, expected {:?}",
            got.shape, want.shape
        ));
    }
    let pairs: Vec<(f64, f64)> = match (&got.data, &want.data) {
        (Data::F32(g), Data::F64(w)) => g.iter().zip(w).map(|(g, w)| (*g as f64, *w)).collect(),
        (Data::F64(g), Data::F64(w)) => g.iter().zip(w).map(|(g, w)| (*g, *w)).collect(),
        (Data::U32(g), Data::U32(w)) => g
            .iter()
            .zip(w)
            .map(|(g, w)| (*g as f64, *w as f64))
            .collect(),
        (Data::U8(g), Data::U8(w)) => g
            .iter()
            .zip(w)
            .map(|(g, w)| (*g as f64, *w as f64))
            .collect(),
        _ => return Verdict::failure(format!("{what}: the element types differ")),
    };
    let mut verdict = Verdict {
        compared: pairs.len(),
        worst: 0.0,
        max_error: 0.0,
        detail: format!("{what}: equal"),
        pass: true,
    };
    if pairs.is_empty() || pairs.len() != want.len() {
        return Verdict::failure(format!(
            "{what}: {} elements compared of {}",
            pairs.len(),
            want.len()
        ));
    }
    for (i, (g, w)) in pairs.iter().enumerate() {
        let error = (g - w).abs();
        let allowed = tolerance.abs + tolerance.rel * w.abs();
        let ratio = if error == 0.0 { 0.0 } else { error / allowed };
        // Written so that NaN lands in the failing branch.
        let holds = error <= allowed;
        if !holds {
            if verdict.pass || !(ratio <= verdict.worst) {
                verdict.detail = format!(
                    "{what}[{i}] of {}: got {g:e}, expected {w:e}, error {error:e} > {allowed:e}",
                    pairs.len()
                );
            }
            verdict.pass = false;
            verdict.worst = if ratio.is_nan() {
                f64::INFINITY
            } else {
                verdict.worst.max(ratio)
            };
            verdict.max_error = if error.is_nan() {
                f64::INFINITY
            } else {
                verdict.max_error.max(error)
            };
        } else {
            if verdict.pass && ratio > verdict.worst {
                verdict.detail =
                    format!("{what}[{i}] of {}: got {g:e}, expected {w:e}", pairs.len());
            }
            verdict.worst = verdict.worst.max(ratio);
            verdict.max_error = verdict.max_error.max(error);
        }
    }
    verdict
}
