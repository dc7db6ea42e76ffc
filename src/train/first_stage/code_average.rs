//! A moving average of the codes that quantizers move themselves, beside that of the weights:
//! averaged weights with codes of the moment do not fit one another.

use crate::gpu::{Gpu, Tensor};
use crate::inference::first_stage::FirstStage;
use crate::nn::HostTensors;
use crate::ops::elementwise::lerp::lerp_assign;
use crate::trainer::optimizer_state::exchange;
use crate::{Error, Result};

/// Under what a checkpoint keeps it.
pub(super) const PREFIX: &str = "ema.codes.";

/// The average.
pub(super) struct CodeAverage {
    decay: f64,
    /// Averages of the quantizers' codes, in their order; empty before the first step.
    codes: Vec<Tensor>,
}

fn live(stage: &FirstStage) -> Vec<&Tensor> {
    stage.quantizers.iter().flat_map(|q| q.learned()).collect()
}

impl CodeAverage {
    pub(super) fn new(decay: f64) -> CodeAverage {
        CodeAverage {
            decay,
            codes: Vec::new(),
        }
    }

    /// Moves the average towards the codes after a step.
    pub(super) fn update(&mut self, stage: &FirstStage, step: u64) -> Result<()> {
        let live = live(stage);
        if self.codes.len() != live.len() {
            self.codes = live.iter().map(|t| t.duplicate()).collect::<Result<_>>()?;
            return Ok(());
        }
        let early = (1 + step) as f64 / (10 + step) as f64;
        let weight = 1.0 - self.decay.min(early);
        self.codes
            .iter()
            .zip(live)
            .try_for_each(|(average, code)| lerp_assign(average, code, weight))
    }

    /// Exchanges the codes and their average; again, and both are as they were.
    pub(super) fn exchange(&self, stage: &FirstStage) -> Result<()> {
        // Before the first step the codes have no average, or have not been placed.
        self.codes
            .iter()
            .zip(live(stage))
            .try_for_each(|(average, code)| exchange(code, average))
    }

    /// Returns the state of a checkpoint, by the codes' numbers.
    pub(super) fn save(&self) -> Result<HostTensors> {
        let of =
            |(i, t): (usize, &Tensor)| Ok((i.to_string(), (t.shape().to_vec(), t.read::<f32>()?)));
        self.codes.iter().enumerate().map(of).collect()
    }

    /// Goes on from what [`CodeAverage::save`] gave.
    pub(super) fn load(
        &mut self,
        gpu: &Gpu,
        tensors: &HostTensors,
        stage: &FirstStage,
    ) -> Result<()> {
        let live = live(stage);
        self.codes.clear();
        if tensors.is_empty() {
            return Ok(());
        }
        for (i, own) in live.iter().enumerate() {
            let found = tensors
                .get(&i.to_string())
                .filter(|(shape, _)| shape == own.shape());
            let missing = || {
                Error::data(format!(
                    "the checkpoint's average of codebook {i} is missing"
                ))
            };
            let (shape, values) = found.ok_or_else(missing)?;
            self.codes.push(Tensor::from_slice(gpu, shape, values)?);
        }
        Ok(())
    }
}
