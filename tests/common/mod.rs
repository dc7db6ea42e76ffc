//! Parts that the tests share: the command line, and weights that follow from their names.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod fixture;
pub mod published;
pub mod skip;

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use wgvq::gpu::{Gpu, Options};
use wgvq::nn::{HostTensors, Parameters};
use wgvq::storage::checkpoint::HostTensor;
use wgvq::storage::weights;

/// The program, without the caller's environment getting in its way.
pub fn wgvq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgvq"));
    environment(&mut command);
    command
}

/// Keeps the caller's environment out of a command that is or starts the program.
pub fn environment(command: &mut Command) -> &mut Command {
    command
        .env_remove("WGVQ_ADAPTER")
        .env_remove("WGVQ_CORE")
        .env("XDG_RUNTIME_DIR", std::env::temp_dir())
        // Lines of JSON are held against docs/json.md.
        .env("WGVQ_CHECK_JSON", "1");
    // A table that this machine was tuned with is not under test.
    command.env(
        "WGVQ_TUNING",
        std::env::temp_dir().join("wgvq-without-tuning"),
    )
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Output {
    wgvq().args(args).output().expect("the program starts")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns a path for the command line.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in Unicode")
}

/// Checks that a command succeeded.
pub fn ok(output: Output) -> Output {
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// Returns what the program prints, which must succeed.
pub fn printed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

/// Checks that a command failed, with an error that names all of these, and without a panic.
pub fn refused(output: impl Borrow<Output>, named: &[&str]) {
    let output = output.borrow();
    let said = stderr(output);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{:?}\n{said}",
        output.status
    );
    for named in named {
        assert!(said.contains(named), "does not name {named}:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// Returns an engine whose unwritten memory is full of NaN.
pub fn gpu() -> Gpu {
    Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .expect(
        "these tests need a Vulkan, Metal or DX12 adapter; scripts/test.sh installs a software one",
    )
}

/// Pictures of [`few_pictures`].
const FEW: u32 = 64;

/// The classes of [`few_pictures`], as some of the embedded emoji have them.
const CLASSES: [&str; 3] = ["Flags", "Food & Drink", "Smileys & Emotion"];

/// Returns a folder of 64 pictures of 32 x 32 in three classes, no two alike. A run over them costs
/// what its steps cost: to measure on the embedded emoji takes longer than a few steps do.
pub fn few_pictures() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("few-pictures-of-classes");
    if !place.is_dir() {
        let made = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder");
        for i in 0..FEW {
            let disc = |x: u32, y: u32| {
                let (x, y) = (
                    x as f32 - (6 + i % 21) as f32,
                    y as f32 - (6 + i * 7 % 19) as f32,
                );
                (x * x + y * y).sqrt() < (3 + i % 9) as f32
            };
            let picture = image::RgbImage::from_fn(32, 32, |x, y| {
                let colour = if disc(x, y) {
                    i * 37
                } else {
                    255 - i * 4 + x / 2
                };
                image::Rgb([colour, colour * 3 + 2 * y, colour * 5 + i].map(|v| v as u8))
            });
            let class = made.path().join(CLASSES[i as usize % CLASSES.len()]);
            std::fs::create_dir_all(&class).expect("a folder");
            let file = class.join(format!("{i:02}.png"));
            picture.save(file).expect("a picture");
        }
        // Another test may have been quicker.
        let _ = std::fs::rename(made.path(), &place);
    }
    place
}

/// A model so small that a step takes milliseconds.
pub fn tiny_config(path: &Path, steps: u64) {
    tiny_config_over(path, steps, &few_pictures(), "");
}

/// The same over other pictures, with further keys of `[data]`.
pub fn tiny_config_over(path: &Path, steps: u64, source: &Path, data: &str) {
    let text = format!(
        "[data]\nsource = '{}'\n{data}[model]\nhidden = 16\nresidual_layers = 1\nresidual_hidden = \
         8\n[quantizer]\ncodebook_size = 32\ncodebook_dim = 8\nkmeans_iters = 3\n[train]\nsteps = \
         {steps}\nbatch_size = 4\nlog_every = 3\neval_every = 8\ncheckpoint_every = 4\n",
        source.display()
    );
    std::fs::write(path, text).expect("a temporary file");
}

/// Trains the tiny model into `out`.
pub fn train_tiny(folder: &Path, name: &str, steps: u64) -> std::path::PathBuf {
    let (config, out) = (folder.join("tiny.toml"), folder.join(name));
    tiny_config(&config, steps);
    let output = run(&[
        "train",
        config.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--quiet",
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    out
}

/// Writes images into `folder`, with their captions beside them, and returns the file of these.
pub fn write_captioned(
    folder: &Path,
    images: impl IntoIterator<Item = (image::RgbImage, String)>,
) -> PathBuf {
    std::fs::create_dir_all(folder).expect("a folder");
    let mut lines = String::new();
    for (n, (image, caption)) in images.into_iter().enumerate() {
        let name = format!("{n:03}.png");
        image.save(folder.join(&name)).expect("an image");
        lines += &format!("{{\"image\": \"{name}\", \"text\": \"{caption}\"}}\n");
    }
    let file = folder.join("captions.jsonl");
    std::fs::write(&file, lines).expect("a temporary file");
    file
}

/// Options of the smallest prior.
pub const SMALLEST_PRIOR: [&str; 6] = [
    "--set",
    "prior.layers=1",
    "--set",
    "prior.dim=16",
    "--set",
    "prior.heads=1",
];

/// Waits until a running program has come so far, or has ended.
pub fn wait_until(child: &mut Child, reached: impl Fn() -> bool) {
    while !reached()
        && child
            .try_wait()
            .expect("the program can be asked")
            .is_none()
    {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// The lines that were written of a file.
pub fn lines_of(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// Ends a program where it stands.
pub fn kill(child: &mut Child) {
    child.kill().expect("SIGKILL");
    child.wait().expect("it is gone");
}

/// `n` numbers in [-1, 1] that look random, as `scripts/fixtures/pattern.py` makes them of a name.
pub fn pattern(name: &str, n: usize) -> Vec<f64> {
    let seed = name.bytes().fold(0x811C_9DC5u32, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    let mixed = |i: usize| {
        let x = (i as u32).wrapping_mul(0x9E37_79B9).wrapping_add(seed);
        let step = |x: u32, (shift, factor): (u32, u32)| (x ^ x >> shift).wrapping_mul(factor);
        [(16, 0x7FEB_352D), (15, 0x846C_A68B), (16, 1)]
            .into_iter()
            .fold(x, step)
    };
    (0..n)
        .map(|i| f64::from(mixed(i)) / 2f64.powi(31) - 1.0)
        .collect()
}

/// The values of the weight of that name and shape, as `Weights` of `scripts/fixtures/pattern.py`
/// makes them. Only the first dimension and the number of elements count.
pub fn pattern_weight(name: &str, shape: &[usize]) -> Vec<f32> {
    let n: usize = shape.iter().product();
    let scale = |v: f64| match shape.len() {
        1 => {
            0.25 * v
                + if name.contains("norm") && name.ends_with("weight") {
                    1.0
                } else {
                    0.0
                }
        }
        _ => v * (3.0 * shape[0] as f64 / n as f64).sqrt(),
    };
    pattern(name, n)
        .into_iter()
        .map(|v| scale(v) as f32)
        .collect()
}

/// A model's weights, made under PyTorch's names and layouts.
pub fn pattern_weights(params: &Parameters) -> HostTensors {
    let of = |(name, (shape, _)): (&String, &(Vec<usize>, Vec<f32>))| {
        let shape = match shape[..] {
            [o, h, w, i] => vec![o, i, h, w],
            _ => shape.clone(),
        };
        let made = HostTensor::f32(&shape, &pattern_weight(name, &shape));
        (
            name.clone(),
            weights::import(&made).expect("f32 is imported"),
        )
    };
    params
        .to_host()
        .expect("the device gives them back")
        .iter()
        .map(of)
        .collect()
}
