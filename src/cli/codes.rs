//! `wgvq encode` and `wgvq decode`

use super::{Ended, Global, output};
use clap::Args;
use std::path::PathBuf;
use wgvq::codes::Codes;
use wgvq::train::{Trained, atomic};
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
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
}

pub fn refuse_existing(path: &std::path::Path, overwrite: bool) -> Result<()> {
    match std::fs::metadata(path) {
        // A device or a pipe would be replaced by a file.
        Ok(about) if !about.is_file() => Err(Error::file(path, "is no ordinary file; name another")),
        Ok(_) if !overwrite => Err(Error::file(path, "is there already; --overwrite replaces it")),
        _ => Ok(()),
    }
}

impl Encode {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        let npy = self.output.with_extension("npy");
        refuse_existing(&self.output, self.overwrite)?;
        let mut model = Trained::load(&global.gpu()?, &self.run)?;
        if self.npy {
            Codes::npy_paths(&npy, model.levels()).iter().try_for_each(|path| refuse_existing(path, self.overwrite))?;
        }
        let [w, h, c] = model.image();
        let mut pixels = Vec::new();
        let mut names = Vec::new();
        for path in &self.images {
            pixels.extend(data::load_image(path, w, h, c)?);
            names.push(path.file_stem().map_or_else(|| "image".into(), |s| s.to_string_lossy().into_owned()));
        }
        let codes = model.to_codes(&pixels, names)?;
        codes.save(&self.output)?;
        if self.npy {
            codes.save_npy(&npy)?;
        }
        let grids: Vec<String> = codes.levels.iter().map(|l| format!("{} x {}", l.grid[0], l.grid[1])).collect();
        let (path, images) = (self.output.display(), codes.names.len());
        output::result(&format!("{path}: {images} images of {} codes", grids.join(" and ")));
        Ok(Ended::Done)
    }
}

impl Decode {
    pub fn run(&self, global: &Global) -> Result<Ended> {
        let codes = Codes::load(&self.codes)?;
        let mut model = Trained::load(&global.gpu()?, &self.run)?;
        codes.check_model(model.hash())?;
        let [w, h, c] = model.image();
        let names = unique(&codes.names);
        for name in &names {
            refuse_existing(&self.output.join(format!("{name}.png")), self.overwrite)?;
        }
        std::fs::create_dir_all(&self.output).map_err(|e| Error::file(&self.output, format!("cannot be made: {e}")))?;
        let images = model.decode(&codes.indices)?;
        for (name, pixels) in names.iter().zip(images.chunks(w * h * c)) {
            let path = self.output.join(format!("{name}.png"));
            atomic::write(&path, &png(pixels, w, h, c)?)?;
        }
        output::result(&format!("{}: {} images", self.output.display(), names.len()));
        Ok(Ended::Done)
    }
}

/// File names that do not meet: a name that comes again gets a number, and nothing leads out of the folder.
fn unique(names: &[String]) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let safe = |name: &String| -> String {
        let plain: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_ ".contains(c) { c } else { '_' }).collect();
        if plain.trim().is_empty() { "image".into() } else { plain }
    };
    let number = |base: String| {
        let mut name = base.clone();
        let mut n = 2;
        while !seen.insert(name.clone()) {
            name = format!("{base}-{n}");
            n += 1;
        }
        name
    };
    names.iter().map(safe).map(number).collect()
}

/// A PNG of one u8 image.
pub fn png(pixels: &[u8], w: usize, h: usize, c: usize) -> Result<Vec<u8>> {
    let kind = if c == 1 { image::ExtendedColorType::L8 } else { image::ExtendedColorType::Rgb8 };
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
        let names = ["a", "a", "../../etc/passwd", "", "a-2"].map(String::from);
        assert_eq!(super::unique(&names), ["a", "a-2", "______etc_passwd", "image", "a-2-2"]);
    }
}
