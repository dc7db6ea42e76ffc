//! Images to train on: a source by name, or arrays.

use crate::errors::OrRaise;
use numpy::{PyReadonlyArray1, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::prelude::*;
use wgvq::data::{self, ImageSet, Options};
use wgvq::{Error, Result};

/// Images in memory, as Python hands them over: u8 [N, H, W, C], a label for each and the names of
/// the classes, and how many of the last images are held out.
#[derive(FromPyObject)]
pub struct Arrays<'py> {
    #[pyo3(item)]
    images: PyReadonlyArray4<'py, u8>,
    #[pyo3(item)]
    labels: Option<PyReadonlyArray1<'py, u32>>,
    #[pyo3(item)]
    classes: Vec<String>,
    /// The captions, where they are known.
    #[pyo3(item)]
    captions: Option<Vec<Option<String>>>,
    #[pyo3(item)]
    held_out: usize,
}

/// The source of images, as a caller names it.
#[derive(FromPyObject)]
pub enum Source<'py> {
    /// A source by name, as the command line takes it.
    Name(String),
    /// Images in memory.
    Memory(Arrays<'py>),
}

/// Images in memory, out of the interpreter's hands.
pub struct Memory {
    pixels: Vec<u8>,
    /// Width, height and channels.
    pub size: [usize; 3],
    labels: Vec<u32>,
    classes: Vec<String>,
    captions: Vec<Option<String>>,
    held_out: usize,
}

/// A source that outlives the interpreter's lock.
pub enum Owned {
    Name(String),
    Memory(Memory),
}

impl Source<'_> {
    /// Copies what the arrays hold: training reads them as it goes, and the caller may change them.
    pub fn own(&self) -> PyResult<Owned> {
        let arrays = match self {
            Source::Name(name) => return Ok(Owned::Name(name.clone())),
            Source::Memory(arrays) => arrays,
        };
        let &[_, height, width, channels] = arrays.images.shape() else {
            unreachable!("the array has four dimensions");
        };
        let labels = arrays.labels.as_ref().map(|l| l.as_slice()).transpose()?;
        Ok(Owned::Memory(Memory {
            pixels: arrays.images.as_slice()?.to_vec(),
            size: [width, height, channels],
            labels: labels.unwrap_or_default().to_vec(),
            classes: arrays.classes.clone(),
            captions: arrays.captions.clone().unwrap_or_default(),
            held_out: arrays.held_out,
        }))
    }
}

impl Owned {
    /// Opens the images. Those in memory are as they are, of whatever size the options speak.
    ///
    /// # Errors
    /// If there are none, or they cannot be read.
    pub fn open(self, options: &Options) -> Result<ImageSet> {
        let memory = match self {
            Owned::Name(name) => return data::open(&name, options),
            Owned::Memory(memory) => memory,
        };
        if options.test_files.is_some() {
            let what = "names files, and arrays have none: leave it out, and say by `held_out` how \
                        many images at the end are";
            return Err(Error::config("data.test_files", what));
        }
        let held_out = memory.held_out;
        let mut set =
            ImageSet::from_memory(memory.pixels, memory.size, &memory.labels, memory.classes)?;
        for (item, caption) in set.items.iter_mut().zip(memory.captions) {
            item.caption = caption;
        }
        if held_out > 0 {
            let (all, first) = (set.len() as u32, (set.len() - held_out) as u32);
            (set.train, set.test) = ((0..first).collect(), (first..all).collect());
            set.notes.clear();
        }
        Ok(set)
    }
}

/// Opens images of a source without the interpreter's lock.
pub fn open(py: Python, source: &Source, options: &Options) -> PyResult<ImageSet> {
    let owned = source.own()?;
    py.detach(|| owned.open(options)).or_raise()
}
