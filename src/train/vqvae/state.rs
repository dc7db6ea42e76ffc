//! What is kept of a first stage in training, to go on from any step, and what is kept of one that
//! has ended.

use crate::nn::AdamState;
use crate::storage::checkpoint::{Checkpoint, HostTensor};
use crate::storage::weights;
use crate::train::Trainer;
use crate::train::average::Average;
use crate::{Error, Result};
use std::collections::BTreeMap;

impl Trainer {
    /// All that going on from here needs: weights, optimiser, quantizer, and the step, from which
    /// data order and random numbers follow.
    ///
    /// # Errors
    /// If the device fails.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut tensors = self.tensors()?;
        let adam = self.adam.save()?;
        let (adversary, objective) = self.objective.save()?;
        let ema = self
            .average
            .as_ref()
            .map(Average::save)
            .transpose()?
            .unwrap_or_default();
        let parts = [
            ("adam.m.", adam.m),
            ("adam.v.", adam.v),
            ("adversary.", adversary),
            ("ema.", ema),
        ];
        for (prefix, part) in parts {
            tensors.extend(
                part.into_iter()
                    .map(|(name, t)| (format!("{prefix}{name}"), weights::export(t))),
            );
        }
        let state = serde_json::json!({
            "step": self.step,
            "adam_step": adam.step,
            "window": self.window.save()?,
            "data": { "name": self.data.name, "sha256": self.data.sha256() },
            "health": self.health,
            "cures": self.cures,
            "objective": objective,
            "guard": self.guard,
        });
        Ok(Checkpoint { tensors, state })
    }

    /// The model alone, as inference needs it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn weights(&mut self) -> Result<BTreeMap<String, HostTensor>> {
        self.kept(|t| t.tensors())
    }

    fn tensors(&self) -> Result<BTreeMap<String, HostTensor>> {
        let mut tensors: BTreeMap<String, HostTensor> = self
            .params
            .to_host()?
            .into_iter()
            .map(|(name, t)| (name, weights::export(t)))
            .collect();
        tensors.extend(
            self.stage
                .save()?
                .into_iter()
                .map(|(name, t)| (name, weights::export(t))),
        );
        Ok(tensors)
    }

    /// Goes back to the step at which `checkpoint` was made.
    ///
    /// # Errors
    /// If it belongs to another architecture or another data set.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let number = |key: &str| {
            checkpoint.state[key]
                .as_u64()
                .ok_or_else(|| Error::data(format!("the checkpoint's state has no `{key}`")))
        };
        let sum = checkpoint.state["data"]["sha256"]
            .as_str()
            .unwrap_or_default();
        if !self.data.is_of_sum(sum) {
            let what = format!(
                "the data set `{}` is not the one that this run began with (`{}`): its pictures \
                 differ (--data says where those lie now)",
                self.data.name,
                checkpoint.state["data"]["name"]
                    .as_str()
                    .unwrap_or("unknown")
            );
            return Err(Error::data(what));
        }
        let mut parts = weights::by_prefix(
            &checkpoint.tensors,
            ["quantizer.", "adam.m.", "adam.v.", "adversary.", "ema."],
        )?;
        let mut part = |prefix: &str| parts.remove(prefix).unwrap_or_default();
        self.params.load_host(&part(""))?;
        self.stage.load(part("quantizer."))?;
        let (m, v) = (part("adam.m."), part("adam.v."));
        let state = AdamState {
            step: number("adam_step")?,
            m,
            v,
        };
        self.adam.load(&state)?;
        self.objective
            .load(part("adversary."), &checkpoint.state["objective"])?;
        if let Some(average) = &mut self.average {
            average.load(&self.gpu, part("ema."), &self.stage)?;
        }
        self.step = number("step")?;
        // Codes are placed by the first step.
        self.stage
            .quantizers
            .iter_mut()
            .for_each(|q| q.reset(self.step > 0));
        self.window.load(&checkpoint.state["window"])?;
        self.told.clear();
        let part = |key: &str| checkpoint.state[key].clone();
        let damaged = |e: serde_json::Error| {
            Error::data(format!("the checkpoint's state cannot be used: {e}"))
        };
        self.health = serde_json::from_value(part("health")).map_err(damaged)?;
        self.cures = serde_json::from_value(part("cures")).map_err(damaged)?;
        self.guard = serde_json::from_value(part("guard")).map_err(damaged)?;
        if self.cures.revives {
            self.begin_revival();
        }
        self.apply_rate();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DottedConfig;
    use crate::config::run::RunConfig;
    use crate::gpu::{Gpu, Options};
    use crate::train::Training;
    use std::sync::Arc;

    /// Codes are placed again, and a revival that was begun is over.
    #[test]
    fn a_run_that_goes_back_to_its_start_begins_as_it_did() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let data = Arc::new(crate::data::open("emoji", &Default::default()).unwrap());
        for kind in ["ema", "vq", "residual", "product"] {
            let mut config = RunConfig::default();
            for (key, value) in [
                ("quantizer.kind", kind),
                ("model.hidden", "8"),
                ("model.residual_layers", "0"),
                ("quantizer.codebook_size", "16"),
                ("quantizer.codebook_dim", "4"),
                ("quantizer.kmeans_iters", "2"),
                ("quantizer.threshold_ema_dead_code", "0"),
                ("train.batch_size", "2"),
                ("train.ema_decay", "0.9"),
            ] {
                config.set(key, value).unwrap();
            }
            let mut trainer = Trainer::new(&gpu, &config, data.clone()).unwrap();
            let first = Trainer::checkpoint(&mut trainer).unwrap();
            let go = |trainer: &mut Trainer| {
                (0..3).for_each(|_| trainer.step().unwrap());
                Trainer::checkpoint(trainer).unwrap()
            };
            let once = go(&mut trainer);
            assert!(
                Training::check(&trainer, &once).is_ok() && trainer.begin_revival(),
                "{kind}"
            );
            trainer.restore(&first).unwrap();
            assert!(trainer.wants_init(), "{kind}");
            assert!(go(&mut trainer) == once, "{kind}: other bytes");
            // Nothing is left to revive by what the first time began.
            assert!(trainer.begin_revival(), "{kind}");
        }
    }
}
