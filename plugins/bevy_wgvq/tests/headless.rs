//! Applications without a window, on the adapter that there is: what bevy's textures hold is
//! compared with what the library decodes.

mod common;

use bevy::asset::LoadState;
use bevy::prelude::*;
use bevy_wgvq::wgvq;
use bevy_wgvq::{CodeImage, DecodeFailed, Decoder, Engine, LiveOptions, LiveTraining};
use common::{app, as_texture, emoji, keep, loaded, root, texture, until};
use std::sync::Arc;
use std::time::Duration;
use wgvq::config::run::RunConfig;
use wgvq::gpu::{Gpu, Options};
use wgvq::inference;
use wgvq::inference::pretrained::Pretrained;
use wgvq::quantize::Registry;

const EMOJI: &str = "assets/models/emoji32.bundle";
const SMALL: &str = "tests/fixtures/runs/ema/final.safetensors";
const LEVELS: &str = "tests/fixtures/runs/vqvae2/final.safetensors";

/// Spawns codes of a decoder.
fn spawn(app: &mut App, decoder: &Handle<Decoder>, codes: Vec<u32>) -> (Entity, Handle<Image>) {
    let images = app.world().resource::<Assets<Image>>();
    let picture = CodeImage::new(decoder.clone(), codes, images);
    let image = picture.image();
    (app.world_mut().spawn(picture).id(), image)
}

/// Returns what the library decodes, on a device that it opened itself.
fn decoded_alone(codes: &[u32]) -> Vec<u8> {
    let gpu = Gpu::new(Options::default()).unwrap();
    let bundle = Pretrained::named("emoji32").unwrap().bundle().unwrap();
    let model = bundle.file("final.safetensors").unwrap();
    let decoder = inference::Decoder::from_bytes(&gpu, &model).unwrap();
    decoder.decode(codes).unwrap()
}

/// Returns the decoder behind a handle.
fn decoder(app: &App, handle: &Handle<Decoder>) -> Decoder {
    let decoders = app.world().resource::<Assets<Decoder>>();
    decoders.get(handle).expect("it is loaded").clone()
}

#[test]
fn codes_are_an_image_in_the_frame_in_which_they_change() {
    let mut app = app();
    let handle = loaded(&mut app, EMOJI);
    let decoder = decoder(&app, &handle);
    assert_eq!(decoder.image(), [32, 32, 3]);
    let codes = emoji(&app, &[10, 200, 777, 1500, 2222]);
    let each = decoder.codes_per_image();

    // Five images of one decoder, in one frame.
    let spawned: Vec<_> = codes
        .chunks(each)
        .map(|codes| spawn(&mut app, &handle, codes.to_vec()))
        .collect();
    app.update();
    let expected = decoded_alone(&codes);
    assert_eq!(decoder.lock().decode(&codes).unwrap(), expected);
    let mut seen = Vec::new();
    for ((_, image), expected) in spawned.iter().zip(expected.chunks(32 * 32 * 3)) {
        let drawn = texture(&app, image);
        assert_eq!(drawn, as_texture(expected, 3));
        seen.push(drawn);
    }
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
    keep("emoji.png", 32, &seen);

    // Codes that change are seen after one update; the other images stay.
    let mut changed = codes[..each].to_vec();
    changed[each / 2..].copy_from_slice(&codes[each + each / 2..2 * each]);
    let (entity, image) = &spawned[0];
    let mut entity = app.world_mut().entity_mut(*entity);
    entity.get_mut::<CodeImage>().unwrap().codes = changed.clone();
    app.update();
    let half = texture(&app, image);
    assert_eq!(half, as_texture(&decoded_alone(&changed), 3));
    assert_ne!(half, seen[0]);
    assert_eq!(texture(&app, &spawned[1].1), seen[1]);
    keep(
        "halves.png",
        32,
        &[seen[0].clone(), seen[1].clone(), half.clone()],
    );

    // An image whose sampler changes keeps what was drawn.
    let mut images = app.world_mut().resource_mut::<Assets<Image>>();
    images.get_mut(image).unwrap().sampler = bevy::image::ImageSampler::nearest();
    app.update();
    app.update();
    assert_eq!(texture(&app, image), half);
}

#[test]
fn codes_wait_for_their_decoder_and_follow_another() {
    let mut app = app();
    // Codes of several levels, spawned before the decoder is loaded.
    let gpu = app.world().resource::<Engine>().gpu();
    let run = root().join("tests/fixtures/runs/vqvae2");
    let first = inference::Decoder::load(&gpu, &run).unwrap();
    assert!(first.levels().len() > 1);
    let codes: Vec<u32> = (0..first.codes_per_image() as u32).map(|i| i % 7).collect();
    let handle = app.world().resource::<AssetServer>().load(LEVELS);
    let (_, image) = spawn(&mut app, &handle, codes.clone());
    until(&mut app, |app| {
        let decoders = app.world().resource::<Assets<Decoder>>();
        decoders.contains(&handle)
    });
    let bytes = first.decode(&codes).unwrap();
    assert_eq!(texture(&app, &image), as_texture(&bytes, first.image()[2]));

    // Another decoder in its place: other codes, and an image of another size.
    let small = loaded(&mut app, SMALL);
    let second = decoder(&app, &small);
    assert_ne!(second.codes_per_image(), first.codes_per_image());
    let codes = vec![3; second.codes_per_image()];
    entity_codes(&mut app, |picture| {
        picture.decoder = small.clone();
        picture.codes = codes.clone();
    });
    app.update();
    let bytes = second.lock().decode(&codes).unwrap();
    let drawn = texture(&app, &image);
    assert_eq!(drawn, as_texture(&bytes, second.image()[2]));

    // The asset itself replaced, as when its file changes: nobody touches the codes.
    let run = root().join("tests/fixtures/runs/ema");
    let again = Decoder::new(inference::Decoder::load(&gpu, &run).unwrap());
    blank(&app, &image);
    assert_ne!(texture(&app, &image), drawn);
    let mut decoders = app.world_mut().resource_mut::<Assets<Decoder>>();
    decoders.insert(&small, again).unwrap();
    app.update();
    assert_eq!(texture(&app, &image), drawn);
}

/// Changes the only codes that there are.
fn entity_codes(app: &mut App, change: impl FnOnce(&mut CodeImage)) {
    let world = app.world_mut();
    let mut query = world.query::<&mut CodeImage>();
    change(&mut query.single_mut(world).unwrap());
}

/// Overwrites a texture, so that it is seen whether it is drawn again.
fn blank(app: &App, image: &Handle<Image>) {
    let texture = common::gpu_image(app, image).texture.clone();
    let queue = app
        .world()
        .resource::<bevy::render::renderer::RenderQueue>();
    let (width, height) = (texture.width(), texture.height());
    queue.write_texture(
        texture.as_image_copy(),
        &vec![9; (width * height * 4) as usize],
        wgvq::wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(width * 4),
            rows_per_image: None,
        },
        texture.size(),
    );
    queue.submit([]);
}

#[test]
fn what_is_wrong_is_said_and_the_image_stays() {
    let mut app = app();
    let handle = loaded(&mut app, SMALL);
    let small = decoder(&app, &handle);
    let codes = vec![1; small.codes_per_image()];
    let (entity, image) = spawn(&mut app, &handle, codes.clone());
    app.update();
    let drawn = texture(&app, &image);
    let beyond = small.levels()[0].codebook_size as u32;
    let wrong = [
        (vec![1; 3], "3"),
        (vec![1; 2 * codes.len()], "codes of one image"),
        (vec![beyond; codes.len()], "there is no code"),
    ];
    for (codes, says) in wrong {
        entity_codes(&mut app, |picture| picture.codes = codes);
        app.update();
        let mut failures = app.world_mut().resource_mut::<Messages<DecodeFailed>>();
        let failed: Vec<DecodeFailed> = failures.drain().collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].entity, entity);
        let error = failed[0].error.to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(texture(&app, &image), drawn);
        // Said once, not in every frame.
        app.update();
        let failures = app.world().resource::<Messages<DecodeFailed>>();
        assert!(failures.is_empty());
    }

    // Files that hold no decoder, or are not there.
    for (path, says) in [
        (
            "tests/fixtures/runs/ema/codes.safetensors",
            "codes.safetensors",
        ),
        (
            "tests/fixtures/runs/no/final.safetensors",
            "final.safetensors",
        ),
    ] {
        let server = app.world().resource::<AssetServer>().clone();
        let handle: Handle<Decoder> = server.load(path);
        until(&mut app, |_| {
            matches!(server.load_state(&handle), LoadState::Failed(_))
        });
        let LoadState::Failed(error) = server.load_state(&handle) else {
            panic!("it failed before");
        };
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_model_learns_after_frames() {
    let mut app = app();
    let mut config = RunConfig::default();
    config.model.hidden = 16;
    config.model.residual_hidden = 8;
    config.quantizer.codebook_size = 32;
    config.train.batch_size = 4;
    config.train.log_every = 2;
    let config = config.resolve(&Registry::default()).unwrap();
    let data = Arc::new(wgvq::data::open("emoji", &Default::default()).unwrap());
    let originals: Vec<u32> = data.test.iter().copied().take(4).collect();
    let pixels = data.gather(&originals).unwrap();
    let options = LiveOptions {
        budget: Duration::from_millis(50),
        look_every: 3,
        ..LiveOptions::default()
    };
    let engine = app.world().resource::<Engine>().clone();
    let mut images = app.world_mut().resource_mut::<Assets<Image>>();
    let live = LiveTraining::new(&engine, &mut images, &config, data, options).unwrap();
    let shown = live.images().to_vec();
    let entity = app.world_mut().spawn(live).id();
    let live = |app: &App| {
        app.world()
            .entity(entity)
            .get::<LiveTraining>()
            .unwrap()
            .rows()
    };
    until(&mut app, |app| live(app).len() >= 4);
    assert!(live(&app).iter().all(|row| row.losses.loss.is_finite()));

    // Each image is the original's, and its reconstruction is the model's.
    let mut seen = Vec::new();
    for ([original, reconstruction], pixels) in shown.iter().zip(pixels.chunks(32 * 32 * 3)) {
        let drawn = texture(&app, original);
        assert_eq!(drawn, as_texture(pixels, 3));
        let kept = texture(&app, reconstruction);
        assert!(kept.chunks(4).all(|pixel| pixel[3] == 255) && kept != drawn);
        seen.extend([drawn, kept]);
    }
    keep("live.png", 32, &seen);

    // Paused, and on again.
    let running = |app: &mut App, running: bool| {
        let mut entity = app.world_mut().entity_mut(entity);
        entity.get_mut::<LiveTraining>().unwrap().running = running;
        app.update();
    };
    let step = |app: &App| {
        let live = app.world().entity(entity).get::<LiveTraining>().unwrap();
        assert_eq!(live.error(), None);
        live.step_number()
    };
    running(&mut app, false);
    let stopped = step(&app);
    (0..5).for_each(|_| app.update());
    assert_eq!(step(&app), stopped);
    running(&mut app, true);
    until(&mut app, |app| step(app) >= stopped + 2);

    // What was learnt decodes as any other model.
    let trained = {
        let live = app.world().entity(entity).get::<LiveTraining>().unwrap();
        live.decoder(&engine).unwrap()
    };
    let handle = app
        .world_mut()
        .resource_mut::<Assets<Decoder>>()
        .add(trained.clone());
    let codes = vec![5; trained.codes_per_image()];
    let (_, image) = spawn(&mut app, &handle, codes.clone());
    app.update();
    let bytes = trained.lock().decode(&codes).unwrap();
    assert_eq!(texture(&app, &image), as_texture(&bytes, 3));
}
