//! Parquet files and tars of codes: what `wgvq encode` writes for other programs, what these read
//! of it, and what wgvq reads of theirs.

use crate::common::{ok, refused, run, skip, stderr, text, tiny_config_over, wgvq};
use std::path::{Path, PathBuf};
use std::process::Command;
use wgvq::codes::Codes;
use wgvq::data;
use wgvq::data::ImageSet;

/// Images that are held against each other: 20 of 32 x 32, of two classes.
const IMAGES: usize = 20;

fn pixels(i: usize) -> Vec<u8> {
    let value = |k: usize| ((k * (i + 3)) % 251) as u8;
    (0..32 * 32 * 3).map(value).collect()
}

/// Writes the images as files of two classes, every other one with a text.
fn folder_of_images(place: &Path, images: usize) -> PathBuf {
    let root = place.join("images");
    for i in 0..images {
        let class = root.join(["ant", "bee"][i % 2]);
        std::fs::create_dir_all(&class).unwrap();
        let image = image::RgbImage::from_raw(32, 32, pixels(i)).unwrap();
        image.save(class.join(format!("{i:03}.png"))).unwrap();
        if i.is_multiple_of(2) {
            std::fs::write(class.join(format!("{i:03}.txt")), format!("number {i}")).unwrap();
        }
    }
    root
}

fn trained(place: &Path, source: &Path) -> PathBuf {
    let (config, out) = (place.join("tiny.toml"), place.join("run"));
    tiny_config_over(&config, 4, source, "");
    ok(run(&[
        "train",
        text(&config),
        "--out",
        text(&out),
        "--quiet",
    ]));
    out
}

fn listed(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|e| name(e).into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

#[test]
fn codes_are_written_in_other_forms_and_replaced_when_asked() {
    let place = tempfile::tempdir().unwrap();
    let images = folder_of_images(place.path(), IMAGES);
    let model = trained(place.path(), &images);
    let (table, tars) = (
        place.path().join("codes.parquet"),
        place.path().join("tars"),
    );
    let encode = |format: &str, out: &Path, more: &[&str]| {
        let args = [
            "encode",
            text(&model),
            "--data",
            text(&images),
            "--format",
            format,
            "-o",
        ];
        run(&[&args[..], &[text(out), "--quiet"], more].concat())
    };
    ok(encode("parquet", &table, &[]));
    let bytes = std::fs::read(&table).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    refused(
        encode("parquet", &table, &[]),
        &["codes.parquet", "--overwrite"],
    );
    ok(encode("parquet", &table, &["--overwrite"]));
    assert_eq!(
        std::fs::read(&table).unwrap(),
        bytes,
        "the same bytes again"
    );
    // A table of codes is no set of images.
    let opened = run(&["plan", "--data", text(&table)]);
    refused(opened, &["no column of images", "name, codes"]);

    ok(encode("webdataset", &tars, &["--per-tar", "8"]));
    let names = [
        "codes-000000.tar",
        "codes-000001.tar",
        "codes-000002.tar",
        "codes.json",
    ];
    assert_eq!(listed(&tars), names);
    refused(
        encode("webdataset", &tars, &[]),
        &["codes-000000.tar", "--overwrite"],
    );
    let other = tars.join("notes.txt");
    std::fs::write(&other, "mine").unwrap();
    ok(encode("webdataset", &tars, &["--overwrite"]));
    assert_eq!(
        listed(&tars),
        ["codes-000000.tar", "codes.json", "notes.txt"]
    );
    refused(
        encode("webdataset", &tars, &["--per-tar", "0", "--overwrite"]),
        &["--per-tar"],
    );
    refused(
        encode("parquet", &table, &["--npy", "--overwrite"]),
        &["--npy"],
    );
    refused(encode("parquet", &table, &["--latents"]), &["--latents"]);
}

/// Shards are written in any form and joined to any: the bytes that one process writes, with the
/// classes and texts.
#[test]
fn shards_of_one_form_are_joined_to_any() {
    let place = tempfile::tempdir().unwrap();
    let images = folder_of_images(place.path(), 256 + 14);
    let model = trained(place.path(), &images);
    let at = |name: &str| place.path().join(name);
    let encode = |form: &str, out: &Path, more: &[&str]| {
        let args = ["encode", text(&model), "--data", text(&images), "--format"];
        run(&[&args[..], &[form, "-o", text(out), "--quiet"], more].concat())
    };
    let bytes = |place: &Path| -> Vec<Vec<u8>> {
        if place.is_file() {
            return vec![std::fs::read(place).unwrap()];
        }
        let names = listed(place).into_iter();
        names
            .map(|n| std::fs::read(place.join(n)).unwrap())
            .collect()
    };
    let forms = [
        ("safetensors", "safetensors", &[][..]),
        ("parquet", "parquet", &[]),
        ("webdataset", "tar", &["--per-tar", "100"]),
    ];
    for (form, _, more) in forms {
        ok(encode(form, &at(&format!("whole-{form}")), more));
    }
    // A block of 256 images to the first shard, the others to the second.
    for (form, ending, _) in forms {
        let shards = at(&format!("shards-{form}"));
        for shard in ["2/2", "1/2"] {
            ok(encode(form, &shards, &["--shard", shard]));
        }
        let file = |n: usize| format!("shard-0000{n}-of-00002.{ending}");
        let mut names = vec![file(1), file(2)];
        names.extend([1, 2].map(|n| format!("shard-0000{n}-of-00002.json")));
        names.sort();
        assert_eq!(listed(&shards), names);
        // What is done is skipped, and what is damaged is made again.
        let before = bytes(&shards);
        let said = ok(encode(form, &shards, &["--shard", "2/2", "--json"]));
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(
            said.contains("\"skipped\":true") && said.contains(&file(2)),
            "{said}"
        );
        std::fs::write(shards.join(file(2)), "cut").unwrap();
        ok(encode(form, &shards, &["--shard", "2/2"]));
        assert_eq!(bytes(&shards), before);
        for (to, _, more) in forms {
            let out = at(&format!("{form}-{to}"));
            let join = ["encode", "--join", text(&shards), "--format", to, "-o"];
            ok(run(&[&join[..], &[text(&out), "--quiet"], more].concat()));
            let whole = bytes(&at(&format!("whole-{to}")));
            assert!(bytes(&out) == whole && !whole.is_empty(), "{form} to {to}");
        }
    }
    // Of another form: nothing is changed, unless it is asked for.
    let shards = at("shards-parquet");
    let before = bytes(&shards);
    let words = ["shard-00001-of-00002.json", "Parquet", "--overwrite"];
    refused(encode("webdataset", &shards, &["--shard", "1/2"]), &words);
    assert_eq!(bytes(&shards), before);
    ok(encode(
        "webdataset",
        &shards,
        &["--shard", "1/2", "--overwrite"],
    ));
    assert!(!shards.join("shard-00001-of-00002.parquet").exists());
    assert!(shards.join("shard-00001-of-00002.tar").is_file());
    refused(
        encode("webdataset", &shards, &["--shard", "1/2", "--per-tar", "4"]),
        &["--per-tar"],
    );
}

/// The Python that has the readers, or a skipped test.
fn python(test: &str, packages: &str) -> Option<String> {
    let python = std::env::var("WGVQ_READERS_PYTHON").unwrap_or("python3".into());
    let import = format!("import {packages}");
    let there = Command::new(&python).args(["-c", &import]).output();
    if there.is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    skip::skipped(
        test,
        &format!("of the Python packages {packages} one is missing"),
    );
    None
}

fn answered(python: &str, script: &str, args: &[&str]) -> serde_json::Value {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(python)
        .args(["-c", script])
        .args(args)
        .env("HF_HOME", home.path())
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let last = output
        .stdout
        .split(|b| *b == b'\n')
        .rfind(|line| !line.is_empty());
    serde_json::from_slice(last.unwrap()).unwrap()
}

/// Writes images in shards by `datasets`, and one table in several ways by pyarrow.
const WRITER: &str = r#"
import io, json, os, sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Pillow
out, count = sys.argv[1], int(sys.argv[2])
def pixels(i):
    k = np.arange(32 * 32 * 3)
    return ((k * (i + 3)) % 251).astype(np.uint8).reshape(32, 32, 3)
images = [Pillow.fromarray(pixels(i)) for i in range(count)]
labels = [i % 2 for i in range(count)]
texts = [f"number {i}" if i % 2 == 0 else None for i in range(count)]
features = Features({"image": Image(), "kind": ClassLabel(names=["wasp", "ant"]),
    "text": Value("string")})
whole = Dataset.from_dict({"image": images, "kind": labels, "text": texts}, features=features)
os.makedirs(f"{out}/shards/data")
for name, rows in [("train-00000-of-00002", range(0, 9)), ("train-00001-of-00002", range(9, 15)),
        ("test-00000-of-00001", range(15, count))]:
    whole.select(rows).to_parquet(f"{out}/shards/data/{name}.parquet")
def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
rows = [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(images)]
table = pa.table({"id": list(range(count)), "img": rows, "label": [["wasp", "ant"][i % 2]
    for i in range(count)], "caption": texts})
plain = pa.table({"png": [row["bytes"] for row in rows], "label": labels, "caption": texts})
os.makedirs(f"{out}/tables")
for i, (table, options) in enumerate([(table, {}), (table, {"compression": "zstd"}),
        (table, {"compression": "lz4", "row_group_size": 3}),
        (table, {"compression": "none", "data_page_version": "2.0"}),
        (table, {"data_page_size": 100, "write_page_index": True, "use_dictionary": False}),
        (plain, {"compression": "snappy", "row_group_size": 7})]):
    pq.write_table(table, f"{out}/tables/{i}.parquet", **options)
pq.write_table(plain, f"{out}/brotli.parquet", compression="brotli")
print(json.dumps({"written": True}))
"#;

fn check_images(set: &ImageSet, places: &[usize], classes: [&str; 2]) {
    assert_eq!(set.len(), places.len());
    for (item, i) in places.iter().enumerate() {
        assert_eq!(set.image(item).unwrap()[..], pixels(*i), "{item}");
        assert_eq!(set.class_name(item), Some(classes[i % 2]), "{item}");
        let said = i.is_multiple_of(2).then(|| format!("number {i}"));
        assert_eq!(set.items[item].caption, said, "{item}");
    }
}

#[test]
fn tables_of_datasets_and_pyarrow_are_read() {
    let test = "tables_of_datasets_and_pyarrow_are_read";
    let Some(python) = python(test, "datasets, pyarrow, PIL") else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    answered(&python, WRITER, &[text(place.path()), &IMAGES.to_string()]);
    let set = data::open(text(&place.path().join("shards")), &Default::default()).unwrap();
    // The test side's names come first.
    let places: Vec<usize> = (15..IMAGES).chain(0..15).collect();
    check_images(&set, &places, ["wasp", "ant"]);
    assert_eq!(
        set.classes,
        ["wasp", "ant"],
        "in the order that the file gives them"
    );
    assert_eq!((set.train.len(), set.test.len()), (15, 5));
    for i in 0..6 {
        let path = place.path().join(format!("tables/{i}.parquet"));
        let set = data::open(text(&path), &Default::default()).unwrap();
        let all: Vec<usize> = (0..IMAGES).collect();
        let classes = if i == 5 { ["0", "1"] } else { ["wasp", "ant"] };
        check_images(&set, &all, classes);
    }
    let error = data::open(
        text(&place.path().join("brotli.parquet")),
        &Default::default(),
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("compression") && error.contains("zstd"),
        "{error}"
    );
}

/// Reads codes by `datasets`, pyarrow and WebDataset.
const READER: &str = r#"
import glob, json, sys
import pyarrow.parquet as pq, webdataset as wds
from datasets import Dataset
tables, tars, cache = sys.argv[1:4]
table = sorted(glob.glob(tables))
rows = Dataset.from_parquet(table, cache_dir=cache)
names = rows.features["label"].names
arrow = pq.read_table(table)
about = json.loads(arrow.schema.metadata[b"wgvq"])
samples = list(wds.WebDataset(tars, shardshuffle=False).decode())
print(json.dumps({"names": rows["name"][:], "codes": [list(c) for c in rows["codes"][:]],
    "classes": [names[c] for c in rows["label"][:]], "texts": rows["text"][:],
    "arrow": [str(arrow.schema.field("codes").type), arrow.column("codes").to_pylist()],
    "levels": about["levels"], "samples": [{"codes": s["npy"].reshape(-1).tolist(),
        "shape": s["npy"].shape, "dtype": str(s["npy"].dtype), "class": s["cls"],
        "text": s.get("txt"), "about": s["json"]} for s in samples]}))
"#;

#[test]
fn datasets_and_webdataset_read_codes() {
    let test = "datasets_and_webdataset_read_codes";
    let Some(python) = python(test, "datasets, pyarrow, webdataset") else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let images = folder_of_images(place.path(), IMAGES);
    let model = trained(place.path(), &images);
    let out = |name: &str| place.path().join(name);
    for (format, name, more) in [
        ("safetensors", "codes.safetensors", &[][..]),
        ("parquet", "codes.parquet", &[]),
        ("webdataset", "tars", &["--per-tar", "8"]),
        ("parquet", "tables-1", &["--shard", "1/2"]),
        ("parquet", "tables-1", &["--shard", "2/2"]),
        ("webdataset", "tars-1", &["--shard", "1/2"]),
        ("webdataset", "tars-1", &["--shard", "2/2"]),
    ] {
        let mut command = wgvq();
        command.args(["encode", text(&model), "--data", text(&images)]);
        command.args(["--format", format, "--quiet", "-o", text(&out(name))]);
        ok(command.args(more).output().unwrap());
    }
    let codes = Codes::load(&out("codes.safetensors")).unwrap();
    for (tables, tars) in [
        ("codes.parquet", "tars/codes-{000000..000002}.tar"),
        (
            "tables-1/*.parquet",
            "tars-1/shard-{00001..00002}-of-00002.tar",
        ),
    ] {
        let (tables, cache) = (out(tables), out("cache"));
        let tars = out(tars);
        let read = answered(&python, READER, &[text(&tables), text(&tars), text(&cache)]);
        check_codes(&read, &codes, &images);
    }
}

/// Holds what was read of codes against these, of a folder's images.
fn check_codes(read: &serde_json::Value, codes: &Codes, images: &Path) {
    let wanted: Vec<&[u32]> = codes.indices.chunks(codes.per_image()).collect();
    assert_eq!(read["names"], serde_json::json!(codes.names));
    assert_eq!(read["codes"], serde_json::json!(wanted));
    assert_eq!(read["arrow"][1], serde_json::json!(wanted));
    let kind = read["arrow"][0].as_str().unwrap();
    assert!(kind.contains("uint16"), "{kind}");
    assert_eq!(read["levels"][0]["grid"], serde_json::json!([8, 8]));
    let set = data::open(text(images), &Default::default()).unwrap();
    let samples = read["samples"].as_array().unwrap();
    assert_eq!(samples.len(), IMAGES);
    for (i, sample) in samples.iter().enumerate() {
        assert_eq!(sample["codes"], serde_json::json!(wanted[i]));
        assert_eq!(sample["shape"], serde_json::json!([8, 8]));
        assert_eq!(sample["dtype"], "uint16");
        let class = set.class_name(i).unwrap();
        assert_eq!(read["classes"][i], class);
        assert_eq!(sample["about"]["class"], class);
        assert_eq!(sample["class"], set.items[i].class.unwrap());
        let said = serde_json::json!(set.items[i].caption);
        assert_eq!((&read["texts"][i], &sample["text"]), (&said, &said));
    }
}
