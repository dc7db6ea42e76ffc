//! Engines that are opened and closed many times, and a device that is lost in the middle.

use crate::common::{self, refused, text, tiny_config};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::gpu::{DType, Gpu, Options, Tensor};
use wgvq::ops::linalg::matmul::{Transpose, matmul};
use wgvq::quantize::Registry;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::{Observer, Outcome, Progress, Start, run};
use wgvq::{Error, Result};

/// Computes something on a device.
fn works(gpu: &Gpu) {
    let x = Tensor::from_slice(gpu, &[2, 2], &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let y = matmul(&x, &x, Transpose::B, None).unwrap();
    assert_eq!(y.read::<f32>().unwrap(), [5.0, 11.0, 11.0, 25.0]);
}

/// Resident KiB, open files and threads of this process.
#[cfg(target_os = "linux")]
fn held() -> [u64; 3] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let number = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).expect("a number")
    };
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    [number("VmRSS:"), files as u64, number("Threads:")]
}

/// Opens as many engines as `WGVQ_ENGINES` says, one after another, in a process of its own: what
/// is held after the first quarter is all that is held at the end. Each may leave 2 KiB, which is
/// what an allocator's fragments come to.
#[cfg(target_os = "linux")]
#[test]
fn engines_that_are_closed_leave_nothing() {
    const KEY: &str = "WGVQ_TEST_ENGINES";
    let count = std::env::var("WGVQ_ENGINES").map_or(24u64, |n| n.parse().expect("a number"));
    if std::env::var_os(KEY).is_none() {
        let name = "endurance::engines_that_are_closed_leave_nothing";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(KEY, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        print!("{said}");
        let errors = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{said}{errors}");
        assert!(said.contains(&format!("after {count} engines")), "{said}");
        return;
    }
    let mut settled = [0; 3];
    for i in 1..=count {
        works(&Gpu::new(Options::default()).unwrap());
        if i == count.div_ceil(4) {
            settled = held();
            println!("after {i} engines: KiB, files, threads: {settled:?}");
        }
    }
    let end = held();
    println!("after {count} engines: KiB, files, threads: {end:?}");
    assert!(end[1] <= settled[1], "files: {settled:?}, {end:?}");
    assert!(end[2] <= settled[2], "threads: {settled:?}, {end:?}");
    let allowed = settled[0] + 4096 + 2 * count;
    assert!(end[0] <= allowed, "memory: {settled:?}, {end:?}");
}

/// An observer that takes the device away at a step.
struct Destroys<'a>(&'a Gpu, u64);

impl Observer for Destroys<'_> {
    fn step(&mut self, progress: &Progress) {
        if progress.step == self.1 {
            self.0.device().destroy();
        }
    }
    fn evaluated(&mut self, _: u64, _: &dyn Display) {}
    fn note(&mut self, _: &str) {}
}

/// Trains in a folder, and takes the device away at a step.
fn trained(config: &Path, out: &Path, start: Start, lost_at: u64) -> Result<Outcome> {
    let gpu = Gpu::new(Options::default())?;
    let config = RunConfig::load(config)?.resolve(&Registry::default())?;
    let set = wgvq::data::open(&config.data.source, &config.data.options())?;
    let folder = match start {
        Start::Fresh => RunFolder::create(out, false)?,
        Start::Resume => RunFolder::resume(out)?,
    };
    let mut observer = Destroys(&gpu, lost_at);
    let stop = AtomicBool::new(false);
    run(
        &gpu,
        &config,
        Arc::new(set),
        &folder,
        start,
        &mut observer,
        &stop,
    )
}

/// A device that goes away while a run trains is an error of that name, at once; on a new one the
/// run goes on from its last checkpoint, to the same bytes.
#[test]
fn a_run_goes_on_after_its_device_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (config, whole) = (folder.path().join("tiny.toml"), folder.path().join("whole"));
    tiny_config(&config, 16);
    trained(&config, &whole, Start::Fresh, u64::MAX).unwrap();
    // Before a checkpoint, after one, and at a measurement.
    for lost_at in [3, 6, 8] {
        let out = folder.path().join(format!("lost-{lost_at}"));
        let ended = trained(&config, &out, Start::Fresh, lost_at).map(|_| ());
        assert!(matches!(ended, Err(Error::DeviceLost { .. })), "{ended:?}");
        let ended = trained(&config, &out, Start::Resume, u64::MAX).map(|_| ());
        assert!(ended.is_ok(), "{}: {ended:?}", text(&out));
        for file in ["final.safetensors", "metrics.csv", "test.csv"] {
            let [a, b] = [&whole, &out].map(|run| std::fs::read(run.join(file)).unwrap());
            assert!(a == b, "{file} is another after a loss at {lost_at}");
        }
    }
}

/// Whatever is asked of a device that is gone is an error, and the process goes on with another.
#[test]
fn a_lost_device_is_an_error_value_and_not_the_end() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let before = Tensor::from_slice(&gpu, &[4], &[1.0f32; 4]).unwrap();
    works(&gpu);
    gpu.device().destroy();
    let lost = |what: &str, ended: Result<()>| {
        assert!(
            matches!(ended, Err(Error::DeviceLost { .. })),
            "{what}: {ended:?}"
        );
    };
    lost("read", before.read::<f32>().map(drop));
    lost("read again", before.read::<f32>().map(drop));
    lost("finish", gpu.finish());
    let made = Tensor::from_slice(&gpu, &[64], &[2.0f32; 64]);
    lost(
        "upload and read",
        made.and_then(|x| x.read::<f32>().map(drop)),
    );
    works(&Gpu::new(Options::default()).unwrap());
}

/// An engine that takes its device to hang at once, and has given it more than that to do.
fn hung() -> (Gpu, Tensor) {
    let gpu = Gpu::new(Options {
        device_timeout: Some(Duration::from_nanos(1)),
        ..Default::default()
    });
    let gpu = gpu.unwrap();
    let x = Tensor::zeros(&gpu, &[2048, 2048], DType::F32).unwrap();
    let y = matmul(&x, &x, Transpose::B, None).unwrap();
    let ended = y.read::<f32>().map(drop);
    let Err(error @ Error::DeviceHung { .. }) = ended else {
        panic!("{ended:?}");
    };
    let said = error.to_string();
    for named in ["the copy of a result", "--device-timeout", "--resume"] {
        assert!(said.contains(named), "does not name {named}: {said}");
    }
    (gpu, y)
}

/// A device that finishes nothing in the time that it has is an error. It is waited for again where
/// it goes on, and not when the engine is closed.
#[test]
fn a_device_that_hangs_is_an_error_value_and_not_the_end() {
    let (gpu, y) = hung();
    loop {
        match gpu.finish() {
            Ok(()) => break,
            Err(Error::DeviceHung { what, .. }) => assert_eq!(what, "work that was submitted"),
            Err(other) => panic!("{other}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    drop((gpu, y));
    drop(hung());
    works(&Gpu::new(Options::default()).unwrap());
}

#[test]
fn a_command_does_not_wait_for_a_device_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("tiny.toml"), folder.path().join("run"));
    tiny_config(&config, 16);
    let args = ["train", text(&config), "--out", text(&out)];
    let ended = |timeout: &'static str| common::run(&[&args[..], &["--quiet", timeout]].concat());
    refused(
        ended("--device-timeout=0.000000001"),
        &["finished nothing", "waited for"],
    );
    for wrong in ["--device-timeout=soon", "--device-timeout=-1"] {
        refused(ended(wrong), &["--device-timeout", "takes seconds"]);
    }
    let resume = ["train", "--resume", text(&out), "-q", "--device-timeout=0"];
    common::ok(common::run(&resume));
}
