//! How sharp images are: their energy in high frequencies.

/// The sum over pixels inside images [B, H, W, C] of the squared Laplacian: what a pixel has beyond the mean of its four neighbours, times
/// four. `shape` is [H, W, C].
pub(super) fn energy(images: &[f32], [h, w, c]: [usize; 3]) -> f64 {
    let mut sum = 0.0;
    for image in images.chunks(h * w * c) {
        let at = |y: usize, x: usize, channel: usize| f64::from(image[(y * w + x) * c + channel]);
        for y in 1..h.saturating_sub(1) {
            for x in 1..w.saturating_sub(1) {
                for k in 0..c {
                    let around = at(y - 1, x, k) + at(y + 1, x, k) + at(y, x - 1, k) + at(y, x + 1, k);
                    sum += (4.0 * at(y, x, k) - around).powi(2);
                }
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::energy;

    /// A ramp has none; of a chequered board each pixel differs from all its neighbours.
    #[test]
    fn counts_what_a_ramp_has_not() {
        let ramp: Vec<f32> = (0..48).map(|i| (i % 8) as f32 * 0.1 + (i / 8) as f32 * 0.05).collect();
        assert!(energy(&ramp, [6, 8, 1]) < 1e-10);
        let board: Vec<f32> = (0..2 * 48).map(|i| if (i % 8 + i / 8) % 2 == 0 { 0.5 } else { -0.5 }).collect();
        assert_eq!(energy(&board, [6, 8, 1]), 2.0 * (4 * 6) as f64 * 16.0);
        assert_eq!(energy(&[1.0, 2.0], [1, 2, 1]), 0.0);
    }
}
