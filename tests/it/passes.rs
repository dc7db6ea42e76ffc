//! Steps in several passes over parts of their batch: the same as in one, within rounding.

use crate::common::gpu;
use crate::host::{pictures, pictures_of_classes, small_config};
use std::collections::BTreeMap;
use std::sync::Arc;
use wgvq::config::DottedConfig;
use wgvq::config::Precision;
use wgvq::config::contrastive::ContrastiveConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::ImageSet;
use wgvq::gpu::Gpu;
use wgvq::metrics::Row;
use wgvq::models::text::{Text, TextFormat, Texts};
use wgvq::plan::{Peak, fitting, fitting_contrastive, peaks};
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint::{self, Checkpoint};
use wgvq::train::Trainer;

pub(crate) type Keys<'a> = &'a [(&'a str, &'a str)];

pub(crate) const GAN: Keys = &[
    ("model.kind", "vqgan"),
    ("model.hidden", "32"),
    ("model.multipliers", "1,1"),
    ("quantizer.codebook_dim", "4"),
    ("gan.start", "0"),
    ("gan.head_start", "0"),
    ("gan.ramp", "0"),
    ("gan.hidden", "4"),
    ("gan.layers", "1"),
    ("gan.norm", "spectral"),
];

pub(crate) fn config(keys: Keys, passes: usize) -> RunConfig {
    let mut config = small_config();
    config.train.batch_size = 8 / passes;
    config.train.accumulate = passes;
    config.train.log_every = 1;
    for (key, value) in keys {
        config.set(key, value).unwrap();
    }
    config
}

fn trainer(gpu: &Gpu, config: &RunConfig, data: &Arc<ImageSet>) -> Trainer {
    let config = config.resolve(&Registry::default()).unwrap();
    Trainer::new(gpu, &config, data.clone()).unwrap()
}

/// Returns the state of a run after some steps, and a row of each.
fn after(
    gpu: &Gpu,
    config: &RunConfig,
    data: &Arc<ImageSet>,
    steps: usize,
) -> (Checkpoint, Vec<Row>) {
    let mut trainer = trainer(gpu, config, data);
    let mut rows = Vec::new();
    for _ in 0..steps {
        trainer.step().unwrap();
        rows.extend(trainer.rows(true).unwrap());
    }
    (trainer.checkpoint().unwrap(), rows)
}

pub(crate) fn numbers(state: &Checkpoint, of: &str) -> BTreeMap<String, Vec<f32>> {
    let own = state.tensors.iter().filter(|(name, _)| name.contains(of));
    own.map(|(name, t)| (name.clone(), t.to_f32().unwrap()))
        .collect()
}

/// The largest difference of tensors over the largest number of each, or over a thousandth of the
/// largest number of all: a gradient that is nothing but rounding agrees with none. With its name.
pub(crate) fn apart(
    whole: &BTreeMap<String, Vec<f32>>,
    parts: &BTreeMap<String, Vec<f32>>,
) -> (f32, String) {
    let largest = |a: &[f32]| a.iter().fold(1e-12f32, |m, x| m.max(x.abs()));
    let all = whole.values().fold(0.0, |m: f32, a| m.max(largest(a)));
    let mut most = (0.0, String::new());
    for (name, a) in whole {
        let differ = a.iter().zip(&parts[name]).map(|(a, b)| (a - b).abs());
        let found = differ.fold(0.0, f32::max) / largest(a).max(1e-3 * all);
        if found > most.0 {
            most = (found, name.clone());
        }
    }
    most
}

/// Gradients (as the optimiser's first moments after a step), codebooks, what their averages saw,
/// and the losses of a step in two and in four passes are those of the whole.
#[test]
fn parts_add_up_to_the_whole() {
    let (gpu, data) = (gpu(), Arc::new(pictures_of_classes(16, 24)));
    let cases: [(&str, Keys); 15] = [
        ("ema", &[]),
        ("rotation", &[("quantizer.rotation_trick", "true")]),
        (
            "vq",
            &[("quantizer.kind", "vq"), ("data.class_weights", "balanced")],
        ),
        ("cosine", &[("quantizer.kind", "cosine")]),
        ("simvq", &[("quantizer.kind", "simvq")]),
        (
            "residual",
            &[
                ("quantizer.kind", "residual"),
                ("quantizer.shared_codebook", "true"),
            ],
        ),
        ("product", &[("quantizer.kind", "product")]),
        ("multiscale", &[("quantizer.kind", "multiscale")]),
        (
            "fsq",
            &[("quantizer.kind", "fsq"), ("quantizer.levels", "5,5,3")],
        ),
        (
            "lfq",
            &[
                ("quantizer.kind", "lfq"),
                ("quantizer.entropy_loss_weight", "0"),
            ],
        ),
        (
            "bsq",
            &[
                ("quantizer.kind", "bsq"),
                ("quantizer.diversity_gamma", "0"),
            ],
        ),
        (
            "ibq",
            &[
                ("quantizer.kind", "ibq"),
                ("quantizer.normalize_latents", "false"),
                ("quantizer.diversity_gamma", "0"),
            ],
        ),
        (
            "vqvae2",
            &[("model.kind", "vqvae2"), ("train.grad_clip", "0.01")],
        ),
        (
            "vit",
            &[
                ("model.kind", "vit"),
                ("model.layers", "1"),
                ("model.dim", "24"),
                ("model.heads", "3"),
                ("model.hidden", "40"),
                ("gan.weight", "0"),
            ],
        ),
        ("flips", &[("data.flip", "true"), ("train.dtype", "f16")]),
    ];
    for (name, keys) in cases {
        let (whole, rows) = after(&gpu, &config(keys, 1), &data, 1);
        for passes in [2, 4] {
            let (parts, other) = after(&gpu, &config(keys, passes), &data, 1);
            // A half's last bit is 2^-11 of it; sums of such are still f32's.
            let bound = if name == "flips" { 1e-3 } else { 2e-5 };
            let mut compared = 0;
            for of in ["adam.m.", "quantizer."] {
                let whole = numbers(&whole, of);
                let (found, tensor) = apart(&whole, &numbers(&parts, of));
                assert!(found < bound, "{name}, {passes}: {tensor} by {found}");
                compared += whole.len();
            }
            assert!(compared > 4, "{name}: {compared}");
            let (a, b) = (&rows[0], &other[0]);
            for (what, a, b) in [
                ("loss", a.losses.loss, b.losses.loss),
                ("mse", a.losses.reconstruction, b.losses.reconstruction),
                ("commitment", a.losses.commitment, b.losses.commitment),
                ("codebook", a.losses.codebook, b.losses.codebook),
                (
                    "error",
                    a.codes.quantization_error,
                    b.codes.quantization_error,
                ),
            ] {
                assert!(
                    (a - b).abs() <= 1e-5 * a.abs() + f64::from(bound) * 0.01,
                    "{name}, {passes}: {what} {a} {b}"
                );
            }
            // Counts are whole numbers, and so add up exactly.
            assert_eq!(
                (a.codes.perplexity, a.codes.used),
                (b.codes.perplexity, b.codes.used),
                "{name}, {passes}"
            );
        }
    }
}

/// With a discriminator: its adaptive weight, its own gradients, its regularizers.
#[test]
fn a_discriminator_judges_all_parts() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    for more in [
        &[("gan.adaptive", "true")] as Keys,
        &[("gan.adaptive", "false"), ("gan.norm", "none")],
        &[
            ("gan.regularizer", "r1"),
            ("gan.regularizer_weight", "1"),
            ("gan.regularizer_every", "1"),
        ],
        &[
            ("gan.regularizer", "lecam"),
            ("gan.regularizer_weight", "1"),
            ("gan.objective", "non-saturating"),
        ],
    ] {
        let keys = [GAN, more].concat();
        let (whole, rows) = after(&gpu, &config(&keys, 1), &data, 1);
        for passes in [2, 4] {
            let (parts, other) = after(&gpu, &config(&keys, passes), &data, 1);
            for of in ["adam.m.", "adversary.m.", "adversary.logits."] {
                let (found, tensor) = apart(&numbers(&whole, of), &numbers(&parts, of));
                assert!(found < 5e-4, "{more:?}, {passes}: {tensor} by {found}");
            }
            let [a, b] = [&rows, &other].map(|rows| rows[0].gan.unwrap().values());
            assert!(a.iter().filter(|x| **x != 0.0).count() >= 8, "{a:?}");
            for (a, b) in a.iter().zip(&b) {
                let near = (a - b).abs() <= 1e-4 * a.abs() + 1e-6;
                assert!(near, "{more:?}, {passes}: {a} {b}");
            }
        }
    }
}

/// A run in passes that is interrupted goes on to the same bytes.
#[test]
fn passes_go_on_to_the_same_bytes() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    for keys in [&[("train.ema_decay", "0.9")] as Keys, GAN] {
        let config = config(keys, 4);
        let mut whole = trainer(&gpu, &config, &data);
        (0..3).for_each(|_| whole.step().unwrap());
        let half = checkpoint::to_bytes(&whole.checkpoint().unwrap()).unwrap();
        (0..3).for_each(|_| whole.step().unwrap());
        let mut again = trainer(&gpu, &config, &data);
        again
            .restore(&checkpoint::from_bytes("half".as_ref(), &half).unwrap())
            .unwrap();
        (0..3).for_each(|_| again.step().unwrap());
        let [a, b] =
            [whole, again].map(|mut run| checkpoint::to_bytes(&run.checkpoint().unwrap()).unwrap());
        assert!(a == b);
    }
}

/// Parts that span the images of a step refuse several passes, by name and with a way out.
#[test]
fn what_spans_a_batch_is_refused() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 24)));
    let batch_norm = [GAN, &[("gan.norm", "batch")]].concat();
    let cases: [(Keys, &str); 9] = [
        (&[("quantizer.kind", "gumbel")], "quantizer.kind"),
        (
            &[("quantizer.kind", "lfq")],
            "quantizer.entropy_loss_weight",
        ),
        (&[("quantizer.kind", "bsq")], "quantizer.diversity_gamma"),
        (&[("quantizer.kind", "ibq")], "quantizer.normalize_latents"),
        (
            &[
                ("quantizer.kind", "ibq"),
                ("quantizer.normalize_latents", "false"),
            ],
            "quantizer.diversity_gamma",
        ),
        (
            &[("quantizer.codebook_diversity_loss_weight", "1")],
            "quantizer.codebook_diversity_loss_weight",
        ),
        (
            &[
                ("quantizer.kind", "product"),
                ("quantizer.stochastic_sample_codes", "true"),
            ],
            "quantizer.stochastic_sample_codes",
        ),
        (
            &[
                ("quantizer.kind", "residual"),
                ("quantizer.dim", "4"),
                ("quantizer.codebook_diversity_loss_weight", "1"),
            ],
            "quantizer.codebook_diversity_loss_weight",
        ),
        (&batch_norm, "gan.norm"),
    ];
    for (keys, named) in cases {
        let resolved = |passes| config(keys, passes).resolve(&Registry::default()).unwrap();
        assert!(Trainer::new(&gpu, &resolved(1), data.clone()).is_ok());
        let error = Trainer::new(&gpu, &resolved(2), data.clone())
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("train.accumulate") && error.contains(named),
            "{keys:?}: {error}"
        );
    }
}

/// More passes take less memory; within a budget the least number that fits is taken.
#[test]
fn passes_fit_a_budget() {
    let (gpu, data) = (gpu(), Arc::new(pictures(32, 24)));
    let resolved = |keys: Keys| config(keys, 1).resolve(&Registry::default()).unwrap();
    let plain = resolved(&[]);
    let (found, mixed): (Vec<Peak>, Vec<Peak>) = peaks(&gpu, &plain, &data)
        .unwrap()
        .into_iter()
        .partition(|peak| peak.precision == Precision::F32);
    let passes: Vec<usize> = found.iter().map(|p| p.passes).collect();
    assert_eq!(passes, [1, 2, 4, 8]);
    assert!(
        found.windows(2).all(|w| w[1].bytes < w[0].bytes)
            && found[3].bytes < found[0].bytes * 6 / 10,
        "{found:?}"
    );
    // In mixed precision activations take half, and the weights a copy more, which for few images
    // of a small model is more.
    assert_eq!(mixed.len(), if gpu.shader_f16() { 4 } else { 0 });
    let whole = mixed.first().is_none_or(|m| m.bytes < found[0].bytes);
    assert!(whole, "{mixed:?} {found:?}");
    assert_eq!(fitting(&gpu, &plain, &data).unwrap().0, plain);
    gpu.trim();
    // What waits in the pool to be used again counts, too.
    let between = (found[0].bytes + found[1].bytes) / 2;
    gpu.set_memory_budget(Some(gpu.memory().in_use + between));
    let (config, peak) = fitting(&gpu, &plain, &data).unwrap();
    let t = &config.train;
    assert!(t.accumulate > 1 && t.accumulate * t.batch_size == 8);
    assert!(peak.passes == t.accumulate && peak.bytes <= between);
    let refused = fitting(&gpu, &resolved(&[("quantizer.kind", "gumbel")]), &data);
    assert!(refused.err().unwrap().to_string().contains("memory budget"));
    gpu.set_memory_budget(Some(1 << 16));
    assert!(fitting(&gpu, &plain, &data).is_err());
}

/// A contrastive model tells an image from the texts of all passes: its loss and gradients are
/// those of one pass.
#[test]
fn passes_contrast_with_each_other() {
    let (gpu, data) = (gpu(), Arc::new(pictures(16, 26)));
    let text = Text {
        form: TextFormat::Tokens(20),
        length: 6,
    };
    let tokens: Vec<[u32; 3]> = (0..26u32).map(|i| [2 + i % 17, 2 + i % 5, 3]).collect();
    let texts = Arc::new(Texts::of_tokens(&text, &tokens).unwrap());
    let config = |passes: usize| {
        let mut config = ContrastiveConfig::default();
        for (key, value) in [
            ("model.layers", "1"),
            ("model.dim", "16"),
            ("model.heads", "2"),
            ("model.embedding", "8"),
            ("model.dropout", "0"),
            ("train.log_every", "1"),
            ("train.warmup", "1"),
        ] {
            config.set(key, value).unwrap();
        }
        config.train.batch_size = 8 / passes;
        config.train.accumulate = passes;
        config.resolve().unwrap()
    };
    let begin = |passes: usize| {
        let (config, texts) = (config(passes), texts.clone());
        Trainer::contrastive(&gpu, &config, data.clone(), text, texts, "words").unwrap()
    };
    let step = |passes| {
        let mut run = begin(passes);
        run.step().unwrap();
        (run.checkpoint().unwrap(), run.rows(true).unwrap().remove(0))
    };
    let (whole, row) = step(1);
    for passes in [2, 4] {
        let (parts, other) = step(passes);
        let whole = numbers(&whole, "adam.m.");
        let (found, tensor) = apart(&whole, &numbers(&parts, "adam.m."));
        assert!(
            found < 2e-5 && whole.len() > 10,
            "{passes}: {tensor} by {found}"
        );
        assert!((row.loss - other.loss).abs() < 1e-5 * row.loss);
        assert!((row.gradient_norm - other.gradient_norm).abs() < 1e-4 * row.gradient_norm);
    }
    // And a run goes on to the same bytes.
    let (mut whole, mut again) = (begin(4), begin(4));
    whole.step().unwrap();
    let half = whole.checkpoint().unwrap();
    whole.step().unwrap();
    again.restore(&half).unwrap();
    again.step().unwrap();
    assert!(whole.checkpoint().unwrap() == again.checkpoint().unwrap());
    drop((whole, again));

    // Within a budget the least number that fits is taken.
    let fit = || fitting_contrastive(&gpu, &config(1), &data, text, &texts);
    let (found, whole) = fit().unwrap();
    assert_eq!((found, whole.passes), (config(1), 1));
    let in_use = gpu.memory().in_use;
    gpu.set_memory_budget(Some(in_use + whole.bytes - 1));
    let (found, peak) = fit().unwrap();
    assert_eq!(found, config(peak.passes));
    assert!(peak.passes > 1 && peak.bytes < whole.bytes, "{peak:?}");
    gpu.set_memory_budget(Some(in_use + 1000));
    assert!(fit().unwrap_err().is_of_memory());
}
