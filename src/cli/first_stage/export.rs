//! `wgvq export`: a part of a trained model as a file of its own.

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::inference::{DECODER_FORMAT, FirstStageModel};
use wgvq::storage::atomic;
use wgvq::{Error, Result};

/// `wgvq export RUN --decoder -o decoder.safetensors`
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq export runs/emoji --decoder -o decoder.safetensors")]
pub struct Export {
    /// The run whose model is exported: its folder, or its final.safetensors
    run: PathBuf,
    /// The decoder with its codebooks: what turns codes into images, and nothing of the encoder or
    /// of training
    #[arg(long)]
    decoder: bool,
    /// The file, safetensors under PyTorch's names and layouts
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    overwrite: bool,
}

impl Export {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        if !self.decoder {
            let what = "says what to export, and is the one part there is; the whole model is the \
                        run's final.safetensors";
            return Err(Error::config("--decoder", what));
        }
        let _place = Place::file(global, &self.output, self.overwrite)?;
        apart([model_of(&self.run)], [&self.output])?;
        let model = FirstStageModel::load(&global.gpu()?, &self.run)?;
        let bytes = model.to_decoder_bytes()?;
        atomic::write(&self.output, &bytes)?;
        if global.json {
            let line = serde_json::json!({
                "file": output::shown(&self.output), "bytes": bytes.len(),
                "format": DECODER_FORMAT, "model": model.hash(),
            });
            output::result(&line.to_string());
            return Ok(CommandStatus::Done);
        }
        let (path, kib) = (self.output.display(), bytes.len().div_ceil(1 << 10));
        output::result(&format!(
            "{path}: a decoder of {} codes to an image, {kib} KiB",
            model.codes_per_image()
        ));
        Ok(CommandStatus::Done)
    }
}
