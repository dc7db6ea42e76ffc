//! Text to image: how codes are drawn of texts, and `wgvq text2image` end to end on pictures that
//! say what they are.

mod drawing;

use crate::common::{ok, refused, run, stderr, stdout, text, write_captioned};
use std::path::{Path, PathBuf};

const COLOURS: [(&str, [u8; 3]); 4] = [
    ("red", [220, 30, 30]),
    ("green", [30, 180, 60]),
    ("blue", [40, 60, 220]),
    ("yellow", [240, 220, 40]),
];

const SHAPES: [&str; 4] = ["square", "cross", "frame", "stripe"];

/// A set of 96 pictures, six of each colour and shape, and a file of their captions.
fn pictures(folder: &Path) -> PathBuf {
    let image = |(i, j, k): (usize, usize, i32)| {
        let ((colour, rgb), shape) = (COLOURS[i], SHAPES[j]);
        let paint = |x: u32, y: u32| {
            let (x, y) = (x as i32 - 8 - k % 3, y as i32 - 8 - k / 3);
            let inside = x.abs() <= 5 && y.abs() <= 5;
            let drawn = match j {
                0 => inside,
                1 => inside && (x.abs() <= 1 || y.abs() <= 1),
                2 => inside && (x.abs() >= 4 || y.abs() >= 4),
                _ => y.abs() <= 2,
            };
            image::Rgb(if drawn { rgb } else { [255; 3] })
        };
        (
            image::RgbImage::from_fn(16, 16, paint),
            format!("a {colour} {shape}"),
        )
    };
    let each = (0..4).flat_map(|i| (0..4).flat_map(move |j| (0..6).map(move |k| (i, j, k))));
    write_captioned(folder, each.map(image))
}

const TINY: [&str; 28] = [
    "--stage1",
    "model.hidden=16",
    "--stage1",
    "model.residual_layers=1",
    "--stage1",
    "model.residual_hidden=8",
    "--stage1",
    "quantizer.codebook_size=32",
    "--stage1",
    "quantizer.kmeans_iters=3",
    "--stage1",
    "train.batch_size=16",
    "--stage1-steps",
    "30",
    "--size",
    "tiny",
    "--set",
    "prior.layers=2",
    "--set",
    "prior.dim=32",
    "--set",
    "prior.heads=2",
    "--steps",
    "20",
    "--batch",
    "16",
    "--vocabulary",
    "300",
];

const JUDGE: [&str; 6] = [
    "--judge-steps",
    "20",
    "--judge",
    "model.dim=32",
    "--judge",
    "model.layers=1",
];

fn trained(data: &Path, out: &Path, more: &[&str]) -> std::process::Output {
    let args = [
        "text2image",
        "train",
        "--data",
        text(data),
        "--out",
        text(out),
    ];
    run(&args
        .into_iter()
        .chain(TINY)
        .chain(more.iter().copied())
        .collect::<Vec<_>>())
}

/// A masked prior reads texts as others do: it is trained, goes on, and draws in the passes that
/// are asked for.
#[test]
fn a_masked_prior_reads_texts() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let (run_path, out) = (folder.path().join("run"), folder.path().join("drawn"));
    let masked = ["--judge-steps", "0", "--set", "prior.kind=masked"];
    ok(trained(&data, &run_path, &masked));
    let resumed = ["train", "--resume", text(&run_path), "--steps", "24"];
    ok(run(&[&["text2image"], &resumed[..]].concat()));
    let sample = |more: &[&str]| {
        let args = ["text2image", "sample", text(&run_path), "a red cross"];
        let to = ["--n", "2", "--out", text(&out), "--overwrite", "--json"];
        run(&[&args[..], &to, more].concat())
    };
    let drawn = |passes: &str| {
        let said = stdout(&ok(sample(&["--passes", passes])));
        let line = said.lines().find(|line| line.contains("passes"));
        let line: serde_json::Value = serde_json::from_str(line.unwrap()).unwrap();
        line["passes"]["most"].as_u64().unwrap()
    };
    assert_eq!([drawn("3"), drawn("5")], [3, 5]);
    assert!(out.join("grid.png").is_file());
    refused(sample(&["--parallel"]), &["masked"]);
}

#[test]
fn a_run_is_trained_drawn_from_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(folder.path());
    let at = |name: &str| folder.path().join(name);
    let run_path = at("run");
    let output = ok(trained(
        &data,
        &run_path,
        &[
            &JUDGE[..],
            &["--stage1", "data.split=captions", "--json", "--auto-batch"],
        ]
        .concat(),
    ));
    // Of each stage it is said how much a step takes; here all of them fit in one pass.
    for stage in ["first stage", "prior", "contrastive model"] {
        let told = format!("{stage}: train.accumulate = 1, train.batch_size = ");
        assert!(stderr(&output).contains(&told), "{}", stderr(&output));
    }
    let lines: Vec<serde_json::Value> = stdout(&output)
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let figure = |key: &str| {
        lines
            .iter()
            .find_map(|l| l[key].as_f64())
            .unwrap_or_else(|| panic!("{key} is missing"))
    };
    assert!(figure("bits_per_code") > 0.0 && figure("bits_per_code_without_text") > 0.0);
    assert!((0.0..=1.0).contains(&figure("texts_found")));
    for file in [
        "text/tokenizer.json",
        "prior/final.safetensors",
        "contrastive/final.safetensors",
        "contrastive/test.csv",
    ] {
        assert!(run_path.join(file).is_file(), "{file}");
    }
    assert!(stderr(&output).contains("combinations of words that training never sees together"));

    // A run is not replaced unasked, and one that has ended stays as it is.
    let weights = std::fs::read(run_path.join("prior/final.safetensors")).unwrap();
    refused(trained(&data, &run_path, &[]), &["--resume", "--overwrite"]);
    let resume: Vec<&str> = [
        "text2image",
        "train",
        "--resume",
        text(&run_path),
        "--quiet",
    ]
    .to_vec();
    ok(run(&resume));
    assert_eq!(
        std::fs::read(run_path.join("prior/final.safetensors")).unwrap(),
        weights
    );

    let sample = |out: &str, more: &[&str]| {
        let out = at(out);
        let args = ["text2image", "sample", text(&run_path), "--out", text(&out)];
        run(&args
            .into_iter()
            .chain(more.iter().copied())
            .collect::<Vec<_>>())
    };
    let asked = [
        "a red square",
        "a blue cross",
        "--n",
        "3",
        "--guidance",
        "2",
        "--seed",
        "1",
        "--rerank",
        "--candidates",
        "5",
    ];
    ok(sample("a", &asked));
    ok(sample(
        "b",
        &[&asked[..], &["--batch", "4", "--no-cache"]].concat(),
    ));
    let mut names: Vec<String> = std::fs::read_dir(at("a"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "000-a-red-square-000.png",
            "000-a-red-square-001.png",
            "000-a-red-square-002.png",
            "001-a-blue-cross-000.png",
            "001-a-blue-cross-001.png",
            "001-a-blue-cross-002.png",
            "grid.png",
            "samples.json"
        ]
    );
    for name in names.iter().filter(|n| n.ends_with(".png")) {
        assert_eq!(
            std::fs::read(at("a").join(name)).unwrap(),
            std::fs::read(at("b").join(name)).unwrap(),
            "{name}"
        );
    }
    let list: serde_json::Value =
        serde_json::from_slice(&std::fs::read(at("a/samples.json")).unwrap()).unwrap();
    let scores: Vec<f64> = list["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["score"].as_f64().unwrap())
        .collect();
    assert!(
        scores[0] >= scores[1] && scores[1] >= scores[2] && scores[3] >= scores[4],
        "{scores:?}"
    );

    // What is asked for cannot always be had.
    refused(sample("a", &["a red square"]), &["--overwrite"]);
    refused(sample("c", &[" "]), &["the prompt", "empty"]);
    refused(sample("c", &[]), &["the prompt", "missing"]);
    let long = "a red square and a blue cross and a green frame and a yellow stripe and more";
    let cut = ok(sample("long", &[long, "--n", "1"]));
    assert!(
        stderr(&cut).contains("it is cut to `a red square"),
        "{}",
        stderr(&cut)
    );
    refused(
        sample("c", &[long, "--n", "1", "--strict"]),
        &["--strict", "tokens"],
    );
    let strange = ok(sample("strange", &["a röd 心", "--n", "1"]));
    assert!(
        stderr(&strange).contains("`ö`, `心`"),
        "{}",
        stderr(&strange)
    );
    refused(sample("c", &["a röd 心", "--strict"]), &["`ö`"]);
    refused(
        sample("c", &["x", "--embedding", "none.npy"]),
        &["reads texts"],
    );
    assert!(!at("c").exists());

    // The commands of priors without texts work on this one, too.
    let untold = ok(run(&[
        "sample",
        text(&run_path),
        "--n",
        "2",
        "--out",
        text(&at("untold")),
    ]));
    assert!(
        stderr(&untold).contains("wgvq text2image sample"),
        "{}",
        stderr(&untold)
    );
    ok(run(&["prior", text(&run_path), "--resume"]));

    let prompts = at("prompts.txt");
    std::fs::write(&prompts, "a red square\n\na green frame\n").unwrap();
    let many = ok(sample(
        "many",
        &["--prompts", text(&prompts), "--n", "2", "--json"],
    ));
    let line: serde_json::Value = serde_json::from_str(stdout(&many).trim()).unwrap();
    assert_eq!(
        (line["images"].as_u64(), line["codes"].as_u64()),
        (Some(4), Some(4 * 16))
    );

    let measured = ok(run(&[
        "text2image",
        "evaluate",
        text(&run_path),
        "--n",
        "0",
        "--pool",
        "8",
        "--sweep",
        "1,3",
        "--json",
    ]));
    let lines: Vec<serde_json::Value> = stdout(&measured)
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    assert!(
        lines
            .iter()
            .all(|l| (0.0..=1.0).contains(&l["texts_found"].as_f64().unwrap()))
    );
    assert!(image::open(run_path.join("report/evaluation.png")).is_ok());
    assert!(image::open(run_path.join("report/evaluation-samples.png")).is_ok());

    // Without its tokenizer a prior reads nothing.
    std::fs::write(run_path.join("text/tokenizer.json"), "{}").unwrap();
    refused(sample("c", &["a red square"]), &["tokenizer.json"]);
}

#[test]
fn dalles_way_works_over_the_same_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path()), folder.path().join("run"));
    ok(trained(
        &data,
        &out,
        &["--system", "dalle", "--judge-steps", "0", "--quiet"],
    ));
    let samples = folder.path().join("s");
    let sample = |more: &[&str]| {
        let args = [
            "text2image",
            "sample",
            text(&out),
            "a red square",
            "--n",
            "2",
            "--out",
            text(&samples),
        ];
        run(&args
            .into_iter()
            .chain(more.iter().copied())
            .collect::<Vec<_>>())
    };
    refused(sample(&["--rerank"]), &["contrastive"]);
    ok(sample(&[]));
    assert!(samples.join("grid.png").is_file());
}

/// A file of zeros as NumPy writes it.
fn npy([rows, columns]: [usize; 2]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    header += &" ".repeat(63 - (10 + header.len()) % 64);
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    [
        b"\x93NUMPY\x01\x00",
        &length[..],
        header.as_bytes(),
        &vec![0; 4 * rows * columns],
    ]
    .concat()
}

/// An encoder from elsewhere in place of the model's own.
#[test]
fn embeddings_take_the_encoders_place() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (pictures(folder.path()), folder.path().join("run"));
    let write = |name: &str, rows: &[f32]| {
        let bytes: Vec<u8> = rows.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = safetensors::tensor::TensorView::new(
            safetensors::Dtype::F32,
            vec![rows.len() / 4, 4],
            &bytes,
        )
        .unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, safetensors::serialize([("x", view)], None).unwrap()).unwrap();
        path
    };
    refused(
        trained(&data, &out, &["--embeddings", "--judge-steps", "0"]),
        &["embedding"],
    );
    let lines = std::fs::read_to_string(&data).unwrap();
    let mut with = String::new();
    for (i, line) in lines.lines().enumerate() {
        write(
            &format!("{i}.safetensors"),
            &[i as f32 / 24.0, 1.0, (i / 6 % 4) as f32, 0.0][..].repeat(1 + i % 2),
        );
        with += &line.replace('}', &format!(", \"embedding\": \"{i}.safetensors\"}}\n"));
    }
    std::fs::write(&data, with).unwrap();
    let rest = [
        "text2image",
        "train",
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--embeddings",
        "--quiet",
    ];
    // What was refused left no run behind.
    assert!(!out.join("config.toml").exists());
    let tail = TINY.iter().copied().chain(["--judge-steps", "0"]);
    ok(run(&rest.into_iter().chain(tail).collect::<Vec<_>>()));
    let asked = write("asked.safetensors", &[0.5, 1.0, 2.0, 0.0]);
    let samples = folder.path().join("s");
    let sample = |more: &[&str]| {
        let args = [
            "text2image",
            "sample",
            text(&out),
            "--n",
            "2",
            "--out",
            text(&samples),
        ];
        run(&args
            .into_iter()
            .chain(more.iter().copied())
            .collect::<Vec<_>>())
    };
    refused(sample(&["a red square"]), &["--embedding", "4 channels"]);
    std::fs::write(folder.path().join("wide.npy"), npy([2, 3])).unwrap();
    refused(
        sample(&["--embedding", text(&folder.path().join("wide.npy"))]),
        &["3 channels", "reads 4"],
    );
    ok(sample(&["--embedding", text(&asked)]));
    assert!(samples.join("000-asked-000.png").is_file());
}

#[test]
fn data_without_captions_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (out, data) = (folder.path().join("run"), folder.path().join("pictures"));
    std::fs::create_dir(&data).unwrap();
    for i in 0..12u8 {
        image::RgbImage::from_pixel(16, 16, image::Rgb([20 * i, 0, 0]))
            .save(data.join(format!("{i}.png")))
            .unwrap();
    }
    refused(
        trained(&data, &out, &[]),
        &["no image has a caption", ".txt"],
    );
    assert!(!out.exists());
    refused(
        run(&["text2image", "train", "--out", text(&out)]),
        &["--data"],
    );
}
