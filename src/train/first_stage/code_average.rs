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
        let of = |(shape, values): &(Vec<usize>, Vec<f32>)| Tensor::from_slice(gpu, shape, values);
        let codes = taken(tensors, stage)?.into_iter().map(of);
        self.codes = codes.collect::<Result<_>>()?;
        Ok(())
    }

    /// Checks that [`CodeAverage::load`] takes what a checkpoint holds.
    pub(super) fn check(tensors: &HostTensors, stage: &FirstStage) -> Result<()> {
        taken(tensors, stage).map(drop)
    }
}

/// Returns the averages in what a checkpoint holds, in the order of the codes; none where it was
/// made before the first step.
fn taken<'a>(
    tensors: &'a HostTensors,
    stage: &FirstStage,
) -> Result<Vec<&'a (Vec<usize>, Vec<f32>)>> {
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    let of = |(i, own): (usize, &Tensor)| {
        let found = tensors.get(&i.to_string());
        let found = found.filter(|(shape, values)| {
            shape == own.shape() && values.len() == shape.iter().product::<usize>()
        });
        let missing = || {
            let what = format!("the checkpoint's average of codebook {i} is missing");
            Error::data(what)
        };
        found.ok_or_else(missing)
    };
    live(stage).into_iter().enumerate().map(of).collect()
}
