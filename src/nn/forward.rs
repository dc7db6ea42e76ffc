//! One forward pass: a tape, the parameters, and the leaves that the parameters are on it.

use super::{Adam, HalfWeights, Handle, Parameters};
use crate::autograd::{Gradients, Place, Tape, Var};
use crate::gpu::{DType, Tensor};
use crate::{Error, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A layer, to be run again on another tape.
type Layer = Box<dyn Fn(&ForwardContext, &Var) -> Result<Var>>;

/// The context of a forward pass: the tape, the parameters, and the options of the pass. A
/// parameter becomes a leaf of the tape at its first use.
pub struct ForwardContext<'a> {
    /// The tape.
    pub tape: &'a Tape,
    params: &'a Parameters,
    activations: DType,
    /// Copies that products read in the parameters' stead.
    halves: Option<HalfWeights>,
    recomputes: bool,
    frozen: bool,
    /// Where gradients should be written, by parameter.
    places: Option<Arc<[Place]>>,
    leaves: RefCell<BTreeMap<Handle, Var>>,
    watched: Option<Handle>,
    /// Sequences of the pass whose bits are wanted, and those of this one.
    among: Option<[usize; 2]>,
    /// The input of the watched parameter's layer, and the layer.
    seen: RefCell<Option<(Tensor, Layer)>>,
}

impl<'a> ForwardContext<'a> {
    /// Creates a pass of `params` over `tape`.
    pub fn new(tape: &'a Tape, params: &'a Parameters) -> Self {
        ForwardContext {
            tape,
            params,
            activations: DType::F32,
            halves: None,
            recomputes: false,
            frozen: false,
            places: None,
            leaves: RefCell::default(),
            watched: None,
            among: None,
            seen: RefCell::default(),
        }
    }

    /// Sets the type in which activations between layers are stored, f32 or f16. Parameters, sums
    /// and gradients stay f32.
    pub fn with_activation_dtype(self, dtype: DType) -> Self {
        ForwardContext {
            activations: dtype,
            ..self
        }
    }

    /// Lets products and convolutions read copies of their weights, where there are some. The
    /// gradients are those of the parameters, in f32.
    pub(crate) fn with_half_weights(self, halves: Option<HalfWeights>) -> Self {
        ForwardContext { halves, ..self }
    }

    /// A pass over another tape that stores and reads as this one does.
    fn alike<'b>(&self, tape: &'b Tape) -> ForwardContext<'b>
    where
        'a: 'b,
    {
        ForwardContext::new(tape, self.params)
            .with_activation_dtype(self.activations)
            .with_half_weights(self.halves.clone())
    }

    /// Turns gradient checkpointing on or off: if on, a [`ForwardContext::checkpoint`] keeps its
    /// input alone, and computes what is inside again in the backward pass (Chen et al. 2016).
    pub fn with_checkpointing(self, on: bool) -> Self {
        ForwardContext {
            recomputes: on,
            ..self
        }
    }

    /// Lets the backward pass write gradients into the optimiser's buffer itself, as far as the
    /// operations can, so that its next step need not copy them. They are its buffer's parts then:
    /// until that step, no other pass may do so.
    pub fn with_gradients_of(self, adam: &Adam) -> Self {
        ForwardContext {
            places: Some(adam.places().clone()),
            ..self
        }
    }

    /// Makes the parameters constants: gradients reach inputs alone.
    pub fn frozen(self) -> Self {
        ForwardContext {
            frozen: true,
            ..self
        }
    }

    /// Keeps the input of the layer of this weight, for [`ForwardContext::watched_gradient`].
    pub fn with_watched(self, weight: Handle) -> Self {
        ForwardContext {
            watched: Some(weight),
            ..self
        }
    }

    /// Lets linear maps add as they do in a pass over `all` sequences, where this one has `own` of
    /// them: how a sum falls into parts depends on the number of rows, and so do the last bits of
    /// it. For passes that are not walked back.
    pub fn among(self, all: usize, own: usize) -> Self {
        ForwardContext {
            among: Some([all, own]),
            ..self
        }
    }

    /// Returns the number of rows by which sums over `rows` rows are to fall into parts, where that
    /// is another.
    pub(super) fn rows_among(&self, rows: usize) -> Option<usize> {
        self.among
            .map(|[all, own]| (rows * all).div_ceil(own.max(1)))
    }

    /// Computes the gradient of the watched weight alone, of `upstream`, a gradient of what its
    /// layer gave: as often as is wanted, before the tape is walked back or after. Where the layer
    /// was used several times, it is of the last.
    ///
    /// # Errors
    /// If no weight is watched, or its layer was not used yet.
    pub fn watched_gradient(&self, upstream: &Tensor) -> Result<Tensor> {
        let seen = self.seen.borrow();
        let missing = || {
            Error::invalid(
                "watched gradient",
                "no weight is watched, or its layer was not used",
            )
        };
        let ((x, layer), weight) = seen.as_ref().zip(self.watched).ok_or_else(missing)?;
        let tape = Tape::new(self.tape.gpu());
        let pass = self.alike(&tape);
        let y = layer(&pass, &tape.constant(x))?;
        let mut gradients = tape.backward_with(&y, upstream.clone())?;
        gradients.take(&pass.param(weight)?).ok_or_else(missing)
    }

    /// Keeps a layer and its input, where its weight is the one that is watched.
    pub(super) fn keep_watched_input(
        &self,
        weight: Handle,
        x: &Var,
        layer: impl Fn(&ForwardContext, &Var) -> Result<Var> + 'static,
    ) {
        if self.watched == Some(weight) {
            *self.seen.borrow_mut() = Some((x.tensor().clone(), Box::new(layer)));
        }
    }

    /// Returns the type in which layers store their activations.
    pub fn activations(&self) -> DType {
        self.activations
    }

    /// Returns the leaf of a parameter.
    pub fn param(&self, handle: Handle) -> Result<Var> {
        self.leaf(handle, None)
    }

    /// Returns the leaf of a parameter that a product or a convolution reads as its weight: in
    /// mixed precision its copy in f16, whose gradient is the parameter's. A parameter that was
    /// read otherwise before in this pass stays what it was.
    ///
    /// # Errors
    /// As [`ForwardContext::param`].
    pub(crate) fn weight(&self, handle: Handle) -> Result<Var> {
        let copy = self.halves.as_ref().and_then(|halves| halves.get(handle));
        self.leaf(handle, copy)
    }

    /// Returns a weight that was computed of parameters on the tape as products read weights: in
    /// mixed precision in f16, with a gradient in f32.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn computed_weight(&self, weight: &Var) -> Result<Var> {
        match self.halves {
            Some(_) => self.tape.cast(weight, DType::F16),
            None => Ok(weight.clone()),
        }
    }

    fn leaf(&self, handle: Handle, copy: Option<&Tensor>) -> Result<Var> {
        if let Some(var) = self.leaves.borrow().get(&handle) {
            return Ok(var.clone());
        }
        let own = self.params.get(handle)?;
        let value = copy.unwrap_or(own);
        let var = if self.frozen {
            self.tape.constant(value)
        } else {
            let place = self.places.as_ref().and_then(|p| p.get(handle.index()));
            let place = place.filter(|place| place.tensor().shape() == own.shape());
            self.tape.leaf_with(value, place.cloned())
        };
        self.leaves.borrow_mut().insert(handle, var.clone());
        Ok(var)
    }

    /// Returns the parameters that this pass used so far.
    pub fn used(&self) -> Vec<Handle> {
        self.leaves.borrow().keys().copied().collect()
    }

    /// Runs `f` of `x`, as a part of the model whose activations need not be kept.
    ///
    /// In a pass that is [`ForwardContext::with_checkpointing`], the tape keeps `x` and none of
    /// what `f` computes; the backward pass runs `f` once more, on a tape of its own, when it comes
    /// to the gradients of `x` and of the parameters that `f` uses (Chen et al. 2016, "Training
    /// deep nets with sublinear memory cost"). Otherwise it is `f(self, x)`. Gradients are the same
    /// to the bit where nothing but `x` and parameters leads into `f`, and a parameter used in
    /// several blocks is used once in each.
    ///
    /// `f` must compute the same whenever it runs: its random numbers come from keys that it holds.
    /// Tensors that it holds are constants. Blocks within a block are a part of it.
    ///
    /// # Errors
    /// Returns the errors of `f`.
    pub fn checkpoint(
        &self,
        x: Var,
        f: impl Fn(&ForwardContext, Var) -> Result<Var> + 'static,
    ) -> Result<Var> {
        self.checkpoint_many([x], move |pass, [x]| f(pass, x))
    }

    /// [`ForwardContext::checkpoint`] of several values.
    ///
    /// # Errors
    /// Returns the errors of `f`.
    pub fn checkpoint_many<const N: usize>(
        &self,
        x: [Var; N],
        f: impl Fn(&ForwardContext, [Var; N]) -> Result<Var> + 'static,
    ) -> Result<Var> {
        if !(self.recomputes && self.tape.is_recording()) {
            return f(self, x);
        }
        let gpu = self.tape.gpu().clone();
        let still = Tape::no_grad(&gpu);
        let inner = self.alike(&still);
        let y = f(&inner, x.each_ref().map(Var::detach))?;
        let used: Vec<(Handle, bool)> = inner
            .leaves
            .into_inner()
            .into_iter()
            .map(|(handle, leaf)| (handle, leaf.tensor().dtype().is_half()))
            .collect();
        let leaf = |pass: &Self, (handle, half): (Handle, bool)| match half {
            true => pass.weight(handle),
            false => pass.param(handle),
        };
        let leaves = used
            .iter()
            .map(|used| leaf(self, *used))
            .collect::<Result<Vec<Var>>>()?;
        let inputs: Vec<&Var> = x.iter().chain(&leaves).collect();
        let (params, activations, halves, given) = (
            self.params.clone(),
            self.activations,
            self.halves.clone(),
            x.each_ref().map(|x| x.tensor().clone()),
        );
        Ok(self
            .tape
            .record_owned(y.tensor().clone(), &inputs, move |upstream, needs| {
                let tape = Tape::new(&gpu);
                let pass = ForwardContext::new(&tape, &params)
                    .with_activation_dtype(activations)
                    .with_half_weights(halves);
                let own = |i: usize| {
                    if needs[i] {
                        tape.leaf(&given[i])
                    } else {
                        tape.constant(&given[i])
                    }
                };
                let x: [Var; N] = std::array::from_fn(own);
                drop(given);
                let y = f(&pass, x.clone())?;
                let mut gradients = tape.walk_back(y, upstream)?;
                let mut parts: Vec<Option<Tensor>> = x.iter().map(|x| gradients.take(x)).collect();
                for (handle, _) in &used {
                    parts.push(gradients.take(&pass.param(*handle)?));
                }
                Ok(parts)
            }))
    }

    /// Walks back from a loss; returns the gradients of the parameters that this pass used, as
    /// [`super::Adam::step`] takes them.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub(crate) fn backward(&self, loss: &Var) -> Result<Vec<(Handle, Tensor)>> {
        Ok(self.gradients(self.tape.backward(loss)?))
    }

    /// Walks back from a loss, and gives the gradient of each parameter that this pass used to
    /// `passed` as soon as it is whole: those of the last layers first.
    ///
    /// # Errors
    /// As [`Tape::backward`], and those of `passed`.
    pub(crate) fn walk_back(
        &self,
        loss: &Var,
        mut passed: impl FnMut(Handle, Tensor) -> Result<()>,
    ) -> Result<()> {
        let leaves = self.leaves.borrow();
        let numbers = leaves.iter().map(|(handle, var)| (var.number(), *handle));
        let handles: BTreeMap<Option<usize>, Handle> = numbers.collect();
        drop(leaves);
        let mut taken = |leaf: usize, gradient: Tensor| match handles.get(&Some(leaf)) {
            Some(handle) => passed(*handle, gradient).map(|()| None),
            None => Ok(Some(gradient)),
        };
        self.tape.backward_passing(loss, &mut taken).map(drop)
    }

    /// Returns the gradients of the parameters that this pass used, as [`super::Adam::step`] takes
    /// them.
    pub fn gradients(&self, mut gradients: Gradients) -> Vec<(Handle, Tensor)> {
        let leaves = self.leaves.borrow();
        leaves
            .iter()
            .filter_map(|(handle, var)| Some((*handle, gradients.take(var)?)))
            .collect()
    }
}
