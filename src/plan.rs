//! Estimates of a configuration's time and memory, from a few steps of it and a few measured
//! images.

mod contrastive;
mod memory;
// Steps of priors are tried on made-up codes in a folder, which browsers have not.
#[cfg(not(target_arch = "wasm32"))]
mod prior;

pub use contrastive::fitting_contrastive;
pub use memory::{Peak, fitting, peaks};
#[cfg(not(target_arch = "wasm32"))]
pub use prior::{
    PriorMemory, PriorState, PriorStep, fitting_prior, measured_step, prior_peaks, prior_states,
};

use crate::Result;
use crate::config::objective::Regularizer;
use crate::config::run::{ResolvedConfig, RunConfig};
use crate::data::ImageSet;
use crate::gpu::Gpu;
use crate::train::Trainer;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps that are timed, of which the fastest counts.
const TIMED: u32 = 3;
/// A step that no run reaches.
const NEVER: u64 = 1 << 40;

/// Time and work of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// Seconds.
    pub seconds: f64,
    /// Operations on floating-point numbers.
    pub flops: f64,
}

/// Time, memory and size of a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Numbers that the model's optimiser trains, those of the quantizers among them.
    pub parameters: usize,
    /// Numbers of the discriminator; 0 where there is none.
    pub discriminator: usize,
    /// Numbers of LPIPS, which are not trained; 0 where it is not asked for.
    pub lpips: usize,
    /// Numbers of the codebooks of all levels, however they learn; 0 where codes follow from a
    /// rule.
    pub codebook: usize,
    /// Device memory at its peak, training or measuring.
    pub peak_bytes: u64,
    /// A step with all that there is.
    pub step: Pace,
    /// Steps before the discriminator begins, and what one of them takes.
    pub before: Option<(u64, Pace)>,
    /// Steps in all.
    pub steps: u64,
    /// Measurements on the test split in all.
    pub measurements: u64,
    /// Seconds that one takes.
    pub measurement_seconds: f64,
}

impl Plan {
    /// Takes a few steps of the configuration, as they are once a discriminator has begun, and
    /// measures a few pictures.
    ///
    /// # Errors
    /// If the configuration makes no model for this data set, or the device cannot hold it.
    pub fn of(gpu: &Gpu, config: &ResolvedConfig, data: &Arc<ImageSet>) -> Result<Plan> {
        gpu.reset_peak();
        let all = config;
        // Other steps than are asked for, of the same model.
        let changed = |change: &dyn Fn(&mut RunConfig)| {
            config.clone().map(|mut config| {
                change(&mut config);
                config
            })
        };
        let start = all.gan.start.min(all.train.steps);
        let before = match all.gan.is_on() && start > 0 {
            true => {
                let alone = changed(&|c| c.gan.start = NEVER);
                Some((
                    start,
                    pace(gpu, &mut Trainer::new(gpu, &alone, data.clone())?)?,
                ))
            }
            false => None,
        };
        let penalized = all.gan.is_on()
            && all.gan.regularizer == Regularizer::R1
            && all.gan.regularizer_weight > 0.0;
        // The penalty comes once in so many steps; what it adds to one is shared out among them.
        let with_penalty = match penalized {
            true => {
                let each = changed(&|c| {
                    at_once(c);
                    c.gan.regularizer_every = 1;
                });
                Some(pace(gpu, &mut Trainer::new(gpu, &each, data.clone())?)?)
            }
            false => None,
        };
        let heard = changed(&|c| {
            at_once(c);
            if penalized {
                c.gan.regularizer = Regularizer::None;
            }
        });
        let mut trainer = Trainer::new(gpu, &heard, data.clone())?;
        let mut step = pace(gpu, &mut trainer)?;
        if let Some(costly) = with_penalty {
            let share = 1.0 / all.gan.regularizer_every as f64;
            step.seconds += share * (costly.seconds - step.seconds).max(0.0);
            step.flops += share * (costly.flops - step.flops).max(0.0);
        }
        let measurement_seconds = trainer.time_measurement()?.as_secs_f64();
        let (steps, every) = (all.train.steps, all.train.eval_every);
        Ok(Plan {
            parameters: trainer.parameter_count(),
            discriminator: trainer.discriminator_count(),
            lpips: trainer.lpips_count(),
            codebook: trainer
                .quantizers()
                .iter()
                .map(|q| q.codebook_numbers())
                .sum(),
            peak_bytes: gpu.memory().peak,
            step,
            before,
            steps,
            // After every so many steps but the last, and in the end.
            measurements: 1 + (steps - 1).checked_div(every).unwrap_or(0),
            measurement_seconds,
        })
    }

    /// Seconds that all steps take.
    pub fn training_seconds(&self) -> f64 {
        let (early, pace) = self.before.unwrap_or_default();
        early as f64 * pace.seconds + self.steps.saturating_sub(early) as f64 * self.step.seconds
    }

    /// Seconds that all measurements take.
    pub fn measuring_seconds(&self) -> f64 {
        self.measurements as f64 * self.measurement_seconds
    }

    /// All of a run.
    pub fn total(&self) -> Duration {
        Duration::try_from_secs_f64(self.training_seconds() + self.measuring_seconds())
            .unwrap_or(Duration::MAX)
    }
}

/// Lets the discriminator begin at once.
fn at_once(c: &mut RunConfig) {
    (c.gan.start, c.gan.head_start, c.gan.ramp) = (0, 0, 1);
}

/// Measures a step of the trainer. The first one also compiles kernels and places the codes, and
/// does not count.
fn pace(gpu: &Gpu, trainer: &mut Trainer) -> Result<Pace> {
    trainer.step()?;
    gpu.finish()?;
    let (before, mut best) = (gpu.work_done().flops, Duration::MAX);
    for _ in 0..TIMED {
        let start = Instant::now();
        trainer.step()?;
        gpu.finish()?;
        best = best.min(start.elapsed());
    }
    Ok(Pace {
        seconds: best.as_secs_f64(),
        flops: (gpu.work_done().flops - before) / f64::from(TIMED),
    })
}
