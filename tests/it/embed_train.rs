//! Work in slices, and models as bytes.

use crate::host::{Host, model_bytes, picture, pictures, small_config};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wgvq::config::run::{ModelKind, RunConfig};
use wgvq::gpu::{Gpu, Tensor};
use wgvq::inference::{DECODER_FORMAT, Decoder, FirstStageModel};
use wgvq::ops::elementwise::scale::scale;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint::{Checkpoint, HostTensor, from_bytes, to_bytes};
use wgvq::train::Trainer;
use wgvq::{FeatureRequest, wgpu};

/// The bytes of training after so many steps.
fn after(
    config: &RunConfig,
    gpu: &Gpu,
    steps: u64,
    advance: impl Fn(&mut Trainer),
) -> BTreeMap<String, HostTensor> {
    let mut trainer = Trainer::new(
        gpu,
        &config.resolve(&Registry::default()).unwrap(),
        Arc::new(pictures(64, 12)),
    )
    .unwrap();
    while trainer.step_number() < steps {
        advance(&mut trainer);
    }
    trainer.checkpoint().unwrap().tensors
}

#[test]
fn a_step_in_slices_is_the_step() {
    let config = small_config();
    for wanted in [FeatureRequest::NOTHING, FeatureRequest::default()] {
        let host = Host::new(wanted);
        let whole = after(&config, &host.gpu(), 4, |trainer| trainer.step().unwrap());
        let gpu = host.gpu();
        let kept = Tensor::from_slice(&gpu, &[1_000], &vec![3.0f32; 1_000]).unwrap();
        let sliced = after(&config, &gpu, 4, |trainer| {
            let before = gpu.counters().submissions;
            let worked = trainer.step_for(Duration::from_micros(1)).unwrap();
            // What making the trainer recorded goes before its first step.
            let one = worked.slices == 1 && gpu.counters().submissions == before + 1;
            assert!(one || trainer.step_number() == 1, "{worked:?}");
            // A frame of the host's between, in its own encoder; it takes none of the step's
            // buffers.
            let mut encoder = host.device.create_command_encoder(&Default::default());
            let back = gpu
                .record_into(&mut encoder, || {
                    scale(&scale(&kept, 2.0, 0.0)?, 1.0, 1.0)?.read_async()
                })
                .unwrap();
            host.queue.submit([encoder.finish()]);
            assert_eq!(back.wait::<f32>().unwrap(), [7.0; 1_000]);
        });
        assert!(whole == sliced);
    }
}

#[test]
fn work_for_ends_in_time_and_says_what_is_left() {
    let gpu = Host::new(FeatureRequest::default()).gpu();
    let x = Tensor::from_slice(&gpu, &[1 << 18], &vec![1.0f32; 1 << 18]).unwrap();
    let mut recorded = 0;
    let mut sums = Vec::new();
    let budget = Duration::from_millis(10);
    let mut calls = 0;
    loop {
        let worked = gpu
            .run_for_budget(budget, || {
                if recorded == 3 {
                    return Ok(false);
                }
                recorded += 1;
                let mut y = x.clone();
                for _ in 0..100 {
                    y = scale(&y, 1.0, 1.0)?;
                }
                sums.push(y.read_async()?);
                Ok(true)
            })
            .unwrap();
        calls += 1;
        assert!(worked.done || worked.slices > 0);
        if recorded == 3 && worked.done {
            break;
        }
        assert!(calls < 10_000);
    }
    for sum in sums {
        assert_eq!(sum.wait::<f32>().unwrap()[12_345], 101.0);
    }
    // What is left over is done when somebody waits for it.
    let mut left = None;
    gpu.run_for_budget(Duration::from_nanos(1), || {
        let mut y = x.clone();
        for _ in 0..400 {
            y = scale(&y, 1.0, -1.0)?;
        }
        left = Some(y.read_async()?);
        Ok(true)
    })
    .unwrap();
    assert_eq!(left.unwrap().wait::<f32>().unwrap()[7], -399.0);
    let nested = gpu.run_for_budget(budget, || {
        gpu.run_for_budget(budget, || Ok(false)).map(|_| true)
    });
    assert!(nested.unwrap_err().to_string().contains("within itself"));
    assert!(
        gpu.run_for_budget(budget, || Ok(true))
            .unwrap_err()
            .to_string()
            .contains("recorded nothing")
    );
    assert_eq!(scale(&x, 5.0, 0.0).unwrap().read::<f32>().unwrap()[0], 5.0);
}

#[test]
fn a_decoders_file_holds_no_more_than_decoding_reads() {
    let gpu = Host::new(FeatureRequest::default()).gpu();
    let bytes = model_bytes(64);
    let whole = FirstStageModel::from_bytes(&gpu, &bytes).unwrap();
    let codes = whole.encode(&picture(64, 3)).unwrap();
    let expected = whole.decode(&codes).unwrap();
    let part = whole.to_decoder_bytes().unwrap();
    assert!(
        part.len() < bytes.len() * 2 / 3,
        "{} of {} bytes",
        part.len(),
        bytes.len()
    );
    let file = from_bytes("part".as_ref(), &part).unwrap();
    let strangers: Vec<&String> = file
        .tensors
        .keys()
        .filter(|n| n.starts_with("encoder") || n.contains("ema_") || n.contains("adam"))
        .collect();
    assert!(
        strangers.is_empty() && file.tensors.contains_key("quantizer.codebook"),
        "{:?}",
        file.tensors.keys()
    );
    assert_eq!(file.state["decoder"]["format"], DECODER_FORMAT);
    for bytes in [&part, &bytes] {
        let decoder = Decoder::from_bytes(&gpu, bytes).unwrap();
        assert_eq!(
            (decoder.image(), decoder.model()),
            ([64, 64, 3], whole.hash())
        );
        assert!(decoder.decode(&codes).unwrap() == expected);
        assert!(decoder.decode(&codes[1..]).is_err());
    }
    // The same bytes each time, and no decoder is taken for a model.
    assert!(whole.to_decoder_bytes().unwrap() == part);
    let message = FirstStageModel::from_bytes(&gpu, &part)
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("is a decoder") && message.contains("Decoder"),
        "{message}"
    );
    let refuse = |change: &dyn Fn(&mut Checkpoint), word: &str| {
        let mut file = file.clone();
        change(&mut file);
        let message = Decoder::from_bytes(&gpu, &to_bytes(&file).unwrap())
            .err()
            .unwrap()
            .to_string();
        assert!(message.contains(word), "{message}");
    };
    refuse(
        &|f| f.state["decoder"]["format"] = 99.into(),
        "format 99; this version reads up to",
    );
    refuse(
        &|f| drop(f.tensors.remove("decoder.from_latent.weight")),
        "`decoder.from_latent.weight` was left out",
    );
    refuse(
        &|f| drop(f.tensors.remove("quantizer.codebook")),
        "codebook",
    );
    let mut damaged = part.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert!(
        Decoder::from_bytes(&gpu, &damaged)
            .err()
            .unwrap()
            .to_string()
            .contains("damaged")
    );
    assert!(Decoder::from_bytes(&gpu, b"nothing").is_err());
}

/// Every quantizer and a hierarchy: what the whole model decodes, its decoder does.
#[test]
fn every_models_decoder_decodes_alike() {
    let host = Host::new(FeatureRequest::default());
    let gpu = host.gpu();
    let mut configs: Vec<RunConfig> = Vec::new();
    for kind in wgvq::quantize::all() {
        let mut config = small_config();
        config.quantizer = wgvq::quantize::Options {
            codebook_size: 16,
            kmeans_iters: 2,
            ..wgvq::quantize::Options::of(kind.name)
        };
        configs.push(config);
    }
    let mut hierarchy = small_config();
    hierarchy.model.kind = ModelKind::VqVae2;
    configs.push(hierarchy);
    for config in configs {
        let data = Arc::new(pictures(64, 6));
        let name = format!("{} {}", config.model.kind, config.quantizer.kind);
        let mut trainer =
            Trainer::new(&gpu, &config.resolve(&Registry::default()).unwrap(), data).unwrap();
        trainer.step().unwrap();
        let whole =
            FirstStageModel::from_bytes(&gpu, &to_bytes(&trainer.trained().unwrap()).unwrap())
                .unwrap();
        let codes = whole
            .encode(&[picture(64, 1), picture(64, 2)].concat())
            .unwrap();
        let decoder = Decoder::from_bytes(&gpu, &whole.to_decoder_bytes().unwrap()).unwrap();
        let expected = whole.decode(&codes).unwrap();
        assert!(decoder.decode(&codes).unwrap() == expected, "{name}");
        // On the device, and as a texture.
        let on_device = Tensor::from_slice(&gpu, &[codes.len()], &codes).unwrap();
        let target = host.texture([64, 64], wgpu::TextureFormat::Rgba8Unorm);
        let view = target.create_view(&Default::default());
        let mut encoder = host.device.create_command_encoder(&Default::default());
        decoder
            .decode_tensor_into(&mut encoder, &on_device, 1, &view)
            .unwrap();
        host.queue.submit([encoder.finish()]);
        let second = expected[64 * 64 * 3..]
            .chunks(3)
            .flat_map(|p| [p[0], p[1], p[2], 255]);
        assert!(host.read(&target).into_iter().eq(second), "{name}");
        // And there: the same codes, level by level.
        let images: Vec<f32> = picture(64, 2)
            .iter()
            .map(|b| (2 * i32::from(*b) - 255) as f32 * (1.0 / 255.0))
            .collect();
        let images = Tensor::from_slice(&gpu, &[1, 64, 64, 3], &images).unwrap();
        let coded = whole.codes(&images).unwrap();
        assert_eq!(coded.shape(), [1, decoder.codes_per_image()]);
        assert!(
            coded.read::<u32>().unwrap() == codes[decoder.codes_per_image()..],
            "{name}"
        );
    }
}

/// Samples drawn between frames are those that are drawn at once.
#[test]
fn samples_come_in_slices_too() {
    use wgvq::codes::tokens::TokenDatasetInfo;
    use wgvq::config::prior::PriorConfig;
    use wgvq::inference::{PriorModel, SampleRequest, SamplingOptions, no_progress};
    use wgvq::models::prior::Vocabulary;
    let gpu = Host::new(FeatureRequest::default()).gpu();
    let vocabulary = Vocabulary {
        codebook_size: 32,
        codebooks: 1,
        grid: [3, 3],
        classes: 2,
        above: Vec::new(),
        text: None,
        scales: None,
    };
    let info = TokenDatasetInfo {
        model: String::new(),
        quantizer: "ema".into(),
        level: String::new(),
        vocabulary,
        image: [12, 12, 3],
        classes: vec!["a".into(), "b".into()],
        data: String::new(),
        data_sha256: String::new(),
        mirrored: false,
        reader: String::new(),
    };
    let prior =
        PriorModel::untrained(&gpu, &PriorConfig::default().resolve().unwrap(), info).unwrap();
    let options = SamplingOptions {
        seed: 11,
        ..Default::default()
    };
    let request = SampleRequest {
        options,
        ..SampleRequest::new(&[0, 1, 1, 0, 1])
    };
    let expected = prior.sample(&request, &mut no_progress).unwrap();
    let mut pending = None;
    let mut frames = 0;
    while !pending
        .as_ref()
        .is_some_and(wgvq::inference::PendingSamples::ready)
    {
        let begin = || {
            let begins = pending.is_none();
            if begins {
                pending = Some(prior.record(&request)?);
            }
            Ok(begins)
        };
        gpu.run_for_budget(Duration::from_millis(5), begin).unwrap();
        frames += 1;
        assert!(frames < 100_000);
    }
    assert!(frames > 1, "one frame shows no slices");
    assert_eq!(pending.unwrap().wait().unwrap(), expected);
    let uncached = SampleRequest {
        options: SamplingOptions {
            cache: false,
            ..options
        },
        ..request
    };
    assert!(prior.record(&uncached).is_err());
}
