//! A step of a large prior, saved; then the step after it, and the same step by a process that
//! begins with what was saved: the memory of each beside what was planned, and whether both ended
//! with the same numbers.
//!
//! ```text
//! cargo run --release --example large_prior -- first xxl /tmp/large
//! cargo run --release --example large_prior -- again xxl /tmp/large
//! ```
//!
//! The optimiser keeps its moments in 16 bits, and no copies of the weights are kept. `step` in
//! place of `first` takes a step and saves nothing: a checkpoint has 8 bytes a parameter.

use std::path::{Path, PathBuf};
use std::time::Instant;
use wgvq::codes::tokens::{TokenDatasetInfo, Tokens};
use wgvq::config::prior::PriorConfig;
use wgvq::config::{DottedConfig, Resolved};
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::tokenize::{CodeRows, write_tokens};
use wgvq::models::prior::{Shape, Vocabulary};
use wgvq::plan::PriorMemory;
use wgvq::train::Trainer;
use wgvq::train::prior::PriorTrainer;
use wgvq::{Error, Result};

const USAGE: &str = "say `first`, `again` or `step`, a size of priors, and a folder";
/// Rows and columns of an image's codes, and the codes of the codebook.
const GRID: usize = 4;
const CODES: usize = 512;

/// Returns the most memory that this process has had, where the system tells.
fn most_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn configuration(size: &str) -> Result<Resolved<PriorConfig>> {
    let mut config = PriorConfig {
        prior: Shape::of_size(size)?,
        ..Default::default()
    };
    for (key, value) in [
        ("train.optimizer_state", "bf16"),
        ("train.ema_decay", "0"),
        ("train.keep_best", "false"),
        ("train.batch_size", "1"),
        ("train.log_every", "1"),
    ] {
        config.set(key, value)?;
    }
    config.resolve()
}

fn vocabulary() -> Vocabulary {
    Vocabulary {
        codebook_size: CODES,
        codebooks: 1,
        grid: [GRID, GRID],
        classes: 0,
        above: Vec::new(),
        text: None,
        scales: None,
    }
}

/// Codes of four images and of one held out.
fn tokens(folder: &Path) -> Result<Tokens> {
    let folder = folder.join("tokens");
    if Tokens::exist(&folder) {
        return Tokens::open(&folder);
    }
    let info = TokenDatasetInfo {
        model: String::new(),
        quantizer: String::new(),
        level: String::new(),
        vocabulary: vocabulary(),
        image: [1, 1, 1],
        classes: Vec::new(),
        data: "made-up codes".into(),
        data_sha256: String::new(),
        mirrored: false,
        reader: String::new(),
    };
    let each = GRID * GRID;
    let codes: Vec<u32> = (0..5 * each).map(|i| (i * 31 % CODES) as u32).collect();
    let (train, test) = codes.split_at(4 * each);
    let rows = |codes, classes| CodeRows { codes, classes };
    write_tokens(&info, rows(train, &[0; 4]), rows(test, &[0]), &folder)
}

/// Takes a step, and says what it took.
fn step(trainer: &mut PriorTrainer) -> Result<()> {
    let began = Instant::now();
    trainer.step()?;
    for row in trainer.rows(true)? {
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "step {}: a loss of {:.4}, {seconds:.1} s",
            row.step, row.loss
        );
    }
    Ok(())
}

fn report(gpu: &Gpu, what: &str) {
    let device = mib(gpu.memory().peak);
    match most_memory() {
        Some(process) => println!(
            "{what}: device memory {device} MiB at peak, VmHWM {} MiB",
            mib(process)
        ),
        None => println!("{what}: device memory {device} MiB at peak"),
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, size, folder] = &words[..] else {
        return Err(Error::data(USAGE));
    };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)
        .map_err(|e| Error::file(&folder, format!("cannot be made: {e}")))?;
    let (saved, sum) = (folder.join("saved.safetensors"), folder.join("sum.txt"));
    let gpu = Gpu::new(Options::default())?;
    let config = configuration(size)?;
    let plan = PriorMemory::of(&gpu, &config, &vocabulary())?;
    println!(
        "{} parameters in {} buffers; planned: {} MiB of device memory at the peak of a step",
        plan.parameters,
        plan.buffers,
        mib(plan.peak())
    );
    let began = Instant::now();
    let mut trainer = Trainer::prior(&gpu, &config, tokens(&folder)?)?;
    gpu.finish()?;
    println!("initialised in {:.1} s", began.elapsed().as_secs_f64());
    let kept = |what: &str| Error::file(&sum, format!("cannot be {what}"));
    match what.as_str() {
        "step" => {
            step(&mut trainer)?;
            report(&gpu, "a step");
        }
        "first" => {
            step(&mut trainer)?;
            report(&gpu, "a step");
            let began = Instant::now();
            trainer.save_to(&saved)?;
            println!("saved in {:.1} s", began.elapsed().as_secs_f64());
            report(&gpu, "saved");
            step(&mut trainer)?;
            std::fs::write(&sum, trainer.tensor_sum()?).map_err(|_| kept("written"))?;
            report(&gpu, "in all");
        }
        "again" => {
            let began = Instant::now();
            trainer.restore_file(&saved)?;
            println!("restored in {:.1} s", began.elapsed().as_secs_f64());
            report(&gpu, "restored");
            step(&mut trainer)?;
            report(&gpu, "in all");
            let wanted = std::fs::read_to_string(&sum).map_err(|_| kept("read"))?;
            let found = trainer.tensor_sum()?;
            println!("numbers of the whole: {wanted}\nafter what was saved: {found}");
            if found != wanted {
                return Err(Error::data("they differ"));
            }
        }
        _ => return Err(Error::data(USAGE)),
    }
    Ok(())
}
