//! Statistics of measured times: quantiles, and intervals that suppose no distribution.
//!
//! All intervals are by ranks, at 95 % or more, since few values are there and times are skewed:
//!
//! - a median's and a quantile's by order statistics (Conover, *Practical Nonparametric
//!   Statistics*, section 3.2),
//! - the middle of paired differences by Wilcoxon's signed ranks, with the interval that Tukey
//!   found in the averages of all pairs (Hollander and Wolfe, *Nonparametric Statistical Methods*,
//!   section 3.3),
//! - the shift between two samples by Wilcoxon's rank sum, as Hodges and Lehmann (1963) estimate
//!   it, with Moses' interval (the same book, section 4.3).

/// The chance, on each side, that an interval misses.
const MISS: f64 = 0.025;
/// As many deviations of a normal distribution lie between its middle and either end.
const NORMAL: f64 = 1.96;
/// Pairs of two samples of which all ways to mix them are counted, at most.
const COUNTED: usize = 10_000;
/// Values of either of two samples, at least.
const LEAST: usize = 4;
/// The share of the values that are compared by [`of_fastest`], and of how many values on the
/// smaller side on a smaller one, which needs fewer undisturbed values among them: the first share
/// is sure of itself from twenty values on.
const FASTEST: f64 = 0.2;
const MANY: usize = 60;
const FASTEST_OF_MANY: f64 = 0.1;

/// A value between two others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The estimate.
    pub middle: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Returns each of the three, changed.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Interval {
        Interval {
            low: f(self.low),
            middle: f(self.middle),
            high: f(self.high),
        }
    }
}

/// Returns the values in order.
pub fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Returns the value at a share of the way through sorted values; NaN where there are none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len().max(1) - 1) as f64;
    let (low, high) = (
        sorted.get(at.floor() as usize),
        sorted.get(at.ceil() as usize),
    );
    match (low, high) {
        (Some(low), Some(high)) => low + (high - low) * at.fract(),
        _ => f64::NAN,
    }
}

/// Returns the median of values in any order; NaN where there are none.
pub fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

/// Returns how many of the least values of a statistic that takes `0, 1, ..` with these weights
/// lie below the interval: 0 where no interval is that sure.
fn below(weights: &[f64]) -> usize {
    least(weights.iter(), MISS * weights.iter().sum::<f64>())
}

/// Returns how many of the first weights come to `most` together.
fn least<'a>(weights: impl Iterator<Item = &'a f64>, most: f64) -> usize {
    let mut sum = 0.0;
    weights
        .take_while(|weight| {
            sum += **weight;
            sum <= most
        })
        .count()
}

/// Returns the ends of sorted values of which `out` on each side lie outside, and their middle.
fn between(sorted: &[f64], out: usize) -> Option<Interval> {
    outside(sorted, [out; 2], 0.5)
}

/// Returns the ends of sorted values of which so many lie outside below and above, and the value at
/// `share` of the way.
fn outside(sorted: &[f64], [below, above]: [usize; 2], share: f64) -> Option<Interval> {
    let low = sorted.get(below.checked_sub(1)?)?;
    let high = sorted.get(sorted.len() - above)?;
    Some(Interval {
        low: *low,
        middle: quantile(sorted, share),
        high: *high,
    })
}

/// Returns the chances that 0, 1, .. of `n` values lie below their quantile at `share`: binomial.
fn binomial(n: usize, share: f64) -> Vec<f64> {
    let mut weights = vec![(1.0 - share).powi(n as i32)];
    let odds = share / (1.0 - share);
    for i in 0..n {
        weights.push(weights[i] * odds * (n - i) as f64 / (i + 1) as f64);
    }
    weights
}

/// Returns the interval of a median. `None` for fewer than six values, which cannot be that sure.
pub fn of_median(values: &[f64]) -> Option<Interval> {
    let n = values.len();
    if n > 1000 {
        // The binomial's normal limit: its own numbers leave f64.
        let out = 0.5 * n as f64 - NORMAL * 0.5 * (n as f64).sqrt();
        return between(&sorted(values), out as usize);
    }
    between(&sorted(values), below(&binomial(n, 0.5)))
}

/// Returns the quantile at a fifth of values in any order, from sixty values on at a tenth; NaN
/// where there are none.
pub fn fastest(values: &[f64]) -> f64 {
    quantile(&sorted(values), fastest_share(values.len()))
}

fn fastest_share(n: usize) -> f64 {
    if n < MANY { FASTEST } else { FASTEST_OF_MANY }
}

/// Returns the interval of how far the fastest fifth of the first sample lies above that of the
/// second, or the fastest tenth where both have sixty values: the difference of their quantiles,
/// each of which is sure to 97.5 %. `None` for fewer than twenty values on a side, and for more
/// than a thousand.
pub fn of_fastest(first: &[f64], second: &[f64]) -> Option<Interval> {
    let share = fastest_share(first.len().min(second.len()));
    let of = |values: &[f64]| {
        let n = values.len();
        if n > 1000 {
            return None;
        }
        let chances = binomial(n, share);
        let miss = MISS / 2.0;
        let out = [
            least(chances.iter(), miss),
            least(chances.iter().rev(), miss),
        ];
        outside(&sorted(values), out, share)
    };
    let (first, second) = (of(first)?, of(second)?);
    Some(Interval {
        low: first.low - second.high,
        middle: first.middle - second.middle,
        high: first.high - second.low,
    })
}

/// Returns the interval of the middle of paired differences. `None` for fewer than six.
pub fn of_pairs(differences: &[f64]) -> Option<Interval> {
    let n = differences.len();
    // In how many of the 2^n ways of signs the ranks of the positive ones come to each sum.
    let mut ways = vec![0.0; n * (n + 1) / 2 + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..ways.len()).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let mut averages = Vec::new();
    for (i, a) in differences.iter().enumerate() {
        averages.extend(differences[i..].iter().map(|b| (a + b) / 2.0));
    }
    between(&sorted(&averages), below(&ways))
}

/// Returns in how many of the differences between two samples, the least of them, the interval of
/// their shift has not begun: 0 where no interval is that sure.
fn below_shift(n: usize, m: usize) -> usize {
    if n * m > COUNTED {
        // The rank sum's normal limit: its own numbers take memory by n^2 m, and leave f64.
        let (pairs, both) = ((n * m) as f64, (n + m + 1) as f64);
        return (pairs / 2.0 - NORMAL * (pairs * both / 12.0).sqrt()).floor() as usize;
    }
    // In how many ways of mixing the two, `sum` pairs have the first above the second: choosing
    // which of the n + m places are the first's, one after another.
    let mut ways = vec![vec![0.0; n * m + 1]; n + 1];
    ways[0][0] = 1.0;
    for place in 0..n + m {
        for chosen in (1..=n.min(place + 1)).rev() {
            // A first value in this place stands above those of the second before it.
            let before = place + 1 - chosen;
            if before > m {
                continue;
            }
            for sum in (before..=n * m).rev() {
                ways[chosen][sum] += ways[chosen - 1][sum - before];
            }
        }
    }
    below(&ways[n])
}

/// Returns the interval of how far the first sample lies above the second. `None` for fewer than
/// four values on a side, however many the other has.
pub fn of_shift(first: &[f64], second: &[f64]) -> Option<Interval> {
    let (n, m) = (first.len(), second.len());
    if n.min(m) < LEAST {
        return None;
    }
    let differences: Vec<f64> = first
        .iter()
        .flat_map(|a| second.iter().map(move |b| a - b))
        .collect();
    between(&sorted(&differences), below_shift(n, m))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Rng;

    #[test]
    fn quantiles_lie_between_the_values() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[3.0], 0.25), 3.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(median(&[4.0, 1.0, 2.0]), 2.0);
    }

    /// The numbers of values outside on each side are those of published tables.
    #[test]
    fn ends_are_those_of_published_tables() {
        let values = |n: usize| (1..=n).map(|v| v as f64).collect::<Vec<f64>>();
        let ends = |i: Option<Interval>| i.map(|i| (i.low, i.high));
        // Conover, table A3: of 10 values the 2nd and the 9th, of 20 the 6th and the 15th.
        assert_eq!(ends(of_median(&values(5))), None);
        assert_eq!(ends(of_median(&values(6))), Some((1.0, 6.0)));
        assert_eq!(ends(of_median(&values(10))), Some((2.0, 9.0)));
        assert_eq!(ends(of_median(&values(20))), Some((6.0, 15.0)));
        let many = of_median(&values(2000)).unwrap();
        assert!((950.0..960.0).contains(&many.low), "{many:?}");
        // The critical values of Wilcoxon's signed ranks at 0.05 on two sides: 0, 3 and 8.
        let averages = |n: usize, out: usize| {
            let v = values(n);
            let all: Vec<f64> = (0..n)
                .flat_map(|i| (i..n).map(move |j| (i, j)))
                .map(|(i, j)| (v[i] + v[j]) / 2.0)
                .collect();
            let all = sorted(&all);
            Some((all[out], all[all.len() - 1 - out]))
        };
        assert_eq!(ends(of_pairs(&values(5))), None);
        for (n, critical) in [(6, 0), (8, 3), (10, 8)] {
            assert_eq!(ends(of_pairs(&values(n))), averages(n, critical), "{n}");
        }
        // Of 30 values the 2nd and the 12th hold the quantile at a fifth: at most one lies below it
        // with a chance of 1.05 %, twelve or more with one of 0.95 %.
        assert_eq!(of_fastest(&values(19), &values(30)), None);
        assert!(of_fastest(&values(20), &values(20)).is_some());
        assert_eq!(ends(of_fastest(&values(30), &[0.0; 30])), Some((2.0, 12.0)));
        assert_eq!(
            ends(of_fastest(&[0.0; 30], &values(30))),
            Some((-12.0, -2.0))
        );
        // Those of the rank sum: 0 for 4 and 4, 2 for 5 and 5, 23 for 10 and 10.
        assert_eq!(of_shift(&values(3), &values(3)), None);
        for (n, critical) in [(4, 0), (5, 2), (10, 23)] {
            let v = values(n);
            let all: Vec<f64> = (v.iter().flat_map(|a| v.iter().map(move |b| a - b))).collect();
            let all = sorted(&all);
            let want = Some((all[critical], all[n * n - 1 - critical]));
            assert_eq!(ends(of_shift(&v, &v)), want, "{n}");
        }
    }

    #[test]
    fn a_shift_takes_four_of_each_and_any_number() {
        let values = |n: usize| (1..=n).map(|v| v as f64).collect::<Vec<f64>>();
        // Of 3 and 20 an interval could be counted, but three values tell nothing of the next.
        assert_eq!(of_shift(&values(3), &values(20)), None);
        assert_eq!(of_shift(&values(20), &values(3)), None);
        assert!(of_shift(&values(4), &values(20)).is_some());
        // The normal limit meets what is counted.
        let normal = |n: f64, m: f64| n * m / 2.0 - 1.96 * (n * m * (n + m + 1.0) / 12.0).sqrt();
        let counted = below_shift(40, 30) as f64;
        assert!((counted - normal(40.0, 30.0)).abs() < 2.0, "{counted}");
        assert_eq!(below_shift(101, 100) as f64, normal(101.0, 100.0).floor());
        let many = of_shift(&values(200), &values(150)).unwrap();
        assert!(many.low < 25.0 && 25.0 < many.high, "{many:?}");
        assert!(many.high - many.low < 40.0, "{many:?}");
    }

    #[test]
    fn intervals_hold_what_was_planted_as_often_as_they_say() {
        let mut rng = Rng::new(7);
        let mut hits = [0; 4];
        let tries = 400;
        for _ in 0..tries {
            // Skewed, as times are: mostly small, at times large.
            let mut noise =
                |n: usize| -> Vec<f64> { (0..n).map(|_| (0.3 * rng.normal()).exp()).collect() };
            let (a, b): (Vec<f64>, Vec<f64>) = (noise(12), noise(12));
            let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + 2.0 - b).collect();
            let moved: Vec<f64> = a.iter().map(|a| a + 2.0).collect();
            let (c, d): (Vec<f64>, Vec<f64>) = (noise(30), noise(30));
            let above: Vec<f64> = c.iter().map(|c| c + 2.0).collect();
            let all = [
                (of_median(&a), 1.0),
                (of_pairs(&differences), 2.0),
                (of_shift(&moved, &b), 2.0),
                (of_fastest(&above, &d), 2.0),
            ];
            for (hit, (interval, truth)) in hits.iter_mut().zip(all) {
                let i = interval.unwrap();
                assert!(i.low <= i.middle && i.middle <= i.high);
                *hit += i32::from((i.low..=i.high).contains(&truth));
            }
        }
        for hit in hits {
            assert!(hit as f64 >= 0.93 * tries as f64, "{hits:?} of {tries}");
        }
    }
}
