//! Latents whose channels are brought to mean 0 and deviation 1 before their codes are chosen.

use super::quantizer::CodebookBatch;
use super::state::{check_parts, restore, saved};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Tensor, fill};
use crate::nn::HostTensors;
use crate::ops::elementwise::lerp::lerp_assign;
use crate::ops::norm::batch_norm::batch_norm_by;

/// Added to the variance of a channel.
pub(crate) const EPS: f32 = 1e-5;
/// Share of a step's moments in the kept ones, as in PyTorch's batch norm.
const MOMENTUM: f64 = 0.1;

/// The normalisation of a quantizer's latents, where it has one: in training over the step's
/// latents, otherwise by a moving average of their moments.
///
/// An untrained encoder's latents differ from each other by far less than their common mean, so
/// that where a code is chosen by a product one would win for nearly all of them, and the few that
/// are ever chosen are the only ones that learn.
#[derive(Debug)]
pub(super) struct LatentNorm(Option<Moments>);

#[derive(Debug)]
struct Moments {
    /// (mean, inverse deviation) of each channel, averaged over steps: [D, 2].
    averaged: Tensor,
    ones: Tensor,
    zeros: Tensor,
}

impl LatentNorm {
    /// Returns the normalisation of latents of `d` channels, or none.
    pub fn new(gpu: &Gpu, d: usize, normalizes: bool) -> Result<LatentNorm> {
        if !normalizes {
            return Ok(LatentNorm(None));
        }
        let ones = Tensor::empty(gpu, &[d], DType::F32)?;
        fill(&ones, 1.0)?;
        let start: Vec<f32> = [0.0, 1.0].repeat(d);
        Ok(LatentNorm(Some(Moments {
            averaged: Tensor::from_slice(gpu, &[d, 2], &start)?,
            ones,
            zeros: Tensor::zeros(gpu, &[d], DType::F32)?,
        })))
    }

    /// Whether latents are normalised.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Normalises a step's latents [N, D] over all of them; beside them the moments, which
    /// [`LatentNorm::learn`] takes.
    pub fn of_step(&self, tape: &Tape, z_e: &Var) -> Result<(Var, Option<Tensor>)> {
        let Some(kept) = &self.0 else {
            return Ok((z_e.clone(), None));
        };
        let (ones, zeros) = (tape.constant(&kept.ones), tape.constant(&kept.zeros));
        let (x, moments) = tape.batch_norm(z_e, &ones, &zeros, EPS)?;
        Ok((x, Some(moments)))
    }

    /// Normalises latents [N, D] by the averaged moments, as where a model is used.
    pub fn of_use(&self, z_e: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Some(kept) => batch_norm_by(z_e, &kept.ones, &kept.zeros, &kept.averaged),
            None => Ok(z_e.clone()),
        }
    }

    /// Takes the moments of a step's latents into the average.
    pub fn learn(&self, seen: &[CodebookBatch], step: u64) -> Result<()> {
        let Some(kept) = &self.0 else {
            return Ok(());
        };
        for moments in seen.iter().filter_map(|s| s.moments.as_ref()) {
            // The first steps count alike, so that nothing of where the average began is left.
            lerp_assign(
                &kept.averaged,
                moments,
                MOMENTUM.max(1.0 / (step + 1) as f64),
            )?;
        }
        Ok(())
    }

    pub fn save(&self) -> Result<HostTensors> {
        saved(self.state())
    }

    /// Checks a state of the quantizer `who`: one without moments is of a model that did not
    /// normalise.
    pub fn check_state(&self, who: &str, own: &HostTensors) -> Result<()> {
        if own.is_empty() {
            return Ok(());
        }
        check_parts(who, own, &self.state())
    }

    /// Takes a state; one that is empty ends the normalisation.
    pub fn load(&mut self, who: &str, state: &HostTensors) -> Result<()> {
        if state.is_empty() {
            self.0 = None;
        }
        restore(who, state, &self.state())
    }

    /// The tensors that steps write.
    pub fn learned(&self) -> Vec<&Tensor> {
        self.0.iter().map(|kept| &kept.averaged).collect()
    }

    fn state(&self) -> Vec<(&'static str, &Tensor)> {
        self.0
            .iter()
            .map(|kept| ("moments", &kept.averaged))
            .collect()
    }
}
