//! The Gumbel-softmax in plain loops.

use super::{Choice, Codes};
use crate::ops::sampling::random::philox::gumbel;
use crate::spec::Real;

pub struct Forward<T> {
    pub logits: Vec<T>,
    pub y: Vec<T>,
    pub index: Vec<u32>,
    pub z_q: Vec<T>,
    pub kl: T,
}

fn softmax<T: Real>(l: &[T]) -> Vec<T> {
    let m = l.iter().copied().fold(T::neg_infinity(), T::max);
    let z: T = l.iter().map(|v| (*v - m).exp()).sum();
    l.iter().map(|v| (*v - m).exp() / z).collect()
}

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

pub fn forward<T: Real>(x: &[T], codes: Codes<&[T]>, d: usize, choice: Choice) -> Forward<T> {
    let draw = choice.options;
    let noise = |row: usize, code: usize| {
        if choice.noise {
            T::of(gumbel(draw.key, row, code))
        } else {
            T::zero()
        }
    };
    let (k, tau) = (codes.bias.len(), T::of(draw.temperature as f64));
    let e = codes.codebook.len() / k;
    let n = x.len() / d;
    let mut f = Forward {
        logits: vec![],
        y: vec![],
        index: vec![],
        z_q: vec![],
        kl: T::zero(),
    };
    for (row, x) in x.chunks(d).enumerate() {
        let l: Vec<T> = (0..k)
            .map(|c| dot(x, &codes.weight[c * d..][..d]) + codes.bias[c])
            .collect();
        let t: Vec<T> = (0..k).map(|c| (l[c] + noise(row, c)) / tau).collect();
        let best = (0..k).fold(0, |best, c| if t[c] > t[best] { c } else { best });
        let (y, q) = (softmax(&t), softmax(&l));
        let mix = |j: usize| (0..k).map(|c| y[c] * codes.codebook[c * e + j]).sum::<T>();
        let hard = |j: usize| codes.codebook[best * e + j];
        f.z_q.extend((0..e).map(|j| {
            if draw.straight_through {
                hard(j)
            } else {
                mix(j)
            }
        }));
        f.kl += q
            .iter()
            .map(|q| *q * (*q * T::of(k as f64)).ln())
            .sum::<T>()
            / T::of(n as f64);
        f.logits.extend(l);
        f.y.extend(y);
        f.index.push(best as u32);
    }
    f
}

/// Gradients of latents, weight, bias and codebook.
pub fn backward<T: Real>(
    x: &[T],
    codes: Codes<&[T]>,
    d: usize,
    choice: Choice,
    g: &[T],
    g_kl: T,
) -> [Vec<T>; 4] {
    let draw = choice.options;
    let (k, tau) = (codes.bias.len(), T::of(draw.temperature as f64));
    let (e, n) = (codes.codebook.len() / k, x.len() / d);
    let f = forward(x, codes, d, choice);
    let zeros = |len: usize| vec![T::zero(); len];
    let (mut dx, mut dw, mut db, mut de) = (zeros(n * d), zeros(k * d), zeros(k), zeros(k * e));
    for row in 0..n {
        let (y, l, g) = (
            &f.y[row * k..][..k],
            &f.logits[row * k..][..k],
            &g[row * e..][..e],
        );
        let dy: Vec<T> = (0..k)
            .map(|c| dot(g, &codes.codebook[c * e..][..e]))
            .collect();
        let (q, r) = (softmax(l), dot(y, &dy));
        let entropy: T = q.iter().map(|q| *q * q.ln()).sum();
        for c in 0..k {
            let pull = g_kl / T::of(n as f64) * q[c] * (q[c].ln() - entropy);
            let dl = y[c] * (dy[c] - r) / tau + pull;
            db[c] += dl;
            for j in 0..d {
                dx[row * d + j] += dl * codes.weight[c * d + j];
                dw[c * d + j] += dl * x[row * d + j];
            }
            let share = if draw.straight_through {
                T::of(f64::from(u8::from(f.index[row] as usize == c)))
            } else {
                y[c]
            };
            for j in 0..e {
                de[c * e + j] += share * g[j];
            }
        }
    }
    [dx, dw, db, de]
}
