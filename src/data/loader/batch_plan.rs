//! The plan of training's batches at each step: which images, from where in their photographs,
//! mirrored or not, in which colours.
//!
//! All of it is a function of the seed, the step and the place in the batch, so that no state has
//! to be kept for a run to go on where it stopped, and batches can be made by any thread in any
//! order.

use crate::data::loader::class_weights::{ClassOrder, drawn};
use crate::data::loader::jitter::jitter;
use crate::data::loader::order::{flip, uniform};
use crate::data::{ImageSet, Pixels};
use crate::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// The rule by which batches are made of the training split: the images of each step, their crops,
/// flips and colours, which follow from the seed, the step and the place in the batch alone.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchPlan {
    /// The run's seed.
    pub seed: u64,
    /// Images in a batch.
    pub batch: usize,
    /// Mirror half of them.
    pub flip: bool,
    /// Draw crops from whole photographs, of areas between these shares of the largest crop's.
    pub crop: Option<(f64, f64)>,
    /// Multiply brightness, contrast and saturation by up to 1 - color to 1 + color each.
    pub color: f32,
    /// The order of the training split's images by their classes' weights; `None` has each once in
    /// an epoch.
    pub classes: Option<Arc<ClassOrder>>,
}

/// The training images of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// `[batch, H, W, C]`, not mirrored yet.
    pub pixels: Vec<u8>,
    /// Whether each image is to be mirrored.
    pub mirrored: Vec<bool>,
}

/// Numbers of the random words of a place, apart from the flip's.
const AREA: u64 = 0;
const LEFT: u64 = 1;
const TOP: u64 = 2;
const COLOR: u64 = 3;

impl BatchPlan {
    /// Whether the images of a step are more than the set's own, mirrored or not.
    pub fn changes_pixels(&self) -> bool {
        self.crop.is_some() || self.color > 0.0
    }

    /// Returns the images of a step by their numbers in the set, and which are to be mirrored.
    pub fn order(&self, set: &ImageSet, step: u64) -> (Vec<u32>, Vec<bool>) {
        let order = self.classes.as_deref();
        let places = drawn(order, self.seed, step, self.batch, set.train.len());
        let mirrored = (0..places.len())
            .map(|i| self.flip && flip(self.seed, step, i))
            .collect();
        (
            places.into_iter().map(|n| set.train[n as usize]).collect(),
            mirrored,
        )
    }

    /// Returns the training images of a step.
    ///
    /// # Errors
    /// If an image can no longer be read, or crops are asked for of a set that has no whole
    /// photographs.
    pub fn batch(&self, set: &ImageSet, step: u64) -> Result<Batch> {
        self.part(set, step, 0..self.batch)
    }

    /// Returns the training images of a step at some of its places: those that [`BatchPlan::batch`]
    /// has there.
    ///
    /// # Errors
    /// As [`BatchPlan::batch`], and if there are no such places.
    pub fn part(&self, set: &ImageSet, step: u64, places: Range<usize>) -> Result<Batch> {
        let (numbers, mirrored) = self.order(set, step);
        let missing = || Error::invalid("batch", format!("{places:?} of {}", self.batch));
        let numbers = numbers.get(places.clone()).ok_or_else(missing)?;
        let mirrored = mirrored[places.clone()].to_vec();
        let mut pixels = Vec::with_capacity(numbers.len() * set.image_bytes());
        for (place, &number) in places.zip(numbers) {
            let begin = pixels.len();
            let random = |word: u64| uniform(self.seed, step, place, word);
            match self.crop {
                Some((least, most)) => {
                    let area = least + (most - least) * random(AREA);
                    let at = (random(LEFT), random(TOP));
                    let photographs = set
                        .pixels
                        .photographs()
                        .ok_or_else(|| no_photographs(set))?;
                    pixels.extend(photographs.crop(number as usize, area, at)?);
                }
                None => pixels.extend_from_slice(&set.image(number as usize)?),
            }
            if self.color > 0.0 {
                let by = |i: u64| 1.0 + self.color * (2.0 * random(COLOR + i) as f32 - 1.0);
                jitter(&mut pixels[begin..], set.channels, [by(0), by(1), by(2)]);
            }
        }
        Ok(Batch { pixels, mirrored })
    }
}

/// Returns the error of crops that cannot be drawn.
pub(crate) fn no_photographs(set: &ImageSet) -> Error {
    let what = match set.pixels {
        Pixels::Memory(_) => "is not a folder of photographs",
        Pixels::Stored(_) => "was not opened with its photographs whole",
    };
    Error::config(
        "data.crop",
        format!(
            "random crops cannot be drawn from `{}`: it {what}; set it to none",
            set.name
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch_indices;

    fn recipe() -> BatchPlan {
        BatchPlan {
            seed: 5,
            batch: 16,
            flip: true,
            crop: None,
            color: 0.0,
            classes: None,
        }
    }

    fn emoji() -> ImageSet {
        crate::data::open("emoji", &Default::default()).unwrap()
    }

    #[test]
    fn without_changes_a_batch_is_the_images_in_their_order() {
        let set = emoji();
        for step in [0, 7, 1 << 40] {
            let batch = recipe().batch(&set, step).unwrap();
            let (numbers, mirrored) = recipe().order(&set, step);
            let expected: Vec<u32> = batch_indices(5, step, 16, set.train.len())
                .iter()
                .map(|n| set.train[*n as usize])
                .collect();
            assert_eq!((&numbers, &batch.mirrored), (&expected, &mirrored));
            assert_eq!(batch.pixels, set.gather(&numbers).unwrap());
            assert!(
                mirrored.iter().any(|m| *m) && !mirrored.iter().all(|m| *m),
                "step {step}"
            );
        }
        let still = BatchPlan {
            flip: false,
            ..recipe()
        };
        assert_eq!(still.order(&set, 3).1, [false; 16]);
    }

    #[test]
    fn parts_are_the_batch_at_their_places() {
        let set = emoji();
        let plan = BatchPlan {
            color: 0.2,
            ..recipe()
        };
        let whole = plan.batch(&set, 3).unwrap();
        let parts = [0..4, 4..5, 5..16].map(|places| plan.part(&set, 3, places).unwrap());
        let pixels: Vec<u8> = parts.iter().flat_map(|p| p.pixels.clone()).collect();
        let mirrored: Vec<bool> = parts.iter().flat_map(|p| p.mirrored.clone()).collect();
        assert_eq!(Batch { pixels, mirrored }, whole);
        assert!(plan.part(&set, 3, 10..17).is_err());
    }

    #[test]
    fn colours_change_by_at_most_what_is_asked_and_otherwise_each_time() {
        let set = emoji();
        let (plain, colored) = (
            recipe(),
            BatchPlan {
                color: 0.2,
                ..recipe()
            },
        );
        assert!(colored.changes_pixels() && !plain.changes_pixels());
        let (before, after) = (
            plain.batch(&set, 2).unwrap(),
            colored.batch(&set, 2).unwrap(),
        );
        assert_eq!(
            (after.pixels.len(), &after.mirrored),
            (before.pixels.len(), &before.mirrored)
        );
        assert_ne!(before, after);
        assert_eq!(after, colored.batch(&set, 2).unwrap());
        // White stays within 20 % of white whatever the order of the factors; the first image is
        // not the second's change.
        let ratio = |i: usize| {
            let sum = |b: &Batch| {
                b.pixels[i * 3072..(i + 1) * 3072]
                    .iter()
                    .map(|v| f64::from(*v))
                    .sum::<f64>()
            };
            sum(&after) / sum(&before)
        };
        let ratios: Vec<f64> = (0..16).map(ratio).collect();
        assert!(
            ratios.iter().all(|r| (0.75..1.25).contains(r)),
            "{ratios:?}"
        );
        assert!(
            ratios.iter().any(|r| (r - ratios[0]).abs() > 0.02),
            "{ratios:?}"
        );
    }

    #[test]
    fn crops_of_a_set_without_photographs_are_refused_by_the_key() {
        let error = BatchPlan {
            crop: Some((0.1, 1.0)),
            ..recipe()
        }
        .batch(&emoji(), 0)
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("data.crop") && error.contains("emoji"),
            "{error}"
        );
    }
}
