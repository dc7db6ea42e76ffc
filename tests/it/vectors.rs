//! Arrays of vectors as codes, by the command and by the library.

use crate::common::{printed, refused, run, text};
use npyz::WriterBuilder;
use std::path::{Path, PathBuf};
use wgvq::gpu::{Gpu, Options};
use wgvq::vectors::{Codebooks, Encoder, Structure, TrainOptions, Vectors, train};

const N: usize = 700;
const D: usize = 12;

/// Vectors around twenty points, the same at each call.
fn rows() -> Vec<f32> {
    let noise = |i: usize| {
        let bits = (i as u32).wrapping_add(77).wrapping_mul(0x9E37_79B9);
        (bits ^ bits >> 15).wrapping_mul(0x85EB_CA6B) as f32 / u32::MAX as f32 - 0.5
    };
    let value = |i: usize| 4.0 * noise((i / D % 20) * D + i % D) + noise(1_000_003 + i);
    (0..N * D).map(value).collect()
}

fn write<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
    let file = std::fs::File::create(path).unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(file).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
}

fn read<T: npyz::Deserialize>(path: &Path) -> (Vec<u64>, Vec<T>) {
    let bytes = std::fs::read(path).unwrap();
    let file = npyz::NpyFile::new(&bytes[..]).unwrap();
    (file.shape().to_vec(), file.into_vec().unwrap())
}

fn array(folder: &Path) -> PathBuf {
    let path = folder.join("x.npy");
    write(&path, &[N as u64, 3, 4], &rows());
    path
}

fn distance(x: &[f32], y: &[f32]) -> f64 {
    let square = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
    x.iter().zip(y).map(square).sum()
}

/// The line of a command's result.
fn line(args: &[&str]) -> serde_json::Value {
    let said = printed(&[args, &["--json"]].concat());
    serde_json::from_str(&said).unwrap()
}

#[test]
fn codes_are_the_nearest_and_figures_follow_from_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, codes, books, made) = (array(folder.path()), at("c.npy"), at("b.npy"), at("y.npy"));
    let said = line(&[
        "quantize",
        text(&x),
        "--quantizer",
        "kmeans",
        "--codes",
        "20",
        "-o",
        text(&codes),
        "--save-codebook",
        text(&books),
        "--reconstruction",
        text(&made),
    ]);
    let (shape, found) = read::<u16>(&codes);
    assert_eq!(shape, [N as u64]);
    let (shape, means) = read::<f32>(&books);
    assert_eq!(shape, [20, D as u64]);
    let (shape, made) = read::<f32>(&made);
    assert_eq!(shape, [N as u64, D as u64]);
    let (rows, mut sum) = (rows(), 0.0);
    for (i, (x, code)) in rows.chunks(D).zip(&found).enumerate() {
        let own = distance(x, &means[usize::from(*code) * D..][..D]);
        let least = means
            .chunks(D)
            .map(|m| distance(x, m))
            .fold(f64::MAX, f64::min);
        assert!(own <= least * (1.0 + 1e-5), "{i}: {own} of {least}");
        assert_eq!(made[i * D..][..D], means[usize::from(*code) * D..][..D]);
        sum += own;
    }
    let number = |name: &str| said[name].as_f64().unwrap();
    assert!((number("distortion") - sum / N as f64).abs() < 1e-6);
    // The noise within a point alone is 1; a third of the points without a mean would be far more.
    assert!(number("distortion") < 4.0, "{said}");
    let mut counts = [0; 20];
    found
        .iter()
        .for_each(|code| counts[usize::from(*code)] += 1);
    let used = counts.iter().filter(|n| **n > 0).count();
    assert_eq!(said["used"][0], used);
    assert_eq!(said["distinct"], used);
    assert_eq!(said["unique"], counts.iter().filter(|n| **n == 1).count());

    // Of the codebook alone, the same codes; and of the same seed the same bytes.
    let again = at("again.npy");
    let args = [
        "quantize",
        text(&x),
        "--quantizer",
        "kmeans",
        "-o",
        text(&again),
    ];
    line(&[&args[..], &["--codebook", text(&books)]].concat());
    assert_eq!(
        std::fs::read(&again).unwrap(),
        std::fs::read(&codes).unwrap()
    );
    refused(
        run(&[&args[..], &["--codes", "20"]].concat()),
        &["--overwrite"],
    );
    line(&[&args[..], &["--codes", "20", "--overwrite"]].concat());
    assert_eq!(
        std::fs::read(&again).unwrap(),
        std::fs::read(&codes).unwrap()
    );
    line(&[&args[..], &["--codes", "20", "--overwrite", "--seed", "1"]].concat());
    assert_ne!(
        std::fs::read(&again).unwrap(),
        std::fs::read(&codes).unwrap()
    );
}

#[test]
fn products_and_residuals_come_nearer() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, codes) = (array(folder.path()), at("c.npy"));
    let quantize = |quantizer: &str, more: &[&str]| {
        let args = [
            "quantize",
            text(&x),
            "--quantizer",
            quantizer,
            "-o",
            text(&codes),
        ];
        let sizes = ["--codes", "16", "--overwrite", "--iterations", "6"];
        let said = line(&[&args[..], &sizes, more].concat());
        (said["distortion"].as_f64().unwrap(), read::<u16>(&codes))
    };
    let (one, _) = quantize("kmeans", &[]);
    let (product, (shape, _)) = quantize("product", &["--codebooks", "3"]);
    assert_eq!(shape, [N as u64, 3]);
    let books = at("books.npy");
    let save = ["--codebooks", "3", "--save-codebook", text(&books)];
    let (residual, (shape, greedy)) = quantize("residual", &save);
    assert_eq!(shape, [N as u64, 3]);
    assert!(
        product < one && residual < 0.5 * one,
        "{one} {product} {residual}"
    );

    // The same codebooks make the same codes, and with more partial codes nearer ones.
    let apply = |beam: &str| {
        let args = [
            "quantize",
            text(&x),
            "--quantizer",
            "residual",
            "--overwrite",
        ];
        let more = [
            "--codebook",
            text(&books),
            "-o",
            text(&codes),
            "--beam",
            beam,
        ];
        let said = line(&[&args[..], &more].concat());
        (said["distortion"].as_f64().unwrap(), read::<u16>(&codes).1)
    };
    let (again, same) = apply("1");
    assert_eq!((again, &same), (residual, &greedy));
    assert!(apply("4").0 < residual);

    // More beams find nearer sums of the same codebooks: never farther ones by much, and one beam
    // finds what a walk from codebook to codebook does.
    let (_, values) = read::<f32>(&books);
    let codebooks = Codebooks::new(Structure::Residual, [3, 16, D], values).unwrap();
    let gpu = Gpu::new(Options::default()).unwrap();
    let encoder = Encoder::new(&gpu, &codebooks).unwrap();
    let coded = [1, 4, 16].map(|beam| encoder.encode(&rows(), beam).unwrap());
    let plain: Vec<u16> = coded[0].codes.iter().map(|code| *code as u16).collect();
    assert_eq!(plain, greedy);
    let reached = coded.each_ref().map(|coded| coded.distortion);
    assert!(
        reached[1] < reached[0] && reached[2] <= reached[1],
        "{reached:?}"
    );
    let made = codebooks.decode(&coded[2].codes).unwrap();
    let sum = distance(&rows(), &made);
    assert!((reached[2] - sum).abs() < 1e-6 * sum);
    // All sums of three codes, for a few vectors: a beam as wide as all of the first codebook's
    // codes and their best followers misses little.
    let every = |x: &[f32]| {
        let triples = (0..16 * 16 * 16u32).map(|i| [i / 256, i / 16 % 16, i % 16]);
        let sums = triples.map(|codes| distance(x, &codebooks.decode(&codes).unwrap()));
        sums.fold(f64::MAX, f64::min)
    };
    let few = 40 * D;
    let best: f64 = rows()[..few].chunks(D).map(every).sum();
    let found = distance(&rows()[..few], &made[..few]);
    assert!(
        found >= best * (1.0 - 1e-6) && found < 1.05 * best,
        "{found} of {best}"
    );
}

#[test]
fn training_can_be_stopped_and_takes_a_sample() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let vectors = Vectors::from_rows(D, rows()).unwrap();
    let mut options = TrainOptions::new(Structure::Kmeans);
    (options.codes, options.iterations) = (8, 30);
    let mut told = Vec::new();
    let stopped = train(&gpu, &vectors, &options, &mut |round| {
        told.push(round.distortion);
        round.iteration < 3
    });
    assert!(stopped.unwrap().is_none());
    assert_eq!(told.len(), 3);
    assert!(told[2] < told[1] && told[1] < told[0], "{told:?}");

    options.sample = Some(300);
    let learn = || {
        train(&gpu, &vectors, &options, &mut |_| true)
            .unwrap()
            .unwrap()
    };
    let (a, b) = (learn(), learn());
    assert_eq!(a, b);
    options.sample = None;
    let all = train(&gpu, &vectors, &options, &mut |_| true).unwrap();
    assert_ne!(all.unwrap(), a);
    // As many codes as vectors: each is one.
    let few = Vectors::from_rows(D, rows()[..5 * D].to_vec()).unwrap();
    options.codes = 5;
    let own = train(&gpu, &few, &options, &mut |_| true).unwrap().unwrap();
    let coded = Encoder::new(&gpu, &own)
        .unwrap()
        .encode(&rows()[..5 * D], 1)
        .unwrap();
    assert_eq!(coded.distortion, 0.0);
    options.codes = 6;
    let said = train(&gpu, &few, &options, &mut |_| true)
        .unwrap_err()
        .to_string();
    assert!(said.contains("6 codes of 5 vectors"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, codes) = (array(folder.path()), at("c.npy"));
    let quantize = |more: &[&str]| {
        let args = ["quantize", text(&x), "-o", text(&codes), "--quantizer"];
        run(&[&args[..], more].concat())
    };
    refused(quantize(&["product", "--codebooks", "5"]), &["--codebooks"]);
    refused(quantize(&["kmeans", "--codebooks", "2"]), &["--codebooks"]);
    refused(quantize(&["kmeans", "--beam", "2"]), &["--beam"]);
    refused(quantize(&["residual", "--beam", "65"]), &["--beam"]);
    refused(quantize(&["kmeans", "--codes", "0"]), &["--codes"]);
    refused(
        quantize(&["kmeans", "--codes", "800"]),
        &["800 codes of 700 vectors"],
    );
    refused(quantize(&["kmeans", "--codebook", text(&x)]), &["[K, D]"]);
    let other = at("other.npy");
    write(&other, &[4, 7], &[0f32; 28]);
    refused(
        quantize(&["kmeans", "--codebook", text(&other)]),
        &["vectors of 7 numbers"],
    );
    let whole = at("whole.npy");
    write(&whole, &[4, 7], &[0i64; 28]);
    let args = [
        "quantize",
        text(&whole),
        "-o",
        text(&codes),
        "--quantizer",
        "kmeans",
    ];
    refused(run(&args), &["float32"]);
    let mut nan = rows();
    nan[5 * D + 3] = f32::NAN;
    write(&whole, &[N as u64, D as u64], &nan);
    refused(run(&args), &["row 5 holds NaN at 3"]);
    let args = [
        "quantize",
        text(&x),
        "-o",
        text(&x),
        "--quantizer",
        "kmeans",
        "--overwrite",
    ];
    refused(run(&args), &["would be replaced"]);
    assert!(!codes.exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn distortion_is_measured_beside_time() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, out) = (at("x.npy"), at("out"));
    write(&x, &[60, 4], &rows()[..240]);
    let bench = ["bench", "--suite", "distortion", "--out", text(&out)];
    refused(run(&bench), &["--vectors"]);
    let of_run = [&bench[..], &["--vectors", "tests/fixtures/runs/ema"]].concat();
    refused(run(&of_run), &["--latents"]);
    let args = [&bench[..], &["--vectors", text(&x), "--json"]].concat();
    for wrong in [
        ["--dtype", "f16"],
        ["--cache", "cold"],
        ["--against", "wgvq"],
    ] {
        refused(
            run(&[&args[..], &wrong].concat()),
            &[wrong[0], "distortion"],
        );
    }
    refused(run(&["bench", "copy", "--vectors", text(&x)]), &["--suite"]);
    assert!(!out.exists());
    let printed = printed(&args);
    let lines: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |name: &str| {
        let line = lines.iter().find(|line| line["name"] == name).unwrap();
        line["results"][0]["distortion"].as_f64().unwrap()
    };
    assert!(of("kmeans_k30_rounds20") <= of("kmeans_k30_rounds1"));
    let (half, wide) = (of("kmeans_k30_rounds20_f16"), of("kmeans_k30_rounds20"));
    assert!(
        (half - wide).abs() < 0.2 * wide,
        "{half} searched in f16, {wide} in f32"
    );
    assert!(of("residual_m4_k30_rounds10_beam1") < of("kmeans_k30_rounds20"));
    let table = std::fs::read_to_string(out.join("distortion.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + lines.len());
    let chart = image::open(out.join("distortion.png")).unwrap();
    assert_eq!([chart.width(), chart.height()], [900, 560]);
    refused(run(&args), &["--overwrite"]);
}
