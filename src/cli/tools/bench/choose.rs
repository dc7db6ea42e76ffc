//! The choice of workloads: names, suites, and an operation over lists of sizes.

use super::Bench;
use crate::cli::common::json;
use crate::cli::common::output;
use crate::cli::{CommandStatus, Global};
use clap::ValueEnum;
use wgvq::bench::{self, Launch, Sweep, Workload};
use wgvq::spec::case;
use wgvq::{Error, Result, registry};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Suite {
    /// The fixed set, by which other libraries are measured too
    Standard,
    /// Every operation at its bench shapes
    Kernels,
    /// Growth of the time with rows, codes, channels and batch
    Scaling,
    /// Every quantizer over K and D
    Quantizers,
    /// The standard training step with every quantizer
    Steps,
    /// A training step of the prior, and images drawn from it with a cache and without
    Prior,
    /// Error of the codes of --vectors against time: k-means, product and residual quantization
    Distortion,
    /// 1, 10 and 100 dispatches that do next to nothing: the price of starting a kernel
    Launch,
}

/// Latents in the quantizer study.
pub(super) const STUDY_ROWS: usize = 4096;

impl Bench {
    pub(super) fn workloads(&self, global: &Global) -> Result<Vec<Workload>> {
        let chosen = self.chosen()?;
        let mut all = Vec::new();
        for dtype in &self.dtype {
            match dtype.as_str() {
                "f32" => all.extend(chosen.iter().cloned()),
                "f16" => {
                    let (has, lacks): (Vec<_>, Vec<_>) = chosen
                        .iter()
                        .map(|w| (w, w.in_f16()))
                        .partition(|w| w.1.is_some());
                    if !lacks.is_empty() {
                        let names: Vec<&str> = lacks.iter().map(|(w, _)| w.name()).collect();
                        output::note(
                            global,
                            &format!("in f32 alone, and left out in f16: {}", names.join(", ")),
                        );
                    }
                    all.extend(has.into_iter().filter_map(|(_, half)| half));
                }
                other => {
                    let what = format!(
                        "`{other}` is no type that activations are stored as; there are f32 and \
                         f16"
                    );
                    return Err(Error::config("--dtype", what));
                }
            }
        }
        if all.is_empty() {
            let ops = registry::operations()
                .iter()
                .filter(|op| !op.halves().is_empty())
                .map(|op| op.name());
            let what = format!(
                "nothing to time in f16; {} and the training step have it",
                ops.collect::<Vec<_>>().join(", ")
            );
            return Err(Error::config("--dtype", what));
        }
        Ok(all)
    }

    /// Returns the workloads that the arguments name, in f32.
    fn chosen(&self) -> Result<Vec<Workload>> {
        if let Some(kernel) = &self.kernel {
            return self.kernel(kernel);
        }
        if !self.names.is_empty() {
            return self.names.iter().map(|n| bench::find(n)).collect();
        }
        match self.suite.unwrap_or(Suite::Standard) {
            Suite::Standard => bench::standard(),
            Suite::Kernels => bench::kernels(),
            Suite::Scaling => scaling(),
            Suite::Quantizers => Ok(bench::study(STUDY_ROWS)),
            Suite::Steps => Ok(steps()),
            Suite::Prior => Ok(prior()),
            Suite::Launch => Ok(launch()),
            // It has a command of its own.
            Suite::Distortion => Ok(Vec::new()),
        }
    }

    fn kernel(&self, name: &str) -> Result<Vec<Workload>> {
        let op = bench::operation(name)?;
        let mut lists: Vec<(String, Vec<usize>)> = [("n", &self.n), ("k", &self.k), ("d", &self.d)]
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(name, list)| (name.to_owned(), list.clone()))
            .collect();
        for size in &self.size {
            lists.push(parse_list(size)?);
        }
        let base = match &self.case {
            Some(case) => vec![case.clone()],
            // Bench shapes that a sweep makes equal are one.
            None if lists.is_empty() => op.bench(),
            None => op.bench().into_iter().take(1).collect(),
        };
        for (size, _) in &lists {
            let known: Vec<&str> = base
                .iter()
                .flat_map(|c| c.sizes().map(|(n, _)| n))
                .collect();
            if !known.contains(&size.as_str()) {
                return Err(Error::config(
                    "--size",
                    format!("{name} has no size `{size}`; it has {}", known.join(", ")),
                ));
            }
        }
        let make = if self.backward {
            Workload::with_gradient
        } else {
            Workload::operation
        };
        let cases = base.iter().flat_map(|c| Sweep(lists.clone()).cases(c));
        cases.map(|case| make(op, case)).collect()
    }
}

fn parse_list(text: &str) -> Result<(String, Vec<usize>)> {
    let wrong = || Error::config("--size", format!("`{text}` is not NAME=NUMBER,NUMBER,.."));
    let (name, list) = text.split_once('=').ok_or_else(wrong)?;
    let values = list
        .split(',')
        .map(|v| v.trim().parse().map_err(|_| wrong()))
        .collect::<Result<_>>()?;
    Ok((name.trim().to_owned(), values))
}

/// Each of rows, codes, channels and batch, the others held.
fn scaling() -> Result<Vec<Workload>> {
    let op = registry::find("vq_search")?;
    let base = case(&[("n", 16_384), ("k", 1024), ("d", 64)]);
    let lists = [
        ("n", vec![4_096, 8_192, 16_384, 32_768, 65_536]),
        ("k", vec![256, 512, 1_024, 2_048, 4_096]),
        ("d", vec![16, 32, 64, 128, 256]),
    ];
    let mut all = Vec::new();
    for (name, values) in lists {
        for value in values {
            all.push(Workload::operation(op, base.with(name, value))?);
        }
    }
    all.extend([8, 16, 32, 64].map(Workload::train_step));
    Ok(all)
}

/// Returns the standard training step with each quantizer in the place of the moving average.
fn steps() -> Vec<Workload> {
    wgvq::quantize::all()
        .iter()
        .map(|kind| Workload::train_step_of(kind, 32))
        .collect()
}

fn launch() -> Vec<Workload> {
    Launch::all().map(Workload::launch).to_vec()
}

/// Returns the second stage.
fn prior() -> Vec<Workload> {
    bench::PriorWork::all().map(Workload::prior).to_vec()
}

pub(super) fn list(global: &Global) -> Result<CommandStatus> {
    let show = |suite: &str, workloads: Vec<Workload>| {
        for w in workloads {
            if global.json {
                let op = w.op().map(|o| o.name());
                let line = serde_json::json!({
                    "suite": suite, "name": w.name(), "op": op, "case": w.case().to_string(),
                });
                json::print("bench-workload", &line);
            } else {
                output::result(&format!("{suite:<10} {}", w.name()));
            }
        }
    };
    show("standard", bench::standard()?);
    show("kernels", bench::kernels()?);
    show("scaling", scaling()?);
    show("quantizers", bench::study(STUDY_ROWS));
    show("steps", steps());
    show("prior", prior());
    show("launch", launch());
    Ok(CommandStatus::Done)
}

/// Inputs and their f64 copies have to fit the machine: better to say so than to be killed by it.
pub(super) fn enough_memory(workload: &Workload) -> Result<()> {
    let Some(op) = workload.op() else {
        return Ok(());
    };
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    // On the device, on the host, widened to f64.
    let (asked, limit) = (
        op.work(&workload.case()).bytes * 4.0,
        system.available_memory(),
    );
    if asked > limit as f64 {
        let what = format!("{}, with its reference", workload.name());
        return Err(Error::Limit {
            what,
            asked: asked as u64,
            limit,
        });
    }
    Ok(())
}
