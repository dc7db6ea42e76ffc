//! Distances between sets of images: the library's beside those of pytorchfwd, torch-fidelity and
//! scikit-learn, which `scripts/fixtures/distances.py` stored, and `wgvq evaluate` end to end.

use crate::common::fixture::Fixture;
use crate::common::{SMALLEST_PRIOR, ok, refused, run, stdout, text, tiny_config_over, train_tiny};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use wgvq::analysis::distribution::Features;
use wgvq::analysis::distribution::frechet::frechet_distance;
use wgvq::analysis::distribution::kernel::kernel_distance;
use wgvq::analysis::distribution::neighbours::{NEIGHBOURS, precision_recall};
use wgvq::analysis::distribution::wavelets::frechet_wavelet_distance;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::{self, spread};

/// Checks that the figure is the other program's to four digits.
fn agrees(f: &Fixture, name: &str, got: f64) {
    let want = f.metadata["answers"][name].as_f64().unwrap();
    assert!(
        (got - want).abs() <= 5e-5 * want.abs(),
        "{}: {name} is {got} for {want}",
        f.name
    );
}

#[test]
fn wavelet_distances_are_those_of_pytorchfwd() {
    for name in ["colour", "grey"] {
        let f = Fixture::load(&format!("distances/{name}"));
        let bytes = |set: &str| f.floats(set).iter().map(|v| *v as u8).collect::<Vec<u8>>();
        let [_, h, w, c] = f.floats["real"].0[..] else {
            panic!("images have four dimensions")
        };
        let found = frechet_wavelet_distance(&bytes("real"), &bytes("samples"), [h, w, c]);
        agrees(&f, "fwd", found.unwrap());
    }
}

#[test]
fn distances_of_features_are_those_of_other_programs() {
    let f = Fixture::load("distances/features");
    let of = |set: &str| Features::new(f.floats(set), f.floats[set].0[1]).unwrap();
    let (real, samples) = (of("real"), of("samples"));
    agrees(&f, "fd", frechet_distance(&real, &samples).unwrap());
    let kid = kernel_distance(&real, &samples).unwrap();
    agrees(&f, "kid", kid);
    agrees(&f, "sklearn.kid", kid);
    let found = precision_recall(&real, &samples, NEIGHBOURS).unwrap();
    for program in ["", "sklearn."] {
        agrees(&f, &format!("{program}precision"), found.precision);
        agrees(&f, &format!("{program}recall"), found.recall);
    }
}

/// The figures that `wgvq evaluate --json` printed: by metric, the value, the floor, and what the
/// features are of.
fn figures(printed: &str) -> BTreeMap<String, (f64, f64, String)> {
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let number = |key: &str| line[key].as_f64().expect("a number");
        let of = line["features"].as_str().unwrap().to_owned();
        let metric = line["metric"].as_str().unwrap().to_owned();
        (metric, (number("value"), number("floor"), of))
    };
    printed.lines().map(line).collect()
}

fn evaluate(run_path: &Path, more: &[&str]) -> std::process::Output {
    let args = [
        "evaluate",
        text(run_path),
        "--classifier-steps",
        "5",
        "--json",
    ];
    run(&[&args[..], more].concat())
}

#[test]
fn samples_and_reconstructions_are_judged_beside_their_floor() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 6);
    refused(evaluate(&run_path, &["--quiet"]), &["wgvq prior"]);
    let kept = folder.path().join("kept");
    let made = ok(evaluate(
        &run_path,
        &["--reconstructions", "--keep", text(&kept), "--quiet"],
    ));
    let own = figures(&stdout(&made));
    let names: Vec<&str> = own.keys().map(String::as_str).collect();
    let all = [
        "accuracy",
        "fd",
        "fwd",
        "kid",
        "mind",
        "precision",
        "recall",
    ];
    assert_eq!(names, all);
    assert!(
        own.values()
            .all(|(v, floor, _)| v.is_finite() && floor.is_finite())
    );
    assert!(own["fwd"].0 > 0.0 && own["fwd"].1 > 0.0, "{own:?}");
    assert!(own["fwd"].2.is_empty() && own["fd"].2.len() == 64);
    let report = run_path.join("report");
    let table = std::fs::read_to_string(report.join("distances.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + all.len());
    refused(
        evaluate(&run_path, &["--reconstructions"]),
        &["distances.csv", "--overwrite"],
    );
    // The images that were compared: files of equally many.
    let count = |name: &str| std::fs::read_dir(kept.join(name)).unwrap().count();
    assert_eq!(count("training"), count("held-out"));
    assert_eq!(count("training"), count("samples"));

    // From the features that were kept the same figures come out, and from the images.
    let files = ["training", "held-out", "samples"].map(|n| kept.join(format!("{n}.npy")));
    let files = files.map(|f| text(&f).to_owned()).join(",");
    let again = ["--metric", "fd,kid,mind,pr", "--features", &files];
    let again = [&again[..], &["--reconstructions", "--overwrite"]].concat();
    for (name, (value, floor, of)) in figures(&stdout(&ok(evaluate(&run_path, &again)))) {
        assert_eq!((value, floor), (own[&name].0, own[&name].1), "{name}");
        assert_eq!(of, "files");
    }
    let samples = kept.join("samples");
    let images = ["--metric", "fwd", "--images", text(&samples), "--overwrite"];
    let images = figures(&stdout(&ok(evaluate(&run_path, &images))));
    assert_eq!(images["fwd"], own["fwd"]);

    let steps = ["--steps", "4", "--batch", "8", "--quiet"];
    let prior = [&["prior", text(&run_path)][..], &SMALLEST_PRIOR, &steps].concat();
    ok(run(&prior));
    let sampled = ok(evaluate(&run_path, &["--overwrite", "--seed", "3"]));
    let sampled = figures(&stdout(&sampled));
    // The classifier is that of before, and the floors with it.
    assert_eq!(sampled["fd"].2, own["fd"].2);
    assert_eq!(sampled["fd"].1, own["fd"].1);
    assert_ne!(sampled["fwd"].0, own["fwd"].0);
    // The seed says which samples are drawn.
    let drawn = |seed: &str| {
        let more = ["--overwrite", "--metric", "fwd", "--seed", seed];
        figures(&stdout(&ok(evaluate(&run_path, &more))))["fwd"].0
    };
    assert_eq!(drawn("3"), sampled["fwd"].0);
    assert_ne!(drawn("4"), sampled["fwd"].0);
    // A classifier of other steps is not replaced unasked, and nor is what --keep wrote.
    let other = ["--out", text(&report), "--classifier-steps", "6"];
    std::fs::remove_file(report.join("distances.csv")).unwrap();
    let args = ["evaluate", text(&run_path), "--reconstructions"];
    refused(
        run(&[&args[..], &other].concat()),
        &["classifier.safetensors", "--overwrite"],
    );
    // A damaged one is, by --overwrite.
    std::fs::write(report.join("classifier.safetensors"), "damaged").unwrap();
    let few = ["--reconstructions", "--metric", "accuracy", "--n", "20"];
    refused(
        evaluate(&run_path, &few),
        &["classifier.safetensors", "--overwrite"],
    );
    let replaced = [&few[..], &["--overwrite", "--guidance", "2"]].concat();
    let said = crate::common::stderr(&ok(evaluate(&run_path, &replaced)));
    assert!(
        said.contains("training another") && said.contains("nothing is drawn"),
        "{said}"
    );
    std::fs::remove_file(report.join("distances.csv")).unwrap();
    std::fs::remove_dir_all(kept.join("samples")).unwrap();
    refused(
        evaluate(&run_path, &["--reconstructions", "--keep", text(&kept)]),
        &["--keep"],
    );
}

#[test]
fn measures_that_cannot_be_taken_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let run_path = train_tiny(folder.path(), "run", 2);
    let out = folder.path().join("out");
    let judged = |more: &[&str]| {
        let args = ["--out", text(&out), "--reconstructions"];
        evaluate(&run_path, &[&args[..], more].concat())
    };
    refused(judged(&["--metric", "fid"]), &["fid", "fwd"]);
    refused(judged(&["--n", "1"]), &["--n"]);
    refused(judged(&["--features", "a.npy,b.npy"]), &["three files"]);
    refused(
        judged(&["--metric", "fd", "--features", "a.npy,b.npy,c.npy"]),
        &["a.npy"],
    );
    let images = folder.path().join("few");
    std::fs::create_dir(&images).unwrap();
    let args = ["--images", text(&images), "--metric", "accuracy", "--out"];
    refused(
        evaluate(&run_path, &[&args[..], &[text(&out)]].concat()),
        &["accuracy", "--images"],
    );
    assert!(!out.join("distances.csv").exists());
}

/// Photographs of 96 x 64 in two classes, no two alike.
fn photographs(folder: &Path) {
    for i in 0..24u32 {
        let class = folder.join(["bands", "rings"][i as usize % 2]);
        std::fs::create_dir_all(&class).unwrap();
        let photograph = image::RgbImage::from_fn(96, 64, |x, y| {
            let at = match i % 2 {
                0 => x * 3 + y * (i + 1),
                _ => (x.abs_diff(40).pow(2) + y.abs_diff(30).pow(2)) / (i + 2),
            };
            image::Rgb([at + i * 9, at * 2 + i * 5, x + y].map(|v| v as u8))
        });
        photograph.save(class.join(format!("{i:02}.png"))).unwrap();
    }
}

/// A run that saw random crops of photographs is judged beside their tiles, those that training may
/// draw from and those held out, whatever it drew; and its prior, which saw tiles, too.
#[test]
fn runs_of_random_crops_are_judged_beside_tiles() {
    let folder = tempfile::tempdir().unwrap();
    let (source, config) = (folder.path().join("photos"), folder.path().join("a.toml"));
    photographs(&source);
    let crops = "width = 32\nheight = 32\nstore = 'memory'\ncrop = 'random'\nflip = true\n\
                 color = 0.2\ncrop_scale_max = 1.0\n";
    tiny_config_over(&config, 6, &source, crops);
    let run_path = folder.path().join("run");
    let train = ["train", text(&config), "--out", text(&run_path), "--quiet"];
    ok(run(&train));
    let steps = ["--steps", "4", "--batch", "8", "--quiet"];
    ok(run(&[
        &["prior", text(&run_path)][..],
        &SMALLEST_PRIOR,
        &steps,
    ]
    .concat()));

    let kept = folder.path().join("kept");
    let judged = ok(evaluate(&run_path, &["--keep", text(&kept), "--quiet"]));
    let judged = figures(&stdout(&judged));
    assert_eq!(judged.len(), 7, "{judged:?}");
    for (name, (value, floor, _)) in &judged {
        assert!(value.is_finite() && floor.is_finite(), "{name}: {judged:?}");
    }
    // Tiles of the photographs, by the library.
    let options = RunConfig::load(&run_path.join("config.toml"));
    let options = options.unwrap().data.options();
    let set = data::open(text(&source), &options).unwrap();
    for (name, indices) in [("training", &set.train), ("held-out", &set.test)] {
        let n = std::fs::read_dir(kept.join(name)).unwrap().count();
        assert_eq!(n, set.train.len().min(set.test.len()), "{name}");
        let tiles = set.gather(&spread(indices, n)).unwrap();
        let mut images = Vec::new();
        for i in 0..n {
            let image = image::open(kept.join(name).join(format!("{i:06}.png")));
            images.extend(image.unwrap().to_rgb8().into_raw());
        }
        assert!(images == tiles, "{name}: other images than the tiles");
    }
    // No photograph is on both sides.
    let photographs = |indices: &[u32]| -> BTreeSet<u64> {
        let of = |i: &u32| set.items[*i as usize].group;
        indices.iter().map(of).collect()
    };
    let sides = [&set.train, &set.test].map(|indices| photographs(indices));
    assert!(
        sides[0].is_disjoint(&sides[1]) && sides[1].len() > 1,
        "{sides:?}"
    );

    // Again, and from elsewhere.
    let again = |more: &[&str]| {
        let args = ["--overwrite", "--quiet", "--metric", "fwd,fd"];
        figures(&stdout(&ok(evaluate(&run_path, &[&args, more].concat()))))
    };
    let mut two = judged.clone();
    two.retain(|name, _| ["fwd", "fd"].contains(&name.as_str()));
    assert_eq!(again(&[]), two);
    let moved = folder.path().join("moved");
    std::fs::rename(&source, &moved).unwrap();
    refused(evaluate(&run_path, &["--overwrite"]), &["photos", "--data"]);
    assert_eq!(again(&["--data", text(&moved)]), two);
    let reconstructed = again(&["--data", text(&moved), "--reconstructions"]);
    assert_eq!(reconstructed["fd"].1, judged["fd"].1);
    assert_ne!(reconstructed["fwd"].0, judged["fwd"].0);
}
