//! Reconstructions from the coarse levels alone, which show what each level adds (Razavi et al.
//! 2019, figure 3).
//!
//! The levels that are left out hold 0, as in the training steps that leave them out; where there
//! were none, the mean of their quantized latents everywhere, which the decoder has never seen but
//! lies among what it has.

use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::Tensor;
use crate::inference::first_stage::FirstStage;
use crate::nn::{ForwardContext, Parameters};
use crate::quantize::Mode;

/// Reconstructions without the finer levels, and the means over images of each level's quantized
/// latents, which may take their place.
pub(crate) struct LevelAblation {
    sums: Vec<Vec<f64>>,
    rows: Vec<usize>,
    /// Whether the decoder has seen 0 in the place of a level.
    zero: bool,
}

impl LevelAblation {
    pub(crate) fn new(stage: &FirstStage) -> LevelAblation {
        let sums: Vec<Vec<f64>> = stage
            .quantizers
            .iter()
            .map(|q| vec![0.0; q.dim()])
            .collect();
        LevelAblation {
            rows: vec![0; sums.len()],
            sums,
            zero: stage.drops_to_the_end(),
        }
    }

    /// Adds images [B, H, W, C] to the means.
    pub(crate) fn observe(
        &mut self,
        stage: &FirstStage,
        params: &Parameters,
        images: &Tensor,
    ) -> Result<()> {
        if self.zero {
            return Ok(());
        }
        let tape = Tape::no_grad(images.gpu());
        let coded = stage.encode(
            &ForwardContext::new(&tape, params),
            &tape.constant(images),
            Mode::Eval,
        )?;
        for ((sum, n), level) in self.sums.iter_mut().zip(&mut self.rows).zip(&coded) {
            let rows = level.quantized.z_q.tensor().read::<f32>()?;
            *n += rows.len() / sum.len();
            for row in rows.chunks(sum.len()) {
                row.iter()
                    .zip(sum.iter_mut())
                    .for_each(|(v, sum)| *sum += f64::from(*v));
            }
        }
        Ok(())
    }

    /// Returns what a latent of a level that is left out holds.
    fn placeholder(&self, level: usize) -> Vec<f32> {
        if self.zero {
            return vec![0.0; self.sums[level].len()];
        }
        let n = self.rows[level].max(1) as f64;
        self.sums[level]
            .iter()
            .map(|sum| (sum / n) as f32)
            .collect()
    }

    /// Reconstructs images [B, H, W, C] from their first level, from their first two, and so on: an
    /// image batch each.
    pub(crate) fn reconstructions(
        &self,
        stage: &FirstStage,
        params: &Parameters,
        images: &Tensor,
    ) -> Result<Vec<Tensor>> {
        let tape = Tape::no_grad(images.gpu());
        let pass = ForwardContext::new(&tape, params);
        let coded = stage.encode(&pass, &tape.constant(images), Mode::Eval)?;
        let [b, height, width, _] = images.dims("reconstruct")?;
        let factors = stage.model.factors();
        // Scales add up by themselves: each has what the latents have become with it.
        if let ([_], [f]) = (&stage.quantizers[..], factors) {
            let by_scale = coded.iter().map(|scale| {
                let z = scale.quantized.z_q.tensor();
                let z = z.reshape(&[b, height / f, width / f, z.shape()[1]])?;
                let y = stage.model.decode(&pass, &[tape.constant(&z)])?;
                Ok(y.tensor().clone())
            });
            return by_scale.collect();
        }
        let latents = coded.iter().zip(factors).map(|(level, f)| {
            let z = level.quantized.z_q.tensor();
            Ok(tape.constant(&z.reshape(&[b, height / f, width / f, z.shape()[1]])?))
        });
        let latents = latents.collect::<Result<Vec<Var>>>()?;
        let known = |count: usize| -> Result<Tensor> {
            let level = |(i, z): (usize, &Var)| -> Result<Var> {
                if i < count {
                    return Ok(z.clone());
                }
                let [b, h, w, _] = z.tensor().dims("reconstruct")?;
                let mean = self.placeholder(i).repeat(b * h * w);
                Ok(tape.constant(&Tensor::from_slice(images.gpu(), z.shape(), &mean)?))
            };
            let latents = latents
                .iter()
                .enumerate()
                .map(level)
                .collect::<Result<Vec<Var>>>()?;
            Ok(stage.model.decode(&pass, &latents)?.tensor().clone())
        };
        (1..=latents.len()).map(known).collect()
    }
}
