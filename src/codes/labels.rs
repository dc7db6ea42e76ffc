//! Labels, captions and names of images, beside their codes.

use crate::data::ImageSet;
use crate::storage::checkpoint::HostTensor;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// Classes and texts of images, in the order of their codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The classes' names.
    pub classes: Vec<String>,
    /// The class of each image; `None` where the images have no classes.
    pub class: Option<Vec<Option<u32>>>,
    /// The text of each image; `None` where the images have no texts.
    pub texts: Option<Vec<Option<String>>>,
}

/// Which labels the images of a set have, one or another of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelKinds {
    /// The classes' names, where images have classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<String>>,
    /// Whether images have texts.
    pub texts: bool,
}

impl LabelKinds {
    /// Returns which labels a data set has.
    pub fn of(set: &ImageSet) -> LabelKinds {
        let has_classes = set.items.iter().any(|item| item.class.is_some());
        LabelKinds {
            classes: has_classes.then(|| set.classes.clone()),
            texts: set.items.iter().any(|item| item.caption.is_some()),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == LabelKinds::default()
    }

    /// Returns labels of these kinds of no images.
    pub(super) fn labels(&self) -> Labels {
        Labels {
            classes: self.classes.clone().unwrap_or_default(),
            class: self.classes.as_ref().map(|_| Vec::new()),
            texts: self.texts.then(Vec::new),
        }
    }
}

/// A file's tensors of classes, of the bytes of all texts, and of how many each has.
const CLASS: &str = "labels.class";
const TEXT: &str = "labels.text";
const LENGTHS: &str = "labels.text_lengths";
/// The class, or the length of the text, of an image that has none.
const NONE: u32 = u32::MAX;

impl Labels {
    /// Returns the labels of a data set.
    pub fn of(set: &ImageSet) -> Labels {
        Labels::of_images(set, 0..set.len())
    }

    /// Returns the labels of some images of a data set, of the kinds that the whole of it has.
    pub(crate) fn of_images(set: &ImageSet, images: Range<usize>) -> Labels {
        let mut labels = LabelKinds::of(set).labels();
        for item in set.items.get(images).unwrap_or_default() {
            if let Some(class) = &mut labels.class {
                class.push(item.class);
            }
            if let Some(texts) = &mut labels.texts {
                texts.push(item.caption.clone());
            }
        }
        labels
    }

    /// Returns which there are.
    pub fn kinds(&self) -> LabelKinds {
        LabelKinds {
            classes: self.class.as_ref().map(|_| self.classes.clone()),
            texts: self.texts.is_some(),
        }
    }

    /// Returns the class of an image.
    pub(super) fn class_of(&self, image: usize) -> Option<u32> {
        *self.class.as_ref()?.get(image)?
    }

    /// Returns the text of an image.
    pub(super) fn text_of(&self, image: usize) -> Option<&str> {
        self.texts.as_ref()?.get(image)?.as_deref()
    }

    /// Returns them as the tensors of a file.
    pub(super) fn tensors(&self) -> BTreeMap<String, HostTensor> {
        let words = |words: Vec<u32>| HostTensor {
            shape: vec![words.len()],
            dtype: Dtype::U32,
            bytes: words.into_iter().flat_map(u32::to_le_bytes).collect(),
        };
        let mut tensors = BTreeMap::new();
        if let Some(class) = &self.class {
            let class = class.iter().map(|class| class.unwrap_or(NONE)).collect();
            tensors.insert(CLASS.to_owned(), words(class));
        }
        if let Some(texts) = &self.texts {
            let length = |text: &Option<String>| text.as_ref().map_or(NONE, |t| t.len() as u32);
            tensors.insert(LENGTHS.into(), words(texts.iter().map(length).collect()));
            let bytes: Vec<u8> = texts.iter().flatten().flat_map(|t| t.bytes()).collect();
            let text = HostTensor {
                shape: vec![bytes.len()],
                dtype: Dtype::U8,
                bytes,
            };
            tensors.insert(TEXT.into(), text);
        }
        tensors
    }

    /// Returns the labels of these kinds of so many images from a file's tensors; or what is wrong
    /// with them.
    pub(super) fn of_tensors(
        tensors: &BTreeMap<String, HostTensor>,
        kinds: &LabelKinds,
        images: usize,
    ) -> Result<Labels, String> {
        let bytes = |name: &str, dtype: Dtype| match tensors.get(name) {
            Some(t) if t.dtype == dtype => Ok(t.bytes.as_slice()),
            _ => Err(format!("`{name}` are missing")),
        };
        let words = |name: &str| {
            let words = bytes(name, Dtype::U32)?.as_chunks::<4>().0.iter();
            let words: Vec<u32> = words.map(|b| u32::from_le_bytes(*b)).collect();
            match words.len() == images {
                true => Ok(words),
                false => Err(format!("`{name}` are {} of {images}", words.len())),
            }
        };
        let mut labels = kinds.labels();
        if let (Some(class), Some(names)) = (&mut labels.class, &kinds.classes) {
            for word in words(CLASS)? {
                let named = (word as usize) < names.len();
                if word != NONE && !named {
                    return Err(format!("there is a class {word}, of {}", names.len()));
                }
                class.push(named.then_some(word));
            }
        }
        if let Some(texts) = &mut labels.texts {
            let mut rest = bytes(TEXT, Dtype::U8)?;
            for length in words(LENGTHS)? {
                if length == NONE {
                    texts.push(None);
                    continue;
                }
                let wrong = || format!("`{TEXT}` are not those of its images");
                let (own, behind) = rest.split_at_checked(length as usize).ok_or_else(wrong)?;
                let own = std::str::from_utf8(own).map_err(|_| wrong())?;
                texts.push(Some(own.to_owned()));
                rest = behind;
            }
            if !rest.is_empty() {
                return Err(format!("`{TEXT}` go on behind the last image"));
            }
        }
        Ok(labels)
    }
}

/// Parts and sums, for shards of codes.
#[cfg(not(target_arch = "wasm32"))]
impl Labels {
    /// Returns those of a part of the images.
    #[cfg(test)]
    pub(crate) fn part(&self, images: Range<usize>) -> Labels {
        fn of<T: Clone>(all: &Option<Vec<T>>, images: Range<usize>) -> Option<Vec<T>> {
            let all = all.as_ref()?.iter().skip(images.start);
            Some(all.take(images.len()).cloned().collect())
        }
        Labels {
            classes: self.classes.clone(),
            class: of(&self.class, images.clone()),
            texts: of(&self.texts, images),
        }
    }

    /// Appends those of more images, of the same kinds.
    pub(super) fn append(&mut self, more: Labels) {
        if let (Some(class), Some(more)) = (&mut self.class, more.class) {
            class.extend(more);
        }
        if let (Some(texts), Some(more)) = (&mut self.texts, more.texts) {
            texts.extend(more);
        }
    }

    /// Appends the labels of an image, those of its kinds that are none.
    pub(super) fn push(&mut self, class: Option<u32>, text: Option<String>) {
        if let Some(all) = &mut self.class {
            all.push(class);
        }
        if let Some(all) = &mut self.texts {
            all.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels {
            classes: vec!["ant".into(), "bee".into()],
            class: Some(vec![Some(1), None, Some(0)]),
            texts: Some(vec![None, Some(String::new()), Some("zwölf".into())]),
        }
    }

    #[test]
    fn tensors_hold_classes_and_texts() {
        let all = labels();
        let (kinds, tensors) = (all.kinds(), all.tensors());
        assert_eq!(Labels::of_tensors(&tensors, &kinds, 3).unwrap(), all);
        let none = Labels::default();
        assert!(none.tensors().is_empty() && none.kinds().is_empty());
        // Those of no images are of the same kinds.
        let empty = all.part(1..1);
        assert_eq!(empty.kinds(), kinds);
        assert_eq!(
            Labels::of_tensors(&empty.tensors(), &kinds, 0).unwrap(),
            empty
        );
        let mut joined = all.part(0..2);
        joined.append(all.part(2..3));
        assert_eq!(joined, all);
    }

    #[test]
    fn tensors_that_do_not_fit_are_named() {
        let all = labels();
        let kinds = all.kinds();
        let refused = |change: &dyn Fn(&mut BTreeMap<String, HostTensor>), word: &str| {
            let mut tensors = all.tensors();
            change(&mut tensors);
            let said = Labels::of_tensors(&tensors, &kinds, 3).unwrap_err();
            assert!(said.contains(word), "{said}");
        };
        let tensor = |words: &[u32]| HostTensor {
            shape: vec![words.len()],
            dtype: Dtype::U32,
            bytes: words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        };
        refused(&|t| drop(t.remove(CLASS)), "labels.class");
        refused(&|t| drop(t.insert(CLASS.into(), tensor(&[0, 1]))), "2 of 3");
        refused(
            &|t| drop(t.insert(CLASS.into(), tensor(&[0, 1, 2]))),
            "a class 2",
        );
        refused(
            &|t| drop(t.insert(TEXT.into(), tensor(&[0]))),
            "labels.text",
        );
        // Within a letter, and beyond the end.
        refused(
            &|t| drop(t.insert(LENGTHS.into(), tensor(&[NONE, 3, 0]))),
            "labels.text",
        );
        refused(
            &|t| drop(t.insert(LENGTHS.into(), tensor(&[0, 0, 99]))),
            "labels.text",
        );
    }
}
