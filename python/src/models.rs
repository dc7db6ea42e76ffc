//! The models of a run, loaded as they are asked for, and what they draw.

use crate::observer::Interrupt;
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use wgvq::codes::tokenizer::Tokenizer;
use wgvq::inference::texts::{load_judge, read_prompt, text_reader};
use wgvq::inference::{
    Condition, ContrastiveModel, FirstStageModel, Hierarchy, KnownCodes, SampleRequest, Samples,
    SamplingOptions,
};
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::{Error, Result, memory};

/// A first stage of a run, and its priors and what reads and judges texts once they are asked for.
pub struct Models {
    gpu: wgvq::gpu::Gpu,
    run: PathBuf,
    pub first: FirstStageModel,
    priors: Option<Hierarchy>,
    /// The tokenizer of texts, and their layout.
    reader: Option<(Tokenizer, Text)>,
    judge: Option<ContrastiveModel>,
}

impl Models {
    pub fn load(gpu: &wgvq::gpu::Gpu, run: &Path) -> Result<Models> {
        Ok(Models {
            first: FirstStageModel::load(gpu, run)?,
            gpu: gpu.clone(),
            run: run.to_owned(),
            priors: None,
            reader: None,
            judge: None,
        })
    }

    /// Returns the run's folder, which may be named by the model's file.
    pub fn folder(&self) -> &Path {
        if self.run.is_dir() {
            &self.run
        } else {
            self.run.parent().unwrap_or(&self.run)
        }
    }

    pub fn priors(&mut self) -> Result<(&FirstStageModel, &Hierarchy)> {
        if self.priors.is_none() {
            self.priors = Some(Hierarchy::load(&self.gpu, &self.run, &self.first)?);
        }
        let priors = self.priors.as_ref();
        Ok((
            &self.first,
            priors.ok_or_else(|| Error::data("the run has no prior"))?,
        ))
    }

    /// Checks that so many images may be drawn.
    pub fn check(&self, n: usize) -> Result<()> {
        if n == 0 || n > 1 << 20 {
            let what = format!("{n} images: from 1 to 2^20 can be drawn");
            return Err(Error::config("the argument `n`", what));
        }
        let [width, height, channels] = self.first.image();
        let codes = memory::product(&[n, self.first.codes_per_image(), 8]);
        let pixels = memory::product(&[n, width, height, channels, 3]);
        let asked = codes.and_then(|codes| codes.checked_add(pixels?));
        let what = format!("{n} images of {width} x {height} x {channels}");
        memory::check_available(what, asked)
    }

    /// Draws codes in a way that Ctrl-C ends, and decodes them.
    pub fn draw(
        &mut self,
        interrupt: &Interrupt,
        request: impl FnOnce(&Hierarchy) -> Result<Request>,
    ) -> Result<(Vec<u8>, Samples)> {
        let own = request(self.priors()?.1)?;
        self.check(own.classes.len())?;
        let (first, priors) = self.priors()?;
        let request = SampleRequest {
            known: KnownCodes {
                codes: &own.codes,
                places: &own.places,
            },
            options: own.options,
            ..SampleRequest::new(&own.classes)
        };
        let samples = priors.sample(&request, &mut |_, _| interrupt.look())?;
        Ok((first.decode(&samples.codes)?, samples))
    }

    /// Draws images of texts, so many of each, and orders those of a text by what the contrastive
    /// model says of them where that is asked for.
    pub fn draw_texts(
        &mut self,
        interrupt: &Interrupt,
        asked: &OfTexts,
        options: SamplingOptions,
        notes: &mut Vec<String>,
    ) -> Result<(Vec<u8>, Samples, Option<Vec<f32>>)> {
        let each = asked.candidates.unwrap_or(asked.n);
        if asked.n == 0 || each < asked.n || each > 1 << 16 {
            let what = format!(
                "{} images of {each} candidates: from 1, and at most as many as are drawn, up to \
                 65536",
                asked.n
            );
            return Err(Error::config("--n", what));
        }
        self.check(asked.texts.len().saturating_mul(each))?;
        self.priors()?;
        let folder = self.folder().to_owned();
        let ([width, height, channels], codes) = (self.first.image(), self.first.codes_per_image());
        let Models {
            gpu,
            first,
            priors: Some(priors),
            reader,
            judge,
            ..
        } = self
        else {
            return Err(Error::data("the run has no prior"));
        };
        if reader.is_none() {
            *reader = Some(text_reader(&folder, priors)?);
        }
        let Some((tokenizer, text)) = reader else {
            return Err(Error::data("the run has no tokenizer of texts"));
        };
        let rerank = asked.rerank || asked.candidates.is_some();
        if rerank && judge.is_none() {
            *judge = Some(load_judge(gpu, &folder, tokenizer)?);
        }
        if !matches!(text.form, TextFormat::Tokens(_)) {
            let what = "the run's prior reads embeddings: draw from it by `wgvq text2image sample`";
            return Err(Error::config("--texts", what));
        }
        let mut note = |words: &str| notes.push(words.to_owned());
        let read = |prompt: &String| read_prompt(prompt, tokenizer, text, asked.strict, &mut note);
        let ids = asked.texts.iter().map(read).collect::<Result<Vec<_>>>()?;
        let places = || (0..ids.len()).flat_map(|p| std::iter::repeat_n(p, each));
        let all = Texts::of_tokens(text, &ids)?.gather(places());
        let none = vec![priors.info().vocabulary.no_class(); all.lengths.len()];
        let request = SampleRequest {
            options,
            ..SampleRequest::new(Condition {
                classes: &none,
                texts: Some(&all),
            })
        };
        let mut samples = priors.sample(&request, &mut |_, _| interrupt.look())?;
        let pixels = first.decode(&samples.codes)?;
        let Some(judge) = judge.as_ref().filter(|_| rerank) else {
            return Ok((pixels, samples, None));
        };
        let own: Vec<&Vec<u32>> = places().map(|p| &ids[p]).collect();
        let own = Texts::of_tokens(judge.text(), &own)?;
        let scores = judge.score(&pixels, &own)?;
        let kept: Vec<usize> = (0..ids.len())
            .flat_map(|p| {
                let mut order: Vec<usize> = (p * each..(p + 1) * each).collect();
                // Equal scores stay in their order.
                order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                order.truncate(asked.n);
                order
            })
            .collect();
        let pixels = gather(&pixels, width * height * channels, &kept);
        samples.codes = gather(&samples.codes, codes, &kept);
        samples.log_likelihood = gather(&samples.log_likelihood, 1, &kept);
        samples.passes = gather(&samples.passes, 1, &kept);
        Ok((pixels, samples, Some(gather(&scores, 1, &kept))))
    }
}

/// Returns some of the rows of so many values.
fn gather<T: Copy>(values: &[T], each: usize, rows: &[usize]) -> Vec<T> {
    let row = |i: &usize| values[i * each..(i + 1) * each].iter().copied();
    rows.iter().flat_map(row).collect()
}

/// Images that are asked for of texts.
#[derive(FromPyObject)]
pub struct OfTexts {
    #[pyo3(item)]
    texts: Vec<String>,
    /// Images of each text.
    #[pyo3(item)]
    n: usize,
    #[pyo3(item)]
    rerank: bool,
    /// Images of each text that are drawn, of which the best `n` stay.
    #[pyo3(item)]
    candidates: Option<usize>,
    #[pyo3(item)]
    strict: bool,
}

/// A request that owns what it speaks of.
pub struct Request {
    pub classes: Vec<u32>,
    pub codes: Vec<u32>,
    pub places: Vec<bool>,
    pub options: SamplingOptions,
}
