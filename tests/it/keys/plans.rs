//! Plans: what a run then takes, in memory and in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wgvq::config::presets::presets;
use wgvq::config::run::RunConfig;
use wgvq::gpu::{Gpu, Options};
use wgvq::plan::Plan;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::{Observer, Progress, Start};
use wgvq::{data, quantize};

struct Silent;

impl Observer for Silent {
    fn step(&mut self, _: &Progress) {}
    fn evaluated(&mut self, _: u64, _: &dyn std::fmt::Display) {}
    fn note(&mut self, _: &str) {}
}

/// A preset, or a model of it, at a size that takes no time.
fn shrunk(mut config: RunConfig, quantizer: &str) -> RunConfig {
    config.quantizer = quantize::Options {
        codebook_size: 32,
        codebook_dim: 8,
        ..quantize::Options::of(quantizer)
    };
    config.data = RunConfig::default().data;
    (config.data.source, config.data.width, config.data.height) = ("emoji".into(), 16, 16);
    (
        config.model.hidden,
        config.model.residual_hidden,
        config.model.residual_layers,
    ) = (32, 8, 1);
    config.gan.hidden = 8;
    (config.gan.start, config.gan.head_start, config.gan.ramp) = (1, 0, 1);
    (
        config.train.batch_size,
        config.train.steps,
        config.train.eval_every,
    ) = (4, 2, 0);
    config
}

#[test]
fn a_plan_is_what_a_run_then_takes() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    let folder = tempfile::tempdir().unwrap();
    let (presets, kinds) = (presets(), quantize::all());
    let mut set = None;
    let mut peaks = Vec::new();
    // Each preset and each quantizer, in as many pairs as there are of the longer list.
    for i in 0..presets.len().max(kinds.len()) {
        let (preset, kind) = (
            presets.get(i).unwrap_or(&presets[0]),
            kinds[i % kinds.len()].name,
        );
        let config = shrunk(preset.config().unwrap(), kind)
            .resolve(&Registry::default())
            .unwrap();
        let set = set.get_or_insert_with(|| {
            let mut set = data::open("emoji", &config.data.options()).unwrap();
            set.test.truncate(8);
            Arc::new(set)
        });
        let name = format!("{}-{kind}", preset.name);
        let plan = Plan::of(&gpu, &config, set).unwrap_or_else(|e| panic!("{name}: {e}"));

        gpu.reset_peak();
        let out = RunFolder::create(&folder.path().join(&name), false).unwrap();
        let ran = wgvq::train::run(
            &gpu,
            &config,
            set.clone(),
            &out,
            Start::Fresh,
            &mut Silent,
            &AtomicBool::new(false),
        );
        drop(ran.unwrap());
        let peak = gpu.memory().peak;
        peaks.push((
            name.clone(),
            plan.peak_bytes,
            peak,
            plan.peak_bytes as f64 / peak as f64,
        ));

        // What the files of the run hold.
        let numbers = |tensors: &BTreeMap<String, checkpoint::HostTensor>,
                       of: &dyn Fn(&str) -> bool|
         -> usize {
            tensors
                .iter()
                .filter(|(name, _)| of(name))
                .map(|(_, t)| t.shape.iter().product::<usize>())
                .sum()
        };
        let (model, _) = checkpoint::load_file(&out.model()).unwrap();
        let trained = numbers(&model.tensors, &|name| !name.starts_with("quantizer."));
        assert_eq!(plan.parameters, trained, "{name}");
        let books = numbers(&model.tensors, &|name| name.ends_with("codebook"));
        assert_eq!(
            plan.codebook,
            books,
            "{name}: {:?}",
            model.tensors.keys().collect::<Vec<_>>()
        );
        let none = matches!(kind, "fsq" | "lfq" | "bsq");
        assert_eq!(plan.codebook == 0, none, "{name}");
        assert_eq!(plan.discriminator > 0, config.gan.is_on(), "{name}");
        if config.gan.is_on() {
            let (saved, _) =
                checkpoint::load_file(&out.checkpoints().join("step-00000002.safetensors"))
                    .unwrap();
            let own = |name: &str| {
                let state = ["m.", "v.", "state.", "logits."].map(|s| format!("adversary.{s}"));
                name.starts_with("adversary.") && !state.iter().any(|s| name.starts_with(s))
            };
            assert_eq!(plan.discriminator, numbers(&saved.tensors, &own), "{name}");
            let (steps, before) = plan.before.unwrap();
            assert_eq!(steps, 1);
            // Its own passes, and those of its gradient.
            assert!(
                before.flops > 0.0 && plan.step.flops > before.flops,
                "{name}"
            );
        }
        assert!(plan.step.seconds > 0.0 && plan.measurement_seconds > 0.0);
        assert_eq!(plan.measurements, 1);
        assert!(
            plan.total().as_secs_f64() >= plan.measuring_seconds()
                && plan.measuring_seconds() > 0.0
        );
    }
    // Of what a run takes; buffers that wait to be used again differ from one to the next.
    assert!(
        peaks.iter().all(|(.., ratio)| (0.8..1.25).contains(ratio)),
        "{peaks:#?}"
    );
}

/// Where a measurement takes more memory than a step, that is what a plan says.
#[test]
fn a_plan_counts_the_memory_of_measurements() {
    let gpu = Gpu::new(Options::default()).expect("an adapter");
    let mut small = shrunk(RunConfig::default(), "ema");
    small.train.batch_size = 1;
    let config = small.resolve(&Registry::default()).unwrap();
    let peaks = [1, 64].map(|test| {
        let folder = tempfile::tempdir().unwrap();
        let mut set = data::open("emoji", &small.data.options()).unwrap();
        set.test.truncate(test);
        let set = Arc::new(set);
        let plan = Plan::of(&gpu, &config, &set).unwrap().peak_bytes;
        gpu.reset_peak();
        let out = RunFolder::create(&folder.path().join("run"), false).unwrap();
        let (start, stop) = (Start::Fresh, AtomicBool::new(false));
        drop(wgvq::train::run(&gpu, &config, set, &out, start, &mut Silent, &stop).unwrap());
        (plan, gpu.memory().peak)
    });
    for (plan, run) in peaks {
        assert!(
            (0.9..1.1).contains(&(plan as f64 / run as f64)),
            "{peaks:?}"
        );
    }
    assert!(peaks[1].1 > peaks[0].1 + peaks[0].1 / 4, "{peaks:?}");
}

#[test]
fn a_plan_counts_the_measurements_and_the_steps_before_the_discriminator() {
    let of = |before, steps, measurements| Plan {
        parameters: 1,
        discriminator: 1,
        lpips: 0,
        codebook: 1,
        peak_bytes: 1,
        step: wgvq::plan::Pace {
            seconds: 2.0,
            flops: 1.0,
        },
        before,
        steps,
        measurements,
        measurement_seconds: 10.0,
    };
    let early = wgvq::plan::Pace {
        seconds: 0.5,
        flops: 1.0,
    };
    assert_eq!(
        of(Some((40, early)), 100, 3).total().as_secs(),
        20 + 120 + 30
    );
    assert_eq!(of(None, 100, 3).total().as_secs(), 230);
    assert_eq!(of(None, 1 << 40, 1 << 40).total().as_secs(), 12 << 40);
}
