//! Convolutions, and the blocks of them that models share.

use super::span::Span;
use super::{Builder, ForwardContext, Handle, Init};
use crate::Result;
use crate::autograd::Var;
use crate::gpu::DType;
use crate::ops::conv::Conv;
use crate::ops::conv::conv_transpose2d::ConvTranspose;

/// PyTorch's default for convolutions: uniform within 1 / sqrt(fan in), weights and biases alike
/// (He et al. 2015 with a = sqrt 5).
fn fan_in_init(fan_in: usize) -> Init {
    Init::Uniform(1.0 / (fan_in as f32).sqrt())
}

/// A convolution: weight [O, K, K, I], bias `[O]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Handle,
    bias: Option<Handle>,
    kernel: usize,
    conv: Conv,
}

impl Conv2d {
    /// Declares `name.weight` and, with `bias`, `name.bias`.
    pub fn new(
        b: &mut Builder,
        name: &str,
        i: usize,
        o: usize,
        kernel: usize,
        conv: Conv,
        bias: bool,
    ) -> Self {
        let init = fan_in_init(i * kernel * kernel);
        let weight = b.declare(format!("{name}.weight"), &[o, kernel, kernel, i], init);
        let bias = bias.then(|| b.declare(format!("{name}.bias"), &[o], init));
        Conv2d {
            weight,
            bias,
            kernel,
            conv,
        }
    }

    /// x [N, H, W, I] to [N, OH, OW, O], stored as the pass stores activations.
    pub fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        self.apply(pass, x, None, pass.activations())
    }

    /// Computes the convolution plus `residual`.
    pub fn forward_onto(&self, pass: &ForwardContext, x: &Var, residual: &Var) -> Result<Var> {
        self.apply(pass, x, Some(residual), pass.activations())
    }

    /// Computes the convolution in f32 in any pass: for what leaves a model.
    pub fn forward_f32(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        self.apply(pass, x, None, DType::F32)
    }

    /// Computes the convolution in f32 in any pass, plus `residual`, which is f32.
    pub fn forward_onto_f32(&self, pass: &ForwardContext, x: &Var, residual: &Var) -> Result<Var> {
        self.apply(pass, x, Some(residual), DType::F32)
    }

    /// Returns its weight and its bias.
    ///
    /// # Errors
    /// If it has no bias.
    pub(crate) fn parameters(&self) -> Result<[Handle; 2]> {
        let missing = || crate::Error::invalid("conv2d", "this one has no bias");
        Ok([self.weight, self.bias.ok_or_else(missing)?])
    }

    /// Returns its weight.
    pub fn weight(&self) -> Handle {
        self.weight
    }

    /// Returns the range of inputs that `output` depends on.
    pub(crate) fn input_range(&self, output: Span) -> Span {
        output.of_conv(self.kernel, self.conv.stride, self.conv.pad)
    }

    fn apply(
        &self,
        pass: &ForwardContext,
        x: &Var,
        residual: Option<&Var>,
        out: DType,
    ) -> Result<Var> {
        let layer = self.clone();
        pass.keep_watched_input(self.weight, x, move |pass, x| {
            layer.apply(pass, x, None, out)
        });
        let bias = self.bias.map(|b| pass.param(b)).transpose()?;
        pass.tape.conv2d_as(
            x,
            &pass.weight(self.weight)?,
            bias.as_ref(),
            residual,
            self.conv,
            out,
        )
    }
}

/// A transposed convolution: weight [I, K, K, O], bias `[O]`.
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    weight: Handle,
    bias: Handle,
    kernel: usize,
    conv: ConvTranspose,
}

impl ConvTranspose2d {
    /// Declares `name.weight` and `name.bias`. PyTorch takes the fan in of a transposed convolution
    /// from its outputs.
    pub fn new(
        b: &mut Builder,
        name: &str,
        i: usize,
        o: usize,
        kernel: usize,
        conv: ConvTranspose,
    ) -> Self {
        let init = fan_in_init(o * kernel * kernel);
        let weight = b.declare(format!("{name}.weight"), &[i, kernel, kernel, o], init);
        let bias = b.declare(format!("{name}.bias"), &[o], init);
        ConvTranspose2d {
            weight,
            bias,
            kernel,
            conv,
        }
    }

    /// x [N, H, W, I] to [N, OH, OW, O], stored as the pass stores activations.
    pub fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        self.apply(pass, x, pass.activations())
    }

    /// Computes the transposed convolution in f32 in any pass: for what leaves a model.
    pub fn forward_f32(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        self.apply(pass, x, DType::F32)
    }

    /// Returns its weight.
    pub fn weight(&self) -> Handle {
        self.weight
    }

    /// Returns the range of inputs that `output` depends on.
    pub(crate) fn input_range(&self, output: Span) -> Span {
        output.of_conv_transpose(self.kernel, self.conv.stride, self.conv.pad)
    }

    fn apply(&self, pass: &ForwardContext, x: &Var, out: DType) -> Result<Var> {
        let layer = self.clone();
        pass.keep_watched_input(self.weight, x, move |pass, x| layer.apply(pass, x, out));
        let (weight, bias) = (pass.weight(self.weight)?, pass.param(self.bias)?);
        pass.tape
            .conv_transpose2d_as(x, &weight, Some(&bias), self.conv, out)
    }
}

/// The residual block of van den Oord et al. 2017: x + conv1x1(relu(conv3x3(relu(x)))), no biases.
#[derive(Clone, Debug)]
pub struct ResidualBlock {
    conv1: Conv2d,
    conv2: Conv2d,
}

impl ResidualBlock {
    /// Declares `name.conv1.weight` and `name.conv2.weight`.
    pub fn new(b: &mut Builder, name: &str, channels: usize, hidden: usize) -> Self {
        let conv1 = Conv {
            stride: 1,
            pad: 1,
            relu: true,
            after: 0,
        };
        let conv2 = Conv {
            stride: 1,
            pad: 0,
            relu: true,
            after: 0,
        };
        ResidualBlock {
            conv1: Conv2d::new(
                b,
                &format!("{name}.conv1"),
                channels,
                hidden,
                3,
                conv1,
                false,
            ),
            conv2: Conv2d::new(
                b,
                &format!("{name}.conv2"),
                hidden,
                channels,
                1,
                conv2,
                false,
            ),
        }
    }

    /// x [N, H, W, C] to the same shape.
    pub fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        self.conv2
            .forward_onto(pass, &self.conv1.forward(pass, x)?, x)
    }

    /// Returns the range of inputs that `output` depends on.
    pub(crate) fn input_range(&self, output: Span) -> Span {
        self.conv1
            .input_range(self.conv2.input_range(output))
            .and(output)
    }
}

/// Residual blocks one after another: x [N, H, W, C] to the same shape.
///
/// If the pass recomputes ([`ForwardContext::checkpoint`]), it does so for runs of blocks. A block
/// keeps little more than its input, so that recomputing each alone would keep nearly as much. Of
/// runs of r among the n blocks of an encoder and as many of a decoder, 2 n / r inputs are kept,
/// and r blocks made again at a time: the least is at the root of 2 n (Chen et al. 2016, section
/// 3.2).
///
/// # Errors
/// If x has other channels.
pub fn residual_stack(pass: &ForwardContext, blocks: &[ResidualBlock], x: Var) -> Result<Var> {
    let run = (2 * blocks.len()).isqrt().max(1);
    blocks.chunks(run).try_fold(x, |x, blocks| {
        let blocks = blocks.to_vec();
        pass.checkpoint(x, move |pass, x| {
            blocks
                .iter()
                .try_fold(x, |x, block| block.forward(pass, &x))
        })
    })
}
