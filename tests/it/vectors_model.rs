//! First stages over arrays of vectors, by the command and by the library.

use crate::common::{printed, refused, run, text};
use npyz::WriterBuilder;
use std::path::Path;
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::VectorsModel;
use wgvq::vectors::{Encoder, HeldOut, Structure, TrainOptions, Vectors, train};

const N: usize = 1400;
const D: usize = 48;
/// The number of factors that vectors are made of, beside noise.
const FACTORS: usize = 3;
/// Vectors that are held out.
const TEST: usize = 200;

/// A number in [-1, 1), the same for a place at each call.
fn noise(i: usize) -> f32 {
    let bits = (i as u32).wrapping_add(77).wrapping_mul(0x9E37_79B9);
    let bits = (bits ^ bits >> 15).wrapping_mul(0x85EB_CA6B);
    let bits = (bits ^ bits >> 13).wrapping_mul(0xC2B2_AE35);
    (bits ^ bits >> 16) as f32 / (1u64 << 31) as f32 - 1.0
}

/// Vectors of three factors, mixed and bent, under noise in each number.
fn rows() -> Vec<f32> {
    let row = |i: usize| {
        let factor = move |f: usize| noise(i * FACTORS + f);
        (0..D).map(move |c| {
            let mixed = (0..FACTORS).map(|f| factor(f) * noise(10_000_000 + c * FACTORS + f));
            let x: f32 = mixed.sum();
            5.0 + 3.0 * (x + 0.3 * x.sin()) + 2.0 * noise(20_000_000 + i * D + c)
        })
    };
    (0..N).flat_map(row).collect()
}

pub fn write<T: npyz::AutoSerialize + Copy>(path: &Path, shape: &[u64], values: &[T]) {
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

/// The line of a command's result.
fn line(args: &[&str]) -> serde_json::Value {
    let said = printed(&[args, &["--json"]].concat());
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// The held-out mean squared error of k-means with so many codes.
fn kmeans(gpu: &Gpu, codes: usize) -> f64 {
    let held = HeldOut::new(Vectors::from_rows(D, rows()).unwrap(), TEST).unwrap();
    let learned = held.train(0..held.train_len()).unwrap();
    let learned = Vectors::from_rows(D, learned).unwrap();
    let options = TrainOptions {
        codes,
        iterations: 8,
        ..TrainOptions::new(Structure::Kmeans)
    };
    let books = train(gpu, &learned, &options, &mut |_| true);
    let books = books.unwrap().unwrap();
    let test = held.test(0..held.test_len()).unwrap();
    let coded = Encoder::new(gpu, &books).unwrap().encode(&test, 1).unwrap();
    coded.distortion / test.len() as f64
}

/// Two codes of 32 beside 1,024 means: these fit the noise of the few vectors that each has.
#[test]
fn a_model_learns_more_of_structure_than_means_of_as_many_bits() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, out) = (at("x.npy"), at("run"));
    write(&x, &[N as u64, 6, 8], &rows());
    let said = line(&[
        "train",
        "--model",
        "mlp",
        "--data",
        text(&x),
        "--quantizer",
        "residual",
        "--codes",
        "32",
        "--set",
        "quantizer.num_quantizers=2",
        "--set",
        "quantizer.codebook_dim=4",
        "--set",
        "model.hidden=64",
        "--set",
        "model.layers=1",
        "--set",
        "data.test_rows=200",
        "--batch",
        "256",
        "--lr",
        "0.003",
        "--steps",
        "300",
        "--out",
        text(&out),
    ]);
    assert_eq!(said["codes"], 32);
    assert_eq!(said["vectors"], TEST);
    let mse = said["mse"].as_f64().unwrap();
    let gpu = Gpu::new(Options::default()).unwrap();
    let means = kmeans(&gpu, 1024);
    assert!(mse < 0.95 * means, "{mse} of the model, {means} of k-means");
    for name in [
        "config.toml",
        "metrics.csv",
        "test.csv",
        "final.safetensors",
    ] {
        assert!(out.join(name).is_file(), "{name}");
    }

    let (codes, again) = (at("codes.npy"), at("again.npy"));
    let encoded = line(&["encode", text(&out), text(&x), "-o", text(&codes)]);
    let (shape, found) = read::<u16>(&codes);
    assert_eq!(shape, [N as u64, 2]);
    let mut counts = std::collections::BTreeMap::new();
    let pairs = found.chunks(2);
    pairs.for_each(|codes| *counts.entry(codes).or_insert(0) += 1);
    let alone = counts.values().filter(|n| **n == 1).count();
    assert_eq!(encoded["unique"], alone);
    let rate = encoded["collision_rate"].as_f64().unwrap();
    assert!((rate - (1.0 - alone as f64 / N as f64)).abs() < 1e-12);
    assert_eq!(encoded["distinct"], counts.len());

    let decoded = line(&["decode", text(&out), text(&codes), "-o", text(&again)]);
    assert_eq!(decoded["n"], N);
    let (shape, vectors) = read::<f32>(&again);
    assert_eq!(shape, [N as u64, D as u64]);
    let square = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
    let sum: f64 = rows().iter().zip(&vectors).map(square).sum();
    let own = encoded["mse"].as_f64().unwrap();
    assert!(
        (sum / vectors.len() as f64 - own).abs() < 1e-5 * own,
        "{sum} {own}"
    );

    // The library reads the same model.
    let model = VectorsModel::load(&gpu, &out).unwrap();
    let few = model.encode(&rows()[..10 * D]).unwrap();
    assert_eq!(
        few,
        found[..20]
            .iter()
            .map(|c| u32::from(*c))
            .collect::<Vec<_>>()
    );
    assert_eq!(model.decode(&few).unwrap(), vectors[..10 * D]);
    assert!(model.decode(&[0, 32]).is_err() && model.encode(&[0.0; D + 1]).is_err());
    let latents = at("z.npy");
    line(&[
        "encode",
        text(&out),
        text(&x),
        "--latents",
        "-o",
        text(&latents),
    ]);
    let (shape, values) = read::<f32>(&latents);
    assert_eq!(shape, [N as u64, 4]);
    assert_eq!(values[..40], model.latents(&rows()[..10 * D]).unwrap());
}

fn short<'a>(x: &'a str, out: &'a str) -> Vec<&'a str> {
    let all = [
        "train",
        "--model",
        "mlp",
        "--data",
        x,
        "--quantizer",
        "residual",
        "--codes",
        "16",
        "--set",
        "quantizer.num_quantizers=3",
        "--set",
        "quantizer.codebook_dim=8",
        "--set",
        "model.hidden=32",
        "--set",
        "model.scaling=channels",
        "--batch",
        "64",
        "--set",
        "train.log_every=4",
        "--set",
        "train.checkpoint_every=10",
        "--set",
        "train.eval_every=10",
        "--seed",
        "3",
        "--out",
        out,
    ];
    all.to_vec()
}

/// All that a run's folder has, but for the record of its sessions.
fn files(run: &Path) -> Vec<(String, Vec<u8>)> {
    let names = [
        "config.toml",
        "metrics.csv",
        "test.csv",
        "final.safetensors",
    ];
    let files = names.map(|name| (name.to_owned(), std::fs::read(run.join(name)).unwrap()));
    files.to_vec()
}

#[test]
fn a_run_that_goes_on_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, whole, parts) = (at("x.npy"), at("whole"), at("parts"));
    write(&x, &[N as u64, D as u64], &rows());
    let steps = |args: Vec<&str>, steps: &str| run(&[&args[..], &["--steps", steps]].concat());
    let args = short(text(&x), text(&whole));
    assert!(steps(args, "30").status.success());
    // One is stopped half way: its folder is that of step 20 of 30.
    let args = short(text(&x), text(&parts));
    assert!(steps(args, "30").status.success());
    let newest = |run: &Path| {
        let files = std::fs::read_dir(run.join("checkpoints")).unwrap();
        let names = files.map(|f| f.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    for name in newest(&parts)
        .iter()
        .filter(|name| name.contains("00000030"))
    {
        std::fs::remove_file(parts.join("checkpoints").join(name)).unwrap();
    }
    std::fs::remove_file(parts.join("final.safetensors")).unwrap();
    assert!(
        newest(&parts).iter().any(|name| name.contains("00000020")),
        "{:?}",
        newest(&parts)
    );
    let resumed = run(&["train", "--resume", text(&parts)]);
    assert!(resumed.status.success());
    for ((name, a), (_, b)) in files(&whole).into_iter().zip(files(&parts)) {
        assert!(a == b, "{name} differs");
    }
    let codes = at("codes.npy");
    let said = line(&["encode", text(&whole), text(&x), "-o", text(&codes)]);
    assert_eq!(read::<u16>(&codes).0, [N as u64, 3]);
    assert_eq!(said["used"].as_array().unwrap().len(), 3);

    // Another array, or another seed, is another run.
    let other = at("other.npy");
    let values: Vec<f32> = rows().iter().map(|v| v + 1.0).collect();
    write(&other, &[N as u64, D as u64], &values);
    let resume = ["train", "--resume", text(&parts)];
    let more = |more: &[&str]| run(&[&resume[..], more].concat());
    refused(more(&["--seed", "4"]), &["--resume", "--steps alone"]);
    let said = more(&["--data", text(&other), "--steps", "40"]);
    refused(said, &["is not the one that this run began with", "--data"]);
    // The same array may lie elsewhere.
    let moved = at("moved.npy");
    std::fs::rename(&x, &moved).unwrap();
    assert!(
        more(&["--data", text(&moved), "--steps", "34"])
            .status
            .success()
    );
}

#[test]
fn what_cannot_be_trained_on_says_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (x, out) = (at("x.npy"), at("run"));
    let train = |x: &Path, more: &[&str]| {
        let args = short(text(x), text(&out));
        run(&[&args[..], &["--steps", "2"], more].concat())
    };
    write(&x, &[4, 2], &[1i16, 2, 3, 4, 5, 6, 7, 8]);
    refused(train(&x, &[]), &["<i2", "astype(\"float32\")"]);
    write(&x, &[1, 4], &[1f32, 2.0, 3.0, 4.0]);
    refused(train(&x, &[]), &["data.test_rows", "1 vectors"]);
    write(&x, &[3, 2], &[1f32, 2.0, f32::NAN, 4.0, 5.0, 6.0]);
    refused(train(&x, &[]), &["row 1 holds NaN", "leave such rows out"]);
    refused(train(&at("none.npy"), &[]), &["none.npy"]);
    write(&x, &[N as u64, D as u64], &rows());
    refused(train(&x, &["--auto-batch"]), &["--auto-batch", "images"]);
    refused(train(&x, &["--auto-recover"]), &["--auto-recover"]);
    refused(
        train(&x, &["--set", "model.downsample=4"]),
        &["model.downsample", "nearest"],
    );
    refused(
        train(&x, &["--set", "quantizer.kind=multiscale"]),
        &["residual"],
    );
    let no_data = ["train", "--model", "mlp", "--out", text(&out)];
    refused(run(&no_data), &["--data", ".npy"]);
    refused(run(&["plan", "--model", "mlp"]), &["--model", "wgvq train"]);
    assert!(!out.exists(), "a refused run left its folder");

    assert!(train(&x, &[]).status.success());
    let config = out.join("config.toml");
    refused(run(&["plan", text(&config)]), &["model of vectors"]);
    refused(train(&x, &[]), &["--overwrite"]);
    let codes = at("codes.npy");
    let encode = |array: &Path, more: &[&str]| {
        let args = ["encode", text(&out), text(array), "-o", text(&codes)];
        run(&[&args[..], more].concat())
    };
    let narrow = at("narrow.npy");
    write(&narrow, &[2, 3], &[0f32; 6]);
    refused(encode(&narrow, &[]), &["vectors of 3 numbers", "48"]);
    refused(encode(&x, &["--npy"]), &["--npy", "of vectors"]);
    assert!(encode(&x, &[]).status.success());
    refused(encode(&x, &[]), &["--overwrite"]);
    let decode = |codes: &Path| run(&["decode", text(&out), text(codes), "-o", text(&at("y.npy"))]);
    write(&narrow, &[2, 2], &[0u16; 4]);
    refused(decode(&narrow), &["2 codes a row", "3 a vector"]);
    write(&narrow, &[1, 3], &[0u16, 1, 16]);
    refused(decode(&narrow), &["code 16 of 16"]);
    write(&narrow, &[1, 3], &[0f32; 3]);
    refused(decode(&narrow), &["whole numbers"]);
    // What reads models of images says what this is.
    let said = run(&["reconstruct", text(&out), "a.png", "-o", text(&at("b.png"))]);
    refused(said, &["model of vectors"]);
}

/// A row to each cell, image behind image.
#[test]
fn latents_of_images_are_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (z, image) = (at("z.npy"), "tests/fixtures/runs/original.png");
    let run_folder = "tests/fixtures/runs/ema";
    let encode = [
        "encode",
        run_folder,
        image,
        image,
        "--latents",
        "-o",
        text(&z),
    ];
    let said = line(&encode);
    let (shape, values) = read::<f32>(&z);
    // Two images of 4 x 4 cells, whose latents have 8 channels.
    assert_eq!(shape, [32, 8]);
    assert_eq!((&said["n"], &said["dim"]), (&32.into(), &8.into()));
    assert_eq!(values[..16 * 8], values[16 * 8..]);
    // Their nearest codes are those that the model gives the images.
    let gpu = Gpu::new(Options::default()).unwrap();
    let model = wgvq::inference::FirstStageModel::load(&gpu, run_folder.as_ref()).unwrap();
    let [w, h, c] = model.image();
    let pixels = wgvq::data::load_image(image, w, h, c).unwrap();
    let codes = model.encode(&pixels).unwrap();
    let state = model.quantizers()[0].save().unwrap();
    let (_, book) = &state["codebook"];
    let square =
        |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
    for (latent, code) in values.chunks(8).zip(&codes) {
        let own = square(latent, &book[*code as usize * 8..][..8]);
        let least = book
            .chunks(8)
            .map(|b| square(latent, b))
            .fold(f32::MAX, f32::min);
        assert!(own <= least * 1.0001, "{own} of {least}");
    }
    refused(run(&encode), &["--overwrite"]);
    refused(
        run(&[
            "encode",
            run_folder,
            image,
            "--level",
            "top",
            "-o",
            text(&at("c.st")),
        ]),
        &["--level"],
    );
    let other = at("c.npy");
    let wrong = [
        "encode",
        run_folder,
        image,
        "--latents",
        "--npy",
        "-o",
        text(&other),
    ];
    refused(run(&wrong), &["--npy"]);
}
