//! `wgvq encode --latents`: what comes to a quantizer, as an array of vectors.

use crate::cli::common::array::{Array, Whole};
use crate::cli::common::place::Place;
use crate::cli::common::watched::in_parts;
use crate::cli::first_stage::inspect::open;
use crate::cli::first_stage::vectors::tell_latents;
use crate::cli::{CommandStatus, Global};
use std::path::{Path, PathBuf};
use wgvq::inference::FirstStageModel;
use wgvq::{Result, data};

/// Images that are read and encoded at a time.
const IMAGES: usize = 256;

/// The latents of a run's images.
pub struct Latents<'a> {
    pub run: &'a Path,
    /// Image files; empty, a data set.
    pub images: &'a [PathBuf],
    pub data: Option<&'a str>,
    pub level: Option<&'a str>,
    pub output: &'a Path,
    pub place: &'a Place,
}

impl Latents<'_> {
    pub fn write(&self, global: &Global) -> Result<CommandStatus> {
        let model = FirstStageModel::load(&global.gpu()?, self.run)?;
        let level = model.level(self.level)?;
        let [w, h, c] = model.image();
        let set = match self.images.is_empty() {
            true => Some(open(self.run, &model, self.data)?),
            false => None,
        };
        let n = set.as_ref().map_or(self.images.len(), |set| set.len());
        let [each, channels] = model.latent_shape(level)?;
        let shape = [(n * each) as u64, channels as u64];
        let mut array = Array::<f32>::begin(self.place, self.output, &shape)?;
        let made = in_parts(global, "images", n, IMAGES, |part| {
            let pixels = match &set {
                Some(set) => set.gather(&part.map(|i| i as u32).collect::<Vec<_>>())?,
                None => {
                    let files = self.images[part].iter();
                    let images = files.map(|file| data::load_image(file, w, h, c));
                    images.collect::<Result<Vec<_>>>()?.concat()
                }
            };
            array.extend(model.latents(&pixels, level)?.into_iter())
        });
        if made?.is_none() {
            return Ok(CommandStatus::Abandoned);
        }
        array.whole().and_then(Whole::put)?;
        tell_latents(global, self.output, n * each, channels);
        Ok(CommandStatus::Done)
    }
}
