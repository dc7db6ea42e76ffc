//! Residual quantization: a stack of quantizers, each on what the one before left (Zeghidour et al.
//! 2021, "SoundStream", section III-C; Lee et al. 2022, "Autoregressive image generation using
//! residual quantization").

use super::latents::{arrive, interleaved, squared_distances};
use super::options::Options;
use super::projected::Projected;
use super::quantizer::{CodebookBatch, Mode, Quantized, Quantizer};
use super::state::check_parts;
use super::vq::VectorQuantizer;
use crate::autograd::Var;
use crate::autograd::accumulate::add;
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::{Builder, ForwardContext, HostTensors, Parameters};
use crate::ops::elementwise::slice_columns::{concat_columns, slice_columns};
use crate::ops::sampling::random::{Key, philox};
use crate::parallel::Ranks;
use crate::{Error, Result};

const DROPOUT: u32 = 0x4452_4f50;

/// A stack of quantizers with EMA codebooks.
pub struct Residual {
    /// One, where the codebook is shared.
    stages: Vec<VectorQuantizer>,
    depth: usize,
    dropout: bool,
    rotation_trick: bool,
    seed: u64,
}

/// Builds `residual`, residual quantization (Zeghidour et al. 2021; Lee et al. 2022): each codebook
/// quantizes what the ones before it left.
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Tensor};
/// use wgvq::nn::{ForwardContext, Init, Parameters};
/// use wgvq::quantize::{Mode, Options, residual};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Default::default())?;
/// let mut b = Parameters::builder();
/// b.declare("encoder.weight", &[1], Init::Zeros); // a model's parameters
/// let options = Options {
///     num_quantizers: 3,
///     codebook_dim: 2,
///     kmeans_init: false,
///     ..Default::default()
/// };
/// let quantizer = residual::build(&gpu, &mut b, &options)?;
/// let params = b.build(&gpu, 0)?;
///
/// let tape = Tape::new(&gpu);
/// let pass = ForwardContext::new(&tape, &params);
/// let z_e = [0.9f32, 0.2, -0.1, 0.1]; // two latents
/// let z_e = tape.leaf(&Tensor::from_slice(&gpu, &[2, 2], &z_e)?);
/// let q = quantizer.quantize(&pass, &z_e, Mode::Eval)?;
/// assert_eq!(q.z_q.shape(), [2, 2]);
/// assert_eq!(q.indices.shape(), [2, 3]);
/// assert_eq!(quantizer.decode(&pass, &q.indices)?.shape(), [2, 2]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the device cannot hold the codebooks.
pub fn build(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<Box<dyn Quantizer>> {
    let o = &o.as_kind("residual");
    o.check()?;
    let own = if o.shared_codebook {
        1
    } else {
        o.num_quantizers
    };
    let stage = |i: usize| {
        // Seeds apart, so that stages neither begin with the same codes nor revive the same rows.
        let seed = o.seed.wrapping_add((i as u64) << 48);
        VectorQuantizer::average(
            gpu,
            "residual",
            &Options {
                seed,
                rotation_trick: false,
                ..o.clone()
            },
        )
    };
    let stages = (0..own).map(stage).collect::<Result<Vec<_>>>()?;
    let (depth, dropout, rotation_trick) = (o.num_quantizers, o.quantize_dropout, o.rotation_trick);
    Projected::around(
        b,
        o,
        Box::new(Residual {
            stages,
            depth,
            dropout,
            rotation_trick,
            seed: o.seed,
        }),
    )
}

impl Residual {
    fn stage(&self, i: usize) -> &VectorQuantizer {
        &self.stages[i.min(self.stages.len() - 1)]
    }

    /// Quantizers at work in a step.
    fn active(&self, mode: Mode) -> usize {
        match mode {
            Mode::Train { step } if self.dropout => {
                let words = philox::block(
                    Key {
                        seed: self.seed,
                        step,
                        stream: DROPOUT,
                    },
                    0,
                );
                1 + ((words[0] as u64 * self.depth as u64) >> 32) as usize
            }
            _ => self.depth,
        }
    }
}

impl Quantizer for Residual {
    fn name(&self) -> &str {
        "residual"
    }
    fn codebook_numbers(&self) -> usize {
        self.stages.iter().map(Quantizer::codebook_numbers).sum()
    }
    fn codebook_size(&self) -> usize {
        self.stages[0].codebook_size()
    }
    fn codebooks(&self) -> usize {
        self.depth
    }
    fn dim(&self) -> usize {
        self.stages[0].dim()
    }
    fn wants_init(&self) -> bool {
        self.stages.iter().any(Quantizer::wants_init)
    }

    fn spans_latents(&self) -> Option<String> {
        self.stages.iter().find_map(Quantizer::spans_latents)
    }

    fn initialize(
        &mut self,
        pass: &ForwardContext,
        latents: &Tensor,
        per_step: usize,
    ) -> Result<()> {
        // A shared codebook is placed among the latents themselves, and finds the residuals as it
        // learns.
        let mut residual = pass.tape.constant(latents);
        for stage in &mut self.stages {
            stage.initialize(pass, residual.tensor(), per_step)?;
            let q = stage.quantize(pass, &residual, Mode::Eval)?;
            residual = pass
                .tape
                .add(&residual, &pass.tape.scale(&q.z_q.detach(), -1.0, 0.0)?)?;
        }
        Ok(())
    }

    /// Quantizes by all stages. In a step of which dropout left some out, their codes are 0 and
    /// count nothing.
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let (tape, k) = (pass.tape, self.codebook_size());
        let z_e = &arrive("residual", pass, z_e, self.dim())?;
        let (n, gpu, active) = (z_e.shape()[0], tape.gpu(), self.active(mode));
        let counts = Tensor::zeros(gpu, &[self.depth, k], DType::U32)?;
        let (mut losses, mut seen, mut indices) = (Vec::new(), Vec::new(), Vec::new());
        let mut residual = z_e.clone();
        let mut sum: Option<Tensor> = None;
        for i in 0..active {
            let depth = if self.stages.len() == 1 { i } else { 0 };
            let q = self.stage(i).quantize_at(pass, &residual, mode, depth)?;
            let codes = q.z_q.tensor().clone();
            residual = tape.add(&residual, &tape.scale(&tape.constant(&codes), -1.0, 0.0)?)?;
            sum = Some(match &sum {
                Some(before) => add(before, &codes)?,
                None => codes,
            });
            counts.copy_into(i * k, &q.counts)?;
            losses.extend(q.losses);
            let codebook = i.min(self.stages.len() - 1);
            seen.extend(q.seen.into_iter().map(|s| CodebookBatch { codebook, ..s }));
            indices.push(q.indices);
        }
        for _ in active..self.depth {
            indices.push(Tensor::zeros(gpu, &[n, 1], DType::U32)?);
        }
        let sum = sum.ok_or_else(|| Error::invalid("residual", "no quantizer in the stack"))?;
        // The gradient passes once, from the sum of codes to the latents; through each stage it
        // would count as often as there are stages.
        let z_q = tape.estimate(z_e, &sum, self.rotation_trick)?;
        let indices = concat_columns(&indices.iter().collect::<Vec<_>>())?;
        Ok(Quantized {
            z_q,
            indices,
            counts,
            losses,
            seen,
        })
    }

    fn learn(
        &mut self,
        params: &Parameters,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        learn_each(&mut self.stages, params, seen, step)
    }

    fn decode(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        let [_, depth] = indices.dims("decode")?;
        if depth != self.depth {
            return Err(Error::shape(
                "decode",
                format!("u32 indices [N, {}]", self.depth),
                format!("{indices:?}"),
            ));
        }
        let mut sum: Option<Tensor> = None;
        for i in 0..depth {
            let codes = self.stage(i).decode(pass, &slice_columns(indices, i, 1)?)?;
            sum = Some(match &sum {
                Some(before) => add(before, &codes)?,
                None => codes,
            });
        }
        sum.ok_or_else(|| Error::invalid("decode", "no quantizer in the stack"))
    }

    /// Computes the distances of each stage, from what the stages before left.
    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        let q = self.quantize(pass, z_e, Mode::Eval)?;
        distances_of_each(pass, &q, |i| self.stage(i))
    }

    fn save(&self) -> Result<HostTensors> {
        save_each(&self.stages, Quantizer::save)
    }

    fn check_state(&self, state: &HostTensors) -> Result<()> {
        check_each(self.name(), &self.stages, state)
    }

    fn save_codes(&self) -> Result<HostTensors> {
        save_each(&self.stages, Quantizer::save_codes)
    }

    fn load(&mut self, state: &HostTensors) -> Result<()> {
        self.check_state(state)?;
        load_each(&mut self.stages, state, Quantizer::load)
    }

    fn load_codes(&mut self, codes: &HostTensors) -> Result<()> {
        load_each(&mut self.stages, codes, Quantizer::load_codes)
    }

    fn join(&mut self, ranks: &Ranks) -> bool {
        // Every one, not only up to the first that says no.
        let joined: Vec<bool> = self.stages.iter_mut().map(|q| q.join(ranks)).collect();
        joined.iter().all(|joined| *joined)
    }

    fn learned(&self) -> Vec<&Tensor> {
        self.stages.iter().flat_map(Quantizer::learned).collect()
    }

    fn reset(&mut self, placed: bool) {
        self.stages.iter_mut().for_each(|q| q.reset(placed));
    }

    fn begin_revival(&mut self) -> bool {
        // Every one, not only up to the first that says yes.
        let begun = self.stages.iter_mut().map(Quantizer::begin_revival);
        begun.filter(|begun| *begun).count() > 0
    }
}

/// Each quantizer learns from what it saw. Returns how many codes all of them revived.
pub(super) fn learn_each(
    stages: &mut [VectorQuantizer],
    params: &Parameters,
    seen: &[CodebookBatch],
    step: u64,
) -> Result<Option<Tensor>> {
    let mut revived: Option<Tensor> = None;
    for (i, stage) in stages.iter_mut().enumerate() {
        let of: Vec<CodebookBatch> = seen.iter().filter(|s| s.codebook == i).cloned().collect();
        // Dropout may have left it out of this step.
        if of.is_empty() {
            continue;
        }
        revived = match (revived, stage.learn(params, &of, step)?) {
            (Some(a), Some(b)) => Some(add(&a, &b)?),
            (a, b) => a.or(b),
        };
    }
    Ok(revived)
}

/// Computes the distances of the latents that each codebook saw to the codes that they were given:
/// [N, Q].
pub(super) fn distances_of_each<'a>(
    pass: &ForwardContext,
    q: &Quantized,
    book: impl Fn(usize) -> &'a VectorQuantizer,
) -> Result<Vec<f32>> {
    let of = |(i, seen): (usize, &CodebookBatch)| {
        let codes = book(i).decode(pass, &slice_columns(&q.indices, i, 1)?)?;
        squared_distances(&seen.latents, &codes)
    };
    Ok(interleaved(
        &q.seen
            .iter()
            .enumerate()
            .map(of)
            .collect::<Result<Vec<_>>>()?,
    ))
}

/// Returns the state of each, under its number.
pub(super) fn save_each(
    stages: &[VectorQuantizer],
    save: impl Fn(&VectorQuantizer) -> Result<HostTensors>,
) -> Result<HostTensors> {
    let mut all = HostTensors::new();
    for (i, stage) in stages.iter().enumerate() {
        all.extend(
            save(stage)?
                .into_iter()
                .map(|(name, part)| (format!("{i}.{name}"), part)),
        );
    }
    Ok(all)
}

/// Checks that [`load_each`] takes a whole state of the quantizer `who`.
pub(super) fn check_each(who: &str, stages: &[VectorQuantizer], state: &HostTensors) -> Result<()> {
    let parts = stages.iter().enumerate().flat_map(|(i, stage)| {
        let own = stage.state().into_iter();
        own.map(move |(name, tensor)| (format!("{i}.{name}"), tensor))
    });
    let parts: Vec<(String, &Tensor)> = parts.collect();
    let parts: Vec<(&str, &Tensor)> = parts.iter().map(|(name, t)| (&**name, *t)).collect();
    check_parts(who, state, &parts)
}

/// Takes what [`save_each`] gave.
pub(super) fn load_each(
    stages: &mut [VectorQuantizer],
    state: &HostTensors,
    load: impl Fn(&mut VectorQuantizer, &HostTensors) -> Result<()>,
) -> Result<()> {
    let stage_of = |name: &str| {
        name.split_once('.')
            .and_then(|(i, _)| i.parse::<usize>().ok())
    };
    if let Some(name) = state
        .keys()
        .find(|name| stage_of(name).is_none_or(|i| i >= stages.len()))
    {
        let what = format!(
            "there are {} codebooks, and a state `{name}`: it is another quantizer's",
            stages.len()
        );
        return Err(Error::data(what));
    }
    for (i, stage) in stages.iter_mut().enumerate() {
        let prefix = format!("{i}.");
        let of = state.iter().filter_map(|(name, part)| {
            Some((name.strip_prefix(&prefix)?.to_owned(), part.clone()))
        });
        load(stage, &of.collect())?;
    }
    Ok(())
}
