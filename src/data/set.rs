//! Images of one size, and what is known of each.

use super::Pixels;
use crate::{Error, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Images of one size, with what is known of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// The name of a named set, or the file or folder that they came from.
    pub name: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Numbers in a pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[N, H, W, C]`, 0..=255, in memory or on disk.
    pub pixels: Pixels,
    /// Metadata of each image, in their order.
    pub items: Vec<Item>,
    /// The classes' names; [`Item::class`] is an index into them. Empty where the source has no
    /// classes.
    pub classes: Vec<String>,
    /// Notes for the user: files skipped, sizes changed, which split was used.
    pub notes: Vec<String>,
    /// The images to train on, ascending.
    pub train: Vec<u32>,
    /// The images held out, ascending.
    pub test: Vec<u32>,
}

/// Metadata of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Unique within the set: a short name, a path below the folder (with `/`), a position.
    pub name: String,
    /// Shared by the variants of one image, so that they come on one side of the split.
    pub group: u64,
    /// Index into [`ImageSet::classes`].
    pub class: Option<u32>,
    /// The image in words.
    pub caption: Option<String>,
    /// A file of the caption as an encoder from elsewhere made it.
    pub embedding: Option<PathBuf>,
}

impl ImageSet {
    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no image. [`open`](crate::data::open) never gives such a set.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes in one image: height x width x channels.
    pub fn image_bytes(&self) -> usize {
        self.width * self.height * self.channels
    }

    /// Image `i`, `[H, W, C]`.
    ///
    /// # Errors
    /// If there is no such image; of a set on disk also if its file can no longer be read, and
    /// the error names that.
    pub fn image(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        if i >= self.len() {
            return Err(Error::invalid(
                "image",
                format!("image {i} of {}, which has {}", self.name, self.len()),
            ));
        }
        match &self.pixels {
            Pixels::Memory(pixels) => {
                let bytes = self.image_bytes();
                let image = pixels.get(i * bytes..(i + 1) * bytes);
                image
                    .map(Cow::Borrowed)
                    .ok_or_else(|| Error::data(format!("{}: image {i} is short", self.name)))
            }
            Pixels::Stored(store) => store.image(i).map(Cow::Owned),
        }
    }

    /// The images that `indices` names, one after another, `[indices, H, W, C]`.
    ///
    /// # Errors
    /// If an index is past the last image, or as [`ImageSet::image`].
    pub fn gather(&self, indices: &[u32]) -> Result<Vec<u8>> {
        let bytes = self.image_bytes();
        let mut out = vec![0; indices.len() * bytes];
        let fill = |(out, &i): (&mut [u8], &u32)| -> Result<()> {
            out.copy_from_slice(&self.image(i as usize)?);
            Ok(())
        };
        match self.pixels {
            Pixels::Memory(_) => out
                .chunks_mut(bytes.max(1))
                .zip(indices)
                .try_for_each(fill)?,
            // Reading and decoding are worth a thread each; the copy above is not.
            Pixels::Stored(_) => out
                .par_chunks_mut(bytes.max(1))
                .zip(indices)
                .try_for_each(fill)?,
        }
        Ok(out)
    }

    /// Returns the name of image `i`'s class.
    pub fn class_name(&self, i: usize) -> Option<&str> {
        let class = self.items.get(i)?.class?;
        self.classes.get(class as usize).map(String::as_str)
    }

    /// SHA-256 in hexadecimal over everything that training can see: size, pixels, items, classes
    /// and split, but not where the set came from. Equal hashes mean that a run can be resumed
    /// on this set.
    ///
    /// For a set on disk, which may be terabytes, not the pixels are summed but each image's
    /// name, the length and both ends (4 KiB) of its file, and the size at which it is kept. A file
    /// changed in its middle alone is not noticed.
    pub fn sha256(&self) -> String {
        // By its place beside the set's file, which moves with it.
        let base = Path::new(&self.name).parent().unwrap_or(Path::new(""));
        self.sum(|embedding| embedding.strip_prefix(base).unwrap_or(embedding))
    }

    /// Whether this is the set whose [`ImageSet::sha256`] was `sum`. Sums of earlier versions count
    /// too, in which the paths of embeddings stood as they were found.
    pub fn is_of_sum(&self, sum: &str) -> bool {
        let embeddings = || self.items.iter().any(|item| item.embedding.is_some());
        self.sha256() == sum || (embeddings() && self.sum(|embedding| embedding) == sum)
    }

    /// Says in which place the pixels lie, and how they come to lie in the other one: their sum
    /// differs with it, and which of the two it is may follow from the memory that was free.
    pub(crate) fn place_of_pixels(&self) -> String {
        let (here, there) = match self.pixels {
            Pixels::Memory(_) => ("in memory", "disk"),
            Pixels::Stored(_) => ("on disk", "memory"),
        };
        format!(
            "Its pixels lie {here} now; if they did not then, `--set data.store={there}` has them \
             there"
        )
    }

    fn sum(&self, embedding_path: impl Fn(&Path) -> &Path) -> String {
        let mut hash = Sha256::new();
        let number = |hash: &mut Sha256, n: u64| hash.update(n.to_le_bytes());
        let text = |hash: &mut Sha256, s: &str| {
            hash.update((s.len() as u64).to_le_bytes());
            hash.update(s);
        };
        for n in [
            self.width,
            self.height,
            self.channels,
            self.items.len(),
            self.classes.len(),
            self.train.len(),
        ] {
            number(&mut hash, n as u64);
        }
        for item in &self.items {
            text(&mut hash, &item.name);
            number(&mut hash, item.group);
            number(
                &mut hash,
                item.class.map_or(0, |class| u64::from(class) + 1),
            );
            number(&mut hash, u64::from(item.caption.is_some()));
            text(&mut hash, item.caption.as_deref().unwrap_or(""));
            // Sets without such files keep the sums that they had.
            if let Some(embedding) = &item.embedding {
                text(&mut hash, &embedding_path(embedding).to_string_lossy());
            }
        }
        for class in &self.classes {
            text(&mut hash, class);
        }
        for &i in self.train.iter().chain(&self.test) {
            number(&mut hash, u64::from(i));
        }
        match &self.pixels {
            Pixels::Memory(pixels) => hash.update(pixels),
            Pixels::Stored(store) => hash.update(store.sum()),
        }
        hex::encode(hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> ImageSet {
        ImageSet {
            name: "toy".into(),
            width: 2,
            height: 1,
            channels: 1,
            pixels: vec![1, 2, 3, 4].into(),
            items: [10, 11]
                .iter()
                .enumerate()
                .map(|(i, &group)| Item {
                    name: i.to_string(),
                    group,
                    class: None,
                    caption: None,
                    embedding: None,
                })
                .collect(),
            classes: vec!["a".into()],
            notes: vec![],
            train: vec![1],
            test: vec![0],
        }
    }

    #[test]
    fn images_are_slices_and_none_is_past_the_end() {
        let set = set();
        assert_eq!(*set.image(1).unwrap(), [3, 4]);
        for i in [2, usize::MAX] {
            assert!(
                set.image(i)
                    .unwrap_err()
                    .to_string()
                    .contains("of toy, which has 2")
            );
        }
        assert_eq!(set.gather(&[1, 0, 1]).unwrap(), [3, 4, 1, 2, 3, 4]);
        assert!(
            set.gather(&[2])
                .unwrap_err()
                .to_string()
                .contains("image 2 of toy, which has 2")
        );
    }

    #[test]
    fn the_sum_sees_everything_but_the_source() {
        let sum = set().sha256();
        assert_eq!(sum.len(), 64);
        assert_eq!(
            ImageSet {
                name: "elsewhere".into(),
                notes: vec!["n".into()],
                ..set()
            }
            .sha256(),
            sum
        );
        // Files of embeddings count by their places beside the set's own.
        let at = |folder: &str, file: &str| {
            let mut set = ImageSet {
                name: format!("{folder}/set.jsonl"),
                ..set()
            };
            set.items[0].embedding = Some(Path::new(folder).join(file));
            set
        };
        assert_eq!(
            at("here", "e.npy").sha256(),
            at("/moved/there", "e.npy").sha256()
        );
        assert_ne!(at("here", "e.npy").sha256(), at("here", "f.npy").sha256());
        let as_found = at("here", "e.npy").sum(|path| path);
        assert!(
            at("here", "e.npy").is_of_sum(&as_found) && !at("there", "e.npy").is_of_sum(&as_found)
        );
        assert!(set().is_of_sum(&sum) && !set().is_of_sum(&as_found));
        let mut changed = [set(), set(), set(), set(), set(), set()];
        changed[0].pixels = vec![1, 2, 3, 5].into();
        changed[1].items[0].group = 20;
        changed[2].items[1].caption = Some(String::new());
        changed[3].items[1].class = Some(0);
        changed[4].classes[0].push('b');
        (changed[5].train, changed[5].test) = (vec![], vec![1, 0]);
        for set in &changed {
            assert_ne!(set.sha256(), sum, "{set:?}");
        }
    }
}
