//! `wgvq report`: rate and distortion of runs beside JPEG, PNG, WebP and AVIF, or a page about
//! them.

use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::pictures::folder_of;
use crate::cli::common::pictures::source_of;
use crate::cli::common::place::Place;
use crate::cli::first_stage::inspect::{chosen, name_of, open, shape};
use crate::cli::first_stage::pack::Counted;
use crate::cli::first_stage::report_page::PageRequest;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::codes::Codes;
use wgvq::codes::entropy::CodeStatistics;
use wgvq::codes::packed::pack;
use wgvq::data::absolute;
use wgvq::inference::FirstStageModel;
use wgvq::report::avif::{Avif, LEVELS, Programs};
use wgvq::report::codecs::{self, Kept, QUALITIES};
use wgvq::report::grid::Shape;
use wgvq::report::metrics::{code_usage, mse, psnr, ssim_where_it_fits};
use wgvq::report::rate::{Beside, Codecs, Coded, LevelRate, csv, table};
use wgvq::report::rate_chart::chart;
use wgvq::storage::atomic;
use wgvq::{Error, Result};

/// `wgvq report runs/emoji runs/fsq`
#[derive(Args)]
#[command(after_long_help = "\
Writes rate.png and rate.csv. A run has three rates: that of packed files, one of each
picture with its header, as `wgvq pack` writes them; the entropy of its codes over the
pictures, each by its frequency, level by level and summed; and log2 K for each code. None
counts the model. A codec's rate is that of its files, whose headers weigh heavily on
small images. AVIF is measured with --avif, by libavif's own programs.

With --html it writes run.html instead, a page in one file, about runs of any kind: curves,
reconstructions over time, maps of codebooks, samples, configurations, and what each was
trained with.

Examples:
  wgvq report runs/emoji
  wgvq report runs/ema runs/fsq runs/residual --out compared
  wgvq report clipart64 --data photos --avif --out photos-report
  wgvq report runs/emoji --html
  wgvq report runs/ema runs/fsq --html --out compared")]
pub struct Report {
    /// The runs: their folders, their final.safetensors, or names that `wgvq get` lists; all of
    /// images of one size, but for --html
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// The folder for the chart and the table; RUN/report of the first run unless given
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// The images: a folder, a file, or a named data set; the runs' own data unless given. Of them,
    /// the test split is looked at
    #[arg(long, value_name = "DIR|FILE|NAME")]
    data: Option<String>,
    /// Images to look at, at most
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    images: u32,
    /// Also measure AVIF, by the programs avifenc and avifdec of libavif: two calls for each image
    /// and each of ten levels
    #[arg(long, conflicts_with = "html")]
    avif: bool,
    /// Write a page about the runs, run.html, in place of the chart and the table
    #[arg(long)]
    html: bool,
    /// Replace what a report made before
    #[arg(long)]
    overwrite: bool,
}

impl Report {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let first = &self.runs[0];
        let out = self
            .out
            .clone()
            .unwrap_or_else(|| folder_of(first).join("report"));
        if self.html {
            let request = PageRequest {
                runs: &self.runs,
                out: &out,
                data: self.data.as_deref(),
                images: self.images as usize,
                overwrite: self.overwrite,
            };
            return request.write(global).map(|()| CommandStatus::Done);
        }
        let [picture, figures] = ["rate.png", "rate.csv"].map(|name| out.join(name));
        let place = Place::folder(global, &out)?;
        place.holds_none(["rate.png", "rate.csv"], self.overwrite)?;
        let avif = self.avif.then(Programs::find).transpose()?;
        let gpu = global.gpu()?;
        let models = self
            .runs
            .iter()
            .map(|run| FirstStageModel::load(&gpu, run))
            .collect::<Result<Vec<_>>>()?;
        self.comparable(&models)?;
        let set = open(&self.runs[0], &models[0], self.data.as_deref())?;
        let pixels = set.gather(&chosen(&set, self.images as usize)?)?;
        let shape = shape(&models[0]);
        let count = shape.count(&pixels)?;
        output::note(
            global,
            &format!("{count} images of {}'s test split", set.name),
        );
        let names = names(&self.runs);
        let mut runs = Vec::new();
        for ((model, name), run) in models.iter().zip(names).zip(&self.runs) {
            let statistics = Counted::default().load(global, run, model)?;
            runs.push(coded(model, name, &pixels, shape, statistics.as_ref())?);
        }
        output::note(
            global,
            &format!("JPEG at {} qualities, PNG and WebP", QUALITIES.len()),
        );
        let codecs = Codecs {
            jpeg: QUALITIES
                .iter()
                .map(|q| codecs::jpeg(&pixels, shape, *q))
                .collect::<Result<_>>()?,
            jpeg_headers: codecs::jpeg_headers(shape)?,
            png: codecs::png(&pixels, shape)?,
            webp: codecs::webp(&pixels, shape)?,
            avif: avif
                .map(|programs| measured(global, &programs, &pixels, shape))
                .transpose()?,
        };
        // Of a folder its name alone, so that the chart says nothing of where it lies.
        let data = Path::new(&set.name)
            .file_name()
            .map_or(set.name.clone(), |n| n.to_string_lossy().into_owned());
        let size = format!("{} x {}", shape.width, shape.height);
        let title = format!("PSNR, dB, of {count} held-out images of {data}, {size}");
        let caption = "rings: packed files; dots: entropy of the codes; line's end: log2 K";
        let png = chart(&title, caption, &runs, &codecs)?;
        let staged = place.staged()?;
        atomic::write(
            &staged.path().join("rate.csv"),
            csv(&runs, &codecs).as_bytes(),
        )?;
        atomic::write(&staged.path().join("rate.png"), &png)?;
        staged.put(&[])?;
        if global.json {
            runs.iter()
                .for_each(|run| json::print("report-run", &line(run, &codecs)));
            json::print("report-codecs", &codec_line(&codecs, count));
        } else {
            output::result(table(&runs, &codecs).trim_end());
        }
        let missing = if self.avif { "" } else { " --avif adds AVIF." };
        output::note(
            global,
            &format!(
                "WebP is lossless: there is no lossy encoder of it here.{missing} Files' headers \
                 count, the models and the statistics of codes (`wgvq statistics`) do not."
            ),
        );
        output::note(
            global,
            &format!(
                "chart: {}, figures: {}",
                picture.display(),
                figures.display()
            ),
        );
        Ok(CommandStatus::Done)
    }

    /// Checks that the runs can be measured on the same images.
    fn comparable(&self, models: &[FirstStageModel]) -> Result<()> {
        let (first, name) = (&models[0], self.runs[0].display());
        for (model, run) in models.iter().zip(&self.runs).skip(1) {
            if model.image() != first.image() {
                let ([w, h, c], [fw, fh, fc]) = (model.image(), first.image());
                let what = format!(
                    "its images are {w} x {h} x {c}, those of {name} {fw} x {fh} x {fc}: report \
                     on them apart"
                );
                return Err(Error::file(run, what));
            }
            let [source, other] = [(run, model), (&self.runs[0], first)]
                .map(|(run, model)| absolute(&source_of(run, model)));
            if self.data.is_none() && source != other {
                let what = format!(
                    "was trained on `{source}`, and {name} on `{other}`: say which images by \
                     --data"
                );
                return Err(Error::file(run, what));
            }
        }
        Ok(())
    }
}

/// Returns the names of the runs: by their folders; those of one name also by their place in the
/// list.
pub fn names(runs: &[PathBuf]) -> Vec<String> {
    let plain: Vec<String> = runs.iter().map(|run| name_of(run)).collect();
    let of = |(i, name): (usize, &String)| match plain.iter().filter(|n| *n == name).count() {
        1 => name.clone(),
        _ => format!("{name} ({})", i + 1),
    };
    plain.iter().enumerate().map(of).collect()
}

/// Reconstructs images and measures the rate of their codes, and of a packed file of each.
fn coded(
    model: &FirstStageModel,
    name: String,
    pixels: &[u8],
    shape: Shape,
    statistics: Option<&CodeStatistics>,
) -> Result<Coded> {
    let count = shape.count(pixels)?;
    let codes = model.to_codes(pixels, vec![String::new(); count])?;
    let again = model.decode(&codes.indices)?;
    let error = mse(pixels, &again)?;
    let [w, h, _] = model.image();
    let levels = (0..codes.levels.len())
        .map(|level| rate(&codes, level, w * h))
        .collect();
    let mut bytes = 0;
    let mut one = Codes {
        model: codes.model.clone(),
        quantizer: codes.quantizer.clone(),
        levels: codes.levels.clone(),
        image: codes.image,
        names: vec![String::new()],
        indices: Vec::new(),
    };
    for image in codes.indices.chunks(codes.per_image()) {
        one.indices = image.to_vec();
        bytes += pack(std::slice::from_ref(&one), statistics)?.bytes.len();
    }
    Ok(Coded {
        name,
        mse: error,
        psnr: psnr(error),
        ssim: ssim_where_it_fits(pixels, &again, shape)?,
        levels,
        packed: 8.0 * bytes as f64 / (count * w * h) as f64,
    })
}

/// Measures AVIF on the images.
fn measured(global: &Global, programs: &Programs, pixels: &[u8], shape: Shape) -> Result<Avif> {
    let what = format!("AVIF at {} levels, by {}", LEVELS.len(), programs.version());
    output::note(global, &what);
    programs.measure(pixels, shape)
}

/// Computes the bits per pixel of a level's codes.
fn rate(codes: &Codes, level: usize, pixels: usize) -> LevelRate {
    let (of, indices) = (&codes.levels[level], codes.of_level(level));
    let entropy = |book: usize| {
        let mut counts = vec![0; of.codebook_size];
        indices
            .iter()
            .skip(book)
            .step_by(of.codebooks)
            .for_each(|code| counts[*code as usize] += 1);
        code_usage(&counts).perplexity.log2()
    };
    let latents = (of.grid[0] * of.grid[1]) as f64 / pixels as f64;
    LevelRate {
        name: of.name.clone(),
        entropy: latents * (0..of.codebooks).map(entropy).sum::<f64>(),
        nominal: latents * of.codebooks as f64 * (of.codebook_size as f64).log2(),
    }
}

fn line(run: &Coded, codecs: &Codecs) -> serde_json::Value {
    let level = |l: &LevelRate| {
        serde_json::json!({
            "level": l.name, "bits_per_pixel": l.entropy, "nominal_bits_per_pixel": l.nominal,
        })
    };
    let beside = Beside::of(run, codecs);
    let psnr = |kept: Option<Kept>| kept.map(|k| k.psnr);
    let ssim = |kept: Option<Kept>| kept.and_then(|k| k.ssim);
    serde_json::json!({
        "run": run.name, "mse": run.mse, "psnr": run.psnr, "ssim": run.ssim,
        "bits_per_pixel": run.entropy(),
        "nominal_bits_per_pixel": run.nominal(), "packed_bits_per_pixel": run.packed,
        "levels": run.levels.iter().map(level).collect::<Vec<_>>(),
        "jpeg_bits_per_pixel": beside.jpeg, "avif_bits_per_pixel": beside.avif,
        "jpeg_psnr_in_packed": psnr(beside.jpeg_in_packed),
        "jpeg_ssim_in_packed": ssim(beside.jpeg_in_packed),
        "avif_psnr_in_packed": psnr(beside.avif_in_packed),
        "avif_ssim_in_packed": ssim(beside.avif_in_packed),
    })
}

fn codec_line(codecs: &Codecs, images: usize) -> serde_json::Value {
    let point = |l: &codecs::Lossy| {
        serde_json::json!({
            "quality": l.quality, "bits_per_pixel": l.bits_per_pixel, "mse": l.mse, "psnr": l.psnr,
            "ssim": l.ssim,
        })
    };
    serde_json::json!({
        "images": images, "jpeg_headers_bits_per_pixel": codecs.jpeg_headers,
        "jpeg": codecs.jpeg.iter().map(point).collect::<Vec<_>>(),
        "png_bits_per_pixel": codecs.png, "webp_lossless_bits_per_pixel": codecs.webp,
        "avif": codecs.avif.as_ref().map(|avif| serde_json::json!({
            "by": avif.by, "headers_bits_per_pixel": avif.headers,
            "levels": avif.curve.iter().map(point).collect::<Vec<_>>(),
        })),
    })
}
