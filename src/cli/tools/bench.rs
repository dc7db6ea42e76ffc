//! `wgvq bench`

mod figures;
mod print;

use crate::cli::common::apart::apart;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use clap::{Args, ValueEnum};
use figures::{chart, csv, lines, studied};
use print::{growth, head, line, shares};
use std::path::PathBuf;
use std::time::Duration;
use wgvq::bench::{self, Baseline, Budget, Sweep, Workload};
use wgvq::gpu::Gpu;
use wgvq::report::study::study;
use wgvq::spec::{Case, case};
use wgvq::storage::atomic;
use wgvq::{Error, Result, registry};

/// Every kernel is compared with its f64 reference first: one that is wrong reports a failure and
/// never a speed.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  wgvq bench                               # the standard workloads
  wgvq bench matmul_1024 vq_search_n999_k77_d12    # by name, as a line of output gives it
  wgvq bench --kernel vq_search --n 4096,16384,65536 --plot search.png
  wgvq bench --suite prior                 # a step of the prior, and drawing images
  wgvq bench --suite quantizers            # each over codes and channels: a table and a chart
  wgvq bench vqvae_train_step_b32 --profile    # the device's time, kernel by kernel
  wgvq bench --suite standard --json > before.json
  wgvq bench --suite standard --compare before.json    # after a change
  wgvq bench --kernel matmul --core subgroup,tiled")]
pub struct Bench {
    /// Workloads by name; --list shows them
    #[arg(value_name = "NAME", conflicts_with_all = ["suite", "kernel"])]
    names: Vec<String>,
    /// A set of workloads
    #[arg(long, value_enum, conflicts_with = "kernel")]
    suite: Option<Suite>,
    /// One operation, at its bench shapes or at those of --case, --n, --k, --d and --size
    #[arg(long, value_name = "OPERATION")]
    kernel: Option<String>,
    /// The sizes, all of them, such as n=4096,k=512,d=64
    #[arg(long, requires = "kernel")]
    case: Option<Case>,
    /// With the gradient
    #[arg(long, requires = "kernel")]
    backward: bool,
    /// Values of the size n
    #[arg(long, value_delimiter = ',', value_name = "LIST", requires = "kernel")]
    n: Vec<usize>,
    /// Values of the size k
    #[arg(long, value_delimiter = ',', value_name = "LIST", requires = "kernel")]
    k: Vec<usize>,
    /// Values of the size d
    #[arg(long, value_delimiter = ',', value_name = "LIST", requires = "kernel")]
    d: Vec<usize>,
    /// Values of any other size, such as m=64,256
    #[arg(long, value_name = "NAME=LIST", requires = "kernel")]
    size: Vec<String>,
    /// Type of stored activations: f32, f16
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "f32",
        value_name = "LIST"
    )]
    dtype: Vec<String>,
    /// Seconds to repeat each workload
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    seconds: f64,
    /// Seed of the inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Say how each workload changed against this file, which --json wrote earlier
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Draw time against the size that takes the most values
    #[arg(long, value_name = "PNG")]
    plot: Option<PathBuf>,
    /// After each workload, say which kernels the device's time goes to
    #[arg(long)]
    profile: bool,
    /// Where --suite quantizers writes its table and chart
    #[arg(long, value_name = "DIR", default_value = "runs/quantizers")]
    out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
    /// Keep times during which the device's clock moved by more than 3 %, as it does on a machine
    /// that others use; each row says so
    #[arg(long)]
    any_clock: bool,
    /// List what there is to time
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
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
}

/// Latents in the quantizer study.
const STUDY_ROWS: usize = 4096;

impl Bench {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        if self.list {
            return list(global);
        }
        if !(self.seconds >= 0.0 && self.seconds <= 3600.0) {
            return Err(Error::config("--seconds", "lies between 0 and 3600"));
        }
        let workloads = self.workloads(global)?;
        let baseline = self.compare.as_deref().map(Baseline::read).transpose()?;
        let plot = match (&self.plot, self.suite) {
            (None, Some(Suite::Quantizers)) => Some(self.out.join("quantizers.png")),
            (plot, _) => plot.clone(),
        };
        let table =
            (self.suite == Some(Suite::Quantizers)).then(|| self.out.join("quantizers.csv"));
        let files = plot.iter().chain(&table);
        let _places = files
            .map(|file| Place::file(global, file, self.overwrite))
            .collect::<Result<Vec<_>>>()?;
        apart(&self.compare, plot.iter().chain(&table))?;
        let cores = if global.core.is_empty() {
            vec![None]
        } else {
            global.core.iter().map(|c| Some(*c)).collect()
        };
        let gpus = cores
            .into_iter()
            .map(|c| global.gpu_with(c))
            .collect::<Result<Vec<Gpu>>>()?;
        if let Some((gpu, core)) = gpus
            .iter()
            .zip(&global.core)
            .find(|(gpu, core)| gpu.core() != **core)
        {
            let what = format!(
                "`{}` cannot run on {}; it has {}",
                core.name(),
                gpu.info().name,
                gpu.core().name()
            );
            return Err(Error::config("--core", what));
        }
        for workload in &workloads {
            enough_memory(workload)?;
        }
        let several =
            if global.core.len() > 1 { 9 } else { 0 } + if self.dtype.len() > 1 { 4 } else { 0 };
        let width = workloads
            .iter()
            .map(|w| w.name().len())
            .max()
            .unwrap_or(0)
            .max(26)
            + several;
        let budget = Budget {
            time: Duration::from_secs_f64(self.seconds),
            ..Default::default()
        };
        let mut rows = Vec::new();
        for (i, gpu) in gpus.iter().enumerate() {
            let peak = bench::peak(gpu)?;
            if i == 0 {
                head(global, gpu, &peak, self.seed, baseline.as_ref(), width);
            }
            for workload in &workloads {
                let row = bench::row(gpu, workload, &peak, budget, self.seed)?;
                let row = if self.any_clock {
                    row
                } else {
                    row.without_refused()
                };
                line(global, &row, baseline.as_ref(), width, self.dtype.len() > 1);
                if self.profile && row.pass {
                    shares(global, &bench::profile(gpu, workload, self.seed)?);
                }
                rows.push((workload.clone(), row));
            }
        }
        growth(global, &rows);
        if let Some(table) = table {
            atomic::write(&table, csv(&rows).as_bytes())?;
            output::note(global, &format!("wrote {}", table.display()));
        }
        if let Some(plot) = plot {
            let info = gpus[0].info();
            let png = match self.suite {
                Some(Suite::Quantizers) => study(
                    &studied(&rows),
                    &format!("{STUDY_ROWS} latents; {}, {}", info.name, info.driver_info),
                )?,
                _ => chart(&rows, info)?,
            };
            atomic::write(&plot, &png)?;
            output::note(global, &format!("wrote {}", plot.display()));
        }
        let failed = rows.iter().filter(|(_, r)| !r.pass).count();
        if failed > 0 {
            output::note(
                global,
                &format!(
                    "{failed} of {} workloads are WRONG: no speed is given for them",
                    rows.len()
                ),
            );
        }
        let refused = rows.iter().filter(|(_, r)| r.refused.is_some());
        let refused = if self.any_clock { 0 } else { refused.count() };
        if refused > 0 {
            output::note(
                global,
                &format!(
                    "{refused} of {} workloads are REFUSED: the clock moved while they were \
                     measured. Measure again when nothing else runs; --any-clock keeps such times",
                    rows.len()
                ),
            );
        }
        Ok(if failed + refused == 0 {
            CommandStatus::Done
        } else {
            CommandStatus::Failed
        })
    }

    fn workloads(&self, global: &Global) -> Result<Vec<Workload>> {
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

/// Returns the second stage.
fn prior() -> Vec<Workload> {
    bench::PriorWork::all().map(Workload::prior).to_vec()
}

fn list(global: &Global) -> Result<CommandStatus> {
    let show = |suite: &str, workloads: Vec<Workload>| {
        for w in workloads {
            if global.json {
                let op = w.op().map(|o| o.name());
                let line = serde_json::json!({
                    "suite": suite, "name": w.name(), "op": op, "case": w.case().to_string(),
                });
                output::result(&line.to_string());
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
    Ok(CommandStatus::Done)
}

/// Inputs and their f64 copies have to fit the machine: better to say so than to be killed by it.
fn enough_memory(workload: &Workload) -> Result<()> {
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

pub(super) fn processor() -> String {
    let mut system = sysinfo::System::new();
    system.refresh_cpu_all();
    let brand = system
        .cpus()
        .first()
        .map_or("unknown", |c| c.brand().trim())
        .to_owned();
    format!("{brand}, {} logical cores", system.cpus().len())
}
