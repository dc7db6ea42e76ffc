//! `wgvq reconstruct`

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::images::{Memory, name_of, png, tell_memory, unique};
use crate::cli::common::json;
use crate::cli::common::made::{self, PICTURES, replaced};
use crate::cli::common::output;
use crate::cli::common::output::Bar;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::inference::FirstStageModel;
use wgvq::report::grid::{Layout, Shape, pairs};
use wgvq::report::metrics::{mse, psnr};
use wgvq::report::samples::by_level;
use wgvq::storage::atomic;
use wgvq::{Result, data};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq reconstruct runs/emoji a.png b.png -o side-by-side.png
  wgvq reconstruct runs/photos 4096x4096.jpg --native-size -o large")]
pub struct Reconstruct {
    /// The run whose model is used: its folder, its final.safetensors, or a name
    /// that `wgvq get` lists
    pub run: PathBuf,
    /// Image files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The picture: originals over reconstructions; with --native-size the folder for a picture of
    /// each [default: reconstructions.png, or reconstructions]
    #[arg(long, short, value_name = "PNG|DIR")]
    output: Option<PathBuf>,
    /// Keep every image at its own size, whatever it is; large ones go through the model in tiles
    #[arg(long)]
    native_size: bool,
    #[command(flatten)]
    memory: Memory,
    /// Replace files that are there; with --native-size, remove the other pictures that were made
    /// in the folder before, too
    #[arg(long)]
    overwrite: bool,
}

impl Reconstruct {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        self.memory.needs_own_size(self.native_size)?;
        if self.native_size {
            return self.native(global);
        }
        let output = self
            .output
            .clone()
            .unwrap_or_else(|| "reconstructions.png".into());
        let _place = Place::file(global, &output, self.overwrite)?;
        apart(self.read(), [&output])?;
        let model = FirstStageModel::load(&global.gpu()?, &self.run)?;
        let [width, height, channels] = model.image();
        let mut originals = Vec::new();
        for path in &self.images {
            originals.extend(data::load_image(path, width, height, channels)?);
        }
        let shape = Shape {
            width,
            height,
            channels,
        };
        let (canvas, reconstructions) = if model.levels().len() == 1 {
            let codes = model.encode(&originals)?;
            let reconstructions = model.decode(&codes)?;
            (
                pairs(&originals, &reconstructions, shape, Layout::default())?,
                reconstructions,
            )
        } else {
            let mut levels = model.by_levels(&originals)?;
            let names: Vec<&str> = model.levels().iter().map(|l| l.name.as_str()).collect();
            let all = std::iter::once(&originals)
                .chain(&levels)
                .flatten()
                .copied()
                .collect::<Vec<u8>>();
            let canvas = by_level(&all, shape, &names)?;
            (canvas, levels.pop().unwrap_or_default())
        };
        atomic::write(&output, &canvas.png()?)?;
        let size = width * height * channels;
        for ((path, a), b) in self
            .images
            .iter()
            .zip(originals.chunks(size))
            .zip(reconstructions.chunks(size))
        {
            tell(global, path, mse(a, b)?);
        }
        output::note(global, &format!("picture: {}", output.display()));
        Ok(CommandStatus::Done)
    }

    /// Returns the files that are read, and must not be written over.
    fn read(&self) -> impl Iterator<Item = PathBuf> {
        self.images.iter().cloned().chain([model_of(&self.run)])
    }

    /// Images at their own size, each in a file of its own.
    fn native(&self, global: &Global) -> Result<CommandStatus> {
        let folder = self
            .output
            .clone()
            .unwrap_or_else(|| "reconstructions".into());
        let names = unique(
            &self
                .images
                .iter()
                .map(|path| name_of(path))
                .collect::<Vec<_>>(),
        );
        let names: Vec<String> = names.iter().map(|name| format!("{name}.png")).collect();
        let place = Place::folder(global, &folder)?;
        place.holds_none(names.iter().map(String::as_str), self.overwrite)?;
        place.holds_none([PICTURES], true)?;
        // Pictures that were made before may be what is read now.
        let old = replaced(&folder, self.overwrite);
        let written = names
            .iter()
            .map(|name| folder.join(name))
            .filter(|path| !old.contains(path));
        apart(self.read(), old.iter().cloned().chain(written))?;
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, &self.run)?;
        let channels = model.image()[2];
        let mut tiled = model.tiled(self.memory.tiling());
        let staged = place.staged()?;
        for (path, name) in self.images.iter().zip(&names) {
            let (original, size) = data::load_image_whole(path, channels)?;
            let mut bar = Bar::new(global, "tiles");
            let codes = tiled.encode(&original, size, &mut bar.progress())?;
            let pixels = tiled.decode(&codes, size, &mut bar.progress())?;
            bar.finish();
            atomic::write(
                &staged.path().join(name),
                &png(&pixels, size[0], size[1], channels)?,
            )?;
            tell(global, path, mse(&original, &pixels)?);
        }
        made::list(&folder, staged.path(), &names, self.overwrite)?;
        staged.put(&old)?;
        output::note(global, &format!("pictures: {}", folder.display()));
        tell_memory(global, &gpu);
        Ok(CommandStatus::Done)
    }
}

/// Prints the error between an image and its reconstruction.
fn tell(global: &Global, path: &Path, error: f64) {
    let db = psnr(error);
    if global.json {
        let line = serde_json::json!({ "image": output::shown(path), "mse": error, "psnr": db });
        json::print("reconstruct", &line);
    } else {
        output::result(&format!(
            "{}: MSE {error:.5}, PSNR {db:.2} dB",
            path.display()
        ));
    }
}
