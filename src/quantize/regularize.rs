//! Losses that keep codes in use, or apart from each other.

use super::options::Options;
use super::quantizer::Term;
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Tensor};
use crate::ops::linalg::matmul::Transpose;
use crate::ops::loss::loss::Loss;
use crate::ops::quantize::code_softmax::Metric;

impl Tape {
    /// Minus the entropy, in nats, of the codes' average use by x [N, D], each latent choosing by
    /// softmax(sharpness times the metric) over the codebook [K, D]: `[1]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn diversity_loss(
        &self,
        x: &Var,
        codebook: &Var,
        metric: Metric,
        sharpness: f32,
    ) -> Result<Var> {
        let used = self.code_average(x, codebook, metric, sharpness)?;
        self.scale(&self.entropy(&used)?, -1.0, 0.0)
    }

    /// Computes the mean over pairs of codes of their squared cosine, less 1 / K: `[1]` (Shin et
    /// al. 2021, "Translation-equivariant image quantizer for bi-directional image-text
    /// generation", equation 2).
    ///
    /// The sum over K x K pairs is that over D x D of the codes' second moments, `|C C^T|^2 = |C^T
    /// C|^2`, so K x K is never made.
    ///
    /// # Errors
    /// If the codebook is no matrix.
    pub fn orthogonal_loss(&self, codebook: &Var) -> Result<Var> {
        let [k, d] = codebook.tensor().dims("orthogonal_loss")?;
        let unit = self.l2_norm(codebook)?;
        let moments = self.matmul(&unit, &unit, Transpose::A)?;
        let zero = self.constant(&Tensor::zeros(self.gpu(), &[d, d], DType::F32)?);
        let mean = self.loss(Loss::Mse, &moments, &zero)?;
        self.scale(&mean, (d as f32 / k as f32).powi(2), -1.0 / k as f32)
    }
}

/// Computes the regularizers that the options ask for.
pub(super) fn terms(
    tape: &Tape,
    o: &Options,
    x: &Var,
    codebook: &Var,
    metric: Metric,
) -> Result<Vec<(Term, Var)>> {
    let mut terms = Vec::new();
    let mut add = |weight: f32, loss: Var| -> Result<()> {
        terms.push((Term::Regularizer, tape.scale(&loss, weight, 0.0)?));
        Ok(())
    };
    if o.codebook_diversity_loss_weight > 0.0 {
        let loss = tape.diversity_loss(x, codebook, metric, o.codebook_diversity_temperature)?;
        add(o.codebook_diversity_loss_weight, loss)?;
    }
    if o.orthogonal_reg_weight > 0.0 {
        add(o.orthogonal_reg_weight, tape.orthogonal_loss(codebook)?)?;
    }
    Ok(terms)
}
