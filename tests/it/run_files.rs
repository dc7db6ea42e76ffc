//! A run's files under bad conditions: full disks, damage at any byte, files of others, two
//! processes at once.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use wgvq::codes::Codes;
use wgvq::config::DottedConfig;
use wgvq::config::presets;
use wgvq::config::run::RunConfig;
use wgvq::metrics::{Evaluation, Fidelity, LevelCounts};
use wgvq::models::Level;
use wgvq::quantize::Registry;
use wgvq::storage::atomic;
use wgvq::storage::checkpoint;
use wgvq::storage::checkpoint::{Checkpoint, HostTensor};
use wgvq::storage::metrics_log;
use wgvq::storage::metrics_log::{Log, Record};
use wgvq::storage::run_folder::RunFolder;

fn sample(step: u64) -> Checkpoint {
    let values: Vec<f32> = (0..24).map(|i| i as f32 * 0.5 + step as f32).collect();
    let tensors = BTreeMap::from([(
        "encoder.weight".to_owned(),
        HostTensor::f32(&[2, 3, 4], &values),
    )]);
    Checkpoint {
        tensors,
        state: serde_json::json!({ "step": step }),
    }
}

fn codes(names: usize) -> Codes {
    Codes {
        model: "0123456789abcdef".into(),
        quantizer: "ema".into(),
        levels: vec![Level {
            name: String::new(),
            grid: [2, 2],
            codebook_size: 512,
            codebooks: 1,
        }],
        image: [8, 8, 3],
        names: (0..names).map(|i| format!("{i}.png")).collect(),
        indices: (0..names as u32 * 4).map(|i| i % 512).collect(),
    }
}

fn text<T>(result: wgvq::Result<T>) -> String {
    match result {
        Ok(_) => panic!("this should have been refused"),
        Err(e) => e.to_string(),
    }
}

/// A limit on the size of files stands in for a full disk: the write fails midway, in a process of
/// its own.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_midway_leaves_what_was_there() {
    const KEY: &str = "WGVQ_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(KEY) {
        let folder = Path::new(&folder);
        let big = vec![7u8; 1 << 20];
        let said = text(atomic::write(&folder.join("old.bin"), &big));
        assert!(
            said.contains("old.bin") && said.contains("could not be written"),
            "{said}"
        );
        let values = vec![1.0f32; 1 << 18];
        let tensors = BTreeMap::from([("w".to_owned(), HostTensor::f32(&[1 << 18], &values))]);
        let large = Checkpoint {
            tensors,
            state: serde_json::json!({}),
        };
        let said = text(checkpoint::save(
            &folder.join("checkpoints"),
            2,
            &large,
            "c",
            1,
        ));
        assert!(said.contains("step-00000002"), "{said}");
        println!("refused as it should be");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old.bin"), b"old").unwrap();
    checkpoint::save(&folder.path().join("checkpoints"), 1, &sample(1), "c", 1).unwrap();
    // The signal that comes with the limit is ignored, so that the write itself fails.
    let child = std::process::Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 64; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "run_files::a_write_that_fails_midway_leaves_what_was_there",
            "--nocapture",
        ])
        .env(KEY, folder.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && out.contains("refused as it should be"),
        "{out}"
    );
    assert_eq!(
        std::fs::read(folder.path().join("old.bin")).unwrap(),
        b"old"
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        2,
        "no scratch file is left"
    );
    let latest = checkpoint::latest(&folder.path().join("checkpoints"))
        .unwrap()
        .unwrap();
    assert_eq!((latest.step, latest.checkpoint), (1, sample(1)));
    assert_eq!(
        std::fs::read_dir(folder.path().join("checkpoints"))
            .unwrap()
            .count(),
        2
    );
}

#[cfg(target_os = "linux")]
#[test]
fn places_that_cannot_be_written_or_read_are_named() {
    for path in ["/proc/wgvq/x.bin", "/proc/x.bin"] {
        let said = text(atomic::write(Path::new(path), b"x"));
        assert!(said.contains("x.bin"), "{said}");
    }
    // No ordinary file: refused before a byte is read, since a device may have no end. (This one
    // has, so that a check that is gone fails here and does not eat the memory of the machine.)
    for path in ["/dev/null", "/tmp"] {
        assert!(
            text(checkpoint::load_file(Path::new(path))).contains("no ordinary file"),
            "{path}"
        );
        assert!(Codes::load(Path::new(path)).is_err(), "{path}");
    }
}

/// Not a sample of the bytes: each one, in the tensors and in the manifest.
#[test]
fn a_flip_of_any_byte_of_a_checkpoint_is_found() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save(folder.path(), 1, &sample(1), "c", 2).unwrap();
    checkpoint::save(folder.path(), 2, &sample(2), "c", 2).unwrap();
    let path = folder.path().join("step-00000002.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        let found = checkpoint::latest(folder.path()).unwrap().unwrap();
        assert_eq!((found.step, found.warnings.len()), (1, 1), "byte {at}");
        assert!(
            found.warnings[0].contains("step-00000002"),
            "{:?}",
            found.warnings
        );
    }
    std::fs::write(&path, &whole).unwrap();
    let path = folder.path().join("step-00000002.json");
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() - 2 {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(
            checkpoint::latest(folder.path()).unwrap().unwrap().step,
            1,
            "cut at {cut}"
        );
    }
}

#[test]
fn a_damaged_newer_checkpoint_does_not_push_out_the_one_just_saved() {
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save(folder.path(), 10, &sample(10), "c", 2).unwrap();
    checkpoint::save(folder.path(), 23, &sample(23), "c", 2).unwrap();
    std::fs::write(folder.path().join("step-00000023.safetensors"), b"torn").unwrap();
    checkpoint::save(folder.path(), 20, &sample(20), "c", 1).unwrap();
    let found = checkpoint::latest(folder.path()).unwrap().unwrap();
    assert_eq!((found.step, found.checkpoint), (20, sample(20)));
    // Files named as no checkpoint of ours is named are neither read nor removed.
    for name in ["step-+5.json", "step-7.json", "step-notes.json"] {
        std::fs::write(folder.path().join(name), b"{}").unwrap();
    }
    assert_eq!(
        checkpoint::latest(folder.path())
            .unwrap()
            .unwrap()
            .warnings
            .len(),
        1
    );
}

#[test]
fn only_a_run_is_overwritten_and_only_its_own_files_go() {
    let base = tempfile::tempdir().unwrap();
    let make = |files: &[&str]| {
        let folder = tempfile::tempdir_in(base.path()).unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "kind = \"somebody's own\"").unwrap();
        }
        folder.keep()
    };
    // Folders of other things that share a name with ours.
    for files in [
        &["pictures/holiday.png"][..],
        &["config.toml", "pictures/holiday.png"],
        &["checkpoints/best.pt"],
    ] {
        let folder = make(files);
        for overwrite in [false, true] {
            let said = text(RunFolder::create(&folder, overwrite));
            assert!(said.contains("holds no run"), "{said}");
        }
        assert!(files.iter().all(|f| folder.join(f).is_file()), "{files:?}");
        assert!(
            !folder.join("run.lock").exists(),
            "a folder that is refused is not touched"
        );
    }
    // A run, and what its owner laid into it.
    let folder = make(&[
        "notes.txt",
        "pictures/holiday.png",
        "checkpoints/best.pt",
        "checkpoints/step-mine/a",
    ]);
    let config = RunConfig::default().to_toml().unwrap();
    std::fs::write(folder.join("config.toml"), &config).unwrap();
    checkpoint::save(&folder.join("checkpoints"), 5, &sample(5), "c", 1).unwrap();
    let said = text(RunFolder::create(&folder, false));
    assert!(
        said.contains("--resume") && said.contains("--overwrite"),
        "{said}"
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("config.toml")).unwrap(),
        config
    );
    let run = RunFolder::create(&folder, true).unwrap();
    assert!(!run.config().exists() && checkpoint::latest(&run.checkpoints()).unwrap().is_none());
    for file in [
        "notes.txt",
        "pictures/holiday.png",
        "checkpoints/best.pt",
        "checkpoints/step-mine/a",
    ] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    // While a process holds it, nobody overwrites it either.
    std::fs::write(run.config(), &config).unwrap();
    assert!(text(RunFolder::create(&folder, true)).contains("another process"));
    assert!(run.config().exists());
    // A run that ended before its first file.
    drop(RunFolder::create(&base.path().join("fresh"), false).unwrap());
    drop(RunFolder::create(&base.path().join("fresh"), false).unwrap());
}

#[test]
fn configurations_that_cannot_be_used_name_the_key_and_the_way_out() {
    for (toml, words) in [
        ("[train]\nsteps = -3", &["train.steps", "-3"][..]),
        ("[model]\nhidden = -2", &["model.hidden", "at least 0"]),
        ("[train\nsteps = 3", &["line 1"]),
        ("[train]\nlr = 0.1\nlr = 0.2", &["line 3", "duplicate"]),
        (
            "[data]\nwidth = 30",
            &["data.width", "30", "multiple of model.downsample, 4"],
        ),
        ("[data]\nheight = 33", &["data.height"]),
        ("[data]\nsource = \"\"", &["data.source"]),
        ("[train]\nlr = 1e300", &["train.lr"]),
        ("[train]\nlr = nan", &["train.lr"]),
    ] {
        let said = text(RunConfig::from_toml(toml).and_then(|c| c.resolve(&Registry::default())));
        assert!(words.iter().all(|w| said.contains(w)), "{toml}: {said}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(text(RunConfig::load(&path)).contains("mine.toml"));
    for p in presets::presets() {
        let config = p.config().unwrap();
        assert_eq!(
            RunConfig::from_toml(&config.to_toml().unwrap()).unwrap(),
            config,
            "{}",
            p.name
        );
    }
}

#[test]
fn a_torn_log_is_read_to_its_last_whole_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.csv");
    let mut log = Log::open(&path, &Evaluation::header(), 0).unwrap();
    for step in 1..=3 {
        let f = Fidelity {
            mse: 0.25,
            ssim: 0.5,
            sharpness: 0.7,
            edge_sharpness: 0.6,
            lpips: f64::NAN,
            image_pixels: 1024,
        };
        let counts = vec![3; 512];
        let level = LevelCounts {
            name: String::new(),
            codes: 64,
            codebooks: 1,
            quantization_error: 0.1,
            counts,
        };
        log.push(&Evaluation::new(step, f, vec![level])).unwrap();
    }
    let whole = std::fs::read_to_string(&path).unwrap();
    let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at).collect();
    for cut in ends[0] + 1..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let rows = ends.iter().filter(|end| **end < cut).count() - 1;
        for (name, column) in metrics_log::columns(&path).unwrap() {
            assert_eq!(column.len(), rows, "{name}, cut at {cut}");
            assert!(
                name != "used" || column.iter().all(|v| *v == 512.0),
                "cut at {cut}: {column:?}"
            );
        }
        // A resumed log is the beginning of the whole one.
        drop(Log::open(&path, &Evaluation::header(), 3).unwrap());
        assert!(
            whole.starts_with(&std::fs::read_to_string(&path).unwrap()),
            "cut at {cut}"
        );
    }
    for cut in [0, 3] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(
            metrics_log::columns(&path)
                .unwrap()
                .iter()
                .all(|(_, c)| c.is_empty()),
            "cut at {cut}"
        );
    }
}

#[test]
fn codes_that_do_not_fit_together_are_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let (path, npy) = (
        folder.path().join("c.safetensors"),
        folder.path().join("c.npy"),
    );
    let mut past = codes(2);
    past.indices[3] = 512 + (1 << 16);
    let mut short = codes(2);
    short.indices.pop();
    for (broken, word) in [(past, "66048"), (short, "7 codes")] {
        assert!(text(broken.save(&path)).contains(word));
        assert!(text(broken.save_npy(&npy)).contains(word));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    codes(0).save(&path).unwrap();
    assert_eq!(Codes::load(&path).unwrap(), codes(0));
    checkpoint::save_file(&path, &sample(1)).unwrap();
    assert!(
        text(Codes::load(&path)).contains("holds no codes"),
        "a model is no codes file"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_codes_are_refused_or_stay_within_the_codebook(
        at in 0usize..1000,
        to in any::<u8>(),
        cut in 0usize..1000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.safetensors");
        codes(3).save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let len = bytes.len();
        bytes[at % len] = to;
        std::fs::write(&path, &bytes).unwrap();
        match Codes::load(&path) {
            Ok(c) => {
                prop_assert!(c.indices.iter().all(|i| (*i as usize) < c.levels[0].codebook_size));
                prop_assert_eq!(c.indices.len(), c.names.len() * c.levels[0].codes());
            }
            Err(e) => prop_assert!(e.to_string().contains("c.safetensors")),
        }
        std::fs::write(&path, &bytes[..cut % len]).unwrap();
        prop_assert!(text(Codes::load(&path)).contains("c.safetensors"));
    }

    #[test]
    fn any_text_is_a_configuration_or_an_error(
        given in ".{0,80}",
        key in "[a-z._]{0,20}",
        value in ".{0,12}",
    ) {
        let _ = RunConfig::from_toml(&given).map(|c| c.resolve(&Registry::default()));
        let _ = RunConfig::default().set(&key, &value);
        let _ = presets::preset(&key);
    }
}
