//! `wgvq pack` and `wgvq unpack`

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::images::{Memory, name_of};
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::pictures::folder_of;
use crate::cli::common::place::Place;
use crate::cli::first_stage::codes::{resized_images, whole_images};
use crate::cli::first_stage::decoded::Pictures;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::codes::Codes;
use wgvq::codes::entropy::CodeStatistics;
use wgvq::codes::packed::{pack, unpack};
use wgvq::inference::FirstStageModel;
use wgvq::storage::atomic;
use wgvq::{Error, Result, files};

/// File of the counts of a run's codes, in its folder.
pub const STATISTICS: &str = "code-statistics.safetensors";

/// The counts that codes are packed by.
#[derive(Args, Default)]
pub struct Counted {
    /// A file of `wgvq statistics` [default: the run's, where it has one]
    #[arg(long, value_name = "FILE")]
    statistics: Option<PathBuf>,
}

impl Counted {
    /// Reads them, where there are some: those that are named, or the run's, which are passed over
    /// with a note where they are not of this model or cannot be read.
    ///
    /// # Errors
    /// If the file that is named cannot be read, or holds something else.
    pub fn load(
        &self,
        global: &Global,
        run: &Path,
        model: &FirstStageModel,
    ) -> Result<Option<CodeStatistics>> {
        let own = folder_of(run).join(STATISTICS);
        if let Some(path) = &self.statistics {
            return CodeStatistics::load(path).map(Some);
        }
        if !own.exists() {
            return Ok(None);
        }
        let found = CodeStatistics::load(&own);
        let found = found.and_then(|s| s.check_model(&model.no_codes()).map(|()| s));
        if let Err(error) = &found {
            output::note(
                global,
                &format!(
                    "{} is not used ({error}); `wgvq statistics --overwrite` counts anew",
                    own.display()
                ),
            );
        }
        Ok(found.ok())
    }

    /// The file that is read, where there is one.
    fn path(&self, run: &Path) -> PathBuf {
        let own = || folder_of(run).join(STATISTICS);
        self.statistics.clone().unwrap_or_else(own)
    }
}

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq statistics runs/emoji                            # once: makes what is packed smaller
  wgvq pack runs/emoji a.png b.png -o pictures.wgvq
  wgvq pack runs/photos large.jpg --native-size -o large.wgvq")]
pub struct Pack {
    /// The run whose model encodes: its folder, its final.safetensors, or a name
    /// that `wgvq get` lists
    pub run: PathBuf,
    /// Image files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The packed file
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    counted: Counted,
    /// Keep every image at its own size, whatever it is; large ones go through the model in tiles
    #[arg(long)]
    native_size: bool,
    #[command(flatten)]
    memory: Memory,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq unpack runs/emoji pictures.wgvq -o unpacked")]
pub struct Unpack {
    /// The run whose model decodes: its folder, its final.safetensors, or a name
    /// that `wgvq get` lists
    pub run: PathBuf,
    /// A file of `wgvq pack`
    packed: PathBuf,
    /// The folder for the images, one PNG each
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    counted: Counted,
    #[command(flatten)]
    memory: Memory,
    /// Replace files that are there, and remove the other pictures that were decoded to the folder
    /// before
    #[arg(long)]
    overwrite: bool,
}

impl Pack {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        self.memory.needs_own_size(self.native_size)?;
        // Held until the file is written.
        let _place = Place::file(global, &self.output, self.overwrite)?;
        let read = self.images.iter().cloned();
        apart(
            read.chain([model_of(&self.run), self.counted.path(&self.run)]),
            [&self.output],
        )?;
        let model = FirstStageModel::load(&global.gpu()?, &self.run)?;
        let statistics = self.counted.load(global, &self.run, &model)?;
        let all = if self.native_size {
            whole_images(global, &model, &self.images, &self.memory)?
        } else {
            vec![resized_images(&model, &self.images)?]
        };
        let packed = pack(&all, statistics.as_ref())?;
        atomic::write(&self.output, &packed.bytes)?;
        let images: usize = all.iter().map(|codes| codes.names.len()).sum();
        let codes: usize = all.iter().map(|codes| codes.indices.len()).sum();
        let size = |codes: &Codes| codes.image[0] * codes.image[1] * codes.names.len();
        let pixels: usize = all.iter().map(size).sum();
        let bytes = packed.bytes.len();
        let per_pixel = 8.0 * bytes as f64 / pixels as f64;
        if global.json {
            let line = serde_json::json!({
                "packed": output::shown(&self.output), "images": images, "codes": codes,
                "bytes": bytes, "payload_bytes": packed.payload,
                "estimated_bytes": packed.estimate / 8.0, "bits_per_pixel": per_pixel,
                "statistics": statistics.is_some(),
            });
            json::print("pack", &line);
            return Ok(CommandStatus::Done);
        }
        output::result(&format!(
            "{}: {images} {} of {codes} codes in {bytes} bytes, {per_pixel:.3} bits per pixel; \
             {} of them are codes",
            self.output.display(),
            if images == 1 { "image" } else { "images" },
            packed.payload,
        ));
        if statistics.is_none() {
            output::note(
                global,
                "without statistics of the run's codes; `wgvq statistics` counts them once, and \
                 makes such files smaller",
            );
        }
        Ok(CommandStatus::Done)
    }
}

impl Unpack {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let bytes = files::read(&self.packed, files::MODEL)?;
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, &self.run)?;
        let statistics = self.counted.load(global, &self.run, &model)?;
        let mut all = unpack(&bytes, &model.no_codes(), statistics.as_ref())
            .map_err(|e| Error::file(&self.packed, e.to_string()))?;
        // An image alone has the name of its file.
        if let [only] = &mut all[..]
            && let [name] = &mut only.names[..]
            && name.is_empty()
        {
            *name = name_of(&self.packed);
        }
        let pictures = Pictures {
            global,
            run: &self.run,
            codes: &self.packed,
            out: &self.output,
            memory: &self.memory,
            overwrite: self.overwrite,
        };
        let (place, names) = pictures.place(&all)?;
        pictures.write(&place, &gpu, &model, &all, &names)?;
        Ok(CommandStatus::Done)
    }
}
