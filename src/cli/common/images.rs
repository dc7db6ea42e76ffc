//! Images as files, their names, and the memory that a batch of them may take.

use crate::cli::Global;
use crate::cli::common::output;
use clap::Args;
use std::path::Path;
use wgvq::gpu::Gpu;
use wgvq::inference::TilingOptions;
use wgvq::{Error, Result};

/// Memory for images of their own size.
#[derive(Args)]
pub struct Memory {
    /// MiB of device memory to stay within, where images keep their own size: tiles are as large
    /// as that allows [default: from the device's limits]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    memory_budget: Option<u64>,
}

impl Memory {
    /// Refuses the budget where images have the model's size, and are not taken in tiles.
    ///
    /// # Errors
    /// If it was given.
    pub fn needs_own_size(&self, native_size: bool) -> Result<()> {
        if self.memory_budget.is_none() || native_size {
            return Ok(());
        }
        let what = "is of no use without --native-size: images of the model's size are not taken \
                    in tiles";
        Err(Error::config("--memory-budget", what))
    }

    /// Says that the budget changes nothing where no image is of another size than the model's.
    pub fn tell_unread(&self, global: &Global, own_sizes: bool) {
        if self.memory_budget.is_some() && !own_sizes {
            output::note(
                global,
                "--memory-budget changes nothing: all images have the model's size, and are not \
                 taken in tiles",
            );
        }
    }

    pub fn tiling(&self) -> TilingOptions {
        TilingOptions {
            memory_budget: self.memory_budget.map(|mib| mib << 20),
        }
    }
}

/// Prints the memory and the time that the work took.
pub fn tell_memory(global: &Global, gpu: &Gpu) {
    output::note(
        global,
        &format!(
            "{} MiB of device memory at peak",
            gpu.memory().peak.div_ceil(1 << 20)
        ),
    );
}

/// Returns the name of an image's codes, and of the image that comes of them: its file's, without
/// folder and ending.
pub fn name_of(path: &Path) -> String {
    path.file_stem()
        .map_or_else(|| "image".into(), |s| s.to_string_lossy().into_owned())
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

/// Returns a PNG of one u8 image.
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
