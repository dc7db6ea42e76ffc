//! The parameter store: every trained number of a model in one buffer, or in as few as the device
//! can bind, by name.
//!
//! Each parameter starts on the 256-byte alignment that bindings need, so layers see ordinary
//! tensors while the optimiser walks a whole buffer in one dispatch. Parameters that weight decay
//! reaches come first.

use super::arena::{self, Arena, HostTensors, SavedTensor, TensorSource, on_the_host};
use super::init::{Draws, Init};
use super::layout::{ALIGN, Layout, Slot, Unplaced};
use super::shard;
use crate::gpu::{DType, Gpu, Tensor};
use crate::{Error, Result, memory};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Elements that are drawn and sent to the device at a time: 64 MiB.
const WINDOW: usize = (1 << 18) * ALIGN;

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

    /// Allocates the buffers and fills in the initial values of `seed`.
    ///
    /// # Errors
    /// If nothing was declared, a name occurs twice, a shape holds no element, an initial value is
    /// not finite, or the device cannot hold it all.
    pub fn build(self, gpu: &Gpu, seed: u64) -> Result<Parameters> {
        self.build_by(gpu, seed, WINDOW)
    }

    /// [`Builder::build`], of which so many elements at most lie in the host's memory at a time, a
    /// multiple of [`ALIGN`].
    fn build_by(self, gpu: &Gpu, seed: u64, window: usize) -> Result<Parameters> {
        let layout = self.fitting(gpu, window)?;
        let mut parts = Vec::with_capacity(layout.parts.len());
        for (i, part) in layout.parts.iter().enumerate() {
            if part.len <= window {
                let content = self.content(&layout, i, 0..part.len, seed);
                parts.push(Tensor::from_slice(gpu, &[part.len], &content)?);
                if layout.parts.len() > 1 {
                    gpu.send_uploads()?;
                }
                continue;
            }
            let tensor = Tensor::empty(gpu, &[part.len], DType::F32)?;
            for start in (0..part.len).step_by(window) {
                let end = part.len.min(start + window);
                let content = self.content(&layout, i, start..end, seed);
                tensor.view(start, &[end - start])?.write(&content)?;
                gpu.send_uploads()?;
            }
            parts.push(tensor);
        }
        Parameters::over(Arena::over(Arc::new(layout), parts))
    }

    /// Returns the initial content of elements of a part, by its number.
    fn content(&self, layout: &Layout, part: usize, window: Range<usize>, seed: u64) -> Vec<f32> {
        let mut content = vec![0f32; window.len()];
        let slots = layout.slots.iter().zip(&self.declared);
        let own = slots.filter(|(slot, _)| !slot.omitted && slot.part == part);
        let mut own: Vec<(&Slot, &Declared)> = own.collect();
        own.sort_unstable_by_key(|(slot, _)| slot.start);
        let (mut rest, mut at, mut draws) = (&mut content[..], window.start, Draws::default());
        for (slot, declared) in own {
            let from = slot.start.max(window.start);
            let to = (slot.start + slot.len()).min(window.end);
            if from >= to {
                continue;
            }
            let (here, after) = rest[from - at..].split_at_mut(to - from);
            let first = from - slot.start;
            draws.add(declared.init, (seed, &slot.name), first, here);
            (rest, at) = (after, to);
        }
        draws.draw();
        content
    }

    /// Checks that [`Builder::build`] can make them. Nothing is allocated.
    ///
    /// # Errors
    /// As [`Builder::build`], but for initial values.
    pub fn check(&self, gpu: &Gpu) -> Result<()> {
        self.fitting(gpu, WINDOW).map(drop)
    }

    /// Returns the layout, held against what the device and this process may hold where so many
    /// elements at most lie in the host's memory at a time.
    fn fitting(&self, gpu: &Gpu, window: usize) -> Result<Layout> {
        let layout = self.layout(gpu)?;
        let limit = gpu.limits().max_buffer_size;
        let most = layout.kept().max_by_key(|slot| slot.len());
        if let Some(slot) = most.filter(|slot| 4 * slot.len() as u64 > limit) {
            let (what, asked) = (
                format!("the parameter `{}`", slot.name),
                4 * slot.len() as u64,
            );
            return Err(Error::Limit { what, asked, limit });
        }
        let what = format!("the {} parameters of the model", layout.len());
        let on_host = gpu.info().device_type == wgpu::DeviceType::Cpu;
        let lengths: Vec<usize> = layout.parts.iter().map(|part| part.len).collect();
        memory::check_available(what, Some(host_bytes(&lengths, window, on_host)))?;
        Ok(layout)
    }

    /// Returns the numbers of all parameters, and those of each part of the arena that they lie in.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(dead_code, reason = "for what has a folder")
    )]
    pub(crate) fn sizes(&self, gpu: &Gpu) -> Result<(usize, Vec<usize>)> {
        let layout = self.layout(gpu)?;
        let numbers = layout.kept().map(Slot::len).sum();
        Ok((numbers, layout.parts.iter().map(|part| part.len).collect()))
    }

    /// Returns the lengths of the pieces of the arena's parts that each of so many ranks has, where
    /// they share what is kept of the parameters.
    #[cfg_attr(
        target_arch = "wasm32",
        expect(dead_code, reason = "for what has a folder")
    )]
    pub(crate) fn shares(&self, gpu: &Gpu, ranks: usize) -> Result<Vec<Vec<usize>>> {
        let layout = self.layout(gpu)?;
        let of = |rank| {
            let pieces = shard::pieces(&layout, rank, ranks).into_iter();
            pieces.map(|piece| piece.len).collect()
        };
        Ok((0..ranks).map(of).collect())
    }

    fn layout(&self, gpu: &Gpu) -> Result<Layout> {
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
        let unplaced = self.declared.iter().map(|d| Unplaced {
            name: &d.name,
            shape: &d.shape,
            decays: d.decays,
            omitted: d.omitted,
        });
        let most = gpu.parameter_part_bytes() / 4;
        Layout::of(
            &unplaced.collect::<Vec<_>>(),
            usize::try_from(most).unwrap_or(usize::MAX),
        )
    }
}

/// Returns the bytes of the host's memory that it takes to make parts of these lengths: a window of
/// initial values, and the copy of it that is on its way to the device; and where the host is the
/// device (`on_host`), the parts themselves.
fn host_bytes(lengths: &[usize], window: usize, on_host: bool) -> u64 {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let parts: u64 = match on_host {
        true => lengths.iter().map(|len| *len as u64).sum(),
        false => 0,
    };
    4 * (2 * longest.min(window) as u64 + parts)
}

/// The parameters of a model. Clones are cheap and share the buffers; [`Parameters::duplicate`]
/// makes others.
#[derive(Clone, Debug)]
pub struct Parameters {
    arena: Arena,
    views: Arc<[Tensor]>,
}

impl Parameters {
    /// Starts declaring.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn over(arena: Arena) -> Result<Parameters> {
        let views = arena.views()?.into();
        Ok(Parameters { arena, views })
    }

    /// Returns the parameter behind a handle: a view of its buffer.
    ///
    /// # Errors
    /// If the handle comes from another builder, or the parameter was left out
    /// ([`Builder::retain`]).
    pub fn get(&self, handle: Handle) -> Result<&Tensor> {
        if let Some(slot) = self
            .layout()
            .slots
            .get(handle.0)
            .filter(|slot| slot.omitted)
        {
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
        self.layout()
            .slots
            .iter()
            .position(|slot| slot.name == name)
            .map(Handle)
    }

    /// Returns the name of the parameter behind a handle; empty for another builder's handle.
    pub fn name(&self, handle: Handle) -> &str {
        self.layout()
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
        self.layout().kept().map(|slot| slot.name.as_str())
    }

    /// Trained numbers in all.
    pub fn count(&self) -> usize {
        self.layout().kept().map(Slot::len).sum()
    }

    /// Returns the buffers, f32 `[N]` each: every parameter at a multiple of 64 elements of one of
    /// them, and 0 between them. There are several where one binding of the device would not hold
    /// all parameters ([`Options::parameter_part`](crate::gpu::Options)); one behind the other,
    /// they are what a single one would be.
    pub fn parts(&self) -> &[Tensor] {
        self.arena.parts()
    }

    /// Elements at the start of all [`Parameters::parts`] that weight decay reaches.
    pub fn decay_len(&self) -> usize {
        self.layout().decay_len
    }

    /// Returns the engine.
    pub fn gpu(&self) -> &Gpu {
        self.parts()[0].gpu()
    }

    pub(crate) fn layout(&self) -> &Arc<Layout> {
        self.arena.layout()
    }

    /// Returns a copy in buffers of its own, under the same handles.
    pub fn duplicate(&self) -> Result<Parameters> {
        Parameters::over(self.arena.duplicate()?)
    }

    /// Every parameter on the host, by name. Waits for the device.
    pub fn to_host(&self) -> Result<HostTensors> {
        on_the_host(self.saved())
    }

    /// Returns the parameters, each to be read when it is saved.
    pub(crate) fn saved(&self) -> Vec<SavedTensor> {
        self.arena.saved(false, f32::from_bits)
    }

    /// Overwrites every parameter from tensors by name.
    ///
    /// # Errors
    /// If one is missing, unexpected or of another shape; nothing is changed then.
    pub fn load_host(&self, tensors: &HostTensors) -> Result<()> {
        self.load(tensors)
    }

    /// Checks that [`Parameters::load`] takes these tensors.
    ///
    /// # Errors
    /// If one is missing, unexpected or of another shape.
    pub(crate) fn check(&self, tensors: &dyn TensorSource) -> Result<()> {
        arena::check(self.layout(), "weights", tensors)
    }

    /// [`Parameters::load_host`] of tensors that are read one at a time.
    ///
    /// # Errors
    /// As [`Parameters::load_host`], and if one cannot be read.
    pub(crate) fn load(&self, tensors: &dyn TensorSource) -> Result<()> {
        self.arena.load("weights", tensors)
    }

    /// Creates a zeroed arena of this layout.
    pub(crate) fn zeros(&self, dtype: DType) -> Result<Arena> {
        Arena::zeros(self.gpu(), self.layout(), dtype)
    }
}

#[cfg(test)]
mod tests;
