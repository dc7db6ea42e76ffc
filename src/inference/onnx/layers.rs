//! Layers of first stages as nodes: weights under PyTorch's names and layouts, values [N, C, H, W].

use super::graph::{Attribute, Graph};
use crate::storage::checkpoint::HostTensor;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Groups of VQ-GAN's norms, and what is added under their roots.
const GROUPS: usize = 32;
const EPS: f32 = 1e-6;

/// A graph over a model's weights.
pub struct Layers<'a> {
    pub graph: Graph,
    /// The quantized latents in the size of what is normed, for spatial norms.
    pub beside: Option<String>,
    tensors: &'a BTreeMap<String, HostTensor>,
}

/// Padding of a convolution: rows above, columns to the left, rows below, columns to the right.
type Pads = [i64; 4];

impl<'a> Layers<'a> {
    pub fn over(tensors: &'a BTreeMap<String, HostTensor>) -> Layers<'a> {
        Layers {
            graph: Graph::default(),
            beside: None,
            tensors,
        }
    }

    /// Returns whether there is a weight of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Returns the shape and the values of a weight.
    pub fn weight(&self, name: &str) -> Result<(&'a [usize], Vec<f32>)> {
        let missing = || Error::data(format!("the model has no tensor `{name}`"));
        let tensor = self.tensors.get(name).ok_or_else(missing)?;
        Ok((&tensor.shape, tensor.to_f32()?))
    }

    /// Adds a weight, and returns its name.
    fn parameter(&mut self, name: &str) -> Result<String> {
        let (shape, values) = self.weight(name)?;
        Ok(self.graph.numbers(name, shape, &values))
    }

    pub fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.graph.node(op, inputs, &[])
    }

    pub fn transpose(&mut self, x: &str, order: &[i64]) -> String {
        let order = [("perm", Attribute::Ints(order))];
        self.graph.node("Transpose", &[x], &order)
    }

    fn with_bias(&mut self, x: &str, name: &str) -> Result<Vec<String>> {
        let mut inputs = vec![x.to_owned(), self.parameter(&format!("{name}.weight"))?];
        let bias = format!("{name}.bias");
        if self.has(&bias) {
            inputs.push(self.parameter(&bias)?);
        }
        Ok(inputs)
    }

    pub fn conv(&mut self, x: &str, name: &str, stride: i64, pads: Pads) -> Result<String> {
        let inputs = self.with_bias(x, name)?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attributes = [
            ("strides", Attribute::Ints(&[stride, stride])),
            ("pads", Attribute::Ints(&pads)),
        ];
        Ok(self.graph.node("Conv", &inputs, &attributes))
    }

    /// A convolution of 3 x 3 that keeps the size.
    pub fn conv3(&mut self, x: &str, name: &str) -> Result<String> {
        self.conv(x, name, 1, [1; 4])
    }

    pub fn conv1(&mut self, x: &str, name: &str) -> Result<String> {
        self.conv(x, name, 1, [0; 4])
    }

    /// A convolution that keeps the size, as large as its weight.
    pub fn conv_same(&mut self, x: &str, name: &str) -> Result<String> {
        let (shape, _) = self.weight(&format!("{name}.weight"))?;
        let side = shape.last().copied().unwrap_or(1) as i64;
        self.conv(x, name, 1, [side / 2; 4])
    }

    /// Pixels in [-1, 1] as ones in [0, 1].
    pub fn unit_pixels(&mut self, x: &str) -> String {
        let half = self.graph.numbers("half", &[1], &[0.5]);
        let x = self.op("Mul", &[x, &half]);
        self.op("Add", &[&x, &half])
    }

    /// A group norm, or a spatial one where there are the weights of one.
    fn norm(&mut self, x: &str, name: &str) -> Result<String> {
        let own = format!("{name}.norm_layer");
        if !self.has(&format!("{own}.weight")) {
            return self.group_norm(x, name);
        }
        let missing = || Error::data(format!("the norm `{name}` has no latents beside it"));
        let latents = self.beside.clone().ok_or_else(missing)?;
        let h = self.group_norm(x, &own)?;
        let scale = self.conv1(&latents, &format!("{name}.conv_y"))?;
        let h = self.op("Mul", &[&h, &scale]);
        let shift = self.conv1(&latents, &format!("{name}.conv_b"))?;
        Ok(self.op("Add", &[&h, &shift]))
    }

    /// A transposed convolution that doubles rows and columns.
    pub fn conv_transpose(&mut self, x: &str, name: &str) -> Result<String> {
        let inputs = self.with_bias(x, name)?;
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let attributes = [
            ("strides", Attribute::Ints(&[2, 2])),
            ("pads", Attribute::Ints(&[1; 4])),
        ];
        Ok(self.graph.node("ConvTranspose", &inputs, &attributes))
    }

    pub fn relu(&mut self, x: &str) -> String {
        self.op("Relu", &[x])
    }

    /// Residual blocks of the VQ-VAE: `x + conv1x1(relu(conv3x3(relu(x))))`.
    pub fn residual_stack(&mut self, x: &str, side: &str, blocks: usize) -> Result<String> {
        let mut x = x.to_owned();
        for i in 0..blocks {
            let h = self.relu(&x);
            let h = self.conv3(&h, &format!("{side}.residual.{i}.conv1"))?;
            let h = self.relu(&h);
            let h = self.conv1(&h, &format!("{side}.residual.{i}.conv2"))?;
            x = self.op("Add", &[&x, &h]);
        }
        Ok(x)
    }

    fn group_norm(&mut self, x: &str, name: &str) -> Result<String> {
        // Groups as channels of a norm of each: opset 18's own group norm scales whole groups.
        let grouped = self.graph.integers("to_groups", &[0, GROUPS as i64, -1]);
        let shape = self.op("Shape", &[x]);
        let h = self.op("Reshape", &[x, &grouped]);
        let ones = self.graph.numbers("ones", &[GROUPS], &[1.0; GROUPS]);
        let zeros = self.graph.numbers("zeros", &[GROUPS], &[0.0; GROUPS]);
        let eps = [("epsilon", Attribute::Float(EPS))];
        let h = self
            .graph
            .node("InstanceNormalization", &[&h, &ones, &zeros], &eps);
        let mut h = self.op("Reshape", &[&h, &shape]);
        for (op, part) in [("Mul", "weight"), ("Add", "bias")] {
            let part = format!("{name}.{part}");
            let (_, values) = self.weight(&part)?;
            let part = self.graph.numbers(&part, &[1, values.len(), 1, 1], &values);
            h = self.op(op, &[&h, &part]);
        }
        Ok(h)
    }

    /// `silu(norm(x))`.
    pub fn activated(&mut self, x: &str, name: &str) -> Result<String> {
        let h = self.norm(x, name)?;
        Ok(self.silu(&h))
    }

    fn silu(&mut self, x: &str) -> String {
        let gate = self.op("Sigmoid", &[x]);
        self.op("Mul", &[x, &gate])
    }

    /// The blocks over latents, as many as there are weights of.
    fn latent_blocks(&mut self, x: &str, name: &str) -> Result<String> {
        let mut x = x.to_owned();
        for j in 0.. {
            let block = format!("{name}.block.{j}");
            if !self.has(&format!("{block}.conv1.weight")) {
                break;
            }
            let mut h = x.clone();
            for i in [1, 2] {
                h = self.conv1(&h, &format!("{block}.map{i}"))?;
                h = self.silu(&h);
                h = self.conv3(&h, &format!("{block}.conv{i}"))?;
            }
            x = self.op("Add", &[&x, &h]);
        }
        Ok(x)
    }

    /// The layers over latents behind the encoder.
    pub fn encoder_latents(&mut self, x: &str) -> Result<String> {
        let mut parts = Vec::new();
        for i in [0, 1] {
            let h = self.conv3(x, &format!("encoder.latents.split_{i}"))?;
            let h = self.silu(&h);
            parts.push(self.conv3(&h, &format!("encoder.latents.join_{i}"))?);
        }
        let sum = self.op("Add", &[&parts[0], &parts[1]]);
        let h = self.silu(&sum);
        self.latent_blocks(&h, "encoder.latents")
    }

    /// The layers over latents before the decoder.
    pub fn decoder_latents(&mut self, x: &str) -> Result<String> {
        let mut h = self.latent_blocks(x, "decoder.latents")?;
        for i in [0, 1] {
            h = self.conv3(&h, &format!("decoder.latents.conv_{i}"))?;
            h = self.silu(&h);
        }
        Ok(h)
    }

    /// VQ-GAN's block of two convolutions.
    pub fn block(&mut self, x: &str, name: &str) -> Result<String> {
        let h = self.activated(x, &format!("{name}.norm1"))?;
        let h = self.conv3(&h, &format!("{name}.conv1"))?;
        let h = self.activated(&h, &format!("{name}.norm2"))?;
        let h = self.conv3(&h, &format!("{name}.conv2"))?;
        let shortcut = format!("{name}.nin_shortcut");
        let x = if self.has(&format!("{shortcut}.weight")) {
            self.conv1(x, &shortcut)?
        } else {
            x.to_owned()
        };
        Ok(self.op("Add", &[&x, &h]))
    }

    /// VQ-GAN's attention over all places, one head of all channels.
    pub fn attention(&mut self, x: &str, name: &str) -> Result<String> {
        let h = self.norm(x, &format!("{name}.norm"))?;
        let shape = self.op("Shape", &[x]);
        let flat = self.graph.integers("to_rows", &[0, 0, -1]);
        let mut part = |part: &str| -> Result<String> {
            let map = self.conv1(&h, &format!("{name}.{part}"))?;
            Ok(self.op("Reshape", &[&map, &flat]))
        };
        let (q, k, v) = (part("q")?, part("k")?, part("v")?);
        let (_, bias) = self.weight(&format!("{name}.q.bias"))?;
        let scale = 1.0 / (bias.len() as f32).sqrt();
        let scale = self.graph.numbers(&format!("{name}.scale"), &[1], &[scale]);
        // [N, queries, keys].
        let q = self.transpose(&q, &[0, 2, 1]);
        let scores = self.op("MatMul", &[&q, &k]);
        let scores = self.op("Mul", &[&scores, &scale]);
        let last = [("axis", Attribute::Int(-1))];
        let weights = self.graph.node("Softmax", &[&scores], &last);
        let weights = self.transpose(&weights, &[0, 2, 1]);
        let h = self.op("MatMul", &[&v, &weights]);
        let h = self.op("Reshape", &[&h, &shape]);
        let h = self.conv1(&h, &format!("{name}.proj_out"))?;
        Ok(self.op("Add", &[x, &h]))
    }

    /// Two blocks, around attention where there is some.
    pub fn middle(&mut self, x: &str, name: &str) -> Result<String> {
        let h = self.block(x, &format!("{name}.block_1"))?;
        let attention = format!("{name}.attn_1");
        let h = match self.has(&format!("{attention}.q.weight")) {
            true => self.attention(&h, &attention)?,
            false => h,
        };
        self.block(&h, &format!("{name}.block_2"))
    }

    /// The blocks of a resolution, as many as there are weights of.
    pub fn stage(&mut self, x: &str, name: &str) -> Result<String> {
        let mut x = x.to_owned();
        for i in 0.. {
            let block = format!("{name}.block.{i}");
            if !self.has(&format!("{block}.conv1.weight")) {
                break;
            }
            x = self.block(&x, &block)?;
            let attention = format!("{name}.attn.{i}");
            if self.has(&format!("{attention}.q.weight")) {
                x = self.attention(&x, &attention)?;
            }
        }
        Ok(x)
    }

    /// Doubles rows and columns.
    pub fn upsample(&mut self, x: &str) -> String {
        let scales = self.graph.numbers("double", &[4], &[1.0, 1.0, 2.0, 2.0]);
        let attributes = [
            ("mode", Attribute::Word("nearest")),
            ("nearest_mode", Attribute::Word("floor")),
            (
                "coordinate_transformation_mode",
                Attribute::Word("asymmetric"),
            ),
        ];
        self.graph.node("Resize", &[x, "", &scales], &attributes)
    }
}
