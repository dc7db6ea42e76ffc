//! DiVeQ in plain loops.

use crate::spec::Real;

fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

fn length<T: Real>(a: &[T]) -> T {
    dot(a, a).sqrt().max(T::of(1e-12))
}

/// Returns the directions of length 1 from latents to codes, turned by noise.
pub fn directions<T: Real>(z: &[T], z_q: &[T], noise: &[T], d: usize, sigma: T) -> Vec<T> {
    let turned = z.iter().zip(z_q).zip(noise);
    let turned: Vec<T> = turned
        .map(|((z, q), noise)| *q - *z + sigma * *noise)
        .collect();
    let unit = |row: &[T]| {
        let length = length(row);
        row.iter().map(move |v| *v / length).collect::<Vec<T>>()
    };
    turned.chunks(d).flat_map(unit).collect()
}

/// Returns the latents, each moved along its direction u as far as its code lies.
pub fn moved<T: Real>(z: &[T], z_q: &[T], u: &[T], d: usize) -> Vec<T> {
    let rows = z.chunks(d).zip(z_q.chunks(d)).zip(u.chunks(d));
    let row = |((z, q), u): ((&[T], &[T]), &[T])| {
        let r: Vec<T> = z.iter().zip(q).map(|(z, q)| *q - *z).collect();
        let far = dot(&r, &r).sqrt();
        let moved = z.iter().zip(u).map(|(z, u)| *z + far * *u);
        moved.collect::<Vec<T>>()
    };
    rows.flat_map(row).collect()
}

/// Returns the gradients of latents and codes.
pub fn gradients<T: Real>(z: &[T], z_q: &[T], u: &[T], g: &[T], d: usize) -> [Vec<T>; 2] {
    let mut dz = Vec::with_capacity(z.len());
    let mut dq = Vec::with_capacity(z.len());
    for at in (0..z.len()).step_by(d) {
        let [z, q, u, g] = [z, z_q, u, g].map(|x| &x[at..at + d]);
        let r: Vec<T> = z.iter().zip(q).map(|(z, q)| *q - *z).collect();
        let along = dot(g, u) / length(&r);
        dq.extend(r.iter().map(|r| along * *r));
        dz.extend(g.iter().zip(&r).map(|(g, r)| *g - along * *r));
    }
    [dz, dq]
}
