//! Prediction of hidden codes from all others (Chang et al. 2022, "MaskGIT").

use super::{Batch, Conditions, Hidden, Prior};
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::models::text::Texts;
use crate::nn::ForwardContext;
use crate::nn::transformer::Dropout;
use crate::ops::attention::attention::Attention;
use crate::ops::loss::cross_entropy::CrossEntropy;
use crate::{Error, Result};

/// The number in place of a code that is not to be predicted.
const SEEN: u32 = u32::MAX;

/// Returns how many of `codes` codes are hidden at a share `u` in [0, 1] of the way, by the cosine
/// schedule: of a uniform `u`, the share that is hidden has the density of the arccosine (Chang et
/// al. 2022, section 3.3).
pub fn hidden_at(codes: usize, u: f64) -> usize {
    (codes as f64 * (std::f64::consts::FRAC_PI_2 * u).cos()) as usize
}

impl Prior {
    /// [`Prior::upload`] for a masked prior: `hidden` [B, T] says which of the images' own codes
    /// are to be predicted.
    ///
    /// # Errors
    /// As [`Prior::upload`]; if `hidden` has another length.
    pub fn upload_masked(
        &self,
        gpu: &Gpu,
        classes: &[u32],
        codes: &[u32],
        texts: Option<&Texts>,
        hidden: &[bool],
    ) -> Result<Batch> {
        let batch = self.upload(gpu, classes, codes, texts)?;
        let v = &self.vocabulary;
        let (known, own, books) = (v.known(), v.tokens(), v.codebooks);
        if hidden.len() != classes.len() * own {
            let expected = format!("{own} codes of each of {} images", classes.len());
            return Err(Error::shape("prior", expected, hidden.len()));
        }
        let codes: Vec<u32> = codes
            .chunks(known + own)
            .flat_map(|image| &image[known..])
            .copied()
            .collect();
        let of = |value: &dyn Fn(u32, bool) -> u32| -> Result<Vec<Tensor>> {
            let all = || codes.iter().zip(hidden);
            let book = |q: usize| {
                let own = all().skip(q).step_by(books);
                let own: Vec<u32> = own.map(|(code, hidden)| value(*code, *hidden)).collect();
                Tensor::from_slice(gpu, &[own.len()], &own)
            };
            (0..books).map(book).collect()
        };
        let mask = v.codebook_size as u32;
        Ok(Batch {
            hidden: Some(Hidden {
                inputs: of(&|code, hidden| if hidden { mask } else { code })?,
                targets: of(&|code, hidden| if hidden { code } else { SEEN })?,
                count: hidden.iter().filter(|hidden| **hidden).count(),
            }),
            ..batch
        })
    }

    /// Runs the blocks of a masked prior: a row for the class, and one for each code,
    /// [B, 1 + T, D], normed.
    pub(super) fn run_masked(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        conditions: &Conditions,
        dropout: Dropout,
    ) -> Result<Var> {
        let (tape, d, [b]) = (pass.tape, self.shape.dim, batch.classes.dims("prior")?);
        let (t, books) = (self.vocabulary.tokens(), self.vocabulary.codebooks);
        let codes = batch.hidden.as_ref().map_or(&batch.codes, |h| &h.inputs);
        let rows = codes
            .iter()
            .zip(&self.tokens)
            .map(|(codes, table)| tape.gather(&pass.param(*table)?, codes))
            .collect::<Result<Vec<Var>>>()?;
        let x = if let [rows] = &rows[..] {
            rows.clone()
        } else {
            tape.concat_columns(&rows)?
        };
        let mut x = tape.reshape(&x, &[b * t, d])?;
        for (layers, rows) in self.above.iter().zip(&conditions.above) {
            let places = layers.by_image(b, 0..t, books);
            let places = Tensor::from_slice(tape.gpu(), &[places.len()], &places)?;
            x = tape.add(&x, &tape.gather(rows, &places)?)?;
        }
        let x = self.place(pass, tape.reshape(&x, &[b, t, d])?, 0..t)?;
        let table = self
            .classes
            .ok_or_else(|| Error::invalid("prior", "nothing stands before the codes"))?;
        let class = tape.gather(&pass.param(table)?, &batch.classes)?;
        let x = tape.concat_columns(&[class, tape.reshape(&x, &[b, t * d])?])?;
        let mut x = tape.reshape(&x, &[b, 1 + t, d])?;
        // The class lies at the first cell, as far as angles go.
        let places: Vec<u32> = std::iter::once(0)
            .chain(0..t as u32)
            .flat_map(|i| [i, i])
            .collect();
        let places = Tensor::from_slice(tape.gpu(), &[b * (1 + t), 2], &places.repeat(b))?;
        let angles = self.rotary.as_ref().map(|rotary| rotary.at_rows(&places));
        x = dropout.apply(pass, &x, 0)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.sequences(
                pass,
                x,
                Attention::FULL,
                angles.as_ref(),
                (dropout, 1 + 2 * i),
                conditions.memory.as_ref().and_then(|m| m.encoder_states(i)),
            )?;
        }
        self.norm.forward(pass, &x)
    }

    /// Returns the mean cross-entropy of the hidden codes, in nats, of rows of the last block.
    pub(super) fn hidden_loss(
        &self,
        pass: &ForwardContext,
        x: Var,
        hidden: &Hidden,
        options: CrossEntropy,
    ) -> Result<Var> {
        let tape = pass.tape;
        let options = CrossEntropy {
            ignore: Some(SEEN),
            ..options
        };
        let mut sum: Option<Var> = None;
        for (logits, targets) in self.code_logits(pass, x)?.into_iter().zip(&hidden.targets) {
            let own = tape.sum(&tape.cross_entropy(&logits, targets, options)?)?;
            sum = Some(match sum {
                Some(sum) => tape.add(&sum, &own)?,
                None => own,
            });
        }
        let sum = sum.ok_or_else(|| Error::invalid("prior", "a vocabulary without codebooks"))?;
        tape.scale(&sum, 1.0 / hidden.count.max(1) as f32, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::hidden_at;

    #[test]
    fn fewer_and_fewer_codes_are_hidden() {
        let hidden: Vec<usize> = (0..=8).map(|i| hidden_at(49, i as f64 / 8.0)).collect();
        assert_eq!((hidden[0], hidden[8]), (49, 0));
        assert!(
            hidden.is_sorted_by(|a, b| a >= b) && hidden[1] >= 47,
            "{hidden:?}"
        );
    }
}
