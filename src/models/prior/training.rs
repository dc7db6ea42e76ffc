//! The loss of whole sequences.

use super::{Batch, Losses, Prior, Reader};
use crate::autograd::Var;
use crate::gpu::{Gpu, Tensor};
use crate::models::text::{IGNORED, Texts};
use crate::nn::ForwardContext;
use crate::nn::transformer::Dropout;
use crate::ops::loss::cross_entropy::CrossEntropy;
use crate::{Error, Result};

impl Prior {
    /// Whether it learns texts beside codes, as one sequence with them.
    pub fn learns_texts(&self) -> bool {
        matches!(self.reader, Reader::Stream { .. })
    }

    /// Classes `[B]` and codes u32 [B, A + T] of the host as [`Prior::logits`] takes them: each
    /// image's A codes of the levels above, the coarsest level's first, then its own; and the
    /// images' texts, where the model reads them.
    ///
    /// # Errors
    /// If they are not whole images, a class, code or token is none of the vocabulary, or texts are
    /// missing or too many.
    pub fn upload(
        &self,
        gpu: &Gpu,
        classes: &[u32],
        codes: &[u32],
        texts: Option<&Texts>,
    ) -> Result<Batch> {
        self.upload_scales(gpu, classes, codes, texts, self.scales().len())
    }

    /// [`Prior::upload`] for a pass over the first `scales` scales of a prior over scales alone:
    /// codes of the last of them and of finer ones are not seen.
    ///
    /// # Errors
    /// As [`Prior::upload`].
    pub fn upload_scales(
        &self,
        gpu: &Gpu,
        classes: &[u32],
        codes: &[u32],
        texts: Option<&Texts>,
        scales: usize,
    ) -> Result<Batch> {
        let v = &self.vocabulary;
        let text = match (&v.text, texts) {
            (Some(text), Some(texts)) if texts.lengths.len() == classes.len() => {
                Some(texts.upload(gpu, text)?)
            }
            (None, None) => None,
            (expected, got) => {
                let expected = if expected.is_some() { classes.len() } else { 0 };
                let got = got.map_or(0, |t| t.lengths.len());
                return Err(Error::shape("prior", format!("{expected} texts"), got));
            }
        };
        let each = v.known() + v.tokens();
        if codes.len() != classes.len() * each {
            let expected = format!("{each} codes for each of {} images", classes.len());
            return Err(Error::shape("prior", expected, codes.len()));
        }
        if let Some(class) = classes.iter().find(|c| **c > v.no_class()) {
            return Err(Error::data(format!(
                "there is no class {class}: there are {}",
                v.classes
            )));
        }
        let (all, mut at) = (codes, 0);
        let mut books = |n: usize, books: usize, size: usize| -> Result<Vec<Tensor>> {
            let own: Vec<u32> = codes
                .chunks(each)
                .flat_map(|image| &image[at..at + n])
                .copied()
                .collect();
            at += n;
            if let Some(code) = own.iter().find(|c| **c as usize >= size) {
                return Err(Error::data(format!(
                    "there is no code {code}: the codebook has {size}"
                )));
            }
            let of = |q: usize| {
                let own: Vec<u32> = own.iter().skip(q).step_by(books).copied().collect();
                Tensor::from_slice(gpu, &[own.len()], &own)
            };
            (0..books).map(of).collect()
        };
        let above = v
            .above
            .iter()
            .map(|l| books(l.codes(), l.codebooks, l.codebook_size))
            .collect::<Result<_>>()?;
        let codes = books(v.tokens(), v.codebooks, v.codebook_size)?;
        let halves = match &self.factorised {
            Some(heads) => {
                let own = all.chunks(each).flat_map(|image| &image[v.known()..]);
                let own: Vec<u32> = own.copied().collect();
                let book = |q: usize| {
                    let codes = own.iter().skip(q).step_by(v.codebooks);
                    heads.upload_halves(gpu, &codes.copied().collect::<Vec<_>>())
                };
                (0..v.codebooks).map(book).collect::<Result<_>>()?
            }
            None => Vec::new(),
        };
        let scales = match (&self.scales, &codes[..]) {
            (Some(layers), [codes]) => layers.inputs(codes, scales)?,
            _ => None,
        };
        Ok(Batch {
            classes: Tensor::from_slice(gpu, &[classes.len()], classes)?,
            codes,
            halves,
            above,
            order: None,
            hidden: None,
            scales,
            text,
        })
    }

    /// [`Prior::upload`] of codes in an order of cells of each image, `cells` [B, h w], or one for
    /// all; those of levels above stand as ever.
    ///
    /// # Errors
    /// As [`Prior::upload`]; if an order is none of all cells, or the model knows the raster's
    /// alone.
    pub fn upload_in(
        &self,
        gpu: &Gpu,
        classes: &[u32],
        codes: &[u32],
        texts: Option<&Texts>,
        cells: &[u32],
    ) -> Result<Batch> {
        let v = &self.vocabulary;
        let each = v.grid[0] * v.grid[1];
        let mut seen = vec![false; each];
        let whole = |order: &[u32]| {
            seen.fill(false);
            let mut once = |cell: &u32| {
                let new = seen.get_mut(*cell as usize).filter(|seen| !**seen);
                new.map(|seen| *seen = true).is_some()
            };
            order.len() == each && order.iter().all(&mut once)
        };
        let orders = match cells.len() {
            n if n == each => cells.repeat(classes.len()),
            _ => cells.to_vec(),
        };
        if orders.len() != each * classes.len() || !orders.chunks(each).all(whole) {
            let expected = format!(
                "an order of {each} cells for each of {} images",
                classes.len()
            );
            return Err(Error::shape("prior", expected, cells.len()));
        }
        if !self.shape.order.tells_places() {
            let what = "a prior of `prior.order = \"raster\"` predicts codes row by row";
            return Err(Error::invalid("prior", what));
        }
        Ok(Batch {
            order: Some(orders),
            ..self.upload(gpu, classes, codes, texts)?
        })
    }

    /// Returns the rows of the last block that predict the codes of each codebook: [B h w, D].
    fn code_rows(&self, pass: &ForwardContext, mut x: Var) -> Result<Vec<Var>> {
        let (tape, v, d) = (pass.tape, &self.vocabulary, self.shape.dim);
        let [b, rows, _] = x.tensor().dims("prior")?;
        let before = rows - v.tokens();
        if before > 0 {
            x = tape.slice_columns(
                &tape.reshape(&x, &[b, rows * d])?,
                before * d,
                v.tokens() * d,
            )?;
        }
        let cells = b * v.grid[0] * v.grid[1];
        let x = tape.reshape(&x, &[cells, v.codebooks * d])?;
        match v.codebooks {
            1 => Ok(vec![x]),
            books => (0..books)
                .map(|q| tape.slice_columns(&x, q * d, d))
                .collect(),
        }
    }

    pub(super) fn code_logits(&self, pass: &ForwardContext, x: Var) -> Result<Vec<Var>> {
        let rows = self.code_rows(pass, x)?.into_iter().enumerate();
        rows.map(|(q, x)| self.head(pass, &x, q)).collect()
    }

    /// Returns the mean cross-entropies of the codes of each codebook, in nats.
    fn code_losses(
        &self,
        pass: &ForwardContext,
        x: Var,
        batch: &Batch,
        options: CrossEntropy,
    ) -> Result<Vec<Var>> {
        let tape = pass.tape;
        if let Some(heads) = &self.factorised {
            let rows = self.code_rows(pass, x)?.into_iter().zip(&batch.halves);
            return rows
                .enumerate()
                .map(|(q, (x, halves))| heads.loss(pass, q, &x, halves, options))
                .collect();
        }
        // Each handle on logits goes before the next is made: the gradient then takes their place.
        let logits = self.code_logits(pass, x)?.into_iter().zip(&batch.codes);
        logits
            .map(|(logits, targets)| tape.mean(&tape.cross_entropy(&logits, targets, options)?))
            .collect()
    }

    /// Returns the mean cross-entropies of the images' codes and, where the model learns them, of
    /// their texts, in nats.
    ///
    /// # Errors
    /// If the device fails, or the smoothing lies outside [0, 1).
    pub fn losses(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        dropout: Dropout,
        smoothing: f32,
    ) -> Result<Losses> {
        let (tape, d) = (pass.tape, self.shape.dim);
        let books = self.vocabulary.codebooks as f32;
        let options = CrossEntropy {
            smoothing,
            ..Default::default()
        };
        let x = self.run(pass, batch, dropout)?;
        let text = match &self.reader {
            Reader::Stream { head, text, .. } => {
                let ([b, rows, _], of) = (x.tensor().dims("prior")?, batch.text()?);
                let before = text.length - 1;
                let rows = tape.slice_columns(&tape.reshape(&x, &[b, rows * d])?, 0, before * d)?;
                let logits = head.forward(pass, &tape.reshape(&rows, &[b * before, d])?)?;
                let targets = of
                    .targets
                    .as_ref()
                    .ok_or_else(|| Error::invalid("prior", "texts without tokens"))?;
                let options = CrossEntropy {
                    ignore: Some(IGNORED),
                    ..options
                };
                let sum = tape.sum(&tape.cross_entropy(&logits, targets, options)?)?;
                Some(tape.scale(&sum, 1.0 / of.counted.max(1) as f32, 0.0)?)
            }
            _ => None,
        };
        if let Some(hidden) = &batch.hidden {
            let codes = self.hidden_loss(pass, x, hidden, options)?;
            return Ok(Losses { codes, text });
        }
        let mut sum: Option<Var> = None;
        for mean in self.code_losses(pass, x, batch, options)? {
            sum = Some(match sum {
                Some(sum) => tape.add(&sum, &mean)?,
                None => mean,
            });
        }
        let sum = sum.ok_or_else(|| Error::invalid("prior", "a vocabulary without codebooks"))?;
        let codes = if books == 1.0 {
            sum
        } else {
            tape.scale(&sum, 1.0 / books, 0.0)?
        };
        Ok(Losses { codes, text })
    }

    /// Computes the training loss in nats: `[1]`. It is the mean cross-entropy of the images'
    /// codes; where the model learns texts too, both are weighted by `Shape::text_weight` (Ramesh
    /// et al. 2021, section 2.2).
    ///
    /// # Errors
    /// As [`Prior::losses`].
    pub fn loss(
        &self,
        pass: &ForwardContext,
        batch: &Batch,
        dropout: Dropout,
        smoothing: f32,
    ) -> Result<Var> {
        let Losses { codes, text } = self.losses(pass, batch, dropout, smoothing)?;
        let Some(text) = text else { return Ok(codes) };
        let (tape, w) = (pass.tape, self.shape.text_weight);
        tape.add(
            &tape.scale(&codes, 1.0 - w, 0.0)?,
            &tape.scale(&text, w, 0.0)?,
        )
    }
}
