//! Structural losses, which need no network: edges (Mathieu et al. 2015, equation 6, to the first
//! power) and structural similarity (Wang et al. 2004), each at several scales.

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::ops::image::ssim;
use crate::ops::loss::loss::Loss;

/// Scales at most, each half the one before.
const SCALES: usize = 3;

/// Computes the mean over scales of the mean absolute difference of neighbours' differences plus
/// `(1 - SSIM) / 2`: `[1]`, 0 for equal images.
///
/// Images a, b: f32 [N, H, W, C] in [-1, 1]. There are three scales, or those at which sides are
/// even before they are halved and SSIM's window fits. Where it fits at none, edges alone count, at
/// the images' own scale.
///
/// # Errors
/// If the shapes differ.
pub fn structure(tape: &Tape, a: &Var, b: &Var) -> Result<Var> {
    let (mut a, mut b) = (a.clone(), b.clone());
    let mut sum: Option<Var> = None;
    let mut scales = 0;
    loop {
        let [_, h, w, _] = a.tensor().dims("structure")?;
        let fits = ssim::fits(h, w);
        let mut part = tape.loss(
            Loss::L1,
            &tape.image_gradient(&a)?,
            &tape.image_gradient(&b)?,
        )?;
        if fits {
            part = tape.add(&part, &tape.scale(&tape.ssim(&a, &b)?, -0.5, 0.5)?)?;
        }
        sum = Some(match sum {
            Some(sum) => tape.add(&sum, &part)?,
            None => part,
        });
        scales += 1;
        let halves = h.is_multiple_of(2) && w.is_multiple_of(2) && ssim::fits(h / 2, w / 2);
        if scales == SCALES || !halves {
            break;
        }
        (a, b) = (tape.downsample(&a)?, tape.downsample(&b)?);
    }
    let sum = sum.ok_or_else(|| crate::Error::invalid("structure", "no scale"))?;
    tape.scale(&sum, 1.0 / scales as f32, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options, Tensor};

    fn gpu() -> Gpu {
        Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap()
    }

    fn image(gpu: &Gpu, shape: &[usize], pixel: impl Fn(usize, usize) -> f32) -> Tensor {
        let [n, h, w, c] = shape else {
            panic!("a shape of four")
        };
        let all = (0..n * h * w * c)
            .map(|i| pixel(i / c % w, i / c / w % h))
            .collect::<Vec<f32>>();
        Tensor::from_slice(gpu, shape, &all).unwrap()
    }

    fn value(gpu: &Gpu, a: &Tensor, b: &Tensor) -> f32 {
        let tape = Tape::no_grad(gpu);
        structure(&tape, &tape.constant(a), &tape.constant(b))
            .unwrap()
            .tensor()
            .read::<f32>()
            .unwrap()[0]
    }

    /// An image against itself is 0; blurred it is worse than darkened, which MSE sees the other
    /// way round.
    #[test]
    fn blur_costs_more_than_a_shade() {
        let gpu = gpu();
        for shape in [[1, 44, 44, 3], [1, 9, 12, 1], [2, 23, 31, 1]] {
            let fine = |x: usize, y: usize| {
                if (x / 2 + y / 3).is_multiple_of(2) {
                    0.4
                } else {
                    -0.4
                }
            };
            let sharp = image(&gpu, &shape, fine);
            let blurred = image(&gpu, &shape, |x, y| {
                let near = (x.saturating_sub(1)..=x + 1)
                    .flat_map(|x| (y.saturating_sub(1)..=y + 1).map(move |y| (x, y)));
                let values: Vec<f32> = near.map(|(x, y)| fine(x, y)).collect();
                values.iter().sum::<f32>() / values.len() as f32
            });
            let darker = image(&gpu, &shape, |x, y| fine(x, y) - 0.45);
            assert!(value(&gpu, &sharp, &sharp).abs() < 1e-4, "{shape:?}");
            let (blur, shade) = (value(&gpu, &sharp, &blurred), value(&gpu, &sharp, &darker));
            assert!(blur > 1.5 * shade, "{shape:?}: {blur} {shade}");
        }
    }

    /// One step against the gradient brings images closer.
    #[test]
    fn its_gradient_leads_down() {
        let gpu = gpu();
        let shape = [1, 48, 24, 3];
        let a = image(&gpu, &shape, |x, y| {
            ((x * 7 + y * 3) % 11) as f32 / 8.0 - 0.6
        });
        let b = image(&gpu, &shape, |x, y| {
            ((x * 5 + y * 2) % 13) as f32 / 9.0 - 0.6
        });
        let tape = Tape::new(&gpu);
        let leaf = tape.leaf(&a);
        let loss = structure(&tape, &leaf, &tape.constant(&b)).unwrap();
        let before = loss.tensor().read::<f32>().unwrap()[0];
        let g: Vec<f32> = tape
            .backward(&loss)
            .unwrap()
            .get(&leaf)
            .unwrap()
            .read()
            .unwrap();
        let squares: f32 = g.iter().map(|g| g * g).sum();
        let values: Vec<f32> = a.read().unwrap();
        let step = 0.02 * before / squares;
        let moved: Vec<f32> = values.iter().zip(&g).map(|(v, g)| v - step * g).collect();
        let after = value(&gpu, &Tensor::from_slice(&gpu, &shape, &moved).unwrap(), &b);
        let fell = (before - after) / (0.02 * before);
        assert!(
            (0.5..1.2).contains(&fell),
            "{before} to {after}: {fell} of what the slope promises"
        );
    }
}
