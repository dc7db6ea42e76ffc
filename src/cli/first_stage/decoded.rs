//! Codes decoded to pictures in a folder, whichever file the codes came in.

use crate::cli::Global;
use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::images::{Memory, png, tell_memory, unique};
use crate::cli::common::json;
use crate::cli::common::made::{self, PICTURES, replaced};
use crate::cli::common::output::{self, Bar};
use crate::cli::common::place::Place;
use std::path::Path;
use wgvq::codes::Codes;
use wgvq::gpu::Gpu;
use wgvq::inference::FirstStageModel;
use wgvq::storage::atomic;
use wgvq::{Error, Result};

/// A folder that codes are decoded to, one PNG to each image.
pub struct Pictures<'a> {
    pub global: &'a Global,
    /// The run whose model decodes.
    pub run: &'a Path,
    /// The file of the codes, which stays as it is.
    pub codes: &'a Path,
    pub out: &'a Path,
    pub memory: &'a Memory,
    pub overwrite: bool,
}

impl Pictures<'_> {
    /// Takes the folder. Returns it, and the names of the pictures, no two of them alike.
    ///
    /// # Errors
    /// If a picture is there and may not be replaced, or would replace what is read.
    pub fn place(&self, all: &[Codes]) -> Result<(Place, Vec<String>)> {
        let names: Vec<String> = all.iter().flat_map(|codes| codes.names.clone()).collect();
        let names: Vec<String> = unique(&names)
            .into_iter()
            .map(|name| format!("{name}.png"))
            .collect();
        let place = Place::folder(self.global, self.out)?;
        place.holds_none(names.iter().map(String::as_str), self.overwrite)?;
        place.holds_none([PICTURES], true)?;
        let written = names.iter().map(|name| self.out.join(name));
        apart([self.codes.to_owned(), model_of(self.run)], written)?;
        Ok((place, names))
    }

    /// Decodes and writes the pictures, all of them or none, and says so.
    ///
    /// # Errors
    /// If the codes are not of the model, or a file cannot be written.
    pub fn write(
        &self,
        place: &Place,
        gpu: &Gpu,
        model: &FirstStageModel,
        all: &[Codes],
        names: &[String],
    ) -> Result<()> {
        let old = replaced(self.out, self.overwrite);
        let channels = model.image()[2];
        if let Some(codes) = all.iter().find(|codes| codes.image[2] != channels) {
            let (names, theirs) = (codes.names.join(", "), codes.image[2]);
            let what =
                format!("{names}: {theirs} channels, but the model's images have {channels}");
            return Err(Error::file(self.codes, what));
        }
        let own_sizes = all.iter().any(|codes| codes.image != model.image());
        self.memory.tell_unread(self.global, own_sizes);
        let staged = place.staged()?;
        let mut rest = names.iter().map(|name| staged.path().join(name));
        for codes in all {
            let [w, h, c] = codes.image;
            let images = if codes.image == model.image() {
                model.decode(&codes.indices)?
            } else {
                let mut bar = Bar::new(self.global, "tiles");
                let mut tiled = model.tiled(self.memory.tiling());
                let mut images = Vec::new();
                for image in codes.indices.chunks(codes.per_image().max(1)) {
                    images.extend(tiled.decode(image, [w, h], &mut bar.progress())?);
                }
                bar.finish();
                images
            };
            if images.len() != codes.names.len() * w * h * c {
                let what = format!("its codes are not those of images of {w} x {h}");
                return Err(Error::file(self.codes, what));
            }
            for (pixels, path) in images.chunks(w * h * c).zip(rest.by_ref()) {
                atomic::write(&path, &png(pixels, w, h, c)?)?;
            }
        }
        made::list(self.out, staged.path(), names, self.overwrite)?;
        staged.put(&old)?;
        if self.global.json {
            let images: Vec<String> = names
                .iter()
                .map(|name| output::shown(&self.out.join(name)))
                .collect();
            let line = serde_json::json!({
                "out": output::shown(self.out), "images": images,
                "peak_device_bytes": gpu.memory().peak,
            });
            json::print("decode", &line);
        } else {
            output::result(&format!("{}: {} images", self.out.display(), names.len()));
        }
        if own_sizes {
            tell_memory(self.global, gpu);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_stay_in_the_folder_and_apart() {
        let names = ["a", "a", "../../etc/passwd", "", "a-2", "A"].map(String::from);
        assert_eq!(
            crate::cli::common::images::unique(&names),
            ["a", "a-2", "______etc_passwd", "image", "a-2-2", "A-3"]
        );
    }
}
