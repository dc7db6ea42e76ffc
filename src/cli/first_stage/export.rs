//! `wgvq export`: a trained model, or a part of it, for other programs.

use crate::cli::common::apart::{apart, model_of};
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::common::pictures::folder_of;
use crate::cli::common::place::Place;
use crate::cli::first_stage::inspect::name_of;
use crate::cli::first_stage::model_card::{HUB_FILES, hub_files};
use crate::cli::first_stage::page::Page;
use crate::cli::{CommandStatus, Global};
use clap::Args;
use std::path::{Path, PathBuf};
use wgvq::inference::{Bundle, DECODER_FORMAT, FirstStageModel};
use wgvq::models::first_stage::vqvae2::{MOST_LEVELS, level_names};
use wgvq::storage::atomic;
use wgvq::{Error, Result};

/// The options that do not go with those of pages.
const OTHERS_THAN_PAGES: [&str; 6] = ["decoder", "hf", "onnx", "npy", "faiss", "bundle"];

/// `wgvq export RUN --decoder -o decoder.safetensors`
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq export runs/emoji --decoder -o decoder.safetensors
  wgvq export runs/emoji --hf hub/emoji      # config.json, model.safetensors, README.md
  wgvq export runs/emoji --onnx onnx/emoji   # encoder.onnx, quantizer.onnx, decoder.onnx
  wgvq export runs/emoji --npy arrays/emoji  # codebook.npy
  wgvq export runs/emoji --faiss arrays/emoji     # codebook.faiss
  wgvq export runs/emoji --page page/emoji   # index.html and what belongs to it
  wgvq export emoji32 --page page/emoji32    # the same around a model of the program
  wgvq export runs/emoji --bundle emoji.bundle    # all of the run, for `wgvq get` elsewhere")]
pub struct Export {
    /// The run whose model is exported: its folder, its final.safetensors, or a name
    /// that `wgvq get` lists
    pub run: PathBuf,
    #[command(flatten)]
    what: What,
    /// The decoder's file, safetensors under PyTorch's names and layouts
    #[arg(
        long,
        short,
        value_name = "FILE",
        required_unless_present_any = ["hf", "onnx", "npy", "faiss", "page", "bundle"],
        conflicts_with_all = ["hf", "onnx", "npy", "faiss", "page", "bundle"]
    )]
    output: Option<PathBuf>,
    /// The prior that the page draws with: its folder, or the run that has it [default: the run's
    /// own, where it has one]
    #[arg(long, value_name = "DIR", conflicts_with_all = OTHERS_THAN_PAGES)]
    prior: Option<PathBuf>,
    /// The page's title [default: the run's name]
    #[arg(long, value_name = "TEXT", conflicts_with_all = OTHERS_THAN_PAGES)]
    title: Option<String>,
    /// The images of the run, where they lie elsewhere now: the page offers some that were held out
    #[arg(long, value_name = "SOURCE", conflicts_with_all = OTHERS_THAN_PAGES)]
    data: Option<String>,
    /// The folder of the page's engine, which releases have in share/wgvq/page, and scripts/web.sh
    /// builds
    #[arg(long, value_name = "DIR", conflicts_with_all = OTHERS_THAN_PAGES)]
    engine: Option<PathBuf>,
    /// Replace files that are there; also delete files of an earlier export of the same kind
    #[arg(long)]
    overwrite: bool,
}

/// The kinds of export, of which one is chosen.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The decoder with its codebooks: what turns codes into images, and nothing of the encoder or
    /// of training
    #[arg(long)]
    decoder: bool,
    /// The whole model in a folder as the Hugging Face Hub has them: the configuration, the
    /// weights, and a card with what was measured; nothing of where the images lay
    #[arg(long, value_name = "DIR")]
    hf: Option<PathBuf>,
    /// The encoder, the quantizer and the decoder as ONNX files in a folder, opset 18 (vqvae and
    /// vqgan)
    #[arg(long, value_name = "DIR")]
    onnx: Option<PathBuf>,
    /// The codebooks as NumPy arrays in a folder
    #[arg(long, value_name = "DIR")]
    npy: Option<PathBuf>,
    /// The codebooks as indexes of faiss in a folder
    #[arg(long, value_name = "DIR")]
    faiss: Option<PathBuf>,
    /// A web page around the run in a folder, for any server of files: it reconstructs pictures,
    /// paints on their codes, draws new ones where the run has a prior, and trains, all on the GPU
    /// of whoever visits it
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// The run as one file for `wgvq get`: first stage, priors, texts' tokenizer, contrastive
    /// model, configurations and logs, with tensors in 16 bits; nothing of where the images lay, no
    /// checkpoints
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

impl Export {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        let What {
            hf,
            onnx,
            npy,
            faiss,
            page,
            bundle,
            ..
        } = &self.what;
        if let Some(file) = bundle {
            return self.bundle(global, file);
        }
        if let Some(folder) = page {
            let page = Page {
                run: &self.run,
                folder,
                prior: self.prior.as_deref(),
                title: self.title.as_deref(),
                engine: self.engine.as_deref(),
                data: self.data.as_deref(),
                overwrite: self.overwrite,
            };
            return page.write(global).map(|()| CommandStatus::Done);
        }
        if let Some(folder) = hf {
            let name = name_of(&self.run);
            return self.files(global, folder, is_hub_file, |model| {
                hub_files(model, folder_of(&self.run), &name)
            });
        }
        if let Some(folder) = onnx {
            return self.files(global, folder, is_onnx_file, |model| {
                let files = model.to_onnx()?;
                if files.quantizer.is_none() {
                    let kind = &model.config().quantizer.kind;
                    let what = format!(
                        "no quantizer.onnx: there is no graph of the rule of `{kind}`; the encoder \
                         gives latents, and the decoder takes codes"
                    );
                    output::note(global, &what);
                }
                let all = [
                    ("encoder.onnx", Some(files.encoder)),
                    ("quantizer.onnx", files.quantizer),
                    ("decoder.onnx", Some(files.decoder)),
                ];
                let there = all.into_iter();
                Ok(there
                    .filter_map(|(name, bytes)| Some((name.to_owned(), bytes?)))
                    .collect())
            });
        }
        if let Some(folder) = npy {
            return self.files(
                global,
                folder,
                |name| is_codebook_file(name, ".npy"),
                FirstStageModel::codebook_arrays,
            );
        }
        if let Some(folder) = faiss {
            return self.files(
                global,
                folder,
                |name| is_codebook_file(name, ".faiss"),
                FirstStageModel::codebook_indexes,
            );
        }
        let Some(output) = &self.output else {
            return Err(Error::config("--output", "names the decoder's file"));
        };
        self.decoder(global, output)
    }

    /// Writes files of the model to a folder: all of them, or none. Of the files that `is_own` says
    /// such an export writes, an earlier one's go that this one does not write.
    fn files(
        &self,
        global: &Global,
        folder: &Path,
        is_own: fn(&str) -> bool,
        make: impl FnOnce(&FirstStageModel) -> Result<Vec<(String, Vec<u8>)>>,
    ) -> Result<CommandStatus> {
        let place = Place::folder(global, folder)?;
        let model = FirstStageModel::load(&global.gpu()?, &self.run)?;
        let files = make(&model)?;
        let paths: Vec<PathBuf> = files.iter().map(|(name, _)| folder.join(name)).collect();
        apart([model_of(&self.run)], &paths)?;
        let earlier = files_of(folder, is_own)?;
        let new = files.iter().map(|(name, _)| name.as_str());
        place.holds_none(
            new.chain(earlier.iter().map(String::as_str)),
            self.overwrite,
        )?;
        let staged = place.staged()?;
        for (name, bytes) in &files {
            atomic::write(&staged.path().join(name), bytes)?;
        }
        let earlier: Vec<PathBuf> = earlier.iter().map(|name| folder.join(name)).collect();
        staged.put(&earlier)?;
        for ((_, bytes), path) in files.iter().zip(&paths) {
            if global.json {
                let line = serde_json::json!({
                    "file": output::shown(path), "bytes": bytes.len(), "model": model.hash(),
                });
                json::print("export-file", &line);
            } else {
                let kib = bytes.len().div_ceil(1 << 10);
                output::result(&format!("{}: {kib} KiB", path.display()));
            }
        }
        Ok(CommandStatus::Done)
    }

    fn bundle(&self, global: &Global, output: &Path) -> Result<CommandStatus> {
        let _place = Place::file(global, output, self.overwrite)?;
        let (bundle, left_out) = Bundle::of_run(&self.run)?;
        for what in &left_out {
            output::note(global, &format!("left out: {what}"));
        }
        let folder = folder_of(&self.run);
        let read: Vec<PathBuf> = bundle.names().map(|name| folder.join(name)).collect();
        apart(&read, [output])?;
        let bytes = bundle.to_bytes()?;
        atomic::write(output, &bytes)?;
        let names: Vec<&str> = bundle.names().collect();
        if global.json {
            let line = serde_json::json!({
                "file": output::shown(output), "bytes": bytes.len(), "files": names,
                "parameters": bundle.parameter_count(), "left_out": left_out,
            });
            json::print("export-bundle", &line);
        } else {
            let kib = bytes.len().div_ceil(1 << 10);
            let all = names.join(", ");
            output::result(&format!("{}: {kib} KiB of {all}", output.display()));
        }
        Ok(CommandStatus::Done)
    }

    fn decoder(&self, global: &Global, output: &Path) -> Result<CommandStatus> {
        let _place = Place::file(global, output, self.overwrite)?;
        apart([model_of(&self.run)], [output])?;
        let model = FirstStageModel::load(&global.gpu()?, &self.run)?;
        let bytes = model.to_decoder_bytes()?;
        atomic::write(output, &bytes)?;
        if global.json {
            let line = serde_json::json!({
                "file": output::shown(output), "bytes": bytes.len(),
                "format": DECODER_FORMAT, "model": model.hash(),
            });
            json::print("export-decoder", &line);
            return Ok(CommandStatus::Done);
        }
        let (path, kib) = (output.display(), bytes.len().div_ceil(1 << 10));
        output::result(&format!(
            "{path}: a decoder of {} codes to an image, {kib} KiB",
            model.codes_per_image()
        ));
        Ok(CommandStatus::Done)
    }
}

fn is_hub_file(name: &str) -> bool {
    HUB_FILES.contains(&name)
}

fn is_onnx_file(name: &str) -> bool {
    matches!(name, "encoder.onnx" | "quantizer.onnx" | "decoder.onnx")
}

/// Whether this is `codebook.npy`, `codebook-1.npy`, `codebook-top.npy`, `codebook-moments.npy` and
/// so on, of this ending.
fn is_codebook_file(name: &str, ending: &str) -> bool {
    let stem = name.strip_suffix(ending);
    let Some(of) = stem.and_then(|stem| stem.strip_prefix("codebook")) else {
        return false;
    };
    let level = |of: &str| {
        let mut levels = (2..=MOST_LEVELS).flat_map(level_names);
        of.is_empty() || levels.any(|level| of.strip_prefix('-') == Some(level.as_str()))
    };
    let number = of
        .rsplit_once('-')
        .filter(|(_, n)| n.parse::<u32>().is_ok());
    level(of)
        || number.is_some_and(|(of, _)| level(of))
        || ending == ".npy" && of.strip_suffix("-moments").is_some_and(level)
}

/// The names of the files in a folder that `is_own` accepts.
fn files_of(folder: &Path, is_own: fn(&str) -> bool) -> Result<Vec<String>> {
    let failed = |e: std::io::Error| Error::file(folder, format!("cannot be listed: {e}"));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_own(&name) && entry.file_type().map_err(failed)?.is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_an_export_are_known_by_name() {
        for own in ["", "-1", "-12", "-top", "-bottom", "-top-2", "-middle-1"] {
            for ending in [".npy", ".faiss"] {
                let name = format!("codebook{own}{ending}");
                assert!(is_codebook_file(&name, ending), "{name}");
            }
        }
        for other in ["-mine", "s", "-top-mine", "-1-2", "-1-moments"] {
            let name = format!("codebook{other}.npy");
            assert!(!is_codebook_file(&name, ".npy"), "{name}");
        }
        for own in ["codebook-moments", "codebook-top-moments"] {
            assert!(is_codebook_file(&format!("{own}.npy"), ".npy"), "{own}");
            assert!(!is_codebook_file(&format!("{own}.faiss"), ".faiss"));
        }
        for other in ["codebook.txt", "images.npy", "codebook.faiss"] {
            assert!(!is_codebook_file(other, ".npy"), "{other}");
        }
    }
}
