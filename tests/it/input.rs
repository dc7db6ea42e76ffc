//! Files from users: pictures, tars, captions, labels.

use crate::common::{SMALLEST_PRIOR, ok, refused, run, stderr, stdout, text, tiny_config};
use std::path::{Path, PathBuf};
use std::process::Output;

const BASELINE: &[u8] = include_bytes!("../fixtures/pictures/baseline.jpg");
const PROGRESSIVE: &[u8] = include_bytes!("../fixtures/pictures/progressive.jpg");

fn picture(n: usize, side: u32) -> image::RgbImage {
    image::RgbImage::from_fn(side, side, |x, y| {
        image::Rgb([(x * 9 + n as u32 * 31) as u8, (y * 13) as u8, n as u8])
    })
}

fn png(n: usize) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture(n, 16)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// Trains the tiny model on `data` for two steps.
fn trained(folder: &Path, data: &Path, name: &str, more: &[&str]) -> (PathBuf, Output) {
    let (config, out) = (folder.join("tiny.toml"), folder.join(name));
    tiny_config(&config, 2);
    let args = [
        "train",
        text(&config),
        "--data",
        text(data),
        "--out",
        text(&out),
    ];
    let output = ok(run(&args
        .into_iter()
        .chain(more.iter().copied())
        .collect::<Vec<_>>()));
    (out, output)
}

fn tar(path: &Path, files: &[(&str, &[u8])]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.finish().unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = entries
        .filter(|name| name != "grid.png" && name != "samples.json")
        .collect();
    names.sort();
    names
}

#[test]
fn a_jpeg_cut_in_half_is_damaged_wherever_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pictures = at("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for i in 0..6 {
        std::fs::write(pictures.join(format!("{i}.png")), png(i)).unwrap();
    }
    // What has bytes behind it, or lacks its end marker alone, is whole.
    std::fs::write(pictures.join("tail.jpg"), [BASELINE, b"\0\0\0"].concat()).unwrap();
    std::fs::write(
        pictures.join("unmarked.jpg"),
        &PROGRESSIVE[..PROGRESSIVE.len() - 2],
    )
    .unwrap();
    for (name, bytes) in [("half.jpg", BASELINE), ("part.jpg", PROGRESSIVE)] {
        std::fs::write(pictures.join(name), &bytes[..bytes.len() * 2 / 3]).unwrap();
    }
    let (model, output) = trained(folder.path(), &pictures, "run", &[]);
    let said = stderr(&output);
    for words in [
        "2 of 10 files skipped",
        "half.jpg (ends too early",
        "part.jpg (ends too early",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let codes = at("codes");
    for (i, cut) in ["half.jpg", "part.jpg"].into_iter().enumerate() {
        let cut = pictures.join(cut);
        for more in [&[][..], &["--native-size"]] {
            let out = at(&format!("out{i}{}", more.len()));
            let reconstruct = ["reconstruct", text(&model), text(&cut), "-o", text(&out)];
            refused(
                run(&[&reconstruct[..], more].concat()),
                &[text(&cut), "ends too early"],
            );
            assert!(!out.is_file());
            let encode = ["encode", text(&model), text(&cut), "-o", text(&codes)];
            refused(
                run(&[&encode[..], more].concat()),
                &[text(&cut), "ends too early"],
            );
        }
    }
    assert!(!codes.exists());
    let whole = pictures.join("unmarked.jpg");
    ok(run(&[
        "reconstruct",
        text(&model),
        text(&whole),
        "-o",
        text(&at("whole.png")),
    ]));
}

#[test]
fn an_archive_is_read_in_place_with_what_is_wrong_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pictures: Vec<Vec<u8>> = (0..5).map(png).collect();
    let files: [(&str, &[u8]); 10] = [
        ("0000.PNG", &pictures[0]),
        ("0000.TXT", b"zero"),
        ("0001.seg.png", &pictures[1]),
        ("0001.txt", b"one"),
        ("0002.png", &pictures[2]),
        ("._0002.json", b"\0\x05\x16\x07\xFF\xFE"),
        ("0003.png", &pictures[3]),
        ("0003.json", b"{\"caption\": \"caf\xE9\"}"),
        ("0004.png", &pictures[4]),
        ("0005.jpg", &BASELINE[..700]),
    ];
    tar(&at("set.tar"), &files);
    let cache = at("cache");
    let train = |data: &Path, out: &Path| {
        let config = at("tiny.toml");
        tiny_config(&config, 2);
        let args = [
            "train",
            text(&config),
            "--data",
            text(data),
            "--out",
            text(out),
        ];
        super::common::wgvq()
            .args(args)
            .env("WGVQ_DATA", &cache)
            .output()
            .unwrap()
    };
    let said = stderr(&ok(train(&at("set.tar"), &at("run"))));
    for words in [
        "1 of 6 files skipped",
        "0005.jpg (ends too early",
        "1 texts beside images",
        "0003.json (is not UTF-8",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!cache.join("archives").exists(), "nothing is unpacked");
    // A folder of archives is one set; a compressed archive is called so.
    std::fs::create_dir(at("shards")).unwrap();
    for shard in ["0.tar", "1.tar"] {
        std::fs::copy(at("set.tar"), at("shards").join(shard)).unwrap();
    }
    let said = stderr(&ok(train(&at("shards"), &at("two"))));
    assert!(said.contains("2 of 12 files skipped"), "{said}");
    std::fs::write(at("set.tar.gz"), b"\x1F\x8B\x08\0\0\0\0\0").unwrap();
    refused(
        train(&at("set.tar.gz"), &at("none")),
        &["set.tar.gz", "compressed by gzip", "gunzip"],
    );
}

#[test]
fn small_pictures_with_gaps_in_their_labels() {
    let folder = tempfile::tempdir().unwrap();
    let idx = |dims: &[u32], bytes: Vec<u8>| {
        let mut all = vec![0, 0, 8, dims.len() as u8];
        all.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        all.extend(bytes);
        all
    };
    let images = folder.path().join("images-idx3-ubyte");
    let pixels = (0..30 * 64).map(|i| (i * 7 % 251) as u8).collect();
    std::fs::write(&images, idx(&[30, 8, 8], pixels)).unwrap();
    let labels = (0..30).map(|i| i % 3 + 1).collect();
    std::fs::write(folder.path().join("labels-idx1-ubyte"), idx(&[30], labels)).unwrap();
    let (run_path, output) = trained(folder.path(), &images, "run", &[]);
    let said = stdout(&output) + &stderr(&output);
    assert!(!said.contains("NaN") && !said.contains("SSIM"), "{said}");
    // Nor is there one in the logs, which are read all the same, as are those that had some.
    let log = run_path.join("test.csv");
    let rows = std::fs::read_to_string(&log).expect("a log");
    assert!(!rows.contains("NaN"), "{rows}");
    let columns = wgvq::storage::metrics_log::columns(&log).expect("a log");
    let column = |name: &str| wgvq::storage::metrics_log::column(&columns, name);
    assert!(
        column("ssim")[0].is_nan() && column("mse")[0] > 0.0,
        "{rows}"
    );
    let filled = |line: &str| {
        let of = |value: &str| {
            if value.is_empty() {
                "NaN".to_owned()
            } else {
                value.to_owned()
            }
        };
        line.split(',').map(of).collect::<Vec<_>>().join(",") + "\n"
    };
    std::fs::write(&log, rows.lines().map(filled).collect::<String>()).expect("a log");
    let earlier = wgvq::storage::metrics_log::columns(&log).expect("a log");
    assert_eq!(format!("{earlier:?}"), format!("{columns:?}"));
    let (_, output) = trained(folder.path(), &images, "json", &["--json"]);
    let line: serde_json::Value = serde_json::from_str(stdout(&output).trim()).expect("JSON");
    assert!(line["ssim"].is_null() && line["psnr"].is_number(), "{line}");
    prior(&run_path);
    let out = folder.path().join("drawn");
    ok(run(&[
        "sample",
        text(&run_path),
        "--n",
        "4",
        "--out",
        text(&out),
    ]));
    assert_eq!(
        names(&out),
        ["0000-1.png", "0001-2.png", "0002-3.png", "0003-1.png"]
    );
}

fn prior(run_path: &Path) {
    let args = ["prior", text(run_path), "--batch", "4", "--steps", "2"];
    ok(run(&[&args[..], &SMALLEST_PRIOR].concat()));
}

#[test]
fn classes_keep_their_names_in_whatever_script() {
    let folder = tempfile::tempdir().unwrap();
    for (i, class) in ["none", "红色", "Красный Круг", "❤️"]
        .into_iter()
        .enumerate()
    {
        let own = folder.path().join("pictures").join(class);
        std::fs::create_dir_all(&own).unwrap();
        (0..4).for_each(|n| {
            picture(4 * i + n, 8)
                .save(own.join(format!("{n}.png")))
                .unwrap()
        });
    }
    let (run_path, _) = trained(folder.path(), &folder.path().join("pictures"), "run", &[]);
    prior(&run_path);
    let drawn = |name: &str, classes: &[&str]| {
        let out = folder.path().join(name);
        let args = ["sample", text(&run_path), "--n", "4", "--out", text(&out)];
        let classes = classes.iter().flat_map(|class| ["--class", class]);
        ok(run(&args.into_iter().chain(classes).collect::<Vec<_>>()));
        names(&out)
    };
    assert_eq!(
        drawn("all", &[]),
        [
            "0000-none.png",
            "0001-красный-круг.png",
            "0002-❤\u{fe0f}.png",
            "0003-红色.png"
        ]
    );
    assert_eq!(
        drawn("asked", &["none", "unconditional", "круг", "红色"]),
        [
            "0000-none.png",
            "0001.png",
            "0002-красный-круг.png",
            "0003-红色.png"
        ]
    );
}

#[test]
fn captions_and_prompts_are_read_as_their_marks_say() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let utf16 = |text: &str| -> Vec<u8> {
        format!("\u{feff}{text}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect()
    };
    let mut lines = String::new();
    for i in 0..12 {
        picture(i, 16).save(at(&format!("{i}.png"))).unwrap();
        let colour = ["красный", "red", "红色"][i % 3];
        lines += &format!("{{\"image\": \"{i}.png\", \"text\": \"a {colour} square\"}}\r\n");
    }
    std::fs::write(at("captions.jsonl"), utf16(&lines)).unwrap();
    let (data, out) = (at("captions.jsonl"), at("run"));
    let first = [
        "model.hidden=16",
        "model.residual_layers=1",
        "model.residual_hidden=8",
        "quantizer.codebook_size=32",
    ];
    let first = first
        .iter()
        .chain(&["quantizer.kmeans_iters=3", "train.batch_size=4"])
        .flat_map(|set| ["--stage1", set]);
    let judge = [
        "--judge-steps",
        "2",
        "--judge",
        "model.dim=16",
        "--judge",
        "model.layers=1",
    ];
    let args = [
        "text2image",
        "train",
        "--data",
        text(&data),
        "--out",
        text(&out),
        "--stage1-steps",
        "2",
        "--steps",
        "2",
    ];
    let more = ["--size", "tiny", "--batch", "4", "--vocabulary", "300"];
    let all: Vec<&str> = args
        .into_iter()
        .chain(more)
        .chain(first)
        .chain(SMALLEST_PRIOR)
        .chain(judge)
        .collect();
    ok(run(&all));
    let seen = std::fs::read_to_string(out.join("text/characters.txt")).unwrap();
    assert!(
        seen.contains('к') && seen.contains('红') && !seen.contains('\u{feff}'),
        "{seen:?}"
    );

    let prompts = "a красный square\r\na 红色 square\r\na <end> red square\r\n?!\r\n";
    std::fs::write(at("prompts.txt"), utf16(prompts)).unwrap();
    let drawn = at("drawn");
    let args = [
        "text2image",
        "sample",
        text(&out),
        "\u{feff}red",
        "--prompts",
        text(&at("prompts.txt")),
        "--n",
        "1",
    ]
    .map(str::to_owned);
    let args: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .chain(["--out", text(&drawn)])
        .collect();
    let said = stderr(&ok(run(&args)));
    // What stands for the end of a text is read as its five characters, of which no caption had
    // two.
    assert!(said.contains("`<`") && !said.contains("\u{feff}"), "{said}");
    let expected = [
        "000-red-000.png",
        "001-a-красный-square-000.png",
        "002-a-红色-square-000.png",
        "003-a-end-red-square-000.png",
    ];
    assert_eq!(names(&drawn), [&expected[..], &["004-000.png"]].concat());
    std::fs::write(at("latin.txt"), b"caf\xE9").unwrap();
    let latin = at("latin.txt");
    let args = [
        "text2image",
        "sample",
        text(&out),
        "--prompts",
        text(&latin),
        "--out",
        text(&at("x")),
    ]
    .map(str::to_owned);
    refused(
        run(&args.iter().map(String::as_str).collect::<Vec<_>>()),
        &["latin.txt", "not UTF-8 from byte 3"],
    );
}
