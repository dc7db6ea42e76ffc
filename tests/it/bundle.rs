//! Runs in one small file, and the models that are part of the program.

use crate::common::{few_pictures, gpu, ok, printed, refused, run, text, train_tiny};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgvq::data;
use wgvq::inference::pretrained::PRETRAINED;
use wgvq::inference::{Bundle, FirstStageModel, priors_of};
use wgvq::storage::checkpoint::{self, Checkpoint};

const CAPTIONED: &str = "tests/fixtures/runs/text2image";
const LEVELS: &str = "tests/fixtures/runs/vqvae2";

fn bundled(run_path: &str, folder: &Path) -> PathBuf {
    let file = folder.join("a.bundle");
    let args = ["export", run_path, "--bundle", text(&file), "--overwrite"];
    ok(run(&args));
    file
}

/// Bundled, unpacked and bundled again: the same bytes, and a run that does what the first did.
#[test]
fn a_run_survives_its_bundle() {
    let folder = tempfile::tempdir().unwrap();
    for (source, expected) in [
        (
            CAPTIONED,
            &["contrastive/final.safetensors", "text/tokenizer.json"][..],
        ),
        (
            LEVELS,
            &["prior-bottom/final.safetensors", "prior-top/config.toml"][..],
        ),
    ] {
        let file = bundled(source, folder.path());
        let out = folder.path().join("run");
        let line = printed(&[
            "get",
            text(&file),
            "--out",
            text(&out),
            "--overwrite",
            "--json",
        ]);
        let line: Value = serde_json::from_str(line.trim()).unwrap();
        let names: Vec<&str> = line["files"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(Value::as_str)
            .collect();
        for name in expected
            .iter()
            .chain(&["final.safetensors", "config.toml", "test.csv"])
        {
            assert!(
                names.contains(name) && out.join(name).is_file(),
                "{name}: {names:?}"
            );
        }
        assert!(!out.join("prior/tokens").exists() && !out.join("prior-top/tokens").exists());
        // All priors are of the model that is there now.
        let priors = priors_of(&out).unwrap();
        assert!(
            !priors.is_empty() && priors.iter().all(|(_, current)| *current),
            "{priors:?}"
        );
        let (before, after) = (
            std::fs::read(&file).unwrap(),
            bundled(text(&out), folder.path()),
        );
        assert!(before == std::fs::read(after).unwrap(), "{source}");
        // Half the size, but for what is text.
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        let models: u64 = names
            .iter()
            .filter(|n| n.ends_with(".safetensors"))
            .map(|n| size(&out.join(n)))
            .sum();
        assert!(
            (before.len() as u64) < models * 3 / 4,
            "{} of {models}",
            before.len()
        );
        // What was rounded is close to what it was of.
        let load = |run: &Path| {
            checkpoint::load_file(&run.join("final.safetensors"))
                .unwrap()
                .0
        };
        let (rounded, whole) = (load(&out), load(Path::new(source)));
        for (name, tensor) in &whole.tensors {
            let (new, old) = (
                rounded.tensors[name].to_f32().unwrap(),
                tensor.to_f32().unwrap(),
            );
            let most = old.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= most / 2048.0;
            assert!(new.iter().zip(&old).all(close), "{name}");
        }
        let drawn = folder.path().join(format!("of-{}", names.len()));
        ok(run(&[
            "sample",
            text(&out),
            "--n",
            "2",
            "--out",
            text(&drawn),
        ]));
        assert!(image::open(drawn.join("grid.png")).is_ok());
    }
}

/// Where the images of a run lay is no one's business.
#[test]
fn a_bundle_names_no_places() {
    let folder = tempfile::tempdir().unwrap();
    let own = train_tiny(folder.path(), "own", 2);
    let file = bundled(text(&own), folder.path());
    let bytes = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
    let place = few_pictures();
    assert!(!bytes.contains(text(&place)));
    let bundle = Bundle::load(&file).unwrap();
    let config = String::from_utf8(bundle.file("config.toml").unwrap()).unwrap();
    assert!(config.contains(data::NO_SOURCE), "{config}");
    // A run of vectors keeps its configuration elsewhere.
    let vectors = folder.path().join("vectors.npy");
    let numbers: Vec<f32> = (0..64 * 4).map(|i| (i % 7) as f32).collect();
    crate::vectors_model::write(&vectors, &[64, 4], &numbers);
    let trained = folder.path().join("mlp");
    let args = [
        "train",
        "--model",
        "mlp",
        "--data",
        text(&vectors),
        "--steps",
        "2",
    ];
    ok(run(&[
        &args[..],
        &["--out", text(&trained), "--codes", "8", "--batch", "8"],
    ]
    .concat()));
    let bytes = std::fs::read(bundled(text(&trained), folder.path())).unwrap();
    let bytes = String::from_utf8_lossy(&bytes);
    assert!(!bytes.contains(text(folder.path())) && bytes.contains(data::NO_SOURCE));
    refused(
        run(&["export", text(&own), "--bundle", text(&file)]),
        &["a.bundle", "--overwrite"],
    );
}

/// Files that are left out are named, and go with those that would be of no use without them.
#[test]
fn priors_of_other_models_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (own, file) = (folder.path().join("own"), folder.path().join("own.bundle"));
    for name in ["", "prior", "contrastive", "text"] {
        let (from, to) = (Path::new(CAPTIONED).join(name), own.join(name));
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            if entry.path().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    let bundle = || {
        let args = [
            "export",
            text(&own),
            "--bundle",
            text(&file),
            "--overwrite",
            "--json",
        ];
        let line: Value = serde_json::from_str(printed(&args).trim()).unwrap();
        (line["files"].to_string(), line["left_out"].to_string())
    };
    let (files, left_out) = bundle();
    assert!(
        files.contains("contrastive/") && left_out == "[]",
        "{left_out}"
    );
    let place = own.join("prior/final.safetensors");
    let (mut prior, _) = checkpoint::load_file(&place).unwrap();
    prior.state["prior"]["tokens"]["model"] = json!("ffff");
    checkpoint::save_file(&place, &prior).unwrap();
    let (files, left_out) = bundle();
    assert!(
        left_out.contains("prior, which is of another first stage"),
        "{left_out}"
    );
    for gone in ["prior/", "contrastive/", "text/"] {
        assert!(!files.contains(gone), "{files}");
    }
}

#[test]
fn bad_bundles_are_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let file = bundled(CAPTIONED, folder.path());
    let whole = std::fs::read(&file).unwrap();
    let (good, _) = checkpoint::load_file(&file).unwrap();
    let written = |change: &dyn Fn(&mut Checkpoint)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        checkpoint::to_bytes(&bundle).unwrap()
    };
    let renamed = |from: &str, to: &str| {
        written(&|bundle| {
            let files = bundle.state["bundle"]["files"].as_object_mut().unwrap();
            let moved = files.remove(from).unwrap();
            files.insert(to.into(), moved);
        })
    };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let prior = |key: &'static str, value: Value| {
        written(&move |b| {
            b.state["bundle"]["models"]["prior/final.safetensors"]["state"]["prior"][key] =
                value.clone();
        })
    };
    let cases: [(Vec<u8>, &[&str]); 13] = [
        (
            prior("config", json!(3)),
            &["`prior/final.safetensors` is not what it is called"],
        ),
        (
            prior("tokens", json!({ "model": "ffff" })),
            &["prior of another first stage"],
        ),
        (
            written(&|b| {
                b.state["bundle"]["models"]["final.safetensors"]["state"] = json!({});
            }),
            &["`final.safetensors` is not what it is called"],
        ),
        (whole[..whole.len() / 2].to_vec(), &["damaged"]),
        (flipped, &["damaged"]),
        (
            std::fs::read(Path::new(CAPTIONED).join("final.safetensors")).unwrap(),
            &["no bundle", "--bundle"],
        ),
        (
            renamed("config.toml", "../config.toml"),
            &["`../config.toml`", "no run has"],
        ),
        (renamed("config.toml", "/tmp/config.toml"), &["no run has"]),
        (
            renamed("text/tokenizer.json", "text/run.lock"),
            &["no run has"],
        ),
        (
            written(&|b| b.state["bundle"]["format"] = json!(2)),
            &["format 2"],
        ),
        (
            written(&|b| b.state["bundle"]["models"] = json!({})),
            &["final.safetensors"],
        ),
        (
            written(&|b| b.state["bundle"]["models"]["final.safetensors"]["format"] = json!(99)),
            &["99"],
        ),
        (
            written(&|b| {
                let one = b.tensors.values().next().unwrap().clone();
                b.tensors.insert("../x".into(), one);
            }),
            &["`../x`", "none of its models"],
        ),
    ];
    for (bytes, named) in cases {
        let (bad, out) = (at("bad.bundle"), at("out"));
        std::fs::write(&bad, bytes).unwrap();
        let said = [&["bad.bundle"], named].concat();
        refused(run(&["get", text(&bad), "--out", text(&out)]), &said);
        assert!(!out.exists(), "{named:?}");
    }
    let picture = at("d.png");
    let codes = "tests/fixtures/runs/ema/codes.safetensors";
    let decode = ["decode", text(&file), codes, "-o", text(&picture)];
    refused(run(&decode), &["a.bundle", "wgvq get"]);
    refused(run(&["get", "nosuch"]), &["nosuch", "emoji32"]);
    // A run that is there, and one that goes on.
    let there = train_tiny(folder.path(), "there", 2);
    let before = std::fs::read(there.join("final.safetensors")).unwrap();
    refused(
        run(&["get", text(&file), "--out", text(&there)]),
        &["there", "--overwrite"],
    );
    assert!(before == std::fs::read(there.join("final.safetensors")).unwrap());
    ok(run(&[
        "get",
        text(&file),
        "--out",
        text(&there),
        "--overwrite",
    ]));
    assert!(!there.join("checkpoints/step-00000002.json").exists());
    // The bundle would lie over what it is made of.
    let over = there.join("config.toml");
    refused(
        run(&[
            "export",
            text(&there),
            "--bundle",
            text(&over),
            "--overwrite",
        ]),
        &["config.toml", "another output"],
    );
    std::fs::remove_file(there.join("final.safetensors")).unwrap();
    refused(
        run(&["export", text(&there), "--bundle", text(&at("b.bundle"))]),
        &["final.safetensors", "has ended"],
    );
    // What is no first stage, and a name that is none.
    for other in [
        "tests/fixtures/runs/text2image/prior",
        "tests/fixtures/runs/text2image/contrastive",
        "tests/fixtures/runs/ema/checkpoints/step-00000060.safetensors",
        "tests/fixtures/runs/ema/codes.safetensors",
    ] {
        let out = at("o.bundle");
        refused(
            run(&["export", other, "--bundle", text(&out)]),
            &["no first stage"],
        );
        assert!(!out.exists(), "{other}");
    }
    let nameless = at("..bundle");
    std::fs::write(&nameless, &whole).unwrap();
    refused(run(&["get", text(&nameless)]), &["--out"]);
    let decoder = at("decoder.safetensors");
    ok(run(&[
        "export",
        CAPTIONED,
        "--decoder",
        "-o",
        text(&decoder),
    ]));
    refused(
        run(&["export", text(&decoder), "--bundle", text(&at("c.bundle"))]),
        &["decoder"],
    );
}

/// Returns how near reconstructions come to images, in dB.
fn psnr(model: &FirstStageModel, pixels: &[u8]) -> f64 {
    let back = model.decode(&model.encode(pixels).unwrap()).unwrap();
    let error = pixels
        .iter()
        .zip(&back)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    -10.0 * (error.sum::<f64>() / pixels.len() as f64 / 255.0 / 255.0).log10()
}

/// Returns square images of `side` pixels in colour at twice their size.
fn doubled(pixels: &[u8], side: usize) -> Vec<u8> {
    let rows = pixels.chunks(3 * side).flat_map(|row| {
        let wide: Vec<u8> = row.chunks(3).flat_map(|p| [p, p].concat()).collect();
        [wide.clone(), wide].concat()
    });
    rows.collect()
}

/// The models that are part of the program reconstruct what they were not trained on, and draw.
#[test]
fn models_of_the_program_work_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let listed = printed(&["get"]);
    for model in &PRETRAINED {
        assert!(
            listed.contains(model.name) && listed.contains(model.about),
            "{listed}"
        );
        let out = folder.path().join(model.name);
        let line = printed(&["get", model.name, "--out", text(&out)]);
        assert!(line.contains("million parameters"), "{line}");
        assert!(model.bundle().unwrap().parameter_count() > 50_000);
    }
    let gpu = gpu();
    let emoji = folder.path().join("emoji32");
    let model = FirstStageModel::load(&gpu, &emoji).unwrap();
    let config = model.config();
    let set = data::open(&config.data.source, &config.data.options()).unwrap();
    let held_out: Vec<u32> = set.test.iter().copied().take(64).collect();
    let pixels = set.gather(&held_out).unwrap();
    let db = psnr(&model, &pixels);
    assert!(db > 20.0, "{db} dB");
    let drawings = FirstStageModel::load(&gpu, &folder.path().join("clipart64")).unwrap();
    let db = psnr(&drawings, &doubled(&pixels, 32));
    assert!(db > 20.0, "{db} dB");
    let hearts = folder.path().join("hearts");
    let sample = [
        "text2image",
        "sample",
        text(&emoji),
        "a red heart",
        "--n",
        "2",
    ];
    ok(run(&[
        &sample[..],
        &["--seed", "1", "--out", text(&hearts)],
    ]
    .concat()));
    let drawn = image::open(hearts.join("grid.png")).unwrap().into_rgb8();
    let mut counts: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    drawn
        .pixels()
        .for_each(|p| *counts.entry(p.0).or_default() += 1);
    assert!(counts.len() > 20, "{} colours", counts.len());
}
