//! Labels, captions and names of images, beside their codes.

use crate::data::ImageSet;

/// Classes and texts of images, in the order of their codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The classes' names.
    pub classes: Vec<String>,
    /// The class of each image; empty where the images have no classes.
    pub class: Vec<Option<u32>>,
    /// The text of each image; empty where the images have no texts.
    pub texts: Vec<Option<String>>,
}

impl Labels {
    /// Returns the labels of a data set.
    pub fn of(set: &ImageSet) -> Labels {
        let mut labels = Labels {
            classes: set.classes.clone(),
            ..Default::default()
        };
        if set.items.iter().any(|item| item.class.is_some()) {
            labels.class = set.items.iter().map(|item| item.class).collect();
        }
        if set.items.iter().any(|item| item.caption.is_some()) {
            let texts = set.items.iter().map(|item| item.caption.clone());
            labels.texts = texts.collect();
        }
        labels
    }

    /// Returns the class of an image.
    pub(super) fn class_of(&self, image: usize) -> Option<u32> {
        *self.class.get(image)?
    }

    /// Returns the text of an image.
    pub(super) fn text_of(&self, image: usize) -> Option<&str> {
        self.texts.get(image)?.as_deref()
    }
}
