//! The patch discriminator (Isola et al. 2017, "Image-to-image translation with conditional
//! adversarial networks", section 3.2.2; the layers of taming-transformers' `NLayerDiscriminator`):
//! a fully convolutional network that judges overlapping patches of an image.

use crate::autograd::Var;
use crate::gpu::{DType, Gpu};
use crate::nn::{Builder, ForwardContext, Handle, HostTensors, Init, Parameters, SpectralNorm};
use crate::ops::conv::Conv;
use crate::ops::elementwise::activation::Function;
use crate::ops::norm::group_norm_activation::NormActivation;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Normalisation of a discriminator's layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiscriminatorNorm {
    /// Batch norm over the images at hand (Ioffe and Szegedy 2015), after all layers but the first
    /// and the last.
    Batch,
    /// Every weight divided by its largest singular value (Miyato et al. 2018).
    Spectral,
    /// Nothing.
    None,
}

/// The shape of a patch discriminator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Channels of the images.
    pub channels: usize,
    /// Channels after the first layer (`ndf`); each further one has twice as many, to eight times
    /// at most.
    pub hidden: usize,
    /// Layers that halve rows and columns (`n_layers`). With 3 each logit sees 70 x 70 pixels,
    /// with 2 34 x 34, with 1 16 x 16.
    pub layers: usize,
    /// The norm.
    pub norm: DiscriminatorNorm,
}

/// Width and height of every kernel.
const KERNEL: usize = 4;
/// Added under the root of batch norms.
const EPS: f32 = 1e-5;

#[derive(Debug)]
struct Layer {
    weight: Handle,
    bias: Option<Handle>,
    stride: usize,
    batch_norm: Option<[Handle; 2]>,
    spectral: Option<SpectralNorm>,
}

/// Output of a discriminator.
pub struct Verdict {
    /// A logit for each patch [B, h, w, 1]: large for what looks real.
    pub logits: Var,
    /// Activations of all layers but the last, as feature matching compares them, as the pass
    /// stores them.
    pub features: Vec<Var>,
}

/// A patch discriminator. In a pass that stores activations in f16, those of all layers but the
/// last are; what a batch norm reads, its moments, singular values and the logits are f32.
#[derive(Debug)]
pub struct Discriminator {
    layers: Vec<Layer>,
    smallest: usize,
}

impl Discriminator {
    /// Declares its parameters under `discriminator.`.
    ///
    /// # Errors
    /// If the configuration makes none; the error names the key.
    pub fn new(b: &mut Builder, c: &Config) -> Result<Discriminator> {
        if !(1..=6).contains(&c.layers) {
            return Err(Error::config(
                "gan.layers",
                format!("{} is not allowed: it must be from 1 to 6", c.layers),
            ));
        }
        if !(1..=1024).contains(&c.hidden) {
            return Err(Error::config(
                "gan.hidden",
                format!("{} is not allowed: it must be from 1 to 1024", c.hidden),
            ));
        }
        let mut layers = Vec::new();
        let mut from = c.channels;
        for i in 0..c.layers + 2 {
            let last = i == c.layers + 1;
            let to = if last { 1 } else { c.hidden * (1 << i.min(3)) };
            let name = format!("discriminator.{i}");
            let weight = b.declare(
                format!("{name}.weight"),
                &[to, KERNEL, KERNEL, from],
                Init::Normal(0.02),
            );
            let normed = c.norm == DiscriminatorNorm::Batch && i > 0 && !last;
            // A batch norm takes every constant off again.
            let bias = (!normed).then(|| b.declare(format!("{name}.bias"), &[to], Init::Zeros));
            let batch_norm = normed.then(|| {
                let mut part =
                    |part: &str, init| b.declare(format!("{name}.norm.{part}"), &[to], init);
                [part("weight", Init::Ones), part("bias", Init::Zeros)]
            });
            let spectral =
                (c.norm == DiscriminatorNorm::Spectral).then(|| SpectralNorm::new(weight, &name));
            layers.push(Layer {
                weight,
                bias,
                stride: if i < c.layers { 2 } else { 1 },
                batch_norm,
                spectral,
            });
            from = to;
        }
        // Two layers of stride 1 take a pixel each off what is left, and one must remain.
        Ok(Discriminator {
            layers,
            smallest: 3 << c.layers,
        })
    }

    /// Images smaller than this, either way, leave no patch to judge.
    pub fn smallest(&self) -> usize {
        self.smallest
    }

    /// Judges images [B, H, W, C] in [-1, 1].
    ///
    /// # Errors
    /// If the images are too small or have other channels.
    pub fn forward(&self, pass: &ForwardContext, images: &Var) -> Result<Verdict> {
        let [_, h, w, _] = images.tensor().dims("discriminator")?;
        if h.min(w) < self.smallest {
            let what = format!(
                "images of {0} x {0} pixels at least, or fewer gan.layers",
                self.smallest
            );
            return Err(Error::shape("discriminator", what, format!("{w} x {h}")));
        }
        let mut x = images.clone();
        let mut features = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            x = layer.forward(pass, &x, last)?;
            if !last {
                features.push(x.clone());
            }
        }
        Ok(Verdict {
            logits: x,
            features,
        })
    }

    fn spectral(&self) -> impl Iterator<Item = &SpectralNorm> {
        self.layers
            .iter()
            .filter_map(|layer| layer.spectral.as_ref())
    }

    /// Prepares what is kept beside the parameters, of `seed`, and brings it up to date with them;
    /// before the first pass.
    ///
    /// # Errors
    /// If the device fails.
    pub fn begin(&mut self, gpu: &Gpu, params: &Parameters, seed: u64) -> Result<()> {
        self.layers
            .iter_mut()
            .filter_map(|l| l.spectral.as_mut())
            .try_for_each(|norm| norm.begin(gpu, params, seed))
    }

    /// Follows the parameters after they moved: one power iteration of each spectral norm.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update_spectral_norm(&self, params: &Parameters) -> Result<()> {
        self.spectral().try_for_each(|norm| norm.iterate(params))
    }

    /// Returns the state beside the parameters, by name.
    ///
    /// # Errors
    /// If the device fails.
    pub fn save(&self) -> Result<HostTensors> {
        let mut all = HostTensors::new();
        for norm in self.spectral() {
            all.extend(norm.save()?);
        }
        Ok(all)
    }

    /// Takes what [`Discriminator::save`] gave.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn load(&self, state: &HostTensors) -> Result<()> {
        self.check(state)?;
        self.spectral().try_for_each(|norm| norm.load(state))
    }

    /// Checks that [`Discriminator::load`] takes a state.
    pub(crate) fn check(&self, state: &HostTensors) -> Result<()> {
        self.spectral().try_for_each(|norm| norm.check(state))
    }
}

impl Layer {
    /// The layer with its norm and, unless it is the `last`, its activation.
    fn forward(&self, pass: &ForwardContext, x: &Var, last: bool) -> Result<Var> {
        let tape = pass.tape;
        let conv = Conv {
            stride: self.stride,
            pad: 1,
            relu: false,
            after: 0,
        };
        let weight = match &self.spectral {
            Some(norm) => pass.computed_weight(&norm.weight(pass)?)?,
            None => pass.weight(self.weight)?,
        };
        let bias = self.bias.map(|b| pass.param(b)).transpose()?;
        // Norms read f32, as in first stages: what they subtract may be far larger than what is
        // left, and f16 has 11 bits of both together.
        let out = match last || self.batch_norm.is_some() {
            true => DType::F32,
            false => pass.activations(),
        };
        let x = tape.conv2d_as(x, &weight, bias.as_ref(), None, conv, out)?;
        let [gain, bias] = match self.batch_norm {
            Some(norm) => norm,
            None if last => return Ok(x),
            None => return tape.activation(Function::Leaky, &x),
        };
        // A group norm with a group to a channel, over all images as if they were one. The last
        // layer has none.
        let [n, h, w, c] = x.tensor().dims("discriminator")?;
        let one = tape.reshape(&x, &[1, n * h, w, c])?;
        let options = NormActivation {
            groups: c,
            eps: EPS,
            function: Function::Leaky,
            dtype: pass.activations(),
        };
        let [gain, bias] = [pass.param(gain)?, pass.param(bias)?];
        let y = tape.group_norm_activation(&one, &gain, &bias, options)?;
        tape.reshape(&y, &[n, h, w, c])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::Tape;
    use crate::gpu::{Options, Tensor};
    use crate::nn::HalfWeights;
    use crate::ops::elementwise::cast::cast;
    use crate::ops::loss::loss::Loss;
    use crate::spec::Rng;

    fn build(gpu: &Gpu, norm: DiscriminatorNorm) -> (Discriminator, Parameters) {
        build_of(gpu, norm, 5)
    }

    fn build_of(gpu: &Gpu, norm: DiscriminatorNorm, hidden: usize) -> (Discriminator, Parameters) {
        let mut b = Parameters::builder();
        let config = Config {
            channels: 3,
            hidden,
            layers: 2,
            norm,
        };
        let mut d = Discriminator::new(&mut b, &config).unwrap();
        let params = b.build(gpu, 7).unwrap();
        d.begin(gpu, &params, 7).unwrap();
        (d, params)
    }

    #[test]
    fn smallest_images_leave_one_logit() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        for norm in [
            DiscriminatorNorm::Batch,
            DiscriminatorNorm::Spectral,
            DiscriminatorNorm::None,
        ] {
            let (d, params) = build(&gpu, norm);
            assert_eq!(d.smallest(), 12);
            let tape = Tape::no_grad(&gpu);
            let pass = ForwardContext::new(&tape, &params);
            let image =
                |h, w| tape.constant(&Tensor::zeros(&gpu, &[2, h, w, 3], DType::F32).unwrap());
            let verdict = d.forward(&pass, &image(12, 12)).unwrap();
            assert_eq!(verdict.logits.shape(), [2, 1, 1, 1]);
            assert_eq!(verdict.features.len(), 3);
            assert_eq!(
                d.forward(&pass, &image(13, 22)).unwrap().logits.shape(),
                [2, 1, 3, 1]
            );
            assert!(d.forward(&pass, &image(11, 20)).is_err());
        }
    }

    /// With batch norm, the logits do not depend on the scale and mean of what the layers before
    /// gave.
    #[test]
    fn a_batch_norm_takes_off_a_constant_and_a_scale() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let (d, params) = build(&gpu, DiscriminatorNorm::Batch);
        let images: Vec<f32> = (0..2 * 16 * 16 * 3)
            .map(|i| ((i * 7919 % 97) as f32) / 48.5 - 1.0)
            .collect();
        let judge = || {
            let tape = Tape::no_grad(&gpu);
            let x = tape.constant(&Tensor::from_slice(&gpu, &[2, 16, 16, 3], &images).unwrap());
            let logits = d
                .forward(&ForwardContext::new(&tape, &params), &x)
                .unwrap()
                .logits;
            logits.tensor().read::<f32>().unwrap()
        };
        let grow = |factor: f32| {
            let mut host = params.to_host().unwrap();
            host.get_mut("discriminator.1.weight")
                .unwrap()
                .1
                .iter_mut()
                .for_each(|w| *w *= factor);
            params.load_host(&host).unwrap();
        };
        // So large that what is added under the root does not count.
        grow(100.0);
        let before = judge();
        grow(3.0);
        let largest = before.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let apart = before
            .iter()
            .zip(judge())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(
            largest > 0.0 && apart < 1e-3 * largest,
            "{apart} of {largest}"
        );
    }

    /// The results of a discriminator over images.
    struct Judged {
        logits: Vec<f32>,
        /// Gradients of the mean of the logits' squares: to parameters by name, and to the images.
        gradients: Vec<(String, Vec<f32>)>,
        /// The signs of the activations of each layer.
        signs: Vec<Vec<bool>>,
    }

    fn judged(
        (d, params): &(Discriminator, Parameters),
        images: &Tensor,
        halves: Option<HalfWeights>,
    ) -> Judged {
        let tape = Tape::new(images.gpu());
        let stored = halves.as_ref().map_or(DType::F32, |_| DType::F16);
        let pass = ForwardContext::new(&tape, params)
            .with_activation_dtype(stored)
            .with_half_weights(halves);
        let leaf = tape.leaf(images);
        let verdict = d.forward(&pass, &leaf).unwrap();
        let signs = verdict.features.iter().map(|x| {
            assert_eq!(x.tensor().dtype(), stored);
            let x = cast(x.tensor(), DType::F32).unwrap().read::<f32>().unwrap();
            x.into_iter().map(|x| x > 0.0).collect()
        });
        let signs = signs.collect();
        let zero = Tensor::zeros(images.gpu(), verdict.logits.shape(), DType::F32).unwrap();
        let zero = tape.constant(&zero);
        let loss = tape.loss(Loss::Mse, &verdict.logits, &zero).unwrap();
        let logits = verdict.logits.tensor().read().unwrap();
        let gradients = tape.backward(&loss).unwrap();
        let own = gradients.get(&leaf).unwrap().read().unwrap();
        let parameters = pass.gradients(gradients).into_iter().map(|(handle, g)| {
            assert_eq!(g.dtype(), DType::F32);
            (params.name(handle).to_owned(), g.read().unwrap())
        });
        Judged {
            logits,
            gradients: parameters.chain([("images".to_owned(), own)]).collect(),
            signs,
        }
    }

    /// In mixed precision logits and gradients are those of f32 but for roundings, with every norm,
    /// at channels that do not come in fours and odd sizes.
    #[test]
    fn in_mixed_precision_gradients_are_those_of_f32_but_for_roundings() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        if !gpu.shader_f16() {
            return;
        }
        let length = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let apart = |a: &[f32], b: &[f32]| {
            let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            length(&difference) / length(a)
        };
        for (norm, hidden) in [
            (DiscriminatorNorm::Batch, 8),
            (DiscriminatorNorm::Spectral, 5),
            (DiscriminatorNorm::None, 8),
        ] {
            let built = build_of(&gpu, norm, hidden);
            // As they are after some training: at first what leaves the last layer is near 0.
            let mut host = built.1.to_host().unwrap();
            let weights = host
                .iter_mut()
                .filter(|(name, _)| name.ends_with(".weight"));
            weights
                .filter(|(name, _)| !name.contains("norm"))
                .for_each(|(_, (_, w))| w.iter_mut().for_each(|w| *w *= 5.0));
            built.1.load_host(&host).unwrap();
            let halves = HalfWeights::new(&built.1).unwrap();
            let images = Rng::new(3).normals(&[3, 19, 22, 3]).upload(&gpu).unwrap();
            let full = judged(&built, &images, None);
            let narrow = judged(&built, &images, Some(halves));
            // Four layers, each of which rounds its weights and what it stores by 2^-11 at most:
            // four times sqrt 2 of these, there and back.
            let rounding = 4.0 * 2f64.sqrt() / 2048.0;
            let off = apart(&full.logits, &narrow.logits);
            assert!(off > 0.0 && off < 2.0 * rounding, "{norm:?}: logits {off}");
            // Where a sign changed, which is where an activation is near 0, a leaky rectifier's
            // slope is 1 for 0.2: of the squared length of a gradient it changes that share.
            let changed = full.signs.iter().zip(&narrow.signs).map(|(a, b)| {
                let changed = a.iter().zip(b).filter(|(a, b)| a != b).count();
                changed as f64 / a.len() as f64
            });
            let flips: f64 = changed.map(|share| (0.64 * share).sqrt()).sum();
            let bound = 2.0 * (2.0 * rounding + flips);
            assert_eq!(full.gradients.len(), narrow.gradients.len());
            let mut some = false;
            for ((name, a), (other, b)) in full.gradients.iter().zip(&narrow.gradients) {
                let off = apart(a, b);
                assert!(
                    name == other && off < bound,
                    "{norm:?}, {name}: {off} of {bound}"
                );
                some |= off > 0.0;
            }
            assert!(some, "{norm:?}: nothing was rounded");
        }
    }
}
