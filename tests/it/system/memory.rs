//! Sizes beyond the memory that the process may use.

use crate::common::{stderr, tiny_config, wgvq};
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

/// It failed, with an error and without a panic.
fn refused(output: &Output, named: &[&str]) {
    let said = stderr(output);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{:?}: {said}",
        output.status
    );
    assert!(
        !said.contains("panicked") && named.iter().all(|name| said.contains(name)),
        "{said}"
    );
}

#[test]
fn a_set_beyond_what_the_process_may_use_goes_to_disk() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = folder.path().join("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for i in 0..100u8 {
        image::RgbImage::from_pixel(8, 8, image::Rgb([i, 2 * i, 90]))
            .save(pictures.join(format!("{i}.png")))
            .unwrap();
    }
    // As bytes 1200 MiB. There is no such adapter, so that nothing is trained: that error comes
    // once the set is open.
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
            "data.width=2048",
            "--set",
            "data.height=2048",
            "--set",
            &format!("data.store={store}"),
        ]);
        within(
            1024,
            command
                .args(["--adapter", "no such adapter"])
                .env("WGVQ_DATA", folder.path().join("cache")),
        )
    };
    refused(&train("auto"), &["no such adapter"]);
    refused(
        &train("memory"),
        &["100 images of 2048x2048x3", "this process may use"],
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
        &within(8192, &mut command),
        &["parameters of the model", "asked for"],
    );

    let mut command = wgvq();
    command
        .args(["text2image", "train", "--text-length", "100000000", "--out"])
        .arg(&out);
    refused(&within(8192, &mut command), &["--text-length", "100000000"]);
    assert!(!out.join("final.safetensors").exists());
}
