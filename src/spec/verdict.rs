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
        // Infinities of the same sign are equal, though their difference is NaN.
        let error = if g == w { 0.0 } else { (g - w).abs() };
        // Nothing else is near an infinity.
        let allowed = match w.is_finite() {
            true => tolerance.abs + tolerance.rel * w.abs(),
            false => 0.0,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_are_equal_to_themselves_alone() {
        let tolerance = Tolerance { abs: 1.0, rel: 1.0 };
        let passes = |got: f32, want: f64| {
            let (got, want) = (
                HostTensor::f32(&[1], vec![got]),
                HostTensor::f64(&[1], vec![want]),
            );
            compare("", &got, &want, tolerance).pass
        };
        let (inf, wide) = (f32::INFINITY, f64::INFINITY);
        assert!(passes(inf, wide) && passes(-inf, -wide) && passes(2.0, 1.0));
        for (got, want) in [(inf, -wide), (3e38, wide), (inf, 3e38), (f32::NAN, wide)] {
            assert!(!passes(got, want), "{got} for {want}");
        }
        assert!(!passes(0.0, f64::NAN) && !passes(f32::NAN, f64::NAN));
    }
}
