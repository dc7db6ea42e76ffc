//! Tolerances of comparisons.

/// The allowed distance of an element from its f64 reference: `abs + rel * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub abs: f64,
    /// Relative part.
    pub rel: f64,
}

impl Tolerance {
    /// Equality, for indices, counts and copies.
    pub const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 0.0 };
    /// A handful of roundings per element and no sum.
    pub const POINTWISE: Tolerance = Tolerance {
        abs: 1e-6,
        rel: 4e-6,
    };
    /// Returns a sum of `terms` products of standard normals, added one after another: the sum so
    /// far is about root j after j terms and is rounded by a random share of 2^-24 of itself each
    /// time, so the errors' deviation is 2.4e-8 times the number of terms. The worst of a million
    /// elements lies five deviations out.
    pub fn sum(terms: usize) -> Tolerance {
        Tolerance {
            abs: 1.6e-7 * terms as f64 + 1e-6,
            rel: 4e-6,
        }
    }
}
