//! First stages as ONNX files, opset 18: an encoder, a decoder, and what turns latents into codes.
//! Values are [N, C, H, W], as ONNX has them; images lie in [-1, 1].

mod graph;
mod layers;
mod quantizer;

use super::FirstStageModel;
use crate::config::run::ModelKind;
use crate::nn::ForwardContext;
use crate::storage::checkpoint::HostTensor;
use crate::storage::weights;
use crate::{Error, Result};
use graph::{Dim, Element};
use layers::Layers;
use quantizer::{code_tables, codes};
use std::collections::BTreeMap;

pub use graph::OPSET;

/// The files of a first stage.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxModel {
    /// `image` f32 [N, C, H, W] to `latents` f32 [N, D, h, w].
    pub encoder: Vec<u8>,
    /// `latents` f32 [N, D, h, w] to `codes` i64 [N, h, w, Q]; `None` for quantizers whose rule no
    /// graph is written for.
    pub quantizer: Option<Vec<u8>>,
    /// `codes` i64 [N, h, w, Q] to `image` f32 [N, C, H, W], not clamped.
    pub decoder: Vec<u8>,
}

impl FirstStageModel {
    /// Returns the tensors of the model under PyTorch's names and layouts: the parameters, and
    /// under `quantizer.` the state of its quantizers.
    ///
    /// # Errors
    /// If the device fails.
    pub fn tensors(&self) -> Result<BTreeMap<String, HostTensor>> {
        let parameters = self.params.to_host()?.into_iter();
        let state = self.stage.save()?.into_iter();
        Ok(parameters
            .chain(state)
            .map(|(name, tensor)| (name, weights::export(tensor)))
            .collect())
    }

    /// Returns the model as ONNX files.
    ///
    /// # Errors
    /// If it is of a kind that no graph is written for, has too many codes for a table of them, or
    /// the device fails.
    pub fn to_onnx(&self) -> Result<OnnxModel> {
        self.stage.check_no_scales("to export to ONNX")?;
        let kind = self.config.model.kind;
        let known = matches!(kind, ModelKind::VqVae | ModelKind::VqGan) && self.levels.len() == 1;
        if !known {
            let what = format!(
                "ONNX files are written of the VQ-VAE and the VQ-GAN (model.kind vqvae and vqgan), \
                 with one level of codes; this is {kind} with {}",
                self.levels.len()
            );
            return Err(Error::data(what));
        }
        let tensors = self.tensors()?;
        let about = [("model_sha256", self.hash())];
        Ok(OnnxModel {
            encoder: self
                .encoder_graph(&tensors)?
                .graph
                .into_model("encoder", &about)?,
            quantizer: codes(self, &tensors)?
                .map(|layers| layers.graph.into_model("quantizer", &about))
                .transpose()?,
            decoder: self
                .decoder_graph(&tensors)?
                .graph
                .into_model("decoder", &about)?,
        })
    }

    fn latent_dims(&self) -> [Dim; 4] {
        let channels = self.stage.quantizers[0].dim();
        [
            Dim::Any("n"),
            Dim::Fixed(channels),
            Dim::Any("h"),
            Dim::Any("w"),
        ]
    }

    fn code_dims(&self) -> [Dim; 4] {
        let books = self.levels[0].codebooks;
        [
            Dim::Any("n"),
            Dim::Any("h"),
            Dim::Any("w"),
            Dim::Fixed(books),
        ]
    }

    fn image_dims(&self) -> [Dim; 4] {
        let channels = self.image[2];
        [
            Dim::Any("n"),
            Dim::Fixed(channels),
            Dim::Any("height"),
            Dim::Any("width"),
        ]
    }

    fn encoder_graph<'a>(&self, tensors: &'a BTreeMap<String, HostTensor>) -> Result<Layers<'a>> {
        let (mut l, m) = (Layers::over(tensors), &self.config.model);
        let mut x = l.graph.input("image", Element::Float, &self.image_dims());
        if m.kind == ModelKind::VqGan {
            if m.unit_pixels {
                x = l.unit_pixels(&x);
            }
            x = l.conv3(&x, "encoder.conv_in")?;
            for level in 0..m.multipliers.len() {
                let stage = format!("encoder.down.{level}");
                x = l.stage(&x, &stage)?;
                let next = format!("{stage}.downsample.conv");
                if l.has(&format!("{next}.weight")) {
                    x = l.conv(&x, &next, 2, [0, 0, 1, 1])?;
                }
            }
            x = l.middle(&x, "encoder.mid")?;
            x = l.activated(&x, "encoder.norm_out")?;
            x = l.conv3(&x, "encoder.conv_out")?;
            if m.latent_blocks > 0 {
                x = l.encoder_latents(&x)?;
            }
            x = l.conv_same(&x, "quant_conv")?;
        } else {
            for level in 0..m.downsample.trailing_zeros() {
                if level > 0 {
                    x = l.relu(&x);
                }
                x = l.conv(&x, &format!("encoder.down.{level}"), 2, [1; 4])?;
            }
            x = l.relu(&x);
            x = l.conv3(&x, "encoder.conv")?;
            x = l.residual_stack(&x, "encoder", m.residual_layers)?;
            x = l.relu(&x);
            x = l.conv1(&x, "encoder.to_latent")?;
        }
        l.graph
            .output("latents", &x, Element::Float, &self.latent_dims());
        Ok(l)
    }

    fn decoder_graph<'a>(&self, tensors: &'a BTreeMap<String, HostTensor>) -> Result<Layers<'a>> {
        let (mut l, m) = (Layers::over(tensors), &self.config.model);
        let codes = l.graph.input("codes", Element::Int, &self.code_dims());
        let mut x = code_tables(self, &mut l, &codes)?;
        if m.kind == ModelKind::VqGan {
            l.beside = m.spatial_norms.then(|| x.clone());
            x = l.conv_same(&x, "post_quant_conv")?;
            if m.latent_blocks > 0 {
                x = l.decoder_latents(&x)?;
                let beside = l.beside.take().map(|latents| l.decoder_latents(&latents));
                l.beside = beside.transpose()?;
            }
            x = l.conv3(&x, "decoder.conv_in")?;
            x = l.middle(&x, "decoder.mid")?;
            for level in (0..m.multipliers.len()).rev() {
                let stage = format!("decoder.up.{level}");
                x = l.stage(&x, &stage)?;
                let next = format!("{stage}.upsample.conv");
                if l.has(&format!("{next}.weight")) {
                    x = l.upsample(&x);
                    l.beside = l.beside.take().map(|latents| l.upsample(&latents));
                    x = l.conv3(&x, &next)?;
                }
            }
            x = l.activated(&x, "decoder.norm_out")?;
            x = l.conv3(&x, "decoder.conv_out")?;
        } else {
            x = l.conv3(&x, "decoder.from_latent")?;
            x = l.residual_stack(&x, "decoder", m.residual_layers)?;
            for step in 0..m.downsample.trailing_zeros() {
                x = l.relu(&x);
                x = l.conv_transpose(&x, &format!("decoder.up.{step}"))?;
            }
        }
        l.graph
            .output("image", &x, Element::Float, &self.image_dims());
        Ok(l)
    }

    /// Calls `f` with a pass over the model's parameters that no gradient is taken of.
    fn with_pass<T>(&self, f: impl FnOnce(&ForwardContext) -> Result<T>) -> Result<T> {
        let tape = crate::autograd::Tape::no_grad(&self.gpu);
        f(&ForwardContext::new(&tape, &self.params))
    }
}
