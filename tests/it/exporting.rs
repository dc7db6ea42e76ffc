//! Models in the formats of other programs: ONNX, the layout of the Hugging Face Hub, NumPy.

use crate::common::published::checkpoint;
use crate::common::{gpu, ok, refused, run, skip, stderr, stdout, text, tiny_config};
use safetensors::SafeTensors;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use wgvq::gpu::{Gpu, Tensor};
use wgvq::inference::FirstStageModel;
use wgvq::inference::import::{Names, read};
use wgvq::storage::protobuf::{Field, fields};
use wgvq::storage::run_folder::RunFolder;

const EMA: &str = "tests/fixtures/runs/ema";
const VQGAN: &str = "tests/fixtures/runs/vqgan";

/// The bytes of a message's fields of this number.
fn parts(message: &[u8], number: u32) -> Vec<&[u8]> {
    let all = fields(message).expect("a message").into_iter();
    let own = all.filter(|(n, _)| *n == number);
    let bytes = own.map(|(_, field)| match field {
        Field::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    });
    bytes.collect()
}

fn words(message: &[u8], number: u32) -> Vec<String> {
    let texts = parts(message, number).into_iter();
    texts
        .map(|t| String::from_utf8(t.to_vec()).unwrap())
        .collect()
}

/// Checks that every node of a graph reads what is known before it, and that nothing is made twice
/// or in vain. Returns the operators.
fn check_graph(model: &[u8], input: &str, output: &str) -> BTreeSet<String> {
    let graph = parts(model, 7)[0];
    let names = |number| -> Vec<String> {
        let values = parts(graph, number).into_iter();
        values.flat_map(|v| words(v, 1)).collect()
    };
    assert_eq!(
        (names(11), names(12)),
        (vec![input.to_owned()], vec![output.to_owned()])
    );
    let weights = parts(graph, 5).into_iter().flat_map(|t| words(t, 8));
    let mut known: BTreeSet<String> = weights.collect();
    let mut unread: BTreeSet<String> = known.clone();
    known.insert(input.to_owned());
    let mut operators = BTreeSet::new();
    for node in parts(graph, 1) {
        for name in words(node, 1).into_iter().filter(|n| !n.is_empty()) {
            assert!(known.contains(&name), "{name} is read before it is made");
            unread.remove(&name);
        }
        for name in words(node, 2) {
            assert!(known.insert(name.clone()), "{name} is made twice");
            unread.insert(name);
        }
        operators.extend(words(node, 4));
    }
    assert_eq!(unread.into_iter().collect::<Vec<_>>(), [output.to_owned()]);
    operators
}

/// A run of a published checkpoint.
fn imported(gpu: &Gpu, folder: &Path, name: &str, names: Names) -> PathBuf {
    let file = checkpoint(folder, name, names);
    let place = folder.join(format!("run-{name}"));
    let place = RunFolder::create(&place, false).unwrap();
    let model = read(&file, None).unwrap();
    model.write(gpu, [8, 16], &place).unwrap();
    place.path().to_owned()
}

#[test]
fn onnx_files_are_whole_graphs_of_the_models_weights() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let own = |run: &str| PathBuf::from(run);
    for (run, attends) in [
        (own(EMA), false),
        (own(VQGAN), true),
        (imported(&gpu, folder.path(), "movq", Names::Taming), true),
        (imported(&gpu, folder.path(), "emu3", Names::Emu3), true),
    ] {
        let model = FirstStageModel::load(&gpu, &run).unwrap();
        let onnx = model.to_onnx().unwrap();
        let encoder = check_graph(&onnx.encoder, "image", "latents");
        let decoder = check_graph(&onnx.decoder, "codes", "image");
        assert_eq!(encoder.contains("Softmax"), attends, "{encoder:?}");
        assert_eq!(decoder.contains("Resize"), attends, "{decoder:?}");
        let quantizer = check_graph(&onnx.quantizer.unwrap(), "latents", "codes");
        assert!(quantizer.contains("ArgMin"), "{quantizer:?}");
        // The weights of both sides are all that the model has.
        let numbers = |file: &[u8]| -> usize {
            let weights = parts(parts(file, 7)[0], 5).into_iter();
            weights
                .filter(|t| words(t, 8)[0].contains('.'))
                .filter(|t| !words(t, 8)[0].starts_with("codebook"))
                .filter(|t| !words(t, 8)[0].ends_with(".scale"))
                .filter(|t| !words(t, 8)[0].starts_with("book."))
                .map(|t| parts(t, 9)[0].len() / 4)
                .sum()
        };
        let tensors = model.tensors().unwrap();
        let sides = tensors
            .iter()
            .filter(|(name, _)| !name.starts_with("quantize"));
        let want: usize = sides.map(|(_, t)| t.shape.iter().product::<usize>()).sum();
        assert_eq!(
            numbers(&onnx.encoder) + numbers(&onnx.decoder),
            want,
            "{run:?}"
        );
        assert_eq!(parts(&onnx.encoder, 8).len(), 1);
        let opset = fields(parts(&onnx.encoder, 8)[0]).unwrap();
        assert!(opset.contains(&(2, Field::Int(18))), "{opset:?}");
    }
    let to = folder.path().join("onnx");
    let vit = run(&["export", "tests/fixtures/runs/vit", "--onnx", text(&to)]);
    refused(vit, &["vqvae and vqgan", "vit"]);
}

/// Runs the three files by ONNX Runtime, and says how far they are from what is wanted.
const RUNTIME: &str = r#"
import json, sys, numpy as np, onnx, onnxruntime as ort
folder, shape, codes = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
def session(name):
    path = f"{folder}/{name}.onnx"
    onnx.checker.check_model(path, full_check=True)
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])
image = np.fromfile(f"{folder}/image.f32", "<f4").reshape(shape)
nchw = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
want = np.fromfile(f"{folder}/codes.u32", "<u4").reshape(codes).astype(np.int64)
latents = session("encoder").run(None, {"image": nchw})[0]
wrong = -1
import os
if os.path.exists(f"{folder}/quantizer.onnx"):
    found = session("quantizer").run(None, {"latents": latents})[0]
    assert found.shape == want.shape, (found.shape, want.shape)
    wrong = int((found != want).sum())
back = session("decoder").run(None, {"codes": want})[0].transpose(0, 2, 3, 1)
pixels = np.fromfile(f"{folder}/pixels.f32", "<f4").reshape(shape)
print(json.dumps({"wrong": wrong, "codes": want.size,
    "pixels": float(np.abs(back - pixels).max()), "spread": float(pixels.std())}))
"#;

fn le<T: bytemuck::NoUninit>(path: &Path, values: &[T]) {
    std::fs::write(path, bytemuck::cast_slice(values)).unwrap();
}

fn onnx_agrees(python: &str, gpu: &Gpu, at: &Path, has_quantizer: bool) {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("onnx");
    ok(run(&["export", text(at), "--onnx", text(&to), "--quiet"]));
    assert_eq!(to.join("quantizer.onnx").is_file(), has_quantizer, "{at:?}");
    let model = FirstStageModel::load(gpu, at).unwrap();
    let [w, h, c] = model.image();
    let shape = [2, h, w, c];
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * i) as f32 * 0.013).sin()).collect();
    let images = Tensor::from_slice(gpu, &shape, &values).unwrap();
    let (codes, y) = model.reconstruct(&images).unwrap();
    let (codes, y) = (codes[0].read::<u32>().unwrap(), y.read::<f32>().unwrap());
    le(&to.join("image.f32"), &values);
    le(&to.join("codes.u32"), &codes);
    le(&to.join("pixels.f32"), &y);
    let level = &model.levels()[0];
    let grid = [2, level.grid[0], level.grid[1], level.codebooks];
    let output = Command::new(python)
        .args(["-c", RUNTIME, text(&to)])
        .args([format!("{shape:?}"), format!("{grid:?}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{at:?}: {}", stderr(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    println!("{}: {found}", at.display());
    assert!(found["pixels"].as_f64().unwrap() <= 1e-4, "{at:?}: {found}");
    assert!(found["spread"].as_f64().unwrap() > 1e-3, "{at:?}: {found}");
    assert_eq!(
        found["wrong"],
        if has_quantizer { 0 } else { -1 },
        "{at:?}: {found}"
    );
}

#[test]
fn onnx_runtime_gives_the_same_codes_and_pixels() {
    let python = std::env::var("WGVQ_READERS_PYTHON").unwrap_or("python3".into());
    let there = Command::new(&python)
        .args(["-c", "import onnx, onnxruntime"])
        .output();
    if !there.is_ok_and(|o| o.status.success()) {
        skip::skipped(
            "onnx_runtime_gives_the_same_codes_and_pixels",
            "the Python packages onnx and onnxruntime are missing",
        );
        return;
    }
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let mut runs: Vec<(PathBuf, bool)> = vec![(EMA.into(), true), (VQGAN.into(), true)];
    for (name, names) in [
        ("taming", Names::Taming),
        ("llamagen", Names::LlamaGen),
        ("movq", Names::Taming),
        ("maskgit", Names::MaskGit),
        ("emu3", Names::Emu3),
    ] {
        runs.push((imported(&gpu, folder.path(), name, names), true));
    }
    let config = folder.path().join("tiny.toml");
    tiny_config(&config, 3);
    for (kind, has_quantizer) in [
        ("vq", true),
        ("cosine", true),
        ("simvq", true),
        ("fsq", true),
        ("lfq", true),
        ("bsq", true),
        ("ibq", true),
        ("residual", false),
        ("product", false),
    ] {
        let out = folder.path().join(kind);
        let sizes = match kind {
            "lfq" | "bsq" => "quantizer.codebook_dim=5",
            "fsq" => "quantizer.activation=sigmoid",
            _ => "train.seed=1",
        };
        let args = ["--quantizer", kind, "--set", sizes, "--quiet"];
        ok(run(&[
            &["train", text(&config), "--out", text(&out)][..],
            &args,
        ]
        .concat()));
        runs.push((out, has_quantizer));
    }
    for (run, has_quantizer) in &runs {
        onnx_agrees(&python, &gpu, run, *has_quantizer);
    }
}

#[test]
fn a_model_in_the_hubs_layout_loads_and_says_nothing_of_where_its_images_lay() {
    let folder = tempfile::tempdir().unwrap();
    let (config, out) = (folder.path().join("tiny.toml"), folder.path().join("a run"));
    tiny_config(&config, 8);
    let weights = format!("loss.lpips={}", folder.path().join("lpips.st").display());
    ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&out),
        "--set",
        &weights,
        "--quiet",
    ]));
    // Measured after the model was written, as by a run that went on and was stopped halfway.
    let tests = out.join("test.csv");
    let measured = std::fs::read_to_string(&tests).unwrap();
    let columns = measured.lines().next().unwrap().split(',').count();
    let later = format!("99{}\n", ",0.123456".repeat(columns - 1));
    std::fs::write(&tests, measured + &later).unwrap();
    let pictures = out.join("pictures");
    std::fs::write(pictures.join("step-00000099.png"), "later").unwrap();
    let to = folder.path().join("hub");
    let printed = stdout(&ok(run(&["export", text(&out), "--hf", text(&to)])));
    assert!(printed.contains("model.safetensors"), "{printed}");
    let again = run(&["export", text(&out), "--hf", text(&to)]);
    refused(again, &["--overwrite"]);
    let gpu = gpu();
    let exported = FirstStageModel::load(&gpu, &to.join("model.safetensors")).unwrap();
    let own = FirstStageModel::load(&gpu, &out).unwrap();
    let codes: Vec<u32> = (0..64).map(|i| i % 32).collect();
    assert_eq!(
        exported.decode(&codes).unwrap(),
        own.decode(&codes).unwrap()
    );
    let pixels: Vec<u8> = (0..32 * 32 * 3).map(|i| (i * 7 % 251) as u8).collect();
    assert_eq!(
        exported.encode(&pixels).unwrap(),
        own.encode(&pixels).unwrap()
    );
    let described = std::fs::read_to_string(to.join("config.json")).unwrap();
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["model_type"], "wgvq-vqvae");
    assert_eq!(described["levels"][0]["codebook_size"], 32);
    let card = std::fs::read_to_string(to.join("README.md")).unwrap();
    for there in ["# a run", "PSNR, dB", "8 x 8 codes of 32", "originals.png"] {
        assert!(card.contains(there), "{there}: {card}");
    }
    assert!(!card.contains("0.123456"), "of another step: {card}");
    let shown = std::fs::read(to.join("reconstructions.png")).unwrap();
    let own = std::fs::read(pictures.join("step-00000008.png")).unwrap();
    assert_eq!(shown, own);
    let here = std::env::current_dir().unwrap();
    for file in std::fs::read_dir(&to).unwrap() {
        let file = file.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        for place in [here.as_path(), folder.path()] {
            let place = text(place).as_bytes();
            assert!(!bytes.windows(place.len()).any(|w| w == place), "{file:?}");
        }
    }
    // Any reader of safetensors finds PyTorch's names.
    let bytes = std::fs::read(to.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let weight = tensors.tensor("encoder.down.0.weight").unwrap();
    assert_eq!(weight.shape(), [8, 3, 4, 4]);
}

#[test]
fn codebooks_are_arrays_of_what_codes_decode_to() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("arrays");
    ok(run(&["export", EMA, "--npy", text(&to)]));
    let bytes = std::fs::read(to.join("codebook.npy")).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    let model = FirstStageModel::load(&gpu(), EMA.as_ref()).unwrap();
    let (codes, dim) = (
        model.quantizers()[0].codebook_size(),
        model.quantizers()[0].dim(),
    );
    assert_eq!(array.shape(), [codes as u64, dim as u64]);
    let values: Vec<f32> = array.into_vec().unwrap();
    let tensors = model.tensors().unwrap();
    assert_eq!(values, tensors["quantizer.codebook"].to_f32().unwrap());
    let both = run(&["export", EMA, "--npy", text(&to), "--decoder", "-o", "x"]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
}

/// The codes of `wgvq encode` are those that faiss finds for the latents in the codebook.
const FAISS: &str = r#"
import json, sys
import faiss, numpy as np, os
index, array, latents, codes = sys.argv[1:5]
index = faiss.read_index(index)
same = np.array_equal(index.reconstruct_n(0, index.ntotal), np.load(array))
latents = np.load(latents)
moments = array.replace("codebook.npy", "codebook-moments.npy")
if os.path.exists(moments):
    mean, inverse = np.load(moments).T
    latents = (latents - mean) * inverse
found = index.search(latents, 1)[1].reshape(-1)
wanted = np.load(codes).reshape(-1)
print(json.dumps({"same": same, "kind": type(index).__name__, "found": found.tolist(),
    "wanted": wanted.tolist()}))
"#;

#[test]
fn faiss_reads_codebooks_and_finds_the_codes() {
    let python = std::env::var("WGVQ_READERS_PYTHON").unwrap_or("python3".into());
    let there = Command::new(&python).args(["-c", "import faiss"]).output();
    if !there.is_ok_and(|o| o.status.success()) {
        let test = "faiss_reads_codebooks_and_finds_the_codes";
        skip::skipped(test, "the Python package faiss-cpu is missing");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tiny.toml");
    tiny_config(&config, 3);
    for (kind, index) in [
        ("ema", "IndexFlatL2"),
        ("cosine", "IndexFlatL2"),
        ("simvq", "IndexFlatL2"),
        ("ibq", "IndexFlatIP"),
    ] {
        let at = |name: &str| folder.path().join(format!("{kind}-{name}"));
        let (out, to) = (at("run"), at("codebooks"));
        let args = ["train", text(&config), "--out", text(&out), "--quiet"];
        // Latents have the channels of codes, so that no map leads from one to the other.
        let own = ["--quantizer", kind, "--set", "quantizer.dim=8"];
        ok(run(&[&args[..], &own].concat()));
        for form in ["--npy", "--faiss"] {
            ok(run(&["export", text(&out), form, text(&to)]));
        }
        let (latents, codes) = (at("latents.npy"), at("codes.safetensors"));
        let image = "tests/fixtures/runs/original.png";
        let encode = ["encode", text(&out), image, "-o"];
        ok(run(&[&encode[..], &[text(&latents), "--latents"]].concat()));
        ok(run(&[&encode[..], &[text(&codes), "--npy"]].concat()));
        let files = [
            to.join("codebook.faiss"),
            to.join("codebook.npy"),
            latents,
            codes.with_extension("npy"),
        ];
        let mut command = Command::new(&python);
        let done = ok(command.args(["-c", FAISS]).args(&files).output().unwrap());
        let found: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(found["same"], true, "{kind}");
        assert_eq!(found["kind"], index);
        assert_eq!(found["found"], found["wanted"], "{kind}");
        assert!(found["found"].as_array().is_some_and(|all| all.len() > 8));
    }
}

/// A run of a stack of twelve codebooks.
fn stacked(folder: &Path) -> PathBuf {
    let (config, out) = (folder.join("tiny.toml"), folder.join("stacked"));
    tiny_config(&config, 2);
    let args = ["train", text(&config), "--out", text(&out), "--quiet"];
    let twelve = ["--set", "quantizer.num_quantizers=12"];
    let kind = ["--quantizer", "residual"];
    ok(run(&[&args[..], &kind, &twelve].concat()));
    out
}

#[test]
fn many_codebooks_are_numbered_as_they_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let (out, to) = (stacked(folder.path()), folder.path().join("arrays"));
    ok(run(&["export", text(&out), "--npy", text(&to)]));
    let model = FirstStageModel::load(&gpu(), &out).unwrap();
    let tensors = model.tensors().unwrap();
    for i in 0..12 {
        let bytes = std::fs::read(to.join(format!("codebook-{}.npy", i + 1))).unwrap();
        let array = npyz::NpyFile::new(&bytes[..]).unwrap();
        let values: Vec<f32> = array.into_vec().unwrap();
        let own = &tensors[&format!("quantizer.{i}.codebook")];
        assert_eq!(values, own.to_f32().unwrap(), "{i}");
    }
    assert!(!to.join("codebook-13.npy").exists());
}

#[test]
fn an_export_leaves_nothing_of_an_earlier_one_of_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let (out, to) = (stacked(folder.path()), folder.path().join("onnx"));
    ok(run(&["export", EMA, "--onnx", text(&to)]));
    std::fs::write(to.join("mine.onnx"), "mine").unwrap();
    let quantizer = to.join("quantizer.onnx");
    let again = ["export", text(&out), "--onnx", text(&to)];
    refused(run(&again), &["--overwrite"]);
    assert!(quantizer.is_file());
    ok(run(&[&again[..], &["--overwrite"]].concat()));
    assert!(!quantizer.exists(), "there is no graph of this quantizer");
    assert!(to.join("encoder.onnx").is_file() && to.join("mine.onnx").is_file());
}
