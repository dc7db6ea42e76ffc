//! The second stage on real pictures: token files, training that goes on where it stopped, and how
//! codes are drawn.

mod drawing;
mod factorised;
mod given;
mod masked;
mod orders;
mod parallel;
mod systems;

use crate::common::gpu;
use wgvq::codes::tokens::Tokens;
use wgvq::config::DottedConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::ImageSet;
use wgvq::gpu::Gpu;
use wgvq::inference::tokenize::tokenize;
use wgvq::inference::{FirstStageModel, PriorModel, no_progress};
use wgvq::models::prior::Shape;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint;
use wgvq::train::Trainer;
use wgvq::train::prior::PriorTrainer;

/// A first stage and a prior over its codes that have seen a few steps: enough that logits are far
/// apart.
struct Stages {
    gpu: Gpu,
    prior: PriorModel,
    folder: tempfile::TempDir,
}

fn pictures(flip: bool) -> (RunConfig, ImageSet) {
    let mut config = RunConfig::default();
    for (key, value) in [
        ("model.hidden", "16"),
        ("model.residual_layers", "1"),
        ("model.residual_hidden", "8"),
        ("model.downsample", "8"),
        ("quantizer.codebook_size", "32"),
        ("quantizer.codebook_dim", "8"),
        ("quantizer.kmeans_iters", "3"),
        ("train.batch_size", "8"),
    ] {
        config.set(key, value).unwrap();
    }
    config.data.flip = flip;
    let mut set = wgvq::data::open("emoji", &Default::default()).unwrap();
    set.train.truncate(70);
    set.test.truncate(20);
    (config, set)
}

pub(crate) fn tokens(
    gpu: &Gpu,
    kind: &str,
    flip: bool,
    folder: &std::path::Path,
) -> (FirstStageModel, Tokens, ImageSet) {
    let (mut config, set) = pictures(flip);
    config.set("quantizer.kind", kind).unwrap();
    let config = config.resolve(&Registry::default()).unwrap();
    let mut trainer = Trainer::new(gpu, &config, set.clone().into()).unwrap();
    trainer.step().unwrap();
    let path = folder.join("final.safetensors");
    checkpoint::save_file(&path, &trainer.trained().unwrap()).unwrap();
    let model = FirstStageModel::load(gpu, folder).unwrap();
    let tokens = tokenize(
        &model,
        0,
        &set,
        None,
        &folder.join("prior/tokens"),
        &mut no_progress,
    )
    .unwrap();
    (model, tokens, set)
}

pub(crate) fn small(positions: &str) -> PriorConfig {
    let mut config = PriorConfig::default();
    for (key, value) in [
        ("prior.layers", "2"),
        ("prior.dim", "32"),
        ("prior.heads", "2"),
        ("prior.positions", positions),
        ("train.batch_size", "16"),
        ("train.warmup", "2"),
        ("train.lr", "0.01"),
        ("train.steps", "12"),
        ("train.ema_decay", "0.5"),
    ] {
        config.set(key, value).unwrap();
    }
    config
}

fn stages(kind: &str, positions: &str) -> Stages {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let (model, tokens, _) = tokens(&gpu, kind, false, folder.path());
    let mut trainer = Trainer::prior(&gpu, &small(positions).resolve().unwrap(), tokens).unwrap();
    for _ in 0..12 {
        trainer.step().unwrap();
    }
    let path = folder.path().join("prior/final.safetensors");
    checkpoint::save_file(&path, &trainer.trained().unwrap()).unwrap();
    let prior = PriorModel::load(&gpu, &folder.path().join("prior"), &model).unwrap();
    Stages { gpu, prior, folder }
}

/// Another model's prior, and another model's tokens, are refused by name.
#[test]
fn stages_know_each_other() {
    let s = stages("ema", "rotary");
    let other = tempfile::tempdir().unwrap();
    let (model, _, _) = tokens(&s.gpu, "fsq", false, other.path());
    let load = |path: &std::path::Path| {
        PriorModel::load(&s.gpu, path, &model)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let error = load(&s.folder.path().join("prior"));
    assert!(
        error.contains("of 32") && error.contains("of 1000"),
        "{error}"
    );
    assert!(load(other.path()).contains("holds no prior"));
    let missing = load(&other.path().join("prior"));
    assert!(missing.contains("wgvq prior"), "{missing}");
}

/// Tokens come back as they were made, mirrored ones too, in whatever order; damage is found.
#[test]
fn tokens_come_back() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let (model, tokens, set) = tokens(&gpu, "ema", true, folder.path());
    assert_eq!((tokens.train.len(), tokens.test.len()), (140, 20));
    let t = tokens.info.vocabulary.tokens();
    let whole = model.encode(&set.gather(&set.train).unwrap()).unwrap();
    let mirrored: Vec<u8> = set
        .train
        .iter()
        .flat_map(|i| {
            let image = &set.image(*i as usize).unwrap();
            let row = |y: usize| {
                (0..32)
                    .rev()
                    .flat_map(move |x| image[(y * 32 + x) * 3..][..3].to_vec())
            };
            (0..32).flat_map(row).collect::<Vec<u8>>()
        })
        .collect();
    let mirrored = model.encode(&mirrored).unwrap();
    let order: Vec<u32> = (0..140).map(|i| (i * 37) % 140).collect();
    let (codes, classes) = tokens.train.read(&order).unwrap();
    for (place, n) in order.iter().enumerate() {
        let n = *n as usize;
        let (side, i) = if n < 70 {
            (&whole, n)
        } else {
            (&mirrored, n - 70)
        };
        assert_eq!(codes[place * t..][..t], side[i * t..][..t], "image {n}");
        assert_eq!(Some(classes[place]), set.items[set.train[i] as usize].class);
    }
    assert!(tokens.train.read(&[140]).is_err());
    let place = folder.path().join("prior/tokens");
    let shard = place.join("train-00000.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let error = Tokens::open(&place).unwrap_err().to_string();
    assert!(
        error.contains("train-00000") && error.contains("SHA-256"),
        "{error}"
    );
    std::fs::remove_file(&shard).unwrap();
    assert!(
        Tokens::open(&place)
            .unwrap_err()
            .to_string()
            .contains("train-00000")
    );
    std::fs::remove_file(place.join("tokens.json")).unwrap();
    assert!(!Tokens::exist(&place));
}

/// A prior learns; a run that is interrupted and goes on ends with the same bytes; passes that are
/// added up are one. So in each order of the codes,
/// and masked.
#[test]
fn training_goes_on_where_it_stopped() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    tokens(&gpu, "ema", false, folder.path());
    for (positions, key, value) in [
        ("rotary", "prior.order", "raster"),
        ("learned", "prior.order", "annealed"),
        ("rotary", "prior.order", "any"),
        ("rotary", "prior.kind", "masked"),
        ("rotary", "prior.head", "factorised"),
    ] {
        let mut config = small(positions);
        config.set(key, value).unwrap();
        goes_on(&gpu, folder.path(), config);
    }
}

fn goes_on(gpu: &Gpu, folder: &std::path::Path, mut config: PriorConfig) {
    let open = || Tokens::open(&folder.join("prior/tokens")).unwrap();
    config.train.accumulate = 2;
    config.train.batch_size = 8;
    let begin =
        |config: &PriorConfig| Trainer::prior(gpu, &config.resolve().unwrap(), open()).unwrap();
    let run = |trainer: &mut PriorTrainer, to: u64| {
        while trainer.step_number() < to {
            trainer.step().unwrap();
            if trainer.step_number().is_multiple_of(4) {
                trainer.measure(false).unwrap();
            }
        }
    };
    let mut whole = begin(&config);
    let before = whole.measure(false).unwrap().nats_per_token;
    let mut whole = begin(&config);
    run(&mut whole, 12);
    let after = whole.measure(true).unwrap();
    // Random orders take longer to learn.
    let plain = Shape::default();
    let usual = (config.prior.order, config.prior.kind) == (plain.order, plain.kind);
    let least = if usual { 0.3 } else { 0.1 };
    assert!(
        after.nats_per_token < before - least,
        "{before} {}",
        after.nats_per_token
    );
    let bits = after.bits_per_token * 16.0 / (32.0 * 32.0 * 3.0);
    assert!((after.bits_per_dim - bits).abs() < 1e-12);
    let want = checkpoint::to_bytes(&whole.trained().unwrap()).unwrap();

    let mut first = begin(&config);
    run(&mut first, 6);
    let saved = checkpoint::to_bytes(&first.checkpoint().unwrap()).unwrap();
    let mut second = begin(&config);
    run(&mut second, 2);
    second
        .restore(&checkpoint::from_bytes("saved".as_ref(), &saved).unwrap())
        .unwrap();
    run(&mut second, 12);
    assert_eq!(second.measure(true).unwrap(), after);
    assert_eq!(
        checkpoint::to_bytes(&second.trained().unwrap()).unwrap(),
        want
    );
    let (mut one, mut two) = (whole.rows(true).unwrap(), second.rows(true).unwrap());
    assert_eq!(one.pop(), two.pop(), "the open row goes on too");
}

/// Activations kept in 16 bits change a step by little.
#[test]
fn sixteen_bits_train_alike() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    tokens(&gpu, "ema", false, folder.path());
    let losses = |dtype: &str| {
        let mut config = small("rotary");
        config.set("train.dtype", dtype).unwrap();
        config.prior.dropout = 0.0;
        let tokens = Tokens::open(&folder.path().join("prior/tokens")).unwrap();
        let mut trainer = Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).unwrap();
        (0..12).for_each(|_| trainer.step().unwrap());
        trainer.close_row().unwrap();
        trainer
            .rows(true)
            .unwrap()
            .iter()
            .map(|r| r.loss)
            .sum::<f64>()
    };
    let (full, half) = (losses("f32"), losses("f16"));
    assert!(
        (full - half).abs() < 0.01 * full && full != half,
        "{full} {half}"
    );
}

/// In mixed precision a prior learns as in f32, and one whose gradients overflowed at first goes on
/// to the same bytes, its loss scale among them.
#[test]
fn mixed_precision_trains_alike_and_goes_on() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    tokens(&gpu, "ema", false, folder.path());
    let begin = |keys: &[(&str, &str)]| {
        let mut config = small("rotary");
        config.prior.dropout = 0.0;
        config.train.log_every = 1;
        for (key, value) in keys {
            config.set(key, value).unwrap();
        }
        let tokens = Tokens::open(&folder.path().join("prior/tokens")).unwrap();
        Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).unwrap()
    };
    let steps = |trainer: &mut PriorTrainer, steps: usize| {
        (0..steps).for_each(|_| trainer.step().unwrap());
        trainer.rows(true).unwrap()
    };
    let full = steps(&mut begin(&[]), 12);
    let mixed = steps(&mut begin(&[("train.precision", "mixed")]), 12);
    for (a, b) in full.iter().zip(&mixed) {
        assert!((a.loss - b.loss).abs() < 0.01 * a.loss, "{a:?} {b:?}");
        assert_eq!((a.loss_scale, b.loss_scale), (None, Some(65536.0)));
    }
    assert!(full.iter().zip(&mixed).any(|(a, b)| a.loss != b.loss));
    let huge = format!("{:e}", 2f32.powi(70));
    let keys = [
        ("train.precision", "mixed"),
        ("train.loss_scale", &huge),
        ("train.accumulate", "2"),
    ];
    let mut whole = begin(&keys);
    steps(&mut whole, 3);
    let saved = checkpoint::to_bytes(&whole.checkpoint().unwrap()).unwrap();
    let rows = steps(&mut whole, 12);
    assert!(rows[0].skipped == 1 && rows[11].skipped == 0, "{rows:?}");
    let mut again = begin(&keys);
    again
        .restore(&checkpoint::from_bytes("saved".as_ref(), &saved).unwrap())
        .unwrap();
    assert_eq!(steps(&mut again, 12), rows);
    let [a, b] = [whole, again].map(|mut run| run.checkpoint().unwrap());
    assert!(a == b);
}
