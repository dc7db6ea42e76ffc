//! `wgvq bench`

mod choose;
mod distortion;
mod figures;
mod print;
mod processes;
mod replay;
mod report;
mod units;
mod unread;

use crate::cli::common::apart::apart;
use crate::cli::common::output;
use crate::cli::common::place::Place;
use crate::cli::{CommandStatus, Global};
use choose::{STUDY_ROWS, Suite, enough_memory, list};
use clap::{Args, Subcommand};
use figures::{chart, check_chart, csv, lines, studied};
use print::{Columns, change, growth, head, header, line, peaks, shares};
use processes::CompareBy;
use report::Shared;
use std::path::PathBuf;
use std::time::Duration;
use units::{Percent, Span};
use wgvq::bench::{
    self, Budget, Cache, Environment, Peak, Peer, Results, Row, Run, Stop, Workload,
};
use wgvq::gpu::Gpu;
use wgvq::report::study::study;
use wgvq::spec::Case;
use wgvq::storage::atomic;
use wgvq::{Error, Result};

/// See `--spread`.
const DEFAULT_SPREAD: &str = "1%";

/// Every kernel is compared with its f64 reference first: one that is wrong reports a failure and
/// never a speed.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_long_help = "\
Examples:
  wgvq bench                               # the standard workloads
  wgvq bench matmul_1024 vq_search_n999_k77_d12    # by name, as a line of output gives it
  wgvq bench --kernel vq_search --n 4096,16384,65536 --plot search.png
  wgvq bench --cache warm,cold             # inputs in the caches, and in memory
  wgvq bench --suite prior                 # a step of the prior, and drawing images
  wgvq bench --suite quantizers            # each over codes and channels: a table and a chart
  wgvq bench vqvae_train_step_b32 --profile    # the device's time, kernel by kernel
  wgvq bench --suite distortion --vectors x.npy    # error of the codes against time
  wgvq bench --replay runs/emoji           # the shapes of a run's own steps
  wgvq bench --suite standard --json > before.json
  wgvq bench --suite standard --compare before.json    # after a change
  wgvq bench --suite standard --processes 5 --share    # a file and a table for others
  wgvq bench --suite standard --against old/wgvq --processes 10 --fail-above 5%
  wgvq bench --suite standard --peer 'python scripts/peers/pytorch.py'
  wgvq bench --kernel matmul --core subgroup,tiled")]
pub struct Bench {
    #[command(subcommand)]
    command: Option<Sub>,
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
    /// Time forward and backward together
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
    /// Seconds to repeat each workload, at most; 0 times it once, beside peaks that are rough
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    seconds: f64,
    /// Stop sooner, once the median is as sure as this: half of its interval at 95 %, by order
    /// statistics, over itself. A row that is not says so
    #[arg(long, value_name = "PERCENT", default_value = DEFAULT_SPREAD)]
    spread: Percent,
    /// Whether inputs lie in the caches: warm, the same ones again and again; cold, others each
    /// time, until twice the last-level cache lies between two uses. A row for each
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "warm",
        value_name = "LIST"
    )]
    cache: Vec<Cache>,
    /// Size of the last-level cache, for --cache cold; by default the processor's own for software
    /// adapters, and 128 MiB for GPUs, which tell none
    #[arg(long, value_name = "MIB")]
    last_level_cache: Option<u64>,
    /// Seed of the inputs, or of --suite distortion's codebooks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure in so many processes, one after another, and show the spread within them and
    /// between them
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1000),
        conflicts_with_all = ["plot", "profile"]
    )]
    processes: Option<u16>,
    /// Take turns with another build of this program, six times or as --processes says, and say
    /// for each workload whether this one is SAME, FASTER, SLOWER or UNSURE. What is faster or
    /// slower is measured again, and has to be so twice
    #[arg(
        long,
        value_name = "PROGRAM",
        conflicts_with_all = ["plot", "profile", "compare"]
    )]
    against: Option<PathBuf>,
    /// The processes of both builds that are compared: all by their medians, or the fastest fifth
    /// by their least times, for machines that others use as well (thirty turns by default)
    #[arg(long, default_value = "median", requires = "against")]
    compare_by: CompareBy,
    /// Take as many turns again while a workload is UNSURE, up to so many processes of each build
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1000),
        requires = "against"
    )]
    most_processes: Option<u16>,
    /// Say how each workload changed against this file, which --json wrote earlier on the same
    /// machine. A verdict takes four processes on both sides
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Exit with 1 where a workload is SLOWER by more than this share (5% where verdicts alone are
    /// asked for), there are too few times for a verdict, or the other side does not have it
    #[arg(long, value_name = "PERCENT")]
    fail_above: Option<Percent>,
    /// Changes smaller than this are none, whatever their share
    #[arg(long, value_name = "TIME", default_value = "20us")]
    floor: Span,
    /// Let this command, a program of another library, compute each workload beside ours: it is
    /// held against f64 too, both are timed by turns, and the row has the ratio. scripts/peers has
    /// some; may be given several times
    #[arg(
        long,
        value_name = "COMMAND",
        conflicts_with_all = ["processes", "against", "compare"]
    )]
    peer: Vec<String>,
    /// Draw time against the size that takes the most values
    #[arg(long, value_name = "PNG")]
    plot: Option<PathBuf>,
    /// After each workload, say which kernels the device's time goes to
    #[arg(long)]
    profile: bool,
    /// The vectors of --suite distortion: a .npy file with an array [N, ..], a vector to each row
    #[arg(long, value_name = "FILE", requires = "suite")]
    vectors: Option<PathBuf>,
    /// Where --suite quantizers and --suite distortion write a table and a chart
    #[arg(long, value_name = "DIR", default_value = "runs/quantizers")]
    out: PathBuf,
    /// Write the results to a file of this folder, named by the adapter, and print a Markdown table
    /// of them: to be sent to others
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "benches/results"
    )]
    share: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    overwrite: bool,
    /// Keep times during which the device's clock moved by more than 3 %, as it does on a machine
    /// that others use; each row says so. Without this such a row is measured again, up to three
    /// times, and then refused
    #[arg(long)]
    any_clock: bool,
    /// Time the shapes that this run dispatches, each checked as all are: a training step of its
    /// model and batch, its prior's, an encoding. A row's share is that of its calls in the step
    #[arg(long, value_name = "RUN", conflicts_with_all = ["names", "suite", "kernel"])]
    pub replay: Option<PathBuf>,
    /// List what there is to time
    #[arg(long)]
    list: bool,
}

#[derive(Subcommand)]
enum Sub {
    /// Make a page of results, with charts and tables, or a table of them
    Report(report::Report),
}

impl Bench {
    pub fn run(&self, global: &Global) -> Result<CommandStatus> {
        if let Some(Sub::Report(report)) = &self.command {
            return report.run(global);
        }
        if self.list {
            return list(global);
        }
        if self.suite == Some(Suite::Distortion) {
            return self.distortion(global);
        }
        if self.vectors.is_some() {
            let what = "is read by --suite distortion alone";
            return Err(Error::config("--vectors", what));
        }
        if self.cache.iter().skip(1).any(|c| *c == self.cache[0]) {
            return Err(Error::config("--cache", "names the same twice"));
        }
        if self
            .last_level_cache
            .is_some_and(|mib| !(1..=1 << 20).contains(&mib))
        {
            let what = "lies between 1 and 1048576 MiB";
            return Err(Error::config("--last-level-cache", what));
        }
        if !(self.seconds >= 0.0 && self.seconds <= 3600.0) {
            return Err(Error::config("--seconds", "lies between 0 and 3600"));
        }
        if let Some(run) = &self.replay {
            return self.replay(global, run);
        }
        let workloads = self.workloads(global)?;
        let baseline = self.compare.as_deref().map(Results::read).transpose()?;
        if self.fail_above.is_some() && self.compare.is_none() && self.against.is_none() {
            let what = "needs --compare or --against: slower than what?";
            return Err(Error::config("--fail-above", what));
        }
        self.check_gate()?;
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
        if plot.is_some() && table.is_none() {
            check_chart(&workloads)?;
        }
        if self.has_processes() {
            return self.by_processes(global, &workloads, baseline, [&table, &plot]);
        }
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
        let names = workloads.iter().map(Workload::name);
        let columns = Columns::new(global, names, self.shown(), baseline.is_some());
        let budget = Budget::default();
        let budget = Budget {
            time: Duration::from_secs_f64(self.seconds),
            spread: self.spread.share(),
            again: if self.any_clock { 0 } else { budget.again },
            ..budget
        };
        let shared = self.shared(global, &gpus[0])?;
        let mut peers = self.peers(global)?;
        let mut rows = Vec::new();
        let mut header = None;
        for gpu in &gpus {
            let environment = Environment::now(gpu);
            let peak = self.peak(gpu)?;
            // Several cores of one device are one run.
            let measured = &*header.get_or_insert_with(|| {
                let header = head(global, gpu, &peak, self.seed, environment, &columns);
                if let Some(old) = &baseline {
                    let (header, rows) = (header.clone(), Vec::new());
                    let runs = vec![Run { header, rows }];
                    peaks(global, &Results { runs }, old);
                }
                header
            });
            let size = self.last_level_cache.map(|mib| mib << 20);
            let size = size.unwrap_or_else(|| bench::last_level_cache(gpu));
            for workload in &workloads {
                let caches = (&self.cache[..], size);
                for row in bench::rows(gpu, workload, &peak, budget, self.seed, caches)? {
                    let mut row = if self.any_clock {
                        row
                    } else {
                        row.without_refused()
                    };
                    if row.ms.is_some() && row.cache == Cache::Warm {
                        for peer in &mut peers {
                            let beside = bench::beside(gpu, workload, peer, budget, self.seed)?;
                            row.peers.push(beside);
                        }
                    }
                    let change = match &baseline {
                        None => String::new(),
                        Some(old) => {
                            old.comparable(measured, &[&row])?;
                            change(measured, &row, old, self.threshold())
                        }
                    };
                    line(global, &row, &change, &columns);
                    rows.push((workload.clone(), row));
                }
                let right = rows.last().is_some_and(|(_, row)| row.pass);
                if self.profile && right {
                    shares(global, &bench::profile(gpu, workload, self.seed)?);
                }
            }
        }
        growth(global, &rows);
        // What took long to measure is kept first.
        if let (Some(shared), Some(header)) = (&shared, header) {
            let rows = rows.iter().map(|(_, row)| row.clone()).collect();
            let runs = vec![Run { header, rows }];
            shared.write(global, &Results { runs })?;
        }
        let info = gpus[0].info();
        self.draw(
            global,
            &rows,
            [&info.name, &info.driver_info],
            [&table, &plot],
        )?;
        let unsure = |r: &bench::Row| r.ms.is_some() && r.stopped != Some(Stop::Spread);
        let unsure = rows.iter().filter(|(_, r)| unsure(r)).count();
        if unsure > 0 && self.seconds > 0.0 {
            output::note(
                global,
                &format!(
                    "{unsure} of {} medians are less sure than {} (marked !): their time or their \
                     repetitions were over; --seconds gives them more",
                    rows.len(),
                    self.spread,
                ),
            );
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
}

impl Bench {
    /// Whether rows say their type, and their cache: where there are several.
    fn shown(&self) -> [bool; 2] {
        [self.dtype.len() > 1, self.cache.len() > 1]
    }

    /// Writes the table of rows, measured on this adapter under this driver, and their chart, where
    /// they are asked for.
    fn draw(
        &self,
        global: &Global,
        rows: &[(Workload, Row)],
        [adapter, driver]: [&str; 2],
        [table, plot]: [&Option<PathBuf>; 2],
    ) -> Result<()> {
        if let Some(table) = table {
            atomic::write(table, csv(rows).as_bytes())?;
            output::note(global, &format!("wrote {}", table.display()));
        }
        if let Some(plot) = plot {
            let png = match self.suite {
                Some(Suite::Quantizers) => study(
                    &studied(rows),
                    &format!("{STUDY_ROWS} latents; {adapter}, {driver}"),
                )?,
                _ => chart(rows, &format!("{adapter}, {driver}"))?,
            };
            atomic::write(plot, &png)?;
            output::note(global, &format!("wrote {}", plot.display()));
        }
        Ok(())
    }

    /// Takes the place of the results for others, where they are asked for.
    fn shared(&self, global: &Global, gpu: &Gpu) -> Result<Option<Shared>> {
        let Some(folder) = &self.share else {
            return Ok(None);
        };
        let none = Peak {
            gflops: 0.0,
            gbps: 0.0,
            launch_us: 0.0,
        };
        let machine = header(gpu, &none, self.seed, Environment::now(gpu));
        Shared::take(global, folder, &machine, self.overwrite).map(Some)
    }

    /// Starts the peers; one that is not installed is said and passed over.
    fn peers(&self, global: &Global) -> Result<Vec<Peer>> {
        let mut peers = Vec::new();
        for command in &self.peer {
            match Peer::start(command)? {
                Ok(peer) => peers.push(peer),
                Err(why) => {
                    output::note(global, &format!("`{command}` is passed over: {why}"));
                }
            }
        }
        Ok(peers)
    }
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
