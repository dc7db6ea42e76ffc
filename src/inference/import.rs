//! First stages that others trained: checkpoints of taming-transformers' and diffusers' `VQModel`,
//! with MoVQ's spatial norms or without, of LlamaGen's VQ tokenizers, of Janus' in transformers, of
//! VAR's, MaskGIT's and Emu3's become a run of ours.

#[cfg(not(target_arch = "wasm32"))]
mod codebook;
mod emu3;
mod names;
mod rewrite;
mod source;
mod tensors;
mod weights;

#[cfg(not(target_arch = "wasm32"))]
pub use codebook::{ImportedCodebook, read_codebook};
pub use names::Names;

use crate::config::DottedConfig;
use crate::config::check;
use crate::config::run::{ModelKind, ResolvedConfig, RunConfig};
use crate::data::NO_SOURCE;
use crate::gpu::Gpu;
use crate::inference::first_stage::build;
use crate::nn::HostTensors;
use crate::quantize::Registry;
use crate::storage::checkpoint;
use crate::storage::checkpoint::{Checkpoint, HostTensor};
use crate::storage::run_folder::RunFolder;
use crate::storage::{atomic, weights as layout};
use crate::{Error, Result};
use names::{ANCHOR, CODEBOOK};
use rewrite::rewritten;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use weights::Weights;

/// A checkpoint of another program under our names, and the configuration that its tensors' shapes
/// imply.
///
/// ```no_run
/// use wgvq::gpu::{Gpu, Options};
/// use wgvq::inference::import::read;
/// use wgvq::storage::run_folder::RunFolder;
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let imported = read("vqgan_imagenet_f16_1024.safetensors".as_ref(), None)?;
/// let folder = RunFolder::create("runs/imagenet".as_ref(), false)?;
/// imported.write(&gpu, [256, 256], &folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Imported {
    file: PathBuf,
    /// The naming scheme that it had.
    pub names: Names,
    /// The prefix that its names had.
    pub prefix: String,
    /// The prefixes of the file's other models.
    pub others: Vec<String>,
    /// The first stage's configuration.
    pub config: RunConfig,
    /// Channels of its images.
    pub channels: usize,
    tensors: HostTensors,
    /// Tensors that belong to no first stage (discriminators, perceptual networks, averages), by
    /// name.
    pub left_out: Vec<String>,
}

/// The most resolutions of a VQ-GAN.
const MOST_LEVELS: usize = 7;

/// Sides of the grids of codes that VAR was trained with, for images of 256 and of 512 pixels.
const VAR_SCALES: [&[usize]; 2] = [
    &[1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
    &[1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
];
/// The prefix of the first stage in a file of two stages.
const FIRST_STAGE: &str = "first_stage_model.";

/// Reads a checkpoint in safetensors, f32, f16 or bf16: a file, the index of several, or a folder
/// with either and a `config.json`, as diffusers and transformers write it. Of several files those
/// are read that hold parts of the first stage. Names may stand behind a prefix, with or without
/// its last dot; where there are several first stages, `prefix` says which, unless one of them is a
/// `first_stage_model`.
///
/// # Errors
/// If a file cannot be read, it is no such checkpoint, or holds several; the message names what is
/// missing, or what there is.
pub fn read(path: &Path, prefix: Option<&str>) -> Result<Imported> {
    let path = &source::weights(path)?;
    source::check_config(path)?;
    let weights = Weights::open(path)?;
    let at = |e: Error| Error::file(path, e);
    let names = weights.names();
    let advised = |e: Error| Error::file(path, format!("{e}{}", source::advice(path)));
    let (prefix, others) = choose(&names, prefix).map_err(advised)?;
    let mut own = HostTensors::new();
    let mut left_out = Vec::new();
    for name in &names {
        let rest = name.strip_prefix(prefix).unwrap_or_default();
        let parts = [
            "encoder.",
            "decoder.",
            "quant_conv.",
            "post_quant_conv.",
            CODEBOOK,
            "quantize.quant_resi.",
        ];
        if !parts.iter().any(|p| rest.starts_with(p)) {
            left_out.push((*name).to_owned());
            continue;
        }
        // What a batch norm counted is no number of the model.
        if rest.ends_with(".num_batches_tracked") {
            continue;
        }
        own.insert(rest.to_owned(), weights.read(name)?);
    }
    left_out.sort();
    let names = Names::of(own.keys().map(String::as_str)).map_err(at)?;
    let ours = names.renamed(own).and_then(|own| rewritten(names, own));
    let mut tensors = HostTensors::new();
    for (name, (shape, values)) in ours.map_err(at)? {
        let tensor = layout::import(&HostTensor::f32(&shape, &values)).map_err(at)?;
        tensors.insert(name, tensor);
    }
    let (config, channels) = configuration(&tensors, names).map_err(at)?;
    let prefix = prefix.trim_end_matches('.').to_owned();
    Ok(Imported {
        file: path.clone(),
        names,
        prefix,
        others,
        config,
        channels,
        tensors,
        left_out,
    })
}

/// Returns the prefix of the first stage to take, and those of the other models.
fn choose<'a>(names: &[&'a str], asked: Option<&str>) -> Result<(&'a str, Vec<String>)> {
    let mut all: Vec<&str> = names
        .iter()
        .filter_map(|n| n.strip_suffix(ANCHOR))
        .collect();
    all.retain(|p| p.is_empty() || p.ends_with('.'));
    all.sort_unstable();
    let shown = |p: &str| format!("`{}`", p.trim_end_matches('.'));
    let list = |of: &[&str]| of.iter().map(|p| shown(p)).collect::<Vec<_>>().join(", ");
    // An autoencoder may have no codes: that of latent diffusion, say.
    let coded = |p: &&str| names.iter().any(|n| n.strip_prefix(p) == Some(CODEBOOK));
    let usable: Vec<&str> = all.iter().copied().filter(coded).collect();
    let found = match asked.map(|p| p.trim_end_matches('.')) {
        Some(p) => match all.iter().find(|known| known.trim_end_matches('.') == p) {
            Some(known) => *known,
            None if all.is_empty() => "",
            None => {
                let what = format!(
                    "holds no first stage behind the prefix `{p}`: there are {}",
                    list(&all)
                );
                return Err(Error::data(what));
            }
        },
        None => match (&usable[..], &all[..]) {
            (_, [only]) | ([only], _) => *only,
            (several, _) if several.contains(&FIRST_STAGE) => FIRST_STAGE,
            (_, []) => "",
            ([], several) | (several, _) => {
                let what = format!(
                    "holds {} models: {}; say which by --prefix",
                    several.len(),
                    list(several)
                );
                return Err(Error::data(what));
            }
        },
    };
    let Some(found) = all.iter().copied().find(|p| *p == found) else {
        return Err(Error::data(format!(
            "holds no `{ANCHOR}`: it is no VQ-GAN of taming-transformers, diffusers, LlamaGen, \
             Janus, VAR, MaskGIT or Emu3. The codebook of a quantizer alone becomes an array: \
             name a .npy file by --out"
        )));
    };
    if !coded(&found) {
        let what = format!(
            "the model {} has no `{CODEBOOK}`: it has no codes",
            shown(found)
        );
        return Err(Error::data(what));
    }
    Ok((
        found,
        all.iter()
            .filter(|p| **p != found)
            .map(|p| p.trim_end_matches('.').to_owned())
            .collect(),
    ))
}

/// Returns the configuration that the shapes imply, under taming-transformers' names, and the
/// images' channels.
fn configuration(tensors: &HostTensors, names: Names) -> Result<(RunConfig, usize)> {
    let shape = |name: &str| {
        let missing = || {
            Error::data(format!(
                "the tensor `{name}` is missing: it is no whole VQ-GAN"
            ))
        };
        tensors
            .get(name)
            .map(|(shape, _)| shape.clone())
            .ok_or_else(missing)
    };
    let last = |name: &str, at: usize| -> Result<usize> {
        let shape = shape(name)?;
        shape
            .get(at)
            .copied()
            .ok_or_else(|| Error::data(format!("the tensor `{name}` has shape {shape:?}")))
    };
    let has = |name: String| tensors.contains_key(&name);
    let hidden = last("encoder.conv_in.weight", 0)?;
    let channels = last("encoder.conv_in.weight", 3)?;
    let levels = (0..)
        .take_while(|i| has(format!("encoder.down.{i}.block.0.conv1.weight")))
        .count();
    if levels > MOST_LEVELS {
        let what = format!(
            "has tensors of {levels} resolutions (`encoder.down.{}` is the last): at most \
             {MOST_LEVELS} are known",
            levels - 1
        );
        return Err(Error::data(what));
    }
    let blocks = (0..)
        .take_while(|j| has(format!("encoder.down.0.block.{j}.conv1.weight")))
        .count();
    let width = |i: usize| last(&format!("encoder.down.{i}.block.0.conv1.weight"), 0);
    let multipliers = (0..levels)
        .map(|i| Ok(width(i)? / hidden.max(1)))
        .collect::<Result<Vec<_>>>()?;
    let [codes, dim] = [last(CODEBOOK, 0)?, last(CODEBOOK, 1)?];
    let mut c = RunConfig::default();
    // Whoever imports it may name images; none are its own.
    c.data.source = NO_SOURCE.into();
    c.model.kind = ModelKind::VqGan;
    c.model.hidden = hidden;
    c.model.multipliers = multipliers;
    c.model.residual_layers = blocks;
    c.model.attention = (0..levels)
        .filter(|i| has(format!("encoder.down.{i}.attn.0.q.weight")))
        .map(|i| 1 << i)
        .collect();
    c.model.mid_attention = has("encoder.mid.attn_1.q.weight".into());
    c.model.latent_channels = last("encoder.conv_out.weight", 0)?;
    c.model.spatial_norms = has("decoder.norm_out.norm_layer.weight".into());
    // Ours lie as [O, KH, KW, I].
    c.model.latent_kernel = last("quant_conv.weight", 1)?;
    c.model.unit_pixels = names == Names::MaskGit;
    let latents = |j: &usize| has(format!("encoder.latents.block.{j}.conv1.weight"));
    c.model.latent_blocks = (0..).take_while(latents).count();
    c.quantizer.kind = "vq".into();
    if names == Names::Var {
        let phi = (0..).take_while(|i| has(format!("quantize.phi.{i}.weight")));
        c.quantizer.kind = "multiscale".into();
        c.quantizer.scale_convolutions = phi.count();
        // What the authors trained with: files do not say it.
        c.quantizer.scale_ratio = match c.quantizer.scale_convolutions {
            0 => 0.0,
            _ => 0.5,
        };
    }
    c.quantizer.codebook_size = codes;
    c.quantizer.codebook_dim = dim;
    c.quantizer.dim = dim;
    // Latents and codes of length 1, in all that LlamaGen and Janus published.
    c.quantizer.use_cosine_sim = matches!(names, Names::LlamaGen | Names::Janus);
    Ok((c, channels))
}

/// Returns whether a key of a configuration is of what a file says, not of what whoever imports it
/// does.
fn is_of_file(key: &str) -> bool {
    let asked = ["quantizer.scales", "quantizer.use_cosine_sim"];
    !key.starts_with("data.") && !asked.contains(&key)
}

impl Imported {
    fn configured(&self, [width, height]: [usize; 2]) -> Result<ResolvedConfig> {
        let mut config = self.config.clone();
        // In a configuration 0 is the data's own size, and here there are no data.
        let coarsest = config.model.coarsest();
        for (key, pixels) in [("data.width", width), ("data.height", height)] {
            check(
                key,
                pixels,
                pixels > 0,
                &format!("a multiple of {coarsest}, the pixels of a latent, up to 16384"),
            )?;
        }
        (config.data.width, config.data.height, config.data.channels) =
            (width, height, self.channels);
        if self.names == Names::Var && config.quantizer.scales.is_empty() {
            let side = height / coarsest.max(1);
            let known = VAR_SCALES
                .iter()
                .find(|scales| scales.last() == Some(&side));
            let scales = known.ok_or_else(|| {
                let what = format!(
                    "images of {height} pixels have a grid of {side} x {side} latents, for which \
                     VAR's authors name no scales (they do for 16 and 32): name them, the last \
                     {side}, by --scales"
                );
                Error::config("quantizer.scales", what)
            })?;
            config.quantizer.scales = scales.to_vec();
        }
        let (scales, least) = (
            config.quantizer.scales.len(),
            config.quantizer.scale_convolutions,
        );
        if self.names == Names::Var && scales < least {
            let what = format!(
                "{scales} scales are named, and the file has {least} convolutions over enlarged \
                 codes, each of at least one scale: name {least} or more by --scales"
            );
            return Err(Error::config("quantizer.scales", what));
        }
        config.resolve(&Registry::default()).map_err(|e| match e {
            Error::Config { key, what } if is_of_file(&key) => Error::file(
                &self.file,
                format!("its tensors imply a model that there is none of here: {key}: {what}"),
            ),
            other => other,
        })
    }

    fn load(&self, gpu: &Gpu, config: &ResolvedConfig) -> Result<BTreeMap<String, HostTensor>> {
        let (stage, params) = build(
            gpu,
            config,
            [config.data.height, config.data.width, self.channels],
            &Registry::default(),
        )?;
        let ours = |(name, t): (&String, &(Vec<usize>, Vec<f32>))| {
            let name = if name == CODEBOOK {
                "quantize.codebook"
            } else {
                name
            };
            (name.to_owned(), t.clone())
        };
        let loaded = params.load_host(&self.tensors.iter().map(ours).collect());
        loaded.map_err(|e| match e {
            Error::Data { .. } | Error::Shape { .. } | Error::Invalid { .. } => {
                let what = format!(
                    "its tensors do not fit the model that they imply, under \
                     taming-transformers' names: {e}"
                );
                Error::file(&self.file, what)
            }
            other => other,
        })?;
        let mut tensors: BTreeMap<String, HostTensor> = params
            .to_host()?
            .into_iter()
            .map(|(name, t)| (name, layout::export(t)))
            .collect();
        tensors.extend(
            stage
                .save()?
                .into_iter()
                .map(|(name, t)| (name, layout::export(t))),
        );
        Ok(tensors)
    }

    /// Checks that it makes a model of images of this width and height.
    ///
    /// # Errors
    /// If not: a tensor is missing, unexpected or of another shape, or the size is not divisible.
    pub fn check(&self, gpu: &Gpu, size: [usize; 2]) -> Result<()> {
        self.load(gpu, &self.configured(size)?).map(drop)
    }

    /// Writes it as a run that has ended: `config.toml` and `final.safetensors`. `size` is the
    /// width and height of its images.
    ///
    /// # Errors
    /// As [`Imported::check`], and if the folder cannot be written.
    pub fn write(&self, gpu: &Gpu, size: [usize; 2], folder: &RunFolder) -> Result<()> {
        let config = self.configured(size)?;
        let tensors = self.load(gpu, &config)?;
        let [width, height] = size;
        let state = serde_json::json!({
            "config": config,
            "image": { "width": width, "height": height, "channels": self.channels },
        });
        atomic::write(&folder.config(), config.to_toml()?.as_bytes())?;
        checkpoint::save_file(&folder.model(), &Checkpoint { tensors, state })?;
        folder.establish().map(drop)
    }
}
