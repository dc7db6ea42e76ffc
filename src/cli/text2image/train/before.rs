//! Checks before anything is trained: the first stage, images and captions, and whether every stage
//! can be trained on them.

use super::{GO_ON, System, Train, output, resume};
use crate::cli::Global;
use crate::cli::common::keys::{Keys, configuration, open};
use crate::cli::common::pictures;
use crate::cli::first_stage::train::{own_pictures, resumed_config};
use crate::cli::text2image::folders::{contrastive_folder, text_folder};
use crate::cli::text2image::reading;
use crate::cli::text2image::request::TrainRequest;
use std::path::PathBuf;
use std::sync::Arc;
use wgvq::codes::tokenizer::Tokenizer;
use wgvq::codes::tokens::{Tokens, vocabulary_of};
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::{Crop, ResolvedConfig, RunConfig};
use wgvq::config::{DottedConfig, Resolved};
use wgvq::data::{ImageSet, absolute};
use wgvq::gpu::Gpu;
use wgvq::inference::FirstStageModel;
use wgvq::models::Level;
use wgvq::models::prior::Vocabulary;
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::storage::atomic;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::contrastive::check_contrastive;
use wgvq::train::{check, levels_of, prior};
use wgvq::{Error, Result};

/// Length of texts where none is asked for, at least and at most: prompts are often longer than
/// captions.
const LEAST: usize = 12;
const LONGEST: usize = 128;

/// Checks the options of texts, whatever the captions are.
pub(super) fn check_texts(request: &TrainRequest) -> Result<()> {
    Tokenizer::check_size(request.vocabulary)?;
    if request.text_length > 1 << 20 {
        let what = format!(
            "{} is not allowed: at most 2^20 tokens can be read",
            request.text_length
        );
        return Err(Error::config("--text-length", what));
    }
    if request.text_length != 0 && request.text_length < 3 && !request.embeddings {
        let what = "is not allowed: a text has its first and last token, and one more";
        return Err(Error::config(
            "--text-length",
            format!("{} {what}", request.text_length),
        ));
    }
    Ok(())
}

/// The first stage of a run, trained or to be trained.
pub(super) struct First {
    pub config: ResolvedConfig,
    /// Layout of its codes.
    pub levels: Vec<Level>,
    /// Width, height and channels of its images.
    image: [usize; 3],
    pub stage: Stage,
}

/// Progress of a first stage.
pub(super) enum Stage {
    /// It is trained.
    Trained(Box<FirstStageModel>),
    /// It has not begun.
    New(Arc<ImageSet>),
    /// It was begun, and is resumed in its folder.
    Begun(Arc<ImageSet>, RunFolder),
}

/// The data that the models of a run are trained on.
pub(super) struct Material {
    pub set: Arc<ImageSet>,
    pub tokenizer: Tokenizer,
    /// Captions in tokens.
    pub text: Text,
    pub texts: Arc<Texts>,
    /// Layout of the rows that the prior reads, where those are something else.
    pub rows: Option<Text>,
}

impl First {
    fn trained(model: FirstStageModel) -> First {
        let (config, levels, image) = (
            model.config().clone(),
            model.levels().to_vec(),
            model.image(),
        );
        First {
            config,
            levels,
            image,
            stage: Stage::Trained(Box::new(model)),
        }
    }

    fn images(&self) -> Option<&ImageSet> {
        match &self.stage {
            Stage::Trained(_) => None,
            Stage::New(images) | Stage::Begun(images, _) => Some(images),
        }
    }
}

impl Train {
    /// The first stage that the run has, or will have.
    pub(super) fn first(&self, gpu: &Gpu) -> Result<First> {
        let run = self.folder();
        let (config, stage) = match &self.resume {
            Some(_) if run.join("config.toml").exists() => {
                let kept = RunConfig::load(&run.join("config.toml"))?;
                let has_ended = resume::ended(run, kept.train.steps)?;
                // Beside a first stage that `wgvq train` made, the seed is the others' alone.
                let seed = if has_ended { None } else { self.seed };
                let (data, steps, set) =
                    (self.data.clone(), self.stage1_steps, self.stage1.clone());
                let keys = Keys {
                    data,
                    steps,
                    seed,
                    set,
                    ..Default::default()
                };
                let config = resumed_config(&kept, &keys, "--stage1")?;
                if has_ended && config.train.steps == kept.train.steps {
                    return Ok(First::trained(FirstStageModel::load(gpu, run)?));
                }
                let folder = RunFolder::resume(run)?;
                let images = own_pictures(run, &config, &keys)?;
                (config, Stage::Begun(images, folder))
            }
            _ if run.join("final.safetensors").exists() => {
                if !self.stage1.is_empty() || self.stage1_steps.is_some() {
                    let what = format!(
                        "{} has its first stage already: go on with what was asked for by \
                         `{GO_ON} {}`, train what follows it anew by `--overwrite` without this \
                         option, or train another in another folder",
                        run.display(),
                        output::shell(run)
                    );
                    return Err(Error::config("--stage1", what));
                }
                return Ok(First::trained(FirstStageModel::load(gpu, run)?));
            }
            Some(_) => {
                let what =
                    "holds no run to resume: there is no config.toml in it; --out begins one";
                return Err(Error::file(run, what));
            }
            None => {
                let config = self.new_first()?;
                RunFolder::may_create(run, false)?;
                let images = open(&config)?;
                (config, Stage::New(images))
            }
        };
        let (Stage::New(images) | Stage::Begun(images, _)) = &stage else {
            return Err(Error::file(run, "has no first stage"));
        };
        check(&config, images)?;
        let image = [images.width, images.height, images.channels];
        let levels = levels_of(gpu, &config, image)?;
        Ok(First {
            config,
            levels,
            image,
            stage,
        })
    }

    /// The configuration of a first stage that is to begin.
    fn new_first(&self) -> Result<ResolvedConfig> {
        let data = self.data.clone().ok_or_else(|| {
            let run = self.folder().display();
            Error::config(
                "--data",
                format!("is needed: {run} has no first stage yet to take its images from"),
            )
        })?;
        // What is asked for by name comes last: it overrides what the system would take.
        let mut set = match self.system() {
            System::Dalle => vec!["quantizer.kind=gumbel".to_owned()],
            System::Parti => vec!["quantizer.kind=cosine".to_owned()],
        };
        set.extend(self.stage1.clone());
        let keys = Keys {
            data: Some(data),
            steps: self.stage1_steps,
            seed: self.seed,
            set,
            ..Default::default()
        };
        configuration(None, None, &keys)
    }

    /// Checks that the folders of the stages that are to begin can be made.
    pub(super) fn check_places(&self, places: &[PathBuf]) -> Result<()> {
        let run = self.folder();
        if self.resume.is_some() {
            return Ok(());
        }
        let judge = contrastive_folder(run);
        for folder in places.iter().chain([&judge]) {
            if !self.overwrite && folder.join("config.toml").exists() {
                let what = format!(
                    "is there already: go on with it by `{GO_ON} {}`, or replace it with \
                     `--overwrite`",
                    output::shell(run)
                );
                return Err(Error::file(folder, what));
            }
            RunFolder::may_create(folder, self.overwrite)?;
        }
        if self.overwrite {
            RunFolder::may_create_over_texts(run, &places[0])
        } else {
            Ok(())
        }
    }

    /// Images, captions and texts, all of them read and checked.
    pub(super) fn material(
        &self,
        global: &Global,
        first: &First,
        request: &TrainRequest,
    ) -> Result<Material> {
        let run = self.folder();
        let mut data = first.config.data.clone();
        [data.width, data.height, data.channels] = first.image;
        // Crops of whole photographs are the first stage's: what is described is the whole image.
        data.crop = Crop::None;
        let options = data.options();
        // Those of the first stage, where they are the same.
        let same = |images: &&ImageSet| {
            let of_first = first.config.data.options();
            options == of_first
                && absolute(&images.name) == absolute(self.data.as_deref().unwrap_or(&request.data))
        };
        let mut set = match (first.images().filter(same), &first.stage) {
            (Some(images), _) => images.clone(),
            (None, stage) => {
                let source = match stage {
                    Stage::Trained(model) => pictures::source_of(run, model),
                    _ => data.source.clone(),
                };
                let own = pictures::first_there(&request.data, source);
                let set = pictures::open(run, &own, self.data.as_deref(), &options)?;
                set.notes.iter().for_each(|n| output::note(global, n));
                set
            }
        };
        reading::captioned(global, &mut set)?;
        if request.text_length > 0 && !request.embeddings {
            // Before captions are read that nothing could hold.
            let text = Text {
                form: TextFormat::Tokens(request.vocabulary),
                length: request.text_length,
            };
            text.check_memory(set.len())
                .map_err(|e| Error::config("--text-length", e))?;
        }
        let folder = text_folder(run);
        let tokenizer = if self.resume.is_some() && folder.join("tokenizer.json").exists() {
            Tokenizer::load(&folder)?
        } else {
            let captions: Vec<&str> = set
                .train
                .iter()
                .filter_map(|i| set.items[*i as usize].caption.as_deref())
                .collect();
            Tokenizer::learn(&captions, request.vocabulary)?
        };
        let own = reading::longest(&set, &tokenizer)?;
        let length = if request.text_length == 0 || request.embeddings {
            own.clamp(LEAST, LONGEST)
        } else {
            request.text_length
        };
        let text = tokenizer.text(length);
        let (texts, long) = reading::tokens(&set, &tokenizer, &text)?;
        reading::tell_of_long(global, &long, set.len(), length, request.strict)?;
        let rows = if request.embeddings {
            Some(reading::rows(&set, request.text_length)?)
        } else {
            None
        };
        output::note(
            global,
            &format!(
                "{}: {} captions to train on, {} held out; {} tokens learned of them, {length} to \
                 a text",
                set.name,
                set.train.len(),
                set.test.len(),
                tokenizer.size()
            ),
        );
        Ok(Material {
            set: Arc::new(set),
            tokenizer,
            text,
            texts: Arc::new(texts),
            rows,
        })
    }

    /// Checks that the later stages can be trained on this.
    pub(super) fn check_stages(
        &self,
        gpu: &Gpu,
        first: &First,
        m: &Material,
        priors: &[Resolved<PriorConfig>],
        judge: Option<&Resolved<ContrastiveConfig>>,
    ) -> Result<()> {
        for (level, config) in priors.iter().enumerate() {
            let text = Some(m.rows.unwrap_or(m.text));
            let of_level = vocabulary_of(&first.levels, level, m.set.classes.len());
            prior::check(gpu, config, &Vocabulary { text, ..of_level })?;
        }
        let image = [m.set.height, m.set.width, m.set.channels];
        judge.map_or(Ok(()), |judge| {
            check_contrastive(gpu, judge, image, &m.text)
        })
    }

    /// Checks that these are the images and texts that a prior's tokens were made of.
    pub(super) fn same_images(&self, tokens: &Tokens, m: &Material) -> Result<()> {
        if m.set.is_of_sum(&tokens.info.data_sha256) && tokens.info.reader == m.tokenizer.sha256() {
            return Ok(());
        }
        let what = format!(
            "the images or captions of `{}` are others than those that the run began with (`{}`): \
             say by --data where those lie now",
            m.set.name, tokens.info.data
        );
        Err(Error::data(what))
    }

    /// Makes the folder of a first stage that begins; from here on --resume goes on, whichever
    /// stage is stopped.
    pub(super) fn begin(&self, config: &RunConfig, request: &TrainRequest) -> Result<RunFolder> {
        let run = self.folder();
        let folder = RunFolder::create(run, false)?;
        let mut config = config.clone();
        config.data.source = absolute(&config.data.source);
        atomic::write(&folder.config(), config.to_toml()?.as_bytes())?;
        request.save(&text_folder(run))?;
        Ok(folder)
    }
}
