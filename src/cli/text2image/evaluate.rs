//! `wgvq text2image evaluate`: images drawn of captions held out, judged by the contrastive model,
//! over a range of guidance.

use super::sample::{load, sample_texts};
use crate::cli::common::json;
use crate::cli::common::place::Place;
use crate::cli::common::{output, pictures};
use crate::cli::prior::sampling::SamplingArgs;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::config::run::Crop;
use wgvq::data::spread;
use wgvq::inference::retrieval::Retrieval;
use wgvq::inference::texts::load_judge;
use wgvq::models::text::TextFormat;
use wgvq::report::grid::Shape;
use wgvq::report::samples::headed_rows;
use wgvq::report::sweep::{Legend, Series, lines as curves};
use wgvq::storage::{atomic, table};
use wgvq::text2image::{captioned, read_rows, tokens};
use wgvq::{Error, Result};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq text2image evaluate runs/hearts --n 256 --sweep 1,2,3,4,5")]
pub struct Evaluate {
    /// The run, with a contrastive model
    pub run: PathBuf,
    /// Where the images lie that the prior was trained on, if they were moved since
    #[arg(long, value_name = "FILE|DIR|NAME")]
    data: Option<String>,
    /// Captions held out of which an image each is drawn, spread over them; 0 is all
    #[arg(long, default_value_t = 256)]
    n: usize,
    /// Images among which each finds its text
    #[arg(long, default_value_t = 64)]
    pool: usize,
    /// Guidances to draw with
    #[arg(
        long,
        value_name = "G,..",
        value_delimiter = ',',
        default_values_t = [1.0, 2.0, 3.0, 4.0, 5.0]
    )]
    sweep: Vec<f32>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The folder of evaluation.csv, evaluation.png and evaluation-samples.png; without,
    /// RUN/report
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
}

/// Captions whose images the picture shows.
const SHOWN: usize = 12;

/// Files that it writes.
const FILES: [&str; 3] = ["evaluation.csv", "evaluation.png", "evaluation-samples.png"];

/// One line of the table.
struct Line {
    name: String,
    guidance: Option<f32>,
    found: Retrieval,
    score: f64,
}

impl Evaluate {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        self.sampling.without_guidance("--sweep")?;
        let options = self.sampling.options()?;
        if self.sweep.iter().any(|g| !g.is_finite()) || self.sweep.is_empty() || self.pool < 2 {
            return Err(Error::config(
                "--sweep",
                "takes finite numbers, and --pool at least 2",
            ));
        }
        let place = Place::folder(global, &self.out())?;
        place.holds_none(FILES, self.overwrite)?;
        let gpu = global.gpu()?;
        let models = load(&gpu, &self.run)?;
        let judge = load_judge(&gpu, &self.run, &models.tokenizer)?;
        let mut data = models.first.config().data.clone();
        let [width, height, channels] = models.first.image();
        (data.width, data.height, data.channels) = (width, height, channels);
        data.crop = Crop::None;
        let info = models.priors.info();
        let own = pictures::first_there(&info.data, pictures::source_of(&self.run, &models.first));
        let mut set = pictures::open(&self.run, &own, self.data.as_deref(), &data.options())?;
        // As the prior saw them: those without a caption count for neither.
        captioned(&mut set, &mut |text| output::note(global, text))?;
        if !set.is_of_sum(&info.data_sha256) {
            let what = format!(
                "are not as they were when the prior was trained on them at `{}`, and what was \
                 held out then may not be now: say by --data where those lie",
                info.data
            );
            return Err(Error::data(format!("the images of {} {what}", set.name)));
        }
        let all = set.test.len();
        let n = if self.n == 0 { all } else { self.n.min(all) };
        let numbers = spread(&set.test, n);
        let (read, _) = tokens(&set, &models.tokenizer, judge.text())?;
        let places = numbers.iter().map(|i| *i as usize);
        let judged = read.gather(places.clone());
        let request = match models.text.form {
            TextFormat::Rows(_) => read_rows(&set, &models.text, &numbers)?,
            TextFormat::Tokens(_) => {
                let (texts, _) = tokens(&set, &models.tokenizer, &models.text)?;
                texts.gather(places.clone())
            }
        };
        let real = set.gather(&numbers)?;
        let measure = |name: &str, guidance, pixels: &[u8], texts: &_| -> Result<Line> {
            let found = judge.retrieval(pixels, texts, self.pool)?;
            let scores = judge.score(pixels, texts)?;
            let score = scores.iter().map(|s| f64::from(*s)).sum::<f64>() / scores.len() as f64;
            Ok(Line {
                name: name.into(),
                guidance,
                found,
                score,
            })
        };
        // Each image with the text of another: half the set away.
        let away = read.gather((0..n).map(|i| numbers[(i + n.div_ceil(2)) % n] as usize));
        let codes = models.first.encode(&real)?;
        let kept = models.first.decode(&codes)?;
        let mut lines = vec![
            measure("real images", None, &real, &judged)?,
            measure(
                "real images, as the first stage keeps them",
                None,
                &kept,
                &judged,
            )?,
        ];
        // What the first captions give: a row to each, the real image and what is kept of it before
        // what is drawn.
        let shown = SHOWN.min(n);
        let bytes = shown * width * height * channels;
        let mut columns = vec![real[..bytes].to_vec(), kept[..bytes].to_vec()];
        for guidance in &self.sweep {
            let mut own = options;
            own.sampling.guidance = Some(*guidance).filter(|g| *g != 1.0);
            let Some(samples) = sample_texts(global, &models.priors, &request, &own)? else {
                return Ok(CommandStatus::Abandoned);
            };
            let pixels = models.first.decode(&samples.codes)?;
            columns.push(pixels[..bytes].to_vec());
            lines.push(measure("drawn", Some(*guidance), &pixels, &judged)?);
            if *guidance == self.sweep[0] {
                lines.push(measure(
                    "drawn, held against another's text",
                    Some(*guidance),
                    &pixels,
                    &away,
                )?);
            }
        }
        let size = width * height * channels;
        let row = |i: usize| {
            columns
                .iter()
                .flat_map(move |c| c[i * size..][..size].iter().copied())
        };
        let pictures: Vec<u8> = (0..shown).flat_map(row).collect();
        let caption = |i: &u32| {
            set.items[*i as usize]
                .caption
                .as_deref()
                .unwrap_or_default()
        };
        let labels: Vec<&str> = numbers.iter().take(shown).map(caption).collect();
        let shape = Shape {
            width,
            height,
            channels,
        };
        let drawn = self
            .sweep
            .iter()
            .map(|guidance| format!("guidance {guidance}"));
        let headings: Vec<String> = ["real", "kept of it"]
            .map(str::to_owned)
            .into_iter()
            .chain(drawn)
            .collect();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let grid = headed_rows(&pictures, shape, &headings, &labels, 64)?.png()?;
        self.report(global, &lines, &grid, &place)
    }

    fn out(&self) -> PathBuf {
        self.out
            .clone()
            .unwrap_or_else(|| pictures::folder_of(&self.run).join("report"))
    }

    fn report(
        &self,
        global: &Global,
        lines: &[Line],
        grid: &[u8],
        place: &Place,
    ) -> Result<CommandStatus> {
        let (staged, [figures, curve, samples]) = (place.staged()?, FILES);
        let at = |name: &str| staged.path().join(name);
        let header = "images,guidance,texts_found,images_found,mean_cosine,pool,count,by_chance";
        let mut rows: Vec<Vec<String>> = vec![header.split(',').map(str::to_owned).collect()];
        for Line {
            name,
            guidance,
            found,
            score,
        } in lines
        {
            let g = guidance.map_or(String::new(), |g| g.to_string());
            let Retrieval {
                texts,
                images,
                chance,
                pool,
                count,
                ..
            } = found;
            let numbers = [
                format!("{texts:.4}"),
                format!("{images:.4}"),
                format!("{score:.4}"),
                format!("{pool:.1}"),
                count.to_string(),
                format!("{chance:.4}"),
            ];
            rows.push([name.to_string(), g].into_iter().chain(numbers).collect());
            if global.json {
                let line = serde_json::json!({
                    "images": name, "guidance": guidance, "texts_found": texts,
                    "images_found": images, "mean_cosine": score,
                    "pool": pool, "count": count, "by_chance": chance,
                });
                json::print("text2image-evaluate", &line);
            } else {
                let g = guidance.map_or(String::new(), |g| format!(", guidance {g}"));
                output::result(&format!(
                    "{name}{g}: {:.1} % find their text among {pool:.0} (by chance {:.1} %), \
                     cosine {score:.3}",
                    100.0 * texts,
                    100.0 * chance
                ));
            }
        }
        atomic::write(&at(figures), table::csv(rows).as_bytes())?;
        let drawn: Vec<&Line> = lines.iter().filter(|l| l.name == "drawn").collect();
        let points: Vec<(f64, f64)> = drawn
            .iter()
            .filter_map(|l| Some((f64::from(l.guidance?), 100.0 * l.found.texts)))
            .collect();
        let flat = |y: f64| points.iter().map(|(x, _)| (*x, y)).collect::<Vec<_>>();
        let pool = lines[0].found.pool;
        let series = [
            Series::new("drawn", points.clone()),
            Series::new("real images", flat(100.0 * lines[0].found.texts)),
            Series::new("by chance", flat(100.0 * lines[0].found.chance)),
        ];
        let title = format!("Images that find their text among {pool:.0}, in per cent");
        let said = format!("{} captions held out", lines[0].found.count);
        let chart = curves(
            [&title, &said, "guidance"],
            &series,
            Legend::Column,
            720,
            420,
        )?;
        atomic::write(&at(curve), &chart.png()?)?;
        atomic::write(&at(samples), grid)?;
        staged.put(&[])?;
        output::note(
            global,
            &format!(
                "table, chart, and images of {SHOWN} captions: {}",
                self.out().display()
            ),
        );
        Ok(CommandStatus::Done)
    }
}
