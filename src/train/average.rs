//! A moving average of a first stage: of its weights, and of the codes that its quantizers move
//! themselves. Averaged weights with codes of the moment do not fit one another.

use crate::gpu::{Gpu, Tensor};
use crate::inference::first_stage::FirstStage;
use crate::nn::{Ema, HostTensors, Parameters};
use crate::ops::elementwise::lerp::lerp_assign;
use crate::{Error, Result};

/// The average.
pub(super) struct Average {
    weights: Ema,
    decay: f64,
    /// Of the quantizers' codes, in their order; empty before the first step.
    codes: Vec<Tensor>,
}

fn live(stage: &FirstStage) -> Vec<&Tensor> {
    stage.quantizers.iter().flat_map(|q| q.learned()).collect()
}

fn exchange(a: &Tensor, b: &Tensor) -> Result<()> {
    let kept = a.duplicate()?;
    a.copy_from(b)?;
    b.copy_from(&kept)
}

impl Average {
    /// Begins at the weights as they are.
    pub(super) fn new(params: &Parameters, decay: f64) -> Result<Average> {
        Ok(Average {
            weights: Ema::new(params, decay)?,
            decay,
            codes: Vec::new(),
        })
    }

    /// Follows the model after a step.
    pub(super) fn follow(
        &mut self,
        params: &Parameters,
        stage: &FirstStage,
        step: u64,
    ) -> Result<()> {
        self.weights.update(params, step)?;
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

    /// Exchanges the model and its average; again, and both are as they were.
    pub(super) fn exchange(&self, params: &Parameters, stage: &FirstStage) -> Result<()> {
        exchange(params.arena(), self.weights.weights().arena())?;
        // Before the first step the codes have no average, or have not been placed.
        self.codes
            .iter()
            .zip(live(stage))
            .try_for_each(|(average, code)| exchange(code, average))
    }

    /// What a checkpoint keeps: weights by name, and codes under `codes.`.
    pub(super) fn save(&self) -> Result<HostTensors> {
        let mut all = self.weights.weights().to_host()?;
        for (i, t) in self.codes.iter().enumerate() {
            all.insert(format!("codes.{i}"), (t.shape().to_vec(), t.read::<f32>()?));
        }
        Ok(all)
    }

    /// Goes on from what [`Average::save`] gave.
    pub(super) fn load(
        &mut self,
        gpu: &Gpu,
        tensors: HostTensors,
        stage: &FirstStage,
    ) -> Result<()> {
        let (codes, weights): (HostTensors, HostTensors) = tensors
            .into_iter()
            .partition(|(name, _)| name.starts_with("codes."));
        self.weights.load_host(&weights)?;
        let live = live(stage);
        self.codes.clear();
        if codes.is_empty() {
            return Ok(());
        }
        for (i, own) in live.iter().enumerate() {
            let found = codes
                .get(&format!("codes.{i}"))
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
