//! Training in the page: a small VQ-VAE on pictures that were dropped.

use crate::pixels::to_rgb;
use crate::{Engine, thrown};
use std::path::Path;
use std::sync::Arc;
use wasm_bindgen::prelude::*;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::ImageSet;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint::{self, Checkpoint};
use wgvq::train::{Trainer, View};
use wgvq::{Error, Result};

/// Pictures that are measured on, at most; of those held out, the others are trained on.
const MEASURED: usize = 64;

/// A first stage in training.
#[wasm_bindgen]
pub struct Training {
    trainer: Trainer,
}

/// A view of a training.
#[wasm_bindgen]
pub struct Look {
    measured: String,
    originals: Vec<u8>,
    reconstructions: Vec<u8>,
}

#[wasm_bindgen]
impl Look {
    /// JSON: the step, PSNR on the pictures held out, how often each code was used.
    #[wasm_bindgen(getter)]
    pub fn measured(&self) -> String {
        self.measured.clone()
    }

    /// Pictures that were held out, one below the other.
    #[wasm_bindgen(getter)]
    pub fn originals(&self) -> Vec<u8> {
        self.originals.clone()
    }

    /// Their reconstructions.
    #[wasm_bindgen(getter)]
    pub fn reconstructions(&self) -> Vec<u8> {
        self.reconstructions.clone()
    }
}

/// Returns the configuration of a training by keys and values, as `wgvq train --set` has them.
fn config(settings: &str) -> Result<RunConfig> {
    let settings: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(settings).map_err(Error::data)?;
    let mut config = RunConfig::default();
    for (key, value) in &settings {
        config.set(key, value.as_str().unwrap_or(&value.to_string()))?;
    }
    config.data.source = wgvq::data::IN_MEMORY.into();
    Ok(config)
}

/// Returns square pictures of this side as a set.
fn pictures(pixels: Vec<u8>, side: usize) -> Result<ImageSet> {
    let mut set = ImageSet::from_memory(pixels, [side, side, 3], &[], vec![])?;
    let more = set.test.split_off(set.test.len().min(MEASURED));
    set.train.extend(more);
    set.train.sort_unstable();
    Ok(set)
}

#[wasm_bindgen]
impl Training {
    /// Begins a training of square pictures of this side, RGB one after another, on the engine's
    /// device, by the keys and values of `settings`, JSON.
    pub fn begin(
        engine: &Engine,
        settings: &str,
        pixels: Vec<u8>,
        side: usize,
    ) -> std::result::Result<Training, JsError> {
        let begin = || {
            let config = config(settings)?.resolve(&Registry::default())?;
            Trainer::new(&engine.gpu, &config, Arc::new(pictures(pixels, side)?))
        };
        let trainer = begin().map_err(thrown)?;
        Ok(Training { trainer })
    }

    /// Steps done.
    #[wasm_bindgen(getter)]
    pub fn steps(&self) -> u32 {
        self.trainer.step_number() as u32
    }

    /// Trains a step. JSON: the rows of the log that have arrived.
    pub async fn step(&mut self) -> std::result::Result<String, JsError> {
        self.trainer.step_async().await.map_err(thrown)?;
        self.rows()
    }

    /// JSON: the rows of the log that have arrived since the last call.
    pub fn rows(&mut self) -> std::result::Result<String, JsError> {
        let rows = self.trainer.rows(false).map_err(thrown)?;
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                serde_json::json!({
                    "step": row.step,
                    "loss": row.losses.loss,
                    "reconstruction": row.losses.reconstruction,
                    "perplexity": row.codes.perplexity,
                    "used": row.codes.used,
                })
            })
            .collect();
        Ok(serde_json::json!(rows).to_string())
    }

    /// Measures on the pictures that are held out.
    pub async fn look(&mut self) -> std::result::Result<Look, JsError> {
        let (evaluation, views) = self.trainer.measure_async(false).await.map_err(thrown)?;
        let mut look = Look {
            measured: serde_json::json!({
                "step": evaluation.step, "psnr": evaluation.psnr, "used": evaluation.used,
                "perplexity": evaluation.perplexity, "counts": evaluation.counts,
            })
            .to_string(),
            originals: Vec::new(),
            reconstructions: Vec::new(),
        };
        for view in views {
            if let View::Reconstructions {
                size: [_, _, channels],
                originals,
                reconstructions,
            } = view
            {
                look.originals = to_rgb(originals, channels);
                look.reconstructions = to_rgb(reconstructions, channels);
            }
        }
        Ok(look)
    }

    /// Returns all that going on from here needs, but for the pictures.
    pub async fn save(&mut self) -> std::result::Result<Vec<u8>, JsError> {
        let kept: Checkpoint = self.trainer.checkpoint_async().await.map_err(thrown)?;
        self.trainer.check(&kept).map_err(thrown)?;
        checkpoint::to_bytes(&kept).map_err(thrown)
    }

    /// Goes on from what [`Training::save`] gave.
    pub fn restore(&mut self, bytes: &[u8]) -> std::result::Result<(), JsError> {
        let mut restore = || {
            let kept = checkpoint::from_bytes(Path::new("what the browser kept"), bytes)?;
            self.trainer.restore(&kept)
        };
        restore().map_err(thrown)
    }

    /// Returns the trained model as a file, which `wgvq` opens.
    pub async fn model(&mut self) -> std::result::Result<Vec<u8>, JsError> {
        let trained = self.trainer.trained_async().await.map_err(thrown)?;
        checkpoint::to_bytes(&trained).map_err(thrown)
    }
}

/// A picture file's bytes as a square picture of this side: cropped at the centre, scaled, on
/// white.
#[wasm_bindgen]
pub fn square(file: &[u8], side: usize) -> std::result::Result<Vec<u8>, JsError> {
    wgvq::data::read_image(file, side, side, 3).map_err(thrown)
}
