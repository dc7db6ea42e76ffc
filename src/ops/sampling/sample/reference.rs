//! The distribution as its definition reads: sort, keep, divide.

use super::Sampling;
use crate::ops::sampling::random::Key;
use crate::ops::sampling::random::philox::gumbel;
use crate::spec::Real;

/// A row's distribution, and how far the filters were from keeping one token more or less: the
/// relative distance of a sum from its bound; infinite where none was near, and where one was met
/// exactly.
pub struct Row<T> {
    pub probabilities: Vec<T>,
    pub slack: T,
}

/// u + w (c - u); NaN counts as minus infinity.
pub fn guided<T: Real>(c: &[T], u: Option<&[T]>, w: T) -> Vec<T> {
    let number = |x: T| if x.is_nan() { T::neg_infinity() } else { x };
    let Some(u) = u else {
        return c.iter().map(|c| number(*c)).collect();
    };
    c.iter()
        .zip(u)
        .map(|(c, u)| number(*u + w * (*c - *u)))
        .collect()
}

pub fn distribution<T: Real>(l: &[T], s: &Sampling) -> Row<T> {
    // Stable: equal logits stay in the order of their indices.
    let mut order: Vec<usize> = (0..l.len()).collect();
    order.sort_by(|a, b| {
        l[*b]
            .partial_cmp(&l[*a])
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut slack = T::infinity();
    let mut near = |distance: T| {
        if distance != T::zero() {
            slack = slack.min(distance.abs());
        }
    };
    let temperature = T::of(if s.temperature == 0.0 {
        1.0
    } else {
        s.temperature as f64
    });
    let top = l[order[0]];
    let weight = |i: usize| ((l[i] - top) / temperature).exp();
    order.truncate(if s.temperature == 0.0 {
        1
    } else {
        s.top_k.unwrap_or(l.len()).min(l.len())
    });
    if s.top_p < 1.0 {
        let whole: T = order.iter().map(|i| weight(*i)).sum();
        let goal = T::of(s.top_p as f64) * whole;
        let mut sum = T::zero();
        let mut needed = 0;
        while sum < goal && needed < order.len() {
            near((sum - goal) / whole);
            sum += weight(order[needed]);
            needed += 1;
        }
        near((sum - goal) / whole);
        order.truncate(needed.max(1));
    }
    if s.min_p > 0.0 {
        let least = T::of(s.min_p as f64);
        order.iter().for_each(|i| near(weight(*i) - least));
        order.retain(|i| weight(*i) >= least || *i == order_top(l));
    }
    let whole: T = order.iter().map(|i| weight(*i)).sum();
    let mut probabilities = vec![T::zero(); l.len()];
    order
        .iter()
        .for_each(|i| probabilities[*i] = weight(*i) / whole);
    Row {
        probabilities,
        slack,
    }
}

fn order_top<T: Real>(l: &[T]) -> usize {
    (0..l.len()).fold(0, |best, i| if l[i] > l[best] { i } else { best })
}

/// Returns the token of the largest l / T + noise among those kept, and how far the second was
/// behind.
pub fn draw(l: &[f64], kept: &[f64], s: &Sampling, key: Key, row: usize) -> (u32, f64) {
    let temperature = if s.temperature == 0.0 {
        1.0
    } else {
        s.temperature as f64
    };
    let noise = |i| gumbel(key, row, i);
    let value = |i: usize| {
        if kept[i] > 0.0 {
            l[i] / temperature + noise(i)
        } else {
            f64::NEG_INFINITY
        }
    };
    let values: Vec<f64> = (0..l.len()).map(value).collect();
    let best = order_top(&values);
    let second = (0..l.len())
        .filter(|i| *i != best)
        .map(|i| values[i])
        .fold(f64::NEG_INFINITY, f64::max);
    (best as u32, values[best] - second)
}
