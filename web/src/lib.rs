//! The functions that the page calls: a trained model and its prior on the visitor's GPU.
//!
//! Pictures are RGB bytes, rows from the top; codes are one number per cell, row by row. Every call
//! that computes is a promise: a browser lets nothing wait.

mod search;

use js_sys::Function;
use wasm_bindgen::prelude::*;
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::{FirstStageModel, PriorModel, SampleRequest, SamplingOptions};
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

/// A model, its prior, and the device that they lie on.
#[wasm_bindgen]
pub struct Engine {
    gpu: Gpu,
    model: FirstStageModel,
    prior: PriorModel,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the browser's adapter and puts the two model files on it.
    pub async fn open(model: Vec<u8>, prior: Vec<u8>) -> Result<Engine, JsError> {
        let gpu = Gpu::new_async(Options::default()).await.map_err(thrown)?;
        let model = FirstStageModel::from_bytes(&gpu, &model).map_err(thrown)?;
        if model.levels().len() != 1 || model.levels()[0].codebooks != 1 || model.image()[2] != 3 {
            return Err(JsError::new(
                "the page shows models of one level, one codebook and pictures in colour",
            ));
        }
        let prior = PriorModel::from_bytes(&gpu, &prior, &model).map_err(thrown)?;
        gpu.finish_async().await.map_err(thrown)?;
        Ok(Engine { gpu, model, prior })
    }

    /// JSON: the adapter, the core that is used, and what the model's pictures and codes look like.
    pub fn about(&self) -> String {
        let (info, level, [width, height, _]) =
            (self.gpu.info(), &self.model.levels()[0], self.model.image());
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
            "classes": self.prior.info().classes,
            "prior_parameters": self.prior.parameter_count(),
        })
        .to_string()
    }

    /// A picture file's bytes as the model's size of picture: cropped at the centre, scaled, on
    /// white.
    pub fn fit(&self, file: &[u8]) -> Result<Vec<u8>, JsError> {
        let [width, height, channels] = self.model.image();
        wgvq::data::read_image(file, width, height, channels).map_err(thrown)
    }

    /// The codes of pictures.
    pub async fn encode(&self, pixels: Vec<u8>) -> Result<Vec<u32>, JsError> {
        self.model.encode_async(&pixels).await.map_err(thrown)
    }

    /// The pictures of codes.
    pub async fn decode(&self, codes: Vec<u32>) -> Result<Vec<u8>, JsError> {
        self.model.decode_async(&codes).await.map_err(thrown)
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
        for part in codes.chunks(64) {
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

    /// Draws codes for `n` pictures of a class (as many as there are classes for none), code by
    /// code. After each, `step(drawn, codes, pictures)` is called, with 0 where a code is not drawn
    /// yet; if it gives `false`, the drawing ends there.
    #[allow(clippy::too_many_arguments)] // the page has a control for each
    pub async fn sample(
        &self,
        n: u32,
        class: u32,
        temperature: f32,
        top_p: f32,
        guidance: f32,
        seed: u32,
        step: Function,
    ) -> Result<Vec<u32>, JsError> {
        let guidance = (guidance != 1.0).then_some(guidance);
        let sampling = Sampling {
            temperature,
            top_p,
            guidance,
            ..Default::default()
        };
        let classes = vec![class; n.clamp(1, 64) as usize];
        let request = SampleRequest {
            options: SamplingOptions {
                sampling,
                seed: u64::from(seed),
                ..Default::default()
            },
            ..SampleRequest::new(&classes)
        };
        let mut session = self.prior.session(&request).map_err(thrown)?;
        let mut codes = Vec::new();
        while session.step().map_err(thrown)? {
            codes = session
                .codes()
                .map_err(thrown)?
                .get::<u32>()
                .await
                .map_err(thrown)?;
            let pictures = self.model.decode_async(&codes).await.map_err(thrown)?;
            let (codes, pictures) = (
                js_sys::Uint32Array::from(&codes[..]),
                js_sys::Uint8Array::from(&pictures[..]),
            );
            let more = step
                .call3(
                    &JsValue::NULL,
                    &(session.drawn() as u32).into(),
                    &codes,
                    &pictures,
                )
                .map_err(|_| JsError::new("the page could not show a step of the drawing"))?;
            if more == JsValue::FALSE {
                break;
            }
        }
        Ok(codes)
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
