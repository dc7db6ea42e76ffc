//! Draws images of a text by the trained model that is part of the library: no file is read, and
//! nothing is trained.
//!
//!     cargo run --release --example draw_text ["a red heart"] [--seed N] [--png FILE]
//!
//! The images come from left to right. The model is small: colours follow the text, shapes roughly.

use wgvq::codes::tokenizer::Tokenizer;
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::pretrained::Pretrained;
use wgvq::inference::texts::read_prompt;
use wgvq::inference::{
    Condition, FirstStageModel, PriorModel, SampleRequest, SamplingOptions, no_progress,
};
use wgvq::models::text::{Text, Texts};
use wgvq::ops::sampling::sample::Sampling;
use wgvq::{Error, Result};

/// Images of a text.
const IMAGES: usize = 8;
/// Pixels of the file for one of an image, each way.
const ZOOM: u32 = 4;

/// The parts of a model that draws images of texts.
pub struct TextToImage {
    first: FirstStageModel,
    prior: PriorModel,
    tokenizer: Tokenizer,
    text: Text,
}

impl TextToImage {
    /// Loads the model that is part of the library.
    pub fn new(gpu: &Gpu) -> Result<TextToImage> {
        let model = Pretrained::named("emoji32").ok_or_else(|| Error::data("it is not there"))?;
        let bundle = model.bundle()?;
        let first = FirstStageModel::from_bytes(gpu, &bundle.file("final.safetensors")?)?;
        let prior = bundle.file("prior/final.safetensors")?;
        let prior = PriorModel::from_bytes(gpu, &prior, &first)?;
        let characters = bundle.file("text/characters.txt")?;
        let characters = String::from_utf8_lossy(&characters);
        let tokenizer = Tokenizer::from_bytes(&bundle.file("text/tokenizer.json")?, &characters)?;
        let text = prior.info().vocabulary.text;
        let text = text.ok_or_else(|| Error::data("the prior reads no texts"))?;
        Ok(TextToImage {
            first,
            prior,
            tokenizer,
            text,
        })
    }

    /// Returns width, height and channels of its images.
    pub fn image(&self) -> [usize; 3] {
        self.first.image()
    }

    /// Draws images of a text: u8, image by image, [H, W, C] each. What of the text it cannot read
    /// is told to `note`.
    pub fn draw(
        &self,
        text: &str,
        images: usize,
        seed: u64,
        note: &mut dyn FnMut(&str),
    ) -> Result<Vec<u8>> {
        let tokens = read_prompt(text, &self.tokenizer, &self.text, false, note)?;
        let texts = Texts::of_tokens(&self.text, &vec![tokens; images])?;
        let classes = vec![self.prior.info().vocabulary.no_class(); images];
        let request = SampleRequest {
            options: SamplingOptions {
                sampling: Sampling {
                    guidance: Some(3.0),
                    ..Default::default()
                },
                seed,
                ..Default::default()
            },
            ..SampleRequest::new(Condition {
                classes: &classes,
                texts: Some(&texts),
            })
        };
        let samples = self.prior.sample(&request, &mut no_progress)?;
        self.first.decode(&samples.codes)
    }
}

/// Puts images in colour side by side.
fn side_by_side(pixels: &[u8], [width, height, channels]: [usize; 3]) -> image::RgbImage {
    let images = pixels.len() / (width * height * channels);
    let pixel = |x: u32, y: u32| {
        let [x, y] = [x, y].map(|n| (n / ZOOM) as usize);
        let at = ((x / width * height + y) * width + x % width) * channels;
        image::Rgb([0, 1, 2].map(|c: usize| pixels[at + c.min(channels - 1)]))
    };
    let size = [images * width, height].map(|n| n as u32 * ZOOM);
    image::RgbImage::from_fn(size[0], size[1], pixel)
}

#[allow(dead_code, reason = "a test includes this file for what it shows")]
fn main() -> Result<()> {
    let (mut text, mut seed, mut png) = ("a red heart".to_owned(), 0, "drawn.png".to_owned());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seed" => {
                let number = arguments.next().and_then(|n| n.parse().ok());
                seed = number.ok_or_else(|| Error::data("--seed takes a number"))?;
            }
            "--png" => {
                let file = arguments.next();
                png = file.ok_or_else(|| Error::data("--png takes the name of a file"))?;
            }
            _ => text = argument,
        }
    }
    let model = TextToImage::new(&Gpu::new(Options::default())?)?;
    let pixels = model.draw(&text, IMAGES, seed, &mut |note| eprintln!("{note}"))?;
    side_by_side(&pixels, model.image())
        .save(&png)
        .map_err(|e| Error::file(&png, e))?;
    println!("{png}: {IMAGES} images of `{text}`, by the trained model of the library");
    Ok(())
}
