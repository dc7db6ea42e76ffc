//! Encoder and decoder of vectors: multilayer perceptrons, each beside a linear map of the whole.
//!
//! A vector is an image of one pixel here, [B, 1, 1, D]: what is done with the codes of images is
//! done with those of vectors, too.

use crate::autograd::Var;
use crate::models::{Autoencoder, Quantize, ReceptiveField, only_level};
use crate::nn::{Builder, ForwardContext, Handle, Init, Linear, Norm, NormKind};
use crate::ops::elementwise::activation::Function;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The activation of hidden layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + exp(-x))`.
    #[default]
    Silu,
    /// `x/2 (1 + erf(x / sqrt 2))`.
    Gelu,
}

impl Activation {
    fn function(self) -> Function {
        match self {
            Activation::Relu => Function::Relu,
            Activation::Silu => Function::Silu,
            Activation::Gelu => Function::Gelu,
        }
    }
}

/// The normalisation of hidden layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HiddenNorm {
    /// None.
    None,
    /// Mean and variance of a row (Ba et al. 2016).
    #[default]
    Layer,
    /// Root mean square of a row (Zhang and Sennrich 2019).
    Rms,
}

/// The shape of an MLP on either side of the quantizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Numbers of a vector.
    pub dim: usize,
    /// Channels of the hidden layers.
    pub hidden: usize,
    /// Hidden layers of the encoder, and as many of the decoder; with 0 both are linear.
    pub layers: usize,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// Normalisation of the hidden layers, before their activation.
    pub norm: HiddenNorm,
    /// Channels of a latent.
    pub codebook_dim: usize,
}

/// A linear map with a bias.
#[derive(Debug)]
struct Affine {
    map: Linear,
    bias: Handle,
}

impl Affine {
    fn new(b: &mut Builder, name: &str, i: usize, o: usize) -> Affine {
        Affine {
            map: Linear::new(b, name, i, o, 1.0 / (i as f32).sqrt()),
            bias: b.declare(format!("{name}.bias"), &[o], Init::Zeros),
        }
    }

    fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let y = self.map.forward(pass, x)?;
        pass.tape.bias(&y, &pass.param(self.bias)?)
    }
}

/// One side: hidden layers, of which each but the first adds to what it is given, and a map to the
/// output, to which a linear map of the input is added.
#[derive(Debug)]
struct Side {
    hidden: Vec<(Affine, Option<Norm>)>,
    /// From the last hidden layer.
    last: Option<Affine>,
    /// From the input.
    whole: Affine,
    activation: Function,
}

impl Side {
    fn new(b: &mut Builder, name: &str, c: &Config, [i, o]: [usize; 2]) -> Side {
        let kind = match c.norm {
            HiddenNorm::None => None,
            HiddenNorm::Layer => Some(NormKind::Layer),
            HiddenNorm::Rms => Some(NormKind::Rms),
        };
        let mut from = i;
        let hidden = (0..c.layers)
            .map(|layer| {
                let name = format!("{name}.hidden.{layer}");
                let map = Affine::new(b, &name, from, c.hidden);
                from = c.hidden;
                let norm = kind.map(|kind| Norm::new(b, &format!("{name}.norm"), c.hidden, kind));
                (map, norm)
            })
            .collect();
        let last = (c.layers > 0).then(|| Affine::new(b, &format!("{name}.last"), c.hidden, o));
        Side {
            hidden,
            last,
            whole: Affine::new(b, &format!("{name}.whole"), i, o),
            activation: c.activation.function(),
        }
    }

    fn forward(&self, pass: &ForwardContext, input: &Var) -> Result<Var> {
        let mut x = input.clone();
        for (layer, (map, norm)) in self.hidden.iter().enumerate() {
            let mut y = map.forward(pass, &x)?;
            if let Some(norm) = norm {
                y = norm.forward(pass, &y)?;
            }
            y = pass.tape.activation(self.activation, &y)?;
            x = match layer {
                0 => y,
                _ => pass.tape.add(&x, &y)?,
            };
        }
        let whole = self.whole.forward(pass, input)?;
        match &self.last {
            Some(last) => pass.tape.add(&last.forward(pass, &x)?, &whole),
            None => Ok(whole),
        }
    }
}

/// Encoder and decoder. The quantizer between them is the caller's.
#[derive(Debug)]
pub struct Mlp {
    config: Config,
    encoder: Side,
    decoder: Side,
}

impl Mlp {
    /// Declares the model's parameters.
    ///
    /// # Errors
    /// If the configuration makes no model.
    pub fn new(b: &mut Builder, config: &Config) -> Result<Mlp> {
        let c = *config;
        if c.dim == 0 || c.codebook_dim == 0 || c.layers > 0 && c.hidden == 0 {
            let what = format!(
                "vectors of {} numbers, latents of {}, hidden layers of {}: none may be 0",
                c.dim, c.codebook_dim, c.hidden
            );
            return Err(Error::invalid("mlp", what));
        }
        Ok(Mlp {
            encoder: Side::new(b, "encoder", &c, [c.dim, c.codebook_dim]),
            decoder: Side::new(b, "decoder", &c, [c.codebook_dim, c.dim]),
            config: c,
        })
    }

    /// Runs a side over the pixels of x [B, h, w, I]: [B, h, w, O].
    fn over_pixels(&self, pass: &ForwardContext, side: &Side, x: &Var) -> Result<Var> {
        let [n, h, w, i] = x.tensor().dims("mlp")?;
        let rows = pass.tape.reshape(x, &[n * h * w, i])?;
        let y = side.forward(pass, &rows)?;
        let o = y.shape()[1];
        pass.tape.reshape(&y, &[n, h, w, o])
    }
}

impl Autoencoder for Mlp {
    fn factors(&self) -> &[usize] {
        &[1]
    }

    fn encode(
        &self,
        pass: &ForwardContext,
        images: &Var,
        quantize: &mut Quantize,
    ) -> Result<Vec<Var>> {
        let z_e = self.over_pixels(pass, &self.encoder, images)?;
        Ok(vec![quantize(0, &z_e)?])
    }

    fn decode(&self, pass: &ForwardContext, latents: &[Var]) -> Result<Var> {
        self.over_pixels(pass, &self.decoder, only_level(latents)?)
    }

    fn widest(&self) -> usize {
        let Config {
            dim,
            hidden,
            codebook_dim,
            ..
        } = self.config;
        dim.max(hidden).max(codebook_dim)
    }

    fn last_weight(&self) -> Handle {
        let side = &self.decoder;
        side.last.as_ref().unwrap_or(&side.whole).map.weight()
    }

    fn receptive_field(&self) -> Option<ReceptiveField> {
        Some(ReceptiveField {
            encode: 0,
            decode: 0,
        })
    }
}
