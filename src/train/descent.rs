//! Weights on their way down: the optimiser's steps along the gradients of one loss, the moving
//! average that follows, and the figures that each step leaves. Priors and contrastive models train
//! by it.

use super::window::{Arrived, Window};
use crate::gpu::command::in_flight::{InFlight, STEPS_IN_FLIGHT};
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Adam, AdamState, Ema, Handle, HostTensors, Parameters};
use crate::ops::optim::adam::Hyper;
use crate::storage::checkpoint::{Checkpoint, HostTensor};
use crate::storage::weights;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Figures of a step: the loss, the gradients' norm, the factor that clipped them, whether they
/// were finite.
const FIGURES: usize = 4;

/// Parameters in training.
pub struct Descent {
    gpu: Gpu,
    params: Parameters,
    ema: Option<Ema>,
    adam: Adam,
    step: u64,
    window: Window<FIGURES>,
    in_flight: InFlight,
}

/// What the steps of a row of the log left.
pub struct Figures {
    /// Steps done at the row's end.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
    /// Mean norm of the gradients before they are clipped.
    pub gradient_norm: f64,
    /// Steps that were skipped because a gradient was not finite.
    pub skipped: u64,
}

impl Descent {
    /// At step 0. Gradients are clipped to a norm of `max_norm`, infinity to measure it alone; with
    /// an `ema_decay` above 0 an average of the weights follows.
    pub fn new(
        gpu: &Gpu,
        params: Parameters,
        hyper: Hyper,
        max_norm: f32,
        ema_decay: f32,
        log_every: u64,
    ) -> Result<Descent> {
        let mut adam = Adam::new(&params, hyper)?;
        adam.max_norm = Some(max_norm);
        let ema = (ema_decay > 0.0)
            .then(|| Ema::new(&params, ema_decay.into()))
            .transpose()?;
        let (window, in_flight) = (Window::new(gpu, log_every)?, InFlight::new(STEPS_IN_FLIGHT));
        Ok(Descent {
            gpu: gpu.clone(),
            params,
            ema,
            adam,
            step: 0,
            window,
            in_flight,
        })
    }

    /// The weights that learn.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// The weights to measure and keep.
    pub fn weights(&self) -> &Parameters {
        self.ema.as_ref().map_or(&self.params, Ema::weights)
    }

    /// Steps done.
    pub fn number(&self) -> u64 {
        self.step
    }

    /// A step along the gradients of a loss at a learning rate, submitted.
    pub fn step(&mut self, loss: &Tensor, gradients: &[(Handle, Tensor)], rate: f64) -> Result<()> {
        self.window.begin()?;
        self.window.set(0, loss)?;
        self.adam.hyper.lr = rate;
        if let Some(report) = self.adam.step(&self.params, gradients)? {
            self.window.set(1, &report)?;
        }
        if let Some(ema) = &self.ema {
            ema.update(&self.params, self.step)?;
        }
        self.step += 1;
        self.window.end(self.step)?;
        self.in_flight.submit(&self.gpu)
    }

    /// The next row of figures that has arrived; with `wait`, the next on its way.
    ///
    /// # Errors
    /// If a loss is not finite: the step, and `advice`.
    pub fn arrived(&mut self, wait: bool, advice: &str) -> Result<Option<Figures>> {
        let Some(arrived) = self.window.arrived(wait)? else {
            return Ok(None);
        };
        finite(&arrived, advice)?;
        let Arrived { step, steps } = &arrived;
        let skipped = steps.iter().filter(|f| f[3] == 0.0).count() as u64;
        Ok(Some(Figures {
            step: *step,
            loss: arrived.mean(0),
            gradient_norm: arrived.mean(1),
            skipped,
        }))
    }

    /// Ends the row that is being gathered.
    pub fn close_row(&mut self) -> Result<()> {
        self.window.close(self.step)
    }

    /// All of it. Waits for the device.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        let adam = self.adam.save()?;
        let mut parts = vec![
            ("", self.params.to_host()?),
            ("adam.m.", adam.m),
            ("adam.v.", adam.v),
        ];
        if let Some(ema) = &self.ema {
            parts.push(("ema.", ema.weights().to_host()?));
        }
        let tensors = parts
            .into_iter()
            .flat_map(|(prefix, part)| named(prefix, part))
            .collect();
        let state = serde_json::json!({ "step": self.step, "adam_step": adam.step, "window": self.window.save()? });
        Ok(Checkpoint { tensors, state })
    }

    /// Is all of a checkpoint finite?
    ///
    /// # Errors
    /// If not: the step, what is not, and `advice`.
    pub fn check(&self, checkpoint: &Checkpoint, advice: &str) -> Result<()> {
        let step = checkpoint.state["step"].as_u64().unwrap_or(self.step);
        // Steps whose row is not full yet, and whom nothing has looked at.
        finite(&Window::open(&checkpoint.state["window"], step), advice)?;
        let Some(name) = checkpoint.first_not_finite() else {
            return Ok(());
        };
        let what = format!("`{name}` is not finite at step {step}: training diverged. {advice}");
        Err(Error::Diverged { step, what })
    }

    /// Goes on from a checkpoint, in which the caller's own tensors may stand under `prefix`, empty
    /// where there are none; these are returned.
    ///
    /// # Errors
    /// If something is missing, or does not fit the model.
    pub fn restore(
        &mut self,
        checkpoint: &Checkpoint,
        prefix: &'static str,
    ) -> Result<HostTensors> {
        let number = |key: &str| {
            checkpoint.state[key]
                .as_u64()
                .ok_or_else(|| Error::data(format!("the checkpoint's state has no `{key}`")))
        };
        let mut parts =
            weights::by_prefix(&checkpoint.tensors, ["adam.m.", "adam.v.", "ema.", prefix])?;
        let mut part = |prefix: &str| parts.remove(prefix).unwrap_or_default();
        self.params.load_host(&part(""))?;
        let (m, v) = (part("adam.m."), part("adam.v."));
        self.adam.load(&AdamState {
            step: number("adam_step")?,
            m,
            v,
        })?;
        if let Some(ema) = &self.ema {
            ema.load_host(&part("ema."))?;
        }
        self.step = number("step")?;
        self.window.load(&checkpoint.state["window"])?;
        Ok(part(prefix))
    }
}

fn finite(row: &Arrived<FIGURES>, advice: &str) -> Result<()> {
    let Some((step, figures)) = row.first_bad(|f| f[0].is_finite()) else {
        return Ok(());
    };
    let what = format!(
        "the loss is {} at step {step}: training diverged. {advice}",
        figures[0]
    );
    Err(Error::Diverged { step, what })
}

/// Tensors as a file has them, each name behind a prefix.
pub fn named(prefix: &str, tensors: HostTensors) -> BTreeMap<String, HostTensor> {
    tensors
        .into_iter()
        .map(|(name, t)| (format!("{prefix}{name}"), weights::export(t)))
        .collect()
}
