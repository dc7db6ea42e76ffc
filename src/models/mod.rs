//! Models: plain structs of layers.

pub mod classifier;
pub mod contrastive;
pub mod first_stage;
mod level;
pub mod losses;
pub mod prior;
pub mod text;

pub use level::Level;
pub(crate) use level::scale_name;

use crate::Result;
use crate::autograd::Var;
use crate::nn::{ForwardContext, Handle};

/// A quantizer of the latents [B, h, w, D] of a level, to latents of the same shape.
pub type Quantize<'a> = dyn FnMut(usize, &Var) -> Result<Var> + 'a;

/// The receptive field of a first stage: image pixels beyond a place that it depends on, each way,
/// where the place is a whole number of the top level's latents. Codes and pixels of an image's
/// part come out as those of the whole image if so much around it is there too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceptiveField {
    /// Reach of the encoder: from a place's codes, of every level, to the pixels that they depend
    /// on.
    pub encode: usize,
    /// Reach of the decoder: from a place's pixels to the latents, of every level, that they depend
    /// on.
    pub decode: usize,
}

/// A first stage: images to latents on one or more grids, and back. The quantizers between are the
/// caller's.
///
/// Levels are numbered from the top, the coarsest grid, down to the finest.
pub trait Autoencoder: Send {
    /// Image pixels per latent of each level, each way.
    fn factors(&self) -> &[usize];

    /// Images [B, H, W, C] in [-1, 1] to the quantized latents [B, H / f, W / f, D] of each level,
    /// in f32 however the pass stores activations. `quantize` is called once for each level, from
    /// the top down: a level's latents may depend on the quantized ones above it.
    ///
    /// # Errors
    /// If H or W is not divisible by the top level's factor.
    fn encode(
        &self,
        pass: &ForwardContext,
        images: &Var,
        quantize: &mut Quantize,
    ) -> Result<Vec<Var>>;

    /// Images through the model: what [`Autoencoder::decode`] makes of what [`Autoencoder::encode`]
    /// gives, with nothing computed twice.
    ///
    /// # Errors
    /// As those.
    fn reconstruct(
        &self,
        pass: &ForwardContext,
        images: &Var,
        quantize: &mut Quantize,
    ) -> Result<Var> {
        self.decode(pass, &self.encode(pass, images, quantize)?)
    }

    /// Quantized latents of every level to images [B, H, W, C], around [-1, 1], in f32.
    ///
    /// # Errors
    /// If there is not one for each level, or they do not fit one another.
    fn decode(&self, pass: &ForwardContext, latents: &[Var]) -> Result<Var>;

    /// Numbers per image pixel of the largest tensor that a pass makes: of them a device must bind
    /// as many as a batch has pixels.
    fn widest(&self) -> usize;

    /// Returns the weight of the decoder's last layer, which makes the pixels.
    fn last_weight(&self) -> Handle;

    /// Returns the receptive field of [`Autoencoder::encode`] and [`Autoencoder::decode`]; `None`
    /// where norms or attention see all of an image.
    fn receptive_field(&self) -> Option<ReceptiveField>;
}

/// Images must be divisible by the top level's factor.
fn check_divisible(images: &Var, factor: usize) -> Result<()> {
    let [_, h, w, _] = images.tensor().dims("encode")?;
    if h.is_multiple_of(factor) && w.is_multiple_of(factor) {
        return Ok(());
    }
    let expected = format!("height and width divisible by {factor}");
    Err(crate::Error::shape(
        "encode",
        expected,
        format!("{h} x {w}"),
    ))
}

/// Returns the latents of a model's only level.
fn only_level(latents: &[Var]) -> Result<&Var> {
    match latents {
        [only] => Ok(only),
        _ => Err(crate::Error::shape(
            "decode",
            "latents of one level",
            latents.len(),
        )),
    }
}

/// Renamed to [`ReceptiveField`].
#[deprecated(since = "0.2.0", note = "renamed to `ReceptiveField`")]
pub type Reach = ReceptiveField;
