//! `wgvq import`: a first stage that others trained, or a codebook.

use crate::cli::common::apart::apart;
use crate::cli::common::array::Array;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::PathBuf;
use wgvq::data::is_there;
use wgvq::inference::import::{Names, read, read_codebook};
use wgvq::storage::run_folder::RunFolder;
use wgvq::vectors::Structure;
use wgvq::{Error, Result};

/// `wgvq import vqgan.safetensors --size 256 --out runs/vqgan`
#[derive(Args)]
#[command(after_long_help = "\
With --out FILE.npy it writes the codebooks alone, as `wgvq quantize --codebook` reads them: of any
of these models, or of the state dict of a quantizer of vector-quantize-pytorch (VectorQuantize,
ResidualVQ, SimVQ), Encodec, Sonnet, Haiku or an embedding of PyTorch.

Examples:
  wgvq import vqgan_imagenet_f16_16384.safetensors --size 256 --data ~/pictures --out runs/taming
  wgvq import amused-256/vqvae --size 256 --out runs/amused
  wgvq import vae_ch160v4096z32.safetensors --size 256 --out runs/var
  wgvq import residual_vq.safetensors --out books.npy
  wgvq reconstruct runs/taming a.png -o side-by-side.png
  wgvq prior runs/taming")]
pub struct Import {
    /// A checkpoint in safetensors of taming-transformers' or diffusers' VQModel, a VQ tokenizer of
    /// LlamaGen, of Janus or Emu3 in transformers, of VAR or MaskGIT, or a quantizer's state dict:
    /// a file, the index of several (model.safetensors.index.json), or the folder with either and
    /// its config.json
    file: PathBuf,
    /// The run to make of it, or a .npy file for its codebooks alone
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The prefix of the first stage's names, such as first_stage_model, where the file holds
    /// several models
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
    /// Width and height of its images: a multiple of the model's downsampling factor
    #[arg(long, default_value_t = 256, value_name = "PIXELS")]
    size: usize,
    /// VAR's tokenizer: sides of the grids of codes, the last that of the latents. Default: the
    /// authors' for images of 256 and 512 pixels
    #[arg(long, value_name = "SIDES", value_delimiter = ',')]
    scales: Vec<usize>,
    /// Images that a prior is to be trained on, unless it names others: a folder, a file or a named
    /// data set
    #[arg(long)]
    data: Option<String>,
    /// Whether latents and codes are L2-normalised; of VAR's tokenizer, whether codes are searched
    /// so (`using_znorm`); of codebooks alone, the codes. Default: yes for LlamaGen's and Janus'
    /// checkpoints, no for others
    #[arg(long)]
    cosine: Option<bool>,
    /// Replace a run that is there
    #[arg(long)]
    overwrite: bool,
}

impl Import {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        if self
            .out
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("npy"))
        {
            return self.codebook(global);
        }
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
        if !self.scales.is_empty() {
            if imported.names != Names::Var {
                let what = format!(
                    "{}'s tokenizers have one grid of codes: leave it out",
                    imported.names.program()
                );
                return Err(Error::config("--scales", what));
            }
            imported.config.quantizer.scales = self.scales.clone();
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
            json::print("import", &line);
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
                "named as by {names}; {left} tensors do not belong to the first stage and are left \
                 out"
            ),
        );
        let (side, cells) = (self.size, self.size >> (m.multipliers.len() - 1));
        let (hidden, codes, dim) = (m.hidden, q.codebook_size, q.codebook_dim);
        let grids = match imported.names {
            Names::Var => format!("codes on grids of up to {cells} x {cells}"),
            _ => format!("{cells} x {cells} codes"),
        };
        output::result(&format!(
            "{hidden} channels times {:?}, {codes} codes of {dim}: {side} x {side} pixels are \
             {grids}",
            m.multipliers
        ));
        output::result(&format!("model: {}", folder.model().display()));
        Ok(CommandStatus::Done)
    }

    /// Writes the codebooks of a quantizer as an array.
    fn codebook(&self, global: &Global) -> Result<CommandStatus> {
        let without_effect = [
            ("--data", self.data.is_some()),
            ("--scales", !self.scales.is_empty()),
        ];
        if let Some((key, _)) = without_effect.iter().find(|(_, given)| *given) {
            let what = "a codebook alone does not read it: leave it out, or name a folder by --out";
            return Err(Error::config(*key, what));
        }
        apart([&self.file], [&self.out])?;
        let place = Place::file(global, &self.out, self.overwrite)?;
        let imported = read_codebook(&self.file, self.prefix.as_deref(), self.cosine)?;
        let codebooks = &imported.codebooks;
        let [m, k, d] = codebooks.shape();
        let shape = match codebooks.structure() {
            Structure::Kmeans => vec![k as u64, d as u64],
            _ => vec![m as u64, k as u64, d as u64],
        };
        let mut array = Array::<f32>::begin(&place, &self.out, &shape)?;
        array.extend(codebooks.values().iter().copied())?;
        array.whole()?.put()?;
        let structure = serde_json::json!(codebooks.structure());
        let structure = structure.as_str().unwrap_or_default();
        if global.json {
            let line = serde_json::json!({
                "codebook": output::shown(&self.out), "prefix": imported.prefix,
                "program": imported.program, "quantizer": structure, "cosine": imported.cosine,
                "codebooks": m, "codes": k, "dim": codebooks.dim() });
            json::print("import-codebook", &line);
            return Ok(CommandStatus::Done);
        }
        let length = if imported.cosine {
            "; its codes are brought to length 1"
        } else {
            ""
        };
        output::note(global, &format!("named as by {}{length}", imported.program));
        let books = match m {
            1 => "1 codebook".to_owned(),
            _ => format!("{m} codebooks"),
        };
        output::result(&format!(
            "{books} of {k} codes for vectors of {} numbers",
            codebooks.dim()
        ));
        let out = self.out.display();
        output::result(&format!(
            "codebook: {out}, for wgvq quantize --quantizer {structure} --codebook {out}"
        ));
        Ok(CommandStatus::Done)
    }
}
