//! The metrics of the steps since the last row of a log. They stay on the device and are read
//! asynchronously, so that no step waits.

use crate::gpu::{DType, Gpu, Readback, Tensor, fill};
use crate::metrics::Reduce;
use crate::{Error, Result};
use std::collections::VecDeque;

/// The metrics of the steps of a row, on the device.
pub struct MetricsBuffer {
    /// f32 [steps of a row, metrics of a step].
    values: Tensor,
    /// Steps of the row that is being gathered.
    filled: usize,
    pending: VecDeque<(u64, usize, Readback)>,
}

/// The metrics of a row's steps, on the host.
pub struct Steps {
    /// Steps done at the row's end.
    pub step: u64,
    width: usize,
    /// [steps, width].
    values: Vec<f32>,
}

impl Steps {
    /// Creates the values of steps with `width` metrics each, the last of which is the `step`-th.
    pub(crate) fn new(step: u64, width: usize, values: Vec<f32>) -> Steps {
        Steps {
            step,
            width,
            values,
        }
    }

    /// Returns the metrics of each step.
    pub fn each(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// One metric of all steps.
    pub(crate) fn reduce(&self, slot: usize, how: Reduce) -> f64 {
        let all = self.each().map(|step| f64::from(step[slot]));
        match how {
            Reduce::Mean => all.sum::<f64>() / self.len() as f64,
            Reduce::Zeros => all.filter(|v| *v == 0.0).count() as f64,
            Reduce::MeanWhereAny => {
                let found: Vec<f64> = all.filter(|v| *v != 0.0).collect();
                found.iter().fold(0.0, |sum, v| sum + v) / found.len().max(1) as f64
            }
        }
    }

    /// The first step whose metrics do not pass, and they.
    pub(crate) fn first_bad(&self, passes: impl Fn(&[f32]) -> bool) -> Option<(u64, &[f32])> {
        let (i, metrics) = self.each().enumerate().find(|(_, step)| !passes(step))?;
        Some((self.step - self.len() as u64 + i as u64 + 1, metrics))
    }
}

impl MetricsBuffer {
    /// Creates a buffer for rows of `steps` steps with `width` metrics each.
    pub(crate) fn new(gpu: &Gpu, steps: u64, width: usize) -> Result<Self> {
        let values = Tensor::zeros(gpu, &[steps.max(1) as usize, width], DType::F32)?;
        Ok(MetricsBuffer {
            values,
            filled: 0,
            pending: VecDeque::new(),
        })
    }

    fn width(&self) -> usize {
        self.values.shape()[1]
    }

    /// Sets metrics of the step at hand, from `slot` on; those that are not set are 0.
    ///
    /// # Errors
    /// If there are not so many slots.
    pub fn set(&self, slot: usize, values: &Tensor) -> Result<()> {
        self.values
            .copy_into(self.filled * self.width() + slot, values)
    }

    /// Begins a step: to be called before its first metric is set.
    ///
    /// # Errors
    /// If the device fails.
    pub fn begin(&self) -> Result<()> {
        if self.filled == 0 {
            fill(&self.values, 0.0)
        } else {
            Ok(())
        }
    }

    /// The step at hand has ended, as the `step`-th.
    pub(crate) fn end(&mut self, step: u64) -> Result<()> {
        self.filled += 1;
        if self.filled == self.values.shape()[0] {
            self.close(step)
        } else {
            Ok(())
        }
    }

    /// Ends the row that is being gathered, whatever its length.
    pub(crate) fn close(&mut self, step: u64) -> Result<()> {
        if self.filled > 0 {
            self.pending
                .push_back((step, self.filled, self.values.read_async()?));
            self.filled = 0;
        }
        Ok(())
    }

    /// The next row that has arrived; with `wait`, the next on its way.
    pub(crate) fn next(&mut self, wait: bool) -> Result<Option<Steps>> {
        if !self
            .pending
            .front()
            .is_some_and(|(_, _, readback)| wait || readback.ready())
        {
            return Ok(None);
        }
        let Some((step, steps, readback)) = self.pending.pop_front() else {
            return Ok(None);
        };
        let mut values = readback.wait::<f32>()?;
        values.truncate(steps * self.width());
        Ok(Some(Steps::new(step, self.width(), values)))
    }

    /// Returns the values gathered of the open row. Waits for the device.
    pub(crate) fn save(&self) -> Result<Vec<f32>> {
        let mut values = self.values.read::<f32>()?;
        values.truncate(self.filled * self.width());
        Ok(values)
    }

    /// Returns the steps of a row that [`MetricsBuffer::save`] gave after the `step`-th.
    pub(crate) fn open(&self, saved: &serde_json::Value, step: u64) -> Steps {
        let mut values: Vec<f32> = saved
            .as_array()
            .map(|all| all.iter().map(number).collect())
            .unwrap_or_default();
        values.truncate(values.len() / self.width() * self.width());
        Steps::new(step, self.width(), values)
    }

    /// Checks that a row is one that [`MetricsBuffer::save`] gives.
    ///
    /// # Errors
    /// If it holds more than a row.
    pub(crate) fn check(&self, saved: &serde_json::Value) -> Result<()> {
        match saved.as_array() {
            Some(saved) if saved.len() > self.values.len() => Err(Error::data(
                "the checkpoint holds more metrics than train.log_every steps make",
            )),
            _ => Ok(()),
        }
    }

    /// Goes on with a row that [`MetricsBuffer::save`] gave, so that a resumed run's log is that of
    /// a run left alone.
    ///
    /// # Errors
    /// If it holds more than a row.
    pub(crate) fn load(&mut self, saved: &serde_json::Value) -> Result<()> {
        self.check(saved)?;
        let saved = saved.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut values = vec![0.0f32; self.values.len()];
        saved
            .iter()
            .zip(&mut values)
            .for_each(|(from, to)| *to = number(from));
        self.values.write(&values)?;
        self.filled = saved.len() / self.width();
        self.pending.clear();
        Ok(())
    }
}

/// Returns numbers as JSON has them; those that are not finite, which it does not know, as text.
pub(crate) fn as_json(values: &[f32]) -> serde_json::Value {
    let number = |v: &f32| match v.is_finite() {
        true => serde_json::json!(v),
        false => serde_json::json!(v.to_string()),
    };
    values.iter().map(number).collect()
}

/// A number as [`as_json`] writes it. Earlier versions wrote null for what is not finite.
fn number(value: &serde_json::Value) -> f32 {
    let text = || value.as_str().and_then(|text| text.parse().ok());
    let number = value.as_f64().map(|v| v as f32);
    number.or_else(text).unwrap_or(f32::NAN)
}
