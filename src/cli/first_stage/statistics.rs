//! `wgvq statistics`

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::pictures::folder_of;
use crate::cli::common::place::Place;
use crate::cli::common::watched::in_parts;
use crate::cli::first_stage::inspect::open;
use crate::cli::first_stage::pack::STATISTICS;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::Result;
use wgvq::codes::entropy::CodeStatistics;
use wgvq::inference::FirstStageModel;
use wgvq::storage::atomic;

/// Images that go through the model at once.
const BATCH: usize = 256;

#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq statistics runs/emoji
  wgvq statistics runs/photos --data more/photos --overwrite")]
pub struct Statistics {
    /// The run whose model encodes: its folder, its final.safetensors, or a name
    /// that `wgvq get` lists
    pub run: PathBuf,
    /// The images whose codes are counted: those of the training split [default: the run's own]
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// The file of the counts [default: code-statistics.safetensors in the run's folder, where
    /// `wgvq pack` and `wgvq unpack` find it]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace a file that is there: what was packed with it is unpacked with it alone
    #[arg(long)]
    overwrite: bool,
}

impl Statistics {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let own = || folder_of(&self.run).join(STATISTICS);
        let output = self.output.clone().unwrap_or_else(own);
        // Held until the file is written.
        let _place = Place::file(global, &output, self.overwrite)?;
        apart([model_of(&self.run)], [&output])?;
        let model = FirstStageModel::load(&global.gpu()?, &self.run)?;
        let set = open(&self.run, &model, self.data.as_deref())?;
        let mut statistics = CodeStatistics::new(model.hash(), model.levels());
        let counted = in_parts(global, "images", set.train.len(), BATCH, |part| {
            statistics.count(&model.encode(&set.gather(&set.train[part])?)?)
        });
        if counted?.is_none() {
            return Ok(CommandStatus::Abandoned);
        }
        let bytes = statistics.to_bytes()?;
        atomic::write(&output, &bytes)?;
        let images = statistics.images();
        if global.json {
            let line = serde_json::json!({
                "statistics": output::shown(&output), "images": images, "bytes": bytes.len(),
            });
            json::print("statistics", &line);
        } else {
            output::result(&format!(
                "{}: the codes of {images} images of {}, {} kB",
                output.display(),
                set.name,
                bytes.len().div_ceil(1000)
            ));
        }
        Ok(CommandStatus::Done)
    }
}
