//! The same in plain loops, as the definition reads.

use crate::spec::Real;

/// Sizes of a call.
pub struct Size {
    pub images: usize,
    pub from: [usize; 2],
    pub to: [usize; 2],
    pub channels: usize,
}

impl Size {
    /// Calls `f` with the place in x, that in y and the weight between them.
    fn each<T: Real>(&self, rows: &[T], columns: &[T], mut f: impl FnMut(usize, usize, T)) {
        let ([h, w], [tall, wide]) = (self.from, self.to);
        for n in 0..self.images {
            for (row, column) in (0..tall).flat_map(|r| (0..wide).map(move |c| (r, c))) {
                for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
                    let weight = rows[row * h + i] * columns[column * w + j];
                    for c in 0..self.channels {
                        let x = ((n * h + i) * w + j) * self.channels + c;
                        let y = ((n * tall + row) * wide + column) * self.channels + c;
                        f(x, y, weight);
                    }
                }
            }
        }
    }
}

pub fn forward<T: Real>(size: &Size, [x, rows, columns]: [&[T]; 3]) -> Vec<T> {
    let mut y = vec![T::zero(); size.images * size.to[0] * size.to[1] * size.channels];
    size.each(rows, columns, |from, to, weight| {
        y[to] += weight * x[from];
    });
    y
}

/// The gradient of `sum(dy y)` to x.
pub fn backward<T: Real>(size: &Size, [dy, rows, columns]: [&[T]; 3]) -> Vec<T> {
    let mut dx = vec![T::zero(); size.images * size.from[0] * size.from[1] * size.channels];
    size.each(rows, columns, |from, to, weight| {
        dx[from] += weight * dy[to];
    });
    dx
}
