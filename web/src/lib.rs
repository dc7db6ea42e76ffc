//! The functions that the page calls: a trained model, its prior and training, on the visitor's
//! GPU.
//!
//! Pictures are RGB bytes, rows from the top, also those of a model in grey; codes are one number
//! per cell, row by row. Every call that computes is a promise: a browser lets nothing wait.

mod pixels;
mod reader;
mod search;
mod training;

use js_sys::Function;
use pixels::{of_rgb, to_rgb};
use reader::Reader;
use wasm_bindgen::prelude::*;
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::{
    Condition, FirstStageModel, KnownCodes, PriorModel, SampleRequest, SamplingOptions, no_progress,
};
use wgvq::models::prior::{Kind, Order};
use wgvq::ops::sampling::sample::Sampling;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(text: &str);
}

/// Says in the console where a panic was: without this the page only learns that there was one.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| console_error(&info.to_string())));
}

fn thrown(error: wgvq::Error) -> JsError {
    JsError::new(&error.to_string())
}

/// Returns the engine's name and version. `wgvq export --page` looks for it in the file, and the
/// page compares it with its own.
#[wasm_bindgen]
pub fn engine_version() -> String {
    concat!("wgvq-page-engine ", env!("CARGO_PKG_VERSION"), ";").to_owned()
}

/// A model, its prior where it has one, and the device that they lie on.
#[wasm_bindgen]
pub struct Engine {
    gpu: Gpu,
    model: FirstStageModel,
    prior: Option<PriorModel>,
    reader: Option<Reader>,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the browser's adapter and puts the model files on it: the tokenizer of pictures, and
    /// where there are, the prior, and the tokenizer of its texts with the characters that it saw.
    pub async fn open(
        model: Vec<u8>,
        prior: Option<Vec<u8>>,
        tokenizer: Option<Vec<u8>>,
        characters: Option<String>,
    ) -> Result<Engine, JsError> {
        let gpu = Gpu::new_async(Options::default()).await.map_err(thrown)?;
        let model = FirstStageModel::from_bytes(&gpu, &model).map_err(thrown)?;
        if model.levels().len() != 1 || model.levels()[0].codebooks != 1 {
            return Err(JsError::new(
                "the page shows models of one level and one codebook",
            ));
        }
        let prior = prior.map(|bytes| PriorModel::from_bytes(&gpu, &bytes, &model));
        let prior = prior.transpose().map_err(thrown)?;
        let text = prior.as_ref().and_then(|p| p.info().vocabulary.text);
        let reader = text.map(|text| {
            let tokenizer = tokenizer.ok_or_else(|| {
                wgvq::Error::data("the prior reads texts, and the page has no tokenizer of them")
            })?;
            Reader::new(tokenizer, &characters.unwrap_or_default(), text)
        });
        let reader = reader.transpose().map_err(thrown)?;
        gpu.finish_async().await.map_err(thrown)?;
        Ok(Engine {
            gpu,
            model,
            prior,
            reader,
        })
    }

    /// JSON: the adapter, the core that is used, and what the model's pictures and codes look like.
    pub fn about(&self) -> String {
        let (info, level, [width, height, _]) =
            (self.gpu.info(), &self.model.levels()[0], self.model.image());
        let prior = self.prior.as_ref().map(|prior| {
            let shape = prior.prior().shape();
            serde_json::json!({
                "classes": prior.info().classes,
                "parameters": prior.parameter_count(),
                "texts": self.reader.is_some(),
                "masked": shape.kind == Kind::Masked,
                // Whether what is drawn sees all codes that are kept, or those before it alone.
                "sees_all": shape.kind == Kind::Masked || shape.order == Order::Any,
            })
        });
        serde_json::json!({
            "adapter": info.name,
            "software": info.device_type == wgvq::wgpu::DeviceType::Cpu,
            "core": self.gpu.core().name(),
            "f16": self.gpu.shader_f16(),
            "subgroups": [info.subgroup_min_size, info.subgroup_max_size],
            "binding_bytes": self.gpu.limits().max_storage_buffer_binding_size,
            "width": width,
            "height": height,
            "rows": level.grid[0],
            "columns": level.grid[1],
            "codes": level.codebook_size,
            "prior": prior,
        })
        .to_string()
    }

    /// A picture file's bytes as the model's size of picture: cropped at the centre, scaled, on
    /// white.
    pub fn fit(&self, file: &[u8]) -> Result<Vec<u8>, JsError> {
        let [width, height, channels] = self.model.image();
        let pixels = wgvq::data::read_image(file, width, height, channels).map_err(thrown)?;
        Ok(to_rgb(pixels, channels))
    }

    /// The codes of pictures.
    pub async fn encode(&self, pixels: Vec<u8>) -> Result<Vec<u32>, JsError> {
        let pixels = of_rgb(pixels, self.model.image()[2]);
        self.model.encode_async(&pixels).await.map_err(thrown)
    }

    /// The pictures of codes.
    pub async fn decode(&self, codes: Vec<u32>) -> Result<Vec<u8>, JsError> {
        let pixels = self.model.decode_async(&codes).await.map_err(thrown)?;
        Ok(to_rgb(pixels, self.model.image()[2]))
    }

    /// Returns a colour field for each code: the centre of the image that has it everywhere, one
    /// cell's pixels, code by code.
    pub async fn palette(&self) -> Result<Vec<u8>, JsError> {
        let (level, [width, height, _]) = (&self.model.levels()[0], self.model.image());
        let [rows, columns] = level.grid;
        let (cell_w, cell_h) = (width / columns, height / rows);
        let (left, top) = (columns / 2 * cell_w, rows / 2 * cell_h);
        let mut cells = Vec::with_capacity(level.codebook_size * cell_w * cell_h * 3);
        let codes: Vec<u32> = (0..level.codebook_size as u32).collect();
        let together = (PALETTE_PIXELS / (width * height)).clamp(1, 64);
        for part in codes.chunks(together) {
            let grids: Vec<u32> = part
                .iter()
                .flat_map(|code| std::iter::repeat_n(*code, rows * columns))
                .collect();
            let pictures = self.decode(grids).await?;
            for picture in pictures.chunks(width * height * 3) {
                for row in picture.chunks(width * 3).skip(top).take(cell_h) {
                    cells.extend_from_slice(&row[left * 3..][..cell_w * 3]);
                }
            }
        }
        Ok(cells)
    }

    /// Draws codes as `request` says in JSON: `n` pictures of a `class` (as many as there are
    /// classes for none) or of a `text`, with `temperature`, `top_p`, `guidance`, `seed` and, of a
    /// masked prior, `passes`. Where `kept` is not empty it says of each cell whether its code of
    /// `known` stays; the others are drawn. As codes come, `step(drawn, codes, pictures)` is
    /// called, with 0 where a code is not drawn yet; if it gives `false`, the drawing ends there.
    pub async fn sample(
        &self,
        request: &str,
        known: Vec<u32>,
        kept: Vec<u8>,
        step: Function,
    ) -> Result<Vec<u32>, JsError> {
        let Some(prior) = &self.prior else {
            return Err(JsError::new("this page has no prior to draw with"));
        };
        let asked: Asked = serde_json::from_str(request)?;
        let sampling = Sampling {
            temperature: asked.temperature,
            top_p: asked.top_p,
            guidance: (asked.guidance != 1.0).then_some(asked.guidance),
            ..Default::default()
        };
        let n = asked.n.clamp(1, 64) as usize;
        let texts = match &self.reader {
            Some(reader) => Some(reader.texts(&asked.text, n).map_err(thrown)?),
            None => None,
        };
        let (classes, codes) = (vec![asked.class; n], known.repeat(n));
        let places: Vec<bool> = kept.iter().map(|kept| *kept != 0).collect();
        let request = SampleRequest {
            condition: Condition {
                classes: &classes,
                texts: texts.as_ref(),
            },
            known: KnownCodes {
                codes: if kept.is_empty() { &[] } else { &codes },
                places: &places,
            },
            options: SamplingOptions {
                sampling,
                seed: u64::from(asked.seed),
                passes: asked.passes.max(1) as usize,
                ..Default::default()
            },
        };
        let shows = |drawn: usize, codes: &[u32], pictures: &[u8]| {
            let (codes, pictures) = (
                js_sys::Uint32Array::from(codes),
                js_sys::Uint8Array::from(pictures),
            );
            let more = step.call3(&JsValue::NULL, &(drawn as u32).into(), &codes, &pictures);
            more.map(|more| more != JsValue::FALSE)
                .map_err(|_| JsError::new("the page could not show a step of the drawing"))
        };
        if prior.prior().shape().kind == Kind::Masked {
            let mut no_progress = no_progress;
            let drawing = prior.sample_async(&request, &mut no_progress);
            let codes = drawing.await.map_err(thrown)?.codes;
            let drawn = places.iter().filter(|kept| !**kept).count();
            let drawn = if places.is_empty() {
                codes.len() / n
            } else {
                drawn
            };
            shows(drawn, &codes, &self.decode(codes.clone()).await?)?;
            return Ok(codes);
        }
        let mut session = prior.session(&request).map_err(thrown)?;
        let mut codes = known.repeat(n);
        while session.step().map_err(thrown)? {
            codes = session
                .codes()
                .map_err(thrown)?
                .get::<u32>()
                .await
                .map_err(thrown)?;
            let pictures = self.decode(codes.clone()).await?;
            if !shows(session.drawn(), &codes, &pictures)? {
                break;
            }
        }
        Ok(codes)
    }

    /// Returns what of a text the prior cannot read, in words; empty where it reads all.
    pub fn unread(&self, text: &str) -> Result<String, JsError> {
        let reader = self.reader.as_ref();
        let unread = reader.map(|reader| reader.unread(text)).transpose();
        Ok(unread.map_err(thrown)?.unwrap_or_default())
    }

    /// Times the nearest-codebook search of `n` latents among `k` codes of `d` numbers, and
    /// compares some rows with the processor's. JSON.
    pub async fn search(&self, n: usize, k: usize, d: usize) -> Result<String, JsError> {
        search::measure(&self.gpu, [n, k, d])
            .await
            .map(|m| m.to_string())
            .map_err(thrown)
    }
}

/// Pixels that the palette decodes at a time.
const PALETTE_PIXELS: usize = 64 * 32 * 32;

/// A request of the page to draw.
#[derive(serde::Deserialize)]
struct Asked {
    n: u32,
    class: u32,
    #[serde(default)]
    text: String,
    temperature: f32,
    top_p: f32,
    guidance: f32,
    seed: u32,
    passes: u32,
}
