//! The figures of the steps since the last row of a log. They stay on the device and are read
//! asynchronously, so that no step waits.

use crate::gpu::{DType, Gpu, Readback, Tensor, fill};
use crate::{Error, Result};
use std::collections::VecDeque;

/// A row's steps, each with `FIGURES` figures.
pub struct Window<const FIGURES: usize> {
    /// f32 [steps of a row, FIGURES].
    figures: Tensor,
    filled: usize,
    on_their_way: VecDeque<(u64, usize, Readback)>,
}

/// The figures of a row, as they arrive.
pub struct Arrived<const FIGURES: usize> {
    /// Steps done at the row's end.
    pub step: u64,
    /// The figures of each of its steps.
    pub steps: Vec<[f32; FIGURES]>,
}

impl<const FIGURES: usize> Arrived<FIGURES> {
    /// The mean of a figure over the row's steps.
    pub fn mean(&self, figure: usize) -> f64 {
        self.steps.iter().map(|s| s[figure] as f64).sum::<f64>() / self.steps.len() as f64
    }

    /// The first step whose figures do not pass, and they.
    pub fn first_bad(
        &self,
        passes: impl Fn(&[f32; FIGURES]) -> bool,
    ) -> Option<(u64, &[f32; FIGURES])> {
        let i = self.steps.iter().position(|s| !passes(s))?;
        Some((
            self.step - self.steps.len() as u64 + i as u64 + 1,
            &self.steps[i],
        ))
    }
}

impl<const FIGURES: usize> Window<FIGURES> {
    /// For rows of `steps` steps.
    pub fn new(gpu: &Gpu, steps: u64) -> Result<Self> {
        let figures = Tensor::zeros(gpu, &[steps.max(1) as usize, FIGURES], DType::F32)?;
        Ok(Window {
            figures,
            filled: 0,
            on_their_way: VecDeque::new(),
        })
    }

    /// Sets figures of the step at hand, from `figure` on; those that are not set are 0.
    pub fn set(&self, figure: usize, values: &Tensor) -> Result<()> {
        self.figures
            .copy_into(self.filled * FIGURES + figure, values)
    }

    /// Before the first figure of a step.
    pub fn begin(&self) -> Result<()> {
        if self.filled == 0 {
            fill(&self.figures, 0.0)
        } else {
            Ok(())
        }
    }

    /// The step at hand has ended, as the `step`-th.
    pub fn end(&mut self, step: u64) -> Result<()> {
        self.filled += 1;
        if self.filled == self.figures.shape()[0] {
            self.close(step)
        } else {
            Ok(())
        }
    }

    /// Ends the row that is being gathered, whatever its length.
    pub fn close(&mut self, step: u64) -> Result<()> {
        if self.filled > 0 {
            self.on_their_way
                .push_back((step, self.filled, self.figures.read_async()?));
            self.filled = 0;
        }
        Ok(())
    }

    /// The next row that has arrived; with `wait`, the next on its way.
    pub fn arrived(&mut self, wait: bool) -> Result<Option<Arrived<FIGURES>>> {
        if !self
            .on_their_way
            .front()
            .is_some_and(|(_, _, readback)| wait || readback.ready())
        {
            return Ok(None);
        }
        let Some((step, steps, readback)) = self.on_their_way.pop_front() else {
            return Ok(None);
        };
        let values = readback.wait::<f32>()?;
        let steps = values
            .as_chunks::<FIGURES>()
            .0
            .iter()
            .take(steps)
            .copied()
            .collect();
        Ok(Some(Arrived { step, steps }))
    }

    /// What has been gathered of the open row. Waits for the device.
    pub fn save(&self) -> Result<Vec<f32>> {
        let mut values = self.figures.read::<f32>()?;
        values.truncate(self.filled * FIGURES);
        Ok(values)
    }

    /// The steps of a row that [`Window::save`] gave after the `step`-th.
    pub fn open(open: &serde_json::Value, step: u64) -> Arrived<FIGURES> {
        let values: Vec<f32> = open
            .as_array()
            .map(|all| all.iter().map(figure).collect())
            .unwrap_or_default();
        Arrived {
            step,
            steps: values.as_chunks::<FIGURES>().0.to_vec(),
        }
    }

    /// Goes on with a row that [`Window::save`] gave, so that a resumed run's log is that of a run
    /// left alone.
    ///
    /// # Errors
    /// If it holds more than a row.
    pub fn load(&mut self, open: &serde_json::Value) -> Result<()> {
        let open = open.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut values = vec![0.0f32; self.figures.len()];
        if open.len() > values.len() {
            return Err(Error::data(
                "the checkpoint holds more figures than train.log_every steps make",
            ));
        }
        open.iter()
            .zip(&mut values)
            .for_each(|(from, to)| *to = figure(from));
        self.figures.write(&values)?;
        self.filled = open.len() / FIGURES;
        self.on_their_way.clear();
        Ok(())
    }
}

/// A figure as JSON has it, which knows no NaN.
fn figure(value: &serde_json::Value) -> f32 {
    value.as_f64().unwrap_or(f64::NAN) as f32
}
