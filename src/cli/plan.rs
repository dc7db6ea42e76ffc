//! `wgvq plan`: what a configuration will take, found by taking one step of it.

use super::train::{Keys, configuration, open};
use super::{Ended, Global, output};
use clap::Args;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wgvq::Result;
use wgvq::train::Trainer;

#[derive(Args)]
pub struct Plan {
    /// A configuration in TOML
    config: Option<PathBuf>,
    /// A configuration by name: emoji32, fashion28, photo64, gan64, photo128
    #[arg(long, conflicts_with = "config")]
    preset: Option<String>,
    #[command(flatten)]
    keys: Keys,
}

impl Plan {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        let config = configuration(self.config.as_deref(), self.preset.as_deref(), &self.keys)?;
        let data = open(&config)?;
        let gpu = global.gpu()?;
        output::note(global, &format!("taking a few steps on {} to measure them", gpu.info().name));
        let mut trainer = Trainer::new(&gpu, &config, data)?;
        // The first step also compiles kernels and places the codes.
        trainer.step()?;
        gpu.finish()?;
        let before = gpu.work_done();
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            trainer.step()?;
            gpu.finish()?;
            best = best.min(start.elapsed());
        }
        let flops = (gpu.work_done().flops - before.flops) / 3.0;
        let (parameters, memory) = (trainer.parameter_count(), gpu.memory());
        let codebook = if config.quantizer.kind == "ema" {
            config.quantizer.codebook_size * config.quantizer.code_channels()
        } else {
            0
        };
        let total = best * config.train.steps.min(u32::MAX as u64) as u32;
        if global.json {
            let line = serde_json::json!({
                "parameters": parameters, "codebook": codebook, "peak_device_bytes": memory.peak, "flops_per_step": flops,
                "ms_per_step": best.as_secs_f64() * 1e3, "steps": config.train.steps, "seconds": total.as_secs_f64(),
            });
            output::result(&line.to_string());
        } else {
            output::result(&format!("parameters        {parameters} (and {codebook} numbers in the codebook)"));
            output::result(&format!("device memory     {} MiB at peak", memory.peak.div_ceil(1 << 20)));
            output::result(&format!("operations        {:.2} GFLOP per step", flops / 1e9));
            output::result(&format!(
                "time per step     {:.0} ms ({:.1} GFLOP/s)",
                best.as_secs_f64() * 1e3,
                flops / best.as_secs_f64() / 1e9
            ));
            output::result(&format!("time in all       {} for {} steps", output::duration(total), config.train.steps));
        }
        Ok(Ended::Done)
    }
}
