//! The engine inside another wgpu application: the host's device, its encoder, its textures and
//! buffers.

mod textures;

use crate::host::{Host, model_bytes};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wgvq::gpu::{Core, Counters, DType, Gpu, Tensor};
use wgvq::inference::{Decoder, FirstStageModel};
use wgvq::ops::elementwise::scale::scale;
use wgvq::{Error, FeatureRequest, MissingFeature, wgpu};

/// Codes that look like nothing in particular.
fn codes(decoder: &Decoder, seed: u32) -> Vec<u32> {
    let size = decoder.levels()[0].codebook_size as u32;
    (0..decoder.codes_per_image() as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(40_503)) % size)
        .collect()
}

/// The bytes of a decoded image with alpha, as `Rgba8Unorm` has them.
fn rgba(pixels: &[u8]) -> Vec<u8> {
    pixels
        .chunks(3)
        .flat_map(|p| [p[0], p[1], p[2], 255])
        .collect()
}

#[test]
fn one_encoder_and_one_submit_hold_the_hosts_pass_and_our_decode() {
    let host = Host::new(FeatureRequest::NOTHING);
    assert_eq!(host.device.features(), wgpu::Features::empty());
    let gpu = host.gpu();
    let missing_features = gpu.missing_features();
    for missing in [
        MissingFeature::F16,
        MissingFeature::Immediates,
        MissingFeature::Timestamps,
    ] {
        assert!(missing_features.contains(&missing), "{missing_features:?}");
    }
    assert!(
        missing_features.iter().any(|l| matches!(
            l,
            MissingFeature::Core {
                core: Core::Subgroup,
                ..
            }
        )),
        "{missing_features:?}"
    );
    assert_eq!(gpu.core(), Core::Tiled);

    let decoder = Decoder::from_bytes(&gpu, &model_bytes(64)).unwrap();
    let (codes, before) = (codes(&decoder, 1), gpu.counters());
    let expected = rgba(&decoder.decode(&codes).unwrap());
    assert!(
        expected.chunks(4).any(|p| p != &expected[..4]),
        "an image of one colour shows nothing"
    );
    let between = gpu.counters();
    assert!(between.submissions > before.submissions);

    let scope = host.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let texture = host.texture([64, 64], wgpu::TextureFormat::Rgba8Unorm);
    let view = texture.create_view(&Default::default());
    // A frame of 160 x 96: the host clears it to green, and draws our picture over its left 96 x
    // 96.
    let frame = host.texture([160, 96], wgpu::TextureFormat::Rgba8Unorm);
    let mut encoder = host.device.create_command_encoder(&Default::default());
    host.clear(&mut encoder, &frame, wgpu::Color::GREEN);
    decoder.decode_into(&mut encoder, &codes, &view).unwrap();
    host.draw(&mut encoder, &texture, &frame, [0.0, 0.0, 96.0, 96.0]);
    host.queue.submit([encoder.finish()]);
    assert!(pollster::block_on(scope.pop()).is_none());
    let ours = |c: Counters| (c.submissions, c.readbacks);
    let what = "no submission and no readback of ours";
    assert_eq!(ours(gpu.counters()), ours(between), "{what}");

    assert_eq!(host.read(&texture), expected);
    let pixels = host.read(&frame);
    let at = |x: usize, y: usize| &pixels[(y * 160 + x) * 4..][..4];
    for (x, y) in [(0, 0), (13, 50), (95, 95), (47, 1)] {
        // Nearest of 64 pixels over 96.
        let (from_x, from_y) = ((2 * x + 1) / 3, (2 * y + 1) / 3);
        assert_eq!(
            at(x, y),
            &expected[(from_y * 64 + from_x) * 4..][..4],
            "{x}, {y}"
        );
    }
    assert_eq!(at(96, 0), [0, 255, 0, 255]);
    assert_eq!(at(159, 95), [0, 255, 0, 255]);
}

#[test]
fn no_frame_makes_a_validation_error() {
    for wanted in [FeatureRequest::NOTHING, FeatureRequest::default()] {
        let host = Host::new(wanted);
        let errors = Arc::new(Mutex::new(Vec::new()));
        let seen = errors.clone();
        host.device
            .on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
                seen.lock().unwrap().push(e.to_string())
            }));
        let gpu = host.gpu();
        let model = FirstStageModel::from_bytes(&gpu, &model_bytes(64)).unwrap();
        let decoder = Decoder::from_bytes(&gpu, &model.to_decoder_bytes().unwrap()).unwrap();
        let codes = codes(&decoder, 2);
        let texture = host.texture([64, 64], wgpu::TextureFormat::Rgba8UnormSrgb);
        let view = texture.create_view(&Default::default());
        for _ in 0..3 {
            let mut encoder = host.device.create_command_encoder(&Default::default());
            decoder.decode_into(&mut encoder, &codes, &view).unwrap();
            let coded = model.encode_from(&mut encoder, &view).unwrap();
            let back = gpu
                .record_into(&mut encoder, || coded.read_async())
                .unwrap();
            host.queue.submit([encoder.finish()]);
            assert_eq!(back.wait::<u32>().unwrap().len(), codes.len());
        }
        gpu.trim();
        host.device
            .poll(wgpu::PollType::wait_indefinitely())
            .unwrap();
        assert!(
            errors.lock().unwrap().is_empty(),
            "{:?}",
            errors.lock().unwrap()
        );
    }
}

#[test]
fn encoders_that_wait_keep_what_they_will_read() {
    for wanted in [FeatureRequest::NOTHING, FeatureRequest::default()] {
        let host = Host::new(wanted);
        let gpu = host.gpu();
        let decoder = Decoder::from_bytes(&gpu, &model_bytes(64)).unwrap();
        let all: Vec<Vec<u32>> = (0..4).map(|seed| codes(&decoder, seed)).collect();
        let expected: Vec<Vec<u8>> = all
            .iter()
            .map(|c| rgba(&decoder.decode(c).unwrap()))
            .collect();
        let targets: Vec<_> = all
            .iter()
            .map(|_| host.texture([64, 64], wgpu::TextureFormat::Rgba8Unorm))
            .collect();
        let mut waiting = Vec::new();
        for (codes, target) in all.iter().zip(&targets) {
            let view = target.create_view(&Default::default());
            let mut encoder = host.device.create_command_encoder(&Default::default());
            // Codes that lie on the device, and that the host lets go of before the encoder runs.
            let tensor = Tensor::from_slice(&gpu, &[codes.len()], codes).unwrap();
            gpu.finish().unwrap();
            decoder
                .decode_tensor_into(&mut encoder, &tensor, 0, &view)
                .unwrap();
            drop(tensor);
            waiting.push(encoder.finish());
            // Work of our own takes, writes and gives back buffers of every size meanwhile.
            for size in [16usize, 256, 2_048, 16_384, 65_536, 131_072] {
                let junk = Tensor::from_slice(&gpu, &[size], &vec![f32::NAN; size]).unwrap();
                assert!(
                    scale(&junk, 1.0, 0.0)
                        .unwrap()
                        .read::<f32>()
                        .unwrap()
                        .iter()
                        .all(|v| v.is_nan())
                );
            }
        }
        // In another order than they were recorded in, with more of ours between.
        while let Some(commands) = waiting.pop() {
            assert_eq!(decoder.decode(&all[1]).unwrap().len(), 64 * 64 * 3);
            host.queue.submit([commands]);
        }
        for (target, expected) in targets.iter().zip(&expected) {
            assert!(host.read(target) == *expected);
        }
    }
}

#[test]
fn uploads_within_a_recording_come_in_its_order() {
    for wanted in [FeatureRequest::NOTHING, FeatureRequest::default()] {
        let host = Host::new(wanted);
        let gpu = host.gpu();
        let kept = Tensor::from_slice(&gpu, &[64], &[1.0f32; 64]).unwrap();
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let results = gpu
            .record_into(&mut encoder, || {
                let mut results = vec![scale(&kept, 10.0, 0.0)?.read_async()?];
                // The same tensor again, which the queue's own order would have changed before the
                // first use.
                kept.write(&[2.0f32; 64])?;
                results.push(scale(&kept, 10.0, 0.0)?.read_async()?);
                for i in 3..200 {
                    // Buffers that are given back and taken again.
                    let fresh = Tensor::from_slice(&gpu, &[64], &[i as f32; 64])?;
                    results.push(scale(&fresh, 10.0, 0.0)?.read_async()?);
                }
                Ok(results)
            })
            .unwrap();
        host.queue.submit([encoder.finish()]);
        for (i, result) in results.into_iter().enumerate() {
            assert_eq!(
                result.wait::<f32>().unwrap(),
                vec![10.0 * (i + 1) as f32; 64]
            );
        }
        assert_eq!(kept.read::<f32>().unwrap(), [2.0; 64]);
    }
}

#[test]
fn an_encoder_that_is_dropped_gives_back_its_memory_and_says_so() {
    let host = Host::new(FeatureRequest::default());
    let gpu = host.gpu();
    let x = Tensor::from_slice(&gpu, &[1 << 16], &vec![1.0f32; 1 << 16]).unwrap();
    let mut allocations = 0;
    for round in 0..20 {
        let mut encoder = host.device.create_command_encoder(&Default::default());
        let back = gpu
            .record_into(&mut encoder, || {
                scale(&scale(&x, 2.0, 0.0)?, 3.0, 0.0)?.read_async()
            })
            .unwrap();
        drop(encoder);
        assert!(
            back.wait::<f32>()
                .unwrap_err()
                .to_string()
                .contains("dropped")
        );
        if round == 0 {
            allocations = gpu.memory().allocations;
        }
    }
    assert_eq!(gpu.memory().allocations, allocations);
    // A failed recording leaves the engine as it was.
    let mut encoder = host.device.create_command_encoder(&Default::default());
    let nested = gpu.record_into(&mut encoder, || {
        let mut inner = host.device.create_command_encoder(&Default::default());
        gpu.record_into(&mut inner, || Ok(()))
    });
    assert!(nested.unwrap_err().to_string().contains("already"));
    assert_eq!(scale(&x, 2.0, 0.0).unwrap().read::<f32>().unwrap()[7], 2.0);
}

#[test]
fn a_warm_frame_allocates_and_submits_nothing() {
    for wanted in [FeatureRequest::NOTHING, FeatureRequest::default()] {
        let host = Host::new(wanted);
        let gpu = host.gpu();
        let decoder = Decoder::from_bytes(&gpu, &model_bytes(64)).unwrap();
        let codes = codes(&decoder, 5);
        let texture = host.texture([64, 64], wgpu::TextureFormat::Rgba8Unorm);
        let view = texture.create_view(&Default::default());
        let frame = || {
            let mut encoder = host.device.create_command_encoder(&Default::default());
            let start = Instant::now();
            decoder.decode_into(&mut encoder, &codes, &view).unwrap();
            let recording = start.elapsed();
            host.queue.submit([encoder.finish()]);
            host.device
                .poll(wgpu::PollType::wait_indefinitely())
                .unwrap();
            recording
        };
        for _ in 0..4 {
            frame();
        }
        let (memory, before) = (gpu.memory(), gpu.counters());
        let mut times: Vec<Duration> = (0..50).map(|_| frame()).collect();
        let after = gpu.counters();
        times.sort_unstable();
        println!(
            "{} dispatches, recorded in {:?}, at most {:?}",
            (after.dispatches - before.dispatches) / 50,
            times[25],
            times[49]
        );
        assert_eq!(gpu.memory(), memory);
        assert_eq!(
            (after.submissions, after.readbacks),
            (before.submissions, before.readbacks)
        );
        let per_frame = after.dispatches - before.dispatches;
        assert!(per_frame > 0 && per_frame.is_multiple_of(50));
    }
}

#[test]
fn the_budget_is_kept_and_named() {
    let gpu = Host::new(FeatureRequest::default()).gpu();
    let mib = |n: usize| Tensor::empty(&gpu, &[n << 18], DType::F32);
    let (a, b) = (mib(4).unwrap(), mib(4).unwrap());
    gpu.set_memory_budget(Some(10 << 20));
    assert_eq!(gpu.memory_budget(), Some(10 << 20));
    let Err(Error::Budget {
        asked,
        in_use,
        budget,
    }) = mib(4)
    else {
        panic!("more than the budget")
    };
    assert_eq!((asked, in_use, budget), (4 << 20, 8 << 20, 10 << 20));
    let message = mib(4).unwrap_err().to_string();
    assert!(
        message.contains("4194304") && message.contains("8388608") && message.contains("10485760"),
        "{message}"
    );
    // What waits in the pool makes room.
    drop(a);
    assert_eq!(gpu.memory().pooled, 4 << 20);
    let c = mib(5).unwrap();
    assert_eq!((gpu.memory().in_use, gpu.memory().pooled), (9 << 20, 0));
    drop((b, c));
    assert_eq!(gpu.memory().pooled, 9 << 20);
    gpu.trim();
    let memory = gpu.memory();
    assert_eq!((memory.in_use, memory.pooled), (0, 0));
    assert!(mib(11).is_err() && mib(10).is_ok());
    gpu.set_memory_budget(None);
    assert!(mib(11).is_ok() && gpu.memory_budget().is_none());
}

#[test]
fn several_engines_share_a_device() {
    let host = Host::new(FeatureRequest::default());
    let engines: Vec<Gpu> = (0..3).map(|_| host.gpu()).collect();
    let workers: Vec<_> = engines
        .iter()
        .cloned()
        .enumerate()
        .map(|(i, gpu)| {
            std::thread::spawn(move || {
                let x = Tensor::from_slice(&gpu, &[1_000], &[i as f32; 1_000]).unwrap();
                let mut device_side = x.clone();
                for _ in 0..50 {
                    device_side = scale(&device_side, 1.0, 1.0).unwrap();
                }
                device_side.read::<f32>().unwrap()[999]
            })
        })
        .collect();
    let results: Vec<f32> = workers.into_iter().map(|w| w.join().unwrap()).collect();
    assert_eq!(results, [50.0, 51.0, 52.0]);
    assert!(engines.iter().all(|gpu| gpu.counters().dispatches == 50));
    // Two threads record with one engine, each into its own encoder.
    let gpu = &engines[0];
    std::thread::scope(|scope| {
        for i in 0..4 {
            let host = &host;
            scope.spawn(move || {
                for round in 0..10 {
                    let x = [i as f32 * 100.0 + round as f32; 500];
                    let mut encoder = host.device.create_command_encoder(&Default::default());
                    let back = gpu
                        .record_into(&mut encoder, || {
                            scale(&Tensor::from_slice(gpu, &[500], &x)?, 2.0, 1.0)?.read_async()
                        })
                        .unwrap();
                    host.queue.submit([encoder.finish()]);
                    assert_eq!(back.wait::<f32>().unwrap(), x.map(|v| 2.0 * v + 1.0));
                }
            });
        }
    });
}

#[test]
fn hosts_buffers_are_tensors() {
    let host = Host::new(FeatureRequest::NOTHING);
    let gpu = host.gpu();
    let usage =
        wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let buffer = host.buffer(4_096, usage);
    host.queue
        .write_buffer(&buffer, 512, bytemuck::cast_slice(&[1.0f32, 2.0, 3.0]));
    let in_use = gpu.memory().in_use;
    let x = Tensor::from_buffer(&gpu, &buffer, 512, &[3], DType::F32).unwrap();
    assert_eq!(gpu.memory().in_use, in_use, "a host's buffer is not ours");
    let y = scale(&x, 2.0, 0.5).unwrap();
    y.copy_to_buffer(&buffer, 1_024).unwrap();
    let again = Tensor::from_buffer(&gpu, &buffer, 1_024, &[3], DType::F32).unwrap();
    assert_eq!(again.read::<f32>().unwrap(), [2.5, 4.5, 6.5]);
    let refuse = |offset, shape: &[usize], word: &str| {
        let message = Tensor::from_buffer(&gpu, &buffer, offset, shape, DType::F32)
            .unwrap_err()
            .to_string();
        assert!(message.contains(word), "{message}");
    };
    refuse(4, &[1], "multiples of 256");
    refuse(512, &[1_000], "4000 bytes from 512 on, the buffer has 4096");
    refuse(u64::MAX - 255, &[1], "the buffer has");
    let plain = host.buffer(256, wgpu::BufferUsages::COPY_DST);
    assert!(
        Tensor::from_buffer(&gpu, &plain, 0, &[1], DType::F32)
            .unwrap_err()
            .to_string()
            .contains("STORAGE")
    );
    assert!(y.copy_to_buffer(&buffer, 4_090).is_err() && y.copy_to_buffer(&buffer, 4_088).is_err());
}

#[test]
fn what_crosses_threads_may() {
    fn both<T: Send + Sync>() {}
    fn sends<T: Send>() {}
    both::<Gpu>();
    both::<Tensor>();
    both::<Error>();
    both::<wgvq::nn::Parameters>();
    both::<wgvq::gpu::ImageTexture>();
    sends::<wgvq::gpu::Readback>();
    sends::<Decoder>();
    sends::<FirstStageModel>();
    sends::<wgvq::train::Trainer>();
    sends::<wgvq::inference::PriorModel>();
}
