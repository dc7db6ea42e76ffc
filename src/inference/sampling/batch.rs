//! Images that are drawn together.

use crate::Result;
use crate::gpu::{Gpu, Tensor};
use crate::inference::PriorModel;
use crate::inference::sampling::request::{SampleRequest, SamplingOptions};
use crate::models::prior::order::{in_order, inverse, known_first};
use crate::models::prior::{Batch, Order};
use crate::models::text::Texts;
use std::ops::Range;

/// Images that are drawn together: a part of those of a request.
pub(super) struct SampleBatch {
    /// The number of the first among those of the request.
    pub(super) first: usize,
    /// Number of images.
    pub(super) images: usize,
    /// Classes as the model sees them, [rows]: with guidance once more, without a class.
    pub(super) classes: Vec<u32>,
    /// Texts of the rows.
    pub(super) texts: Option<Texts>,
    /// Codes of the levels above, [B, A].
    above: Vec<u32>,
    /// The order in which cells are drawn, where that is not row by row: the model's rows, and all
    /// that is counted in steps, are in it.
    pub(super) order: Option<Vec<u32>>,
    /// Codes, [B, T], in that order; those that are not known are 0.
    pub(super) codes: Vec<u32>,
    /// Whether each of the T codes is known, in that order.
    pub(super) places: Vec<bool>,
    pub(super) options: SamplingOptions,
}

/// Returns the order in which a model draws the cells of images of which these codes are known,
/// where it is not row by row: a model of any order sees all that is known, which therefore comes
/// first.
pub(super) fn drawing_order(model: &PriorModel, places: &[bool]) -> Option<Vec<u32>> {
    let books = model.info().vocabulary.codebooks;
    if model.prior.shape().order != Order::Any {
        return None;
    }
    let known: Vec<bool> = places
        .chunks(books)
        .map(|cell| cell.iter().all(|known| *known))
        .collect();
    let cells = known_first(&known);
    let raster = cells.iter().enumerate().all(|(i, cell)| i as u32 == *cell);
    (!raster).then_some(cells)
}

/// Returns the place in the image of the `i`-th code that is drawn.
pub(super) fn place_of(order: Option<&[u32]>, books: usize, i: usize) -> usize {
    order.map_or(i, |cells| cells[i / books] as usize * books + i % books)
}

/// Puts codes [N, T] in an order of cells back to their places.
pub(super) fn by_place(
    codes: Vec<u32>,
    order: Option<&[u32]>,
    books: usize,
    tokens: usize,
) -> Vec<u32> {
    match order {
        Some(cells) => in_order(&codes, &inverse(cells), books, tokens),
        None => codes,
    }
}

impl SampleBatch {
    /// Takes the images `which` of a request that was checked.
    pub(super) fn new(model: &PriorModel, request: &SampleRequest, which: Range<usize>) -> Self {
        let vocabulary = &model.info().vocabulary;
        let (own, known) = (vocabulary.tokens(), vocabulary.known());
        let options = request.options;
        let guided = options.sampling.guidance.is_some();
        let (mut above, mut codes) = (Vec::new(), vec![0; which.len() * own]);
        if !request.known.is_none() {
            codes.clear();
            let images = request.known.codes.chunks(known + own);
            for image in images.skip(which.start).take(which.len()) {
                above.extend(&image[..known]);
                codes.extend(&image[known..]);
            }
        }
        let mut classes = request.condition.classes[which.clone()].to_vec();
        let texts = vocabulary.text.as_ref().map(|text| {
            let empty = || Texts::nothing(text, which.len());
            let mut texts = match request.condition.texts {
                Some(all) => all.slice(text, which.clone()),
                None => empty(),
            };
            if guided {
                texts.append(&empty());
            }
            texts
        });
        if guided {
            classes.resize(2 * which.len(), vocabulary.no_class());
        }
        let mut places = request.known.places_of(own);
        let order = drawing_order(model, &places);
        if let Some(cells) = &order {
            let books = vocabulary.codebooks;
            codes = in_order(&codes, cells, books, own);
            let known: Vec<u32> = places.iter().map(|known| u32::from(*known)).collect();
            let known = in_order(&known, cells, books, own);
            places = known.into_iter().map(|known| known == 1).collect();
        }
        SampleBatch {
            first: which.start,
            images: which.len(),
            classes,
            texts,
            above,
            order,
            codes,
            places,
            options,
        }
    }

    /// Uploads codes, [B, T] in the order of the batch, for the model.
    pub(super) fn upload(&self, model: &PriorModel, codes: &[u32]) -> Result<Batch> {
        let (gpu, texts, rows) = (&model.gpu, self.texts.as_ref(), self.rows(codes));
        match &self.order {
            Some(cells) => model
                .prior
                .upload_in(gpu, &self.classes, &rows, texts, cells),
            None => model.prior.upload(gpu, &self.classes, &rows, texts),
        }
    }

    /// Uploads codes, [B, T], for a pass that predicts those of scale `scale`.
    pub(super) fn upload_scales(
        &self,
        model: &PriorModel,
        codes: &[u32],
        scale: usize,
    ) -> Result<Batch> {
        let (gpu, texts, rows) = (&model.gpu, self.texts.as_ref(), self.rows(codes));
        model
            .prior
            .upload_scales(gpu, &self.classes, &rows, texts, scale + 1)
    }

    /// Uploads codes, [B, T], of which those that are hidden are to be predicted.
    pub(super) fn upload_masked(
        &self,
        model: &PriorModel,
        codes: &[u32],
        hidden: &[bool],
    ) -> Result<Batch> {
        let (gpu, texts, rows) = (&model.gpu, self.texts.as_ref(), self.rows(codes));
        let hidden = hidden.repeat(self.copies());
        model
            .prior
            .upload_masked(gpu, &self.classes, &rows, texts, &hidden)
    }

    /// Returns how many times the model sees each image: twice with guidance.
    pub(super) fn copies(&self) -> usize {
        self.classes.len() / self.images
    }

    /// Returns the model's rows: each image's codes of the levels above, and behind them its own
    /// among `codes`.
    fn rows(&self, codes: &[u32]) -> Vec<u32> {
        crate::codes::interleave(&[self.above.clone(), codes.to_vec()], self.images)
            .repeat(self.copies())
    }

    /// Returns how many codes are known before the first that is drawn.
    pub(super) fn prefix(&self) -> usize {
        self.places.iter().take_while(|known| **known).count()
    }

    /// Uploads the codes as rows of places, u32 [T, rows] padded to where a view may begin: known
    /// codes are copied from there. `None` where all that is known comes first.
    pub(super) fn known_columns(&self, gpu: &Gpu) -> Result<Option<Tensor>> {
        if !self.places[self.prefix()..].contains(&true) {
            return Ok(None);
        }
        let (own, rows) = (self.places.len(), self.classes.len());
        let width = rows.next_multiple_of(64);
        let mut columns = vec![0; own * width];
        for (i, column) in columns.chunks_mut(width).enumerate() {
            for (row, code) in column.iter_mut().take(rows).enumerate() {
                *code = self.codes[row % self.images * own + i];
            }
        }
        Tensor::from_slice(gpu, &[own, width], &columns).map(Some)
    }
}
