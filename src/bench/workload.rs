//! Workloads: what is timed, under a name from which it can be run again.

mod problem;

use super::launch::Launch;
use super::prepared::Prepared;
use super::prior::PriorWork;
use super::quantizer::QuantizerForward;
use super::train_step::TrainStep;
use crate::autograd::Tape;
use crate::gpu::{DType, Gpu};
use crate::quantize::Kind;
use crate::registry::operations;
use crate::spec::{Case, Operation, Rng, Verdict, case};
use crate::{Error, Result, verify};

/// One thing to time.
#[derive(Clone)]
pub struct Workload {
    name: String,
    subject: Subject,
}

#[derive(Clone)]
enum Subject {
    /// An operation; with its gradient, if asked for.
    Operation {
        op: &'static dyn Operation,
        case: Case,
        backward: bool,
    },
    /// One training forward pass of a quantizer.
    Quantizer(QuantizerForward),
    /// One training step of the standard VQ-VAE.
    TrainStep(TrainStep),
    /// A training step of a prior, or images drawn from it.
    Prior(PriorWork),
    /// Dispatches that do next to nothing.
    Launch(Launch),
}

/// The end of a name that stands for an operation and its gradient.
const BACKWARD: &str = "_fwd_bwd";
/// Operations that a comparison with the f64 reference may take: about half a second.
const CHECK_FLOPS: f64 = 5e8;

impl std::fmt::Debug for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Workload {
    /// An operation at a case, under the name `op_n7_k3`.
    ///
    /// # Errors
    /// If it is none of the operation's cases.
    pub fn operation(op: &'static dyn Operation, case: Case) -> Result<Workload> {
        op.check(&case)?;
        let sizes: String = case.sizes().map(|(n, v)| format!("_{n}{v}")).collect();
        Ok(Workload {
            name: format!("{}{sizes}", op.name()),
            subject: Subject::Operation {
                op,
                case,
                backward: false,
            },
        })
    }

    /// An operation and its gradient, under the name `op_n7_k3_fwd_bwd`.
    ///
    /// # Errors
    /// If it is none of the operation's cases, or the operation has no gradient.
    pub fn with_gradient(op: &'static dyn Operation, case: Case) -> Result<Workload> {
        if op.gradient().is_none() {
            return Err(Error::data(format!(
                "{} has no gradient to time",
                op.name()
            )));
        }
        let forward = Workload::operation(op, case.clone())?;
        Ok(Workload {
            name: forward.name + BACKWARD,
            subject: Subject::Operation {
                op,
                case,
                backward: true,
            },
        })
    }

    /// One training forward pass of a quantizer, under a name of its own.
    pub fn quantizer(forward: QuantizerForward) -> Workload {
        let QuantizerForward { kind, n, k, d } = &forward;
        Workload {
            name: format!("quantizer_{}_n{n}_k{k}_d{d}", kind.name),
            subject: Subject::Quantizer(forward),
        }
    }

    /// One training step of the standard VQ-VAE, under a name of its own.
    pub fn train_step(batch: usize) -> Workload {
        Workload::train_step_of(&crate::quantize::all()[0], batch)
    }

    /// One training step of the standard VQ-VAE with another quantizer, `vqvae_train_step_fsq_b32`;
    /// with `ema` it is the standard one.
    pub fn train_step_of(kind: &'static Kind, batch: usize) -> Workload {
        let of = if kind.name == "ema" {
            String::new()
        } else {
            format!("{}_", kind.name)
        };
        let name = format!("{TRAIN_STEP}{of}b{batch}");
        Workload {
            name,
            subject: Subject::TrainStep(TrainStep {
                batch,
                kind,
                activations: DType::F32,
            }),
        }
    }

    /// Returns the workload of a training step of a prior, or of images drawn from it, under a name
    /// of its own.
    pub fn prior(work: PriorWork) -> Workload {
        Workload {
            name: work.name(),
            subject: Subject::Prior(work),
        }
    }

    /// Returns the workload of dispatches that do next to nothing, under a name of its own.
    pub fn launch(launch: Launch) -> Workload {
        Workload {
            name: launch.name(),
            subject: Subject::Launch(launch),
        }
    }

    fn called(self, name: &str) -> Workload {
        Workload {
            name: name.into(),
            ..self
        }
    }

    /// Returns the workload with activations stored as f16, under the same name; `None` where there
    /// is none.
    pub fn in_f16(&self) -> Option<Workload> {
        let subject = match &self.subject {
            Subject::Operation { op, case, backward } => Subject::Operation {
                op: *op,
                case: op.in_f16(case)?,
                backward: *backward,
            },
            Subject::Quantizer(_) => return None,
            Subject::TrainStep(step) => Subject::TrainStep(TrainStep {
                activations: DType::F16,
                ..*step
            }),
            Subject::Prior(work) if work.kind == super::prior::Kind::Train => {
                Subject::Prior(PriorWork {
                    activations: DType::F16,
                    ..*work
                })
            }
            Subject::Prior(_) | Subject::Launch(_) => return None,
        };
        Some(Workload {
            name: self.name.clone(),
            subject,
        })
    }

    /// Returns the type of stored activations.
    pub fn dtype(&self) -> DType {
        match &self.subject {
            Subject::Operation { case, .. } if case.get("half") == 1 => DType::F16,
            Subject::TrainStep(step) => step.activations,
            Subject::Prior(work) => work.activations,
            _ => DType::F32,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operation, where it is one.
    pub fn op(&self) -> Option<&'static dyn Operation> {
        match &self.subject {
            Subject::Operation { op, .. } => Some(*op),
            _ => None,
        }
    }

    /// The sizes, as `wgvq bench --case` takes them.
    pub fn case(&self) -> Case {
        match &self.subject {
            Subject::Operation { case, .. } => case.clone(),
            Subject::Quantizer(q) => case(&[("n", q.n), ("k", q.k), ("d", q.d)]),
            Subject::TrainStep(t) => case(&[("b", t.batch)]),
            Subject::Prior(p) => case(&[("images", p.images)]),
            Subject::Launch(l) => case(&[("d", l.dispatches)]),
        }
    }

    /// Makes the inputs, random from `seed`.
    ///
    /// # Errors
    /// If they do not fit the device.
    pub fn prepare(&self, gpu: &Gpu, seed: u64) -> Result<Prepared> {
        match &self.subject {
            Subject::Operation { op, case, backward } => prepare(gpu, *op, case, *backward, seed),
            Subject::Quantizer(q) => q.prepare(gpu, seed),
            Subject::TrainStep(t) => t.prepare(gpu, seed),
            Subject::Prior(p) => p.prepare(gpu, seed),
            Subject::Launch(l) => l.prepare(gpu),
        }
    }

    /// Compares what the workload computes with f64, in full or, where that would take long, at
    /// some rows.
    ///
    /// # Errors
    /// If it does not run at all.
    pub fn check(&self, gpu: &Gpu, seed: u64) -> Result<Verdict> {
        match &self.subject {
            Subject::Operation {
                op,
                case,
                backward: false,
            } => verify::forward_part(gpu, *op, case, seed, CHECK_FLOPS),
            Subject::Operation {
                op,
                case,
                backward: true,
            } => {
                let forward = verify::forward_part(gpu, *op, case, seed, CHECK_FLOPS)?;
                Ok(match verify::backward(gpu, *op, case, seed)? {
                    Some(backward) => forward.join(backward),
                    None => forward,
                })
            }
            Subject::Quantizer(q) => q.check(gpu, seed, CHECK_FLOPS),
            Subject::TrainStep(t) => t.check(gpu, seed),
            Subject::Prior(p) => p.check(gpu, seed),
            Subject::Launch(l) => l.check(gpu),
        }
    }
}

const TRAIN_STEP: &str = "vqvae_train_step_";

fn prepare(
    gpu: &Gpu,
    op: &'static dyn Operation,
    case: &Case,
    backward: bool,
    seed: u64,
) -> Result<Prepared> {
    let mut rng = Rng::new(seed);
    let inputs = verify::upload(gpu, op, case, &verify::made(gpu, op, case, &mut rng))?;
    let (gpu, case) = (gpu.clone(), case.clone());
    let Some(gradient) = op.gradient().filter(|_| backward) else {
        let work = Some(op.work(&case));
        return Ok(Prepared {
            call: Box::new(move || op.time(&gpu, &case, &inputs)),
            work,
        });
    };
    let wrt = gradient.wrt(&case);
    let mut upstream = None;
    let call = move || {
        let tape = Tape::new(&gpu);
        let vars: Vec<_> = (inputs.iter().enumerate())
            .map(|(i, x)| {
                if wrt.contains(&i) {
                    tape.leaf(x)
                } else {
                    tape.constant(x)
                }
            })
            .collect();
        let y = gradient.time(&tape, &case, &vars)?;
        // Made once: what comes from the rest of a model is there already.
        let dy = match &upstream {
            Some(dy) => dy,
            None => upstream.insert(rng.normals(y.shape()).upload(&gpu)?),
        };
        tape.backward_with(&y, dy.clone()).map(drop)
    };
    Ok(Prepared {
        call: Box::new(call),
        work: None,
    })
}

fn of(name: &str, op: &str, sizes: &[(&str, usize)], backward: bool) -> Result<Workload> {
    let op = crate::registry::find(op)?;
    let make = if backward {
        Workload::with_gradient
    } else {
        Workload::operation
    };
    Ok(make(op, case(sizes))?.called(name))
}

/// The fixed set, under the names by which other libraries are measured beside it.
///
/// # Errors
/// Never, as long as the operations take the sizes that are written here; a test says so.
pub fn standard() -> Result<Vec<Workload>> {
    let square = [
        ("b", 1),
        ("m", 1024),
        ("n", 1024),
        ("k", 1024),
        ("ta", 0),
        ("tb", 0),
    ];
    let conv = [
        ("n", 16),
        ("h", 32),
        ("w", 32),
        ("i", 64),
        ("o", 64),
        ("kh", 3),
        ("kw", 3),
        ("s", 1),
        ("p", 1),
        ("relu", 0),
    ];
    let mut all = vec![
        of("matmul_1024", "matmul", &square, false)?,
        of("conv3x3_fwd", "conv2d", &conv, false)?,
        of("conv3x3_fwd_bwd", "conv2d", &conv, true)?,
    ];
    for (n, k, d) in [(16_384, 1024, 64), (4_096, 8_192, 64), (16_384, 512, 256)] {
        let search = [("n", n), ("k", k), ("d", d)];
        all.push(Workload::operation(
            crate::registry::find("vq_search")?,
            case(&search),
        )?);
    }
    let heads = [
        ("b", 4),
        ("h", 8),
        ("tq", 256),
        ("tk", 256),
        ("d", 64),
        ("causal", 1),
        ("packed", 0),
        ("mask", 0),
    ];
    all.push(of("attention_causal_fwd", "attention", &heads, false)?);
    all.push(of("attention_causal_fwd_bwd", "attention", &heads, true)?);
    let ema = crate::quantize::find("ema")?;
    all.push(
        Workload::quantizer(QuantizerForward {
            kind: ema,
            n: 16_384,
            k: 1024,
            d: 64,
        })
        .called("vq_module_train_fwd"),
    );
    all.push(Workload::train_step(32));
    Ok(all)
}

/// Returns every operation of the registry at its bench shapes, and with its gradient where it has
/// one.
///
/// # Errors
/// If a bench shape is none of its operation's cases; a test says that none is.
pub fn kernels() -> Result<Vec<Workload>> {
    let mut all = Vec::new();
    for op in operations() {
        for case in op.bench() {
            all.push(Workload::operation(*op, case.clone())?);
            if op.gradient().is_some() {
                all.push(Workload::with_gradient(*op, case)?);
            }
        }
    }
    Ok(all)
}

/// The workload of that name: one of [`standard`], an operation at any case, or a training step at
/// any batch.
///
/// # Errors
/// If the name stands for none; the nearest one is offered.
pub fn find(name: &str) -> Result<Workload> {
    if let Some(found) = standard()?.into_iter().find(|w| w.name == name) {
        return Ok(found);
    }
    if let Some(rest) = name.strip_prefix(TRAIN_STEP) {
        let (kind, batch) = rest.rsplit_once('_').unwrap_or(("ema", rest));
        if let Some(batch) = batch
            .strip_prefix('b')
            .and_then(|b| b.parse().ok())
            .filter(|b| *b > 0)
        {
            return Ok(Workload::train_step_of(crate::quantize::find(kind)?, batch));
        }
    }
    if let Some(launch) = Launch::parse(name) {
        return Ok(Workload::launch(launch));
    }
    if let Some(work) = PriorWork::parse(name) {
        return Ok(Workload::prior(work));
    }
    if let Some(found) = super::quantizer::parse(name) {
        return found.map(Workload::quantizer);
    }
    let (bare, backward) = name
        .strip_suffix(BACKWARD)
        .map_or((name, false), |bare| (bare, true));
    // The longest operation that the name begins with: `bias` must not take `bias_grad_..`.
    let parsed = operations()
        .iter()
        .filter_map(|op| Some((*op, sizes(bare.strip_prefix(op.name())?)?)))
        .max_by_key(|(op, _)| op.name().len());
    match parsed {
        Some((op, case)) if backward => Workload::with_gradient(op, case),
        Some((op, case)) => Workload::operation(op, case),
        None => {
            let known: Vec<String> = standard()?
                .into_iter()
                .chain(kernels()?)
                .map(|w| w.name)
                .collect();
            Err(Error::data(format!(
                "no workload is called `{name}`{}",
                offer(name, known.iter().map(|s| s.as_str()))
            )))
        }
    }
}

/// The operation of that name.
///
/// # Errors
/// If there is none; the nearest one is offered.
pub fn operation(name: &str) -> Result<&'static dyn Operation> {
    let found = operations().iter().find(|op| op.name() == name);
    found.copied().ok_or_else(|| {
        let names = operations().iter().map(|op| op.name());
        Error::data(format!(
            "no operation is called `{name}`{}",
            offer(name, names)
        ))
    })
}

/// `_n7_k3` as the case n=7,k=3.
fn sizes(tail: &str) -> Option<Case> {
    let parts = tail.strip_prefix('_')?.split('_').map(|part| {
        let digits = part
            .find(|c: char| c.is_ascii_digit())
            .filter(|at| *at > 0)?;
        Some(format!(
            "{}={}",
            &part[..digits],
            part[digits..].parse::<usize>().ok()?
        ))
    });
    parts
        .collect::<Option<Vec<String>>>()?
        .join(",")
        .parse()
        .ok()
}

/// `; the nearest is ..`, and where all are listed.
pub(super) fn offer<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    let nearest = best.map_or(String::new(), |b| format!("; the nearest is `{b}`"));
    format!("{nearest} (`wgvq bench --list` shows all)")
}

#[cfg(test)]
mod tests;
