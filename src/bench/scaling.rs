//! Scaling of cost: lists of sizes to walk, and the exponent that the times follow.

use crate::spec::Case;

/// Sizes to take in place of a case's own: every combination of the lists.
#[derive(Clone, Debug, Default)]
pub struct Sweep(pub Vec<(String, Vec<usize>)>);

impl Sweep {
    /// Returns the cases, the last size changing fastest.
    pub fn cases(&self, base: &Case) -> Vec<Case> {
        let mut cases = vec![base.clone()];
        for (name, values) in &self.0 {
            cases = cases
                .iter()
                .flat_map(|c| values.iter().map(|v| c.with(name, *v)))
                .collect();
        }
        cases
    }
}

/// Returns the slope of log y over log x by least squares: the b of y = a x^b. `None` for fewer
/// than three points, or one that has no logarithm.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (mx, my) = (
        logs.iter().map(|p| p.0).sum::<f64>() / n,
        logs.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let (sxy, sxx) = logs.iter().fold((0.0, 0.0), |(a, b), (x, y)| {
        (a + (x - mx) * (y - my), b + (x - mx) * (x - mx))
    });
    let slope = sxy / sxx;
    (logs.len() >= 3 && slope.is_finite()).then_some(slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::case;

    #[test]
    fn sweeps_walk_every_combination() {
        let sweep = Sweep(vec![("n".into(), vec![1, 2]), ("k".into(), vec![5, 6, 7])]);
        let cases = sweep.cases(&case(&[("n", 9), ("k", 9), ("d", 4)]));
        assert_eq!(cases.len(), 6);
        assert_eq!(cases[1], case(&[("n", 1), ("k", 6), ("d", 4)]));
    }

    #[test]
    fn exponents_are_those_of_powers() {
        let square: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 8.0].map(|x: f64| (x, 3.0 * x * x)).to_vec();
        assert!((exponent(&square).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(exponent(&square[..2]), None);
        assert_eq!(exponent(&[(2.0, 1.0), (2.0, 2.0), (2.0, 3.0)]), None);
        assert_eq!(exponent(&[(1.0, 0.0), (2.0, 2.0), (3.0, 3.0)]), None);
    }
}
