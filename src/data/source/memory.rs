//! Images that a program holds in memory.

use crate::data::{ImageSet, Item, budget, check_channels, check_size, split};
use crate::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The source of a set that a program held in memory. It cannot be opened by name: a run on it is
/// gone on with by the program, or on the same images from elsewhere.
pub const IN_MEMORY: &str = "(memory)";

impl ImageSet {
    /// Returns a set of images that lie in memory: `pixels`, u8 [N, H, W, C], of a size as
    /// `[width, height, channels]`. `labels` are indices into `classes`, one for each image; both
    /// are empty where there are no classes. Every tenth image is held out, and images that are
    /// equal lie on one side of the split; assign to [`ImageSet::train`] and [`ImageSet::test`] for
    /// another one.
    ///
    /// ```
    /// use wgvq::data::ImageSet;
    ///
    /// let pixels = (0..20 * 2 * 2 * 3).map(|i| i as u8).collect(); // 20 images of 2 x 2, colour
    /// let set = ImageSet::from_memory(pixels, [2, 2, 3], &[], vec![])?;
    /// assert_eq!((set.train.len(), set.test.len()), (18, 2));
    /// # Ok::<(), wgvq::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no image, the size is none that images can have, the bytes are not whole images,
    /// the set is larger than one in memory may be, or the labels are not one for each image and of
    /// a class.
    pub fn from_memory(
        pixels: Vec<u8>,
        [width, height, channels]: [usize; 3],
        labels: &[u32],
        classes: Vec<String>,
    ) -> Result<ImageSet> {
        check_size(width, height)?;
        check_channels(channels)?;
        let bytes = width * height * channels;
        if pixels.is_empty() || !pixels.len().is_multiple_of(bytes) {
            let expected = format!("whole images of {width} x {height} x {channels}, at least one");
            let got = format!("{} bytes", pixels.len());
            return Err(Error::shape("images in memory", expected, got));
        }
        let count = pixels.len() / bytes;
        budget("images in memory", count, width, height, channels)?;
        if !labels.is_empty() && labels.len() != count {
            let expected = format!("a label for each of {count} images, or none");
            return Err(Error::shape("images in memory", expected, labels.len()));
        }
        if let Some(label) = labels.iter().find(|l| **l as usize >= classes.len()) {
            let what = format!(
                "label {label} is of none of the {} classes, which are numbered from 0 on",
                classes.len()
            );
            return Err(Error::invalid("images in memory", what));
        }
        let mut first: HashMap<[u8; 32], u64> = HashMap::new();
        let items: Vec<Item> = pixels
            .chunks_exact(bytes)
            .enumerate()
            .map(|(i, image)| Item {
                name: i.to_string(),
                group: *first
                    .entry(Sha256::digest(image).into())
                    .or_insert(i as u64),
                class: labels.get(i).copied(),
                caption: None,
                embedding: None,
            })
            .collect();
        let (train, test, note) = split(&items);
        Ok(ImageSet {
            name: IN_MEMORY.into(),
            width,
            height,
            channels,
            pixels: pixels.into(),
            items,
            classes,
            notes: note.into_iter().collect(),
            train,
            test,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_images_lie_on_one_side() {
        let pixels: Vec<u8> = (0..40u8).map(|i| i % 20).collect();
        let set = ImageSet::from_memory(pixels, [1, 1, 1], &[], vec![]).unwrap();
        assert_eq!(set.test, [0, 10, 20, 30]);
        assert_eq!(set.train.len(), 36);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let set = |pixels: usize, size, labels: &[u32]| {
            ImageSet::from_memory(vec![0; pixels], size, labels, vec!["a".into(), "b".into()])
                .map(|set| set.len())
                .map_err(|e| e.to_string())
        };
        assert_eq!(set(24, [2, 2, 3], &[1, 0]), Ok(2));
        for (pixels, size, labels, what) in [
            (0, [2, 2, 3], &[][..], "whole images of 2 x 2 x 3"),
            (13, [2, 2, 3], &[], "13 bytes"),
            (24, [2, 2, 2], &[], "2 asked for"),
            (24, [0, 2, 3], &[], "0x2 asked for"),
            (24, [2, 2, 3], &[0], "a label for each of 2 images"),
            (
                24,
                [2, 2, 3],
                &[0, 2],
                "label 2 is of none of the 2 classes",
            ),
        ] {
            let error = set(pixels, size, labels).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
        let error = crate::data::open(IN_MEMORY, &Default::default()).unwrap_err();
        assert!(error.to_string().contains("--data"), "{error}");
    }
}
