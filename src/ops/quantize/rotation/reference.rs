//! The rotation trick in plain loops.

use crate::spec::Real;

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

fn unit<T: Real>(a: &[T]) -> (Vec<T>, T) {
    let length = dot(a, a).sqrt().max(T::of(1e-6));
    (a.iter().map(|v| *v / length).collect(), length)
}

/// Unit vectors u and q along z and z_q, w between them, and the scale from z to z_q.
fn frame<T: Real>(z: &[T], z_q: &[T]) -> (Vec<T>, Vec<T>, Vec<T>, T) {
    let ((u, z_length), (q, q_length)) = (unit(z), unit(z_q));
    let sum: Vec<T> = u.iter().zip(&q).map(|(u, q)| *u + *q).collect();
    (u, q, unit(&sum).0, q_length / z_length)
}

fn rows<T: Real>(parts: [&[T]; 3], d: usize, f: impl Fn(&[T], &[T], &[T]) -> Vec<T>) -> Vec<T> {
    let [a, b, c] = parts;
    a.chunks(d)
        .zip(b.chunks(d))
        .zip(c.chunks(d))
        .flat_map(|((a, b), c)| f(a, b, c))
        .collect()
}

/// `s R x`, where s R takes z to z_q: `s (x - 2 (x . w) w + 2 (x . u) q)`.
pub fn rotate<T: Real>(z: &[T], z_q: &[T], x: &[T], d: usize) -> Vec<T> {
    rows([z, z_q, x], d, |z, z_q, x| {
        let (u, q, w, s) = frame(z, z_q);
        let (xw, xu, two) = (dot(x, &w), dot(x, &u), T::of(2.0));
        (0..d)
            .map(|i| s * (x[i] - two * xw * w[i] + two * xu * q[i]))
            .collect()
    })
}

/// Returns the adjoint of [`rotate`], applied to g.
pub fn rotation_grad<T: Real>(z: &[T], z_q: &[T], g: &[T], d: usize) -> Vec<T> {
    rows([z, z_q, g], d, |z, z_q, g| {
        let (u, q, w, s) = frame(z, z_q);
        let (gw, gq, two) = (dot(g, &w), dot(g, &q), T::of(2.0));
        (0..d)
            .map(|i| s * (g[i] - two * gw * w[i] + two * gq * u[i]))
            .collect()
    })
}
