//! Codes of several scales: from pictures to files and back, and priors over all of them.

use crate::common::{few_pictures, ok, refused, run, text, tiny_config};
use std::path::{Path, PathBuf};
use wgvq::autograd::Tape;
use wgvq::codes::Codes;
use wgvq::gpu::Gpu;
use wgvq::inference::tokenize::vocabulary;
use wgvq::inference::{
    Decoder, FirstStageModel, KnownCodes, PriorModel, SampleRequest, SamplingOptions, no_progress,
};
use wgvq::models::prior::{Kind, Prior, Shape};
use wgvq::nn::transformer::Dropout;
use wgvq::nn::{ForwardContext, Parameters};
use wgvq::ops::sampling::sample::Sampling;

/// The arguments that make a tiny model's quantizer one of three scales.
const SCALES: [&str; 6] = [
    "--quantizer",
    "multiscale",
    "--set",
    "quantizer.scales=1,3,8",
    "--set",
    "quantizer.scale_convolutions=2",
];

fn trained(folder: &Path, name: &str, steps: u64, more: &[&str]) -> PathBuf {
    let (config, out) = (folder.join("tiny.toml"), folder.join(name));
    tiny_config(&config, steps);
    let fixed = ["train", text(&config), "--out", text(&out), "--quiet"];
    ok(run(&[&fixed, &SCALES[..], more].concat()));
    out
}

/// Every command that reads a model does what it does for others, or says that it does not.
#[test]
fn commands_take_scales_as_levels() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = trained(folder.path(), "run", 8, &[]);
    let log = std::fs::read_to_string(model.join("test.csv")).unwrap();
    for scale in ["1x1", "3x3", "8x8"] {
        let used = log.lines().next().unwrap().contains(scale);
        assert!(used, "no use of {scale} in\n{log}");
    }
    let gpu = Gpu::new(Default::default()).unwrap();
    let first = FirstStageModel::load(&gpu, &model).unwrap();
    let grids: Vec<[usize; 2]> = first.levels().iter().map(|l| l.grid).collect();
    assert_eq!(grids, [[1; 2], [3; 2], [8; 2]]);
    assert_eq!(first.codes_per_image(), 1 + 9 + 64);
    let image = std::fs::read_dir(few_pictures().join("Flags")).unwrap();
    let image = image.map(|e| e.unwrap().path()).min().unwrap();
    let [width, height, channels] = first.image();
    let pixels = wgvq::data::load_image(&image, width, height, channels).unwrap();
    let codes = first.encode(&pixels).unwrap();
    let whole = first.decode(&codes).unwrap();
    // What the scales add up to one after another ends at what all of them decode to.
    let by_scale = first.by_levels(&pixels).unwrap();
    assert_eq!(by_scale.len(), 3);
    assert!(by_scale[2] == whole && by_scale[0] != whole);
    // Codes that travel in a file, and a decoder alone.
    let file = at("codes.safetensors");
    ok(run(&[
        "encode",
        text(&model),
        text(&image),
        "-o",
        text(&file),
    ]));
    let read = Codes::load(&file).unwrap();
    assert_eq!(read.indices, codes);
    assert_eq!(read.of_level(1), &codes[1..10]);
    let decoder = at("decoder.safetensors");
    ok(run(&[
        "export",
        text(&model),
        "--decoder",
        "-o",
        text(&decoder),
    ]));
    let decoder = Decoder::from_bytes(&gpu, &std::fs::read(&decoder).unwrap()).unwrap();
    assert!(decoder.decode(&codes).unwrap() == whole);
    // Packed and unpacked as decoded.
    let [packed, decoded, unpacked] = ["a.wgvq", "decoded", "unpacked"].map(at);
    ok(run(&[
        "pack",
        text(&model),
        text(&image),
        "-o",
        text(&packed),
    ]));
    ok(run(&[
        "unpack",
        text(&model),
        text(&packed),
        "-o",
        text(&unpacked),
    ]));
    ok(run(&[
        "decode",
        text(&model),
        text(&file),
        "-o",
        text(&decoded),
    ]));
    let [decoded, unpacked] = [decoded, unpacked].map(|folder| {
        let file = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path());
        let file = file.filter(|p| p.extension().is_some_and(|e| e == "png"));
        image::open(file.min().unwrap()).unwrap().into_rgb8()
    });
    assert!(decoded == unpacked);
    let mixed = at("mixed.png");
    ok(run(&[
        "reconstruct",
        text(&model),
        text(&image),
        "-o",
        text(&mixed),
    ]));
    // What cannot be.
    let onnx = at("onnx");
    refused(
        run(&["export", text(&model), "--onnx", text(&onnx)]),
        &["multiscale", "ONNX"],
    );
    assert!(!onnx.exists());
}

/// A run that stopped goes on to the same bytes; models that have levels of their own, and maps
/// of another size, are refused by name before anything is written.
#[test]
fn runs_resume_and_what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = trained(folder.path(), "whole", 8, &[]);
    let parts = trained(folder.path(), "parts", 4, &[]);
    ok(run(&[
        "train",
        "--resume",
        text(&parts),
        "--steps",
        "8",
        "--quiet",
    ]));
    let of = |run: &Path| std::fs::read(run.join("final.safetensors")).unwrap();
    assert!(of(&whole) == of(&parts) && !of(&whole).is_empty());
    let config = folder.path().join("tiny.toml");
    let out = folder.path().join("none");
    for (set, named) in [
        ("quantizer.scales=1,2,4", "quantizer.scales"),
        ("quantizer.scales=4,2,8", "quantizer.scales"),
        ("model.kind=vqvae2", "quantizer.kind"),
    ] {
        let args = [
            "train",
            text(&config),
            "--out",
            text(&out),
            "--quantizer",
            "multiscale",
            "--set",
            set,
        ];
        refused(run(&args), &[named]);
        assert!(!out.exists(), "{set}");
    }
}

/// The keys of a small prior over all scales.
const NEXT_SCALE: [&str; 14] = [
    "--set",
    "prior.kind=next-scale",
    "--set",
    "prior.layers=2",
    "--set",
    "prior.dim=32",
    "--set",
    "prior.heads=2",
    "--set",
    "train.checkpoint_every=3",
    "--batch",
    "8",
    "--quiet",
    "--steps",
];

/// A prior over all scales trains, goes on to the same bytes, and draws images in as many passes as
/// there are scales, whichever are drawn beside them.
#[test]
fn a_prior_predicts_scale_by_scale() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = trained(folder.path(), "run", 4, &[]);
    let whole = run_path.join("prior");
    let prior = |steps: &str, more: &[&str]| {
        let fixed = ["prior", text(&run_path)];
        run(&[&fixed, &NEXT_SCALE[..], &[steps], more].concat())
    };
    ok(prior("6", &[]));
    let left_alone = std::fs::read(whole.join("final.safetensors")).unwrap();
    ok(prior("3", &["--overwrite"]));
    let path = text(&run_path);
    ok(run(&["prior", path, "--resume", "--steps", "6", "--quiet"]));
    assert!(std::fs::read(whole.join("final.safetensors")).unwrap() == left_alone);

    let gpu = Gpu::new(Default::default()).unwrap();
    let first = FirstStageModel::load(&gpu, &run_path).unwrap();
    let model = PriorModel::load(&gpu, &whole, &first).unwrap();
    let classes = [0, 1, 2, 0, 1];
    let options = |batch: usize| SamplingOptions {
        batch,
        seed: 3,
        sampling: Sampling {
            guidance: Some(2.0),
            ..Sampling::default()
        },
        ..SamplingOptions::default()
    };
    let draw = |batch: usize| {
        let request = SampleRequest {
            options: options(batch),
            ..SampleRequest::new(&classes)
        };
        model.sample(&request, &mut no_progress).unwrap()
    };
    let (together, apart) = (draw(5), draw(2));
    assert_eq!(together.codes, apart.codes);
    assert_eq!(together.passes, [3; 5]);
    assert_eq!(together.codes.len(), 5 * (1 + 9 + 64));
    assert!(
        together
            .log_likelihood
            .iter()
            .all(|l| l.is_finite() && *l < 0.0)
    );
    // Images of the same class differ.
    assert_ne!(together.codes[..74], together.codes[3 * 74..4 * 74]);
    let sampled = folder.path().join("samples");
    ok(run(&["sample", path, "--out", text(&sampled), "--n", "4"]));
    assert!(sampled.join("grid.png").is_file());

    // What it does not do.
    let image = std::fs::read_dir(few_pictures().join("Flags")).unwrap();
    let image = image.map(|e| e.unwrap().path()).min().unwrap();
    let completed = folder.path().join("completed.png");
    let complete = ["complete", path, text(&image), "--keep", "top-half"];
    refused(
        run(&[&complete[..], &["-o", text(&completed)]].concat()),
        &["next-scale"],
    );
    assert!(!completed.exists());
    let known = KnownCodes {
        codes: &together.codes,
        places: &[true; 74],
    };
    let request = SampleRequest {
        known,
        ..SampleRequest::new(&classes)
    };
    assert!(model.sample(&request, &mut no_progress).is_err());
    assert!(model.session(&SampleRequest::new(&classes)).is_err());
    refused(
        run(&[
            "prior",
            "tests/fixtures/runs/ema",
            "--set",
            "prior.kind=next-scale",
        ]),
        &["multiscale"],
    );
    refused(prior("6", &["--overwrite", "--level", "1x1"]), &["--level"]);
}

/// A code sees the coarser scales and nothing else of an image's codes: logits of a scale are those
/// of the whole sequence, and change with a coarser code alone.
#[test]
fn scales_see_the_coarser_ones_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = trained(folder.path(), "run", 2, &[]);
    let gpu = Gpu::new(Default::default()).unwrap();
    let first = FirstStageModel::load(&gpu, &run_path).unwrap();
    let v = vocabulary(&first, first.levels().len(), 2);
    let shape = Shape {
        layers: 2,
        dim: 32,
        heads: 2,
        kind: Kind::NextScale,
        ..Shape::default()
    };
    let mut b = Parameters::builder();
    let prior = Prior::new(&gpu, &mut b, &shape, &v).unwrap();
    let tables = first.scale_tables().unwrap().unwrap();
    let params = b.build(&gpu, 5).unwrap();
    let mut codes: Vec<u32> = (0..2 * 74).map(|i| i * 7 % 32).collect();
    assert!(
        prior.upload(&gpu, &[0, 1], &codes, None).is_err(),
        "no tables"
    );
    let prior = prior.with_scale_tables(tables).unwrap();
    let all = |codes: &[u32]| {
        let tape = Tape::no_grad(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let batch = prior.upload(&gpu, &[0, 1], codes, None).unwrap();
        let logits = prior.logits(&pass, &batch, Dropout::OFF).unwrap();
        logits[0].tensor().read::<f32>().unwrap()
    };
    let whole = all(&codes);
    for (scale, at) in [(0, 0..1), (1, 1..10), (2, 10..74)] {
        let tape = Tape::no_grad(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let batch = prior
            .upload_scales(&gpu, &[0, 1], &codes, None, scale + 1)
            .unwrap();
        let own = prior.scale_logits(&pass, &batch, scale).unwrap();
        let own = own.tensor().read::<f32>().unwrap();
        let want: Vec<f32> = [0, 74]
            .iter()
            .flat_map(|image| whole[(image + at.start) * 32..(image + at.end) * 32].to_vec())
            .collect();
        assert_eq!(own.len(), want.len());
        let far = own.iter().zip(&want).any(|(a, b)| (a - b).abs() > 1e-4);
        assert!(!far, "scale {scale}");
    }
    // A code of the second scale moves the third scale's logits of its image, and no others.
    codes[4] = (codes[4] + 1) % 32;
    let other = all(&codes);
    let moved = |rows: std::ops::Range<usize>| {
        let rows = rows.start * 32..rows.end * 32;
        whole[rows.clone()]
            .iter()
            .zip(&other[rows])
            .any(|(a, b)| a != b)
    };
    assert!(!moved(0..10) && moved(10..74) && !moved(74..148));
    codes[4] = (codes[4] + 31) % 32;
    codes[20] = (codes[20] + 1) % 32;
    assert!(all(&codes) == whole, "the finest scale is seen by none");
}
