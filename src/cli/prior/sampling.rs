//! Sampling as every command does it: the options, the progress bar, and the folder that samples
//! are written into.

use crate::cli::Global;
use crate::cli::common::images::png;
use crate::cli::common::json;
use crate::cli::common::made::{SAMPLES, made_before};
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::common::watched::{NOTHING_WRITTEN, watched};
use clap::{Args, Command, FromArgMatches};
use std::fmt;
use std::path::Path;
use wgvq::inference::{
    FirstStageModel, Hierarchy, Parallel, SampleRequest, Samples, SamplingOptions,
};
use wgvq::ops::sampling::sample::Sampling;
use wgvq::report::grid::Shape;
use wgvq::storage::atomic;
use wgvq::{Error, Result, memory};

/// Options for how codes are drawn.
#[derive(Args, PartialEq)]
pub struct SamplingArgs {
    /// Logits are divided by it: below 1 likelier, above 1 more various; 0 takes the likeliest
    /// code
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Draw from this many of the likeliest codes
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from the fewest likeliest codes whose probabilities sum to this, in (0, 1]
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    top_p: f32,
    /// Draw from codes of at least this share of the likeliest one's probability
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    min_p: f32,
    /// Penalty on codes that an image has already: 1 is none, `inf` lets none come twice; with
    /// --temperature 0 it keeps the likeliest code from being drawn over and over
    #[arg(
        long,
        value_name = "THETA",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    repetition_penalty: f32,
    /// Classifier-free guidance: above 1 more of the class, and less various
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Images drawn at a time; changes memory and time, and no image
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Compute everything again for each code, as a check or for comparison
    #[arg(long)]
    no_cache: bool,
    /// Draw this many codes of an image in a pass of the model, 16 where no number is given, again
    /// and again until they are those of drawing one by one: the same images in fewer and larger
    /// passes. `auto` does so where the first passes show that this device is faster for it
    #[arg(
        long,
        value_name = "WINDOW",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "16",
        value_parser = parallel
    )]
    parallel: Option<Parallel>,
    /// Passes in which a masked prior (`prior.kind = "masked"`) draws an image, at most as many as
    /// it has codes; other priors have no use for it
    #[arg(long, default_value_t = 12)]
    passes: usize,
}

/// Reads the value of `--parallel`.
fn parallel(value: &str) -> std::result::Result<Parallel, String> {
    match value {
        "auto" => Ok(Parallel::Auto),
        number => number
            .parse()
            .map(Parallel::Window)
            .map_err(|_| "it is a number of codes in a pass, or `auto`".into()),
    }
}

impl SamplingArgs {
    /// Whether one of the options was given another value than it has without being given.
    pub fn is_given(&self) -> bool {
        let none = Self::augment_args(Command::new("none")).get_matches_from(["none"]);
        Self::from_arg_matches(&none).is_ok_and(|none| *self != none)
    }

    /// Refuses --guidance, in whose place `option` lists guidances.
    ///
    /// # Errors
    /// If it was given.
    pub fn without_guidance(&self, option: &str) -> Result<()> {
        match self.guidance {
            Some(_) => Err(Error::config(
                "--guidance",
                format!("is of no use here: {option} lists the guidances to draw with"),
            )),
            None => Ok(()),
        }
    }

    /// Returns the options that the library takes.
    ///
    /// # Errors
    /// Names the first that cannot be used.
    pub fn options(&self) -> Result<SamplingOptions> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            // A guidance of 1 is the conditional distribution itself, at half the cost.
            guidance: self.guidance.filter(|g| *g != 1.0),
        };
        let options = SamplingOptions {
            sampling,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            batch: self.batch,
            cache: !self.no_cache,
            parallel: self.parallel.unwrap_or_default(),
            passes: self.passes,
        };
        match options.invalid_field() {
            Some((field, what)) => Err(Error::config(
                format!("--{}", field.replace('_', "-")),
                what,
            )),
            None => Ok(options),
        }
    }
}

/// Checks that the host has the memory that sampling `n` images takes: their codes, their pixels,
/// and the grid of them.
pub fn check_memory(model: &FirstStageModel, priors: &Hierarchy, n: usize) -> Result<()> {
    let [width, height, channels] = model.image();
    let codes = memory::product(&[n, priors.codes_per_image(), 8]);
    let pixels = memory::product(&[n, width, height, channels, 3]);
    let asked = codes.and_then(|codes| codes.checked_add(pixels?));
    memory::check_available(
        format!("--n: {n} images of {width} x {height} x {channels}"),
        asked,
    )
}

/// Samples with a progress bar. `None` if the user stopped it.
pub fn sample(
    global: &Global,
    priors: &Hierarchy,
    request: &SampleRequest,
) -> Result<Option<Samples>> {
    watched(global, "codes", NOTHING_WRITTEN, |progress| {
        priors.sample(request, progress)
    })
}

/// Passes of the model that images took.
pub struct Passes {
    mean: f64,
    most: u32,
}

impl Passes {
    /// Counts those of samples.
    pub fn of(samples: &Samples) -> Passes {
        let all = &samples.passes;
        let sum: f64 = all.iter().copied().map(f64::from).sum();
        Passes {
            mean: sum / all.len().max(1) as f64,
            most: all.iter().copied().max().unwrap_or(0),
        }
    }

    /// Returns them as commands write them with `--json`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "mean": self.mean, "most": self.most })
    }
}

impl fmt::Display for Passes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Passes { mean, most } = self;
        write!(f, "{mean:.1} passes an image, {most} at most")
    }
}

/// Says that the picture of all samples shows only the first of them, where that is so.
pub fn tell_of_grid(global: &Global, shown: usize, all: usize) {
    if shown < all {
        let what = format!("{GRID} shows the first {shown} of {all} images: no more fit a picture");
        output::note(global, &what);
    }
}

/// The picture of all samples.
const GRID: &str = "grid.png";
/// The folder that samples are written into: a PNG of each, a picture of all, and a list.
pub struct SamplesFolder<'a> {
    pub place: &'a Place,
    pub folder: &'a Path,
}

impl SamplesFolder<'_> {
    /// Returns the names of what is written where the images have these.
    pub fn files<'a>(names: impl Iterator<Item = &'a String>) -> impl Iterator<Item = &'a str> {
        names.map(String::as_str).chain([GRID, SAMPLES])
    }

    /// Writes images, each with its name, the picture of all, and the list, by which the next
    /// sampling knows what it may remove.
    pub fn write<'a>(
        &self,
        images: impl Iterator<Item = (&'a String, &'a [u8])>,
        shape: Shape,
        grid: &[u8],
        list: &serde_json::Value,
    ) -> Result<()> {
        let staged = self.place.staged()?;
        let at = |name: &str| staged.path().join(name);
        let list = serde_json::to_string_pretty(list).map_err(Error::data)?;
        atomic::write(&at(SAMPLES), (list + "\n").as_bytes())?;
        for (name, image) in images {
            let png = png(image, shape.width, shape.height, shape.channels)?;
            atomic::write(&at(name), &png)?;
        }
        atomic::write(&at(GRID), grid)?;
        staged.put(&made_before(self.folder, SAMPLES))
    }

    /// Says what was written: so many images, of samples that took so long; in JSON with `more`.
    pub fn report(
        &self,
        global: &Global,
        images: usize,
        samples: &Samples,
        seconds: f64,
        more: Option<(&str, f64)>,
    ) {
        let codes = samples.codes.len();
        let (grid, pace) = (self.folder.join(GRID), codes as f64 / seconds);
        let passes = Passes::of(samples);
        if global.json {
            let mut line = serde_json::json!({
                "out": output::shown(self.folder),
                "images": images,
                "codes": codes,
                "seconds": seconds,
                "codes_per_second": pace,
                "passes": passes.json(),
                "grid": output::shown(&grid),
            });
            if let Some((key, value)) = more {
                line[key] = value.into();
            }
            json::print("sample", &line);
            return;
        }
        output::result(&format!("{}: {images} images", self.folder.display()));
        output::result(&format!("grid: {}", grid.display()));
        output::note(
            global,
            &format!("{codes} codes in {seconds:.1} s, {pace:.0} per second; {passes}"),
        );
    }
}
