//! Sizes beyond the memory that the process may use.

use crate::common::{SMALLEST_PRIOR, refused, tiny_config, wgvq};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// Runs it where this process may map so many MiB, as under `ulimit -v`.
fn within(mib: u64, command: &mut Command) -> Output {
    // Threads take addresses, many processors' many.
    command
        .env("RAYON_NUM_THREADS", "2")
        .env("LP_NUM_THREADS", "2")
        .env("MALLOC_ARENA_MAX", "2");
    let limit = libc::rlimit {
        rlim_cur: mib << 20,
        rlim_max: mib << 20,
    };
    // SAFETY: `setrlimit` may be called between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_AS, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command.output().expect("the program starts")
}

#[test]
fn a_set_beyond_what_the_process_may_use_goes_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for i in 0..60u8 {
        image::RgbImage::from_pixel(8, 8, image::Rgb([i, 2 * i, 90]))
            .save(pictures.join(format!("{i}.png")))
            .unwrap();
    }
    // As bytes 360 MiB, which is what the test writes to the disk. There is no such adapter, so
    // that nothing is trained: that error comes once the set is open.
    let train = |store: &str| {
        let mut command = wgvq();
        command
            .arg("train")
            .arg("--data")
            .arg(&pictures)
            .arg("--out")
            .arg(folder.path().join("run"));
        command.args([
            "--set",
            "data.width=1448",
            "--set",
            "data.height=1448",
            "--set",
            &format!("data.store={store}"),
        ]);
        within(
            400,
            command
                .args(["--adapter", "no such adapter"])
                .env("WGVQ_DATA", folder.path().join("cache")),
        )
    };
    refused(train("auto"), &["no such adapter"]);
    refused(
        train("memory"),
        &["60 images of 1448x1448x3", "this process may use"],
    );
}

#[test]
fn models_and_texts_beyond_all_memory_are_refused_before_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("tiny.toml"), folder.path().join("run"));
    tiny_config(&config, 2);
    let mut command = wgvq();
    command.arg("train").arg(&config).arg("--out").arg(&out);
    for set in [
        "model.hidden=2048",
        "model.residual_layers=64",
        "model.residual_hidden=2048",
    ] {
        command.args(["--set", set]);
    }
    refused(
        within(8192, &mut command),
        &["parameters of the model", "asked for"],
    );

    let mut command = wgvq();
    command
        .args(["text2image", "train", "--text-length", "100000000", "--out"])
        .arg(&out);
    refused(within(8192, &mut command), &["--text-length", "100000000"]);
    // As many tokens as there may be, of each of the captions.
    let mut command = wgvq();
    let none = folder.path().join("none");
    command
        .args([
            "text2image",
            "train",
            "--data",
            "emoji",
            "--text-length",
            "1048576",
            "--out",
        ])
        .arg(&none);
    refused(
        within(4096, &mut command),
        &["--text-length", "texts of 1048576 tokens each", "asked for"],
    );
    assert!(!none.exists());
}

#[test]
fn what_cannot_fit_is_refused_by_the_name_of_its_option() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("tiny.toml"), folder.path().join("run"));
    tiny_config(&config, 2);
    let pictures = super::pictures(folder.path());
    let train = |out: &std::path::Path, more: &[&str]| {
        let mut command = wgvq();
        command
            .arg("train")
            .arg(&config)
            .arg("--out")
            .arg(out)
            .arg("--data")
            .arg(&pictures)
            .args(more);
        command.args([
            "--set",
            "data.width=16",
            "--set",
            "data.height=16",
            "--quiet",
        ]);
        command
    };
    // Of a batch its first step tells, before anything is written.
    let runs = folder.path().join("runs");
    let more = ["--batch", "65536", "--set", "model.hidden=1024"];
    refused(
        within(8192, &mut train(&runs.join("begun"), &more)),
        &[
            "65536 images in a step (train.batch_size): ",
            "bytes asked for, the device allows",
        ],
    );
    assert!(!runs.exists());
    let memory = wgvq::Error::OutOfMemory {
        what: "9 images in a step (train.batch_size): a tensor".into(),
        asked: 5,
        in_use: 6,
        has: Some(7),
    };
    let said = "9 images in a step (train.batch_size): a tensor: 5 bytes asked for while 6 are in \
                use of 7 that there are";
    assert!(memory.to_string().contains(said), "{memory}");
    let none = folder.path().join("none");
    let many = ["--codes", "16777216", "--set", "quantizer.codebook_dim=256"];
    refused(within(8192, &mut train(&none, &many)), &["asked for"]);
    assert!(!none.join("config.toml").exists());
    assert!(train(&out, &[]).output().unwrap().status.success());
    let mut prior = wgvq();
    prior
        .arg("prior")
        .arg(&out)
        .args(["--steps", "1", "--batch", "2", "--quiet"]);
    assert!(
        prior
            .args(SMALLEST_PRIOR)
            .output()
            .unwrap()
            .status
            .success()
    );
    let mut sample = wgvq();
    sample
        .arg("sample")
        .arg(&out)
        .args(["--n", "1048576", "--out"])
        .arg(folder.path().join("samples"));
    refused(
        within(2048, &mut sample),
        &["--n", "1048576 images", "asked for"],
    );
    assert!(!folder.path().join("samples").exists());
}
