//! `--auto-batch`: in how many passes the steps of each stage fit the device's memory.

use super::before::{First, Stage};
use crate::cli::Global;
use crate::cli::common::output;
use crate::cli::common::peaks::passes_chosen;
use crate::cli::first_stage::train::in_passes;
use wgvq::Result;
use wgvq::gpu::Gpu;
use wgvq::plan::{fitting_contrastive, fitting_prior};
use wgvq::text2image::{Material, TrainRequest};

/// Chooses the passes of a first stage that is to begin, of the priors, and of the contrastive
/// model. The priors of all levels have one configuration, that of the level that needs most
/// passes.
pub(super) fn choose(
    global: &Global,
    gpu: &Gpu,
    first: &mut First,
    request: &mut TrainRequest,
    m: &Material,
) -> Result<()> {
    if let Stage::New(images) = &first.stage {
        first.config = in_passes(global, gpu, &first.config, images, "first stage: ")?;
    }
    let asked = request.prior.resolve()?;
    let fitted = (0..first.levels.len())
        .map(|level| fitting_prior(gpu, &asked, &m.vocabulary(&first.levels, level)))
        .collect::<Result<Vec<_>>>()?;
    let most = fitted
        .into_iter()
        .max_by_key(|(_, peak)| (peak.passes, peak.bytes));
    if let Some((config, peak)) = most {
        output::note(global, &format!("prior: {}", passes_chosen(&peak)));
        request.prior = config.into_inner();
    }
    if request.judge_steps > 0 {
        let asked = request.judge.resolve()?;
        let (config, peak) = fitting_contrastive(gpu, &asked, &m.set, m.text, &m.texts)?;
        output::note(
            global,
            &format!("contrastive model: {}", passes_chosen(&peak)),
        );
        request.judge = config.into_inner();
    }
    Ok(())
}
