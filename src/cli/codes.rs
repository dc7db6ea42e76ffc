//! `wgvq encode` and `wgvq decode`

use super::apart::{apart, model_of};
use super::output::{self, Bar};
use super::place::Place;
use super::{Ended, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::codes::{Codes, load_all, save_all};
use wgvq::gpu::Gpu;
use wgvq::inference::{Tiling, Trained};
use wgvq::storage::atomic;
use wgvq::{Error, Result, data};

#[derive(Args)]
pub struct Encode {
    /// The run whose model encodes: its folder, or its final.safetensors
    run: PathBuf,
    /// Image files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The file of codes
    #[arg(long, short, value_name = "CODES")]
    output: PathBuf,
    /// Also write the codes as a NumPy array, beside the file; of several levels, an array each
    #[arg(long)]
    npy: bool,
    /// Keep every image at its own size, whatever it is; large ones go through the model in tiles
    #[arg(long, conflicts_with = "npy")]
    native_size: bool,
    #[command(flatten)]
    memory: Memory,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args)]
pub struct Decode {
    /// The run whose model decodes: its folder, or its final.safetensors
    run: PathBuf,
    /// A file of codes, as `wgvq encode` writes it
    codes: PathBuf,
    /// The folder for the images, one PNG each
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    memory: Memory,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
}

/// What images of their own size may take.
#[derive(Args)]
pub struct Memory {
    /// MiB of device memory to stay within, where images keep their own size: tiles are as large
    /// as that allows [default: from the device's limits]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    memory_budget: Option<u64>,
}

impl Memory {
    pub fn tiling(&self) -> Tiling {
        Tiling {
            memory_budget: self.memory_budget.map(|mib| mib << 20),
        }
    }
}

/// What the work took, as `wgvq plan` says what training will.
pub fn tell_memory(global: &Global, gpu: &Gpu) {
    output::note(
        global,
        &format!(
            "{} MiB of device memory at peak",
            gpu.memory().peak.div_ceil(1 << 20)
        ),
    );
}

/// The name of an image's codes, and of the image that comes of them: its file's, without folder
/// and ending.
pub fn name_of(path: &Path) -> String {
    path.file_stem()
        .map_or_else(|| "image".into(), |s| s.to_string_lossy().into_owned())
}

pub fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(about) if about.is_dir() => Err(Error::file(
            path,
            "is a folder, and a file is to go there; name another",
        )),
        // A device or a pipe would be replaced by a file.
        Ok(about) if !about.is_file() => {
            Err(Error::file(path, "is no ordinary file; name another"))
        }
        Ok(_) if !overwrite => Err(Error::file(
            path,
            "is there already; --overwrite replaces it",
        )),
        _ => Ok(()),
    }
}

impl Encode {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        let npy = self.output.with_extension("npy");
        let _place = Place::file(global, &self.output, self.overwrite)?;
        let read = || self.images.iter().cloned().chain([model_of(&self.run)]);
        let beside = self.npy.then(|| npy.clone());
        apart(read(), std::iter::once(&self.output).chain(&beside))?;
        let gpu = global.gpu()?;
        let mut model = Trained::load(&gpu, &self.run)?;
        if self.npy {
            let arrays = Codes::npy_paths(&npy, model.levels());
            arrays
                .iter()
                .try_for_each(|path| refuse_existing(path, self.overwrite))?;
            apart(read(), std::iter::once(&self.output).chain(&arrays))?;
        }
        if self.native_size {
            let all = self.native(global, &mut model)?;
            if global.json {
                self.tell(&all, &[], &gpu);
            } else {
                output::result(&format!(
                    "{}: {} images, each at its own size",
                    self.output.display(),
                    all.len()
                ));
            }
            tell_memory(global, &gpu);
            return Ok(Ended::Done);
        }
        let [w, h, c] = model.image();
        let mut pixels = Vec::new();
        let mut names = Vec::new();
        for path in &self.images {
            pixels.extend(data::load_image(path, w, h, c)?);
            names.push(name_of(path));
        }
        let codes = model.to_codes(&pixels, names)?;
        codes.save(&self.output)?;
        if self.npy {
            codes.save_npy(&npy)?;
        }
        if global.json {
            let arrays: Vec<String> = match self.npy {
                true => Codes::npy_paths(&npy, model.levels())
                    .iter()
                    .map(|p| p.display().to_string())
                    .collect(),
                false => Vec::new(),
            };
            self.tell(std::slice::from_ref(&codes), &arrays, &gpu);
            return Ok(Ended::Done);
        }
        let (path, images) = (self.output.display(), codes.names.len());
        output::result(&format!(
            "{path}: {images} images of {} codes",
            grids(&codes)
        ));
        Ok(Ended::Done)
    }

    /// Images at their own size.
    fn native(&self, global: &Global, model: &mut Trained) -> Result<Vec<Codes>> {
        let channels = model.image()[2];
        let mut tiled = model.tiled(self.memory.tiling());
        let mut all = Vec::new();
        for path in &self.images {
            let (pixels, size) = data::load_image_whole(path, channels)?;
            let mut bar = Bar::new(global, "tiles");
            let codes = tiled.to_codes(&pixels, size, name_of(path), &mut |done, of| {
                bar.show(done, of)
            })?;
            bar.finish();
            let [w, h] = size;
            output::note(
                global,
                &format!(
                    "{}: {w} x {h} pixels, {} codes",
                    path.display(),
                    grids(&codes)
                ),
            );
            all.push(codes);
        }
        save_all(&self.output, &all)?;
        Ok(all)
    }

    /// What was written, as JSON.
    fn tell(&self, all: &[Codes], arrays: &[String], gpu: &Gpu) {
        let image = |codes: &Codes| -> Vec<serde_json::Value> {
            let [width, height, channels] = codes.image;
            let levels: Vec<_> = (codes.levels.iter())
                .map(|l| serde_json::json!({ "level": l.name, "grid": l.grid, "codebook_size": l.codebook_size, "codebooks": l.codebooks }))
                .collect();
            let one = |name: &String| serde_json::json!({ "name": name, "width": width, "height": height, "channels": channels, "levels": levels });
            codes.names.iter().map(one).collect()
        };
        let images: Vec<_> = all.iter().flat_map(image).collect();
        let line = serde_json::json!({
            "codes": self.output.display().to_string(), "npy": arrays, "images": images, "peak_device_bytes": gpu.memory().peak,
        });
        output::result(&line.to_string());
    }
}

/// The grids of an image's codes, in words.
fn grids(codes: &Codes) -> String {
    let grids: Vec<String> = codes
        .levels
        .iter()
        .map(|l| format!("{} x {}", l.grid[0], l.grid[1]))
        .collect();
    grids.join(" and ")
}

impl Decode {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        let all = load_all(&self.codes)?;
        let names: Vec<String> = all.iter().flat_map(|codes| codes.names.clone()).collect();
        let names: Vec<String> = unique(&names)
            .into_iter()
            .map(|name| format!("{name}.png"))
            .collect();
        let place = Place::folder(global, &self.output)?;
        place.holds_none(names.iter().map(String::as_str), self.overwrite)?;
        apart(
            [self.codes.clone(), model_of(&self.run)],
            names.iter().map(|name| self.output.join(name)),
        )?;
        let gpu = global.gpu()?;
        let mut model = Trained::load(&gpu, &self.run)?;
        all.iter()
            .try_for_each(|codes| codes.check_model(model.hash()))?;
        let channels = model.image()[2];
        if let Some(codes) = all.iter().find(|codes| codes.image[2] != channels) {
            let (names, theirs) = (codes.names.join(", "), codes.image[2]);
            let what =
                format!("{names}: {theirs} channels, but the model's images have {channels}");
            return Err(Error::file(&self.codes, what));
        }
        let staged = place.staged()?;
        let mut rest = names.iter().map(|name| staged.path().join(name));
        for codes in &all {
            let [w, h, c] = codes.image;
            let images = if codes.image == model.image() {
                model.decode(&codes.indices)?
            } else {
                let mut bar = Bar::new(global, "tiles");
                let mut tiled = model.tiled(self.memory.tiling());
                let image =
                    tiled.decode(&codes.indices, [w, h], &mut |done, of| bar.show(done, of))?;
                bar.finish();
                image
            };
            for (pixels, path) in images.chunks(w * h * c).zip(rest.by_ref()) {
                atomic::write(&path, &png(pixels, w, h, c)?)?;
            }
        }
        staged.put(&[])?;
        if global.json {
            let images: Vec<String> = names
                .iter()
                .map(|name| output::shown(&self.output.join(name)))
                .collect();
            let line = serde_json::json!({
                "out": output::shown(&self.output), "images": images, "peak_device_bytes": gpu.memory().peak,
            });
            output::result(&line.to_string());
        } else {
            output::result(&format!(
                "{}: {} images",
                self.output.display(),
                names.len()
            ));
        }
        if all.iter().any(|codes| codes.image != model.image()) {
            tell_memory(global, &gpu);
        }
        Ok(Ended::Done)
    }
}

/// File names that do not meet: a name that comes again gets a number, and nothing leads out of the
/// folder.
pub fn unique(names: &[String]) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let safe = |name: &String| -> String {
        let plain: String = name
            .chars()
            .map(|c| {
                if c.is_alphanumeric() || "-_ ".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        if plain.trim().is_empty() {
            "image".into()
        } else {
            plain
        }
    };
    let number = |base: String| {
        let mut name = base.clone();
        let mut n = 2;
        // Where a file system knows no case, `A` and `a` are one file.
        while !seen.insert(name.to_lowercase()) {
            name = format!("{base}-{n}");
            n += 1;
        }
        name
    };
    names.iter().map(safe).map(number).collect()
}

/// A PNG of one u8 image.
pub fn png(pixels: &[u8], w: usize, h: usize, c: usize) -> Result<Vec<u8>> {
    let kind = if c == 1 {
        image::ExtendedColorType::L8
    } else {
        image::ExtendedColorType::Rgb8
    };
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    image::ImageEncoder::write_image(encoder, pixels, w as u32, h as u32, kind)
        .map_err(|e| Error::data(format!("a PNG of {w} x {h}: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_stay_in_the_folder_and_apart() {
        let names = ["a", "a", "../../etc/passwd", "", "a-2", "A"].map(String::from);
        assert_eq!(
            super::unique(&names),
            ["a", "a-2", "______etc_passwd", "image", "a-2-2", "A-3"]
        );
    }
}
