//! A model that learns while the application runs.

use crate::code_image::target;
use crate::{Decoder, Engine};
use bevy::asset::{AssetId, Assets, Handle};
use bevy::ecs::component::Component;
use bevy::ecs::resource::Resource;
use bevy::ecs::system::{Query, Res, ResMut};
use bevy::image::{Image, ImageSampler};
use bevy::render::Extract;
use bevy::render::render_asset::RenderAssets;
use bevy::render::render_resource::CommandEncoderDescriptor;
use bevy::render::texture::GpuImage;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;
use wgvq::config::run::ResolvedConfig;
use wgvq::data::ImageSet;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::metrics::Row;
use wgvq::ops::image::image::normalize;
use wgvq::storage::checkpoint;
use wgvq::train::Trainer;
use wgvq::{Error, Result, inference};

/// Rows of the log that are kept; of more, every second goes.
const ROWS: usize = 4096;

/// The pace and the look of a [`LiveTraining`].
#[derive(Clone, Copy, Debug)]
pub struct LiveOptions {
    /// Time of the device in each frame.
    pub budget: Duration,
    /// Images held out that are shown beside their reconstructions.
    pub shown: usize,
    /// Frames from one look at the reconstructions to the next.
    pub look_every: u64,
}

impl Default for LiveOptions {
    fn default() -> Self {
        LiveOptions {
            budget: Duration::from_millis(8),
            shown: 4,
            look_every: 15,
        }
    }
}

/// A first stage in training, as a component: after each frame was drawn, it goes on for the budget
/// of a frame.
#[derive(Component)]
pub struct LiveTraining {
    /// The time of the device in each frame.
    pub budget: Duration,
    /// Whether it trains. An error ends the training, whatever this says.
    pub running: bool,
    look_every: u64,
    images: Vec<[Handle<Image>; 2]>,
    shared: Arc<Shared>,
}

/// The training of the render world, and what it tells of it.
struct Shared {
    work: Mutex<Work>,
    progress: Mutex<Progress>,
}

struct Work {
    gpu: Gpu,
    trainer: Trainer,
    /// Images held out, f32 [B, H, W, C].
    originals: Tensor,
    frame: u64,
    /// Whether the images were drawn at all.
    is_shown: bool,
}

#[derive(Default)]
struct Progress {
    step: u64,
    rows: Vec<Row>,
    failed: Option<String>,
}

impl LiveTraining {
    /// Creates a model of a configuration on bevy's device, to learn the images of a set, and the
    /// images that show what it keeps of some.
    ///
    /// # Errors
    /// If the images do not fit the configuration, none is held out to be shown, or the device has
    /// too little memory.
    pub fn new(
        engine: &Engine,
        images: &mut Assets<Image>,
        config: &ResolvedConfig,
        data: Arc<ImageSet>,
        options: LiveOptions,
    ) -> Result<LiveTraining> {
        // One of its own: it records while decoders are loaded on the other.
        let gpu = engine.another();
        let numbers: Vec<u32> = data.test.iter().copied().take(options.shown).collect();
        if numbers.is_empty() && options.shown > 0 {
            return Err(Error::data(
                "the set has no images that are held out, to be shown",
            ));
        }
        let (width, height, channels) = (data.width, data.height, data.channels);
        let shape = [numbers.len(), height, width, channels];
        let bytes = Tensor::from_slice(&gpu, &shape, &data.gather(&numbers)?)?;
        let order: Vec<u32> = (0..numbers.len() as u32).collect();
        let order = Tensor::from_slice(&gpu, &[numbers.len()], &order)?;
        let originals = normalize(&bytes, &order)?;
        let trainer = Trainer::new(&gpu, config, data)?;
        let mut image = || images.add(target([width, height], ImageSampler::nearest()));
        let shown = numbers.iter().map(|_| [image(), image()]).collect();
        let work = Work {
            gpu,
            trainer,
            originals,
            frame: 0,
            is_shown: false,
        };
        Ok(LiveTraining {
            budget: options.budget,
            running: true,
            look_every: options.look_every.max(1),
            images: shown,
            shared: Arc::new(Shared {
                work: Mutex::new(work),
                progress: Mutex::default(),
            }),
        })
    }

    /// Returns the images held out, each with its reconstruction by the model as it was lately.
    pub fn images(&self) -> &[[Handle<Image>; 2]] {
        &self.images
    }

    /// Returns the number of steps done.
    pub fn step_number(&self) -> u64 {
        self.shared.progress().step
    }

    /// Returns the rows of the log, the newest last.
    pub fn rows(&self) -> Vec<Row> {
        self.shared.progress().rows.clone()
    }

    /// Returns the error that ended the training.
    pub fn error(&self) -> Option<String> {
        self.shared.progress().failed.clone()
    }

    /// Calls `use_it` with the trainer: for measurements, and checkpoints of what was learnt. It
    /// waits for the frame that trains, and no frame trains meanwhile.
    pub fn with_trainer<R>(&self, use_it: impl FnOnce(&mut Trainer) -> R) -> R {
        use_it(&mut self.shared.work().trainer)
    }

    /// Returns a decoder of the model as it is now. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decoder(&self, engine: &Engine) -> Result<Decoder> {
        let trained = self.with_trainer(Trainer::trained)?;
        let bytes = checkpoint::to_bytes(&trained)?;
        inference::Decoder::from_bytes(&engine.gpu(), &bytes).map(Decoder::new)
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trainings of a frame, in the render world.
#[derive(Default, Resource)]
pub(crate) struct Trainings(Vec<Training>);

struct Training {
    shared: Arc<Shared>,
    budget: Duration,
    look_every: u64,
    images: Vec<[AssetId<Image>; 2]>,
}

/// Takes the trainings that run from the main world.
pub(crate) fn extract(trainings: Extract<Query<&LiveTraining>>, mut extracted: ResMut<Trainings>) {
    extracted.0.clear();
    for training in trainings.iter().filter(|training| training.running) {
        extracted.0.push(Training {
            shared: training.shared.clone(),
            budget: training.budget,
            look_every: training.look_every,
            images: training
                .images
                .iter()
                .map(|pair| [pair[0].id(), pair[1].id()])
                .collect(),
        });
    }
}

/// Goes on with each training for its budget, when the frame was drawn.
pub(crate) fn train(trainings: Res<Trainings>, images: Res<RenderAssets<GpuImage>>) {
    for training in &trainings.0 {
        // The application measures or saves the model: this frame goes without.
        let mut work = match training.shared.work.try_lock() {
            Ok(work) => work,
            Err(TryLockError::Poisoned(work)) => work.into_inner(),
            Err(TryLockError::WouldBlock) => continue,
        };
        if training.shared.progress().failed.is_some() {
            continue;
        }
        let result = training.frame(&mut work, &images);
        let mut progress = training.shared.progress();
        progress.step = work.trainer.step_number();
        match result {
            Ok(rows) => progress.add(rows),
            Err(error) => {
                tracing::error!("the training ended: {error}");
                progress.failed = Some(error.to_string());
            }
        }
    }
}

impl Progress {
    fn add(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
        if self.rows.len() > ROWS {
            // The newest stays.
            let mut number = self.rows.len();
            self.rows.retain(|_| {
                number -= 1;
                number.is_multiple_of(2)
            });
        }
    }
}

impl Training {
    fn frame(&self, work: &mut Work, images: &RenderAssets<GpuImage>) -> Result<Vec<Row>> {
        work.trainer.step_for(self.budget)?;
        let rows = work.trainer.rows(false)?;
        work.frame += 1;
        if !work.is_shown || work.frame.is_multiple_of(self.look_every) {
            self.look(work, images)?;
        }
        Ok(rows)
    }

    /// Draws the images that have textures by now, and their reconstructions by the model as it is.
    fn look(&self, work: &mut Work, images: &RenderAssets<GpuImage>) -> Result<()> {
        let textures: Option<Vec<[&GpuImage; 2]>> = self
            .images
            .iter()
            .map(|[original, reconstruction]| {
                Some([images.get(*original)?, images.get(*reconstruction)?])
            })
            .collect();
        let Some(textures) = textures.filter(|textures| !textures.is_empty()) else {
            return Ok(());
        };
        let label = Some("images and reconstructions");
        let mut encoder = work
            .gpu
            .device()
            .create_command_encoder(&CommandEncoderDescriptor { label });
        work.gpu.record_into(&mut encoder, || {
            let reconstructions = work.trainer.reconstruction(&work.originals)?;
            for (i, [original, reconstruction]) in textures.iter().enumerate() {
                work.originals.to_texture(i, &*original.texture_view)?;
                reconstructions.to_texture(i, &*reconstruction.texture_view)?;
            }
            Ok(())
        })?;
        work.gpu.queue().submit([encoder.finish()]);
        work.is_shown = true;
        Ok(())
    }
}
