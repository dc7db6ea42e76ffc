//! `wgvq reconstruct`

use super::codes::refuse_existing;
use super::{Ended, Global, output};
use clap::Args;
use std::path::PathBuf;
use wgvq::report::grid::{Layout, Shape, pairs};
use wgvq::report::metrics::{mse, psnr};
use wgvq::report::samples::by_level;
use wgvq::train::{Trained, atomic};
use wgvq::{Result, data};

#[derive(Args)]
pub struct Reconstruct {
    /// The run whose model is used: its folder, or its final.safetensors
    run: PathBuf,
    /// Image files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The picture: originals over reconstructions; of a model with several levels of codes, also from the coarse ones alone
    #[arg(long, short, value_name = "PNG", default_value = "reconstructions.png")]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

impl Reconstruct {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        refuse_existing(&self.output, self.overwrite)?;
        let mut model = Trained::load(&global.gpu()?, &self.run)?;
        let [width, height, channels] = model.image();
        let mut originals = Vec::new();
        for path in &self.images {
            originals.extend(data::load_image(path, width, height, channels)?);
        }
        let shape = Shape { width, height, channels };
        let (canvas, reconstructions) = if model.levels().len() == 1 {
            let codes = model.encode(&originals)?;
            let reconstructions = model.decode(&codes)?;
            (pairs(&originals, &reconstructions, shape, Layout::default())?, reconstructions)
        } else {
            let mut levels = model.by_levels(&originals)?;
            let names: Vec<&str> = model.levels().iter().map(|l| l.name.as_str()).collect();
            let all = std::iter::once(&originals).chain(&levels).flatten().copied().collect::<Vec<u8>>();
            let canvas = by_level(&all, shape, &names)?;
            (canvas, levels.pop().unwrap_or_default())
        };
        atomic::write(&self.output, &canvas.png()?)?;
        let size = width * height * channels;
        for ((path, a), b) in self.images.iter().zip(originals.chunks(size)).zip(reconstructions.chunks(size)) {
            let error = mse(a, b)?;
            let db = psnr(error);
            if global.json {
                output::result(&serde_json::json!({ "image": path, "mse": error, "psnr": db }).to_string());
            } else {
                output::result(&format!("{}: MSE {error:.5}, PSNR {db:.2} dB", path.display()));
            }
        }
        output::note(global, &format!("picture: {}", self.output.display()));
        Ok(Ended::Done)
    }
}
