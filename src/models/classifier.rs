//! A small convolutional classifier of images, whose features tell sets of images apart.

use crate::autograd::Var;
use crate::nn::{Builder, Conv2d, ForwardContext, Linear};
use crate::ops::conv::Conv;
use crate::ops::elementwise::activation::Function;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Channels of the first convolution; each that halves the image has twice as many, up to the most.
const CHANNELS: usize = 32;
const MOST_CHANNELS: usize = 128;
/// The longer side that is left before channels become features.
const LEAST_SIDE: usize = 8;
/// Features of an image.
pub const FEATURES: usize = 64;

/// Sizes of a classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Height, width and channels of the images.
    pub image: [usize; 3],
    /// Classes.
    pub classes: usize,
}

/// Features and logits that a classifier computes of images.
pub struct Classified {
    /// Features [N, 64], from which the logits are made.
    pub features: Var,
    /// Logits [N, classes].
    pub logits: Var,
}

/// The model: convolutions that halve the image until its longer side is at most 8, a linear map to
/// 64 features, and one to the classes.
#[derive(Clone, Debug)]
pub struct Classifier {
    shape: Shape,
    convolutions: Vec<Conv2d>,
    to_features: Linear,
    to_classes: Linear,
    /// Numbers of an image before they become features.
    flat: usize,
}

impl Classifier {
    /// Declares the parameters under `classifier.`.
    ///
    /// # Errors
    /// If there are fewer than two classes, or the images have no pixels.
    pub fn new(b: &mut Builder, shape: Shape) -> Result<Classifier> {
        let [mut height, mut width, channels] = shape.image;
        if shape.classes < 2 || height * width * channels == 0 {
            let what = format!("{} classes of images of {width} x {height}", shape.classes);
            return Err(Error::invalid("classifier", what));
        }
        let (mut convolutions, mut from, mut to) = (Vec::new(), channels, CHANNELS);
        let mut layer = |from: usize, to: usize, stride: usize| {
            let conv = Conv {
                stride,
                pad: 1,
                after: 0,
                relu: false,
            };
            let name = format!("classifier.{}", convolutions.len());
            convolutions.push(Conv2d::new(b, &name, from, to, 3, conv, true));
        };
        layer(from, to, 1);
        while height.max(width) > LEAST_SIDE {
            (from, to) = (to, (2 * to).min(MOST_CHANNELS));
            layer(from, to, 2);
            (height, width) = (height.div_ceil(2), width.div_ceil(2));
        }
        let flat = height * width * to;
        let std = |i: usize| 1.0 / (i as f32).sqrt();
        Ok(Classifier {
            shape,
            convolutions,
            to_features: Linear::new(b, "classifier.features", flat, FEATURES, std(flat)),
            to_classes: Linear::new(
                b,
                "classifier.classes",
                FEATURES,
                shape.classes,
                std(FEATURES),
            ),
            flat,
        })
    }

    /// Returns its sizes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Looks at images [N, H, W, C] in [-1, 1].
    ///
    /// # Errors
    /// If they are of another size.
    pub fn forward(&self, pass: &ForwardContext, images: &Var) -> Result<Classified> {
        let [n, ..] = images.tensor().dims::<4>("classifier")?;
        if images.shape()[1..] != self.shape.image {
            let expected = format!("images of {:?}", self.shape.image);
            return Err(Error::shape("classifier", expected, format!("{images:?}")));
        }
        let tape = pass.tape;
        let mut x = images.clone();
        for conv in &self.convolutions {
            x = tape.activation(Function::Leaky, &conv.forward_f32(pass, &x)?)?;
        }
        let flat = tape.reshape(&x, &[n, self.flat])?;
        let features = self.to_features.forward(pass, &flat)?;
        let active = tape.activation(Function::Leaky, &features)?;
        let logits = self.to_classes.forward(pass, &active)?;
        Ok(Classified { features, logits })
    }
}
