//! Distances between sets of images: the library's beside those of pytorchfwd, torch-fidelity and
//! scikit-learn, which `scripts/fixtures/distances.py` stored, and `wgvq evaluate` end to end.

use crate::common::fixture::Fixture;
use crate::common::{SMALLEST_PRIOR, ok, refused, run, stdout, text, train_tiny};
use std::collections::BTreeMap;
use std::path::Path;
use wgvq::analysis::distribution::Features;
use wgvq::analysis::distribution::frechet::frechet_distance;
use wgvq::analysis::distribution::kernel::kernel_distance;
use wgvq::analysis::distribution::neighbours::{NEIGHBOURS, precision_recall};
use wgvq::analysis::distribution::wavelets::frechet_wavelet_distance;

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
