//! Attention as its definition reads, and its gradients by the chain rule, over [heads, T, D].

use crate::spec::Real;

/// Sizes of one reference call: `images` times `heads` independent heads.
#[derive(Clone, Copy)]
pub struct Sizes<'a> {
    pub images: usize,
    pub heads: usize,
    pub tq: usize,
    pub tk: usize,
    pub d: usize,
    /// Whether a query of an image sees a key: [B, Tq, Tk].
    pub sees: &'a [bool],
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

impl Sizes<'_> {
    fn sees(&self, h: usize, i: usize, j: usize) -> bool {
        self.sees[(h / self.heads * self.tq + i) * self.tk + j]
    }
    /// Row `i` of `t` rows in head `h`.
    fn row<'b, T>(&self, x: &'b [T], h: usize, t: usize, i: usize) -> &'b [T] {
        &x[(h * t + i) * self.d..][..self.d]
    }
    /// Returns the softmax of row i's scores over the keys that it sees, 0 for others; and its
    /// log-sum-exp.
    fn probabilities<T: Real>(
        &self,
        q: &[T],
        k: &[T],
        scale: T,
        h: usize,
        i: usize,
    ) -> (Vec<T>, Option<T>) {
        let q = self.row(q, h, self.tq, i);
        let scores: Vec<Option<T>> = (0..self.tk)
            .map(|j| {
                self.sees(h, i, j)
                    .then(|| scale * dot(q, self.row(k, h, self.tk, j)))
            })
            .collect();
        let top = scores
            .iter()
            .flatten()
            .fold(T::neg_infinity(), |a, b| a.max(*b));
        let total: T = scores.iter().flatten().map(|s| (*s - top).exp()).sum();
        let lse = scores.iter().any(Option::is_some).then(|| top + total.ln());
        (
            scores
                .iter()
                .map(|s| s.map_or(T::zero(), |s| (s - top).exp() / total))
                .collect(),
            lse,
        )
    }
}

/// Returns the attended values, and log-sum-exp (the largest f32 for a row that sees nothing).
pub fn forward<T: Real>(q: &[T], k: &[T], v: &[T], scale: T, s: Sizes) -> (Vec<T>, Vec<T>) {
    let (mut o, mut sums) = (vec![T::zero(); q.len()], Vec::new());
    for h in 0..s.images * s.heads {
        for i in 0..s.tq {
            let (p, lse) = s.probabilities(q, k, scale, h, i);
            sums.push(lse.unwrap_or(T::of(f32::MAX as f64)));
            for (j, p) in p.iter().enumerate() {
                for c in 0..s.d {
                    o[(h * s.tq + i) * s.d + c] += *p * s.row(v, h, s.tk, j)[c];
                }
            }
        }
    }
    (o, sums)
}

/// Gradients of sum(upstream o) to q, k and v.
pub fn backward<T: Real>(
    q: &[T],
    k: &[T],
    v: &[T],
    upstream: &[T],
    scale: T,
    s: Sizes,
) -> [Vec<T>; 3] {
    let (mut dq, mut dk, mut dv) = (
        vec![T::zero(); q.len()],
        vec![T::zero(); k.len()],
        vec![T::zero(); v.len()],
    );
    for h in 0..s.images * s.heads {
        for i in 0..s.tq {
            let (p, _) = s.probabilities(q, k, scale, h, i);
            let g = s.row(upstream, h, s.tq, i);
            let dp: Vec<T> = (0..s.tk).map(|j| dot(g, s.row(v, h, s.tk, j))).collect();
            let mean = dot(&p, &dp);
            for j in 0..s.tk {
                let ds = p[j] * (dp[j] - mean) * scale;
                for c in 0..s.d {
                    let (at_q, at_k) = ((h * s.tq + i) * s.d + c, (h * s.tk + j) * s.d + c);
                    dq[at_q] += ds * k[at_k];
                    dk[at_k] += ds * q[at_q];
                    dv[at_k] += p[j] * g[c];
                }
            }
        }
    }
    [dq, dk, dv]
}
