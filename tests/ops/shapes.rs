//! Operations over random shapes and values: cases like those that each declares, with other sizes,
//! and inputs among which some are equal, subnormal, huge or infinite.
//!
//! `WGVQ_SHAPES=COUNT,SEED` tries as many cases of all operations together, or of those named by
//! further words (`300,1,softmax,matmul`), and prints a table and what was wrong.

use crate::places::{self, Place, engine};
use crate::{can_go_without_robust_access, gpu};
use libtest_mimic::Failed;
use std::panic::{AssertUnwindSafe, catch_unwind};
use wgvq::gpu::{Gpu, Kernel, Options, RobustAccess, Tensor, Work};
use wgvq::registry::operations;
use wgvq::spec::{
    Case, Data, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, Verdict,
};
use wgvq::{Error, Result, verify};

/// Cases whose reference costs more are passed over.
const FLOPS: f64 = 2e6;
/// As are those that move more.
const BYTES: f64 = 4e6;
/// Sizes around which kernels change their ways: tiles, subgroups, workgroups.
const EDGES: [usize; 9] = [4, 8, 16, 32, 64, 128, 256, 512, 1024];
/// Cases that are made up for one that an operation takes, at most.
const TRIES: usize = 30;

/// The difference of inputs' values from those that an operation draws.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Values {
    Drawn,
    /// Elements and rows that are equal to others.
    Equal,
    /// Zeros of both signs, subnormals, and the least normal numbers.
    Tiny,
    /// Up to 1e30, in the inputs that may have them.
    Huge,
    /// Likewise.
    Infinite,
}

/// An operation whose inputs have such values.
struct Altered {
    op: &'static dyn Operation,
    values: Values,
}

impl Altered {
    fn alter(&self, input: usize, host: &mut HostTensor, rng: &mut Rng) {
        let extremes = self.op.extremes();
        let row = host.shape.last().copied().unwrap_or(1).max(1);
        let Data::F32(v) = &mut host.data else { return };
        // A divisor, a scale and a count of steps: numbers by themselves, and no data.
        if self.op.settings().contains(&input) || v.len() <= 2 && input > 0 {
            return;
        }
        match self.values {
            Values::Equal if v.len() > 1 => {
                let (n, rows) = (v.len(), v.len() / row);
                for _ in 0..n.div_ceil(8) {
                    let (to, of) = (rng.below(n), rng.below(n));
                    v[to] = v[of];
                }
                for _ in 0..rows / 4 {
                    let (to, of) = (rng.below(rows) * row, rng.below(rows) * row);
                    v.copy_within(of..of + row, to);
                }
            }
            Values::Tiny => {
                let tiny = [0.0, 1e-45, 1e-40, f32::MIN_POSITIVE];
                for x in v.iter_mut() {
                    if rng.below(8) > 0 {
                        continue;
                    }
                    *x = tiny[rng.below(tiny.len())].copysign(*x);
                }
            }
            Values::Huge if extremes.huge.contains(&input) => {
                for x in v.iter_mut() {
                    if rng.below(8) > 0 {
                        continue;
                    }
                    *x = 10f32.powf(4.0 + 26.0 * rng.uniform() as f32).copysign(*x);
                }
            }
            Values::Infinite if extremes.infinite.contains(&input) => {
                for x in v.iter_mut().filter(|_| rng.below(16) == 0) {
                    *x = f32::INFINITY.copysign(*x);
                }
            }
            _ => {}
        }
    }
}

impl Operation for Altered {
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let mut inputs = self.op.inputs(case, rng);
        for (i, host) in inputs.iter_mut().enumerate() {
            self.alter(i, host, rng);
        }
        inputs
    }
    fn name(&self) -> &'static str {
        self.op.name()
    }
    fn cases(&self) -> Vec<Case> {
        self.op.cases()
    }
    fn bench(&self) -> Vec<Case> {
        self.op.bench()
    }
    fn check(&self, case: &Case) -> Result<()> {
        self.op.check(case)
    }
    fn halves(&self) -> &'static [usize] {
        self.op.halves()
    }
    fn in_f16(&self, case: &Case) -> Option<Case> {
        self.op.in_f16(case)
    }
    fn extremes(&self) -> Extremes {
        self.op.extremes()
    }
    fn settings(&self) -> &'static [usize] {
        self.op.settings()
    }
    fn run(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.op.run(gpu, case, inputs)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        self.op.reference(case, inputs)
    }
    fn tolerance(&self, case: &Case, output: usize) -> Tolerance {
        self.op.tolerance(case, output)
    }
    fn rounded(&self, case: &Case) -> f64 {
        self.op.rounded(case)
    }
    fn rounded_output(&self, case: &Case, output: usize) -> f64 {
        self.op.rounded_output(case, output)
    }
    fn work(&self, case: &Case) -> Work {
        self.op.work(case)
    }
    fn kernels(&self) -> Vec<Kernel> {
        self.op.kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        self.op.error_inputs(gpu)
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        self.op.gradient()
    }
    fn compare(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        want: &[HostTensor],
    ) -> Option<Verdict> {
        self.op.compare(case, inputs, got, want)
    }
}

/// Returns a case like one that the operation declares, with some other sizes.
fn made_up(declared: &[Case], rng: &mut Rng) -> Case {
    let mut case = declared[rng.below(declared.len())].clone();
    let names: Vec<String> = case.sizes().map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        if rng.below(2) == 0 {
            continue;
        }
        let has = |case: &&Case| case.sizes().any(|(n, _)| n == name);
        let of = |case: &Case| case.get(name);
        let known: Vec<usize> = declared.iter().filter(has).map(of).collect();
        let (Some(least), Some(most)) = (known.iter().min(), known.iter().max()) else {
            continue;
        };
        let another = known[rng.below(known.len())];
        let value = match rng.below(8) {
            // A choice between ways, and no size.
            _ if *most <= 2 => another,
            0 | 1 => another,
            2 => case.get(name) + 1,
            3 => case.get(name).saturating_sub(1),
            4 => EDGES[rng.below(EDGES.len())] - 1 + rng.below(3),
            5 => most + 1 + rng.below(*most.min(&64)),
            // Small ones as often as large ones.
            _ => {
                let (low, high) = ((*least).max(1) as f64, *most as f64);
                (low * (high / low).powf(rng.uniform())).round() as usize
            }
        };
        case = case.with(name, value.max(*least));
    }
    case
}

/// The result of a case.
enum Came {
    /// It agrees.
    Agrees,
    /// The operation has an error for it, or it is too large to be tried here.
    Refused,
    Wrong(String),
}

/// Engines of a place, without and with naga's bounds checks.
fn engines(place: Place) -> [Gpu; 2] {
    let mut options = place.options();
    if can_go_without_robust_access(&gpu(Options::default())) {
        options.robust_access = RobustAccess::Off;
    }
    let checks = Options {
        shader_checks: true,
        ..place.options()
    };
    [engine(place, options), engine(place, checks)]
}

/// Runs a case, forward and backward, with and without checks, and compares.
fn tried(engines: &[Gpu; 2], op: &Altered, place: Place, case: &Case, seed: u64) -> Came {
    let too_much = |work: Work| !(work.flops <= FLOPS && work.bytes <= BYTES);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        if op.check(case).is_err() || too_much(op.work(case)) {
            return Ok(None);
        }
        let long = places::compiles_for_long(op, place, case).is_some();
        if long || places::left_out(op, place, case) {
            return Ok(None);
        }
        verify::guarded(&engines[0], || Some(&engines[1]), op, case, seed).map(Some)
    }));
    match outcome {
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or(panic.downcast_ref::<&str>().copied());
            Came::Wrong(format!("panics: {}", said.unwrap_or("without words")))
        }
        Ok(Ok(None)) => Came::Refused,
        Ok(Err(
            Error::Shape { .. } | Error::Invalid { .. } | Error::Limit { .. } | Error::Data { .. },
        )) => Came::Refused,
        Ok(Err(error)) => Came::Wrong(error.to_string()),
        Ok(Ok(Some(verdicts))) => {
            let wrong = verdicts.iter().find(|v| !v.pass || v.compared == 0);
            wrong.map_or(Came::Agrees, |v| Came::Wrong(v.detail.clone()))
        }
    }
}

/// The results of an operation's cases.
struct Row {
    name: &'static str,
    agree: usize,
    refused: usize,
    wrong: Vec<String>,
}

/// Tries so many cases of an operation, one from each seed on.
fn cases_of(op: &'static dyn Operation, count: usize, seed: u64) -> Row {
    let declared = op.cases();
    let mut places = places::places(op);
    places.retain(|place| !matches!(place, Place::Emulated { .. }));
    let mut open: Vec<Option<[Gpu; 2]>> = places.iter().map(|_| None).collect();
    let extremes = op.extremes();
    let mut kinds = vec![Values::Drawn, Values::Equal, Values::Tiny];
    if !extremes.huge.is_empty() {
        kinds.push(Values::Huge);
    }
    if !extremes.infinite.is_empty() {
        kinds.push(Values::Infinite);
    }
    let mut row = Row {
        name: op.name(),
        agree: 0,
        refused: 0,
        wrong: Vec::new(),
    };
    for seed in seed..seed + (count * TRIES) as u64 {
        if row.agree + row.wrong.len() == count {
            break;
        }
        let mut rng = Rng::new(seed);
        let case = made_up(&declared, &mut rng);
        let at = rng.below(places.len());
        let values = kinds[rng.below(kinds.len())];
        let label = format!(
            "{}({case}) in {}, values {values:?}, seed {seed}",
            op.name(),
            places[at].name()
        );
        // A kernel that leaves its memory may be the end of this process.
        println!("{label}");
        let engines = open[at].get_or_insert_with(|| engines(places[at]));
        match tried(engines, &Altered { op, values }, places[at], &case, seed) {
            Came::Agrees => row.agree += 1,
            Came::Refused => row.refused += 1,
            Came::Wrong(what) => {
                eprintln!("WRONG: {label}: {what}");
                row.wrong.push(format!("{label}: {what}"));
                // What it left behind is no other case's.
                open[at] = None;
            }
        }
    }
    row
}

/// Prints a table; an error if something was wrong, or nothing was tried.
fn told(rows: &[Row], seed: u64) -> Result<(), Failed> {
    println!("| operation | cases | refused | wrong |\n| --- | --- | --- | --- |");
    let (mut cases, mut refused, mut wrong) = (0, 0, Vec::new());
    for row in rows {
        let (tried, failed) = (row.agree + row.wrong.len(), row.wrong.len());
        println!("| {} | {tried} | {} | {failed} |", row.name, row.refused);
        cases += tried;
        refused += row.refused;
        wrong.extend(row.wrong.iter().map(String::as_str));
        if tried == 0 {
            wrong.push(row.name);
        }
    }
    println!("{cases} cases, {refused} refused, seed {seed}");
    match wrong[..] {
        [] => Ok(()),
        _ => Err(format!("{} wrong:\n{}", wrong.len(), wrong.join("\n")).into()),
    }
}

/// As many cases as `WGVQ_SHAPES` says.
pub fn all() -> Result<(), Failed> {
    let asked = std::env::var("WGVQ_SHAPES").unwrap_or_else(|_| "2000,1".into());
    let mut words = asked.split(',');
    let (count, seed) = (words.next().unwrap_or("2000"), words.next().unwrap_or("1"));
    let (count, seed): (usize, u64) = (count.parse()?, seed.parse()?);
    let named: Vec<&str> = words.collect();
    let mut chosen: Vec<&'static dyn Operation> = operations().to_vec();
    chosen.retain(|op| named.is_empty() || named.contains(&op.name()));
    if chosen.is_empty() {
        return Err(format!("no operation is called {}", named.join(" or ")).into());
    }
    let each = count.div_ceil(chosen.len());
    let rows: Vec<Row> = chosen
        .into_iter()
        .map(|op| {
            let row = cases_of(op, each, seed);
            eprintln!(
                "{}: {} agree, {} wrong",
                row.name,
                row.agree,
                row.wrong.len()
            );
            row
        })
        .collect();
    told(&rows, seed)
}

/// Some cases of operations that take little time.
pub fn some() -> Result<(), Failed> {
    const QUICK: [&str; 8] = [
        "add",
        "cross_entropy",
        "gather",
        "l2_norm",
        "max_pool",
        "rms_norm",
        "slice_columns",
        "softmax",
    ];
    let quick = operations().iter().filter(|op| QUICK.contains(&op.name()));
    let rows: Vec<Row> = quick.map(|op| cases_of(*op, 6, 1)).collect();
    told(&rows, 1)
}

/// A case is like those that are declared: of the same names, and choices stay choices.
pub fn cases_are_made_up() -> Result<(), Failed> {
    let declared = wgvq::spec::cases(["n", "flag"], &[[1, 0], [300, 1], [77, 0]]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let case = made_up(&declared, &mut Rng::new(seed));
        let sizes: Vec<(&str, usize)> = case.sizes().collect();
        let [("n", n), ("flag", flag)] = sizes[..] else {
            return Err(format!("{case} has other sizes").into());
        };
        if n == 0 || n > 1025 || flag > 1 {
            return Err(format!("{case} is no case").into());
        }
        seen.insert(n);
    }
    match seen.len() {
        0..=50 => Err(format!("{} sizes prove nothing", seen.len()).into()),
        _ => Ok(()),
    }
}
