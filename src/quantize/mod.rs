//! Quantizers: what turns latents into codes, behind one small trait.
//!
//! | name | what | file |
//! | --- | --- | --- |
//! | `ema`, `vq`, `cosine`, `simvq` | the nearest code; four ways to learn | [`vq`] |
//! | `gumbel` | a code drawn by the Gumbel-softmax | [`gumbel`] |
//! | `fsq` | each channel rounded to a few levels | [`fsq`] |
//! | `lfq` | the signs of the channels | [`lfq`] |
//! | `residual` | several, each on what the one before left | [`residual`] |
//! | `product` | several, each on a group of channels | [`product`] |

pub mod estimator;
pub mod fsq;
pub mod gumbel;
pub mod lfq;
pub mod mask;
mod options;
pub mod product;
mod projected;
pub mod regularize;
pub mod residual;
pub mod vq;

pub use options::Options;
pub use projected::Projected;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::{Builder, ForwardContext, HostTensors, Parameters};
use crate::ops::quantize::assignment::assign;
use crate::{Error, Result};

/// The purpose of a call of [`Quantizer::quantize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Quantize as training does; `step` keys the random numbers.
    Train {
        /// The training step, from 0.
        step: u64,
    },
    /// Quantize alone.
    Eval,
}

/// The kind of a loss term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Draws latents to their codes.
    Commitment,
    /// Draws codes to their latents.
    Codebook,
    /// Keeps codes in use, or apart: entropies, divergences, orthogonality.
    Regularizer,
}

/// Latents and the codes that they were given, as [`Quantizer::learn`] takes them.
#[derive(Clone, Debug)]
pub struct CodebookBatch {
    /// Index of the quantizer's codebook.
    pub codebook: usize,
    /// f32 [N, D] as the codebook met them.
    pub latents: Tensor,
    /// u32 `[N]`.
    pub index: Tensor,
    /// Moments by which a quantizer that normalises its latents did so: (mean, inverse deviation)
    /// of each channel, f32 [D, 2].
    pub moments: Option<Tensor>,
}

/// Latents, quantized.
#[derive(Debug)]
pub struct Quantized {
    /// The quantized latents [N, D], through which the gradient reaches the latents.
    pub z_q: Var,
    /// The codes of each latent, one from each codebook: u32 [N, Q].
    pub indices: Tensor,
    /// Number of uses of each code: u32 [Q, K].
    pub counts: Tensor,
    /// Weighted terms that the quantizer adds to the loss: `[1]` each.
    pub losses: Vec<(Term, Var)>,
    /// Latents and codes that a codebook learns from outside the optimiser.
    pub seen: Vec<CodebookBatch>,
}

impl Quantized {
    /// Computes the sum of the losses of a kind; `None` where there is none.
    ///
    /// # Errors
    /// If the device fails.
    pub fn loss(&self, tape: &Tape, term: Term) -> Result<Option<Var>> {
        sum(
            tape,
            self.losses
                .iter()
                .filter(|(t, _)| *t == term)
                .map(|(_, v)| v),
        )
    }

    /// Computes the sum of all losses; `None` where there is none.
    ///
    /// # Errors
    /// If the device fails.
    pub fn total(&self, tape: &Tape) -> Result<Option<Var>> {
        sum(tape, self.losses.iter().map(|(_, v)| v))
    }
}

fn sum<'a>(tape: &Tape, parts: impl Iterator<Item = &'a Var>) -> Result<Option<Var>> {
    parts
        .map(|v| Ok(v.clone()))
        .reduce(|a, b| tape.add(&a?, &b?))
        .transpose()
}

/// A quantizer. What the optimiser trains of it are parameters of the model, under names that begin
/// with `quantize.`; state that moves outside the optimiser (an EMA codebook) is its own, saved by
/// name.
pub trait Quantizer: Send {
    /// Its name in configurations: `ema`, `fsq`, ..
    fn name(&self) -> &str;
    /// Codes of one codebook, K.
    fn codebook_size(&self) -> usize;
    /// Codes that each latent gets, Q: one from each codebook.
    fn codebooks(&self) -> usize {
        1
    }
    /// Numbers of its codebooks, whether an optimiser trains them, an average moves them or they
    /// stay; 0 where codes follow from a rule.
    fn codebook_numbers(&self) -> usize {
        0
    }
    /// Channels of a latent.
    fn dim(&self) -> usize;
    /// Whether it needs latents of the first batches before it can quantize. See
    /// [`Quantizer::initialize`].
    fn wants_init(&self) -> bool {
        false
    }
    /// Places the codes among `latents` [N, D], those of the first batches; a training step will
    /// bring `per_step` of them.
    ///
    /// # Errors
    /// If the latents have another size.
    fn initialize(
        &mut self,
        pass: &ForwardContext,
        latents: &Tensor,
        per_step: usize,
    ) -> Result<()> {
        let _ = (pass, latents, per_step);
        Ok(())
    }
    /// Quantizes latents [N, D].
    ///
    /// # Errors
    /// If the latents have another size.
    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized>;
    /// Learns outside the optimiser, after it: moves averages, revives dead codes. Returns how many
    /// it revived, f32 `[1]`, where it revives any.
    ///
    /// # Errors
    /// If the device fails.
    fn learn(
        &mut self,
        params: &Parameters,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        let _ = (params, seen, step);
        Ok(None)
    }
    /// Computes the quantized latents [N, D] of codes u32 [N, Q].
    ///
    /// # Errors
    /// If there are more or fewer codes to a latent.
    fn decode(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor>;
    /// Computes the distance of each of the latents [N, D] to the codes that it takes, in the
    /// measure by which this quantizer chooses: [N, Q], row-major; smaller is nearer. The default
    /// is the squared distance from the quantized latents. Waits for the device.
    ///
    /// # Errors
    /// If the latents have another size.
    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        let q = self.quantize(pass, z_e, Mode::Eval)?;
        Ok(interleaved(&vec![
            squared_distances(
                z_e.tensor(),
                q.z_q.tensor()
            )?;
            self.codebooks()
        ]))
    }
    /// Its state on the host, by name. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    fn save(&self) -> Result<HostTensors> {
        Ok(HostTensors::new())
    }
    /// Takes a state that [`Quantizer::save`] gave.
    ///
    /// # Errors
    /// If a tensor is missing, unexpected or of another shape.
    fn load(&mut self, state: &HostTensors) -> Result<()> {
        match state.keys().next() {
            Some(name) => Err(Error::data(format!(
                "the quantizer `{}` has no state `{name}`",
                self.name()
            ))),
            None => Ok(()),
        }
    }
    /// The part of [`Quantizer::save`] that [`Quantizer::decode`] reads: no averages that only
    /// training needs.
    ///
    /// # Errors
    /// If the device fails.
    fn save_codes(&self) -> Result<HostTensors> {
        self.save()
    }
    /// Takes what [`Quantizer::save_codes`] gave. It then decodes and quantizes, and is not trained
    /// further.
    ///
    /// # Errors
    /// As [`Quantizer::load`].
    fn load_codes(&mut self, codes: &HostTensors) -> Result<()> {
        self.load(codes)
    }
    /// Goes back to how it was made, its tensors apart: no revival that was begun, and with
    /// `placed` false it wants its codes placed again, where it did at first. For a training run
    /// that goes back.
    fn reset(&mut self, placed: bool) {
        let _ = placed;
    }
    /// Returns the codes that [`Quantizer::learn`] moves, and no optimiser: what a moving average
    /// of the model averages beside its weights.
    fn learned(&self) -> Vec<&Tensor> {
        Vec::new()
    }
    /// Begins to revive dead codes, where it has codes that can die and does not revive them yet.
    /// Returns whether it did. A training run that recovers from a collapse calls it.
    fn begin_revival(&mut self) -> bool {
        false
    }
}

/// Makes a quantizer: its parameters are declared with the model's.
pub type Build = fn(&Gpu, &mut Builder, &Options) -> Result<Box<dyn Quantizer>>;

/// One way to quantize, as configurations, benchmarks and lists of choices name it.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its [`Quantizer::name`].
    pub name: &'static str,
    /// A description in one line.
    pub about: &'static str,
    /// Makes it.
    pub build: Build,
}

/// Every quantizer there is.
pub fn all() -> &'static [Kind] {
    &[
        Kind {
            name: "ema",
            about: "nearest code; the codebook is a moving average of its latents",
            build: vq::ema,
        },
        Kind {
            name: "vq",
            about: "nearest code; the codebook learns by gradient",
            build: vq::gradient,
        },
        Kind {
            name: "cosine",
            about: "nearest code on the sphere, in few channels",
            build: vq::cosine,
        },
        Kind {
            name: "gumbel",
            about: "a code drawn by the Gumbel-softmax",
            build: gumbel::build,
        },
        Kind {
            name: "fsq",
            about: "each channel rounded to a few levels; no codebook",
            build: fsq::build,
        },
        Kind {
            name: "lfq",
            about: "the signs of the channels; no codebook",
            build: lfq::build,
        },
        Kind {
            name: "residual",
            about: "several, each on what the one before left",
            build: residual::build,
        },
        Kind {
            name: "product",
            about: "several, each on a group of channels",
            build: product::build,
        },
        Kind {
            name: "simvq",
            about: "nearest code of a frozen codebook behind a learned linear map",
            build: vq::simvq,
        },
    ]
}

/// The quantizer of that name among those of this crate.
///
/// # Errors
/// If there is none; the message lists them.
pub fn find(name: &str) -> Result<&'static Kind> {
    pick(all(), name)
}

fn pick<'a>(kinds: &'a [Kind], name: &str) -> Result<&'a Kind> {
    kinds.iter().find(|kind| kind.name == name).ok_or_else(|| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
        Error::config(
            "quantizer.kind",
            format!(
                "no quantizer is called `{name}`; there are {}",
                names.join(", ")
            ),
        )
    })
}

/// The quantizers that a program can name: this crate's, and its own.
#[derive(Clone, Debug)]
pub struct Registry {
    kinds: Vec<Kind>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry {
            kinds: all().to_vec(),
        }
    }
}

impl Registry {
    /// Adds a kind; one of the same name is replaced.
    pub fn with(mut self, kind: Kind) -> Registry {
        self.kinds.retain(|k| k.name != kind.name);
        self.kinds.push(kind);
        self
    }

    /// The quantizer of that name.
    ///
    /// # Errors
    /// If there is none; the message lists them.
    pub fn find(&self, name: &str) -> Result<&Kind> {
        pick(&self.kinds, name)
    }

    /// The quantizer that the options name, its parameters declared in `b`.
    ///
    /// # Errors
    /// If there is none, or an option cannot be used; the message names it.
    pub fn build(
        &self,
        gpu: &Gpu,
        b: &mut Builder,
        options: &Options,
    ) -> Result<Box<dyn Quantizer>> {
        let kind = self.find(&options.kind)?;
        options.check()?;
        (kind.build)(gpu, b, options)
    }
}

/// Latents must be [N, D].
pub(crate) fn check_latents(op: &'static str, latents: &Tensor, d: usize) -> Result<()> {
    match latents.shape() {
        [_, have] if *have == d && latents.dtype() == DType::F32 => Ok(()),
        _ => Err(Error::shape(
            op,
            format!("f32 latents [N, {d}]"),
            format!("{latents:?}"),
        )),
    }
}

/// Returns the latents [N, D] as a quantizer computes with them: f32, whatever they were stored
/// as. Choices are f32's, so that storage in 16 bits changes none.
pub(crate) fn arrive(
    op: &'static str,
    pass: &ForwardContext,
    latents: &Var,
    d: usize,
) -> Result<Var> {
    let wide = pass.tape.cast(latents, DType::F32)?;
    check_latents(op, wide.tensor(), d)?;
    Ok(wide)
}

/// One codebook's indices u32 [N], of indices [N, 1].
pub(crate) fn only(op: &'static str, indices: &Tensor) -> Result<Tensor> {
    match indices.shape() {
        [n, 1] => indices.reshape(&[*n]),
        _ => Err(Error::shape(
            op,
            "u32 indices [N, 1]",
            format!("{indices:?}"),
        )),
    }
}

/// Counts the uses of each of `k` codes in an index u32 [N]: [1, K].
pub(crate) fn count(index: &Tensor, k: usize) -> Result<Tensor> {
    assign(index, k)?.counts.reshape(&[1, k])
}

/// Computes the squared distance of each row of `a` from that of `b`, both [N, D]: N. Waits for the
/// device.
pub(crate) fn squared_distances(a: &Tensor, b: &Tensor) -> Result<Vec<f32>> {
    let [_, d] = a.dims("distances")?;
    if b.shape() != a.shape() {
        return Err(Error::shape(
            "distances",
            format!("{a:?}"),
            format!("{b:?}"),
        ));
    }
    let (a, b) = (a.read::<f32>()?, b.read::<f32>()?);
    let row = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    Ok(a.chunks(d.max(1))
        .zip(b.chunks(d.max(1)))
        .map(row)
        .collect())
}

/// [N, Q], row-major, of Q columns of N.
pub(crate) fn interleaved(columns: &[Vec<f32>]) -> Vec<f32> {
    let rows = columns.iter().map(Vec::len).min().unwrap_or(0);
    (0..rows)
        .flat_map(|row| columns.iter().map(move |c| c[row]))
        .collect()
}

/// Parts by name, as [`Quantizer::save`] gives them.
pub(crate) fn saved(parts: Vec<(&str, &Tensor)>) -> Result<HostTensors> {
    let part =
        |(name, t): (&str, &Tensor)| Ok((name.to_owned(), (t.shape().to_vec(), t.read::<f32>()?)));
    parts.into_iter().map(part).collect()
}

/// Takes `parts` by name, as [`Quantizer::load`] does.
pub(crate) fn restore(who: &str, state: &HostTensors, parts: &[(&str, &Tensor)]) -> Result<()> {
    for (name, tensor) in parts {
        match state.get(*name) {
            Some((shape, _)) if shape == tensor.shape() => {}
            Some((shape, _)) => {
                let expected = format!("`{name}` {:?}", tensor.shape());
                return Err(Error::data(format!(
                    "the state of the quantizer `{who}`: {expected} expected, {shape:?} found"
                )));
            }
            None => {
                return Err(Error::data(format!(
                    "the state of the quantizer `{who}` has no `{name}`"
                )));
            }
        }
    }
    if let Some(name) = state
        .keys()
        .find(|name| parts.iter().all(|(n, _)| n != name))
    {
        return Err(Error::data(format!(
            "the quantizer `{who}` has no state `{name}`: it is another quantizer's"
        )));
    }
    parts
        .iter()
        .try_for_each(|(name, tensor)| tensor.write(&state[*name].1))
}

/// Renamed.
#[deprecated(since = "0.2.0", note = "renamed to `CodebookBatch`")]
pub type Seen = CodebookBatch;
