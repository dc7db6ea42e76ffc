//! Images that are drawn together.

use crate::Result;
use crate::gpu::{Gpu, Tensor};
use crate::inference::PriorModel;
use crate::inference::sampling::request::{SampleRequest, SamplingOptions};
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
    /// Codes, [B, T]; those that are not known are 0.
    pub(super) codes: Vec<u32>,
    /// Whether each of the T codes is known.
    pub(super) places: Vec<bool>,
    pub(super) options: SamplingOptions,
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
        SampleBatch {
            first: which.start,
            images: which.len(),
            classes,
            texts,
            above,
            codes,
            places: request.known.places_of(own),
            options,
        }
    }

    /// Returns how many times the model sees each image: twice with guidance.
    pub(super) fn copies(&self) -> usize {
        self.classes.len() / self.images
    }

    /// Returns the model's rows: each image's codes of the levels above, and behind them its own
    /// among `codes`.
    pub(super) fn rows(&self, codes: &[u32]) -> Vec<u32> {
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
