//! The first stage of a configuration: an autoencoder with a quantizer at each of its levels.

use crate::autograd::{Tape, Var};
use crate::config::run::{ModelKind, ResolvedConfig};
use crate::gpu::{DType, Gpu, Tensor};
use crate::inference::scales::{check_scales, scales_together};
use crate::models::Level;
use crate::models::first_stage::vit::Vit;
use crate::models::first_stage::vqgan::VqGan;
use crate::models::first_stage::vqvae;
use crate::models::first_stage::vqvae::VqVae;
use crate::models::first_stage::vqvae2;
use crate::models::first_stage::vqvae2::{VqVae2, level_names};
use crate::models::{Autoencoder, Quantize, scale_name};
use crate::nn::{Builder, ForwardContext, HostTensors, Parameters};
use crate::ops::elementwise::slice_columns::slice_columns;
use crate::ops::sampling::random::{Key, philox};
use crate::quantize::{Mode, Options, Quantized, Quantizer, Registry};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// An autoencoder and its quantizers, the top level's first: what is trained, and what a
/// [`FirstStageModel`](super::FirstStageModel) runs.
pub(crate) struct FirstStage {
    pub(crate) model: Box<dyn Autoencoder>,
    pub(crate) quantizers: Vec<Box<dyn Quantizer>>,
    /// Names of the levels; a single level has none.
    pub(crate) names: Vec<String>,
    /// See [`crate::config::run::Model::level_dropout`], and the run's seed.
    level_dropout: f32,
    level_dropout_steps: u64,
    seed: u64,
}

/// A level's latents before and after quantizing.
pub(crate) struct Coded {
    /// [N, D].
    pub(crate) rows: Var,
    pub(crate) quantized: Quantized,
}

/// Keeps the levels' random numbers apart; the top level, or the only one, has the run's own.
const LEVEL_SEED: u64 = 0x9E37_79B9_7F4A_7C15;
/// The stream of random numbers that levels are left out by: "levl".
const LEVEL_STREAM: u32 = 0x6c65_766c;

/// Builds the first stage of a configuration for images of this height, width and channels, and its
/// parameters.
pub(crate) fn build(
    gpu: &Gpu,
    c: &ResolvedConfig,
    image: [usize; 3],
    registry: &Registry,
) -> Result<(FirstStage, Parameters)> {
    build_part(gpu, c, image, registry, &|_| true)
}

/// [`build`] with the parameters that `keep` names alone: of a decoder, say.
pub(crate) fn build_part(
    gpu: &Gpu,
    c: &ResolvedConfig,
    image: [usize; 3],
    registry: &Registry,
    keep: &dyn Fn(&str) -> bool,
) -> Result<(FirstStage, Parameters)> {
    let mut builder = Parameters::builder();
    let m = &c.model;
    let names = level_names(m.levels);
    let mut quantizers = Vec::new();
    for (level, name) in names.iter().enumerate() {
        let mut options = options(c, level);
        if options.kind == "multiscale" {
            options.scales = options.scales_of(image[0] / m.coarsest().max(1));
            options.check()?;
        }
        quantizers.push(quantizer(gpu, &mut builder, registry, &options, name)?);
    }
    let dims: Vec<usize> = quantizers.iter().map(|q| q.dim()).collect();
    let (hidden, residual_layers, residual_hidden) =
        (m.hidden, m.residual_layers, m.residual_hidden);
    let downsample = m.downsample;
    let channels = image[2];
    let model: Box<dyn Autoencoder> = match dims[..] {
        [codebook_dim] if m.kind == ModelKind::Vit => {
            Box::new(Vit::new(&mut builder, &m.vit_shape(image, codebook_dim))?)
        }
        [codebook_dim] if m.kind == ModelKind::VqGan => Box::new(VqGan::new(
            &mut builder,
            &m.gan_shape(channels, codebook_dim),
        )?),
        [codebook_dim] => {
            let shape = vqvae::Config {
                channels,
                hidden,
                residual_layers,
                residual_hidden,
                downsample,
                codebook_dim,
            };
            Box::new(VqVae::new(&mut builder, &shape)?)
        }
        _ => {
            let codebook_dims = dims;
            let shape = vqvae2::Config {
                channels,
                hidden,
                residual_layers,
                residual_hidden,
                downsample,
                codebook_dims,
            };
            Box::new(VqVae2::new(&mut builder, &shape)?)
        }
    };
    check_scales(&quantizers, &*model, image)?;
    builder.retain(keep);
    let params = builder.build(gpu, c.train.seed)?;
    let (level_dropout, level_dropout_steps, seed) =
        (m.level_dropout, m.level_dropout_steps, c.train.seed);
    Ok((
        FirstStage {
            model,
            quantizers,
            names,
            level_dropout,
            level_dropout_steps,
            seed,
        },
        params,
    ))
}

/// Returns the options of a level's quantizer.
pub(crate) fn options(c: &ResolvedConfig, level: usize) -> Options {
    let own = c.model.codebook_sizes.get(level).copied();
    Options {
        seed: c.train.seed ^ LEVEL_SEED.wrapping_mul(level as u64),
        codebook_size: own.unwrap_or(c.quantizer.codebook_size),
        ..c.quantizer.clone()
    }
}

/// Builds a level's quantizer. Its parameters, `quantize.` and so on, get the level's name behind
/// that.
fn quantizer(
    gpu: &Gpu,
    b: &mut Builder,
    registry: &Registry,
    options: &Options,
    name: &str,
) -> Result<Box<dyn Quantizer>> {
    if name.is_empty() {
        return registry.build(gpu, b, options);
    }
    let before = b.len();
    let quantizer = registry.build(gpu, b, options)?;
    b.rename(before, |own| match own.strip_prefix("quantize.") {
        Some(rest) => format!("quantize.{name}.{rest}"),
        None => format!("{name}.{own}"),
    });
    Ok(quantizer)
}

impl FirstStage {
    /// Returns a first stage of one level.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn of_one_level(
        model: Box<dyn Autoencoder>,
        quantizer: Box<dyn Quantizer>,
    ) -> FirstStage {
        FirstStage {
            model,
            quantizers: vec![quantizer],
            names: vec![String::new()],
            level_dropout: 0.0,
            level_dropout_steps: 0,
            seed: 0,
        }
    }

    /// Returns the levels of the codes of images of this size.
    pub(crate) fn levels(&self, width: usize, height: usize) -> Vec<Level> {
        let levels = |(quantizer, (name, f)): (&dyn Quantizer, (&String, &usize))| {
            let level = |name: String, grid| Level {
                name,
                grid,
                codebook_size: quantizer.codebook_size(),
                codebooks: quantizer.codebooks(),
            };
            match quantizer.scales() {
                [] => vec![level(name.clone(), [height / f, width / f])],
                // One alone needs no name.
                [only] => vec![level(name.clone(), [*only; 2])],
                sides => sides
                    .iter()
                    .map(|side| level(scale_name(*side), [*side; 2]))
                    .collect(),
            }
        };
        self.quantizers
            .iter()
            .map(|quantizer| &**quantizer)
            .zip(self.names.iter().zip(self.model.factors()))
            .flat_map(levels)
            .collect()
    }

    /// Returns how many images of this width and height go through the model at a time: `wanted`,
    /// or as many as the device can bind the widest tensor of.
    pub(crate) fn batch(&self, gpu: &Gpu, wanted: usize, width: usize, height: usize) -> usize {
        let bytes = 4 * (self.model.widest() * width * height).max(1) as u64;
        ((gpu.limits().max_storage_buffer_binding_size / bytes) as usize).clamp(1, wanted)
    }

    /// Reshapes latents [B, h, w, D] to rows [N, D].
    fn rows(tape: &Tape, z_e: &Var) -> Result<Var> {
        let [b, h, w, d] = z_e.tensor().dims("latents")?;
        tape.reshape(z_e, &[b * h * w, d])
    }

    /// Returns whether the last steps still leave levels out, so that the decoder has learned from
    /// 0 in their place.
    pub(crate) fn drops_to_the_end(&self) -> bool {
        self.level_dropout > 0.0 && self.level_dropout_steps == 0
    }

    /// Returns how many of the coarsest levels a step decodes from: all, or, in a share of the
    /// steps, fewer.
    fn kept(&self, mode: Mode) -> usize {
        let levels = self.names.len();
        let Mode::Train { step } = mode else {
            return levels;
        };
        if self.level_dropout_steps > 0 && step >= self.level_dropout_steps {
            return levels;
        }
        let key = Key {
            seed: self.seed,
            step,
            stream: LEVEL_STREAM,
        };
        match philox::uniform(key, 0.0, 1.0, 2)[..] {
            [u, v] if levels > 1 && u < self.level_dropout => {
                1 + (v * (levels - 1) as f32) as usize % (levels - 1)
            }
            _ => levels,
        }
    }

    /// Runs `model` with each level's latents quantized, 0 for those below the first `kept` levels,
    /// and returns what became of them.
    fn with_codes<T>(
        &self,
        pass: &ForwardContext,
        mode: Mode,
        kept: usize,
        model: impl FnOnce(&dyn Autoencoder, &mut Quantize) -> Result<T>,
    ) -> Result<(Vec<Coded>, T)> {
        let mut coded = Vec::new();
        let out = model(&*self.model, &mut |level, z_e| {
            let rows = Self::rows(pass.tape, z_e)?;
            let scales = self.quantizer(level)?.quantize_scales(pass, &rows, mode)?;
            let last = scales.last().map(|quantized| quantized.z_q.clone());
            let last = last.ok_or_else(|| Error::invalid("quantize", "no codes were made"))?;
            let z_q = match level < kept {
                true => pass.tape.reshape(&last, z_e.shape())?,
                false => {
                    pass.tape
                        .constant(&Tensor::zeros(pass.tape.gpu(), z_e.shape(), DType::F32)?)
                }
            };
            coded.extend(scales.into_iter().map(|quantized| Coded {
                rows: rows.clone(),
                quantized,
            }));
            Ok(z_q)
        })?;
        Ok((coded, out))
    }

    pub(super) fn quantizer(&self, level: usize) -> Result<&dyn Quantizer> {
        let missing = || {
            Error::invalid(
                "quantize",
                format!("the model has a level {level} without a quantizer"),
            )
        };
        self.quantizers.get(level).map(|q| &**q).ok_or_else(missing)
    }

    /// Encodes images, level by level.
    pub(crate) fn encode(
        &self,
        pass: &ForwardContext,
        images: &Var,
        mode: Mode,
    ) -> Result<Vec<Coded>> {
        Ok(self
            .with_codes(pass, mode, self.names.len(), |model, quantize| {
                model.encode(pass, images, quantize)
            })?
            .0)
    }

    /// Encodes and decodes images.
    pub(crate) fn reconstruct(
        &self,
        pass: &ForwardContext,
        images: &Var,
        mode: Mode,
    ) -> Result<(Vec<Coded>, Var)> {
        self.with_codes(pass, mode, self.kept(mode), |model, quantize| {
            model.reconstruct(pass, images, quantize)
        })
    }

    /// Returns the latents [N, D] of one level as they come to its quantizer, those above it
    /// quantized.
    pub(crate) fn latents(&self, pass: &ForwardContext, images: &Var, level: usize) -> Result<Var> {
        let mut found = None;
        self.model.encode(pass, images, &mut |at, z_e| {
            if at >= level {
                if at == level {
                    found = Some(Self::rows(pass.tape, z_e)?);
                }
                return Ok(z_e.clone());
            }
            let rows = Self::rows(pass.tape, z_e)?;
            let quantized = self.quantizer(at)?.quantize(pass, &rows, Mode::Eval)?;
            pass.tape.reshape(&quantized.z_q, z_e.shape())
        })?;
        found.ok_or_else(|| Error::invalid("latents", format!("the model has no level {level}")))
    }

    /// Returns the quantizers' state, under `quantizer.` and, where there are several, the level's
    /// name.
    pub(crate) fn save(&self) -> Result<HostTensors> {
        self.save_each(|q| q.save())
    }

    /// Returns the part of it that decoding reads.
    pub(crate) fn save_codes(&self) -> Result<HostTensors> {
        self.save_each(|q| q.save_codes())
    }

    fn save_each(
        &self,
        save: impl Fn(&dyn Quantizer) -> Result<HostTensors>,
    ) -> Result<HostTensors> {
        let mut all = HostTensors::new();
        for (name, q) in self.names.iter().zip(&self.quantizers) {
            let prefix = if name.is_empty() {
                String::new()
            } else {
                format!("{name}.")
            };
            all.extend(
                save(&**q)?
                    .into_iter()
                    .map(|(key, t)| (format!("quantizer.{prefix}{key}"), t)),
            );
        }
        Ok(all)
    }

    /// Loads a state that [`FirstStage::save`] gave, without its `quantizer.`; one that does not
    /// fit changes nothing.
    pub(crate) fn load(&mut self, state: HostTensors) -> Result<()> {
        let parts = self.by_quantizer(state)?;
        self.check_each(&parts)?;
        let mut each = self.quantizers.iter_mut().zip(&parts);
        each.try_for_each(|(q, part)| q.load(part))
    }

    /// Checks that [`FirstStage::load`] takes a state.
    pub(crate) fn check(&self, state: HostTensors) -> Result<()> {
        self.check_each(&self.by_quantizer(state)?)
    }

    fn check_each(&self, parts: &[HostTensors]) -> Result<()> {
        let mut each = self.quantizers.iter().zip(parts);
        each.try_for_each(|(q, part)| q.check_state(part))
    }

    /// Loads what [`FirstStage::save_codes`] gave, likewise.
    pub(crate) fn load_codes(&mut self, codes: HostTensors) -> Result<()> {
        let parts = self.by_quantizer(codes)?;
        let mut each = self.quantizers.iter_mut().zip(&parts);
        each.try_for_each(|(q, part)| q.load_codes(part))
    }

    /// Returns the parts of a state, in the order of the quantizers.
    fn by_quantizer(&self, state: HostTensors) -> Result<Vec<HostTensors>> {
        if self.quantizers.len() == 1 {
            return Ok(vec![state]);
        }
        let mut parts: BTreeMap<&str, HostTensors> = BTreeMap::new();
        for (key, tensor) in state {
            let name = key.split_once('.').and_then(|(name, rest)| {
                let own = self.names.iter().find(|n| *n == name)?;
                Some((own.as_str(), rest.to_owned()))
            });
            let Some((name, rest)) = name else {
                return Err(Error::data(format!(
                    "no level has the quantizer's state `{key}`"
                )));
            };
            parts.entry(name).or_default().insert(rest, tensor);
        }
        let own = |name: &String| parts.remove(name.as_str()).unwrap_or_default();
        Ok(self.names.iter().map(own).collect())
    }

    /// Decodes codes on the device, u32, each image's one level after another, on the given levels'
    /// grids: [B, H, W, C] in f32.
    pub(crate) fn decode(
        &self,
        pass: &ForwardContext,
        codes: &Tensor,
        levels: &[Level],
    ) -> Result<Var> {
        self.model
            .decode(pass, &self.code_latents(pass, codes, levels)?)
    }

    /// Returns the quantized latents of each level [B, h, w, D], of codes as [`FirstStage::decode`]
    /// takes them.
    fn code_latents(
        &self,
        pass: &ForwardContext,
        codes: &Tensor,
        levels: &[Level],
    ) -> Result<Vec<Var>> {
        let (mut latents, mut rest) = (Vec::new(), levels);
        let mut parts = split(codes, levels)?.into_iter();
        for (q, n) in self.quantizers.iter().zip(self.levels_of_each()) {
            let (own, others) = rest.split_at(n.min(rest.len()));
            rest = others;
            let own_parts: Vec<Tensor> = parts.by_ref().take(own.len()).collect();
            let Some(Level { grid: [h, w], .. }) = own.last() else {
                return Err(Error::shape("decode", "codes of every level", levels.len()));
            };
            let indices = match (&own_parts[..], q.scales()) {
                ([only], []) => only.clone(),
                _ => scales_together(&own_parts, own)?,
            };
            let z = q.decode(pass, &indices)?;
            let images = z.shape()[0] / (h * w).max(1);
            let z = z.reshape(&[images, *h, *w, q.dim()])?;
            latents.push(pass.tape.constant(&z));
        }
        Ok(latents)
    }
}

/// Splits images' codes, u32, each image's level by level, into those of each level, u32 [N h w,
/// Q].
fn split(codes: &Tensor, levels: &[Level]) -> Result<Vec<Tensor>> {
    let each: usize = levels.iter().map(Level::codes).sum();
    let images = codes.len() / each.max(1);
    let mut at = 0;
    let part = |level: &Level| {
        let own = level.codes();
        let rows = [images * own / level.codebooks, level.codebooks];
        let part = if own == each {
            codes.clone()
        } else {
            slice_columns(&codes.reshape(&[images, each])?, at, own)?
        };
        at += own;
        part.reshape(&rows)
    };
    levels.iter().map(part).collect()
}
