//! The commands, most in a file of their own, in folders by what they are about.

mod common;
mod first_stage;
mod generate;
mod prior;
mod text2image;
mod tools;

use clap::{Args, Parser, Subcommand};
use common::ranks::{Processes, Together};
use common::runs::{Output, Runs};
use std::process::ExitCode;
use std::slice::from_mut;
use std::time::Duration;
use wgvq::gpu::{Core, Gpu, Options, RobustAccess};
use wgvq::parallel::Ranks;
use wgvq::{Error, Result};

/// Trains VQ-VAEs and priors over their codes, turns images into codes and back, draws new images,
/// on any GPU or none.
#[derive(Parser)]
#[command(
    name = "wgvq",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// The adapter: a number or part of a name, as `wgvq info` lists them, or a backend (vulkan,
    /// metal, dx12)
    #[arg(long, global = true, env = "WGVQ_ADAPTER", value_name = "NAME|INDEX")]
    adapter: Option<String>,
    /// The matrix core (the shaders' inner loop of products, no hardware unit), instead of the one
    /// that suits the adapter: subgroup, tiled or coopmat (a GPU's matrix units, operands in f16);
    /// `bench` takes a list
    #[arg(
        long,
        global = true,
        env = "WGVQ_CORE",
        value_name = "CORE",
        value_delimiter = ','
    )]
    core: Vec<Core>,
    /// Robust buffer access: on, as wgpu's devices have it, or off, where the driver checks no
    /// access of a kernel (Vulkan)
    #[arg(
        long,
        global = true,
        env = "WGVQ_ROBUST_ACCESS",
        value_name = "on|off",
        default_value = "on"
    )]
    robust_access: RobustAccess,
    /// Time in which the device may finish nothing while it is waited for, before it is taken to
    /// hang, which is an error; 0 waits without an end [default: 600]
    #[arg(
        long,
        global = true,
        env = "WGVQ_DEVICE_TIMEOUT",
        value_name = "SECONDS",
        value_parser = device_timeout
    )]
    device_timeout: Option<Duration>,
    /// Print results and errors only
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Print results as JSON, one line each
    #[arg(long, global = true)]
    json: bool,
    /// No colour and no progress bar
    #[arg(
        long,
        global = true,
        env = "NO_COLOR",
        value_parser = clap::builder::FalseyValueParser::new()
    )]
    no_color: bool,
}

impl Global {
    fn one_core(&self) -> Result<Option<Core>> {
        match self.core[..] {
            [] => Ok(None),
            [core] => Ok(Some(core)),
            _ => Err(Error::config(
                "--core",
                "takes one core here; only `wgvq bench` compares several",
            )),
        }
    }

    fn gpu(&self) -> Result<Gpu> {
        self.gpu_with(self.one_core()?)
    }

    /// The options of an engine, as the command line has them.
    fn engine(&self, core: Option<Core>) -> Options {
        Options {
            adapter: self.adapter.clone(),
            core,
            robust_access: self.robust_access,
            device_timeout: self.device_timeout,
            ..Default::default()
        }
    }

    /// Without the stored table, which may be what is wrong.
    fn untuned_gpu(&self) -> Result<Gpu> {
        Gpu::new(self.engine(self.one_core()?))
    }

    fn gpu_with(&self, core: Option<Core>) -> Result<Gpu> {
        let gpu = Gpu::new(self.engine(core))?;
        wgvq::bench::apply_stored_tuning(&gpu, core)?;
        Ok(gpu)
    }
}

/// Reads seconds; 0 is no end.
fn device_timeout(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "takes seconds".to_owned())?;
    if seconds == 0.0 {
        return Ok(Duration::MAX);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "takes seconds, 0 for no end".to_owned())
}

#[derive(Subcommand)]
enum Command {
    /// Train a small VQ-VAE on the embedded emoji and a prior over its codes; show reconstructions
    /// and samples
    Demo(tools::demo::Demo),
    /// Train a model on images (a folder, a file or a named data set), or on vectors
    Train(first_stage::train::Train),
    /// Train several quantizers, sizes of codebooks or priors under one budget: a table and a chart
    Compare(first_stage::compare::Compare),
    /// Make a run of a VQ-GAN that others trained: a checkpoint of taming-transformers, diffusers,
    /// LlamaGen, Janus, VAR, MaskGIT or Emu3; or a codebook file of a quantizer's
    Import(first_stage::import::Import),
    /// Make a run of a trained model: one that is part of the program, or a file of `wgvq export
    /// --bundle`
    Get(tools::get::Get),
    /// List the configurations that there are by name, or print one, to be copied
    Presets(tools::presets::Presets),
    /// Print every key of a configuration with its meaning and its default
    Config(tools::config::Config),
    /// Say what a configuration will take: parameters, memory, operations and time per step
    Plan(first_stage::plan::Plan),
    /// Send images through a trained model and show them side by side with the originals
    Reconstruct(first_stage::reconstruct::Reconstruct),
    /// Look inside a trained model's codebook: pictures, and a page that holds them
    Inspect(first_stage::inspect::Inspect),
    /// Set what runs keep of images, and for how many bits, beside JPEG, PNG, WebP and AVIF: a
    /// chart and a table; or write a page about runs
    Report(first_stage::report::Report),
    /// Turn images into codes
    Encode(first_stage::codes::Encode),
    /// Turn codes into images
    Decode(first_stage::codes::Decode),
    /// Count the codes of a data set, so that `wgvq pack` makes smaller files
    Statistics(first_stage::statistics::Statistics),
    /// Turn images into packed codes: a file of as few bytes as the codes need
    Pack(first_stage::pack::Pack),
    /// Turn packed codes into images
    Unpack(first_stage::pack::Unpack),
    /// Write a trained model, or a part of it, for others: the whole run as one small file, its
    /// decoder, a folder for the Hugging Face Hub, ONNX files, NumPy arrays, a web page
    Export(first_stage::export::Export),
    /// Train a transformer over the codes of a trained model: the second stage
    Prior(prior::train::PriorCommand),
    /// Draw new images from a run's prior
    Sample(prior::sample::Sample),
    /// Complete an image of which a part is given
    Complete(prior::complete::Complete),
    /// Measure how far a run's samples lie from real images, each figure beside its floor
    Evaluate(prior::evaluate::Evaluate),
    /// Images from texts: train on captioned images, draw, and measure
    #[command(name = "text2image")]
    Text2Image(text2image::Text2Image),
    /// List the adapters and what of the engine each can run
    #[command(after_long_help = "\
A matrix core is the inner loop of the shaders that compute matrix products, convolutions and
the codebook search. It is no unit of the hardware; coopmat alone uses a GPU's matrix units.

Examples:
  wgvq info
  wgvq info --json")]
    Info,
    /// Say whether wgvq works on this machine, and what to do where it does not
    Doctor(tools::doctor::Doctor),
    /// Time kernels and whole steps, after checking that they are right
    Bench(tools::bench::Bench),
    /// Measure which tiles of the matrix core suit this adapter, and keep the table
    Tune(tools::tune::Tune),
    /// Turn vectors of any origin into codes: k-means, product and residual quantization of arrays
    Quantize(tools::quantize::Quantize),
    /// List the variants of the kernels, write them in the languages of drivers, or compile them
    /// and say what the driver's compiler made of them
    Kernels(tools::kernels::Kernels),
    /// Check every operation against its reference on this adapter
    Selftest(tools::selftest::Selftest),
    /// Print a script that completes commands and options in a shell
    Completions(generate::Completions),
    /// Print the reference of the command line, or write man pages
    #[command(hide = true)]
    Generate(generate::Generate),
}

impl Command {
    /// The parts in it of several processes that were started together.
    fn together(&self) -> Together {
        match self {
            Command::Train(_) | Command::Prior(_) => Together::Led,
            Command::Text2Image(command) if command.trains() => Together::Led,
            Command::Encode(command) if command.is_handed_out() => Together::Alike,
            _ => Together::Apart,
        }
    }

    /// The runs that it reads; a name of a model of the program may stand in their place.
    fn runs(&mut self) -> Option<Runs<'_>> {
        use Output::{Elsewhere, InRun};
        let (paths, output) = match self {
            Command::Reconstruct(c) => (from_mut(&mut c.run), Elsewhere),
            Command::Inspect(c) => (from_mut(&mut c.run), Output::by("--out", c.out.as_ref())),
            Command::Report(c) => (&mut c.runs[..], Output::by("--out", c.out.as_ref())),
            Command::Encode(c) => (c.run.as_mut_slice(), Elsewhere),
            Command::Decode(c) => (from_mut(&mut c.run), Elsewhere),
            Command::Statistics(c) => {
                let output = Output::by("--output", c.output.as_ref());
                (from_mut(&mut c.run), output)
            }
            Command::Pack(c) => (from_mut(&mut c.run), Elsewhere),
            Command::Unpack(c) => (from_mut(&mut c.run), Elsewhere),
            Command::Export(c) => (from_mut(&mut c.run), Elsewhere),
            Command::Compare(c) => (c.priors.of.as_mut_slice(), Elsewhere),
            Command::Prior(c) => (from_mut(&mut c.run), InRun),
            Command::Sample(c) => (from_mut(&mut c.run), Elsewhere),
            Command::Complete(c) => (from_mut(&mut c.run), Elsewhere),
            Command::Evaluate(c) => (from_mut(&mut c.run), Output::by("--out", c.out.as_ref())),
            Command::Text2Image(c) => return c.runs(),
            Command::Bench(c) => (c.replay.as_mut_slice(), Elsewhere),
            _ => return None,
        };
        Some(Runs { paths, output })
    }
}

/// The end of a command that did not fail.
enum CommandStatus {
    Done,
    Failed,
    /// Interrupted, and saved.
    Interrupted,
    /// Interrupted, with nothing to go on from.
    Abandoned,
}

pub fn main() -> ExitCode {
    common::losses::quiet_losses();
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version go to standard output and are no failure.
            let code = if e.use_stderr() { 2 } else { 0 };
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    let global = &mut cli.global;
    let processes = match Processes::join(cli.command.together()) {
        Ok(processes) => processes,
        Err(error) => {
            common::output::error(global, &error, None);
            return ExitCode::FAILURE;
        }
    };
    global.adapter = global.adapter.take().or_else(|| processes.adapter());
    if let Some(served) = processes.serve(global) {
        return match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                processes.fail(global, &error);
                ExitCode::FAILURE
            }
        };
    }
    // Bars of several processes would write over each other.
    global.no_color |= Ranks::world().rank() > 0;
    let result = run(&mut cli).and_then(|status| processes.dismiss().map(|()| status));
    match result {
        Ok(CommandStatus::Done) => ExitCode::SUCCESS,
        Ok(CommandStatus::Failed | CommandStatus::Abandoned) => ExitCode::FAILURE,
        Ok(CommandStatus::Interrupted) => ExitCode::from(130),
        Err(error) => {
            processes.fail(&cli.global, &error);
            ExitCode::from(if matches!(error, Error::Config { .. }) {
                2
            } else {
                1
            })
        }
    }
}

fn run(cli: &mut Cli) -> Result<CommandStatus> {
    let global = &cli.global;
    common::output::warn_of_what_the_library_says(global);
    if let Some(runs) = cli.command.runs() {
        runs.find(global)?;
    }
    match &cli.command {
        Command::Demo(c) => c.run(global),
        Command::Train(c) => c.run(global),
        Command::Compare(c) => c.run(global),
        Command::Import(c) => c.run(global),
        Command::Get(c) => c.run(global),
        Command::Presets(c) => c.run(global),
        Command::Config(c) => c.run(global),
        Command::Plan(c) => c.run(global),
        Command::Reconstruct(c) => c.run(global),
        Command::Inspect(c) => c.run(global),
        Command::Report(c) => c.run(global),
        Command::Encode(c) => c.run(global),
        Command::Decode(c) => c.run(global),
        Command::Statistics(c) => c.run(global),
        Command::Pack(c) => c.run(global),
        Command::Unpack(c) => c.run(global),
        Command::Export(c) => c.run(global),
        Command::Prior(c) => c.run(global),
        Command::Sample(c) => c.run(global),
        Command::Complete(c) => c.run(global),
        Command::Evaluate(c) => c.run(global),
        Command::Text2Image(c) => c.run(global),
        Command::Info => tools::info::run(global),
        Command::Doctor(c) => c.run(global),
        Command::Bench(c) => c.run(global),
        Command::Tune(c) => c.run(global),
        Command::Quantize(c) => c.run(global),
        Command::Kernels(c) => c.run(global),
        Command::Selftest(c) => c.run(global),
        Command::Completions(c) => c.run(),
        Command::Generate(c) => c.run(global),
    }
}
