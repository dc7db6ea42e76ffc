//! `wgvq report --html`: a page about runs, in one file.

use crate::cli::Global;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::pictures::folder_of;
use crate::cli::common::place::Place;
use crate::cli::first_stage::inspect::{chosen, open, vectors};
use crate::cli::first_stage::report::names;
use std::path::{Path, PathBuf};
use wgvq::config::DottedConfig;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::gpu::Gpu;
use wgvq::inference::{FirstStageModel, priors_of};
use wgvq::report::map::map;
use wgvq::report::page::Figure;
use wgvq::report::pca::plane;
use wgvq::report::run_page::{RunView, run_page};
use wgvq::storage::run_parts::step_of_picture;
use wgvq::storage::{atomic, metrics_log, sessions};
use wgvq::{Error, Result, files};

/// Name of the page.
pub const PAGE: &str = "run.html";
/// Steps whose reconstructions are shown.
const STEPS_SHOWN: usize = 12;
/// Codebooks whose maps are shown.
const BOOKS_SHOWN: usize = 4;

/// The parts that the page is made of.
pub struct PageRequest<'a> {
    pub runs: &'a [PathBuf],
    /// The folder for the page.
    pub out: &'a Path,
    /// Other images than the runs' own, for the maps.
    pub data: Option<&'a str>,
    /// Images to count codes on, at most.
    pub images: usize,
    pub overwrite: bool,
}

impl PageRequest<'_> {
    pub fn write(&self, global: &Global) -> Result<()> {
        for run in self.runs {
            if !folder_of(run).join("config.toml").is_file() {
                return Err(Error::file(
                    run,
                    "holds no run: there is no config.toml in it",
                ));
            }
        }
        let place = Place::folder(global, self.out)?;
        place.holds_none([PAGE], self.overwrite)?;
        let gpu = self.gpu(global);
        let views = self.runs.iter().zip(names(self.runs));
        let views = views
            .map(|(run, name)| self.view(global, gpu.as_ref(), run, name))
            .collect::<Result<Vec<_>>>()?;
        let html = run_page(&views).html();
        let staged = place.staged()?;
        atomic::write(&staged.path().join(PAGE), html.as_bytes())?;
        staged.put(&[])?;
        let page = self.out.join(PAGE);
        if global.json {
            let runs: Vec<String> = self.runs.iter().map(|run| output::shown(run)).collect();
            let line = serde_json::json!({
                "page": output::shown(&page), "bytes": html.len(), "runs": runs,
            });
            json::print("report-page", &line);
        } else {
            output::result(&format!("page: {}", page.display()));
        }
        Ok(())
    }

    /// The engine, where a run has a model that is mapped by it. A page has the rest without one.
    fn gpu(&self, global: &Global) -> Option<Gpu> {
        if !self.runs.iter().any(|run| has_codebook(folder_of(run))) {
            return None;
        }
        let opened = global.gpu();
        let told = opened.map_err(|e| output::note(global, &format!("no maps of codebooks: {e}")));
        told.ok()
    }

    fn view(
        &self,
        global: &Global,
        gpu: Option<&Gpu>,
        run: &Path,
        name: String,
    ) -> Result<RunView> {
        let folder = folder_of(run);
        let log = |file: &str| {
            let path = folder.join(file);
            match path.is_file() {
                true => metrics_log::columns(&path),
                // A model that was imported was not trained.
                false => Ok(Vec::new()),
            }
        };
        let maps = match gpu.filter(|_| has_codebook(folder)) {
            Some(gpu) => self.maps(gpu, run).unwrap_or_else(|e| {
                output::note(global, &format!("{name}: no map of its codebook: {e}"));
                Vec::new()
            }),
            None => Vec::new(),
        };
        let mut samples = Vec::new();
        for (prior, _) in priors_of(folder)? {
            let picture = prior.join("pictures").join("summary.png");
            if !picture.is_file() {
                continue;
            }
            let of = prior.file_name().unwrap_or_default().to_string_lossy();
            samples.push(Figure {
                png: files::read(&picture, files::LIST)?,
                alt: format!("Curves of {of}, and rows of images that it drew"),
                caption: format!("{of}: its training, and images drawn from it."),
            });
        }
        Ok(RunView {
            name,
            config: files::read_text(&folder.join("config.toml"), files::TEXT)?,
            log: log("metrics.csv")?,
            tests: log("test.csv")?,
            sessions: sessions::load(folder),
            strip: strip(&folder.join("pictures"))?,
            maps,
            samples,
        })
    }

    /// Maps of the codebooks of a run's model, by the codes of images held out.
    fn maps(&self, gpu: &Gpu, run: &Path) -> Result<Vec<Figure>> {
        let model = FirstStageModel::load(gpu, run)?;
        let set = open(run, &model, self.data)?;
        let numbers = chosen(&set, self.images)?;
        let group = |n: &u32| set.items[*n as usize].group;
        let groups: Vec<u64> = numbers.iter().map(group).collect();
        let pictures = set.gather(&numbers)?;
        let mut figures = Vec::new();
        for (i, level) in model.levels().iter().enumerate() {
            let survey = model.survey(i, &pictures, &groups, 1)?;
            let (vectors, dim) = (vectors(&model, &survey)?, model.quantizer_of(i).dim());
            for (book, vectors) in vectors.iter().enumerate().take(BOOKS_SHOWN) {
                let plane = plane(vectors, dim)?;
                let order = survey.most_used(book, plane.places.len());
                let counts = order.iter().map(|c| survey.counts[book][*c as usize]);
                let which = match (level.name.as_str(), level.codebooks) {
                    ("", 1) => String::new(),
                    ("", _) => format!(" {}", book + 1),
                    (name, 1) => format!(" of {name}"),
                    (name, _) => format!(" {} of {name}", book + 1),
                };
                let title = format!("codebook{which}");
                let png = map(&title, &plane, &counts.collect::<Vec<_>>())?.png()?;
                figures.push(Figure {
                    png,
                    alt: format!("Two scatter plots of the codes of codebook{which}"),
                    caption: format!(
                        "The codes on the plane in which they differ most: darker the more often \
                         {} images held out took them, and by colours.",
                        numbers.len()
                    ),
                });
            }
        }
        Ok(figures)
    }
}

/// Whether a run may have codebooks: it has ended, and is neither a prior nor a contrastive model.
fn has_codebook(folder: &Path) -> bool {
    let config = folder.join("config.toml");
    let is_other = PriorConfig::load(&config).is_ok() || ContrastiveConfig::load(&config).is_ok();
    folder.join("final.safetensors").is_file() && !is_other
}

/// Pictures of reconstructions at some of the steps that there are, the first and the last among
/// them, below the originals.
fn strip(pictures: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let failed = |e: std::io::Error| Error::file(pictures, format!("cannot be listed: {e}"));
    let mut steps = Vec::new();
    if pictures.is_dir() {
        for entry in std::fs::read_dir(pictures).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(step) = step_of_picture(&name) {
                steps.push((step, path));
            }
        }
    }
    steps.sort();
    let n = steps.len().min(STEPS_SHOWN);
    let last = steps.len().saturating_sub(1);
    let at = |i: usize| &steps[i * last / (n - 1).max(1)];
    let shown = (0..n).map(|i| (format!("step {}", at(i).0), at(i).1.clone()));
    let first = pictures.join("originals.png");
    let first = (n > 0 && first.is_file()).then(|| ("original".to_owned(), first));
    let read = |(label, path): (String, PathBuf)| Ok((label, files::read(&path, files::LIST)?));
    first.into_iter().chain(shown).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgvq::config::run::RunConfig;

    #[test]
    fn a_first_stage_that_ended_may_have_codebooks() {
        let run = tempfile::tempdir().unwrap();
        let has = |config: String| {
            std::fs::write(run.path().join("config.toml"), config).unwrap();
            has_codebook(run.path())
        };
        let first = || RunConfig::default().to_toml().unwrap();
        assert!(!has(first()), "it has not ended");
        std::fs::write(run.path().join("final.safetensors"), "").unwrap();
        assert!(has(first()));
        assert!(!has(PriorConfig::default().to_toml().unwrap()));
        assert!(!has(ContrastiveConfig::default().to_toml().unwrap()));
    }
}
