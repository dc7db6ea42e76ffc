//! The parameter store: every trained number of a model in one buffer, by name.
//!
//! Each parameter starts on the 256-byte alignment that bindings need, so layers see ordinary
//! tensors while the optimiser walks the whole buffer in one dispatch. Parameters that weight decay
//! reaches come first.

use crate::gpu::{DType, Gpu, Tensor};
use crate::ops::sampling::random::{Key, philox};
use crate::{Error, Result, memory};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tensors of the host by name, each a shape and its elements, row-major: what checkpoints hold.
pub type HostTensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Initial values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// This number everywhere.
    Constant(f32),
    /// Uniform in [-bound, bound).
    Uniform(f32),
    /// Normal of mean 0 and this standard deviation.
    Normal(f32),
}

/// The stream of random numbers that initial values are drawn from; the step is the hash of the
/// parameter's name.
const INIT_STREAM: u32 = 0x696e_6974;
/// Elements in 256 bytes.
const ALIGN: usize = 64;

impl Init {
    /// Returns the first `n` values for the parameter called `name`: they depend on the seed and
    /// the name alone, so a layer more or less changes no other layer.
    pub(super) fn values(self, seed: u64, name: &str, n: usize) -> Vec<f32> {
        let hash = Sha256::digest(name.as_bytes());
        let step = hash
            .iter()
            .take(8)
            .fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let key = Key {
            seed,
            step,
            stream: INIT_STREAM,
        };
        match self {
            Init::Zeros | Init::Uniform(0.0) => vec![0.0; n],
            Init::Ones => vec![1.0; n],
            Init::Constant(value) => vec![value; n],
            Init::Uniform(bound) => philox::uniform(key, -bound, bound, n),
            Init::Normal(std) => philox::normal(key, n)
                .into_iter()
                .map(|x| std * x)
                .collect(),
        }
    }

    fn check(self, name: &str) -> Result<()> {
        let (what, value, ok) = match self {
            Init::Zeros | Init::Ones => return Ok(()),
            Init::Constant(v) => ("constant", v, v.is_finite()),
            Init::Uniform(v) => ("uniform bound", v, v >= 0.0 && (2.0 * v).is_finite()),
            Init::Normal(v) => ("standard deviation", v, v >= 0.0 && v.is_finite()),
        };
        if ok {
            Ok(())
        } else {
            Err(Error::invalid(
                "parameters",
                format!("`{name}`: a {what} of {value}"),
            ))
        }
    }
}

/// One parameter of a [`Parameters`], as its [`Builder`] returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(usize);

impl Handle {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

struct Declared {
    name: String,
    shape: Vec<usize>,
    init: Init,
    decays: bool,
    omitted: bool,
}

/// Collects declarations, then [`Builder::build`]s the store.
#[derive(Default)]
pub struct Builder {
    declared: Vec<Declared>,
}

impl Builder {
    /// Declares a parameter. Names are dotted paths (`encoder.conv1.weight`); each may occur once.
    ///
    /// Weight decay reaches parameters of two dimensions and more, that is weights and not biases
    /// or the gains of norms; see [`Builder::without_decay`].
    pub fn declare(&mut self, name: impl Into<String>, shape: &[usize], init: Init) -> Handle {
        let decays = shape.len() >= 2;
        self.declared.push(Declared {
            name: name.into(),
            shape: shape.to_vec(),
            init,
            decays,
            omitted: false,
        });
        Handle(self.declared.len() - 1)
    }

    /// Keeps weight decay away from a parameter: a codebook or an embedding.
    pub fn without_decay(&mut self, handle: Handle) {
        if let Some(declared) = self.declared.get_mut(handle.0) {
            declared.decays = false;
        }
    }

    /// Declarations so far.
    pub fn len(&self) -> usize {
        self.declared.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.declared.is_empty()
    }

    /// Renames the declarations from the `from`-th on: for a part that a model has several times.
    pub fn rename(&mut self, from: usize, name: impl Fn(&str) -> String) {
        self.declared
            .iter_mut()
            .skip(from)
            .for_each(|d| d.name = name(&d.name));
    }

    /// Leaves out what a part of the model does without: what `keep` refuses takes no memory, is
    /// not saved, loaded or counted, and cannot be used.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.declared
            .iter_mut()
            .for_each(|d| d.omitted = !keep(&d.name));
    }

    /// Allocates the buffer and fills in the initial values of `seed`.
    ///
    /// # Errors
    /// If nothing was declared, a name occurs twice, a shape holds no element, an initial value is
    /// not finite, or the device cannot hold it all.
    pub fn build(self, gpu: &Gpu, seed: u64) -> Result<Parameters> {
        let layout = self.fitting(gpu)?;
        let mut content = vec![0f32; layout.len];
        for (slot, declared) in layout
            .slots
            .iter()
            .zip(&self.declared)
            .filter(|(slot, _)| !slot.omitted)
        {
            let n = slot.len();
            content[slot.start..][..n].copy_from_slice(&declared.init.values(seed, &slot.name, n));
        }
        let arena = Tensor::from_slice(gpu, &[layout.len], &content)?;
        Parameters::over(Arc::new(layout), arena)
    }

    /// Checks that [`Builder::build`] can make them. Nothing is allocated.
    ///
    /// # Errors
    /// As [`Builder::build`], but for initial values.
    pub fn check(&self, gpu: &Gpu) -> Result<()> {
        self.fitting(gpu).map(drop)
    }

    /// Returns the layout, held against what the device and this process may hold.
    fn fitting(&self, gpu: &Gpu) -> Result<Layout> {
        let layout = self.layout()?;
        let what = format!("the {} parameters of the model", layout.len);
        let asked = memory::product(&[layout.len, 4]);
        let limit = gpu.limits().max_buffer_size;
        if let Some(asked) = asked.filter(|asked| *asked > limit) {
            return Err(Error::Limit { what, asked, limit });
        }
        memory::check_available(what, asked)?;
        Ok(layout)
    }

    /// Returns the numbers of all parameters, and those of the arena that they lie in.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(dead_code, reason = "for what has a folder")
    )]
    pub(crate) fn sizes(&self) -> Result<(usize, usize)> {
        let numbers = self
            .declared
            .iter()
            .map(|d| d.shape.iter().product::<usize>());
        Ok((numbers.sum(), self.layout()?.len))
    }

    fn layout(&self) -> Result<Layout> {
        let wrong = |what: String| Err(Error::invalid("parameters", what));
        if self.declared.is_empty() {
            return wrong("none was declared; a model needs one at least".into());
        }
        let mut seen = BTreeSet::new();
        for d in &self.declared {
            if !seen.insert(&d.name) {
                return wrong(format!(
                    "`{}` is declared twice; every name must be its own",
                    d.name
                ));
            }
            let size = d
                .shape
                .iter()
                .try_fold(1usize, |n, dim| n.checked_mul(*dim));
            if !size.is_some_and(|n| n > 0 && n <= u32::MAX as usize) {
                return wrong(format!(
                    "`{}` has shape {:?}; it must hold 1 to 2^32 elements",
                    d.name, d.shape
                ));
            }
            d.init.check(&d.name)?;
        }
        let mut starts = vec![0; self.declared.len()];
        let (mut len, mut decay_len) = (0usize, 0);
        for decays in [true, false] {
            for (start, d) in starts
                .iter_mut()
                .zip(&self.declared)
                .filter(|(_, d)| d.decays == decays && !d.omitted)
            {
                *start = len;
                let more = d.shape.iter().product::<usize>().next_multiple_of(ALIGN);
                let all: Option<usize> = len
                    .checked_add(more)
                    .filter(|all| *all <= isize::MAX as usize / 4);
                let Some(all) = all else {
                    return wrong("they are more than any memory holds".into());
                };
                len = all;
            }
            if decays {
                decay_len = len;
            }
        }
        let slots = starts.into_iter().zip(&self.declared);
        let slot = |(start, d): (usize, &Declared)| {
            let (name, shape) = (d.name.clone(), d.shape.clone());
            Slot {
                name,
                shape,
                start,
                omitted: d.omitted,
            }
        };
        let slots = slots.map(slot).collect();
        if len == 0 {
            return wrong("all were left out; a part of a model needs one at least".into());
        }
        Ok(Layout {
            slots,
            len,
            decay_len,
        })
    }
}

#[derive(Debug)]
struct Slot {
    name: String,
    shape: Vec<usize>,
    /// Elements before it in the arena.
    start: usize,
    /// Whether it is left out of the arena.
    omitted: bool,
}

impl Slot {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Places of the parameters in an arena.
#[derive(Debug)]
pub(crate) struct Layout {
    slots: Vec<Slot>,
    /// Elements of the arena, padding included.
    pub(crate) len: usize,
    /// Elements at its start that weight decay reaches.
    pub(crate) decay_len: usize,
}

impl Layout {
    /// Creates a tensor for each parameter over an arena of this layout.
    pub(crate) fn views(&self, arena: &Tensor) -> Result<Vec<Tensor>> {
        let view = |slot: &Slot| {
            if slot.omitted {
                arena.view(0, &[0])
            } else {
                arena.view(slot.start, &slot.shape)
            }
        };
        self.slots.iter().map(view).collect()
    }

    /// Returns the start of each parameter in an arena and its elements, none of one that is left
    /// out, in the order of declaration.
    pub(super) fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let place = |slot: &Slot| match slot.omitted {
            true => (0, 0),
            false => (slot.start, slot.len()),
        };
        self.slots.iter().map(place)
    }

    fn kept(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.omitted)
    }

    /// The content of an arena, by name.
    pub(crate) fn unpack(&self, arena: &Tensor) -> Result<HostTensors> {
        let content: Vec<f32> = arena.read()?;
        let named = |slot: &Slot| {
            let values = content[slot.start..][..slot.len()].to_vec();
            (slot.name.clone(), (slot.shape.clone(), values))
        };
        Ok(self.kept().map(named).collect())
    }

    /// Returns the content of an arena from tensors by name. `what` names them in errors.
    pub(crate) fn pack(&self, what: &str, tensors: &HostTensors) -> Result<Vec<f32>> {
        let mut content = vec![0f32; self.len];
        for slot in self.kept() {
            let Some((shape, values)) = tensors.get(&slot.name) else {
                return Err(Error::data(format!(
                    "{what}: `{}` of shape {:?} is missing: it is another architecture's, or cut \
                     short",
                    slot.name, slot.shape
                )));
            };
            if *shape != slot.shape || values.len() != slot.len() {
                return Err(Error::data(format!(
                    "{what}: `{}` has shape {shape:?} with {} values, but the model's has shape \
                     {:?}",
                    slot.name,
                    values.len(),
                    slot.shape
                )));
            }
            content[slot.start..][..values.len()].copy_from_slice(values);
        }
        let known: BTreeSet<&str> = self.kept().map(|slot| slot.name.as_str()).collect();
        match tensors.keys().find(|name| !known.contains(name.as_str())) {
            Some(name) => Err(Error::data(format!(
                "{what}: `{name}` is unexpected: the model has no such parameter"
            ))),
            None => Ok(content),
        }
    }
}

/// The parameters of a model. Clones are cheap and share the buffer; [`Parameters::duplicate`]
/// makes another.
#[derive(Clone, Debug)]
pub struct Parameters {
    layout: Arc<Layout>,
    arena: Tensor,
    views: Arc<[Tensor]>,
}

impl Parameters {
    /// Starts declaring.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn over(layout: Arc<Layout>, arena: Tensor) -> Result<Parameters> {
        let views = layout.views(&arena)?.into();
        Ok(Parameters {
            layout,
            arena,
            views,
        })
    }

    /// Returns the parameter behind a handle: a view of the one buffer.
    ///
    /// # Errors
    /// If the handle comes from another builder, or the parameter was left out
    /// ([`Builder::retain`]).
    pub fn get(&self, handle: Handle) -> Result<&Tensor> {
        if let Some(slot) = self.layout.slots.get(handle.0).filter(|slot| slot.omitted) {
            let what = format!(
                "`{}` was left out: this is a part of a model, a decoder say, that does without it",
                slot.name
            );
            return Err(Error::invalid("parameters", what));
        }
        self.views.get(handle.0).ok_or_else(|| {
            let what = format!(
                "handle {} of another model: this one has {} parameters",
                handle.0,
                self.views.len()
            );
            Error::invalid("parameters", what)
        })
    }

    /// Returns the handle of the parameter called `name`.
    pub fn find(&self, name: &str) -> Option<Handle> {
        self.layout
            .slots
            .iter()
            .position(|slot| slot.name == name)
            .map(Handle)
    }

    /// Returns the name of the parameter behind a handle; empty for another builder's handle.
    pub fn name(&self, handle: Handle) -> &str {
        self.layout
            .slots
            .get(handle.0)
            .map_or("", |slot| &slot.name)
    }

    /// Returns all handles, in the order of declaration.
    pub fn handles(&self) -> impl Iterator<Item = Handle> + use<> {
        (0..self.views.len()).map(Handle)
    }

    /// All names but of those left out, in the order of declaration.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.layout.kept().map(|slot| slot.name.as_str())
    }

    /// Trained numbers in all.
    pub fn count(&self) -> usize {
        self.layout.kept().map(Slot::len).sum()
    }

    /// Returns the one buffer, f32 `[N]`: every parameter at a multiple of 64 elements, and 0
    /// between them.
    pub fn arena(&self) -> &Tensor {
        &self.arena
    }

    /// Elements at the start of [`Parameters::arena`] that weight decay reaches.
    pub fn decay_len(&self) -> usize {
        self.layout.decay_len
    }

    /// Returns the engine.
    pub fn gpu(&self) -> &Gpu {
        self.arena.gpu()
    }

    pub(crate) fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Returns a copy in a buffer of its own, under the same handles.
    pub fn duplicate(&self) -> Result<Parameters> {
        Parameters::over(self.layout.clone(), self.arena.duplicate()?)
    }

    /// Every parameter on the host, by name. Waits for the device.
    pub fn to_host(&self) -> Result<HostTensors> {
        self.layout.unpack(&self.arena)
    }

    /// Overwrites every parameter from tensors by name.
    ///
    /// # Errors
    /// If one is missing, unexpected or of another shape; nothing is changed then.
    pub fn load_host(&self, tensors: &HostTensors) -> Result<()> {
        self.arena.write(&self.layout.pack("weights", tensors)?)
    }

    /// Creates a zeroed arena of this layout.
    pub(crate) fn zeros(&self) -> Result<Tensor> {
        Tensor::zeros(self.gpu(), &[self.layout.len], DType::F32)
    }
}

#[cfg(test)]
mod tests;
