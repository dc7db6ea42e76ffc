//! Requests for samples of a prior.

use crate::inference::PriorModel;
use crate::models::text::Texts;
use crate::ops::sampling::repetition_penalty;
use crate::ops::sampling::sample::Sampling;
use crate::{Error, Result};

/// A request for samples: what images are conditioned on, which of their codes are known, and how
/// the others are drawn.
///
/// ```
/// use wgvq::inference::{SampleRequest, SamplingOptions};
///
/// let classes = [3, 3, 7]; // three images
/// let request = SampleRequest {
///     options: SamplingOptions { seed: 7, ..Default::default() },
///     ..SampleRequest::new(&classes)
/// };
/// assert_eq!(request.condition.classes.len(), 3);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SampleRequest<'a> {
    /// The condition of each image; its length is the number of images.
    pub condition: Condition<'a>,
    /// Codes that are not drawn; by default none.
    pub known: KnownCodes<'a>,
    /// Temperature, filters, seed and batch size.
    pub options: SamplingOptions,
}

impl<'a> SampleRequest<'a> {
    /// Returns a request for images of these classes (or classes and texts), all of whose codes are
    /// drawn under the default options.
    pub fn new(condition: impl Into<Condition<'a>>) -> SampleRequest<'a> {
        SampleRequest {
            condition: condition.into(),
            ..Default::default()
        }
    }

    /// Returns the number of images.
    pub fn images(&self) -> usize {
        self.condition.classes.len()
    }

    /// Checks the request against the model. Classes are checked when they are uploaded.
    pub(super) fn check(&self, model: &PriorModel) -> Result<()> {
        self.options.check()?;
        if model.is_masked() {
            model.check_masked(self)?;
        }
        if model.is_next_scale() {
            model.check_next_scale(self)?;
        }
        if model.is_factorised() {
            model.check_factorised(self)?;
        }
        let (images, vocabulary) = (self.images(), &model.info().vocabulary);
        let readable = if vocabulary.text.is_some() { images } else { 0 };
        let texts = self.condition.texts.map(|t| t.lengths.len());
        if let Some(n) = texts.filter(|n| *n != readable) {
            return Err(Error::shape("sample", format!("{readable} texts"), n));
        }
        let (own, above) = (vocabulary.tokens(), vocabulary.known());
        let KnownCodes { codes, places } = self.known;
        if self.known.is_none() {
            if above == 0 {
                return Ok(());
            }
            let what =
                "these codes are conditioned on those of the levels above, which are not given";
            return Err(Error::invalid("sample", what));
        }
        let each = above + own;
        if codes.len() != images * each || places.len() != own {
            let got = format!("{} codes at {} places", codes.len(), places.len());
            let expected =
                format!("{each} codes for each of {images} images, of which {own} may be drawn");
            return Err(Error::shape("sample", expected, got));
        }
        Ok(())
    }
}

/// Conditions of images: classes or texts. Slices and vectors of classes convert into it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Condition<'a> {
    /// A class for each image; the number of classes, as
    /// [`Vocabulary::no_class`](crate::models::prior::Vocabulary::no_class) gives it, stands for
    /// none.
    pub classes: &'a [u32],
    /// A text for each image, where the prior reads texts; `None` is the empty text for all.
    pub texts: Option<&'a Texts>,
}

impl<'a> From<&'a [u32]> for Condition<'a> {
    fn from(classes: &'a [u32]) -> Self {
        Condition {
            classes,
            texts: None,
        }
    }
}

impl<'a> From<&'a Vec<u32>> for Condition<'a> {
    fn from(classes: &'a Vec<u32>) -> Self {
        classes.as_slice().into()
    }
}

impl<'a, const N: usize> From<&'a [u32; N]> for Condition<'a> {
    fn from(classes: &'a [u32; N]) -> Self {
        classes.as_slice().into()
    }
}

/// Codes that are given, and not drawn. The default, of empty slices, is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct KnownCodes<'a> {
    /// Codes of each image: of a [`PriorModel`], [N, A + T], those of the levels above and then its
    /// own; of a [`Hierarchy`](super::super::Hierarchy), [N, all]. Those that are drawn do not
    /// matter.
    pub codes: &'a [u32],
    /// Whether each code is known, of an image's T own codes, or of all.
    pub places: &'a [bool],
}

impl KnownCodes<'_> {
    /// Returns whether no code is given, nor any place named.
    pub fn is_none(&self) -> bool {
        self.codes.is_empty() && self.places.is_empty()
    }

    /// Returns which of `all` places are known.
    pub(in crate::inference) fn places_of(&self, all: usize) -> Vec<bool> {
        if self.is_none() {
            vec![false; all]
        } else {
            self.places.to_vec()
        }
    }
}

/// Options for drawing codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// The distribution: temperature, filters, guidance.
    pub sampling: Sampling,
    /// The penalty on codes that an image has already, of at least 1, which is none; infinite, no
    /// code comes twice. See [`repetition_penalty`](crate::ops::sampling::repetition_penalty).
    pub repetition_penalty: f32,
    /// Seed of the draws.
    pub seed: u64,
    /// Images drawn at a time. It changes how much memory is taken, and no image.
    pub batch: usize,
    /// Whether keys and values are kept from step to step; without, everything is computed again
    /// for each code.
    pub cache: bool,
    /// The number of codes of an image that are drawn in a pass of the model. It changes how long
    /// the drawing takes, and no code.
    pub parallel: Parallel,
    /// Passes in which a masked prior draws an image, at least one; others have no use for it.
    pub passes: usize,
}

/// Drawing of several codes of an image in a pass of the model, by Jacobi iteration: each is drawn
/// from what the codes before it are taken for, again and again until these are the codes that were
/// drawn for them (Song et al. 2021, "Accelerating Feedforward Computation via Parallel Nonlinear
/// Equation Solving"; Teng et al. 2024, "Accelerating Auto-regressive Text-to-Image Generation with
/// Training-free Speculative Jacobi Decoding"). The noise of a code is the same in every pass, so
/// that the codes are those of drawing one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parallel {
    /// One code after another.
    #[default]
    Off,
    /// So many codes at a time, rounded up to those of whole cells.
    Window(usize),
    /// [`Parallel::WINDOW`] codes at a time where the first passes show that the device is faster
    /// so, and otherwise one after another.
    Auto,
}

impl Parallel {
    /// Codes in a pass, where nothing else is asked for.
    pub const WINDOW: usize = 16;
}

impl Default for SamplingOptions {
    fn default() -> Self {
        SamplingOptions {
            sampling: Sampling::default(),
            repetition_penalty: 1.0,
            seed: 0,
            batch: 64,
            cache: true,
            parallel: Parallel::Off,
            passes: 12,
        }
    }
}

impl SamplingOptions {
    /// Checks that the options can be used.
    ///
    /// # Errors
    /// Names the first that cannot, and what it may be.
    pub fn check(&self) -> Result<()> {
        self.invalid_field().map_or(Ok(()), |(field, what)| {
            Err(Error::invalid("sample", format!("{field}: {what}")))
        })
    }

    /// Returns the name of the first field that cannot be used, and what it may be.
    pub fn invalid_field(&self) -> Option<(&'static str, String)> {
        let penalty = || {
            let what = "it must be at least 1, which is none; `inf` lets no code come twice";
            let wrong = repetition_penalty::check(self.repetition_penalty).is_err();
            wrong.then(|| {
                (
                    "repetition_penalty",
                    format!("{} is not allowed: {what}", self.repetition_penalty),
                )
            })
        };
        let batch = || {
            (self.batch == 0).then(|| {
                (
                    "batch",
                    "0 is not allowed: at least 1 is drawn at a time".into(),
                )
            })
        };
        let parallel = || {
            let what = match self.parallel {
                Parallel::Window(0) => "0 is not allowed: at least 1 code is drawn in a pass",
                Parallel::Window(_) | Parallel::Auto if !self.cache => {
                    "it takes the cache of keys and values, which is off (--no-cache)"
                }
                _ => return None,
            };
            Some(("parallel", what.into()))
        };
        let passes = || {
            let what = "0 is not allowed: an image takes one pass at least";
            (self.passes == 0).then(|| ("passes", what.into()))
        };
        self.sampling
            .invalid_field()
            .or_else(passes)
            .or_else(penalty)
            .or_else(batch)
            .or_else(parallel)
    }
}
