//! Arenas: buffers with a word for each element of a layout of parameters, one to each part.

use super::layout::{Layout, Slot};
use crate::gpu::{DType, Gpu, Tensor};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tensors of the host by name, each a shape and its elements, row-major: what checkpoints hold.
pub type HostTensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Bytes of uploads after which they are sent: the copies that they are made from take memory
/// until then.
pub(super) const UPLOADS: usize = 64 << 20;
/// Bytes of a part that is read whole where one of its parameters is asked for: others of it are
/// asked for next.
const READ_WHOLE: u64 = 64 << 20;

/// Tensors of f32 by name that are read one at a time.
pub(crate) trait TensorSource {
    /// Returns the shapes, by name.
    fn shapes(&self) -> BTreeMap<&str, &[usize]>;

    /// Checks that each has as many elements as its shape says, of a type that is read, as far as
    /// that is known before they are read. `what` names them in errors.
    ///
    /// # Errors
    /// If not; the message names the tensor.
    fn check(&self, what: &str) -> Result<()>;

    /// Returns the elements of one of them.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>>;
}

impl TensorSource for HostTensors {
    fn shapes(&self) -> BTreeMap<&str, &[usize]> {
        let shapes = self.iter().map(|(name, (shape, _))| (&**name, &**shape));
        shapes.collect()
    }

    fn check(&self, what: &str) -> Result<()> {
        for (name, (shape, values)) in self {
            if values.len() != shape.iter().product::<usize>() {
                return Err(Error::data(format!(
                    "{what}: `{name}` has shape {shape:?} with {} values",
                    values.len()
                )));
            }
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let values = self.get(name).map(|(_, values)| values.as_slice());
        Ok(values.unwrap_or_default().into())
    }
}

/// Checks that a source has the tensors of the parameters of a layout, whole. `what` names them in
/// errors.
///
/// # Errors
/// If one is missing, unexpected, of another shape, or cannot be read as what it is.
pub(super) fn check(layout: &Layout, what: &str, source: &dyn TensorSource) -> Result<()> {
    layout.check(what, &source.shapes())?;
    source.check(what)
}

/// A tensor that is read from the device when it is saved: what it holds then is what is saved.
pub(crate) struct SavedTensor {
    /// Its parameter's name.
    pub(crate) name: String,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Whether all of its values are bfloat16's.
    pub(crate) bf16: bool,
    read: Box<dyn Fn() -> Result<Vec<f32>> + Send + Sync>,
}

impl SavedTensor {
    /// Creates the tensor of a parameter, whose elements `read` returns.
    pub(super) fn new(
        slot: &Slot,
        bf16: bool,
        read: impl Fn() -> Result<Vec<f32>> + Send + Sync + 'static,
    ) -> SavedTensor {
        SavedTensor {
            name: slot.name.clone(),
            shape: slot.shape.clone(),
            bf16,
            read: Box::new(read),
        }
    }

    /// Returns its elements. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn read(&self) -> Result<Vec<f32>> {
        (self.read)()
    }
}

/// Returns tensors as they are now.
///
/// # Errors
/// If the device fails.
pub(super) fn on_the_host(tensors: Vec<SavedTensor>) -> Result<HostTensors> {
    let host = |t: SavedTensor| Ok((t.name.clone(), (t.shape.clone(), t.read()?)));
    tensors.into_iter().map(host).collect()
}

/// The buffers, of f32 or of whole words, with 0 between the parameters. Clones are cheap and share
/// them.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    layout: Arc<Layout>,
    parts: Arc<[Tensor]>,
}

/// A part, by its number, and its words.
type WordsOfPart = (usize, Vec<u32>);

impl Arena {
    /// Creates an arena over buffers, one to each part.
    pub(super) fn over(layout: Arc<Layout>, parts: Vec<Tensor>) -> Arena {
        Arena {
            layout,
            parts: parts.into(),
        }
    }

    /// Creates an arena of zeros.
    pub(super) fn zeros(gpu: &Gpu, layout: &Arc<Layout>, dtype: DType) -> Result<Arena> {
        let parts = layout.parts.iter();
        let parts = parts.map(|part| Tensor::zeros(gpu, &[part.len], dtype));
        Ok(Arena::over(layout.clone(), parts.collect::<Result<_>>()?))
    }

    /// Returns a copy in buffers of its own.
    pub(super) fn duplicate(&self) -> Result<Arena> {
        let parts = self.parts.iter().map(Tensor::duplicate);
        Ok(Arena::over(
            self.layout.clone(),
            parts.collect::<Result<_>>()?,
        ))
    }

    pub(super) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Returns the buffers, one to each part.
    pub(crate) fn parts(&self) -> &[Tensor] {
        &self.parts
    }

    fn view(&self, slot: &Slot) -> Result<Tensor> {
        match slot.omitted {
            true => self.parts[0].view(0, &[0]),
            false => self.parts[slot.part].view(slot.start, &slot.shape),
        }
    }

    /// Creates a tensor for each parameter.
    pub(super) fn views(&self) -> Result<Vec<Tensor>> {
        let slots = self.layout.slots.iter();
        slots.map(|slot| self.view(slot)).collect()
    }

    /// Returns the parameters' tensors, whose values `value` makes of the arena's words.
    pub(super) fn saved(&self, bf16: bool, value: fn(u32) -> f32) -> Vec<SavedTensor> {
        // The part that was read last, where it is small.
        let newest: Arc<Mutex<Option<WordsOfPart>>> = Arc::default();
        let kept = self.layout.kept();
        kept.map(|slot| {
            let (arena, newest) = (self.clone(), newest.clone());
            let (part, start, shape) = (slot.part, slot.start, slot.shape.clone());
            let read = move || -> Result<Vec<f32>> {
                let tensor = &arena.parts[part];
                let n: usize = shape.iter().product();
                if 4 * tensor.len() as u64 > READ_WHOLE {
                    let words = words(&tensor.view(start, &[n])?)?;
                    return Ok(words.into_iter().map(value).collect());
                }
                let mut newest = newest.lock();
                if newest.as_ref().is_none_or(|(read, _)| *read != part) {
                    *newest = Some((part, words(tensor)?));
                }
                let whole = newest.as_ref().map(|(_, words)| &words[..]);
                let own = &whole.unwrap_or_default()[start..][..n];
                Ok(own.iter().copied().map(value).collect())
            };
            SavedTensor::new(slot, bf16, read)
        })
        .collect()
    }

    /// Overwrites every parameter's elements with those of `source`. `what` names it in errors.
    ///
    /// # Errors
    /// If one is missing, unexpected or of another shape, and nothing is changed then; if one
    /// cannot be read.
    pub(super) fn load(&self, what: &str, source: &dyn TensorSource) -> Result<()> {
        check(&self.layout, what, source)?;
        self.fill(|slot, tensor| {
            let values = elements(what, slot, source)?;
            tensor.write::<f32>(&values)
        })
    }

    /// Overwrites every parameter's words with those that `join` makes of the values of two
    /// sources, as [`Arena::load`] does.
    pub(super) fn load_joined(
        &self,
        sources: [(&str, &dyn TensorSource); 2],
        join: fn(f32, f32) -> u32,
    ) -> Result<()> {
        for (what, source) in sources {
            check(&self.layout, what, source)?;
        }
        self.fill(|slot, tensor| {
            let [one, other] = sources.map(|(what, source)| elements(what, slot, source));
            let (one, other) = (one?, other?);
            let pairs = one.iter().zip(&*other);
            let words: Vec<u32> = pairs.map(|(a, b)| join(*a, *b)).collect();
            tensor.write(&words)
        })
    }

    fn fill(&self, write: impl Fn(&Slot, &Tensor) -> Result<()>) -> Result<()> {
        let mut waiting = 0;
        for slot in self.layout.kept() {
            write(slot, &self.view(slot)?)?;
            waiting += 4 * slot.len();
            if waiting >= UPLOADS {
                self.parts[0].gpu().send_uploads()?;
                waiting = 0;
            }
        }
        Ok(())
    }
}

/// Returns the elements of a parameter in `source`.
fn elements<'a>(what: &str, slot: &Slot, source: &'a dyn TensorSource) -> Result<Cow<'a, [f32]>> {
    let values = source.read(&slot.name)?;
    if values.len() == slot.len() {
        return Ok(values);
    }
    Err(Error::data(format!(
        "{what}: `{}` of shape {:?} has {} values",
        slot.name,
        slot.shape,
        values.len()
    )))
}

/// Returns the elements of a tensor of f32 or u32 as words. Waits for the device.
pub(super) fn words(tensor: &Tensor) -> Result<Vec<u32>> {
    match tensor.dtype() {
        DType::F32 => Ok(bytemuck::cast_vec(tensor.read::<f32>()?)),
        _ => tensor.read(),
    }
}
