//! Vector quantization: each latent takes the nearest code of a codebook (van den Oord et al. 2017,
//! "Neural discrete representation learning"), which learns in one of three ways.

mod construct;
mod learning;
mod sharing;

use super::latents::{arrive, check_latents, count, only, squared_distances};
use super::options::Options;
use super::quantizer::{CodebookBatch, Mode, Quantized, Quantizer, Term};
use super::regularize;
use super::state::{check_parts, saved};
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::nn::{Builder, ForwardContext, HostTensors, Init, Parameters};
use crate::ops::elementwise::scale::scale;
use crate::ops::linalg::matmul::Transpose;
use crate::ops::loss::loss::Loss;
use crate::ops::norm::l2_norm::l2_norm;
use crate::ops::quantize::assignment::assign;
use crate::ops::quantize::code_softmax::{Metric, sample_codes};
use crate::ops::quantize::ema_update::{Ema, Options as Average, ema_counts, ema_update};
use crate::ops::quantize::gather::gather;
use crate::ops::quantize::kmeans::kmeans;
use crate::ops::quantize::restart_dead_codes::{Codes, restart_dead_codes, restart_dead_codes_at};
use crate::ops::quantize::vq_search::nearest;
use crate::ops::sampling::random::Key;
use crate::parallel::Ranks;
use crate::{Error, Result};
pub use construct::{cosine, ema, gradient, simvq};
use construct::{numbers, ones};
use learning::Learning;

/// Streams of random numbers.
const INITIAL: u32 = 0x434f_4445;
const SAMPLES: u32 = 0x534d_504c;
/// The step of what happens before the first.
const AT_START: u64 = u64::MAX;

/// The nearest code of a codebook.
#[derive(Debug)]
pub struct VectorQuantizer {
    name: &'static str,
    options: Options,
    /// Codes and channels.
    size: [usize; 2],
    book: Learning,
    initialized: bool,
    /// The threshold of dead codes, and whether it was initialized, as it was made.
    at_first: (f32, bool),
    /// The ranks that it learns with.
    ranks: Ranks,
}

impl VectorQuantizer {
    /// A quantizer whose codebook is a moving average. Its codes are not placed yet, or random
    /// where `kmeans_init` is off; counts begin at one, sums at the codes.
    ///
    /// # Errors
    /// If the device cannot hold the codebook.
    pub fn average(gpu: &Gpu, name: &'static str, o: &Options) -> Result<VectorQuantizer> {
        let [k, d] = [o.codebook_size, o.code_channels()];
        let mut codebook = numbers(gpu, k, d, o.seed)?;
        if o.use_cosine_sim {
            codebook = l2_norm(&codebook)?;
        }
        let ema = Ema {
            sums: codebook.duplicate()?,
            counts: ones(gpu, k)?,
            codebook,
        };
        Ok(VectorQuantizer::over(
            name,
            o,
            Learning::Average(ema),
            !o.kmeans_init,
        ))
    }

    /// A quantizer whose codebook learns by gradient: the parameter `quantize.codebook`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn gradient(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<VectorQuantizer> {
        let [k, d] = [o.codebook_size, o.code_channels()];
        let codes = b.declare("quantize.codebook", &[k, d], Init::Normal(1.0));
        b.without_decay(codes);
        Ok(VectorQuantizer::over(
            "vq",
            o,
            Learning::Gradient {
                codes,
                counts: ones(gpu, k)?,
            },
            !o.kmeans_init,
        ))
    }

    /// Returns a quantizer of a frozen codebook, normal of deviation D^-1/2, and the parameter
    /// `quantize.map` [D, D].
    ///
    /// # Errors
    /// If the device cannot hold the codebook.
    pub fn mapped(gpu: &Gpu, b: &mut Builder, o: &Options) -> Result<VectorQuantizer> {
        let [k, d] = [o.codebook_size, o.code_channels()];
        let spread = 1.0 / (d as f32).sqrt();
        let frozen = scale(&numbers(gpu, k, d, o.seed)?, spread, 0.0)?;
        let map = b.declare("quantize.map", &[d, d], Init::Uniform(spread));
        Ok(VectorQuantizer::over(
            "simvq",
            o,
            Learning::Mapped { frozen, map },
            true,
        ))
    }

    fn over(name: &'static str, o: &Options, book: Learning, initialized: bool) -> VectorQuantizer {
        let (size, at_first) = (
            [o.codebook_size, o.code_channels()],
            (o.threshold_ema_dead_code, initialized),
        );
        VectorQuantizer {
            name,
            options: o.clone(),
            size,
            book,
            initialized,
            at_first,
            ranks: Ranks::alone(),
        }
    }

    /// Returns it under the name of what it is part of.
    pub(super) fn named(self, name: &'static str) -> VectorQuantizer {
        VectorQuantizer { name, ..self }
    }

    fn metric(&self) -> Metric {
        if self.options.use_cosine_sim {
            Metric::Cosine
        } else {
            Metric::Euclidean
        }
    }

    /// Returns the codes as latents meet them: [K, D].
    pub(super) fn codebook(&self, pass: &ForwardContext) -> Result<Var> {
        let codes = match &self.book {
            // Its codes have length 1 already where that is wanted.
            Learning::Average(ema) => return Ok(pass.tape.constant(&ema.codebook)),
            Learning::Gradient { codes, .. } => pass.param(*codes)?,
            Learning::Mapped { frozen, map } => pass.tape.matmul(
                &pass.tape.constant(frozen),
                &pass.param(*map)?,
                Transpose::B,
            )?,
        };
        if self.options.use_cosine_sim {
            pass.tape.l2_norm(&codes)
        } else {
            Ok(codes)
        }
    }

    fn revival(
        &self,
        counts: &Tensor,
        codebook: &Tensor,
        sums: Option<&Tensor>,
        fresh: &Tensor,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        // The books that share a codebook are averaged one after another, so the mean is of one of
        // them.
        let size = if step == AT_START {
            1
        } else {
            self.ranks.size()
        };
        let rows = seen.iter().map(|s| s.index.len()).sum::<usize>() / seen.len().max(1);
        let rows = rows * size;
        let least = self.options.dead_below(rows);
        // K-means has just placed the codes, small clusters too: only those without latents are
        // dead.
        let Some(least) = least.map(|least| if step == AT_START { 1.0 } else { least }) else {
            return Ok(None);
        };
        let key = Key {
            seed: self.options.seed,
            step,
            stream: 0,
        };
        let codes = Codes {
            codebook,
            counts,
            sums,
        };
        if size > 1 {
            let rows = sharing::rows_to_restart(&self.ranks, seen, self.size[0], key)?;
            return restart_dead_codes_at(codes, fresh, &rows, least).map(Some);
        }
        restart_dead_codes(codes, fresh, &all_latents(seen)?, least, key).map(Some)
    }
}

/// All latents that were seen, as one matrix.
fn all_latents(seen: &[CodebookBatch]) -> Result<Tensor> {
    let latents: Vec<Tensor> = seen.iter().map(|s| s.latents.clone()).collect();
    Tensor::joined(&latents)
}

impl VectorQuantizer {
    /// Quantizes as the stage of this number of a stack that shares one codebook: codes that are
    /// drawn are drawn with noise of its own.
    pub(super) fn quantize_at(
        &self,
        pass: &ForwardContext,
        z_e: &Var,
        mode: Mode,
        depth: usize,
    ) -> Result<Quantized> {
        let (tape, o, [k, d]) = (pass.tape, &self.options, self.size);
        let z_e = &arrive("quantizer", pass, z_e, d)?;
        let x = if o.use_cosine_sim {
            tape.l2_norm(z_e)?
        } else {
            z_e.clone()
        };
        let codebook = self.codebook(pass)?;
        let index = match mode {
            Mode::Train { step } if o.stochastic_sample_codes => {
                let key = Key {
                    seed: o.seed,
                    step,
                    stream: SAMPLES.wrapping_add(depth as u32),
                };
                sample_codes(
                    x.tensor(),
                    codebook.tensor(),
                    self.metric(),
                    o.sample_codebook_temp,
                    key,
                )?
            }
            _ => nearest(x.tensor(), codebook.tensor())?,
        };
        let codes = tape.gather(&codebook, &index)?;
        let mut losses = Vec::new();
        let mut z_q = None;
        if let Mode::Train { step } = mode {
            if o.directional_reparam {
                // The reconstruction moves latents and codes; nothing else has to.
                let variance = o.directional_reparam_variance;
                z_q = Some(tape.directional(&x, &codes, variance, [o.seed, step])?);
            } else {
                let commitment = tape.loss(Loss::Mse, &x, &codes.detach())?;
                losses.push((
                    Term::Commitment,
                    tape.scale(&commitment, o.commitment_weight, 0.0)?,
                ));
                if codebook.needs_gradient() {
                    let loss = tape.loss(Loss::Mse, &codes, &x.detach())?;
                    losses.push((Term::Codebook, tape.scale(&loss, o.codebook_weight, 0.0)?));
                }
            }
            losses.extend(regularize::terms(tape, o, &x, &codebook, self.metric())?);
        }
        let z_q = match z_q {
            Some(z_q) => z_q,
            None => tape.estimate(&x, codes.tensor(), o.rotation_trick)?,
        };
        let n = index.len();
        Ok(Quantized {
            z_q,
            counts: count(&index, k)?,
            indices: index.reshape(&[n, 1])?,
            losses,
            seen: vec![CodebookBatch {
                codebook: 0,
                latents: x.tensor().clone(),
                index,
                moments: None,
            }],
        })
    }
}

impl Quantizer for VectorQuantizer {
    fn name(&self) -> &str {
        self.name
    }
    fn codebook_numbers(&self) -> usize {
        self.size.iter().product()
    }
    fn codebook_size(&self) -> usize {
        self.size[0]
    }
    fn dim(&self) -> usize {
        self.size[1]
    }
    fn wants_init(&self) -> bool {
        !self.initialized
    }
    fn spans_latents(&self) -> Option<String> {
        let o = &self.options;
        let what = if o.codebook_diversity_loss_weight > 0.0 {
            "the entropy of the codes' average use (set quantizer.codebook_diversity_loss_weight = \
             0)"
        } else if o.stochastic_sample_codes {
            "the draw of codes, numbered by latent (set quantizer.stochastic_sample_codes = false)"
        } else if o.directional_reparam {
            "noise that is numbered by latent (set quantizer.directional_reparam = false)"
        } else {
            return None;
        };
        Some(what.into())
    }

    fn initialize(
        &mut self,
        pass: &ForwardContext,
        latents: &Tensor,
        per_step: usize,
    ) -> Result<()> {
        let ([k, d], o) = (self.size, &self.options);
        check_latents("quantizer", latents, d)?;
        let x = if o.use_cosine_sim {
            l2_norm(latents)?
        } else {
            latents.clone()
        };
        let clusters = kmeans(&x, k, o.kmeans_iters, o.seed)?;
        let index = nearest(&x, &clusters.means)?;
        let groups = assign(&index, k)?;
        // In the measure of one step: several batches at full weight would hold the codes where
        // they are while the encoder moves away, and no code would look dead for hundreds of steps.
        let share = per_step as f32 / latents.shape()[0].max(1) as f32;
        match &self.book {
            Learning::Average(ema) => {
                // The average begins as this batch left it: a decay of 0 takes over counts and
                // sums, so that sums = mean x count, and a cluster without rows is revived like any
                // dead code.
                let begin = Average {
                    decay: 0.0,
                    eps: o.eps,
                };
                let fresh = ema_update(ema, &groups.counts, &groups.sums(&x)?, begin)?;
                let seen = [CodebookBatch {
                    codebook: 0,
                    latents: x,
                    index,
                    moments: None,
                }];
                self.revival(
                    &ema.counts,
                    &ema.codebook,
                    Some(&ema.sums),
                    &fresh,
                    &seen,
                    AT_START,
                )?;
                if o.use_cosine_sim {
                    ema.codebook.copy_from(&l2_norm(&ema.codebook)?)?;
                }
                for part in [&ema.counts, &ema.sums] {
                    part.copy_from(&scale(part, share, 0.0)?)?;
                }
            }
            Learning::Gradient { codes, counts } => {
                pass.param(*codes)?.tensor().copy_from(&clusters.means)?;
                let fresh = ema_counts(counts, &groups.counts, 0.0)?;
                counts.copy_from(&scale(&fresh, share, 0.0)?)?;
            }
            Learning::Mapped { .. } => {}
        }
        self.initialized = true;
        Ok(())
    }

    fn quantize(&self, pass: &ForwardContext, z_e: &Var, mode: Mode) -> Result<Quantized> {
        self.quantize_at(pass, z_e, mode, 0)
    }

    /// A codebook that several of a stack share takes in what each of them saw, one after
    /// another, as vector-quantize-pytorch does: the average keeps `decay` of itself each time.
    fn learn(
        &mut self,
        params: &Parameters,
        seen: &[CodebookBatch],
        step: u64,
    ) -> Result<Option<Tensor>> {
        let (o, k) = (&self.options, self.size[0]);
        let mut fresh = None;
        for s in seen {
            let groups = assign(&s.index, k)?;
            fresh = match &self.book {
                Learning::Average(ema) => {
                    let move_by = Average {
                        decay: o.decay,
                        eps: o.eps,
                    };
                    let sums = groups.sums(&s.latents)?;
                    self.ranks.sum_tensors(&[&groups.counts, &sums])?;
                    Some(ema_update(ema, &groups.counts, &sums, move_by)?)
                }
                Learning::Gradient { counts, .. } => {
                    self.ranks.sum_tensors(&[&groups.counts])?;
                    let fresh = ema_counts(counts, &groups.counts, o.decay)?;
                    counts.copy_from(&fresh)?;
                    Some(fresh)
                }
                Learning::Mapped { .. } => None,
            };
        }
        let Some(fresh) = fresh else { return Ok(None) };
        match &self.book {
            Learning::Average(ema) => {
                if o.use_cosine_sim {
                    ema.codebook.copy_from(&l2_norm(&ema.codebook)?)?;
                }
                self.revival(
                    &ema.counts,
                    &ema.codebook,
                    Some(&ema.sums),
                    &fresh,
                    seen,
                    step,
                )
            }
            Learning::Gradient { codes, counts } => {
                self.revival(counts, params.get(*codes)?, None, &fresh, seen, step)
            }
            Learning::Mapped { .. } => Ok(None),
        }
    }

    fn join(&mut self, ranks: &Ranks) -> bool {
        self.ranks = ranks.clone();
        true
    }

    fn decode(&self, pass: &ForwardContext, indices: &Tensor) -> Result<Tensor> {
        gather(self.codebook(pass)?.tensor(), &only("decode", indices)?)
    }

    fn distances(&self, pass: &ForwardContext, z_e: &Var) -> Result<Vec<f32>> {
        let q = self.quantize(pass, z_e, Mode::Eval)?;
        // The latents as the codebook met them: of length 1 where the codes are.
        let [CodebookBatch { latents, .. }] = &q.seen[..] else {
            return Err(Error::invalid(
                "distances",
                "latents were seen by other than one codebook",
            ));
        };
        squared_distances(latents, q.z_q.tensor())
    }

    fn save(&self) -> Result<HostTensors> {
        saved(self.state())
    }

    fn check_state(&self, state: &HostTensors) -> Result<()> {
        check_parts(self.name, state, &self.state())
    }

    fn save_codes(&self) -> Result<HostTensors> {
        saved(self.book.codes())
    }

    fn load_codes(&mut self, codes: &HostTensors) -> Result<()> {
        self.take(codes, Learning::codes)
    }

    fn load(&mut self, state: &HostTensors) -> Result<()> {
        self.take(state, Learning::state)
    }

    fn reset(&mut self, placed: bool) {
        let (threshold, initialized) = self.at_first;
        self.options.threshold_ema_dead_code = threshold;
        self.initialized = placed || initialized;
    }

    fn learned(&self) -> Vec<&Tensor> {
        match &self.book {
            Learning::Average(ema) => vec![&ema.codebook],
            Learning::Gradient { .. } | Learning::Mapped { .. } => Vec::new(),
        }
    }

    fn begin_revival(&mut self) -> bool {
        let can = !matches!(self.book, Learning::Mapped { .. })
            && self.options.threshold_ema_dead_code == 0.0;
        if can {
            self.options.threshold_ema_dead_code = Options::default().threshold_ema_dead_code;
        }
        can
    }
}
