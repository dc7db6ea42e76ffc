//! `wgvq sample`: new images.

use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::prior::sampling::{
    SamplesFolder, SamplingArgs, check_memory, sample, tell_of_grid,
};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::codes::tokens::TokenDatasetInfo;
use wgvq::gpu::Gpu;
use wgvq::inference::{FirstStageModel, Hierarchy, SampleRequest, SamplingOptions};
use wgvq::report::grid::{Layout, Shape, fitting, images};
use wgvq::text::slug;
use wgvq::{Error, Result};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq sample runs/fashion --n 64
  wgvq sample runs/fashion --class boot --n 64 --temperature 0.9 --top-k 100 --top-p 0.95 \\
      --guidance 2 --seed 7 --out boots")]
pub struct Sample {
    /// The run, with a prior, or a name that `wgvq get` lists
    pub run: PathBuf,
    /// Class name or part of it. Several names alternate. Default: all classes in turn. `none`:
    /// unconditional (`unconditional`, where a class has the name none)
    #[arg(long)]
    class: Vec<String>,
    /// Images
    #[arg(long, default_value_t = 64)]
    n: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The folder: grid.png, and a PNG for each image
    #[arg(long, default_value = "samples")]
    out: PathBuf,
    /// Replace the samples that the folder holds
    #[arg(long)]
    overwrite: bool,
}

/// Characters of a class's name in the names of its images: at most 240 bytes of the 255 that file
/// systems allow.
const NAMED: usize = 60;

/// Loads both stages of a run.
pub fn load(gpu: &Gpu, run: &Path) -> Result<(FirstStageModel, Hierarchy)> {
    let model = FirstStageModel::load(gpu, run)?;
    let priors = Hierarchy::load(gpu, run, &model)?;
    Ok((model, priors))
}

impl Sample {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let options = self.sampling.options()?;
        if self.n == 0 || self.n > 1 << 20 {
            return Err(Error::config(
                "--n",
                format!("{} images: from 1 to 2^20 can be drawn", self.n),
            ));
        }
        let place = Place::folder(global, &self.out)?;
        let gpu = global.gpu()?;
        let (model, priors) = load(&gpu, &self.run)?;
        let info = priors.info();
        check_memory(&model, &priors, self.n)?;
        let asked: Vec<u32> = match (&self.class[..], info.vocabulary.classes) {
            ([], 0) => vec![info.vocabulary.no_class()],
            ([], classes) => (0..classes as u32).collect(),
            (names, _) => names
                .iter()
                .map(|name| info.class_named("--class", name))
                .collect::<Result<_>>()?,
        };
        let classes: Vec<u32> = asked.iter().copied().cycle().take(self.n).collect();
        let words = |class: u32| {
            info.classes
                .get(class as usize)
                .map(|name| slug(name))
                .unwrap_or_default()
        };
        let names: Vec<String> = (classes.iter().enumerate())
            .map(
                |(i, class)| match words(*class).chars().take(NAMED).collect::<String>() {
                    words if words.is_empty() => format!("{i:04}.png"),
                    words => format!("{i:04}-{words}.png"),
                },
            )
            .collect();
        place.holds_none(SamplesFolder::files(names.iter()), self.overwrite)?;
        tell_of_guidance(global, info, &classes, &options);
        tell_of_texts(global, info);
        let began = std::time::Instant::now();
        let request = SampleRequest {
            options,
            ..SampleRequest::new(&classes)
        };
        let Some(samples) = sample(global, &priors, &request)? else {
            return Ok(CommandStatus::Abandoned);
        };
        let seconds = began.elapsed().as_secs_f64();
        let pixels = model.decode(&samples.codes)?;
        let [width, height, channels] = model.image();
        let shape = Shape {
            width,
            height,
            channels,
        };
        // A row of the grid has each class once, where there are so many that this is a row.
        let columns = if (5..=16).contains(&asked.len()) {
            asked.len()
        } else {
            0
        };
        let layout = Layout {
            columns,
            ..Default::default()
        };
        let shown = fitting(self.n, shape, layout);
        tell_of_grid(global, shown, self.n);
        let each = width * height * channels;
        let list = serde_json::json!({
            "run": output::shown(&self.run),
            "model": info.model,
            "seed": options.seed,
            "images": names,
        });
        let folder = SamplesFolder {
            place: &place,
            folder: &self.out,
        };
        folder.write(
            names.iter().zip(pixels.chunks(each)),
            shape,
            &images(&pixels[..shown * each], shape, layout)?.png()?,
            &list,
        )?;
        let codes = samples.codes.len();
        let sum: f64 = samples.log_likelihood.iter().map(|l| f64::from(*l)).sum();
        let mean = ("log_likelihood_per_code", sum / codes as f64);
        folder.report(global, self.n, &samples, seconds, Some(mean));
        Ok(CommandStatus::Done)
    }
}

/// Says that guidance away from no class, without a class, changes nothing.
pub fn tell_of_guidance(
    global: &Global,
    info: &TokenDatasetInfo,
    classes: &[u32],
    options: &SamplingOptions,
) {
    let none = info.vocabulary.no_class();
    if options.sampling.guidance.is_some() && classes.iter().all(|class| *class == none) {
        output::note(
            global,
            "--guidance changes nothing where no class is asked for",
        );
    }
}

/// Says what a prior that reads texts samples without one.
pub fn tell_of_texts(global: &Global, info: &TokenDatasetInfo) {
    if info.vocabulary.text.is_some() {
        output::note(
            global,
            "this prior reads texts and is told nothing here; `wgvq text2image sample` draws of a \
             text",
        );
    }
}
