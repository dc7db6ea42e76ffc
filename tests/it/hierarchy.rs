//! Codes on several grids: the model against PyTorch, every quantizer at every level, and the whole
//! way from pictures to new ones.

mod commands;

use crate::common::fixture::{Fixture, close};
use crate::common::gpu;
use std::cell::RefCell;
use wgvq::autograd::Tape;
use wgvq::codes::Codes;
use wgvq::config::DottedConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::ImageSet;
use wgvq::inference::tokenize::tokenize;
use wgvq::inference::{
    FirstStageModel, Hierarchy, KnownCodes, PriorModel, SampleRequest, SamplingOptions,
    no_progress, prior_folder,
};
use wgvq::models::Autoencoder;
use wgvq::models::first_stage::vqvae2::{Config, VqVae2, level_names};
use wgvq::nn::{ForwardContext, HostTensors, Parameters};
use wgvq::quantize::Registry;
use wgvq::storage::{checkpoint, weights};
use wgvq::train::Trainer;

/// PyTorch in f64 on the same weights and images, which `scripts/fixtures/vqvae2.py` wrote: each
/// level's latents, the reconstruction and the gradients of every parameter, within 2e-5 of each
/// tensor's largest element.
#[test]
fn pytorch_agrees() {
    let gpu = gpu();
    let fixture = Fixture::load("vqvae2/three");
    // In our layouts.
    let under = |prefix: &str| -> HostTensors {
        let ours = |(name, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
            let ours = checkpoint::HostTensor::f32(&shape, &values);
            (name, weights::import(&ours).unwrap())
        };
        fixture.under(prefix).into_iter().map(ours).collect()
    };
    let config = Config {
        channels: 3,
        hidden: 8,
        residual_layers: 1,
        residual_hidden: 4,
        downsample: 2,
        codebook_dims: vec![3, 4, 5],
    };
    let mut b = Parameters::builder();
    let model = VqVae2::new(&mut b, &config).unwrap();
    assert_eq!(model.factors(), [8, 4, 2]);
    let params = b.build(&gpu, 1).unwrap();
    params.load_host(&under("model.")).unwrap();

    let images = fixture.tensor(&gpu, "images");
    let tape = Tape::new(&gpu);
    let pass = ForwardContext::new(&tape, &params);
    let seen: RefCell<Vec<Vec<f32>>> = RefCell::default();
    let mut stand_in = |level: usize, z: &wgvq::autograd::Var| {
        seen.borrow_mut().push(z.tensor().read().unwrap());
        tape.scale(z, 0.75, 0.1 * (level + 1) as f32)
    };
    let x = tape.constant(&images);
    let latents = model
        .encode(
            &ForwardContext::new(&Tape::no_grad(&gpu), &params),
            &x,
            &mut stand_in,
        )
        .unwrap();
    let again = model
        .decode(
            &ForwardContext::new(&Tape::no_grad(&gpu), &params),
            &latents,
        )
        .unwrap();
    seen.borrow_mut().clear();
    let y = model.reconstruct(&pass, &x, &mut stand_in).unwrap();
    for (name, got) in level_names(3).iter().zip(seen.borrow().iter()) {
        fixture.close(&format!("z.{name}"), got, 2e-5);
    }
    let whole: Vec<f32> = y.tensor().read().unwrap();
    fixture.close("reconstruction", &whole, 2e-5);
    assert_eq!(
        whole,
        again.tensor().read::<f32>().unwrap(),
        "in one way as in two"
    );
    let upstream = fixture.tensor(&gpu, "upstream");
    let gradients = pass.gradients(tape.backward_with(&y, upstream).unwrap());
    let want = under("grad.");
    assert_eq!(gradients.len(), want.len());
    for (handle, got) in gradients {
        let name = params.name(handle);
        close(name, &got.read::<f32>().unwrap(), &want[name].1, 2e-5);
    }
}

/// A request for images of these classes.
fn request<'a>(
    classes: &'a [u32],
    known: Option<KnownCodes<'a>>,
    options: &SamplingOptions,
) -> SampleRequest<'a> {
    SampleRequest {
        known: known.unwrap_or_default(),
        options: *options,
        ..SampleRequest::new(classes)
    }
}

/// A tiny hierarchy, and a few pictures of 32 x 32.
fn pictures(kind: &str, levels: usize) -> (RunConfig, ImageSet) {
    let mut config = RunConfig::default();
    for (key, value) in [
        ("model.kind", "vqvae2"),
        ("model.levels", &levels.to_string()),
        ("model.hidden", "16"),
        ("model.residual_layers", "1"),
        ("model.residual_hidden", "8"),
        ("model.downsample", "4"),
        ("quantizer.kind", kind),
        ("quantizer.codebook_size", "32"),
        ("quantizer.codebook_dim", "8"),
        ("quantizer.kmeans_iters", "3"),
        ("train.batch_size", "8"),
        ("train.log_every", "2"),
    ] {
        config.set(key, value).unwrap();
    }
    let mut set = wgvq::data::open("emoji", &Default::default()).unwrap();
    set.train.truncate(40);
    set.test.truncate(12);
    (config, set)
}

/// Every quantizer at two levels and three: trains, is measured level by level, comes back from its
/// files, and codes images as the model itself reconstructs them.
#[test]
fn every_quantizer_works_at_every_level() {
    let gpu = gpu();
    // `multiscale` has levels of its own.
    let kinds = wgvq::quantize::all().iter();
    let kinds = kinds.filter(|kind| kind.name != "multiscale");
    for (i, kind) in kinds.enumerate() {
        let levels = 2 + i % 2;
        let (config, set) = pictures(kind.name, levels);
        let mut trainer = Trainer::new(
            &gpu,
            &config.resolve(&Registry::default()).unwrap(),
            set.clone().into(),
        )
        .unwrap();
        for _ in 0..4 {
            trainer.step().unwrap();
        }
        let rows = trainer.rows(true).unwrap();
        assert_eq!(
            (rows.len(), rows[1].levels.len()),
            (2, levels),
            "{}",
            kind.name
        );
        assert!(
            rows[1]
                .levels
                .iter()
                .all(|l| l.metrics.perplexity >= 1.0 && l.metrics.used >= 1.0),
            "{}: {:?}",
            kind.name,
            rows[1]
        );
        let e = trainer.evaluate().unwrap();
        let rate: f64 = e.levels.iter().map(|l| l.bits_per_pixel).sum();
        assert!(
            (rate - e.bits_per_pixel).abs() < 1e-9 && e.levels.len() == levels,
            "{}",
            kind.name
        );

        let folder = tempfile::tempdir().unwrap();
        checkpoint::save_file(
            &folder.path().join("final.safetensors"),
            &trainer.trained().unwrap(),
        )
        .unwrap();
        let model = FirstStageModel::load(&gpu, folder.path()).unwrap();
        let grids: Vec<[usize; 2]> = model.levels().iter().map(|l| l.grid).collect();
        assert_eq!(
            grids,
            if levels == 2 {
                vec![[4, 4], [8, 8]]
            } else {
                vec![[2, 2], [4, 4], [8, 8]]
            }
        );
        let (originals, reconstructions) = trainer.test_pairs(4).unwrap();
        let codes = model.encode(&originals).unwrap();
        assert_eq!(codes.len(), 4 * model.codes_per_image());
        // Codes become latents again by another way than the one that training takes; a few
        // roundings may fall otherwise.
        let decoded = model.decode(&codes).unwrap();
        let apart = decoded
            .iter()
            .zip(&reconstructions)
            .filter(|(a, b)| a.abs_diff(**b) > 1)
            .count();
        assert!(
            apart == 0,
            "{}: {apart} of {} values differ",
            kind.name,
            decoded.len()
        );
        // One image alone, and among others.
        assert_eq!(
            model.encode(&originals[..originals.len() / 4]).unwrap(),
            codes[..codes.len() / 4],
            "{}",
            kind.name
        );
        let path = folder.path().join("codes.safetensors");
        let file = model
            .to_codes(&originals, (0..4).map(|i| i.to_string()).collect())
            .unwrap();
        file.save(&path).unwrap();
        assert_eq!(Codes::load(&path).unwrap(), file, "{}", kind.name);
    }
}

/// The levels' latents depend on the quantized ones above: another top code changes what the bottom
/// level holds, and the image.
#[test]
fn what_is_above_conditions_what_is_below() {
    let gpu = gpu();
    let (mut config, set) = pictures("ema", 2);
    config.train.lr = 3e-3;
    // The top level learns to draw alone.
    config.model.level_dropout = 0.3;
    let mut trainer = Trainer::new(
        &gpu,
        &config.resolve(&Registry::default()).unwrap(),
        set.clone().into(),
    )
    .unwrap();
    (0..120).for_each(|_| trainer.step().unwrap());
    let folder = tempfile::tempdir().unwrap();
    checkpoint::save_file(
        &folder.path().join("final.safetensors"),
        &trainer.trained().unwrap(),
    )
    .unwrap();
    let model = FirstStageModel::load(&gpu, folder.path()).unwrap();
    let codes = model.encode(&set.gather(&[0]).unwrap()).unwrap();
    let a = model.decode(&codes).unwrap();
    // After so few steps some codes look alike.
    let other = |code: u32| {
        let mut other = codes.clone();
        other[0] = code;
        model.decode(&other).unwrap()
    };
    let b = (0..32)
        .map(other)
        .max_by_key(|b| a.iter().zip(b).filter(|(a, b)| a != b).count())
        .unwrap();
    let near = |x: &[u8]| {
        (0..8)
            .flat_map(|y| x[y * 32 * 3..][..24].to_vec())
            .collect::<Vec<u8>>()
    };
    assert!(near(&a) != near(&b), "the changed corner");
    // Far from the changed latent nothing changes: top latents cover 8 x 8 pixels, and convolutions
    // reach a few of them far.
    let row = 32 * 3;
    assert!(
        a[31 * row + row - 3..] == b[31 * row + row - 3..],
        "the far corner"
    );
    // The last of the partial reconstructions is that of all levels; the first knows the top alone.
    let pictures = set.gather(&[0, 1, 2]).unwrap();
    let parts = model.by_levels(&pictures).unwrap();
    let whole = model.encode(&pictures).unwrap();
    assert_eq!((parts.len(), parts[0].len()), (2, pictures.len()));
    let apart = model
        .decode(&whole)
        .unwrap()
        .iter()
        .zip(&parts[1])
        .filter(|(a, b)| a.abs_diff(**b) > 1)
        .count();
    assert_eq!(apart, 0, "values of two ways to the same image");
    assert!(parts[0] != parts[1], "the bottom level adds something");
    let mut past = codes.clone();
    past[16] = 32;
    assert!(
        model
            .decode(&past)
            .unwrap_err()
            .to_string()
            .contains("bottom level has 32")
    );
    assert!(model.decode(&codes[1..]).is_err());
}

/// Token files hold each level behind those above it; priors draw the same whatever the batch, with
/// a cache and without; what is given stays.
#[test]
fn priors_of_levels_draw_top_down() {
    let gpu = gpu();
    for kind in ["ema", "residual"] {
        let (config, set) = pictures(kind, 2);
        let mut trainer = Trainer::new(
            &gpu,
            &config.resolve(&Registry::default()).unwrap(),
            set.clone().into(),
        )
        .unwrap();
        (0..4).for_each(|_| trainer.step().unwrap());
        let folder = tempfile::tempdir().unwrap();
        checkpoint::save_file(
            &folder.path().join("final.safetensors"),
            &trainer.trained().unwrap(),
        )
        .unwrap();
        let model = FirstStageModel::load(&gpu, folder.path()).unwrap();
        let mut priors = Vec::new();
        for (level, name) in ["top", "bottom"].into_iter().enumerate() {
            let own = prior_folder(folder.path(), name);
            let tokens = tokenize(
                &model,
                level,
                &set,
                None,
                &own.join("tokens"),
                &mut no_progress,
            )
            .unwrap();
            let (codes, _) = tokens.test.read(&[1]).unwrap();
            let whole = model.encode(&set.gather(&set.test[1..2]).unwrap()).unwrap();
            assert_eq!(
                codes,
                whole[..codes.len()],
                "the levels above, and this one"
            );
            let mut config = PriorConfig::default();
            for (key, value) in [
                ("prior.layers", "2"),
                ("prior.dim", "32"),
                ("prior.heads", "2"),
                ("prior.condition_layers", "1"),
                ("train.batch_size", "8"),
                ("train.warmup", "2"),
                ("train.lr", "0.01"),
                ("train.steps", "8"),
                ("train.ema_decay", "0.5"),
            ] {
                config.set(key, value).unwrap();
            }
            let mut trainer = Trainer::prior(&gpu, &config.resolve().unwrap(), tokens).unwrap();
            (0..8).for_each(|_| trainer.step().unwrap());
            checkpoint::save_file(&own.join("final.safetensors"), &trainer.trained().unwrap())
                .unwrap();
            priors.push(PriorModel::load(&gpu, &own, &model).unwrap());
        }
        // A level below is drawn under codes above it, and not without.
        let error = priors[1]
            .sample(
                &request(&[0], None, &SamplingOptions::default()),
                &mut no_progress,
            )
            .unwrap_err()
            .to_string();
        assert!(error.contains("levels above"), "{error}");
        let priors = Hierarchy::new(priors).unwrap();
        let none = priors.info().vocabulary.no_class();
        let (all, classes) = (priors.codes_per_image(), vec![none; 5]);
        let mut told = Vec::new();
        let drawing = priors
            .sample(
                &request(
                    &classes,
                    None,
                    &SamplingOptions {
                        seed: 3,
                        ..Default::default()
                    },
                ),
                &mut |done, all| {
                    told.push((done, all));
                    Ok(())
                },
            )
            .unwrap();
        assert_eq!(
            (drawing.codes.len(), told.last()),
            (5 * all, Some(&(5 * all, 5 * all)))
        );
        assert!(told.is_sorted());
        for how in [
            SamplingOptions {
                seed: 3,
                batch: 2,
                ..Default::default()
            },
            SamplingOptions {
                seed: 3,
                cache: false,
                batch: 3,
                ..Default::default()
            },
        ] {
            let again = priors
                .sample(&request(&classes, None, &how), &mut no_progress)
                .unwrap();
            assert_eq!(again.codes, drawing.codes, "{kind}: {how:?}");
        }
        assert_ne!(
            priors
                .sample(
                    &request(&classes, None, &SamplingOptions::default()),
                    &mut no_progress
                )
                .unwrap()
                .codes,
            drawing.codes
        );
        // All of the top is given, and a part of the bottom.
        let original = model.encode(&set.gather(&[3]).unwrap()).unwrap();
        let top = model.levels()[0].codes();
        let places: Vec<bool> = (0..all).map(|i| i < top || i % 3 == 0).collect();
        let given = KnownCodes {
            codes: &original.repeat(2),
            places: &places,
        };
        let drawn = priors
            .sample(
                &request(&[none; 2], Some(given), &SamplingOptions::default()),
                &mut no_progress,
            )
            .unwrap();
        for image in drawn.codes.chunks(all) {
            let stays = places
                .iter()
                .zip(image)
                .zip(&original)
                .all(|((given, a), b)| !given || a == b);
            assert!(stays, "{kind}: what is given stays");
        }
        model.decode(&drawn.codes).unwrap();
    }
}
