//! `wgvq encode` and `wgvq decode`

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::images::{Memory, name_of, tell_memory};
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::output::Bar;
use crate::cli::common::place::Place;
use crate::cli::common::place::refuse_existing;
use crate::cli::first_stage::bulk::Bulk;
use crate::cli::first_stage::codes_form::CodesForm;
use crate::cli::first_stage::decoded::Pictures;
use crate::cli::first_stage::latents::Latents;
use crate::cli::first_stage::vectors::{DecodeVectors, EncodeVectors};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::codes::{Codes, Labels, load_all, save_all};
use wgvq::gpu::Gpu;
use wgvq::inference::{FirstStageModel, VectorsModel};
use wgvq::models::Level;
use wgvq::{Error, Result, data};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq encode runs/emoji a.png b.png -o codes.safetensors --npy
  wgvq encode runs/photos --data photos -o codes.safetensors         # a whole data set
  wgvq encode runs/photos --data photos -o codes.parquet --format parquet
  wgvq encode runs/photos --data photos -o tars --format webdataset  # with classes and texts
  wgvq encode runs/photos --data photos -o shards --shard 3/7        # the third of seven parts
  wgvq encode runs/photos --data photos -o shards --shard auto       # by a Slurm array, or MPI
  mpirun -n 3 wgvq encode runs/photos --data photos -o shards --shard auto/7  # whoever is free
  wgvq encode --join shards -o codes.safetensors                     # once all seven are there
  wgvq encode runs/photos --data photos -o tables --shard 3/7 --format parquet  # a table to each
  wgvq encode runs/photos --tokens -o shards --shard 3/7             # the tokens of its prior
  wgvq encode --join shards -o runs/photos/prior/tokens
  wgvq encode runs/photos 4096x4096.jpg --native-size -o codes.safetensors  # any size, in tiles
  wgvq encode runs/photos --data photos --latents -o z.npy           # for quantize and bench
  wgvq encode runs/items x.npy -o codes.npy                          # a model of vectors")]
pub struct Encode {
    /// The run whose model encodes: its folder, its final.safetensors, or a name
    /// that `wgvq get` lists
    #[arg(required_unless_present = "join")]
    pub run: Option<PathBuf>,
    /// Image files; with a model of vectors one .npy file with an array [N, D]
    #[arg(
        required_unless_present_any = ["data", "shard", "tokens", "join"],
        conflicts_with_all = ["data", "shard", "tokens", "join"]
    )]
    images: Vec<PathBuf>,
    /// The file of codes; the folder, with --shard, of tokens or of tars. Of vectors and latents,
    /// an array of NumPy's
    #[arg(long, short, value_name = "CODES")]
    output: PathBuf,
    #[command(flatten)]
    bulk: Bulk,
    #[command(flatten)]
    form: CodesForm,
    /// Also write the codes as a NumPy array, beside the file; of several levels, an array each
    #[arg(long, conflicts_with_all = ["shard", "tokens"])]
    npy: bool,
    /// Keep every image at its own size, whatever it is; large ones go through the model in tiles
    #[arg(long, conflicts_with_all = ["npy", "data", "shard", "tokens", "join"])]
    native_size: bool,
    /// Write the latents as they come to the quantizer, and no codes: a .npy file with an array of
    /// float32 [N, D], of images a row to each cell
    #[arg(long, conflicts_with_all = ["npy", "native_size", "shard", "tokens", "join"])]
    latents: bool,
    #[command(flatten)]
    memory: Memory,
    /// Replace a file that is there; of shards, those that another model made, or of other data
    #[arg(long)]
    overwrite: bool,
}

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq decode runs/emoji codes.safetensors -o decoded
  wgvq decode runs/items codes.npy -o y.npy               # a model of vectors")]
pub struct Decode {
    /// The run whose model decodes: its folder, its final.safetensors, or a name
    /// that `wgvq get` lists
    pub run: PathBuf,
    /// A file of codes, as `wgvq encode` writes it
    codes: PathBuf,
    /// The folder for the images, one PNG each; of vectors, a .npy file
    #[arg(long, short, value_name = "DIR|FILE")]
    output: PathBuf,
    #[command(flatten)]
    memory: Memory,
    /// Replace files that are there, and remove the other pictures that were decoded to the folder
    /// before
    #[arg(long)]
    overwrite: bool,
}

impl Encode {
    /// Whether several processes are to share the work.
    pub fn is_handed_out(&self) -> bool {
        self.bulk.is_handed_out()
    }

    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        self.memory.needs_own_size(self.native_size)?;
        if let Some(run) = self.run.as_deref().filter(|run| VectorsModel::is_at(run)) {
            return self.vectors(global, run);
        }
        self.bulk.check(self.latents)?;
        if let Some(done) = self.bulk.run(
            global,
            self.run.as_deref(),
            self.form.of_shard(),
            &self.output,
            self.overwrite,
        ) {
            return done;
        }
        if self.form.is_foreign() {
            return self.run_foreign(global);
        }
        let npy = self.output.with_extension("npy");
        let place = Place::file(global, &self.output, self.overwrite)?;
        let run = self.run.as_deref();
        let read = || self.images.iter().cloned().chain(run.map(model_of));
        let beside = self.npy.then(|| npy.clone());
        apart(read(), std::iter::once(&self.output).chain(&beside))?;
        let arrays_of = |levels: &[Level]| -> Result<Vec<PathBuf>> {
            if !self.npy {
                return Ok(Vec::new());
            }
            let arrays = Codes::npy_paths(&npy, levels);
            arrays
                .iter()
                .try_for_each(|path| refuse_existing(path, self.overwrite))?;
            apart(read(), std::iter::once(&self.output).chain(&arrays))?;
            Ok(arrays)
        };
        if let (true, Some(run)) = (self.latents, run) {
            let latents = Latents {
                run,
                images: &self.images,
                data: self.bulk.data.as_deref(),
                level: self.bulk.level.as_deref(),
                output: &self.output,
                place: &place,
            };
            return latents.write(global);
        }
        let Some(run) = run else {
            let (joined, _) = self.bulk.joined(global)?;
            return self.write(global, &place, joined, arrays_of, None);
        };
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, run)?;
        // Before the work.
        arrays_of(model.levels())?;
        if self.native_size {
            let all = whole_images(global, &model, &self.images, &self.memory)?;
            save_all(&self.output, &all)?;
            if global.json {
                self.tell(&all, &[], Some(&gpu));
            } else {
                output::result(&format!(
                    "{}: {} images, each at its own size",
                    self.output.display(),
                    all.len()
                ));
            }
            tell_memory(global, &gpu);
            return Ok(CommandStatus::Done);
        }
        let codes = match self.images.is_empty() {
            true => self
                .bulk
                .whole(global, run, &model)?
                .map(|(codes, _)| codes),
            false => Some(resized_images(&model, &self.images)?),
        };
        let Some(codes) = codes else {
            return Ok(CommandStatus::Abandoned);
        };
        self.write(global, &place, codes, arrays_of, Some(&gpu))
    }

    /// Writes codes or latents of vectors.
    fn vectors(&self, global: &Global, run: &Path) -> Result<CommandStatus> {
        let own = [
            ("--npy", self.npy),
            ("--native-size", self.native_size),
            ("--format", self.form.is_foreign()),
        ];
        let own = own
            .iter()
            .find_map(|(option, given)| given.then_some(*option));
        if let Some(option) = self.bulk.given().or(own) {
            let what =
                "is for images, and the run is of vectors: wgvq encode RUN x.npy -o codes.npy";
            return Err(Error::config(option, what));
        }
        let [vectors] = &self.images[..] else {
            let what = format!(
                "{} files: a model of vectors encodes one .npy file with an array [N, D] at a time",
                self.images.len()
            );
            return Err(Error::config("images", what));
        };
        let encode = EncodeVectors {
            run,
            vectors,
            output: &self.output,
            overwrite: self.overwrite,
        };
        match self.latents {
            true => encode.latents(global),
            false => encode.codes(global),
        }
    }

    /// Writes codes in another program's form.
    fn run_foreign(&self, global: &Global) -> Result<CommandStatus> {
        let place = self.form.place(global, &self.output, self.overwrite)?;
        let read = self.images.iter().cloned();
        let run = self.run.as_deref();
        apart(read.chain(run.map(model_of)), std::iter::once(&self.output))?;
        let ((codes, labels), peak) = match run {
            None => (self.bulk.joined(global)?, 0),
            Some(run) => {
                let gpu = global.gpu()?;
                let model = FirstStageModel::load(&gpu, run)?;
                let made = match self.images.is_empty() {
                    true => self.bulk.whole(global, run, &model)?,
                    false => Some((resized_images(&model, &self.images)?, Labels::default())),
                };
                let Some(made) = made else {
                    return Ok(CommandStatus::Abandoned);
                };
                (made, gpu.memory().peak)
            }
        };
        if run.is_none() && labels.kinds().is_empty() {
            output::note(
                global,
                "the shards hold no classes and texts; if their images have some, the shards are \
                 of an earlier version: make them again to have these",
            );
        }
        self.form.write(&place, &self.output, &codes, &labels)?;
        self.form.tell(global, &self.output, &codes, peak);
        Ok(CommandStatus::Done)
    }

    /// Writes codes of images of one size, and the arrays beside them.
    fn write(
        &self,
        global: &Global,
        place: &Place,
        codes: Codes,
        arrays_of: impl Fn(&[Level]) -> Result<Vec<PathBuf>>,
        gpu: Option<&Gpu>,
    ) -> Result<CommandStatus> {
        let arrays = arrays_of(&codes.levels)?;
        if self.npy {
            // The file and the arrays beside it are one: all of them are there, or none.
            let staged = place.staged()?;
            let within = |path: &Path| {
                path.file_name()
                    .map(|name| staged.path().join(name))
                    .unwrap_or_default()
            };
            codes.save(&within(&self.output))?;
            codes.save_npy(&within(&self.output.with_extension("npy")))?;
            staged.put(&[])?;
        } else {
            codes.save(&self.output)?;
        }
        if global.json {
            let arrays: Vec<String> = arrays.iter().map(|p| p.display().to_string()).collect();
            self.tell(std::slice::from_ref(&codes), &arrays, gpu);
            return Ok(CommandStatus::Done);
        }
        let (path, images) = (self.output.display(), codes.names.len());
        output::result(&format!(
            "{path}: {images} images of {} codes",
            grids(&codes)
        ));
        Ok(CommandStatus::Done)
    }

    /// Prints what was written, as JSON.
    fn tell(&self, all: &[Codes], arrays: &[String], gpu: Option<&Gpu>) {
        let image = |codes: &Codes| -> Vec<serde_json::Value> {
            let [width, height, channels] = codes.image;
            let levels: Vec<_> = (codes.levels.iter())
                .map(|l| {
                    serde_json::json!({
                        "level": l.name, "grid": l.grid, "codebook_size": l.codebook_size,
                        "codebooks": l.codebooks,
                    })
                })
                .collect();
            let one = |name: &String| {
                serde_json::json!({
                    "name": name, "width": width, "height": height, "channels": channels,
                    "levels": levels,
                })
            };
            codes.names.iter().map(one).collect()
        };
        // Of a data set, whose images are many, how many there are.
        let images = match self.images.is_empty() {
            true => serde_json::json!(all.iter().map(|c| c.names.len()).sum::<usize>()),
            false => all.iter().flat_map(image).collect(),
        };
        let line = serde_json::json!({
            "codes": self.output.display().to_string(), "npy": arrays, "images": images,
            "peak_device_bytes": gpu.map_or(0, |gpu| gpu.memory().peak),
        });
        json::print("encode", &line);
    }
}

/// Encodes images at their own size, the large ones in tiles.
///
/// # Errors
/// If one cannot be read, or does not fit the memory.
pub fn whole_images(
    global: &Global,
    model: &FirstStageModel,
    images: &[PathBuf],
    memory: &Memory,
) -> Result<Vec<Codes>> {
    let channels = model.image()[2];
    let mut tiled = model.tiled(memory.tiling());
    let mut all = Vec::new();
    for path in images {
        let (pixels, size) = data::load_image_whole(path, channels)?;
        let mut bar = Bar::new(global, "tiles");
        let codes = tiled.to_codes(&pixels, size, name_of(path), &mut bar.progress())?;
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
    Ok(all)
}

/// Encodes images at the model's size.
///
/// # Errors
/// If one cannot be read.
pub fn resized_images(model: &FirstStageModel, images: &[PathBuf]) -> Result<Codes> {
    let [w, h, c] = model.image();
    let mut pixels = Vec::new();
    let mut names = Vec::new();
    for path in images {
        pixels.extend(data::load_image(path, w, h, c)?);
        names.push(name_of(path));
    }
    model.to_codes(&pixels, names)
}

/// Returns the grids of an image's codes, in words.
fn grids(codes: &Codes) -> String {
    let grids: Vec<String> = codes
        .levels
        .iter()
        .map(|l| format!("{} x {}", l.grid[0], l.grid[1]))
        .collect();
    grids.join(" and ")
}

impl Decode {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        if VectorsModel::is_at(&self.run) {
            self.memory.needs_own_size(false)?;
            let decode = DecodeVectors {
                run: &self.run,
                codes: &self.codes,
                output: &self.output,
                overwrite: self.overwrite,
            };
            return decode.vectors(global);
        }
        let all = load_all(&self.codes)?;
        let pictures = Pictures {
            global,
            run: &self.run,
            codes: &self.codes,
            out: &self.output,
            memory: &self.memory,
            overwrite: self.overwrite,
        };
        let (place, names) = pictures.place(&all)?;
        let gpu = global.gpu()?;
        let model = FirstStageModel::load(&gpu, &self.run)?;
        all.iter()
            .try_for_each(|codes| codes.check_model(model.hash()))?;
        pictures.write(&place, &gpu, &model, &all, &names)?;
        Ok(CommandStatus::Done)
    }
}
