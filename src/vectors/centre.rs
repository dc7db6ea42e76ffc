//! The middle of vectors. Distances are differences of products, in f32: of vectors far from the
//! origin nothing would be left of them, so that codes are searched for about their middle.

/// The distance that is far, in the root of the mean squared distance of vectors from their middle.
const FAR: f64 = 4.0;

/// The middle of some vectors, [D].
#[derive(Clone, Debug, Default)]
pub(super) struct Centre(Vec<f32>);

impl Centre {
    /// Returns the mean of rows [N, D], where it is far from the origin: more than [`FAR`] times as
    /// far as rows are from it. Nearer ones stay where they are, to the bit.
    pub fn of(rows: &[f32], d: usize) -> Centre {
        let mut mean = vec![0f64; d];
        let n = (rows.len() / d.max(1)).max(1) as f64;
        for row in rows.chunks(d.max(1)) {
            let pairs = mean.iter_mut().zip(row);
            pairs.for_each(|(sum, x)| *sum += f64::from(*x) / n);
        }
        let from_mean = |row: &[f32]| -> f64 {
            let pairs = row.iter().zip(&mean);
            pairs.map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum()
        };
        let spread: f64 = rows.chunks(d.max(1)).map(from_mean).sum::<f64>() / n;
        let far: f64 = mean.iter().map(|mean| mean * mean).sum();
        match far > FAR * FAR * spread {
            true => Centre(mean.into_iter().map(|mean| mean as f32).collect()),
            false => Centre(vec![0.0; d]),
        }
    }

    /// Puts the channels of another behind these.
    pub fn extend(&mut self, other: Centre) {
        self.0.extend(other.0);
    }

    /// Returns rows [N, D] as seen from here.
    pub fn seen_from_here(&self, rows: Vec<f32>) -> Vec<f32> {
        self.moved(rows, |x, centre| x - centre)
    }

    /// Returns rows that were seen from here in their place.
    pub fn in_place(&self, rows: Vec<f32>) -> Vec<f32> {
        self.moved(rows, |x, centre| x + centre)
    }

    fn moved(&self, mut rows: Vec<f32>, by: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        for row in rows.chunks_mut(self.0.len().max(1)) {
            for (x, centre) in row.iter_mut().zip(&self.0) {
                *x = by(*x, *centre);
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::Centre;

    #[test]
    fn rows_go_and_come_back() {
        let rows = vec![101.0, 10.0, 103.0, 30.0];
        let centre = Centre::of(&rows, 2);
        let seen = centre.seen_from_here(rows.clone());
        assert_eq!(seen, [-1.0, -10.0, 1.0, 10.0]);
        assert_eq!(centre.in_place(seen), rows);
        let near = vec![1.0, 10.0, 3.0, 30.0];
        assert_eq!(Centre::of(&near, 2).seen_from_here(near.clone()), near);
        assert_eq!(Centre::default().seen_from_here(rows.clone()), rows);
    }
}
