//! The stages of the second half: tokens, the prior, and the contrastive model.

use super::{GO_ON, Train};
use crate::cli::common::json;
use crate::cli::common::losses::Begun;
use crate::cli::common::output;
use crate::cli::common::signals::stop_flag;
use crate::cli::common::watch::Watch;
use crate::cli::prior::stage::{TrainedPrior, Training};
use crate::cli::{CommandStatus, Global};
use std::path::Path;
use wgvq::codes::tokens::Tokens;
use wgvq::config::Resolved;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::gpu::Gpu;
use wgvq::inference::texts::{contrastive_folder, text_folder};
use wgvq::inference::{Conditioning, FirstStageModel, PriorModel, prior_folder};
use wgvq::models::prior::TextKind;
use wgvq::storage::run_folder::RunFolder;
use wgvq::text2image::{Material, TrainRequest, begin_prior};
use wgvq::train::contrastive::run_contrastive;
use wgvq::train::prior::{PriorStage, TokenSource};
use wgvq::train::{Start, Trainer};
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
        begun: &Begun,
    ) -> Result<CommandStatus> {
        let run = self.folder();
        let name = model.levels()[level].name.clone();
        let place = prior_folder(run, &name);
        let resumed = self.resume.is_some() && place.join("config.toml").exists();
        let go_on = self.go_on();
        let stage = PriorStage {
            gpu,
            model,
            level,
            config,
        };
        let training = Training {
            global,
            stage,
            go_on: &go_on,
            seen: self.seen,
        };
        let own = if resumed { stage.begun(&place)? } else { None };
        let (folder, tokens) = match (own, material) {
            (Some(tokens), _) => (RunFolder::resume(&place)?, Some(tokens)),
            (None, Some(m)) => self.tokenized(&training, &place, m, request)?,
            (None, None) => {
                return Err(Error::file(
                    &place,
                    "has no tokens: say by --data where the images lie",
                ));
            }
        };
        let Some(tokens) = tokens else {
            return Ok(CommandStatus::Abandoned);
        };
        let v = &tokens.info.vocabulary;
        let way = if config.prior.text == TextKind::Stream {
            "text and codes in one sequence"
        } else {
            "a text encoder"
        };
        let of_level = if name.is_empty() {
            String::new()
        } else {
            format!(" of level {name}")
        };
        training.tell(&format!(
            "prior{of_level}: {way}, {} codes of {}",
            v.tokens(),
            v.codebook_size
        ));
        let start = if resumed { Start::Resume } else { Start::Fresh };
        let trained = training.train(tokens, &folder, start);
        let Some(trained) = begun.in_folder(&folder, trained)? else {
            return Ok(CommandStatus::Interrupted);
        };
        let told = self.text_helps(global, gpu, &folder, model, &trained);
        begun.in_folder(&folder, told)?;
        Ok(CommandStatus::Done)
    }

    /// Turns images and captions into tokens, unless these are there. No tokens if this was
    /// stopped.
    fn tokenized(
        &self,
        training: &Training,
        place: &Path,
        m: &Material,
        request: &TrainRequest,
    ) -> Result<(RunFolder, Option<Tokens>)> {
        let of = m.reader();
        let source = TokenSource {
            images: &m.set,
            captions: Some(m.captions(&of)),
        };
        let (folder, made) = begin_prior(
            self.folder(),
            place,
            &training.stage,
            &source,
            m,
            request,
            self.resume.is_some(),
            self.overwrite,
        )?;
        let tokens = match made {
            Some(tokens) => Some(tokens),
            None => {
                let again = format!("begin with the codes again by: {}", self.go_on());
                training.tokenize(&source, &folder, &again)?
            }
        };
        Ok((folder, tokens))
    }

    /// Prints how many bits of their images' codes held-out captions save.
    fn text_helps(
        &self,
        global: &Global,
        gpu: &Gpu,
        folder: &RunFolder,
        model: &FirstStageModel,
        trained: &TrainedPrior,
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
                "prior": output::shown(folder.path()), "step": trained.evaluation.weights_step,
                "parameters": trained.parameters, "bits_per_code": own,
                "bits_per_code_without_text": none, "bits_per_code_with_other_text": others,
            });
            json::print("text2image-prior", &line);
        } else {
            output::result(&format!(
                "held out, bits per code: {own:.3} with its text, {none:.3} without, {others:.3} \
                 with another image's"
            ));
            trained.tell(global);
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
                t.steps,
                t.images()
            ),
        );
        let start = if resumed { Start::Resume } else { Start::Fresh };
        let title = format!(
            "{}: a contrastive model, on {}",
            m.set.name,
            gpu.info().name
        );
        let mut watch = Watch::new(global, t.steps)
            .seen(self.seen, &title, t.steps, gpu, (&folder, start))
            .starting(gpu);
        let outcome = run_contrastive(trainer, &folder, start, &mut watch, stop_flag());
        watch.finish();
        let outcome = outcome?;
        if outcome.stopped {
            let (step, go_on) = (outcome.trainer.step_number(), self.go_on());
            output::note(
                global,
                &format!("stopped and saved at step {step}; go on with: {go_on}"),
            );
            return Ok(CommandStatus::Interrupted);
        }
        if let Some(e) = outcome.evaluation {
            if global.json {
                let line = serde_json::json!({
                    "contrastive": output::shown(folder.path()), "texts_found": e.texts,
                    "images_found": e.images, "pool": e.pool, "count": e.count,
                });
                json::print("text2image-contrastive", &line);
            } else {
                output::result(&format!("{e}"));
                output::result(&format!("run: {}", self.folder().display()));
            }
        }
        Ok(CommandStatus::Done)
    }

    /// The command that goes on with the run.
    pub(super) fn go_on(&self) -> String {
        format!("{GO_ON} {}", output::shell(self.folder()))
    }
}
