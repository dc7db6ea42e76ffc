//! `wgvq text2image sample`: images of texts.

use crate::cli::common::apart::apart;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::prior::sampling::{
    SamplesFolder, SamplingArgs, check_memory, sample, tell_of_grid,
};
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::codes::tokenizer::Tokenizer;
use wgvq::gpu::Gpu;
use wgvq::inference::texts::{load_judge, read_embedding, read_prompt, text_reader};
use wgvq::inference::{
    Condition, FirstStageModel, Hierarchy, SampleRequest, Samples, SamplingOptions,
};
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::report::grid::Shape;
use wgvq::report::samples::{rows, rows_that_fit};
use wgvq::text::one_line;
use wgvq::text::slug;
use wgvq::{Error, Result, files};

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq text2image sample emoji32 \"a red heart\"    # by a model of the program
  wgvq text2image sample runs/hearts \"a red heart\" --n 16 --guidance 3 --seed 1 --rerank
  wgvq text2image sample runs/hearts --prompts prompts.txt --n 8 --out many")]
pub struct Sample {
    /// The run, or a name that `wgvq get` lists
    pub run: PathBuf,
    /// Texts to draw; several make a row of the grid each
    prompt: Vec<String>,
    /// A file with a prompt on each line
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// A text as an encoder from elsewhere made it, .npy or safetensors, for a model that reads
    /// such; may be repeated
    #[arg(long, value_name = "FILE", conflicts_with = "prompts")]
    embedding: Vec<PathBuf>,
    /// Images of each prompt
    #[arg(long, default_value_t = 8)]
    n: usize,
    /// Order the images of a prompt by what the contrastive model thinks of them, the best first
    #[arg(long)]
    rerank: bool,
    /// Draw so many of each prompt, of which the best --n stay; implies --rerank
    #[arg(long, value_name = "N")]
    candidates: Option<usize>,
    /// A prompt that is too long, or has characters that no caption had, is an error
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// The folder: grid.png, samples.json, and a PNG for each image
    #[arg(long, default_value = "samples")]
    out: PathBuf,
    /// Replace the samples that the folder holds
    #[arg(long)]
    overwrite: bool,
}

/// The three models of a run.
pub struct Models {
    pub first: FirstStageModel,
    pub priors: Hierarchy,
    pub tokenizer: Tokenizer,
    /// Layout of the texts that the priors read.
    pub text: Text,
}

/// Loads a run.
pub fn load(gpu: &Gpu, run: &Path) -> Result<Models> {
    let first = FirstStageModel::load(gpu, run)?;
    let priors = Hierarchy::load(gpu, run, &first)?;
    let (tokenizer, text) = text_reader(run, &priors)?;
    Ok(Models {
        first,
        priors,
        tokenizer,
        text,
    })
}

/// Samples an image of each text, with a bar. `None` if the user stopped it.
pub fn sample_texts(
    global: &Global,
    priors: &Hierarchy,
    texts: &Texts,
    options: &SamplingOptions,
) -> Result<Option<Samples>> {
    let none = vec![priors.info().vocabulary.no_class(); texts.lengths.len()];
    let request = SampleRequest {
        options: *options,
        ..SampleRequest::new(Condition {
            classes: &none,
            texts: Some(texts),
        })
    };
    sample(global, priors, &request)
}

/// Characters of a prompt in the names of its images: at most 160 bytes of the 255 that file
/// systems allow.
const NAMED: usize = 40;
/// Columns of the grid of one prompt's images.
const COLUMNS: usize = 8;
/// Pixels of the longer side of an image there.
const TILE: usize = 96;

/// Checks that each embedding has its prompt, where there are prompts or they are needed: of those
/// that are drawn by embeddings, a prompt is the name, and what the contrastive model reads.
///
/// # Errors
/// If some would be passed over, or are missing.
fn check_embeddings(embeddings: usize, prompts: usize, rerank: bool) -> Result<()> {
    if embeddings == 0 || prompts == embeddings || prompts == 0 && !rerank {
        return Ok(());
    }
    let why = if rerank {
        "the contrastive model judges by prompts: give one for each, in their order, or leave \
         --rerank and --candidates out"
    } else {
        "prompts name what is drawn: give one for each, in their order, or none"
    };
    let what = format!("names {embeddings} files, with {prompts} prompts; {why}");
    Err(Error::config("--embedding", what))
}

impl Sample {
    fn prompts(&self) -> Result<Vec<String>> {
        let mut prompts: Vec<String> = self
            .prompt
            .iter()
            .map(|prompt| prompt.replace('\u{feff}', ""))
            .collect();
        if let Some(path) = &self.prompts {
            let text = files::read_text(path, files::LIST)?;
            prompts.extend(text.lines().map(one_line).filter(|l| !l.is_empty()));
        }
        Ok(prompts)
    }

    /// Returns the texts, as the priors read them, and their names in the grid.
    fn texts(&self, global: &Global, models: &Models) -> Result<(Texts, Vec<String>)> {
        let prompts = self.prompts()?;
        match models.text.form {
            TextFormat::Tokens(_) if !self.embedding.is_empty() => Err(Error::config(
                "--embedding",
                "the run's prior reads texts, not embeddings: give a prompt",
            )),
            TextFormat::Tokens(_) if prompts.is_empty() => Err(Error::config(
                "the prompt",
                "is missing: say what is to be seen",
            )),
            TextFormat::Tokens(_) => {
                let one = |p: &String| {
                    let note = &mut |text: &str| output::note(global, text);
                    read_prompt(p, &models.tokenizer, &models.text, self.strict, note)
                };
                let ids = prompts.iter().map(one).collect::<Result<Vec<_>>>()?;
                Ok((Texts::of_tokens(&models.text, &ids)?, prompts))
            }
            TextFormat::Rows(channels) => {
                if self.embedding.is_empty() {
                    let what = format!(
                        "is needed: the run's prior reads embeddings of {channels} channels"
                    );
                    return Err(Error::config("--embedding", what));
                }
                let rows = self
                    .embedding
                    .iter()
                    .map(|path| read_embedding(path, channels));
                let texts = Texts::of_rows(&models.text, &rows.collect::<Result<Vec<_>>>()?)?;
                let named = |(i, path): (usize, &PathBuf)| {
                    prompts.get(i).cloned().unwrap_or_else(|| {
                        path.file_stem()
                            .unwrap_or_default()
                            .to_string_lossy()
                            .into_owned()
                    })
                };
                Ok((
                    texts,
                    self.embedding.iter().enumerate().map(named).collect(),
                ))
            }
        }
    }

    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let options = self.sampling.options()?;
        let each = self.candidates.unwrap_or(self.n);
        if self.n == 0 || each < self.n || each > 1 << 16 {
            let what = format!(
                "{} images of {each} candidates: from 1, and at most as many as are drawn, up to \
                 65536",
                self.n
            );
            return Err(Error::config("--n", what));
        }
        let rerank = self.rerank || self.candidates.is_some();
        check_embeddings(self.embedding.len(), self.prompt.len(), rerank)?;
        let place = Place::folder(global, &self.out)?;
        let gpu = global.gpu()?;
        let models = load(&gpu, &self.run)?;
        let judge = rerank
            .then(|| load_judge(&gpu, &self.run, &models.tokenizer))
            .transpose()?;
        let (texts, prompts) = self.texts(global, &models)?;
        check_memory(
            &models.first,
            &models.priors,
            prompts.len().saturating_mul(each),
        )?;
        let name = |p: usize, i: usize| {
            let words: String = slug(&prompts[p]).chars().take(NAMED).collect();
            match words.trim_end_matches('-') {
                "" => format!("{p:03}-{i:03}.png"),
                words => format!("{p:03}-{words}-{i:03}.png"),
            }
        };
        let names: Vec<Vec<String>> = (0..prompts.len())
            .map(|p| (0..self.n).map(|i| name(p, i)).collect())
            .collect();
        let all_names = || SamplesFolder::files(names.iter().flatten());
        place.holds_none(all_names(), self.overwrite)?;
        let written = all_names().map(|name| self.out.join(name));
        apart(self.prompts.iter().chain(&self.embedding), written)?;
        let places = (0..prompts.len()).flat_map(|p| std::iter::repeat_n(p, each));
        let all = texts.gather(places.clone());
        let began = std::time::Instant::now();
        let Some(samples) = sample_texts(global, &models.priors, &all, &options)? else {
            return Ok(CommandStatus::Abandoned);
        };
        let pixels = models.first.decode(&samples.codes)?;
        let seconds = began.elapsed().as_secs_f64();
        let [width, height, channels] = models.first.image();
        let size = width * height * channels;
        // The judge reads the prompt itself, whatever the prior reads.
        let scores = match &judge {
            Some(judge) => {
                let ids = |p: usize| models.tokenizer.encode(&prompts[p]).map(|t| t.ids);
                let own =
                    Texts::of_tokens(judge.text(), &places.map(ids).collect::<Result<Vec<_>>>()?)?;
                Some(judge.score(&pixels, &own)?)
            }
            None => None,
        };
        let (mut kept, mut list) = (Vec::new(), Vec::new());
        for (p, names) in names.iter().enumerate() {
            let mut order: Vec<usize> = (p * each..(p + 1) * each).collect();
            if let Some(scores) = &scores {
                // Equal scores stay in their order.
                order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            }
            for (name, i) in names.iter().zip(order) {
                kept.extend_from_slice(&pixels[i * size..][..size]);
                list.push(serde_json::json!({
                    "image": name, "prompt": prompts[p], "score": scores.as_ref().map(|s| s[i]),
                    "log_likelihood": samples.log_likelihood[i],
                }));
            }
        }
        let columns = self.n.min(COLUMNS);
        let lines = self.n.div_ceil(columns);
        let shape = Shape {
            width,
            height,
            channels,
        };
        let label = |line: usize| {
            if line.is_multiple_of(lines) {
                prompts[line / lines].as_str()
            } else {
                ""
            }
        };
        let drawn = (prompts.len() * lines).min(rows_that_fit(shape, columns, TILE));
        let labels: Vec<&str> = (0..drawn).map(label).collect();
        // Blank ends of the prompts' last rows are no images.
        let whole = drawn / lines * self.n + (drawn % lines * columns).min(self.n);
        tell_of_grid(global, whole, list.len());
        // A prompt begins a row of its own.
        let blank = vec![255u8; (lines * columns - self.n) * size];
        let mut padded = Vec::new();
        for row in kept.chunks(self.n * size).take(drawn.div_ceil(lines)) {
            padded.extend_from_slice(row);
            padded.extend_from_slice(&blank);
        }
        padded.truncate(drawn * columns * size);
        let folder = SamplesFolder {
            place: &place,
            folder: &self.out,
        };
        folder.write(
            names.iter().flatten().zip(kept.chunks(size)),
            shape,
            &rows(&padded, shape, columns, &labels, TILE)?.png()?,
            &serde_json::json!({ "images": list }),
        )?;
        folder.report(global, list.len(), &samples, seconds, None);
        Ok(CommandStatus::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::check_embeddings;

    #[test]
    fn embeddings_have_a_prompt_each_or_none_has() {
        for (embeddings, prompts, rerank) in [(0, 3, true), (2, 2, true), (2, 0, false)] {
            check_embeddings(embeddings, prompts, rerank).unwrap();
        }
        for (embeddings, prompts, rerank) in [(2, 0, true), (2, 3, false), (2, 1, false)] {
            let said = check_embeddings(embeddings, prompts, rerank).unwrap_err();
            let said = said.to_string();
            assert!(
                said.contains("--embedding") && said.contains("one for each"),
                "{said}"
            );
        }
    }
}
