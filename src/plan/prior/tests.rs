use super::*;
use crate::codes::tokens::Tokens;
use crate::config::DottedConfig;
use crate::gpu::Options;
use crate::models::text::{Text, TextFormat};
use crate::parallel::ThreadRank;

fn vocabulary(side: usize, codebooks: usize, codebook_size: usize) -> Vocabulary {
    Vocabulary {
        codebook_size,
        codebooks,
        grid: [side, side],
        classes: 3,
        above: Vec::new(),
        text: None,
        scales: None,
    }
}

fn config(pairs: &[&str]) -> Resolved<PriorConfig> {
    let mut config = PriorConfig::default();
    for pair in pairs {
        let (key, value) = pair.split_once('=').unwrap();
        config.set(key, value).unwrap();
    }
    config.resolve().unwrap()
}

#[test]
fn what_is_counted_is_what_steps_take() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let base = [
        "prior.layers=2",
        "prior.dim=64",
        "prior.heads=2",
        "train.batch_size=8",
    ];
    for (side, books, size, more) in [
        (16, 1, 64, ""),
        (16, 1, 2048, ""),
        (8, 4, 256, "prior.layers=3"),
        (16, 1, 64, "train.gradient_checkpointing=true"),
        (16, 1, 256, "train.precision=mixed"),
        (16, 1, 256, "prior.kind=masked"),
        (16, 1, 64, "prior.order=any"),
        (16, 1, 64, "train.accumulate=2"),
        (32, 1, 64, "train.batch_size=1"),
        (16, 1, 4096, "prior.head=factorised"),
        (8, 2, 16384, "prior.head=factorised"),
    ] {
        let more: Vec<&str> = more.split(' ').filter(|pair| !pair.is_empty()).collect();
        let config = config(&[&base[..], &more].concat());
        let v = vocabulary(side, books, size);
        let said = PriorMemory::of(&gpu, &config, &v).unwrap().peak() as f64;
        let took = measured_step(&gpu, &config, &v).unwrap().peak_bytes as f64;
        assert!(
            (0.9..1.1).contains(&(said / took)),
            "{side} {books} {size} {more:?}: {said} counted, {took} taken"
        );
    }
}

#[test]
fn passes_are_as_few_as_fit() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let config = config(&[
        "prior.layers=1",
        "prior.dim=32",
        "prior.heads=1",
        "train.batch_size=8",
    ]);
    let text = |form| Some(Text { form, length: 9 });
    for text in [
        None,
        text(TextFormat::Tokens(40)),
        text(TextFormat::Rows(12)),
    ] {
        let v = vocabulary(16, 1, 64);
        as_few_as_fit(&gpu, &config, &Vocabulary { text, ..v });
    }
}

fn as_few_as_fit(gpu: &Gpu, config: &Resolved<PriorConfig>, v: &Vocabulary) {
    let whole = measured_step(gpu, config, v).unwrap().peak_bytes;
    let in_use = gpu.memory().in_use;
    gpu.set_memory_budget(Some(in_use + whole * 2 / 3));
    let (found, peak) = fitting_prior(gpu, config, v).unwrap();
    assert_eq!(gpu.memory_budget(), Some(in_use + whole * 2 / 3));
    assert!(found.train.accumulate > 1 && found.train.images() == 8);
    assert_eq!(
        (peak.passes, peak.images),
        (found.train.accumulate, found.train.batch_size)
    );
    assert!(peak.bytes < whole);
    gpu.set_memory_budget(Some(in_use + 1000));
    assert!(fitting_prior(gpu, config, v).unwrap_err().is_of_memory());
    gpu.set_memory_budget(None);
}

/// Priors of every kind that reads texts learn in mixed precision as in f32.
#[test]
fn texts_are_learned_in_mixed_precision_as_in_f32() {
    let gpu = Gpu::new(Options::default()).unwrap();
    if !gpu.shader_f16() {
        return;
    }
    let text = |form| Some(Text { form, length: 9 });
    let (tokens, rows) = (text(TextFormat::Tokens(40)), text(TextFormat::Rows(12)));
    for (text, kind) in [
        (tokens, "prior.text=stream"),
        (tokens, "prior.text=encoder"),
        (rows, "prior.text=encoder"),
        (tokens, "prior.kind=masked"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let vocabulary = Vocabulary {
            text,
            ..vocabulary(4, 1, 32)
        };
        let steps = |precision: &str| {
            let config = config(&[
                "prior.layers=2",
                "prior.dim=32",
                "prior.heads=2",
                "prior.dropout=0",
                "train.batch_size=4",
                "train.log_every=1",
                kind,
                precision,
            ]);
            let tokens = made_up(&info(&vocabulary), 16, folder.path()).unwrap();
            let mut trainer = Trainer::prior(&gpu, &config, tokens).unwrap();
            (0..10).for_each(|_| trainer.step().unwrap());
            trainer.rows(true).unwrap()
        };
        let (full, mixed) = (steps("train.precision=f32"), steps("train.precision=mixed"));
        for (a, b) in full.iter().zip(&mixed) {
            assert!(
                (a.loss - b.loss).abs() < 0.01 * a.loss,
                "{kind}: {a:?} {b:?}"
            );
            assert_eq!((b.loss_scale, b.skipped), (Some(65536.0), 0), "{kind}");
        }
        let differ = full.iter().zip(&mixed).any(|(a, b)| a.loss != b.loss);
        assert!(differ, "{kind}: nothing was rounded");
    }
}

/// Moments and copies, in one buffer or several, are counted as steps take them, and each choice
/// that keeps less takes less.
#[test]
fn states_take_what_is_counted() {
    let v = vocabulary(4, 1, 64);
    let base = [
        "prior.layers=4",
        "prior.dim=128",
        "prior.heads=2",
        "train.batch_size=1",
    ];
    for parameter_part in [None, Some(1 << 18)] {
        let gpu = Gpu::new(Options {
            parameter_part,
            ..Default::default()
        })
        .unwrap();
        let states = prior_states(&gpu, &config(&base), &v, 1).unwrap();
        let [wide, wide_alone, narrow, narrow_alone] = states[..] else {
            panic!("four choices")
        };
        assert!(wide.bytes > wide_alone.bytes && wide.bytes > narrow.bytes);
        assert!(narrow_alone.bytes < wide_alone.bytes.min(narrow.bytes));
        for state in states {
            let moments = format!("train.optimizer_state={}", state.moments);
            let mut pairs = base.to_vec();
            pairs.push(&moments);
            if !state.copies {
                pairs.extend(["train.ema_decay=0", "train.keep_best=false"]);
            }
            let config = config(&pairs);
            let memory = PriorMemory::of(&gpu, &config, &v).unwrap();
            assert_eq!(memory.peak(), state.bytes);
            assert_eq!(memory.buffers > 1, parameter_part.is_some());
            let took = measured_step(&gpu, &config, &v).unwrap().peak_bytes as f64;
            let said = state.bytes as f64;
            assert!(
                (0.9..1.1).contains(&(said / took)),
                "{parameter_part:?} {state:?}: {said} counted, {took} taken"
            );
        }
    }
}

/// Ranks that train together take their images, and their shares of the moments.
#[test]
fn shares_of_the_moments_are_counted() {
    let v = vocabulary(4, 1, 64);
    let base = [
        "prior.layers=4",
        "prior.dim=128",
        "prior.heads=2",
        "train.batch_size=4",
        "train.log_every=1",
    ];
    let took = |config: &Resolved<PriorConfig>, ranks: usize| -> Vec<f64> {
        let folder = tempfile::tempdir().unwrap();
        let info = info(&v);
        made_up(&info, config.train.batch_size, folder.path()).unwrap();
        std::thread::scope(|scope| {
            let each = ThreadRank::group(ranks).into_iter().map(|ranks| {
                let folder = folder.path();
                scope.spawn(move || {
                    let gpu = Gpu::new(Options::default()).unwrap();
                    let tokens = Tokens::open(folder).unwrap();
                    let trainer = Trainer::prior(&gpu, config, tokens).unwrap();
                    let mut trainer = trainer.among(ranks).unwrap();
                    gpu.reset_peak();
                    for _ in 0..2 {
                        trainer.step().unwrap();
                        gpu.finish().unwrap();
                    }
                    gpu.memory().peak as f64
                })
            });
            let each: Vec<_> = each.collect();
            each.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    };
    let gpu = Gpu::new(Options::default()).unwrap();
    for (state, ranks) in [("f32", 2), ("bf16", 4)] {
        let state = format!("train.optimizer_state={state}");
        let keep = "train.keep_best=false";
        let whole = config(&[&base[..], &[&state, keep]].concat());
        let shared = config(&[&base[..], &[&state, keep, "train.shard_optimizer=true"]].concat());
        let of = |c: &_, ranks| PriorMemory::of_rank(&gpu, c, &v, ranks).unwrap();
        let said = of(&shared, ranks);
        assert_eq!(said.images, 4 / ranks);
        let less = of(&whole, ranks).optimizer - said.optimizer;
        let moments = if state.ends_with("bf16") { 4 } else { 8 };
        let all = (moments * said.parameters) as f64;
        let wanted = all * (ranks - 1) as f64 / ranks as f64;
        assert!(
            (0.6..1.5).contains(&(less as f64 / wanted)),
            "{state}: {less} {wanted}"
        );
        // One alone keeps all, and says so.
        assert_eq!(of(&shared, 1), of(&whole, 1));
        let said = said.peak() as f64;
        for took in took(&shared, ranks) {
            assert!(
                (0.9..1.1).contains(&(said / took)),
                "{state}, {ranks} ranks: {said} counted, {took} taken"
            );
        }
    }
    let odd = PriorMemory::of_rank(&gpu, &config(&base), &v, 3).unwrap_err();
    assert!(odd.to_string().contains("train.batch_size"), "{odd}");
    let peaks = prior_peaks(&gpu, &config(&base), &v, 2).unwrap();
    let passes: Vec<(usize, usize)> = peaks.iter().map(|p| (p.passes, p.images)).collect();
    assert_eq!(passes, [(1, 2), (2, 2), (4, 1), (1, 2), (2, 2), (4, 1)]);
}

#[test]
fn devices_hold_what_nine_tenths_of_them_hold() {
    let on = |bytes| {
        let (moments, copies) = (MomentDtype::F32, false);
        let state = PriorState {
            moments,
            copies,
            bytes,
        };
        state.device_gib()
    };
    assert_eq!(on(1 << 30), Some(2));
    assert_eq!(on(2 << 30), Some(4));
    assert_eq!(on(21 << 30), Some(24));
    assert_eq!(on(22 << 30), Some(32));
    assert_eq!(on(1 << 40), None);
}
