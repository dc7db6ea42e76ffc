//! One operation, one folder: the host side, its rule on the tape, its twin in plain loops, and its row in the registry.
//!
//! [`registry`] is what the tests, `wgvq selftest`, `wgvq bench` and the documents walk, so an operation without a twin
//! or shapes to test cannot exist. `docs/add-an-op.md` shows how to add one.

mod case;
mod excerpt;
mod host;
pub mod verify;

pub mod activation;
pub mod adam;
pub mod adaptive_weight;
pub mod add;
pub mod assignment;
pub mod attention;
pub mod attention_decode;
pub mod batch_norm;
pub mod bias;
pub mod bits;
pub mod cast;
pub mod clip;
pub mod code_softmax;
pub mod codebook_use;
pub mod column_sum;
pub mod columns;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod copy;
pub mod cross_decode;
pub mod cross_entropy;
pub mod differences;
pub mod downsample;
pub mod dropout;
pub mod ema_update;
pub mod entropy;
pub mod feature_distance;
pub mod fill;
pub mod fma_chain;
pub mod fold;
pub mod fsq;
pub mod gather;
pub mod group_norm;
pub mod gumbel;
pub mod image;
pub mod kmeans;
pub mod l2_norm;
pub mod layer_norm;
pub mod lerp;
pub mod loss;
pub mod matmul;
pub mod max_pool;
pub mod positions;
pub mod random;
pub mod reduce;
pub mod repetition;
pub mod revive;
pub mod rms_norm;
pub mod rotary;
pub mod rotation;
pub mod sample;
pub mod scale;
pub mod scale_by;
pub mod softmax;
pub mod split_sum;
pub mod ssim;
pub mod swiglu;
pub mod unfold;
pub mod upsample;
pub mod vq_search;

pub use case::{Case, case};
pub use host::{Data, Host, Real, Rng};

use crate::autograd::{Tape, Var};
pub use crate::gpu::groups_for;
use crate::gpu::{Core, Gpu, Kernel, Tensor, Work};
use crate::{Error, Result};

/// How far one element may lie from its f64 twin: `abs + rel * |expected|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute part.
    pub abs: f64,
    /// Relative part.
    pub rel: f64,
}

impl Tolerance {
    /// Equality, for indices, counts and copies.
    pub const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 0.0 };
    /// A handful of roundings per element and no sum.
    pub const POINTWISE: Tolerance = Tolerance { abs: 1e-6, rel: 4e-6 };
    /// A sum of `terms` products of standard normals, added one after another: the sum so far is about root j after j terms and
    /// is rounded by a random share of 2^-24 of itself each time, so the errors' deviation is 2.4e-8 times the number of terms. The
    /// worst of a million elements lies five deviations out.
    pub fn sum(terms: usize) -> Tolerance {
        Tolerance { abs: 1.6e-7 * terms as f64 + 1e-6, rel: 4e-6 }
    }
}

/// What [`Operation::error_inputs`] returns.
pub type ErrorInputs = Result<Vec<(&'static str, Result<()>)>>;

/// A row of the registry.
pub trait Operation: Sync {
    /// The operation's name: its folder's.
    fn name(&self) -> &'static str;
    /// Shapes to check: 1, primes, one past a tile, some large.
    fn cases(&self) -> Vec<Case>;
    /// Shapes to time.
    fn bench(&self) -> Vec<Case>;
    /// Is this a case that [`Operation::run`] can be given? Its sizes must be those of the operation's own cases by name, in
    /// their order; 0 only where one of them has it. For cases that a user made up.
    ///
    /// # Errors
    /// Says which size is wrong, and what there is.
    fn check(&self, case: &Case) -> Result<()> {
        case::check(case, &self.cases(), self.name())
    }
    /// The inputs that a case of the size `half=1` has as f16. Empty for an operation that takes f32 alone.
    fn halves(&self) -> &'static [usize] {
        &[]
    }
    /// The case with those inputs as f16, where the operation takes them.
    fn in_f16(&self, case: &Case) -> Option<Case> {
        (!self.halves().is_empty()).then(|| case.clone().and("half", 1))
    }
    /// Random inputs of a case.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<Host>;
    /// The operation on the device.
    fn run(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// What is timed: the one call that [`Operation::work`] counts. [`Operation::run`] may do more (several options, copies of
    /// what is changed in place); a call that changes its inputs in place may change these.
    fn time(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<()> {
        self.run(gpu, case, inputs).map(drop)
    }
    /// A part of a case's inputs and outputs that is a case by itself and costs at most about `flops` to check (rows of a
    /// search, images of a convolution): how a large case is compared with its twin. `None` where no part stands alone.
    fn excerpt(
        &self,
        _case: &Case,
        _inputs: &[Host],
        _got: &[Host],
        _flops: f64,
    ) -> Option<(Case, Vec<Host>, Vec<Host>)> {
        None
    }
    /// The same in f64: floats arrive and leave as [`Data::F64`].
    fn twin(&self, case: &Case, inputs: &[Host]) -> Vec<Host>;
    /// How far an output may lie from the twin, by output.
    fn tolerance(&self, case: &Case, output: usize) -> Tolerance;
    /// What an element may be off by beside that where the `coopmat` core rounds to f16 what the operation works out in between. Its
    /// inputs need no allowance: a check rounds them first.
    fn rounded(&self, _case: &Case) -> f64 {
        0.0
    }
    /// What a case costs.
    fn work(&self, case: &Case) -> Work;
    /// Every kernel variant that the operation can dispatch on any device.
    fn kernels(&self) -> Vec<Kernel>;
    /// Calls that must fail with an error: what each does wrong, and how it ended. At least one, where the operation takes
    /// inputs.
    ///
    /// # Errors
    /// If what the calls are given cannot be made.
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs;
    /// Its gradient, where it has one.
    fn gradient(&self) -> Option<&dyn Gradient> {
        None
    }
    /// Compares outputs with the twin's, where equality up to a tolerance is not the right question (an index may
    /// differ where two distances tie in f32). `None` compares element by element.
    fn compare(&self, _case: &Case, _inputs: &[Host], _got: &[Host], _want: &[Host]) -> Option<verify::Verdict> {
        None
    }
}

/// The backward side of an [`Operation`].
pub trait Gradient: Sync {
    /// The inputs that have a gradient.
    fn wrt(&self, case: &Case) -> Vec<usize>;
    /// The operation on a tape; the first output.
    fn record(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var>;
    /// What is timed: as [`Gradient::record`], without the options that the forward call is timed without.
    fn time(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var> {
        self.record(tape, case, inputs)
    }
    /// The gradient of `sum(upstream * output)` in f64, for each input of [`Gradient::wrt`].
    fn twin(&self, case: &Case, inputs: &[Host], upstream: &Host) -> Vec<Host>;
    /// What the twin's gradient is the gradient of, for the check by finite differences: the operation's own twin,
    /// or the surrogate that defines a straight-through gradient. `at` are the inputs where the gradient is taken, for what
    /// such a surrogate holds constant.
    fn surrogate(&self, op: &dyn Operation, case: &Case, _at: &[Host], inputs: &[Host]) -> Host {
        op.twin(case, inputs).swap_remove(0)
    }
    /// How far an element of a gradient may lie from the twin's, by position in [`Gradient::wrt`].
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance;
}

/// Every operation there is.
#[rustfmt::skip] // one a line, so that two additions do not meet in one
pub fn registry() -> &'static [&'static dyn Operation] {
    &[
        &activation::Activation,
        &adam::Adam,
        &adaptive_weight::AdaptiveWeight,
        &add::Add,
        &assignment::AssignmentRow,
        &attention::AttentionRow,
        &attention_decode::AttentionDecodeRow,
        &cross_decode::CrossDecodeRow,
        &bias::Bias,
        &bits::BitEntropy,
        &bits::BitTable,
        &bits::Bits,
        &cast::Cast,
        &clip::Clip,
        &code_softmax::CodeAverage,
        &code_softmax::CodeSample,
        &codebook_use::CodebookUse,
        &column_sum::ColumnSum,
        &columns::Columns,
        &conv2d::Conv2dRow,
        &conv_transpose2d::ConvTranspose2dRow,
        &copy::Copy,
        &cross_entropy::CrossEntropyRow,
        &differences::Differences,
        &downsample::Downsample,
        &dropout::Dropout,
        &ema_update::EmaUpdate,
        &entropy::Entropy,
        &feature_distance::FeatureDistance,
        &fill::Fill,
        &fma_chain::FmaChain,
        &fold::Fold,
        &fsq::FsqRow,
        &gather::Gather,
        &group_norm::GroupNorm,
        &batch_norm::BatchNorm,
        &gumbel::GumbelRow,
        &image::Image,
        &kmeans::Kmeans,
        &l2_norm::L2Norm,
        &layer_norm::LayerNorm,
        &lerp::Lerp,
        &loss::LossRow,
        &matmul::Matmul,
        &max_pool::MaxPool,
        &positions::Positions,
        &random::Random,
        &reduce::Reduce,
        &repetition::Repetition,
        &revive::Revive,
        &rms_norm::RmsNorm,
        &rotation::Rotation,
        &rotary::RotaryRow,
        &sample::SampleRow,
        &scale::Scale,
        &scale_by::ScaleBy,
        &softmax::SoftmaxRow,
        &split_sum::SplitSum,
        &ssim::Ssim,
        &swiglu::Swiglu,
        &unfold::Unfold,
        &upsample::Upsample,
        &vq_search::VqSearch,
    ]
}

/// The operation of that name.
///
/// # Errors
/// If there is none; the message lists them.
pub fn find(name: &str) -> Result<&'static dyn Operation> {
    registry().iter().copied().find(|op| op.name() == name).ok_or_else(|| {
        let names: Vec<&str> = registry().iter().map(|op| op.name()).collect();
        Error::data(format!("no operation is called `{name}`; there are {}", names.join(", ")))
    })
}

/// The parts, as (start, length), in which a kernel over `n` f32 walks buffers of which the device binds `limit` bytes
/// at a time. Every part but the last is a whole number of 256-byte blocks, as [`Tensor::view`] wants its start.
pub(crate) fn chunks(n: usize, limit: u64) -> impl Iterator<Item = (usize, usize)> {
    // Within what u32 counts in a kernel, too.
    let most = (limit / 256 * 64).clamp(64, 1 << 31) as usize;
    (0..n).step_by(most).map(move |start| (start, most.min(n - start)))
}

/// Invocations that share a row, on any device.
pub(crate) const ROW_GROUPS: [u32; 3] = [8, 64, 256];

/// Invocations that share a row which takes `steps` iterations of loops in all, and is `long` or not. Where the subgroup core is at
/// home, on software Vulkan, a workgroup larger than a subgroup pays for each barrier with a switch between subgroups, and has nothing
/// to gain; but no invocation may go through 65,535 iterations there (docs/llvmpipe.md).
pub(crate) fn row_group(gpu: &Gpu, long: bool, steps: usize) -> u32 {
    let fits = |group: &u32| steps / *group as usize <= 50_000;
    if let Some(group) = gpu.inner.options.row_group.filter(|group| ROW_GROUPS.contains(group) && fits(group)) {
        return group;
    }
    match gpu.core() {
        Core::Subgroup => ROW_GROUPS.into_iter().find(fits).unwrap_or(ROW_GROUPS[2]),
        _ => ROW_GROUPS[if long { 2 } else { 1 }],
    }
}

/// The parts, as (first row, rows), in which a kernel walks rows of `cols` f32 of which the device binds `limit` bytes at a time.
/// Every part but the last is a multiple of 64 rows, so that it starts where bindings may.
pub(crate) fn row_chunks(rows: usize, cols: usize, limit: u64) -> impl Iterator<Item = (usize, usize)> {
    // Within what u32 counts in a kernel, too.
    let fit = limit.min(1 << 33) / (4 * cols.max(1) as u64);
    let most = (fit / 64 * 64).max(64) as usize;
    (0..rows).step_by(most).map(move |first| (first, most.min(rows - first)))
}
