//! Vector quantization with a codebook that follows its latents by a moving average: van den Oord et al. 2017, appendix A.1.

use super::{Mode, Quantized, Quantizer};
use crate::autograd::Var;
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::{HostTensors, Pass};
use crate::ops::assignment::assign;
use crate::ops::ema_update::{Ema, Options, ema_update};
use crate::ops::gather::gather;
use crate::ops::kmeans::kmeans;
use crate::ops::loss::Loss;
use crate::ops::random::{self, Key};
use crate::ops::scale::scale;
use crate::ops::vq_search::nearest;
use crate::{Error, Result};

/// The options of [`EmaVq`], named as vector-quantize-pytorch names them.
#[derive(Clone, Debug, PartialEq)]
pub struct EmaOptions {
    /// Codes, K.
    pub codebook_size: usize,
    /// Channels of a code, D.
    pub codebook_dim: usize,
    /// Weight of the commitment loss, beta.
    pub commitment_weight: f32,
    /// Share of the old average that a step keeps.
    pub decay: f32,
    /// Laplace smoothing of the counts.
    pub eps: f32,
    /// Place the codes among the first latents by k-means; otherwise they begin as normal random vectors.
    pub kmeans_init: bool,
    /// Rounds of k-means.
    pub kmeans_iters: usize,
    /// A code whose averaged count falls below takes the place of a random latent; 0 revives none.
    pub threshold_ema_dead_code: f32,
    /// Seed of initial codes and revivals.
    pub seed: u64,
}

impl Default for EmaOptions {
    fn default() -> Self {
        EmaOptions {
            codebook_size: 512,
            codebook_dim: 64,
            commitment_weight: 0.25,
            decay: 0.99,
            eps: 1e-5,
            kmeans_init: true,
            kmeans_iters: 10,
            threshold_ema_dead_code: 1.0,
            seed: 0,
        }
    }
}

/// VQ with an EMA codebook, k-means initialisation and revival of dead codes.
#[derive(Debug)]
pub struct EmaVq {
    options: EmaOptions,
    ema: Ema,
    initialized: bool,
}

impl EmaVq {
    /// A quantizer whose codes are not placed yet, or random where `kmeans_init` is off. Counts begin at one, sums at the
    /// codes.
    ///
    /// # Errors
    /// If a size is 0, or the device cannot hold the codebook.
    pub fn new(gpu: &Gpu, options: EmaOptions) -> Result<EmaVq> {
        let (k, d) = (options.codebook_size, options.codebook_dim);
        if k == 0 || d == 0 || k > 1 << 24 {
            return Err(Error::invalid(
                "ema quantizer",
                format!("{k} codes of {d}: K lies in 1..=2^24, D is at least 1"),
            ));
        }
        let codebook = Tensor::empty(gpu, &[k, d], DType::F32)?;
        random::normal(&codebook, Key { seed: options.seed, step: 0, stream: 0x434f_4445 })?;
        let counts = Tensor::empty(gpu, &[k], DType::F32)?;
        crate::ops::fill::fill(&counts, 1.0)?;
        let ema = Ema { sums: codebook.duplicate()?, counts, codebook };
        Ok(EmaVq { initialized: !options.kmeans_init, options, ema })
    }

    /// The codes: f32 [K, D].
    pub fn codebook(&self) -> &Tensor {
        &self.ema.codebook
    }

    fn check(&self, latents: &Tensor) -> Result<()> {
        match latents.shape() {
            [_, d] if *d == self.options.codebook_dim => Ok(()),
            _ => Err(Error::shape(
                "ema quantizer",
                format!("latents [N, {}]", self.options.codebook_dim),
                format!("{latents:?}"),
            )),
        }
    }
}

/// For [`super::all`].
pub(super) fn plain(gpu: &Gpu, k: usize, d: usize, seed: u64) -> Result<Box<dyn Quantizer>> {
    let options = EmaOptions {
        codebook_size: k,
        codebook_dim: d,
        kmeans_init: false,
        threshold_ema_dead_code: 0.0,
        seed,
        ..Default::default()
    };
    Ok(Box::new(EmaVq::new(gpu, options)?))
}

impl Quantizer for EmaVq {
    fn name(&self) -> &'static str {
        "ema"
    }
    fn codebook_size(&self) -> usize {
        self.options.codebook_size
    }
    fn dim(&self) -> usize {
        self.options.codebook_dim
    }
    fn wants_init(&self) -> bool {
        !self.initialized
    }

    fn initialize(&mut self, latents: &Tensor, per_step: usize) -> Result<()> {
        self.check(latents)?;
        let o = &self.options;
        let clusters = kmeans(latents, o.codebook_size, o.kmeans_iters, o.seed)?;
        let groups = assign(&nearest(latents, &clusters.means)?, o.codebook_size)?;
        // The average begins as this batch left it: a decay of 0 takes over counts and sums, so that sums = mean x
        // count, and a cluster without rows is revived like any dead code.
        let begin = Options { decay: 0.0, eps: o.eps, threshold: o.threshold_ema_dead_code };
        let key = Key { seed: o.seed, step: u64::MAX, stream: 0 };
        ema_update(&self.ema, &groups.counts, &groups.sums(latents)?, latents, begin, key)?;
        // In the measure of one step: several batches at full weight would hold the codes where they are while the
        // encoder moves away, and no code would look dead for hundreds of steps.
        let share = per_step as f32 / latents.shape()[0].max(1) as f32;
        for part in [&self.ema.counts, &self.ema.sums] {
            part.copy_from(&scale(part, share, 0.0)?)?;
        }
        self.initialized = true;
        Ok(())
    }

    fn quantize(&mut self, pass: &Pass, z_e: &Var, mode: Mode) -> Result<Quantized> {
        let latents = z_e.tensor();
        self.check(latents)?;
        let o = &self.options;
        let indices = nearest(latents, &self.ema.codebook)?;
        let codes = gather(&self.ema.codebook, &indices)?;
        let groups = assign(&indices, o.codebook_size)?;
        let mut loss = None;
        if let Mode::Train { step } = mode {
            let commitment = pass.tape.loss(Loss::Mse, z_e, &pass.tape.constant(&codes))?;
            loss = Some(pass.tape.scale(&commitment, o.commitment_weight, 0.0)?);
            // The latents above were quantized with the old codes; the next batch meets the new ones.
            let move_by = Options { decay: o.decay, eps: o.eps, threshold: o.threshold_ema_dead_code };
            let key = Key { seed: o.seed, step, stream: 0 };
            ema_update(&self.ema, &groups.counts, &groups.sums(latents)?, latents, move_by, key)?;
        }
        Ok(Quantized { z_q: pass.tape.straight_through(z_e, &codes)?, indices, counts: groups.counts, loss })
    }

    fn decode(&self, indices: &Tensor) -> Result<Tensor> {
        gather(&self.ema.codebook, indices)
    }

    fn save(&self) -> Result<HostTensors> {
        let part = |t: &Tensor| Ok((t.shape().to_vec(), t.read::<f32>()?));
        Ok(HostTensors::from([
            ("codebook".into(), part(&self.ema.codebook)?),
            ("ema_counts".into(), part(&self.ema.counts)?),
            ("ema_sums".into(), part(&self.ema.sums)?),
        ]))
    }

    fn load(&mut self, state: &HostTensors) -> Result<()> {
        let parts = [("codebook", &self.ema.codebook), ("ema_counts", &self.ema.counts), ("ema_sums", &self.ema.sums)];
        for (name, tensor) in parts {
            match state.get(name) {
                Some((shape, _)) if shape == tensor.shape() => {}
                Some((shape, _)) => {
                    return Err(Error::shape(
                        "ema quantizer",
                        format!("`{name}` {:?}", tensor.shape()),
                        format!("{shape:?}"),
                    ));
                }
                None => return Err(Error::data(format!("the quantizer's state has no `{name}`"))),
            }
        }
        for (name, tensor) in parts {
            tensor.write(&state[name].1)?;
        }
        self.initialized = true;
        Ok(())
    }
}
