//! A trained prior, read back from its run to draw codes.

use crate::autograd::Tape;
use crate::codes::tokens::{About, Tokens};
use crate::config::Resolved;
use crate::config::prior::PriorConfig;
use crate::gpu::command::in_flight::{InFlight, STEPS_IN_FLIGHT};
use crate::gpu::{DType, Gpu, Readback, Tensor};
use crate::inference::Trained;
use crate::inference::Underway;
use crate::inference::prior_measure::{Told, build, measure};
use crate::inference::session::Images;
use crate::inference::tokenize::vocabulary;
use crate::models::prior::{Prior, Vocabulary};
use crate::models::text::Texts;
use crate::nn::transformer::Dropout;
use crate::nn::{Parameters, Pass};
use crate::ops::sampling::random::Key;
use crate::ops::sampling::repetition;
use crate::ops::sampling::repetition::Columns;
use crate::ops::sampling::sample::{Drawn, Sampling, sample};
use crate::storage::checkpoint;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::weights;
use crate::{Error, Result};
use std::path::Path;

/// A trained prior.
pub struct TrainedPrior {
    pub(crate) gpu: Gpu,
    config: Resolved<PriorConfig>,
    pub(crate) about: About,
    pub(crate) prior: Prior,
    pub(crate) params: Parameters,
}

/// How codes are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// The distribution.
    pub sampling: Sampling,
    /// The penalty on codes that an image has already, of at least 1, which is none; infinite, no
    /// code comes twice. See [`repetition`](crate::ops::sampling::repetition).
    pub repetition_penalty: f32,
    /// Seed of the draws.
    pub seed: u64,
    /// Images drawn at a time. It changes how much memory is taken, and no image.
    pub batch: usize,
    /// Keep keys and values from step to step; without, everything is computed again for each
    /// code.
    pub cache: bool,
}

impl Default for Draw {
    fn default() -> Self {
        Draw {
            sampling: Sampling::default(),
            repetition_penalty: 1.0,
            seed: 0,
            batch: 64,
            cache: true,
        }
    }
}

impl Draw {
    /// Are these usable?
    ///
    /// # Errors
    /// Names the first that is not, and what it may be.
    pub fn check(&self) -> Result<()> {
        self.fault().map_or(Ok(()), |(field, what)| {
            Err(Error::invalid("sample", format!("{field}: {what}")))
        })
    }

    /// The first field that cannot be used, by its name, and what it may be.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let penalty = || {
            let what = "it must be at least 1, which is none; `inf` lets no code come twice";
            let wrong = repetition::check(self.repetition_penalty).is_err();
            wrong.then(|| {
                (
                    "repetition_penalty",
                    format!("{} is not allowed: {what}", self.repetition_penalty),
                )
            })
        };
        let batch = || {
            (self.batch == 0).then(|| {
                (
                    "batch",
                    "0 is not allowed: at least 1 is drawn at a time".into(),
                )
            })
        };
        self.sampling.fault().or_else(penalty).or_else(batch)
    }
}

/// What images are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// A class for each image, or as many as there are for none.
    pub classes: &'a [u32],
    /// A text for each image, where the prior reads texts; without, it is told nothing.
    pub texts: Option<&'a Texts>,
}

impl<'a> From<&'a [u32]> for Asked<'a> {
    fn from(classes: &'a [u32]) -> Self {
        Asked {
            classes,
            texts: None,
        }
    }
}

impl<'a> From<&'a Vec<u32>> for Asked<'a> {
    fn from(classes: &'a Vec<u32>) -> Self {
        Asked {
            classes,
            texts: None,
        }
    }
}

impl<'a, const N: usize> From<&'a [u32; N]> for Asked<'a> {
    fn from(classes: &'a [u32; N]) -> Self {
        Asked {
            classes,
            texts: None,
        }
    }
}

/// Codes that are given, and not drawn.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Codes of each image, [N, A + T]: those of the levels above, then its own; those that are
    /// drawn do not matter.
    pub codes: &'a [u32],
    /// Which of the T are given.
    pub places: &'a [bool],
}

/// What was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    /// Codes, [N, T].
    pub codes: Vec<u32>,
    /// The log-likelihood in nats of what was drawn of each image, under the model without
    /// temperature and filters (but guided and penalised).
    pub log_likelihood: Vec<f32>,
}

/// Codes that are being drawn, on their way to the processor.
pub struct Arriving {
    pub(crate) codes: Readback,
    pub(crate) log_probs: Readback,
    /// A row of the log-probabilities.
    pub(crate) wide: usize,
    pub(crate) images: usize,
}

impl Arriving {
    /// Have they arrived? Never waits.
    pub fn ready(&self) -> bool {
        self.codes.ready() && self.log_probs.ready()
    }

    /// Waits for them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn wait(self) -> Result<Drawing> {
        let (codes, log_probs) = (self.codes.wait()?, self.log_probs.wait::<f32>()?);
        let sum = |n: usize| {
            log_probs
                .iter()
                .skip(n)
                .step_by(self.wide)
                .map(|p| f64::from(*p))
                .sum::<f64>() as f32
        };
        Ok(Drawing {
            codes,
            log_likelihood: (0..self.images).map(sum).collect(),
        })
    }
}

/// Codes of an image that are handed to the device together.
const CODES_TOGETHER: usize = 8;
/// The stream of random numbers that codes are drawn with: "draw".
const DRAW_STREAM: u32 = 0x6472_6177;

impl TrainedPrior {
    /// Loads the prior of a run (`RUN/prior`, or its `final.safetensors`) over the codes of
    /// `model`.
    ///
    /// # Errors
    /// If there is none, it is damaged, or it was trained on another model's codes.
    pub fn load(gpu: &Gpu, path: &Path, model: &Trained) -> Result<TrainedPrior> {
        let file = if path.is_dir() {
            path.join("final.safetensors")
        } else {
            path.to_owned()
        };
        if !file.exists() {
            let run = path.parent().unwrap_or(path).display();
            let what = if path.join("config.toml").exists() {
                format!(
                    "is not there: the prior has not been trained to its end; go on with it by \
                     `wgvq prior {run} --resume`"
                )
            } else {
                format!("is not there: the run has no prior yet; train one by `wgvq prior {run}`")
            };
            return Err(Error::file(&file, what));
        }
        let (checkpoint, _) = checkpoint::load_file(&file)?;
        TrainedPrior::of(gpu, &file, &checkpoint, model)
    }

    /// The prior that the bytes of a model file hold, as [`TrainedPrior::load`] finds it: for those
    /// without files.
    ///
    /// # Errors
    /// As [`TrainedPrior::load`].
    pub fn from_bytes(gpu: &Gpu, bytes: &[u8], model: &Trained) -> Result<TrainedPrior> {
        let name = Path::new("the prior's bytes");
        TrainedPrior::of(gpu, name, &checkpoint::from_bytes(name, bytes)?, model)
    }

    /// The prior that a file holds; `file` names it in errors.
    fn of(
        gpu: &Gpu,
        file: &Path,
        checkpoint: &Checkpoint,
        model: &Trained,
    ) -> Result<TrainedPrior> {
        let at = |e: Error| Error::file(file, e);
        let state = &checkpoint.state["prior"];
        if state.is_null() {
            return Err(Error::file(
                file,
                "is a model file of wgvq, but holds no prior",
            ));
        }
        let damaged = |e: serde_json::Error| {
            Error::file(file, format!("what it says of itself cannot be used: {e}"))
        };
        let config: PriorConfig =
            serde_json::from_value(state["config"].clone()).map_err(damaged)?;
        let about: About = serde_json::from_value(state["tokens"].clone()).map_err(damaged)?;
        let config = config.resolve().map_err(at)?;
        let v = &about.vocabulary;
        let own = Vocabulary {
            text: v.text,
            ..vocabulary(model, about.level(model.levels()).map_err(at)?, v.classes)
        };
        if *v != own {
            let text = |v: &Vocabulary| {
                let [rows, columns] = v.grid;
                format!(
                    "{rows} x {columns} x {} codes of {}",
                    v.codebooks, v.codebook_size
                )
            };
            let what = format!("is a prior of {}, the model's are {}", text(v), text(&own));
            return Err(Error::file(file, what));
        }
        if about.model != model.hash() {
            let what = "was trained on the codes of another model than the run's; train one on \
                        these by `wgvq prior --overwrite`";
            return Err(Error::file(file, what));
        }
        let (prior, params) = build(gpu, &config, &about).map_err(at)?;
        let mut parts = weights::by_prefix(&checkpoint.tensors, &[]).map_err(at)?;
        params
            .load_host(&parts.remove("").unwrap_or_default())
            .map_err(at)?;
        Ok(TrainedPrior {
            gpu: gpu.clone(),
            config,
            about,
            prior,
            params,
        })
    }

    /// A prior with the weights that training would begin with: to measure how fast it draws.
    ///
    /// # Errors
    /// If the configuration makes no model.
    pub fn untrained(
        gpu: &Gpu,
        config: &Resolved<PriorConfig>,
        about: About,
    ) -> Result<TrainedPrior> {
        let (prior, params) = build(gpu, config, &about)?;
        Ok(TrainedPrior {
            gpu: gpu.clone(),
            config: config.clone(),
            about,
            prior,
            params,
        })
    }

    /// The configuration that it was trained under.
    pub fn config(&self) -> &PriorConfig {
        &self.config
    }

    /// What it was trained on.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The model.
    pub fn prior(&self) -> &Prior {
        &self.prior
    }

    /// Mean cross-entropy of the codes of tokens held out, in nats per token, when the model is
    /// told this of each image.
    ///
    /// # Errors
    /// If the tokens are not such as it was trained on, or cannot be read.
    pub fn measure(&self, tokens: &Tokens, told: Told) -> Result<f64> {
        if tokens.about.vocabulary != self.about.vocabulary {
            return Err(Error::data(
                "the tokens are not such as the prior was trained on",
            ));
        }
        let images: Vec<u32> = (0..tokens.test.len() as u32).collect();
        measure(
            &self.prior,
            &self.params,
            &tokens.test,
            &images,
            self.config.train.batch_size,
            told,
        )
    }

    /// Trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.params.count()
    }

    /// Draws the codes of an image for each that is asked for: a class, or a class and a text. What
    /// is drawn of an image follows from the seed and the image's place, not from the others.
    /// `progress` hears of the codes drawn, and of how many there will be; an error of its ends the
    /// drawing.
    ///
    /// # Errors
    /// If an option is out of range, there is no such class, there are other texts than images, or
    /// the device fails.
    pub fn draw<'a>(
        &self,
        asked: impl Into<Asked<'a>>,
        given: Option<Given>,
        how: &Draw,
        progress: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Drawing> {
        let asked = asked.into();
        self.check(asked, given, how)?;
        let classes = asked.classes;
        let nothing = vec![false; self.about.vocabulary.tokens()];
        let places = given.map_or(&nothing[..], |g| g.places);
        let to_draw = places.iter().filter(|given| !**given).count();
        let mut drawing = Drawing {
            codes: Vec::new(),
            log_likelihood: Vec::new(),
        };
        for (i, part) in classes.chunks(how.batch).enumerate() {
            let first = i * how.batch;
            let images = Images::of(self, asked, first..first + part.len(), given, &nothing, how);
            let mut tell = |drawn: usize| {
                progress(
                    first * to_draw + drawn * part.len(),
                    classes.len() * to_draw,
                )
            };
            let part = if how.cache {
                self.with_cache(images, how, &mut tell)?.wait()
            } else {
                self.without_cache(images, how, &mut tell)
            };
            let part = part?;
            drawing.codes.extend(part.codes);
            drawing.log_likelihood.extend(part.log_likelihood);
        }
        Ok(drawing)
    }

    /// Records what [`TrainedPrior::draw`] does, all at once whatever `how.batch` says, and waits
    /// for nothing: for [`Gpu::work_for`], which draws between the frames of a render loop. The
    /// codes are those of `draw`.
    ///
    /// # Errors
    /// As [`TrainedPrior::draw`]; if `how.cache` is off, since each code then goes by way of the
    /// processor.
    pub fn draw_async<'a>(
        &self,
        asked: impl Into<Asked<'a>>,
        given: Option<Given>,
        how: &Draw,
    ) -> Result<Arriving> {
        let asked = asked.into();
        self.check(asked, given, how)?;
        let all = 0..asked.classes.len();
        if !how.cache || all.is_empty() {
            let what = "drawing without waiting takes a cache of keys and values, and a class for \
                        each of one image at least";
            return Err(Error::invalid("sample", what));
        }
        let nothing = vec![false; self.about.vocabulary.tokens()];
        self.with_cache(
            Images::of(self, asked, all, given, &nothing, how),
            how,
            &mut |_| Ok(()),
        )
    }

    /// Begins to draw what [`TrainedPrior::draw`] draws, to go on place by place with
    /// [`Underway::step`]: for those who may not wait for the device, as in a browser or a render
    /// loop. All images are drawn together, whatever [`Draw::batch`] says, and with a cache.
    ///
    /// # Errors
    /// As [`TrainedPrior::draw`]; also if there is no class at all.
    pub fn begin<'a>(
        &self,
        asked: impl Into<Asked<'a>>,
        given: Option<Given>,
        how: &Draw,
    ) -> Result<Underway<'_>> {
        let asked = asked.into();
        self.check(asked, given, how)?;
        let images = asked.classes.len();
        if images == 0 {
            return Err(Error::invalid(
                "sample",
                "no image to draw: name a class for each",
            ));
        }
        let nothing = vec![false; self.about.vocabulary.tokens()];
        Underway::new(
            self,
            Images::of(self, asked, 0..images, given, &nothing, how),
            how,
        )
    }

    /// Can this be drawn? Classes are looked at when they are uploaded.
    fn check(&self, asked: Asked, given: Option<Given>, how: &Draw) -> Result<()> {
        how.check()?;
        let Asked { classes, texts } = asked;
        let text = &self.about.vocabulary.text;
        let readable = if text.is_some() { classes.len() } else { 0 };
        if let Some(n) = texts.map(|t| t.lengths.len()).filter(|n| *n != readable) {
            return Err(Error::shape("sample", format!("{readable} texts"), n));
        }
        let (t, known) = (
            self.about.vocabulary.tokens(),
            self.about.vocabulary.known(),
        );
        let each = known + t;
        if given.is_none() && known > 0 {
            let what =
                "these codes are conditioned on those of the levels above, which are not given";
            return Err(Error::invalid("sample", what));
        }
        if let Some(g) = given
            && (g.codes.len() != classes.len() * each || g.places.len() != t)
        {
            let got = format!("{} codes at {} places", g.codes.len(), g.places.len());
            let expected = format!(
                "{each} codes for each of {} images, of which {t} may be drawn",
                classes.len()
            );
            return Err(Error::shape("sample", expected, got));
        }
        Ok(())
    }

    /// The random numbers of the `i`-th code; each level has its own.
    pub(crate) fn key(&self, how: &Draw, i: usize) -> Key {
        let level = self.about.vocabulary.above.len() as u32;
        Key {
            seed: how.seed,
            step: i as u64,
            stream: DRAW_STREAM.wrapping_add(level),
        }
    }

    /// The classes that the model sees of images: with guidance, once more with none.
    pub(crate) fn seen(&self, classes: &[u32], how: &Draw) -> Vec<u32> {
        let none = std::iter::repeat_n(self.about.vocabulary.no_class(), classes.len());
        let guided = how.sampling.guidance.is_some();
        classes
            .iter()
            .copied()
            .chain(none.filter(|_| guided))
            .collect()
    }

    /// Logits of the `i`-th code, less those of the codes of its codebook that come before it in
    /// sequences [B, T].
    pub(crate) fn penalised(
        &self,
        logits: &Tensor,
        sequence: &Tensor,
        i: usize,
        how: &Draw,
    ) -> Result<Tensor> {
        if how.repetition_penalty == 1.0 {
            return Ok(logits.clone());
        }
        let books = self.about.vocabulary.codebooks;
        let columns = Columns {
            first: i % books,
            stride: books,
            count: i / books,
        };
        repetition::repetition(logits, sequence, columns, how.repetition_penalty)
    }

    /// Every code feeds the next step on the device; all are read at the end.
    fn with_cache(
        &self,
        images: Images,
        how: &Draw,
        tell: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Arriving> {
        let mut underway = Underway::new(self, images, how)?;
        let mut in_flight = InFlight::new(STEPS_IN_FLIGHT);
        while underway.step()? {
            // Some codes together: a submission has its price.
            if underway.steps().is_multiple_of(CODES_TOGETHER) {
                in_flight.submit(&self.gpu)?;
            }
            tell(underway.drawn())?;
        }
        underway.read()
    }

    /// What a loop without a cache does: the whole sequence again for each code, which goes by way
    /// of the host.
    fn without_cache(
        &self,
        images: Images,
        how: &Draw,
        tell: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Drawing> {
        let (gpu, t, b) = (
            &self.gpu,
            self.about.vocabulary.tokens(),
            images.classes.len(),
        );
        let classes = self.seen(images.classes, how);
        let rows = classes.len();
        let mut codes = images.codes.clone();
        let mut total = vec![0.0f32; b];
        let (token, log_prob) = (
            Tensor::zeros(gpu, &[rows], DType::U32)?,
            Tensor::empty(gpu, &[b], DType::F32)?,
        );
        let mut drawn = 0;
        for i in (0..t).filter(|i| !images.places[*i]) {
            let tape = Tape::no_grad(gpu);
            let pass = Pass::new(&tape, &self.params);
            let batch = self.prior.upload(
                gpu,
                &classes,
                &images.rows(&codes).repeat(rows / b),
                images.texts.as_ref(),
            )?;
            let conditions = self.prior.conditions(&pass, &batch, Dropout::OFF)?;
            let logits = self.prior.prompt(&pass, &batch, &conditions, i, None)?;
            let logits =
                self.penalised(&logits, &Tensor::from_slice(gpu, &[b, t], &codes)?, i, how)?;
            let key = self.key(how, i);
            let to = Drawn {
                token: &token,
                log_prob: &log_prob,
                sequence: None,
            };
            sample(&logits, &how.sampling, key, images.first, to)?;
            token
                .read::<u32>()?
                .iter()
                .take(b)
                .enumerate()
                .for_each(|(n, code)| codes[n * t + i] = *code);
            log_prob
                .read::<f32>()?
                .iter()
                .zip(&mut total)
                .for_each(|(p, sum)| *sum += p);
            drawn += 1;
            tell(drawn)?;
        }
        Ok(Drawing {
            codes,
            log_likelihood: total,
        })
    }
}
