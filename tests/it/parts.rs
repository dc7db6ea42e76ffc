//! Priors whose parameters lie in several buffers, whose optimiser keeps 16 bits, and whose
//! checkpoints are written and read a tensor at a time.

use std::path::Path;

use crate::common::{SMALLEST_PRIOR, ok, run, text, train_tiny};
use crate::small_tokens;
use safetensors::tensor::Dtype;
use wgvq::codes::tokens::Tokens;
use wgvq::config::DottedConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::gpu::{Gpu, Options};
use wgvq::storage::checkpoint::{self, HostTensor};
use wgvq::train::Trainer;
use wgvq::train::prior::PriorTrainer;

/// Images whose rows repeat: something to learn.
fn tokens(folder: &Path) -> Tokens {
    let row = |i: u32| {
        let codes = (0..small_tokens::CELLS).map(|at| (i * 5 + (at % 4) * (1 + i % 3)) % 12);
        codes.collect()
    };
    small_tokens::write(24, row, folder)
}

fn trainer(parameter_part: Option<u64>, folder: &Path, pairs: &[(&str, &str)]) -> PriorTrainer {
    let gpu = Gpu::new(Options {
        poison: true,
        parameter_part,
        ..Default::default()
    })
    .unwrap();
    let mut config = PriorConfig::default();
    let tiny = [
        ("prior.layers", "2"),
        ("prior.dim", "16"),
        ("prior.heads", "2"),
        ("train.batch_size", "4"),
        ("train.steps", "200"),
        ("train.warmup", "2"),
        ("train.lr", "0.003"),
        ("train.log_every", "1"),
    ];
    for (key, value) in tiny.iter().chain(pairs) {
        config.set(key, value).unwrap();
    }
    let tokens = match Tokens::open(folder) {
        Ok(tokens) => tokens,
        Err(_) => tokens(folder),
    };
    Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).unwrap()
}

fn steps(trainer: &mut PriorTrainer, n: usize) {
    (0..n).for_each(|_| trainer.step().unwrap());
}

/// Whatever the buffers, steps of several passes end in the same bytes; so does a run that is
/// saved by one and gone on with by another.
#[test]
fn buffers_change_no_byte_of_a_training() {
    let folder = tempfile::tempdir().unwrap();
    let shared: [(&str, &str); 2] = [("train.accumulate", "2"), ("train.ema_decay", "0.9")];
    for state in ["f32", "bf16"] {
        let pairs = [&shared[..], &[("train.optimizer_state", state)]].concat();
        let at = |name: &str| folder.path().join(format!("{state}-{name}"));
        let tokens = folder.path().join("tokens");
        let mut whole = trainer(None, &tokens, &pairs);
        steps(&mut whole, 2);
        whole.measure(false).unwrap();
        let begun = checkpoint::to_bytes(&whole.checkpoint().unwrap()).unwrap();
        steps(&mut whole, 2);
        let wanted = whole.checkpoint().unwrap();
        for part in [1 << 12, 1 << 10] {
            let mut cut = trainer(Some(part), &tokens, &pairs);
            steps(&mut cut, 2);
            cut.measure(false).unwrap();
            let path = at(&part.to_string());
            cut.save_to(&path).unwrap();
            assert!(std::fs::read(&path).unwrap() == begun, "{state} {part}");
            steps(&mut cut, 2);
            assert!(cut.checkpoint().unwrap() == wanted, "{state} {part}");
            // What one saved, the others go on with.
            for other in [None, Some(1 << 11)] {
                let mut again = trainer(other, &tokens, &pairs);
                again.restore_file(&path).unwrap();
                assert_eq!(again.step_number(), 2);
                steps(&mut again, 2);
                assert!(
                    again.checkpoint().unwrap() == wanted,
                    "{state} {part} {other:?}"
                );
                assert_eq!(again.tensor_sum().unwrap(), whole.tensor_sum().unwrap());
            }
        }
    }
}

/// The optimiser's tensors take half the bytes in 16 bits, and those alone differ in type; a
/// checkpoint of the other type is gone on with by whoever asks for it.
#[test]
fn moments_of_16_bits_are_saved_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let [mut wide, mut narrow] = ["f32", "bf16"].map(|state| {
        let mut trainer = trainer(None, folder.path(), &[("train.optimizer_state", state)]);
        steps(&mut trainer, 3);
        trainer
    });
    let (wide, saved) = (wide.checkpoint().unwrap(), narrow.checkpoint().unwrap());
    let of_adam = |name: &str| name.starts_with("adam.");
    for (name, tensor) in &saved.tensors {
        let own = &wide.tensors[name];
        assert_eq!(own.shape, tensor.shape, "{name}");
        match of_adam(name) {
            true => assert_eq!(2 * tensor.bytes.len(), own.bytes.len(), "{name}"),
            false => assert_eq!(tensor.bytes.len(), own.bytes.len(), "{name}"),
        }
    }
    assert!(saved.tensors.keys().filter(|name| of_adam(name)).count() > 20);
    // Close to those in 32 bits: the first steps differ by rounding alone.
    let near = |name: &str| {
        let [a, b] = [&wide, &saved].map(|c| HostTensor::to_f32(&c.tensors[name]).unwrap());
        let most = a.iter().fold(0f32, |most, x| most.max(x.abs()));
        assert!(
            a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 0.05 * most),
            "{name}"
        );
    };
    wide.tensors.keys().for_each(|name| near(name));
    narrow.restore(&wide).unwrap();
    assert_eq!(narrow.step_number(), 3);
    steps(&mut narrow, 1);
    assert!(
        narrow
            .checkpoint()
            .unwrap()
            .tensors
            .values()
            .any(|t| t.bytes.len() > 4)
    );
}

/// The model learns with moments of 16 bits as it does with those of 32.
#[test]
fn a_prior_learns_as_well_with_moments_of_16_bits() {
    let folder = tempfile::tempdir().unwrap();
    let [wide, narrow] = ["f32", "bf16"].map(|state| {
        let keys = [
            ("train.optimizer_state", state),
            ("train.ema_decay", "0"),
            ("prior.dropout", "0"),
        ];
        let mut trainer = trainer(None, folder.path(), &keys);
        steps(&mut trainer, 120);
        let rows = trainer.rows(true).unwrap();
        let last = &rows[rows.len() - 20..];
        let first = rows[0].loss;
        let mean = last.iter().map(|row| row.loss).sum::<f64>() / last.len() as f64;
        assert!(mean < 0.7 * first, "{state}: {first} {mean}");
        mean
    });
    assert!((narrow / wide - 1.0).abs() < 0.1, "{wide} {narrow}");
}

/// A file that was cut short, or of another model, is refused, and the trainer is as it was.
#[test]
fn files_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, path) = (folder.path().join("tokens"), folder.path().join("saved"));
    let mut one = trainer(None, &tokens, &[]);
    steps(&mut one, 1);
    one.save_to(&path).unwrap();
    let before = one.tensor_sum().unwrap();
    let mut other = trainer(None, &tokens, &[("prior.dim", "32")]);
    let error = other.restore_file(&path).unwrap_err().to_string();
    assert!(
        error.contains("saved") && error.contains("shape"),
        "{error}"
    );
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 9;
    bytes[end] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let error = one.restore_file(&path).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    std::fs::write(&path, &bytes[..end]).unwrap();
    assert!(one.restore_file(&path).is_err());
    assert_eq!(one.tensor_sum().unwrap(), before);
}

/// A prior of the command line in 16 bits, gone on with from an earlier checkpoint, ends with the
/// bytes of the whole.
#[test]
fn a_run_in_16_bits_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 4);
    let prior = |more: &[&str]| {
        ok(run(&[&["prior", text(&run_path), "--quiet"], more].concat()));
    };
    let keys = [
        "--steps=5",
        "--batch=4",
        "--set=train.optimizer_state=bf16",
        "--set=train.checkpoint_every=2",
    ];
    prior(&[&SMALLEST_PRIOR[..], &keys].concat());
    let place = run_path.join("prior");
    let read = |name: &str| std::fs::read(place.join(name)).unwrap();
    let names = ["final.safetensors", "checkpoints/step-00000005.safetensors"];
    let whole = names.map(read);
    let (saved, _) = checkpoint::load_file(&place.join(names[1])).unwrap();
    assert!(saved.tensors.values().any(|t| t.dtype == Dtype::BF16));
    for name in names.iter().chain(&["checkpoints/step-00000005.json"]) {
        std::fs::remove_file(place.join(name)).unwrap();
    }
    prior(&["--resume"]);
    assert!(names.map(read) == whole);
}
