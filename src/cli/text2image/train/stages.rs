//! The stages of the second half: tokens, the prior, and the contrastive model.

use super::before::Material;
use super::{GO_ON, Train};
use crate::cli::common::output;
use crate::cli::common::output::{Bar, Watch};
use crate::cli::common::signals::stop_flag;
use crate::cli::text2image::request::TrainRequest;
use crate::cli::text2image::{CommandStatus, Global, contrastive_folder, reading, text_folder};
use std::sync::atomic::Ordering;
use wgvq::codes::tokens::{Captions, Tokens};
use wgvq::config::Resolved;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::gpu::Gpu;
use wgvq::inference::tokenize::{describe, tokenize};
use wgvq::inference::{Conditioning, FirstStageModel, PriorModel, prior_folder};
use wgvq::models::prior::{Prior, TextKind};
use wgvq::nn::Parameters;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::Start;
use wgvq::train::Trainer;
use wgvq::train::contrastive::run_contrastive;
use wgvq::train::prior::{PriorEvaluation, run_prior};
use wgvq::{Error, Result};

impl Train {
    /// Turns images and captions into tokens, and trains a level's prior on them.
    pub(super) fn prior(
        &self,
        global: &Global,
        gpu: &Gpu,
        model: &FirstStageModel,
        level: usize,
        material: Option<&Material>,
        config: &Resolved<PriorConfig>,
        request: &TrainRequest,
    ) -> Result<CommandStatus> {
        let run = self.folder();
        let name = model.levels()[level].name.clone();
        let place = prior_folder(run, &name);
        let resumed = self.resume.is_some() && place.join("config.toml").exists();
        let own = resumed && Tokens::exist(&place.join("tokens"));
        let (folder, tokens) = match material {
            _ if own => {
                let tokens = Tokens::open(&place.join("tokens"))?;
                tokens.check_model(model.hash())?;
                Prior::new(
                    gpu,
                    &mut Parameters::builder(),
                    &config.prior,
                    &tokens.info.vocabulary,
                )?;
                (RunFolder::resume(&place)?, Some(tokens))
            }
            Some(m) => self.tokenized(global, gpu, model, level, m, config, request)?,
            None => {
                return Err(Error::file(
                    &place,
                    "has no tokens: say by --data where the images lie",
                ));
            }
        };
        let Some(tokens) = tokens else {
            return Ok(CommandStatus::Abandoned);
        };
        let (v, p, t) = (&tokens.info.vocabulary, &config.prior, &config.train);
        let way = if p.text == TextKind::Stream {
            "text and codes in one sequence"
        } else {
            "a text encoder"
        };
        output::note(
            global,
            &format!(
                "prior{}: {way}, {} codes of {}; {} blocks of {} channels; {} steps of {} on {} \
                 ({} core)",
                if name.is_empty() {
                    String::new()
                } else {
                    format!(" of level {name}")
                },
                v.tokens(),
                v.codebook_size,
                p.layers,
                p.dim,
                t.steps,
                t.batch_size * t.accumulate,
                gpu.info().name,
                gpu.core().name()
            ),
        );
        let mut watch = Watch::new(global, t.steps);
        let start = if resumed { Start::Resume } else { Start::Fresh };
        let outcome = run_prior(gpu, config, tokens, &folder, start, &mut watch, stop_flag());
        watch.finish();
        let outcome = outcome?;
        if outcome.stopped {
            self.tell_stopped(global, outcome.trainer.step_number());
            return Ok(CommandStatus::Interrupted);
        }
        let (Some(e), parameters) = (outcome.evaluation, outcome.trainer.parameter_count()) else {
            return Ok(CommandStatus::Done);
        };
        drop(outcome.trainer);
        self.text_helps(global, gpu, &folder, model, e, parameters)?;
        Ok(CommandStatus::Done)
    }

    /// Turns images and captions into tokens, unless these are there. No tokens if this was
    /// stopped.
    pub(super) fn tokenized(
        &self,
        global: &Global,
        gpu: &Gpu,
        model: &FirstStageModel,
        level: usize,
        m: &Material,
        config: &Resolved<PriorConfig>,
        request: &TrainRequest,
    ) -> Result<(RunFolder, Option<Tokens>)> {
        let place = &prior_folder(self.folder(), &model.levels()[level].name);
        let of = |numbers: &[u32]| match &m.rows {
            Some(text) => reading::read_rows(&m.set, text, numbers),
            None => Ok(m.texts.gather(numbers.iter().map(|i| *i as usize))),
        };
        let captions = Captions {
            text: m.rows.unwrap_or(m.text),
            reader: m.tokenizer.sha256(),
            of: &of,
        };
        let info = describe(model, level, &m.set, Some(captions));
        // What is wrong with the model is found before anything is written.
        Prior::new(
            gpu,
            &mut Parameters::builder(),
            &config.prior,
            &info.vocabulary,
        )?;
        let resumed = self.resume.is_some() && place.join("config.toml").exists();
        let folder = match (resumed, level) {
            (true, _) => RunFolder::resume(place)?,
            // With the first of them, all goes that the run has of texts.
            (false, 0) if self.overwrite => RunFolder::create_over_texts(self.folder(), place)?,
            (false, _) => RunFolder::create(place, self.overwrite)?,
        };
        let texts = folder.beside("text");
        m.tokenizer.save(&texts)?;
        request.save(&texts)?;
        let made = if Tokens::exist(&folder.tokens()) {
            Some(Tokens::open(&folder.tokens())?)
        } else {
            None
        };
        if let Some(tokens) = made.filter(|t| t.check(&info).is_ok()) {
            return Ok((folder, Some(tokens)));
        }
        output::note(
            global,
            &format!(
                "turning {} pictures into codes",
                m.set.train.len() + m.set.test.len()
            ),
        );
        let (mut bar, stop) = (Bar::new(global, "images"), stop_flag());
        let made = tokenize(
            model,
            level,
            &m.set,
            Some(captions),
            &folder.tokens(),
            &mut |done, all| {
                bar.show(done, all);
                if stop.load(Ordering::Relaxed) {
                    Err(Error::data("interrupted"))
                } else {
                    Ok(())
                }
            },
        );
        bar.finish();
        if stop.load(Ordering::Relaxed) {
            let again = match folder.replaces() {
                true => "what is there is as it was, and the same command begins with the codes \
                         again"
                    .to_owned(),
                false => format!(
                    "begin with the codes again by: {GO_ON} {}",
                    output::shell(self.folder())
                ),
            };
            output::note(global, &format!("stopped; {again}"));
            return Ok((folder, None));
        }
        made.map(|tokens| (folder, Some(tokens)))
    }

    /// Prints how many bits of their images' codes held-out captions save.
    pub(super) fn text_helps(
        &self,
        global: &Global,
        gpu: &Gpu,
        folder: &RunFolder,
        model: &FirstStageModel,
        e: PriorEvaluation,
        parameters: usize,
    ) -> Result<()> {
        let prior = PriorModel::load(gpu, folder.path(), model)?;
        let held_out = Tokens::open(&folder.tokens())?;
        let bits = |told| {
            prior
                .measure(&held_out, told)
                .map(|nats| nats / std::f64::consts::LN_2)
        };
        let (own, none, others) = (
            bits(Conditioning::Matched)?,
            bits(Conditioning::None)?,
            bits(Conditioning::Shuffled)?,
        );
        if global.json {
            let line = serde_json::json!({
                "prior": output::shown(folder.path()), "step": e.step, "parameters": parameters,
                "bits_per_code": own,
                "bits_per_code_without_text": none, "bits_per_code_with_other_text": others,
            });
            output::result(&line.to_string());
        } else {
            output::result(&format!(
                "held out, bits per code: {own:.3} with its text, {none:.3} without, {others:.3} \
                 with another image's"
            ));
            output::note(
                global,
                &format!("{parameters} parameters, those of step {}", e.step),
            );
        }
        Ok(())
    }

    pub(super) fn contrastive(
        &self,
        global: &Global,
        gpu: &Gpu,
        m: &Material,
        config: &Resolved<ContrastiveConfig>,
    ) -> Result<CommandStatus> {
        let place = contrastive_folder(self.folder());
        let resumed = self.resume.is_some() && place.join("config.toml").exists();
        m.tokenizer.save(&text_folder(self.folder()))?;
        let reader = m.tokenizer.sha256();
        let trainer =
            Trainer::contrastive(gpu, config, m.set.clone(), m.text, m.texts.clone(), reader)?;
        let folder = if resumed {
            RunFolder::resume(&place)?
        } else {
            RunFolder::create(&place, self.overwrite)?
        };
        let t = &config.train;
        output::note(
            global,
            &format!(
                "contrastive model: {} steps of {} pairs",
                t.steps, t.batch_size
            ),
        );
        let mut watch = Watch::new(global, t.steps);
        let start = if resumed { Start::Resume } else { Start::Fresh };
        let outcome = run_contrastive(trainer, &folder, start, &mut watch, stop_flag());
        watch.finish();
        let outcome = outcome?;
        if outcome.stopped {
            self.tell_stopped(global, outcome.trainer.step_number());
            return Ok(CommandStatus::Interrupted);
        }
        if let Some(e) = outcome.evaluation {
            if global.json {
                let line = serde_json::json!({
                    "contrastive": output::shown(folder.path()), "texts_found": e.texts,
                    "images_found": e.images, "pool": e.pool, "count": e.count,
                });
                output::result(&line.to_string());
            } else {
                output::result(&format!("{e}"));
                output::result(&format!("run: {}", self.folder().display()));
            }
        }
        Ok(CommandStatus::Done)
    }

    pub(super) fn tell_stopped(&self, global: &Global, step: u64) {
        let run = output::shell(self.folder());
        output::note(
            global,
            &format!("stopped and saved at step {step}; go on with: {GO_ON} {run}"),
        );
    }
}
