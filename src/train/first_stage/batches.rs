//! The images of a step, and of a measurement, on the device.
//!
//! A set that fits a binding lies on the device as bytes, and a step gathers its images there. Of
//! any other set, and where crops or colours change, a step's images are made on the host by
//! [`Prefetcher`]'s threads before it comes; in browsers, which give no threads, when it comes.

use crate::config::run::ResolvedConfig;
use crate::data::{Batch, BatchPlan, ClassOrder, DataStall, ImageSet, Prefetcher, no_photographs};
use crate::gpu::{Gpu, Tensor};
use crate::ops::image::image::{FLIP, normalize};
use crate::parallel::Ranks;
use crate::trainer::ranks::pass_of_rank;
use crate::{Result, memory};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a set on the device, at most.
const RESIDENT: u64 = 1 << 30;
/// Bytes of batches that wait in memory, at most, where a single one is not larger.
const WAITING: usize = 512 << 20;
/// Threads that make batches, where the configuration leaves it open and the processor has more.
const WORKERS: usize = 8;

/// A set as training sees it.
pub(super) struct Batches {
    gpu: Gpu,
    data: Arc<ImageSet>,
    recipe: BatchPlan,
    /// The places in a step's batch of the images that are taken here.
    places: Range<usize>,
    /// Images of a pass.
    part: usize,
    source: Source,
}

enum Source {
    /// All images, on the device.
    Resident(Tensor),
    Prefetcher(Prefetcher<Batch>),
    /// Made at each step.
    Host,
}

/// Returns the plan of a configuration's batches of a set.
fn recipe(config: &ResolvedConfig, data: &ImageSet) -> Result<BatchPlan> {
    let (d, t) = (&config.data, &config.train);
    let crop = d.crops().then_some((d.crop_scale_min, d.crop_scale_max));
    Ok(BatchPlan {
        classes: class_order(config, data)?,
        seed: t.seed,
        batch: t.images(),
        flip: d.flip,
        crop,
        color: d.color,
    })
}

/// Returns the order of the training images by their classes' weights.
fn class_order(config: &ResolvedConfig, data: &ImageSet) -> Result<Option<Arc<ClassOrder>>> {
    let class = |i: &u32| data.items.get(*i as usize).and_then(|item| item.class);
    let class_of: Vec<Option<u32>> = data.train.iter().map(class).collect();
    let (name, classes) = (&data.name, &data.classes);
    let weights = &config.data.class_weights;
    weights.order(
        "data.class_weights",
        name,
        classes,
        classes.len(),
        &class_of,
    )
}

/// Checks that batches can be made of this set as the configuration says.
///
/// # Errors
/// If not; the message names the key.
pub(super) fn check(config: &ResolvedConfig, data: &ImageSet) -> Result<()> {
    if recipe(config, data)?.crop.is_some() && data.pixels.photographs().is_none() {
        return Err(no_photographs(data));
    }
    Ok(())
}

impl Batches {
    /// Batches of `data` for this configuration.
    ///
    /// # Errors
    /// If the device cannot hold a set that should fit, or the system gives no threads.
    pub(super) fn new(gpu: &Gpu, config: &ResolvedConfig, data: Arc<ImageSet>) -> Result<Batches> {
        Batches::share(gpu, config, data, &Ranks::alone())
    }

    /// Batches of `data` for this configuration, of which each of several ranks takes an equal
    /// share.
    ///
    /// # Errors
    /// As [`Batches::new`], and if they do not fall into equal shares.
    pub(super) fn share(
        gpu: &Gpu,
        config: &ResolvedConfig,
        data: Arc<ImageSet>,
        ranks: &Ranks,
    ) -> Result<Batches> {
        let recipe = recipe(config, &data)?;
        let t = &config.train;
        let part = pass_of_rank(ranks.size(), t.batch_size, t.accumulate)?;
        let each = recipe.batch / ranks.size();
        let places = ranks.rank() * each..(ranks.rank() + 1) * each;
        let most = gpu.limits().max_storage_buffer_binding_size.min(RESIDENT);
        let resident = data
            .pixels
            .in_memory()
            .filter(|all| all.len() as u64 <= most && !recipe.changes_pixels());
        let source = match resident {
            Some(all) => {
                let shape = [data.len(), data.height, data.width, data.channels];
                Source::Resident(Tensor::from_slice(gpu, &shape, all)?)
            }
            None if cfg!(target_arch = "wasm32") => Source::Host,
            None => {
                Source::Prefetcher(ahead(config, recipe.clone(), places.clone(), data.clone())?)
            }
        };
        Ok(Batches {
            gpu: gpu.clone(),
            data,
            recipe,
            places,
            part,
            source,
        })
    }

    /// Images by their numbers in the set, in [-1, 1]: [B, H, W, C]. The top bit of a number
    /// mirrors the image.
    ///
    /// # Errors
    /// If there is no such image, its file can no longer be read, or the device fails.
    pub(super) fn images(&self, numbers: &[u32]) -> Result<Tensor> {
        match &self.source {
            Source::Resident(all) => normalize(
                all,
                &Tensor::from_slice(&self.gpu, &[numbers.len()], numbers)?,
            ),
            Source::Prefetcher(_) | Source::Host => {
                let plain: Vec<u32> = numbers.iter().map(|n| n & !FLIP).collect();
                let mirrored: Vec<bool> = numbers.iter().map(|n| n & FLIP != 0).collect();
                self.upload(&self.data.gather(&plain)?, &mirrored)
            }
        }
    }

    /// Returns the training images of a step, as [`Batches::images`], those of each pass: a
    /// function of the seed and the step alone, and together the same however many passes and ranks
    /// there are.
    ///
    /// # Errors
    /// As [`Batches::images`].
    pub(super) fn parts(&self, step: u64) -> Result<Vec<Tensor>> {
        match &self.source {
            Source::Resident(_) => {
                let (numbers, mirrored) = self.recipe.order(&self.data, step);
                let numbers: Vec<u32> = numbers[self.places.clone()]
                    .iter()
                    .zip(&mirrored[self.places.clone()])
                    .map(|(n, m)| n | flag(*m))
                    .collect();
                let parts = numbers.chunks(self.part);
                parts.map(|numbers| self.images(numbers)).collect()
            }
            Source::Prefetcher(ahead) => self.upload_parts(&ahead.take(step)?),
            Source::Host => {
                let places = self.places.clone();
                self.upload_parts(&self.recipe.part(&self.data, step, places)?)
            }
        }
    }

    /// Returns how long steps waited for their images; `None` where these lie on the device.
    pub(super) fn waiting(&self) -> Option<DataStall> {
        match &self.source {
            Source::Resident(_) | Source::Host => None,
            Source::Prefetcher(ahead) => Some(ahead.waiting()),
        }
    }

    fn upload_parts(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        let pixels = batch.pixels.chunks(self.part * self.data.image_bytes());
        let parts = pixels.zip(batch.mirrored.chunks(self.part));
        parts.map(|(pixels, m)| self.upload(pixels, m)).collect()
    }

    fn upload(&self, pixels: &[u8], mirrored: &[bool]) -> Result<Tensor> {
        let d = &self.data;
        let images = Tensor::from_slice(
            &self.gpu,
            &[mirrored.len(), d.height, d.width, d.channels],
            pixels,
        )?;
        let places: Vec<u32> = mirrored
            .iter()
            .enumerate()
            .map(|(i, m)| i as u32 | flag(*m))
            .collect();
        normalize(
            &images,
            &Tensor::from_slice(&self.gpu, &[places.len()], &places)?,
        )
    }
}

fn flag(mirrored: bool) -> u32 {
    if mirrored { FLIP } else { 0 }
}

/// Threads that make the batches of `data`. Each holds one, and as many again may wait, within
/// bounds.
fn ahead(
    config: &ResolvedConfig,
    recipe: BatchPlan,
    places: Range<usize>,
    data: Arc<ImageSet>,
) -> Result<Prefetcher<Batch>> {
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let workers = match config.data.workers {
        0 => processors.min(WORKERS),
        workers => workers,
    };
    let bytes = data.image_bytes().saturating_mul(places.len());
    let most = (WAITING / bytes.max(1)).max(1);
    let what = format!(
        "batches of {} images of {} bytes, made ahead",
        places.len(),
        data.image_bytes()
    );
    let held = workers.min(most) + (2 * workers).min(most);
    memory::check_available(
        what,
        memory::product(&[data.image_bytes(), places.len(), held]),
    )?;
    Prefetcher::new(workers.min(most), (2 * workers).min(most), move |step| {
        recipe.part(&data, step, places.clone())
    })
}
