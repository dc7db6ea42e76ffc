//! LPIPS, the distance of images that people see (Zhang et al. 2018, "The unreasonable
//! effectiveness of deep features as a perceptual metric"): features of a network trained to
//! classify images, compared place by place (`ops::lpips_distance`), under weights for
//! their channels that were fitted to people's judgements. It is that of the `lpips` package,
//! version 0.1 of its weights.
//!
//! The network is frozen: nothing has a gradient but the images. Its weights are no part of this
//! crate; `scripts/convert_lpips.py` makes a file of them from torchvision's and the `lpips`
//! package's.

mod backbone;
mod file;

pub use backbone::Backbone;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Tensor};
use crate::nn::HostTensors;
use crate::ops::conv::Conv;
use crate::ops::conv::max_pool::Pool;
use crate::ops::elementwise::cast::cast;
use crate::{Error, Result};
use backbone::{Filter, Step};
use std::path::Path;

/// Shift of the input's channels: images in [-1, 1] become (x - shift) / scale.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];

/// A convolution whose weights are constants: weight [O, K, K, I], bias \[O].
#[derive(Debug)]
struct Frozen {
    weight: Tensor,
    /// A copy of the weight in f16, where there is one.
    half: Option<Tensor>,
    bias: Tensor,
    conv: Conv,
}

impl Frozen {
    /// Returns the convolution, stored as `out`; in f16 by the weight's copy.
    fn forward(&self, tape: &Tape, x: &Var, out: DType) -> Result<Var> {
        let half = self.half.as_ref().filter(|_| out == DType::F16);
        tape.conv2d_as(
            x,
            &tape.constant(half.unwrap_or(&self.weight)),
            Some(&tape.constant(&self.bias)),
            None,
            self.conv,
            out,
        )
    }

    /// Copies the weight in f16, where convolutions read it as it is: in fours of channels.
    fn narrow(&mut self) -> Result<()> {
        let [o, _, _, i] = self.weight.dims("lpips")?;
        if o.is_multiple_of(4) && i.is_multiple_of(4) {
            self.half = Some(cast(&self.weight, DType::F16)?);
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Layer {
    Conv(Box<Frozen>),
    Pool(Pool),
    Tap,
}

/// The perceptual distance. It holds the network's weights on the device: 59 MB of VGG's.
#[derive(Debug)]
pub struct Lpips {
    backbone: Backbone,
    /// Scales of grey images and of those of three channels: a grey one counts as three alike.
    scaling: [Frozen; 2],
    layers: Vec<Layer>,
    /// Weights of each tap's channels, \[C].
    lins: Vec<Tensor>,
}

/// An image's features where they are compared.
#[derive(Clone, Debug)]
pub struct Features {
    taps: Vec<Var>,
}

impl Lpips {
    /// Reads a network and the weights of its features from a safetensors file: `features.0.weight`
    /// and so on as torchvision names them, `lin0.model.1.weight` and so on as the `lpips` package
    /// does. The names tell which network it is. Tensors of other names do not count.
    ///
    /// # Errors
    /// If the file cannot be read, or as [`Lpips::from_tensors`].
    pub fn load(gpu: &Gpu, path: &Path) -> Result<Lpips> {
        let tensors = file::read(path, &["features.", "lin"])?;
        Lpips::from_tensors(gpu, &tensors).map_err(|e| match e {
            Error::Data { what } => Error::file(path, format!("{what}; {}", file::WAY)),
            other => other,
        })
    }

    /// Builds it from tensors by name, in PyTorch's layouts: convolutions [O, I, K, K], biases
    /// \[O], weights of features [1, C, 1, 1].
    ///
    /// # Errors
    /// If the names are of no network that is known, a tensor is missing, has another shape than
    /// the network's or a value that is not finite, or the device fails.
    pub fn from_tensors(gpu: &Gpu, tensors: &HostTensors) -> Result<Lpips> {
        let backbone = Backbone::ALL
            .into_iter()
            .find(|b| tensors.contains_key(b.mark()))
            .ok_or_else(|| {
                let marks = Backbone::ALL.map(|b| format!("`{}` ({})", b.mark(), b.name()));
                Error::data(format!(
                    "holds no network for LPIPS: there is none of {}",
                    marks.join(", ")
                ))
            })?;
        let source = Source { backbone, tensors };
        let layers = backbone.steps().into_iter().map(|step| {
            Ok(match step {
                Step::Filter(filter) => Layer::Conv(Box::new(source.filter(gpu, &filter)?)),
                Step::Expand(both) => Layer::Conv(Box::new(source.expand(gpu, &both)?)),
                Step::Pool(pool) => Layer::Pool(pool),
                Step::Tap => Layer::Tap,
            })
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let lin = |(tap, c): (usize, &usize)| {
            let values = source.values(&format!("lin{tap}.model.1.weight"), &[1, *c, 1, 1])?;
            Tensor::from_slice(gpu, &[*c], values)
        };
        let lins = backbone
            .taps()
            .iter()
            .enumerate()
            .map(lin)
            .collect::<Result<Vec<_>>>()?;
        Ok(Lpips {
            backbone,
            scaling: [scaling(gpu, 1)?, scaling(gpu, 3)?],
            layers,
            lins,
        })
    }

    /// Copies the weights in f16 beside them, for [`Lpips::distance_in_f16`].
    ///
    /// # Errors
    /// If the device cannot hold the copies.
    pub(crate) fn with_halves(mut self) -> Result<Lpips> {
        for layer in &mut self.layers {
            if let Layer::Conv(conv) = layer {
                conv.narrow()?;
            }
        }
        Ok(self)
    }

    /// Numbers of the network and of its channels' weights.
    pub fn numbers(&self) -> usize {
        let layer = |layer: &Layer| match layer {
            Layer::Conv(conv) => conv.weight.len() + conv.bias.len(),
            Layer::Pool(_) | Layer::Tap => 0,
        };
        self.layers.iter().map(layer).sum::<usize>()
            + self.lins.iter().map(Tensor::len).sum::<usize>()
    }

    /// The network whose features are compared.
    pub fn backbone(&self) -> Backbone {
        self.backbone
    }

    /// Computes the features of images [B, H, W, C] in [-1, 1], C of 1 or 3.
    ///
    /// # Errors
    /// If there are other channels, or a side is below [`Backbone::smallest_side`].
    pub fn features(&self, tape: &Tape, images: &Var) -> Result<Features> {
        self.features_as(tape, images, DType::F32)
    }

    /// [`Lpips::features`] stored as `out`.
    fn features_as(&self, tape: &Tape, images: &Var, out: DType) -> Result<Features> {
        let [_, h, w, c] = images.tensor().dims("lpips")?;
        let scaling = match c {
            1 => &self.scaling[0],
            3 => &self.scaling[1],
            _ => {
                return Err(Error::shape(
                    "lpips",
                    "images of 1 or 3 channels",
                    format!("{c}"),
                ));
            }
        };
        let least = self.backbone.smallest_side();
        if h.min(w) < least {
            let expected = format!(
                "images of at least {least} x {least} pixels, for the network `{}`",
                self.backbone.name()
            );
            return Err(Error::shape("lpips", expected, format!("{h} x {w}")));
        }
        let mut x = scaling.forward(tape, images, DType::F32)?;
        let mut taps = Vec::with_capacity(self.lins.len());
        for layer in &self.layers {
            match layer {
                Layer::Conv(conv) => x = conv.forward(tape, &x, out)?,
                Layer::Pool(pool) => x = tape.max_pool(&x, *pool)?,
                Layer::Tap => taps.push(x.clone()),
            }
        }
        Ok(Features { taps })
    }

    /// Computes the distance of images a and b, [B, H, W, C] in [-1, 1] of one shape, averaged over
    /// the images: \[1], 0 for equal ones. Gradients go to those of a and b that lead to a leaf;
    /// the other's features cost no memory beyond themselves.
    ///
    /// # Errors
    /// If the shapes differ, or as [`Lpips::features`].
    pub fn distance(&self, tape: &Tape, a: &Var, b: &Var) -> Result<Var> {
        self.distance_as(tape, a, b, DType::F32)
    }

    /// [`Lpips::distance`] for training in mixed precision: the network's activations are stored in
    /// f16, and where [`Lpips::with_halves`] copied its weights, it reads the copies. Lengths,
    /// sums, the distance and its gradients are f32.
    ///
    /// # Errors
    /// As [`Lpips::distance`].
    pub(crate) fn distance_in_f16(&self, tape: &Tape, a: &Var, b: &Var) -> Result<Var> {
        self.distance_as(tape, a, b, DType::F16)
    }

    fn distance_as(&self, tape: &Tape, a: &Var, b: &Var, out: DType) -> Result<Var> {
        if a.shape() != b.shape() {
            return Err(Error::shape(
                "lpips",
                format!("two batches of shape {:?}", a.shape()),
                format!("{:?}", b.shape()),
            ));
        }
        let [a, b] = [a, b].map(|images| self.features_as(tape, images, out));
        self.between(tape, &a?, &b?)
    }

    /// [`Lpips::distance`] of images whose features are there already.
    ///
    /// # Errors
    /// If they are of images of different shapes, or of another network.
    pub fn between(&self, tape: &Tape, a: &Features, b: &Features) -> Result<Var> {
        if [a, b].iter().any(|f| f.taps.len() != self.lins.len()) {
            return Err(Error::invalid(
                "lpips",
                format!(
                    "features of another network than `{}`",
                    self.backbone.name()
                ),
            ));
        }
        let mut total: Option<Var> = None;
        for ((a, b), lin) in a.taps.iter().zip(&b.taps).zip(&self.lins) {
            let distance = tape.mean(&tape.lpips_distance(a, b, lin)?)?;
            total = Some(match total {
                Some(sum) => tape.add(&sum, &distance)?,
                None => distance,
            });
        }
        total
            .ok_or_else(|| Error::invalid("lpips", "a network whose features are compared nowhere"))
    }
}

/// (x - shift) / scale of each of three channels, as a convolution of images of `channels`, 1 or 3.
fn scaling(gpu: &Gpu, channels: usize) -> Result<Frozen> {
    let weight: Vec<f32> = (0..3 * channels)
        .map(|k| (k / channels, k % channels))
        .map(|(o, i)| {
            if channels == 1 || o == i {
                1.0 / SCALE[o]
            } else {
                0.0
            }
        })
        .collect();
    let bias: Vec<f32> = SHIFT
        .iter()
        .zip(SCALE)
        .map(|(shift, scale)| -shift / scale)
        .collect();
    Ok(Frozen {
        weight: Tensor::from_slice(gpu, &[3, 1, 1, channels], &weight)?,
        half: None,
        bias: Tensor::from_slice(gpu, &[3], &bias)?,
        conv: Conv {
            stride: 1,
            pad: 0,
            relu: false,
            after: 0,
        },
    })
}

/// Tensors by name, and the network that they are to make.
struct Source<'a> {
    backbone: Backbone,
    tensors: &'a HostTensors,
}

impl Source<'_> {
    fn values(&self, name: &str, expected: &[usize]) -> Result<&[f32]> {
        let network = self.backbone.name();
        let Some((shape, values)) = self.tensors.get(name) else {
            return Err(Error::data(format!(
                "`{name}` of shape {expected:?} is missing, of the network `{network}`"
            )));
        };
        if shape != expected || values.len() != expected.iter().product::<usize>() {
            let what = format!(
                "`{name}` has shape {shape:?}, that of the network `{network}` {expected:?}"
            );
            return Err(Error::data(what));
        }
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::data(format!(
                "`{name}` has values that are not finite"
            )));
        }
        Ok(values)
    }

    /// Weight [O, K, K, I] and bias \[O].
    fn parts(&self, f: &Filter) -> Result<(Vec<f32>, &[f32])> {
        let weight = self.values(
            &format!("{}.weight", f.name),
            &[f.o, f.i, f.kernel, f.kernel],
        )?;
        let taps = f.kernel * f.kernel;
        let place = |o: usize, tap: usize| (0..f.i).map(move |i| (o * f.i + i) * taps + tap);
        let places = (0..f.o).flat_map(|o| (0..taps).flat_map(move |tap| place(o, tap)));
        Ok((
            places.map(|at| weight[at]).collect(),
            self.values(&format!("{}.bias", f.name), &[f.o])?,
        ))
    }

    fn filter(&self, gpu: &Gpu, f: &Filter) -> Result<Frozen> {
        let (weight, bias) = self.parts(f)?;
        let weight = Tensor::from_slice(gpu, &[f.o, f.kernel, f.kernel, f.i], &weight)?;
        Ok(Frozen {
            weight,
            half: None,
            bias: Tensor::from_slice(gpu, &[f.o], bias)?,
            conv: f.conv,
        })
    }

    /// One convolution that does the work of both: the narrow kernel in the middle of one as wide
    /// as the other. That their channels come out side by side saves a copy, forward and backward.
    fn expand(&self, gpu: &Gpu, [near, wide]: &[Filter; 2]) -> Result<Frozen> {
        let ((narrow, bias), (rest, biases)) = (self.parts(near)?, self.parts(wide)?);
        let taps = wide.kernel * wide.kernel;
        let mut weight = vec![0.0; near.o * taps * near.i];
        for (o, values) in narrow.chunks(near.i).enumerate() {
            weight[(o * taps + taps / 2) * near.i..][..near.i].copy_from_slice(values);
        }
        weight.extend(rest);
        let o = near.o + wide.o;
        Ok(Frozen {
            weight: Tensor::from_slice(gpu, &[o, wide.kernel, wide.kernel, wide.i], &weight)?,
            half: None,
            bias: Tensor::from_slice(gpu, &[o], &[bias, biases].concat())?,
            conv: wide.conv,
        })
    }
}

#[cfg(test)]
mod tests;
