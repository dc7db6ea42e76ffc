//! The specification of an operation in the registry: shapes, a reference, a tolerance, a cost, its
//! kernels and its errors.

use super::case::{self, Case};
use super::{HostTensor, Rng, Tolerance, Verdict};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{Gpu, Kernel, Tensor, Work};

/// The result of [`Operation::error_inputs`]: a name and an outcome, which must be an error, for
/// each call.
pub type ErrorInputs = Result<Vec<(&'static str, Result<()>)>>;

/// Returns an error input: what the call does wrong, and how it ended, whatever it would have
/// returned.
pub fn refused<T>(wrong: &'static str, outcome: Result<T>) -> (&'static str, Result<()>) {
    (wrong, outcome.map(drop))
}

/// The inputs of an operation, by their positions, that may hold more than what
/// [`Operation::inputs`] draws: its outputs and gradients stay within their tolerances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extremes {
    /// Those that may hold numbers up to 1e30.
    pub huge: &'static [usize],
    /// Those that may hold infinities.
    pub infinite: &'static [usize],
}

impl Extremes {
    /// Returns the promise that these inputs may hold any number.
    pub const fn any(inputs: &'static [usize]) -> Extremes {
        Extremes {
            huge: inputs,
            infinite: inputs,
        }
    }
    /// Returns the promise that these inputs may hold finite numbers up to 1e30.
    pub const fn huge(inputs: &'static [usize]) -> Extremes {
        Extremes {
            huge: inputs,
            infinite: &[],
        }
    }
}

/// An operation of the registry.
pub trait Operation: Sync {
    /// The operation's name: its folder's.
    fn name(&self) -> &'static str;
    /// Shapes to check: 1, primes, one past a tile, some large.
    fn cases(&self) -> Vec<Case>;
    /// Shapes to time.
    fn bench(&self) -> Vec<Case>;
    /// Checks that [`Operation::run`] can be given this case, which a user may have made up. Its
    /// sizes must be those of the operation's own cases by name, in their order; 0 only where one
    /// of them has it.
    ///
    /// # Errors
    /// Says which size is wrong, and what there is.
    fn check(&self, case: &Case) -> Result<()> {
        case::check(case, &self.cases(), self.name())
    }
    /// Returns the inputs that a case of the size `half=1` has as f16. Empty for an operation that
    /// takes f32 alone.
    fn halves(&self) -> &'static [usize] {
        &[]
    }
    /// Returns the case with those inputs as f16, where the operation takes them.
    fn in_f16(&self, case: &Case) -> Option<Case> {
        (!self.halves().is_empty()).then(|| case.clone().and("half", 1))
    }
    /// Returns which inputs may be huge or infinite, where the operation promises something of
    /// them. NaN is never drawn.
    fn extremes(&self) -> Extremes {
        Extremes::default()
    }
    /// Returns which inputs are settings, such as a factor or a flag, and no data: made-up values
    /// are not put into these.
    fn settings(&self) -> &'static [usize] {
        &[]
    }
    /// Random inputs of a case.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor>;
    /// Runs the operation on the device.
    fn run(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// Runs the one call that is timed, which [`Operation::work`] counts. [`Operation::run`] may do
    /// more (several options, copies of what is changed in place); a call that changes its inputs
    /// in place may change these.
    fn time(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<()> {
        self.run(gpu, case, inputs).map(drop)
    }
    /// Returns which of [`Operation::run`]'s outputs the call that is timed makes, and other
    /// libraries have: none for all.
    fn timed_outputs(&self) -> &'static [usize] {
        &[]
    }
    /// Turns what another library returns for the call that is timed into what [`Operation::run`]
    /// returns, where that is a summary of it.
    fn answer(
        &self,
        _case: &Case,
        _inputs: &[HostTensor],
        outputs: Vec<HostTensor>,
    ) -> Vec<HostTensor> {
        outputs
    }
    /// Returns a part of a case's inputs and outputs that is a case by itself and costs at most
    /// about `flops` to check (rows of a search, images of a convolution): how a large case is
    /// compared with its reference. `None` where no part stands alone.
    fn excerpt(
        &self,
        _case: &Case,
        _inputs: &[HostTensor],
        _got: &[HostTensor],
        _flops: f64,
    ) -> Option<(Case, Vec<HostTensor>, Vec<HostTensor>)> {
        None
    }
    /// Computes the same in f64: floats arrive and leave as [`Data::F64`](super::Data::F64).
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor>;
    /// Returns the allowed distance of an output from the reference.
    fn tolerance(&self, case: &Case, output: usize) -> Tolerance;
    /// Returns the error of an element beside that where the `coopmat` core rounds to f16 what the
    /// operation works out in between. Its inputs need no allowance: a check rounds them first.
    fn rounded(&self, _case: &Case) -> f64 {
        0.0
    }
    /// Returns that error in one of the outputs; in each the same, where nothing else is said.
    fn rounded_output(&self, case: &Case, _output: usize) -> f64 {
        self.rounded(case)
    }
    /// Returns the cost of a case.
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
    /// Records the operation on a tape, and returns the first output.
    fn record(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var>;
    /// Records the call that is timed: as [`Gradient::record`], without the options that the
    /// forward call is timed without.
    fn time(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var> {
        self.record(tape, case, inputs)
    }
    /// Returns those of [`Gradient::wrt`] that the call that is timed has.
    fn timed_wrt(&self, case: &Case) -> Vec<usize> {
        self.wrt(case)
    }
    /// Returns the gradient of `sum(upstream * output)` in f64, for each input of
    /// [`Gradient::wrt`].
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor>;
    /// Computes the function whose gradient the reference's gradient is, for the check by finite
    /// differences: the operation's own reference, or the surrogate that defines a straight-through
    /// gradient. `at` are the inputs where the gradient is taken, for what such a surrogate holds
    /// constant.
    fn surrogate(
        &self,
        op: &dyn Operation,
        case: &Case,
        _at: &[HostTensor],
        inputs: &[HostTensor],
    ) -> HostTensor {
        op.reference(case, inputs).swap_remove(0)
    }
    /// Returns the allowed distance of a gradient's element from the reference's, by position in
    /// [`Gradient::wrt`].
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance;
}
