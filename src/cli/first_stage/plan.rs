//! `wgvq plan`: what a configuration will take.

use crate::cli::common::json;
use crate::cli::common::keys::{Keys, configuration, open, preset_names};
use crate::cli::common::output;
use crate::cli::common::peaks::{described, table_of};
use crate::cli::prior::plan::PlannedPrior;
use crate::cli::prior::stage::PriorKeys;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use wgvq::Result;
use wgvq::plan::{Plan as Found, peaks};

#[derive(Args)]
#[command(after_long_help = "\
It takes a few steps on the adapter to find out. Memory and time include the discriminator
and the measurements on the test split.

Examples:
  wgvq plan --preset photo64 --data ~/pictures
  wgvq plan --preset gan64 --data ~/pictures --batch 16
  wgvq plan --prior base --grid 64x64 --codes 1024 --batch 8
  wgvq plan --prior small --grid 32x32 --set prior.kind=masked --measure")]
pub struct Plan {
    /// A configuration in TOML
    config: Option<PathBuf>,
    /// A configuration by name
    #[arg(long, conflicts_with = "config", value_parser = preset_names())]
    preset: Option<String>,
    #[command(flatten)]
    keys: Keys,
    #[command(flatten)]
    prior: PlannedPrior,
}

impl Plan {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let Keys {
            steps,
            batch,
            lr,
            seed,
            set,
            ..
        } = &self.keys;
        let keys = PriorKeys {
            steps: *steps,
            batch: *batch,
            lr: *lr,
            seed: *seed,
            set,
        };
        if let Some(done) = self.prior.run(global, &keys, self.keys.codes) {
            return done;
        }
        let config = configuration(self.config.as_deref(), self.preset.as_deref(), &self.keys)?;
        self.keys.tell_unread(global, &config)?;
        for line in config.without_effect() {
            output::note(global, &line);
        }
        let data = open(&config)?;
        let gpu = global.gpu()?;
        output::note(
            global,
            &format!("taking a few steps on {} to measure them", gpu.info().name),
        );
        let (plan, peaks) = match Found::of(&gpu, &config, &data) {
            Ok(plan) => (plan, peaks(&gpu, &config, &data)?),
            Err(e) if e.is_of_memory() => {
                let peaks = peaks(&gpu, &config, &data)?;
                if !peaks.is_empty() && !global.json {
                    output::note(global, "a step does not fit; in several passes it takes:");
                    table_of(&peaks);
                }
                return Err(e);
            }
            Err(e) => return Err(e),
        };
        if global.json {
            let line = serde_json::json!({
                "parameters": plan.parameters, "discriminator": plan.discriminator,
                "lpips": plan.lpips,
                "codebook": plan.codebook, "peak_device_bytes": plan.peak_bytes,
                "flops_per_step": plan.step.flops,
                "ms_per_step": plan.step.seconds * 1e3,
                "steps_before_discriminator": plan.before.map_or(0, |(steps, _)| steps),
                "ms_per_step_before": plan.before.map(|(_, pace)| pace.seconds * 1e3),
                "steps": plan.steps, "measurements": plan.measurements,
                "ms_per_measurement": plan.measurement_seconds * 1e3,
                "training_seconds": plan.training_seconds(),
                "measuring_seconds": plan.measuring_seconds(),
                "seconds": plan.total().as_secs_f64(),
                "peaks": peaks.iter().map(described).collect::<Vec<_>>(),
            });
            json::print("plan", &line);
        } else {
            table(&plan);
            table_of(&peaks);
        }
        Ok(CommandStatus::Done)
    }
}

fn table(plan: &Found) {
    let row = |name: &str, value: String| output::result(&format!("{name:<18}{value}"));
    row("parameters", plan.parameters.to_string());
    if plan.discriminator > 0 {
        row(
            "discriminator",
            format!("{} parameters", plan.discriminator),
        );
    }
    if plan.lpips > 0 {
        row(
            "LPIPS",
            format!("{} numbers, which are not trained", plan.lpips),
        );
    }
    row(
        "codebook",
        match plan.codebook {
            0 => "none: codes follow from a rule".to_owned(),
            numbers => format!("{numbers} numbers"),
        },
    );
    row(
        "device memory",
        format!("{} MiB at peak", plan.peak_bytes.div_ceil(1 << 20)),
    );
    row(
        "operations",
        format!("{:.2} GFLOP per step", plan.step.flops / 1e9),
    );
    let rate = plan.step.flops / plan.step.seconds.max(1e-9) / 1e9;
    let early = match plan.before {
        Some((steps, pace)) => {
            format!(
                "; {:.0} ms in the first {steps}, without the discriminator",
                pace.seconds * 1e3
            )
        }
        None => String::new(),
    };
    row(
        "time per step",
        format!(
            "{:.0} ms ({rate:.1} GFLOP/s){early}",
            plan.step.seconds * 1e3
        ),
    );
    let each = Duration::from_secs_f64(plan.measurement_seconds);
    row(
        "measurements",
        format!("{} of {:.1} s each", plan.measurements, each.as_secs_f64()),
    );
    row(
        "time in all",
        format!(
            "{} for {} steps and the measurements",
            output::duration(plan.total()),
            plan.steps
        ),
    );
}
