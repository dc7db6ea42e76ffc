//! Norms: of the channels of rows, and of groups of channels.

use super::{Builder, Conv2d, ForwardContext, Handle, Init};
use crate::autograd::Var;
use crate::ops::conv::Conv;
use crate::ops::elementwise::activation::Function;
use crate::ops::norm::group_norm_activation::NormActivation;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Added under the root of norms.
const EPS: f32 = 1e-5;

/// The normalisation of rows of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// Root mean square norm (Zhang and Sennrich 2019).
    Rms,
    /// Layer norm: mean and variance (Ba et al. 2016).
    Layer,
}

/// A norm over the channels of a row.
#[derive(Clone, Debug)]
pub struct Norm {
    weight: Handle,
    bias: Option<Handle>,
}

impl Norm {
    /// Declares `name.weight` and, for [`NormKind::Layer`], `name.bias`.
    pub fn new(b: &mut Builder, name: &str, dim: usize, kind: NormKind) -> Self {
        let weight = b.declare(format!("{name}.weight"), &[dim], Init::Ones);
        let bias = (kind == NormKind::Layer)
            .then(|| b.declare(format!("{name}.bias"), &[dim], Init::Zeros));
        Norm { weight, bias }
    }

    /// x [.., D] to the same shape.
    ///
    /// # Errors
    /// If x has other channels.
    pub fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        let weight = pass.param(self.weight)?;
        match self.bias {
            Some(bias) => pass.tape.layer_norm(x, &weight, &pass.param(bias)?, EPS),
            None => pass.tape.rms_norm(x, &weight, EPS),
        }
    }
}

/// A group norm over the channels of images (Wu and He 2018): weight and bias `[C]`.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Handle,
    bias: Handle,
    groups: usize,
    eps: f32,
}

impl GroupNorm {
    /// Declares `name.weight` and `name.bias`; the groups must divide the channels.
    pub fn new(b: &mut Builder, name: &str, channels: usize, groups: usize, eps: f32) -> Self {
        let weight = b.declare(format!("{name}.weight"), &[channels], Init::Ones);
        let bias = b.declare(format!("{name}.bias"), &[channels], Init::Zeros);
        GroupNorm {
            weight,
            bias,
            groups,
            eps,
        }
    }

    /// x f32 [N, H, W, C] to the same shape.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, pass: &ForwardContext, x: &Var) -> Result<Var> {
        pass.tape.group_norm(
            x,
            &pass.param(self.weight)?,
            &pass.param(self.bias)?,
            self.groups,
            self.eps,
        )
    }

    /// Computes `f(norm(x))`, f SiLU or leaky ReLU, stored as the pass stores activations.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward_activated(&self, pass: &ForwardContext, x: &Var, f: Function) -> Result<Var> {
        let options = NormActivation {
            groups: self.groups,
            eps: self.eps,
            function: f,
            dtype: pass.activations(),
        };
        let [weight, bias] = [pass.param(self.weight)?, pass.param(self.bias)?];
        pass.tape.group_norm_activation(x, &weight, &bias, options)
    }
}

/// A group norm that latents scale and shift at each place: MoVQ's spatially conditioned norm
/// (Zheng et al. 2022, equation 3), `conv_y(z) norm(x) + conv_b(z)`.
#[derive(Clone, Debug)]
pub struct SpatialNorm {
    norm_layer: GroupNorm,
    conv_y: Conv2d,
    conv_b: Conv2d,
}

impl SpatialNorm {
    /// Declares a [`GroupNorm`] `name.norm_layer` and the convolutions of 1 x 1 `name.conv_y` and
    /// `name.conv_b`, for x of so many channels and latents of so many; the groups must divide the
    /// former.
    pub fn new(
        b: &mut Builder,
        name: &str,
        [channels, latents]: [usize; 2],
        groups: usize,
        eps: f32,
    ) -> Self {
        let norm_layer = GroupNorm::new(b, &format!("{name}.norm_layer"), channels, groups, eps);
        let point = Conv {
            stride: 1,
            pad: 0,
            relu: false,
            after: 0,
        };
        let mut conv = |part: &str| {
            let name = format!("{name}.{part}");
            Conv2d::new(b, &name, latents, channels, 1, point, true)
        };
        SpatialNorm {
            norm_layer,
            conv_y: conv("conv_y"),
            conv_b: conv("conv_b"),
        }
    }

    /// Computes the norm of x f32 [N, H, W, C] by latents f32 [N, H, W, D].
    ///
    /// # Errors
    /// If there are no latents, or the shapes do not fit.
    pub fn forward(&self, pass: &ForwardContext, x: &Var, latents: Option<&Var>) -> Result<Var> {
        let missing = || Error::invalid("spatial norm", "there are no latents");
        let latents = latents.ok_or_else(missing)?;
        let h = self.norm_layer.forward(pass, x)?;
        let scaled = pass
            .tape
            .multiply(&h, &self.conv_y.forward_f32(pass, latents)?)?;
        self.conv_b.forward_onto_f32(pass, latents, &scaled)
    }
}
