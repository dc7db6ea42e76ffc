//! The standard training step: the VQ-VAE of Sonnet's example (32 x 32 x 3, 128 hidden, 2 residual
//! layers of 32, K 512, D 64), forward, backward, Adam and the moving average of the codebook; and
//! the same with another quantizer.

use super::prepared::Prepared;
use crate::Result;
use crate::autograd::Tape;
use crate::gpu::{DType, Gpu, Tensor};
use crate::models::first_stage::vqvae::{Config, VqVae};
use crate::nn::{Adam, ForwardContext, Parameters};
use crate::ops::loss::loss::Loss;
use crate::ops::optim::adam::Hyper;
use crate::ops::sampling::random;
use crate::ops::sampling::random::Key;
use crate::quantize::{Kind, Mode, Options, Quantizer};
use crate::spec::Verdict;

/// The standard step at a batch size.
#[derive(Clone, Copy, Debug)]
pub struct TrainStep {
    /// Images per step.
    pub batch: usize,
    /// The quantizer.
    pub kind: &'static Kind,
    /// Type of stored activations.
    pub activations: DType,
}

struct State {
    gpu: Gpu,
    activations: DType,
    model: VqVae,
    params: Parameters,
    quantizer: Box<dyn Quantizer>,
    adam: Adam,
    images: Tensor,
    step: u64,
}

impl TrainStep {
    fn state(self, gpu: &Gpu, seed: u64) -> Result<State> {
        let mut b = Parameters::builder();
        let options = Options {
            kmeans_init: false,
            dim: 64,
            seed,
            ..Options::of(self.kind.name)
        };
        let quantizer = (self.kind.build)(gpu, &mut b, &options)?;
        let config = Config {
            channels: 3,
            hidden: 128,
            residual_layers: 2,
            residual_hidden: 32,
            downsample: 4,
            codebook_dim: quantizer.dim(),
        };
        let model = VqVae::new(&mut b, &config)?;
        let params = b.build(gpu, seed)?;
        let adam = Adam::new(
            &params,
            Hyper {
                lr: 3e-4,
                ..Default::default()
            },
        )?;
        let images = Tensor::empty(gpu, &[self.batch, 32, 32, 3], DType::F32)?;
        random::normal(
            &images,
            Key {
                seed,
                step: 0,
                stream: 9,
            },
        )?;
        Ok(State {
            gpu: gpu.clone(),
            activations: self.activations,
            model,
            params,
            quantizer,
            adam,
            images,
            step: 0,
        })
    }

    pub(super) fn prepare(self, gpu: &Gpu, seed: u64) -> Result<Prepared> {
        let mut state = self.state(gpu, seed)?;
        Ok(Prepared {
            call: Box::new(move || state.step().map(drop)),
            work: None,
        })
    }

    /// The step as a whole has no f64 reference; its operations have. Here it has to do what a step
    /// is for: bring the reconstruction loss of its batch down within 6 steps, none of them above
    /// the first, which lies near what noise of variance 1 leaves.
    pub(super) fn check(self, gpu: &Gpu, seed: u64) -> Result<Verdict> {
        let mut state = self.state(gpu, seed)?;
        let losses = (0..6)
            .map(|_| Ok(state.step()?.read::<f32>()?[0]))
            .collect::<Result<Vec<f32>>>()?;
        let falls = losses[1..].iter().all(|l| *l < losses[0])
            && losses[5] < losses[1]
            && (0.5..3.0).contains(&losses[0]);
        Ok(Verdict {
            compared: losses.len(),
            worst: if falls { 0.0 } else { f64::INFINITY },
            max_error: f64::NAN,
            detail: format!("reconstruction loss over 6 steps: {losses:?}"),
            pass: falls,
        })
    }
}

impl State {
    /// One step; its reconstruction loss.
    fn step(&mut self) -> Result<Tensor> {
        let tape = Tape::new(&self.gpu);
        let pass = ForwardContext::new(&tape, &self.params)
            .with_activation_dtype(self.activations)
            .with_gradients_of(&self.adam);
        let x = tape.constant(&self.images);
        let z_e = self.model.latents(&pass, &x)?;
        let [b, h, w, d] = z_e.tensor().dims("train step")?;
        let rows = tape.reshape(&z_e, &[b * h * w, d])?;
        let q = self
            .quantizer
            .quantize(&pass, &rows, Mode::Train { step: self.step })?;
        let y = self
            .model
            .images(&pass, &tape.reshape(&q.z_q, &[b, h, w, d])?)?;
        let reconstruction = tape.loss(Loss::Mse, &y, &x)?;
        let loss = match q.total(&tape)? {
            Some(l) => tape.add(&reconstruction, &l)?,
            None => reconstruction.clone(),
        };
        let gradients = pass.gradients(tape.backward(&loss)?);
        self.adam.step(&self.params, &gradients)?;
        self.quantizer.learn(&self.params, &q.seen, self.step)?;
        self.step += 1;
        Ok(reconstruction.tensor().clone())
    }
}
