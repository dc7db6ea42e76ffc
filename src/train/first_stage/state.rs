//! State of a first stage in training, from which any step can be resumed, and the state of one
//! that has ended.

use super::FirstStageTask;
use super::code_average::{CodeAverage, PREFIX as AVERAGE};
use crate::parallel::Ranks;
use crate::storage::checkpoint::{self, Checkpoint, HostTensor, LazyCheckpoint};
use crate::storage::weights;
use crate::trainer::optimizer_state::{OptimizerState, named};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

impl FirstStageTask {
    /// Adds to a checkpoint: quantizers, the average of their codes, the discriminator, and what
    /// the run has seen of itself.
    pub(super) fn save_state(&self, checkpoint: &mut LazyCheckpoint) -> Result<()> {
        let (adversary, objective) = self.objective.save()?;
        let average = self.average.as_ref().map(|average| average.save());
        checkpoint.add("", self.stage.save()?);
        checkpoint.add("adversary.", adversary);
        checkpoint.add(AVERAGE, average.transpose()?.unwrap_or_default());
        let state = &mut checkpoint.state;
        state["data"] = serde_json::json!({ "name": self.data.name, "sha256": self.data.sha256() });
        state["objective"] = objective;
        self.monitor.save(state);
        Ok(())
    }

    /// Makes the quantizers' state that of rank 0.
    pub(super) fn copy_quantizers(&mut self, ranks: &Ranks) -> Result<()> {
        if ranks.is_alone() {
            return Ok(());
        }
        let own = match ranks.rank() {
            0 => checkpoint::to_bytes(&Checkpoint {
                tensors: named("", self.stage.save()?),
                state: serde_json::Value::Null,
            })?,
            _ => Vec::new(),
        };
        let bytes = ranks.broadcast(own)?;
        if ranks.rank() == 0 {
            return Ok(());
        }
        let first = checkpoint::from_bytes(Path::new("rank 0"), &bytes)?;
        let mut parts = weights::by_prefix(&first.tensors, &["quantizer."])?;
        self.stage
            .load(parts.remove("quantizer.").unwrap_or_default())
    }

    /// The model alone, as inference needs it.
    pub(super) fn weights(
        &mut self,
        state: &mut OptimizerState,
    ) -> Result<BTreeMap<String, HostTensor>> {
        self.kept(state, |task, state| {
            let mut tensors = named("", state.params().to_host()?);
            tensors.extend(named("", task.stage.save()?));
            Ok(tensors)
        })
    }

    /// Checks that the checkpoint was made on these data.
    pub(super) fn check_data(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
        let data = &checkpoint.state["data"];
        if self
            .data
            .is_of_sum(data["sha256"].as_str().unwrap_or_default())
        {
            return Ok(());
        }
        let what = format!(
            "the data set `{}` is not the one that this run began with (`{}`): its images \
             differ (--data says where those lie now). {}",
            self.data.name,
            data["name"].as_str().unwrap_or("unknown"),
            self.data.place_of_pixels()
        );
        Err(Error::data(what))
    }

    /// Checks that [`FirstStageTask::load_state`] takes what a checkpoint holds.
    pub(super) fn check_kept(&self, checkpoint: &LazyCheckpoint) -> Result<()> {
        self.stage.check(checkpoint.part("quantizer.")?)?;
        self.objective.check(
            checkpoint.part("adversary.")?,
            &checkpoint.state["objective"],
        )?;
        if self.average.is_some() {
            CodeAverage::check(&checkpoint.part(AVERAGE)?, &self.stage)?;
        }
        self.monitor.check(&checkpoint.state)
    }

    /// Goes back to what [`FirstStageTask::save_state`] kept.
    pub(super) fn load_state(
        &mut self,
        state: &mut OptimizerState,
        checkpoint: &LazyCheckpoint,
    ) -> Result<()> {
        self.stage.load(checkpoint.part("quantizer.")?)?;
        self.objective.load(
            checkpoint.part("adversary.")?,
            &checkpoint.state["objective"],
        )?;
        if let Some(average) = &mut self.average {
            average.load(&self.gpu, &checkpoint.part(AVERAGE)?, &self.stage)?;
        }
        // Codes are placed by the first step.
        self.stage
            .quantizers
            .iter_mut()
            .for_each(|q| q.reset(state.number() > 0));
        self.monitor.load(&checkpoint.state)?;
        if self.monitor.revives() {
            self.begin_revival();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::DottedConfig;
    use crate::config::run::RunConfig;
    use crate::gpu::{Gpu, Options};
    use crate::quantize::Registry;
    use crate::train::Trainer;
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
            let mut trainer = Trainer::new(
                &gpu,
                &config.resolve(&Registry::default()).unwrap(),
                data.clone(),
            )
            .unwrap();
            let first = Trainer::checkpoint(&mut trainer).unwrap();
            let go = |trainer: &mut Trainer| {
                (0..3).for_each(|_| trainer.step().unwrap());
                Trainer::checkpoint(trainer).unwrap()
            };
            let once = go(&mut trainer);
            assert!(
                trainer.check(&once).is_ok() && trainer.task.begin_revival(),
                "{kind}"
            );
            trainer.restore(&first).unwrap();
            assert!(trainer.task.wants_init(), "{kind}");
            assert!(go(&mut trainer) == once, "{kind}: other bytes");
            // Nothing is left to revive by what the first time began.
            assert!(trainer.task.begin_revival(), "{kind}");
        }
    }
}
