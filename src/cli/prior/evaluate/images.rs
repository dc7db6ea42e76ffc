//! The images that `wgvq evaluate` compares: the run's own, and what is judged.

use super::Evaluate;
use super::measures::Sets;
use crate::cli::Global;
use crate::cli::common::{output, pictures};
use crate::cli::prior::sample::{tell_of_guidance, tell_of_texts};
use crate::cli::prior::sampling::{check_memory, sample};
use wgvq::codes::tokens::TokenDatasetInfo;
use wgvq::config::run::Crop;
use wgvq::data::{self, ImageSet, spread};
use wgvq::inference::{FirstStageModel, Hierarchy, SampleRequest};
use wgvq::text2image::captioned;
use wgvq::{Error, Result, memory};

impl Evaluate {
    /// Opens the images of the run, as the prior that is judged saw them where there is one.
    pub(super) fn open(
        &self,
        global: &Global,
        model: &FirstStageModel,
        prior: Option<&TokenDatasetInfo>,
    ) -> Result<ImageSet> {
        let mut about = model.config().data.clone();
        (about.width, about.height, about.channels) = model.image().into();
        let mut own = pictures::source_of(&self.run, model);
        let Some(prior) = prior else {
            let options = about.options();
            let set = pictures::open(&self.run, &own, self.data.as_deref(), &options)?;
            set.notes.iter().for_each(|note| output::note(global, note));
            return Ok(set);
        };
        let reads_texts = prior.vocabulary.text.is_some();
        if reads_texts {
            // Texts describe whole images.
            about.crop = Crop::None;
        }
        own = pictures::first_there(&prior.data, own);
        let mut open = |options: &data::Options| -> Result<ImageSet> {
            let mut set = pictures::open(&self.run, &own, self.data.as_deref(), options)?;
            if reads_texts {
                captioned(&mut set, &mut |text| output::note(global, text))?;
            }
            Ok(set)
        };
        let set = pictures::of_sum(&about.options(), &prior.data_sha256, &mut open)?;
        set.notes.iter().for_each(|note| output::note(global, note));
        if set.is_of_sum(&prior.data_sha256) {
            return Ok(set);
        }
        let what = format!(
            "are not as they were when the prior was trained on them at `{}`, and what was held \
             out then may not be now: say by --data where those lie",
            prior.data
        );
        Err(Error::data(format!("the images of {} {what}", set.name)))
    }

    /// Returns the three sets; `None` if the user stopped the drawing.
    pub(super) fn sets(
        &self,
        global: &Global,
        model: &FirstStageModel,
        priors: Option<&Hierarchy>,
        set: &ImageSet,
    ) -> Result<Option<Sets>> {
        let given = match &self.images {
            Some(folder) => Some(self.given(folder, set)?),
            None => None,
        };
        let mut n = self.n.min(set.train.len()).min(set.test.len());
        if let Some(given) = &given {
            n = n.min(given.len());
        }
        // Three sets of bytes, and what is made of two of them at a time in 64 bits.
        memory::check_available(
            format!(
                "--n: {n} images of {} x {} of each kind",
                set.width, set.height
            ),
            memory::product(&[n, set.image_bytes(), 3 + 2 * 16]),
        )?;
        if n < 2 {
            let what = "there must be two images at least to train on, held out and to judge";
            return Err(Error::data(what));
        }
        if n < self.n {
            output::note(
                global,
                &format!("{n} images of each kind: there are no more"),
            );
        }
        let (train, test) = (spread(&set.train, n), spread(&set.test, n));
        let held_out = set.gather(&test)?;
        let class = |i: &u32| set.items[*i as usize].class;
        let classes: Option<Vec<u32>> = test.iter().map(class).collect();
        let classes = classes.unwrap_or_default();
        let judged = if let Some(given) = given {
            let all: Vec<u32> = (0..given.len() as u32).collect();
            given.gather(&spread(&all, n))?
        } else if self.reconstructions {
            let codes = model.encode(&held_out)?;
            model.decode(&codes)?
        } else {
            let priors = priors.ok_or_else(|| Error::data("there is no prior to draw with"))?;
            check_memory(model, priors, n)?;
            let info = priors.info();
            tell_of_texts(global, info);
            let vocabulary = &info.vocabulary;
            if vocabulary.classes == 0 && !classes.is_empty() {
                let what = "the prior knows no classes: samples are of none, and accuracy says so";
                output::note(global, what);
            }
            let asked = if vocabulary.classes == 0 || classes.is_empty() {
                vec![vocabulary.no_class(); n]
            } else {
                // As often as among the images held out.
                classes.clone()
            };
            let options = self.sampling.options()?;
            tell_of_guidance(global, info, &asked, &options);
            let request = SampleRequest {
                options,
                ..SampleRequest::new(&asked)
            };
            let Some(samples) = sample(global, priors, &request)? else {
                return Ok(None);
            };
            model.decode(&samples.codes)?
        };
        Ok(Some(Sets {
            shape: [set.height, set.width, set.channels],
            pixels: [set.gather(&train)?, held_out, judged],
            classes: [classes.clone(), classes],
        }))
    }

    /// Returns a folder's images, as the set has them.
    fn given(&self, folder: &str, set: &ImageSet) -> Result<ImageSet> {
        let options = data::Options {
            size: Some((set.width, set.height)),
            channels: Some(set.channels),
            ..Default::default()
        };
        data::open(folder, &options)
    }
}
