//! `wgvq import`: a first stage that others trained.

use crate::cli::common::apart::apart;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::data::is_there;
use wgvq::inference::import::read;
use wgvq::storage::run_folder::RunFolder;
use wgvq::{Error, Result};

/// `wgvq import vqgan.safetensors --size 256 --out runs/vqgan`
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq import vqgan_imagenet_f16_16384.safetensors --size 256 --data ~/pictures --out runs/taming
  wgvq import amused-256/vqvae --size 256 --out runs/amused
  wgvq reconstruct runs/taming a.png -o side-by-side.png
  wgvq prior runs/taming")]
pub struct Import {
    /// A checkpoint in safetensors of taming-transformers' or diffusers' VQModel, a LlamaGen VQ
    /// tokenizer or that of Janus in transformers; or a folder with one and its config.json
    file: PathBuf,
    /// The run to make of it
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The prefix of the first stage's names, such as first_stage_model, where the file holds
    /// several models
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
    /// Width and height of its images: a multiple of the model's downsampling factor
    #[arg(long, default_value_t = 256, value_name = "PIXELS")]
    size: usize,
    /// Images that a prior is to be trained on, unless it names others: a folder, an IDX file or
    /// a named data set
    #[arg(long)]
    data: Option<String>,
    /// Whether latents and codes are L2-normalised. Default: yes for LlamaGen's and Janus'
    /// checkpoints, no for others
    #[arg(long)]
    cosine: Option<bool>,
    /// Replace a run that is there
    #[arg(long)]
    overwrite: bool,
}

impl Import {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        apart(
            [&self.file],
            [
                self.out.join("final.safetensors"),
                self.out.join("config.toml"),
            ],
        )?;
        RunFolder::may_create(&self.out, self.overwrite)?;
        if let Some(source) = self.data.as_ref().filter(|source| !is_there(source)) {
            let what =
                format!("`{source}` is not there: name a folder, an IDX file or a named data set");
            return Err(Error::config("--data", what));
        }
        let mut imported = read(&self.file, self.prefix.as_deref())?;
        if let Some(source) = &self.data {
            imported.config.data.source = wgvq::data::absolute(source);
        }
        if let Some(cosine) = self.cosine {
            imported.config.quantizer.use_cosine_sim = cosine;
        }
        let gpu = global.gpu()?;
        // What cannot be loaded leaves no folder behind.
        imported.check(&gpu, [self.size; 2])?;
        let folder = RunFolder::create(&self.out, self.overwrite)?;
        imported.write(&gpu, [self.size; 2], &folder)?;
        let (m, q) = (&imported.config.model, &imported.config.quantizer);
        if global.json {
            let line = serde_json::json!({
                "run": output::shown(folder.path()), "config": imported.config,
                "prefix": imported.prefix,
                "others": imported.others, "left_out": imported.left_out });
            output::result(&line.to_string());
            return Ok(CommandStatus::Done);
        }
        let names = imported.names.program();
        if !imported.others.is_empty() {
            let others = imported
                .others
                .iter()
                .map(|p| format!("`{p}`"))
                .collect::<Vec<_>>()
                .join(", ");
            let taken = &imported.prefix;
            output::note(
                global,
                &format!("took `{taken}`; the file also holds {others}, which --prefix would take"),
            );
        }
        let left = imported.left_out.len();
        output::note(
            global,
            &format!(
                "{names}' names; {left} tensors do not belong to the first stage and are left out"
            ),
        );
        let (side, cells) = (self.size, self.size >> (m.multipliers.len() - 1));
        let (hidden, codes, dim) = (m.hidden, q.codebook_size, q.codebook_dim);
        output::result(&format!(
            "{hidden} channels times {:?}, {codes} codes of {dim}: {side} x {side} pixels are \
             {cells} x {cells} codes",
            m.multipliers
        ));
        output::result(&format!("model: {}", folder.model().display()));
        Ok(CommandStatus::Done)
    }
}
