//! What an operation promises to the registry: shapes, a reference, a tolerance, a cost, its
//! kernels and its errors.

use super::case::{self, Case};
use super::{HostTensor, Rng, Tolerance, Verdict};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, Kernel, Tensor, Work};

/// What [`Operation::error_inputs`] returns.
pub type ErrorInputs = Result<Vec<(&'static str, Result<()>)>>;

/// An operation of the registry.
pub trait Operation: Sync {
    /// The operation's name: its folder's.
    fn name(&self) -> &'static str;
    /// Shapes to check: 1, primes, one past a tile, some large.
    fn cases(&self) -> Vec<Case>;
    /// Shapes to time.
    fn bench(&self) -> Vec<Case>;
    /// Is this a case that [`Operation::run`] can be given? Its sizes must be those of the
    /// operation's own cases by name, in their order; 0 only where one of them has it. For cases
    /// that a user made up.
    ///
    /// # Errors
    /// Says which size is wrong, and what there is.
    fn check(&self, case: &Case) -> Result<()> {
        case::check(case, &self.cases(), self.name())
    }
    /// The inputs that a case of the size `half=1` has as f16. Empty for an operation that takes
    /// f32 alone.
    fn halves(&self) -> &'static [usize] {
        &[]
    }
    /// The case with those inputs as f16, where the operation takes them.
    fn in_f16(&self, case: &Case) -> Option<Case> {
        (!self.halves().is_empty()).then(|| case.clone().and("half", 1))
    }
    /// Random inputs of a case.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor>;
    /// The operation on the device.
    fn run(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// What is timed: the one call that [`Operation::work`] counts. [`Operation::run`] may do more
    /// (several options, copies of what is changed in place); a call that changes its inputs in
    /// place may change these.
    fn time(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<()> {
        self.run(gpu, case, inputs).map(drop)
    }
    /// A part of a case's inputs and outputs that is a case by itself and costs at most about
    /// `flops` to check (rows of a search, images of a convolution): how a large case is compared
    /// with its reference. `None` where no part stands alone.
    fn excerpt(
        &self,
        _case: &Case,
        _inputs: &[HostTensor],
        _got: &[HostTensor],
        _flops: f64,
    ) -> Option<(Case, Vec<HostTensor>, Vec<HostTensor>)> {
        None
    }
    /// The same in f64: floats arrive and leave as [`Data::F64`](super::Data::F64).
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor>;
    /// How far an output may lie from the reference, by output.
    fn tolerance(&self, case: &Case, output: usize) -> Tolerance;
    /// What an element may be off by beside that where the `coopmat` core rounds to f16 what the
    /// operation works out in between. Its inputs need no allowance: a check rounds them first.
    fn rounded(&self, _case: &Case) -> f64 {
        0.0
    }
    /// What a case costs.
    fn work(&self, case: &Case) -> Work;
    /// Every kernel variant that the operation can dispatch on any device.
    fn kernels(&self) -> Vec<Kernel>;
    /// Calls that must fail with an error: what each does wrong, and how it ended. At least one,
    /// where the operation takes inputs.
    ///
    /// # Errors
    /// If what the calls are given cannot be made.
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs;
    /// Its gradient, where it has one.
    fn gradient(&self) -> Option<&dyn Gradient> {
        None
    }
    /// Compares outputs with the reference's, where equality up to a tolerance is not the right
    /// question (an index may differ where two distances tie in f32). `None` compares element by
    /// element.
    fn compare(
        &self,
        _case: &Case,
        _inputs: &[HostTensor],
        _got: &[HostTensor],
        _want: &[HostTensor],
    ) -> Option<Verdict> {
        None
    }
}

/// The backward side of an [`Operation`].
pub trait Gradient: Sync {
    /// The inputs that have a gradient.
    fn wrt(&self, case: &Case) -> Vec<usize>;
    /// The operation on a tape; the first output.
    fn record(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var>;
    /// What is timed: as [`Gradient::record`], without the options that the forward call is timed
    /// without.
    fn time(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var> {
        self.record(tape, case, inputs)
    }
    /// The gradient of `sum(upstream * output)` in f64, for each input of [`Gradient::wrt`].
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor>;
    /// What the reference's gradient is the gradient of, for the check by finite differences: the
    /// operation's own reference, or the surrogate that defines a straight-through gradient. `at`
    /// are the inputs where the gradient is taken, for what such a surrogate holds constant.
    fn surrogate(
        &self,
        op: &dyn Operation,
        case: &Case,
        _at: &[HostTensor],
        inputs: &[HostTensor],
    ) -> HostTensor {
        op.reference(case, inputs).swap_remove(0)
    }
    /// How far an element of a gradient may lie from the reference's, by position in
    /// [`Gradient::wrt`].
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance;
}
