//! The tape: what was done, in order, and how to walk it back.
//!
//! Recording order is a topological order, so the walk is a reverse loop. Each node is consumed as
//! it is passed, and with it the activations that only it kept: their buffers return to the pool
//! while the walk goes on.

pub mod accumulate;
mod place;

pub(crate) use place::{Place, Wanted, placed};

use crate::gpu::{DType, Gpu, Tensor, fill};
use crate::{Error, Result};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::rc::Rc;

type Rule = Box<dyn FnOnce(Tensor, &Wanted) -> Result<Vec<Option<Tensor>>>>;

/// A function that takes the gradients of leaves, and gives back those that are to be kept.
type Passed<'a> = &'a mut dyn FnMut(usize, Tensor) -> Result<Option<Tensor>>;

struct Node {
    inputs: SmallVec<[Option<usize>; 4]>,
    /// None for a leaf.
    rule: Option<Rule>,
    /// Where a leaf's gradient should be written.
    place: Option<Place>,
    /// The call that this is the node of, where calls are noted.
    call: Option<usize>,
}

/// A tensor, and where on the tape it came from. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Var {
    tensor: Tensor,
    node: Option<usize>,
}

impl Var {
    /// Returns the value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
    /// Returns the value's dimensions.
    pub fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }
    /// Whether a backward pass reaches it.
    pub fn needs_gradient(&self) -> bool {
        self.node.is_some()
    }
    /// Returns its number on the tape, where a backward pass reaches it.
    pub(crate) fn number(&self) -> Option<usize> {
        self.node
    }
    /// Returns a constant with the same value: no gradient flows through it.
    pub fn detach(&self) -> Var {
        Var {
            tensor: self.tensor.clone(),
            node: None,
        }
    }
}

/// A record of operations, for one backward pass. Not global: whoever computes holds it.
///
/// ```
/// use wgvq::autograd::Tape;
/// use wgvq::gpu::{Gpu, Options, Tensor};
///
/// # fn main() -> wgvq::Result<()> {
/// let gpu = Gpu::new(Options::default())?;
/// let tape = Tape::new(&gpu);
/// let x = tape.leaf(&Tensor::from_slice(&gpu, &[4], &[1.0f32, 2.0, 3.0, 4.0])?);
/// let y = tape.scale(&x, 2.0, 1.0)?; // 2 x + 1
/// let loss = tape.mean(&y)?;
/// assert_eq!(loss.tensor().read::<f32>()?, [6.0]);
/// let mut gradients = tape.backward(&loss)?;
/// let gradient = gradients.take(&x).expect("x leads to the loss");
/// assert_eq!(gradient.read::<f32>()?, [0.5; 4]);
/// # Ok(())
/// # }
/// ```
pub struct Tape {
    gpu: Gpu,
    recording: bool,
    nodes: RefCell<Vec<Node>>,
}

impl Tape {
    /// Creates a tape that records.
    pub fn new(gpu: &Gpu) -> Self {
        Tape {
            gpu: gpu.clone(),
            recording: true,
            nodes: RefCell::default(),
        }
    }

    /// Creates a tape that records nothing: activations are freed as soon as the caller drops them.
    pub fn no_grad(gpu: &Gpu) -> Self {
        Tape {
            gpu: gpu.clone(),
            recording: false,
            nodes: RefCell::default(),
        }
    }

    /// Returns the engine.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Whether operations are recorded, so that gradients can be computed.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// Creates a variable whose gradient is wanted: a parameter, or an input under study.
    pub fn leaf(&self, tensor: &Tensor) -> Var {
        self.leaf_with(tensor, None)
    }

    /// [`Tape::leaf`] whose gradient is written to a place that waits for it, where the operation
    /// that computes it can do that.
    pub(crate) fn leaf_with(&self, tensor: &Tensor, place: Option<Place>) -> Var {
        let node = self.recording.then(|| {
            self.push(Node {
                inputs: SmallVec::new(),
                rule: None,
                place,
                call: None,
            })
        });
        Var {
            tensor: tensor.clone(),
            node,
        }
    }

    /// Creates a value without gradient.
    pub fn constant(&self, tensor: &Tensor) -> Var {
        Var {
            tensor: tensor.clone(),
            node: None,
        }
    }

    fn push(&self, node: Node) -> usize {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(node);
        nodes.len() - 1
    }

    /// Records that `value` was computed from `inputs`.
    ///
    /// `rule` takes the gradient with respect to `value` and, per input, whether its gradient is
    /// wanted; it returns one gradient per input, of the input's shape. It must consume the
    /// upstream gradient: a rule that does not is right only at the end of a graph.
    pub fn record(
        &self,
        value: Tensor,
        inputs: &[&Var],
        rule: impl FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Var {
        self.record_owned(value, inputs, move |gradient, needs| rule(&gradient, needs))
    }

    /// [`Tape::record`] for a rule that writes gradients to the places that wait for them.
    pub(crate) fn record_placed(
        &self,
        value: Tensor,
        inputs: &[&Var],
        rule: impl FnOnce(&Tensor, &Wanted) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Var {
        self.record_owned(value, inputs, move |gradient, wanted| {
            rule(&gradient, wanted)
        })
    }

    /// [`Tape::record_placed`] for a rule that lets go of the upstream gradient before it ends.
    pub(crate) fn record_owned(
        &self,
        value: Tensor,
        inputs: &[&Var],
        rule: impl FnOnce(Tensor, &Wanted) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Var {
        let inputs: SmallVec<[_; 4]> = inputs.iter().map(|v| v.node).collect();
        if !self.recording || inputs.iter().all(Option::is_none) {
            return Var {
                tensor: value,
                node: None,
            };
        }
        let node = self.push(Node {
            inputs,
            rule: Some(Box::new(rule)),
            place: None,
            call: self.gpu.last_call(&value),
        });
        Var {
            tensor: value,
            node: Some(node),
        }
    }

    /// [`Tape::record`] for an operation of several values. `rule` takes the gradient of each,
    /// `None` where none arrived.
    pub fn record_many(
        &self,
        values: Vec<Tensor>,
        inputs: &[&Var],
        rule: impl FnOnce(Vec<Option<Tensor>>, &[bool]) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Vec<Var> {
        let Some(first) = values.first() else {
            return Vec::new();
        };
        // The operation is one node; each value is a node after it, which lays its gradient down
        // for the operation. The walk comes to the operation last, because the first value that it
        // passes hands on a gradient as a token.
        let slots = Rc::new(RefCell::new(vec![None; values.len()]));
        let taken = slots.clone();
        let whole = self.record(first.clone(), inputs, move |_, needs| {
            rule(taken.take(), needs)
        });
        let push_params = |(i, value): (usize, Tensor)| {
            let slots = slots.clone();
            self.record(value, &[&whole], move |g, _| {
                let mut slots = slots.borrow_mut();
                let token = slots.iter().all(Option::is_none).then(|| g.clone());
                slots[i] = Some(g.clone());
                Ok(vec![token])
            })
        };
        values.into_iter().enumerate().map(push_params).collect()
    }

    /// Reshapes x to another shape with as many elements.
    pub fn reshape(&self, x: &Var, shape: &[usize]) -> Result<Var> {
        let y = x.tensor.reshape(shape)?;
        let before = x.tensor.shape().to_vec();
        Ok(self.record(y, &[x], move |g, _| Ok(vec![Some(g.reshape(&before)?)])))
    }

    /// Computes the gradients of the scalar `loss` with respect to every leaf. The tape is empty
    /// afterwards.
    ///
    /// # Errors
    /// If `loss` has more than one element, or no leaf leads to it.
    pub fn backward(&self, loss: &Var) -> Result<Gradients> {
        self.backward_passing(loss, &mut |_, gradient| Ok(Some(gradient)))
    }

    /// [`Tape::backward`] that hands each leaf's gradient to `passed`, behind the leaf's number, as
    /// soon as nothing more will be added to it, and keeps what that gives back.
    pub(crate) fn backward_passing(&self, loss: &Var, passed: Passed) -> Result<Gradients> {
        if loss.tensor.len() != 1 {
            return Err(Error::shape(
                "backward",
                "a loss of one element",
                format!("{:?}", loss.tensor),
            ));
        }
        let one = Tensor::empty(&self.gpu, loss.shape(), DType::F32)?;
        fill(&one, 1.0)?;
        self.walk(loss.clone(), one, passed)
    }

    /// Computes the gradients of `sum(upstream * output)` with respect to every leaf. The tape is
    /// empty afterwards.
    pub fn backward_with(&self, output: &Var, upstream: Tensor) -> Result<Gradients> {
        self.walk_back(output.clone(), upstream)
    }

    /// [`Tape::backward_with`] that lets go of the output's value before the walk begins.
    pub(crate) fn walk_back(&self, output: Var, upstream: Tensor) -> Result<Gradients> {
        self.walk(output, upstream, &mut |_, gradient| Ok(Some(gradient)))
    }

    fn walk(&self, output: Var, upstream: Tensor, passed: Passed) -> Result<Gradients> {
        if upstream.shape() != output.shape() {
            return Err(Error::shape(
                "backward",
                format!("an upstream gradient like {:?}", output.tensor),
                format!("{upstream:?}"),
            ));
        }
        let mut nodes = std::mem::take(&mut *self.nodes.borrow_mut());
        let Some(last) = output.node.filter(|n| *n < nodes.len()) else {
            return Err(Error::invalid(
                "backward",
                "no leaf of this tape leads to the output, or it was walked already",
            ));
        };
        drop(output);
        nodes.truncate(last + 1);
        let mut pending: Vec<Option<Tensor>> = vec![None; nodes.len()];
        pending[last] = Some(upstream);
        let mut leaves: Vec<Option<Tensor>> = vec![None; nodes.len()];
        while let Some(node) = nodes.pop() {
            let index = nodes.len();
            let Some(gradient) = pending[index].take() else {
                continue;
            };
            let Some(rule) = node.rule else {
                leaves[index] = passed(index, gradient)?;
                continue;
            };
            let mut wanted = Wanted::default();
            for (i, input) in node.inputs.iter().enumerate() {
                // A place is offered to what comes first; the rest is added to it.
                let first = |input: &usize| {
                    pending[*input].is_none() && !node.inputs[..i].contains(&Some(*input))
                };
                let place = input.filter(first).and_then(|i| nodes[i].place.as_ref());
                wanted.push(input.is_some(), place.map(Place::offer));
            }
            let parts = {
                let _within = self.gpu.within_gradient(node.call);
                rule(gradient, &wanted)?
            };
            if parts.len() != node.inputs.len() {
                return Err(Error::invalid(
                    "backward",
                    "a rule returned another number of gradients than it has inputs",
                ));
            }
            for (input, part) in node.inputs.into_iter().zip(parts) {
                let (Some(input), Some(part)) = (input, part) else {
                    continue;
                };
                let placed = |t: &Tensor| nodes[input].place.as_ref().is_some_and(|p| p.holds(t));
                let sum = match pending[input].take() {
                    Some(before) if placed(&before) => {
                        accumulate::add_assign(&before, &part)?;
                        before
                    }
                    Some(before) => accumulate::accumulate(before, part)?,
                    None => part,
                };
                pending[input] = Some(sum);
            }
        }
        Ok(Gradients { leaves })
    }
}

/// Gradients of a backward pass, by leaf.
pub struct Gradients {
    /// By the leaf's node.
    leaves: Vec<Option<Tensor>>,
}

impl Gradients {
    /// Returns the gradient of a leaf; `None` if nothing led to it.
    pub fn get(&self, leaf: &Var) -> Option<&Tensor> {
        leaf.node.and_then(|n| self.leaves.get(n)?.as_ref())
    }
    /// Takes the gradient of a leaf out.
    pub fn take(&mut self, leaf: &Var) -> Option<Tensor> {
        leaf.node.and_then(|n| self.leaves.get_mut(n)?.take())
    }
}
