//! Codes on several grids: the model against PyTorch, every quantizer at every level, and the whole
//! way from pictures to new ones.

use crate::common::fixture::{Fixture, close};
use crate::common::{gpu, printed, run, stderr, text};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
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
    for (i, kind) in wgvq::quantize::all().iter().enumerate() {
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

fn refused(args: &[&str], words: &[&str]) {
    let output = run(args);
    let said = stderr(&output);
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{args:?}: {said}"
    );
    assert!(words.iter().all(|w| said.contains(w)), "{args:?}: {said}");
}

/// Every command on a hierarchy, as a user has it; and a run stopped and gone on with is the run
/// left alone, byte by byte.
#[test]
fn every_command_works_level_by_level() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = at("tiny.toml");
    crate::common::tiny_config(&config, 8);
    let train = |steps: &str, out: &Path| {
        let set = [
            "--set",
            "model.codebook_sizes=16,32",
            "--set",
            "train.log_every=2",
            "--set",
            "train.eval_every=4",
        ];
        let set = [&set[..], &["--steps", steps, "--quiet", "--json", "--out"]].concat();
        let args = [
            &["train", text(&config), "--model", "vqvae2"],
            &set[..],
            &[text(out)],
        ]
        .concat();
        printed(&args)
    };
    let (one, two) = (at("one"), at("two"));
    train("8", &one);
    train("4", &two);
    let resumed = crate::common::run(&["train", "--resume", text(&two), "--steps", "8"]);
    let said = crate::common::stderr(&resumed);
    assert!(
        resumed.status.success() && said.contains("16 and 32 codes of 8"),
        "{said}"
    );
    for file in [
        "final.safetensors",
        "metrics.csv",
        "test.csv",
        "checkpoints/step-00000008.safetensors",
    ] {
        let read =
            |run: &Path| std::fs::read(run.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(read(&one) == read(&two), "{file} differs");
    }
    let log = std::fs::read_to_string(one.join("metrics.csv")).unwrap();
    assert!(
        log.lines()
            .next()
            .unwrap()
            .ends_with("used.bottom,revived.bottom"),
        "{log}"
    );
    assert!(
        one.join("pictures/summary.png").is_file() && one.join("pictures/levels.png").is_file()
    );

    // Pictures to codes and back.
    let set = wgvq::data::open("emoji", &Default::default()).unwrap();
    let picture = at("a.png");
    image::save_buffer(
        &picture,
        &set.image(5).unwrap(),
        32,
        32,
        image::ColorType::Rgb8,
    )
    .unwrap();
    let codes = at("codes.safetensors");
    let said = printed(&[
        "encode",
        text(&one),
        text(&picture),
        "-o",
        text(&codes),
        "--npy",
    ]);
    assert!(said.contains("4 x 4 and 8 x 8"), "{said}");
    assert!(at("codes-top.npy").is_file() && at("codes-bottom.npy").is_file());
    printed(&[
        "decode",
        text(&one),
        text(&codes),
        "-o",
        text(&at("decoded")),
    ]);
    assert!(at("decoded/a.png").is_file());
    printed(&[
        "reconstruct",
        text(&one),
        text(&picture),
        "-o",
        text(&at("r.png")),
    ]);

    // A page to each level.
    printed(&["inspect", text(&one), "--images", "6"]);
    for level in ["top", "bottom"] {
        let page =
            std::fs::read_to_string(one.join("inspect").join(level).join("index.html")).unwrap();
        assert!(
            page.contains(&format!("Inside the {level} codebook")),
            "{level}"
        );
    }
    refused(
        &["inspect", text(&one), "--level", "middle"],
        &["--level", "top, bottom"],
    );

    // A prior to each level, then images.
    let tiny = [
        "--set",
        "prior.layers=1",
        "--set",
        "prior.dim=16",
        "--set",
        "prior.heads=1",
        "--batch",
        "8",
        "--quiet",
    ];
    fn with<'a>(run: &'a Path, more: &[&'a str], tiny: &[&'a str]) -> Vec<&'a str> {
        [&["prior", text(run)], more, tiny].concat()
    }
    let prior = |more: &[&'static str]| with(&one, more, &tiny);
    refused(&prior(&["--steps", "2"]), &["--level", "top, bottom"]);
    refused(
        &["sample", text(&one), "--out", text(&at("s"))],
        &["no prior yet", "wgvq prior"],
    );
    printed(&prior(&["--level", "top", "--steps", "3"]));
    assert!(one.join("prior-top/final.safetensors").is_file());
    refused(
        &["sample", text(&one), "--out", text(&at("s"))],
        &["prior-bottom"],
    );
    let bottom = printed(&prior(&["--level", "bottom", "--steps", "3", "--json"]));
    let bottom: serde_json::Value = serde_json::from_str(bottom.trim()).unwrap();
    assert!(bottom["bits_per_token"].as_f64().unwrap() > 0.0);
    refused(
        &prior(&["--level", "bottom", "--steps", "3"]),
        &["--level bottom --resume", "--overwrite"],
    );
    printed(&[
        "sample",
        text(&one),
        "--n",
        "6",
        "--seed",
        "2",
        "--out",
        text(&at("s")),
    ]);
    printed(&[
        "sample",
        text(&one),
        "--n",
        "6",
        "--seed",
        "2",
        "--batch",
        "4",
        "--no-cache",
        "--out",
        text(&at("t")),
    ]);
    let names: BTreeMap<_, _> = std::fs::read_dir(at("s"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "png"))
        .map(|p| {
            (
                p.file_name().unwrap().to_owned(),
                std::fs::read(&p).unwrap(),
            )
        })
        .collect();
    assert_eq!(names.len(), 7);
    for (name, bytes) in names {
        assert!(
            bytes == std::fs::read(at("t").join(&name)).unwrap(),
            "{name:?}"
        );
    }
    printed(&[
        "complete",
        text(&one),
        text(&picture),
        "--keep",
        "left-half",
        "--n",
        "3",
        "-o",
        text(&at("c.png")),
    ]);

    for (set, words) in [
        ("model.levels=1", "from 2 to 5"),
        ("model.levels=6", "from 2 to 5"),
        ("model.level_dropout=1", "below 1"),
        ("model.codebook_sizes=16", "2 levels"),
        ("model.codebook_sizes=16,0", "model.codebook_sizes"),
        ("data.width=36", "multiple of 8"),
    ] {
        let no = at("no");
        let args = [
            "train",
            "--model",
            "vqvae2",
            "--set",
            set,
            "--out",
            text(&no),
        ];
        refused(&args, &[words, set.split('=').next().unwrap()]);
        assert!(!at("no").exists());
    }
    refused(
        &["train", "--set", "model.levels=2", "--out", text(&at("no"))],
        &["model.levels", "vqvae2"],
    );
    // A level is asked for where there is but one.
    let flat = crate::common::train_tiny(folder.path(), "flat", 4);
    refused(
        &["prior", text(&flat), "--level", "top"],
        &["--level", "one level"],
    );
}
