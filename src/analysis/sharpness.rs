//! Sharpness of images: their energy in high frequencies.

/// The share of an image's values that are its edges: where the original's Laplacians are largest.
const EDGES: f64 = 0.1;

/// Sums of squared Laplacians, of originals and of reconstructions: of all values, and of those at
/// the originals' edges.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Energy {
    all: [f64; 2],
    edges: [f64; 2],
}

impl Energy {
    /// Adds images [B, H, W, C] and their reconstructions; `shape` is [H, W, C].
    pub fn add(&mut self, x: &[f32], y: &[f32], shape: [usize; 3]) {
        let size = shape.iter().product();
        for (x, y) in x.chunks(size).zip(y.chunks(size)) {
            let (x, y) = (laplacians(x, shape), laplacians(y, shape));
            let mut order: Vec<usize> = (0..x.len()).collect();
            let edges = (EDGES * x.len() as f64).ceil() as usize;
            if edges < x.len() {
                order.select_nth_unstable_by(edges, |i, j| x[*j].total_cmp(&x[*i]).then(i.cmp(j)));
            }
            // In the order of the pixels, so that the sums' bits are of the images alone.
            order[..edges].sort_unstable();
            for (side, energies) in [x, y].iter().enumerate() {
                self.all[side] += energies.iter().sum::<f64>();
                self.edges[side] += order[..edges].iter().map(|i| energies[*i]).sum::<f64>();
            }
        }
    }

    /// Returns the reconstructions' energy over the originals'.
    pub fn sharpness(&self) -> f64 {
        self.all[1] / self.all[0]
    }

    /// Returns the sharpness at the originals' edges alone, where grain on smooth ground does not
    /// count.
    pub fn at_edges(&self) -> f64 {
        self.edges[1] / self.edges[0]
    }
}

/// Returns the squared Laplacian of each value inside an image: what a pixel has beyond the mean of
/// its four neighbours, times four.
fn laplacians(image: &[f32], [h, w, c]: [usize; 3]) -> Vec<f64> {
    let at = |y: usize, x: usize, channel: usize| f64::from(image[(y * w + x) * c + channel]);
    let mut all = Vec::with_capacity(image.len());
    for y in 1..h.saturating_sub(1) {
        for x in 1..w.saturating_sub(1) {
            for k in 0..c {
                let around = at(y - 1, x, k) + at(y + 1, x, k) + at(y, x - 1, k) + at(y, x + 1, k);
                all.push((4.0 * at(y, x, k) - around).powi(2));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ramp has none; of a chequered board each pixel differs from all its neighbours.
    #[test]
    fn counts_what_a_ramp_has_not() {
        let ramp: Vec<f32> = (0..48)
            .map(|i| (i % 8) as f32 * 0.1 + (i / 8) as f32 * 0.05)
            .collect();
        assert!(laplacians(&ramp, [6, 8, 1]).iter().sum::<f64>() < 1e-10);
        let board: Vec<f32> = (0..48)
            .map(|i| if (i % 8 + i / 8) % 2 == 0 { 0.5 } else { -0.5 })
            .collect();
        assert_eq!(laplacians(&board, [6, 8, 1]), [16.0; 24]);
        assert!(laplacians(&[1.0, 2.0], [1, 2, 1]).is_empty());
    }

    /// A dot of 1 on black: kept at half its height, with a faint chequered board where the
    /// original is flat.
    #[test]
    fn grain_on_smooth_ground_is_no_sharp_edge() {
        let (h, w) = (12, 12);
        let dot: Vec<f32> = (0..h * w)
            .map(|i| if i == 2 * w + 2 { 1.0 } else { 0.0 })
            .collect();
        let half = |i: usize| dot[i] / 2.0;
        let grain = |i: usize| {
            if i / w > 6 && i % w > 6 {
                0.4 * ((i / w + i % w) % 2) as f32
            } else {
                0.0
            }
        };
        let y: Vec<f32> = (0..h * w).map(|i| half(i) + grain(i)).collect();
        let mut energy = Energy::default();
        // Two images at once are two images.
        energy.add(
            &[&dot[..], &dot].concat(),
            &[&y[..], &y].concat(),
            [h, w, 1],
        );
        assert!((energy.at_edges() - 0.25).abs() < 1e-9, "{energy:?}");
        assert!(energy.sharpness() > 1.0, "{energy:?}");
    }
}
