//! Training inside a render loop: each frame trains for as long as it has time and no longer, and
//! shows what the model makes of some pictures.
//!
//!     cargo run --release --example live_training -- --headless [--frames N] [--budget MS]
//!     cargo run --release --example live_training --features window
//!
//! A training step takes many frames on a slow device, and a part of one on a fast device:
//! `Trainer::step_for` cuts it where the frame's time is up, and goes on there in the next. Below,
//! originals lie over reconstructions.

mod host;
#[cfg(feature = "window")]
#[path = "host/screen.rs"]
mod screen;
#[cfg(feature = "window")]
#[path = "host/window.rs"]
mod window;

use host::Host;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wgvq::config::run::RunConfig;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::ops::image::image::normalize;
use wgvq::quantize::Registry;
use wgvq::train::Trainer;
use wgvq::{FeatureRequest, Result, wgpu};

/// Pictures that are shown.
const SHOWN: usize = 4;
/// Frames between two looks at the model.
const LOOK_EVERY: usize = 15;

/// A renderer that trains.
pub struct Live {
    host: Host,
    gpu: Gpu,
    trainer: Trainer,
    originals: Tensor,
    textures: Vec<[wgpu::Texture; 2]>,
    pipeline: wgpu::RenderPipeline,
    budget: Duration,
    /// Time of each frame that went into training.
    pub trained: Vec<Duration>,
    /// The training log, a line to a row.
    pub log: Vec<String>,
}

impl Live {
    /// A renderer to targets of this format, with a budget per frame.
    pub fn new(
        host: Host,
        format: wgpu::TextureFormat,
        budget: Duration,
        source: &str,
    ) -> Result<Live> {
        let gpu = host.gpu();
        // A host would not like to lose more than this to its visitor.
        gpu.set_memory_budget(Some(256 << 20));
        let mut config = RunConfig::default();
        (
            config.model.hidden,
            config.model.residual_hidden,
            config.train.batch_size,
        ) = (32, 16, 4);
        config.train.log_every = 10;
        let data = Arc::new(wgvq::data::open(source, &Default::default())?);
        let chosen: Vec<u32> = data.test.iter().copied().take(SHOWN).collect();
        let side = [data.width as u32, data.height as u32];
        let shape = [chosen.len(), data.height, data.width, data.channels];
        let bytes = Tensor::from_slice(&gpu, &shape, &data.gather(&chosen)?)?;
        let order: Vec<u32> = (0..chosen.len() as u32).collect();
        let originals = normalize(&bytes, &Tensor::from_slice(&gpu, &[chosen.len()], &order)?)?;
        let texture = || host.texture(side, wgpu::TextureFormat::Rgba8UnormSrgb);
        let textures = chosen.iter().map(|_| [texture(), texture()]).collect();
        let trainer = Trainer::new(&gpu, &config.resolve(&Registry::default())?, data)?;
        let pipeline = host.quad(format);
        let (trained, log) = (Vec::new(), Vec::new());
        Ok(Live {
            host,
            gpu,
            trainer,
            originals,
            textures,
            pipeline,
            budget,
            trained,
            log,
        })
    }

    /// Training steps begun.
    pub fn steps(&self) -> u64 {
        self.trainer.step_number()
    }

    /// One frame: some training, then the picture.
    pub fn frame(&mut self, target: &wgpu::Texture) -> Result<()> {
        let worked = self.trainer.step_for(self.budget)?;
        self.log
            .extend(self.trainer.rows(false)?.iter().map(ToString::to_string));
        let mut encoder = self.host.device.create_command_encoder(&Default::default());
        if self.trained.len().is_multiple_of(LOOK_EVERY) {
            self.gpu.record_into(&mut encoder, || {
                let reconstructions = self.trainer.reconstruction(&self.originals)?;
                for (i, [original, reconstruction]) in self.textures.iter().enumerate() {
                    self.originals
                        .to_texture(i, &original.create_view(&Default::default()))?;
                    reconstructions
                        .to_texture(i, &reconstruction.create_view(&Default::default()))?;
                }
                Ok(())
            })?;
        }
        self.host.clear(&mut encoder, target, wgpu::Color::BLACK);
        let (w, h) = (
            target.width() as f32 / self.textures.len() as f32,
            target.height() as f32 / 2.0,
        );
        for (i, pair) in self.textures.iter().enumerate() {
            for (row, texture) in pair.iter().enumerate() {
                let at = [w * i as f32, h * row as f32, w, h];
                self.host
                    .draw_with(&self.pipeline, &mut encoder, texture, target, at);
            }
        }
        self.host.queue.submit([encoder.finish()]);
        self.trained.push(worked.took);
        Ok(())
    }

    /// The share of frames that trained no longer than their budget, and the 95th percentile.
    pub fn pacing(&self) -> (f64, Duration) {
        let mut times = self.trained.clone();
        times.sort_unstable();
        let within = times.iter().filter(|t| **t <= self.budget).count();
        let last = times.len().saturating_sub(1);
        (
            within as f64 / times.len().max(1) as f64,
            times.get(last * 95 / 100).copied().unwrap_or_default(),
        )
    }
}

/// Draws frames into a texture, at most 60 a second.
pub fn headless(frames: usize, budget: Duration, source: &str) -> Result<Live> {
    let host = Host::new(FeatureRequest::default());
    let target = host.texture([640, 320], wgpu::TextureFormat::Rgba8UnormSrgb);
    let mut live = Live::new(host, target.format(), budget, source)?;
    for _ in 0..frames {
        let start = Instant::now();
        live.frame(&target)?;
        std::thread::sleep(Duration::from_micros(16_667).saturating_sub(start.elapsed()));
    }
    Ok(live)
}

#[allow(dead_code, reason = "a test includes this file for what it shows")]
fn main() -> Result<()> {
    let (mut frames, mut budget, mut is_headless) =
        (600, Duration::from_millis(8), !cfg!(feature = "window"));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = |next: Option<String>| next.and_then(|n| n.parse::<u64>().ok());
        match argument.as_str() {
            "--headless" => is_headless = true,
            "--frames" => frames = number(arguments.next()).unwrap_or(frames),
            "--budget" => budget = number(arguments.next()).map_or(budget, Duration::from_millis),
            other => {
                return Err(wgvq::Error::config(
                    other,
                    "is none of --headless, --frames N, --budget MS",
                ));
            }
        }
    }
    #[cfg(feature = "window")]
    if !is_headless {
        return window::run(budget);
    }
    if !is_headless {
        println!("built without `--features window`: headless");
    }
    let live = headless(frames as usize, budget, "emoji")?;
    live.log.iter().for_each(|row| println!("{row}"));
    let (within, most) = live.pacing();
    println!(
        "{frames} frames, {} steps begun; {:.1} % of the frames trained within {budget:?}, 95 % \
         within {most:?}",
        live.steps(),
        100.0 * within
    );
    Ok(())
}
