//! `wgvq inspect`: what a trained model's codes are, as pictures and a page.

use crate::cli::common::json;
use crate::cli::common::pictures::folder_of;
use crate::cli::common::place::Place;
use crate::cli::common::{output, pictures};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::analysis::probe::{SWATCH, Survey};
use wgvq::data::{self, ImageSet};
use wgvq::inference::FirstStageModel;
use wgvq::report::grid::Shape;
use wgvq::report::inspection::{CodebookInspection, Inspection, entropy_bits, names};
use wgvq::report::metrics::code_usage;
use wgvq::report::{patches, robustness};
use wgvq::storage::atomic;
use wgvq::storage::run_parts::made_by_an_inspection;
use wgvq::{Error, Result};

/// `wgvq inspect runs/emoji`
#[derive(Args)]
#[command(after_long_help = "\
Makes index.html, a page to open from disk, and its pictures beside it: every code
decoded, the real patches that chose it, usage, a map of the codebook, codes laid over
images, and whether codes survive changed pixels.

Examples:
  wgvq inspect runs/emoji
  wgvq inspect runs/emoji --data ~/pictures --images 200 --out elsewhere")]
pub struct Inspect {
    /// The run whose model is looked into: its folder, its final.safetensors, or a name
    /// that `wgvq get` lists
    pub run: PathBuf,
    /// The folder for the page and its pictures; RUN/inspect unless given
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// The images: a folder, a file, or a named data set; the run's own data unless given. Of them,
    /// the test split is looked at
    #[arg(long, value_name = "DIR|FILE|NAME")]
    data: Option<String>,
    /// Images to look at, at most
    #[arg(long, default_value_t = 512)]
    images: usize,
    /// The level of codes to look into, where there are several: top, bottom, ..; all of them
    /// unless given, a page each
    #[arg(long, value_name = "NAME")]
    level: Option<String>,
    /// Seed of the noise that codes have to bear
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace what an inspection made before
    #[arg(long)]
    overwrite: bool,
}

/// Codes that are shown decoded, that have a place on the map, and whose patches are shown.
const DECODED: usize = 512;
const MAPPED: usize = 4096;
const PATCHED: usize = 40;
/// Patches to a code.
const NEAREST: usize = 8;
/// Codebooks that are shown.
const BOOKS: usize = 8;
/// Images that are shown with their codes, and that are changed to see what survives.
const SHOWN: usize = 8;
const CHANGED: usize = 128;

impl Inspect {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        if self.images == 0 {
            return Err(Error::config(
                "--images",
                "0 is not allowed: at least one image must be looked at",
            ));
        }
        let base = self
            .out
            .clone()
            .unwrap_or_else(|| folder_of(&self.run).join("inspect"));
        let place = Place::folder(global, &base)?;
        let model = FirstStageModel::load(&global.gpu()?, &self.run)?;
        let levels: Vec<usize> = match self.level.as_deref() {
            None => (0..model.levels().len()).collect(),
            name => vec![model.level(name)?],
        };
        // A page to each level, where there are several.
        let mut old = Vec::new();
        for level in &levels {
            let (shown, name) = (
                model.levels()[*level].codebooks.min(BOOKS),
                Path::new(&model.levels()[*level].name),
            );
            let files: Vec<PathBuf> = names(shown).iter().map(|file| name.join(file)).collect();
            place.holds_none(
                files.iter().filter_map(|file| file.to_str()),
                self.overwrite,
            )?;
            old.extend(made_by_an_inspection(&base.join(name))?);
        }
        let set = open(&self.run, &model, self.data.as_deref())?;
        let numbers = chosen(&set, self.images)?;
        let groups: Vec<u64> = numbers
            .iter()
            .map(|n| set.items[*n as usize].group)
            .collect();
        let pictures = set.gather(&numbers)?;
        output::note(
            global,
            &format!("{} images of {}'s test split", numbers.len(), set.name),
        );
        let (staged, mut said) = (place.staged()?, Vec::new());
        for level in levels {
            let name = model.levels()[level].name.clone();
            let to = staged.path().join(&name);
            let (survey, inspection) =
                self.level(global, &model, level, &set, &pictures, &groups, &to)?;
            said.push((survey, inspection, base.join(name)));
        }
        staged.put(&old)?;
        said.iter()
            .for_each(|(survey, inspection, out)| self.report(global, survey, inspection, out));
        Ok(CommandStatus::Done)
    }

    /// Inspects a level, and writes its page.
    fn level(
        &self,
        global: &Global,
        model: &FirstStageModel,
        level: usize,
        set: &ImageSet,
        pictures: &[u8],
        groups: &[u64],
        out: &Path,
    ) -> Result<(Survey, Inspection)> {
        let (bytes, of) = (set.image_bytes(), model.levels()[level].clone());
        let (count, dim) = (pictures.len() / bytes, model.quantizer_of(level).dim());
        let survey = model.survey(level, pictures, groups, NEAREST)?;
        let which = if of.name.is_empty() {
            String::new()
        } else {
            format!("{} level: ", of.name)
        };
        output::note(global, &format!("{which}codes, their patches and vectors"));
        let vectors = vectors(model, &survey)?;
        let company = mean_offsets(&vectors, &survey, dim);
        let book = |b: usize| book(model, &survey, b, &vectors[b], &company[b], pictures);
        let books = (0..of.codebooks.min(BOOKS))
            .map(book)
            .collect::<Result<Vec<_>>>()?;
        let changed = spread(pictures, bytes, CHANGED);
        let n = changed.len() / bytes;
        output::note(
            global,
            &format!("{which}what survives noise and gradient signs, on {n} images"),
        );
        let robustness = model.robustness(level, &changed, self.seed)?;
        let originals = spread(pictures, bytes, SHOWN);
        let codes = model.to_codes(&originals, vec![String::new(); originals.len() / bytes])?;
        let (reconstructions, own) = (model.decode(&codes.indices)?, codes.of_level(level));
        let inspection = Inspection {
            run: name_of(&self.run),
            quantizer: model.quantizer_of(level).name().to_owned(),
            data: (set.name.clone(), count),
            shape: shape(model),
            level: of.name,
            grid: of.grid,
            dim,
            codebooks: of.codebooks,
            books,
            cells: SWATCH,
            nearest: NEAREST,
            shown: (originals, reconstructions, own),
            robustness,
        };
        let files = inspection.files()?;
        std::fs::create_dir_all(out)
            .map_err(|e| Error::file(out, format!("cannot be made: {e}")))?;
        for (name, bytes) in &files {
            atomic::write(&out.join(name), bytes)?;
        }
        Ok((survey, inspection))
    }

    fn report(&self, global: &Global, survey: &Survey, inspection: &Inspection, out: &Path) {
        let usages: Vec<_> = survey.counts.iter().map(|c| code_usage(c)).collect();
        let outcomes = &inspection.robustness.outcomes;
        let page = out.join("index.html");
        if global.json {
            let books: Vec<_> = usages
                .iter()
                .map(|u| {
                    serde_json::json!({
                        "codes": u.codes, "used": u.used, "perplexity": u.perplexity,
                        "entropy_bits": entropy_bits(u),
                    })
                })
                .collect();
            let survival: Vec<_> = outcomes
                .iter()
                .map(|o| {
                    serde_json::json!({
                        "perturbation": o.by.name(), "strength": o.strength,
                        "surviving": o.surviving, "surviving_by_codebook": o.by_book,
                        "latents_drift": o.latents, "quantized_drift": o.quantized,
                    })
                })
                .collect();
            let line = serde_json::json!({
                "run": output::shown(&self.run), "level": inspection.level,
                "quantizer": inspection.quantizer, "images": inspection.data.1, "codebooks": books,
                "robustness": survival, "page": output::shown(&page),
            });
            json::print("inspect", &line);
            return;
        }
        let level = if inspection.level.is_empty() {
            String::new()
        } else {
            format!("{} level: ", inspection.level)
        };
        for (i, u) in usages.iter().enumerate() {
            let book = if usages.len() > 1 {
                format!("codebook {}: ", i + 1)
            } else {
                String::new()
            };
            let which = format!("{level}{book}");
            let (used, codes, perplexity, bits) = (u.used, u.codes, u.perplexity, entropy_bits(u));
            output::result(&format!(
                "{which}{used} of {codes} codes used, perplexity {perplexity:.1}, entropy \
                 {bits:.2} bits"
            ));
        }
        let (head, rows) = robustness::table(outcomes);
        output::result(&aligned(&head, &rows));
        output::result(&format!("page: {}", page.display()));
    }
}

/// Returns the name of a run: that of its folder.
pub fn name_of(run: &Path) -> String {
    let folder = folder_of(run);
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map_or_else(
        || folder.display().to_string(),
        |n| n.to_string_lossy().into_owned(),
    )
}

pub fn shape(model: &FirstStageModel) -> Shape {
    let [width, height, channels] = model.image();
    Shape {
        width,
        height,
        channels,
    }
}

/// Returns a model's own data set or another, brought to the model's size.
pub fn open(run: &Path, model: &FirstStageModel, other: Option<&str>) -> Result<ImageSet> {
    let [width, height, channels] = model.image();
    let own = model.config().data.options();
    let options = data::Options {
        size: Some((width, height)),
        channels: Some(channels),
        ..own
    };
    pictures::open(run, &pictures::source_of(run, model), other, &options)
}

/// Returns at most `most` images of the test split, spread over it.
pub fn chosen(set: &ImageSet, most: usize) -> Result<Vec<u32>> {
    let n = set.test.len().min(most);
    if n == 0 {
        return Err(Error::data(format!(
            "the data set `{}` holds no images out for the test; add images",
            set.name
        )));
    }
    Ok(data::spread(&set.test, n))
}

/// Returns at most `most` of images of `bytes` each, spread over them.
fn spread(pictures: &[u8], bytes: usize, most: usize) -> Vec<u8> {
    let have = pictures.len() / bytes.max(1);
    let n = have.min(most);
    (0..n)
        .flat_map(|i| pictures[i * have / n * bytes..][..bytes].iter().copied())
        .collect()
}

/// Returns the quantized latents of the codes of each codebook, the most used first, while the
/// other codebooks stay at their most used code.
pub fn vectors(model: &FirstStageModel, survey: &Survey) -> Result<Vec<Vec<f32>>> {
    let books = survey.counts.len();
    let usual: Vec<u32> = (0..books)
        .map(|b| survey.most_used(b, 1).first().copied().unwrap_or(0))
        .collect();
    let of = |book: usize| {
        let with = |code: u32| {
            let mut all = usual.clone();
            all[book] = code;
            all
        };
        let codes: Vec<u32> = survey
            .most_used(book, MAPPED)
            .into_iter()
            .flat_map(with)
            .collect();
        model.code_vectors(survey.level, &codes)
    };
    (0..books).map(of).collect()
}

/// Returns, by codebook, the vector from the other codebooks' most used codes to their mean: the
/// codebooks' parts of a latent add up (residual) or lie side by side (product), and whatever maps
/// them onwards is linear.
fn mean_offsets(vectors: &[Vec<f32>], survey: &Survey, dim: usize) -> Vec<Vec<f32>> {
    let to_mean = |book: usize| -> Vec<f64> {
        let order = survey.most_used(book, MAPPED);
        let counts = order
            .iter()
            .map(|code| survey.counts[book][*code as usize] as f64);
        let total = counts.clone().sum::<f64>().max(1.0);
        let mut sum = vec![0.0; dim];
        for (row, count) in vectors[book].chunks(dim).zip(counts) {
            let change = row
                .iter()
                .zip(&vectors[book][..dim])
                .map(|(v, usual)| f64::from(*v) - f64::from(*usual));
            sum.iter_mut()
                .zip(change)
                .for_each(|(sum, change)| *sum += change * count / total);
        }
        sum
    };
    let changes: Vec<Vec<f64>> = (0..vectors.len()).map(to_mean).collect();
    let of = |book: usize| -> Vec<f32> {
        let others = |i: usize| {
            changes
                .iter()
                .enumerate()
                .filter(|(b, _)| *b != book)
                .map(|(_, c)| c[i])
                .sum::<f64>()
        };
        (0..dim).map(|i| others(i) as f32).collect()
    };
    (0..vectors.len()).map(of).collect()
}

/// Computes the pictures of one codebook.
fn book(
    model: &FirstStageModel,
    survey: &Survey,
    book: usize,
    vectors: &[f32],
    company: &[f32],
    pictures: &[u8],
) -> Result<CodebookInspection> {
    let (shape, [_, columns]) = (shape(model), model.levels()[survey.level].grid);
    let order = survey.most_used(book, MAPPED);
    let shown = vectors.chunks(company.len()).take(DECODED);
    let shown: Vec<f32> = shown
        .flat_map(|v| v.iter().zip(company).map(|(a, b)| a + b))
        .collect();
    let tiles = model.swatches(survey.level, &shown, &survey.means)?;
    let bytes = shape.width * shape.height * shape.channels;
    let cell = shape.width / columns.max(1);
    // At least one row, even of a codebook that nothing took.
    let used = order
        .iter()
        .take(PATCHED)
        .filter(|code| survey.counts[book][**code as usize] > 0)
        .count()
        .max(1);
    let patches = order[..used.min(order.len())]
        .iter()
        .map(|code| {
            let mut tiles = Vec::new();
            for found in survey.nearest.of(book, *code) {
                let image = &pictures[found.image * bytes..][..bytes];
                let (row, column) = (found.position / columns, found.position % columns);
                tiles.extend(patches::cut(image, shape, cell, SWATCH, row, column)?);
            }
            Ok(tiles)
        })
        .collect::<Result<Vec<Vec<u8>>>>()?;
    Ok(CodebookInspection {
        counts: survey.counts[book].clone(),
        order,
        tiles,
        vectors: vectors.to_vec(),
        patches,
    })
}

/// Returns a table in columns for a terminal: the first to the left, the rest to the right.
fn aligned(head: &[String], rows: &[Vec<String>]) -> String {
    let lines: Vec<&[String]> = std::iter::once(head)
        .chain(rows.iter().map(Vec::as_slice))
        .collect();
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|l| l.get(column))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let line = |cells: &[String]| -> String {
        let cell = |(i, c): (usize, &String)| {
            let w = width(i);
            if i == 0 {
                format!("{c:<w$}")
            } else {
                format!("  {c:>w$}")
            }
        };
        cells
            .iter()
            .enumerate()
            .map(cell)
            .collect::<String>()
            .trim_end()
            .to_owned()
    };
    lines.iter().map(|l| line(l)).collect::<Vec<_>>().join("\n")
}
