//! Checks before anything is trained: the first stage, images and captions, and whether every stage
//! can be trained on them.

use super::{GO_ON, Train, output};
use crate::cli::Global;
use crate::cli::common::keys::{Keys, configuration, open};
use crate::cli::common::pictures;
use crate::cli::first_stage::train::{own_pictures, resumed_config};
use std::path::PathBuf;
use std::sync::Arc;
use wgvq::codes::tokenizer::Tokenizer;
use wgvq::config::DottedConfig;
use wgvq::config::run::{Crop, ResolvedConfig, RunConfig};
use wgvq::data::{ImageSet, absolute};
use wgvq::gpu::Gpu;
use wgvq::inference::FirstStageModel;
use wgvq::inference::texts::text_folder;
use wgvq::models::Level;
use wgvq::storage::atomic;
use wgvq::storage::run_folder::RunFolder;
use wgvq::storage::run_parts::with_kept_list;
use wgvq::text2image::{Material, TrainRequest, check_places, ended};
use wgvq::train::{check, levels_of};
use wgvq::{Error, Result};

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
                let kept = with_kept_list(RunConfig::load(&run.join("config.toml"))?, run);
                let has_ended = ended(run, kept.train.steps)?;
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
        let mut set = vec![format!("quantizer.kind={}", self.system().quantizer())];
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
        if self.resume.is_some() {
            return Ok(());
        }
        check_places(self.folder(), places, self.overwrite, &self.go_on())
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
        let set = match (first.images().filter(same), &first.stage) {
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
        let folder = text_folder(run);
        let kept = if self.resume.is_some() && folder.join("tokenizer.json").exists() {
            Some(Tokenizer::load(&folder)?)
        } else {
            None
        };
        Material::read(set, kept, request, &mut |text| output::note(global, text))
    }

    /// Makes the folder of a first stage that begins; from here on --resume goes on, whichever
    /// stage is stopped.
    pub(super) fn begin(&self, config: &RunConfig, request: &TrainRequest) -> Result<RunFolder> {
        let run = self.folder();
        let folder = RunFolder::create(run, false)?;
        let mut config = config.clone();
        config.data.source = absolute(&config.data.source);
        config.data.test_files = absolute(&config.data.test_files);
        atomic::write(&folder.config(), config.to_toml()?.as_bytes())?;
        request.save(&text_folder(run))?;
        Ok(folder)
    }
}
