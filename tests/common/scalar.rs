//! Reverse-mode differentiation of scalars in f64: what a reference written as plain arithmetic
//! needs to have gradients as well.

use std::cell::RefCell;

/// The numbers of a computation and, of each, the derivatives by those that it came from.
#[derive(Default)]
pub struct Scalars {
    values: RefCell<Vec<f64>>,
    /// First place of each number's derivatives.
    starts: RefCell<Vec<usize>>,
    derivatives: RefCell<Vec<(usize, f64)>>,
}

/// A number of a computation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct S(usize);

impl Scalars {
    fn push(&self, value: f64, derivatives: impl IntoIterator<Item = (S, f64)>) -> S {
        let mut all = self.derivatives.borrow_mut();
        self.starts.borrow_mut().push(all.len());
        all.extend(derivatives.into_iter().map(|(s, d)| (s.0, d)));
        let mut values = self.values.borrow_mut();
        values.push(value);
        S(values.len() - 1)
    }

    pub fn constant(&self, value: f64) -> S {
        self.push(value, [])
    }

    pub fn constants(&self, values: &[f64]) -> Vec<S> {
        values.iter().map(|v| self.constant(*v)).collect()
    }

    pub fn get(&self, s: S) -> f64 {
        self.values.borrow()[s.0]
    }

    pub fn add(&self, a: S, b: S) -> S {
        self.push(self.get(a) + self.get(b), [(a, 1.0), (b, 1.0)])
    }

    pub fn mul(&self, a: S, b: S) -> S {
        let (x, y) = (self.get(a), self.get(b));
        self.push(x * y, [(a, y), (b, x)])
    }

    /// `k a + c`.
    pub fn affine(&self, a: S, k: f64, c: f64) -> S {
        self.push(k * self.get(a) + c, [(a, k)])
    }

    /// A function of one number, given as its value and derivative there.
    pub fn map(&self, a: S, f: impl Fn(f64) -> (f64, f64)) -> S {
        let (value, derivative) = f(self.get(a));
        self.push(value, [(a, derivative)])
    }

    pub fn exp(&self, a: S) -> S {
        self.map(a, |x| (x.exp(), x.exp()))
    }

    pub fn ln(&self, a: S) -> S {
        self.map(a, |x| (x.ln(), 1.0 / x))
    }

    /// `a^p`.
    pub fn pow(&self, a: S, p: f64) -> S {
        self.map(a, |x| (x.powf(p), p * x.powf(p - 1.0)))
    }

    pub fn sum(&self, all: &[S]) -> S {
        self.push(
            all.iter().map(|s| self.get(*s)).sum(),
            all.iter().map(|s| (*s, 1.0)),
        )
    }

    pub fn dot(&self, a: &[S], b: &[S]) -> S {
        assert_eq!(a.len(), b.len());
        let value = a
            .iter()
            .zip(b)
            .map(|(a, b)| self.get(*a) * self.get(*b))
            .sum();
        let derivatives: Vec<(S, f64)> = a
            .iter()
            .zip(b)
            .flat_map(|(a, b)| [(*a, self.get(*b)), (*b, self.get(*a))])
            .collect();
        self.push(value, derivatives)
    }

    /// The derivative of `of` by every number.
    pub fn backward(&self, of: S) -> Vec<f64> {
        let (starts, derivatives) = (self.starts.borrow(), self.derivatives.borrow());
        let mut gradient = vec![0.0; starts.len()];
        gradient[of.0] = 1.0;
        for i in (0..=of.0).rev() {
            let end = starts.get(i + 1).copied().unwrap_or(derivatives.len());
            for (from, d) in &derivatives[starts[i]..end] {
                gradient[*from] += d * gradient[i];
            }
        }
        gradient
    }
}

impl S {
    /// Its derivative, of those that [`Scalars::backward`] found.
    pub fn of(self, gradient: &[f64]) -> f64 {
        gradient[self.0]
    }
}

/// GELU and its derivative, by the error function's series.
pub fn gelu(x: f64) -> (f64, f64) {
    let z = x / std::f64::consts::SQRT_2;
    let (mut term, mut sum, mut n) = (z, z, 0.0);
    while term.abs() > 1e-18 * sum.abs().max(1e-300) && n < 400.0 {
        n += 1.0;
        term *= -z * z / n;
        sum += term / (2.0 * n + 1.0);
        if term == 0.0 {
            break;
        }
    }
    let erf = sum * 2.0 / std::f64::consts::PI.sqrt();
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    (x / 2.0 * (1.0 + erf), 0.5 * (1.0 + erf) + x * density)
}
