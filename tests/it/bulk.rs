//! Whole data sets as codes and tokens: in one process, and in shards by processes that are killed.

use crate::common::{kill, ok, refused, run, stderr, text, wait_until, wgvq};
use std::path::{Path, PathBuf};
use wgvq::codes::Codes;

const EMA: &str = "tests/fixtures/runs/ema";
/// Images: three blocks, of which the last is not full.
const IMAGES: usize = 600;

/// Writes images that look random as an array, and returns its file.
fn pictures(folder: &Path, seed: u32) -> PathBuf {
    let path = folder.join(format!("pictures-{seed}.npy"));
    let mut header =
        format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({IMAGES}, 16, 16, 3), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    let pixel = |i: u32| {
        (i.wrapping_add(seed).wrapping_mul(0x9E37_79B9) >> 24) as u8 / 4 * (1 + (i / 768 % 4) as u8)
    };
    bytes.extend((0..IMAGES as u32 * 768).map(pixel));
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Files of a folder, with their bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let mut all: Vec<(String, Vec<u8>)> = entries
        .map(|e| {
            let name = e.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(e.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn shards_of_killed_processes_are_the_bytes_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, others) = (pictures(folder.path(), 1), pictures(folder.path(), 2));
    let (shards, whole, joined) = (
        at("shards"),
        at("whole.safetensors"),
        at("joined.safetensors"),
    );
    let data = ["--data", text(&data)];
    ok(run(
        &[&["encode", EMA, "-o", text(&whole)], &data[..]].concat()
    ));
    assert_eq!(Codes::load(&whole).unwrap().names.len(), IMAGES);
    let of = |n: usize| format!("{n}/3");
    let encode = |n: usize, model: &str, data: &[&str]| -> Vec<String> {
        let number = of(n);
        let all = [
            &[
                "encode",
                model,
                "--json",
                "-o",
                text(&shards),
                "--shard",
                &number,
            ],
            data,
        ]
        .concat();
        all.iter().map(|s| (*s).to_owned()).collect()
    };
    let shard = |n: usize| wgvq().args(encode(n, EMA, &data)).output().unwrap();
    // One is killed while it is at its work, and nothing counts that it left.
    let mut child = wgvq().args(encode(2, EMA, &data)).spawn().unwrap();
    let begun = || {
        std::fs::read_dir(&shards).is_ok_and(|found| {
            found
                .flatten()
                .any(|e| e.file_name().to_string_lossy().contains("output-next"))
        })
    };
    wait_until(&mut child, begun);
    kill(&mut child);
    // The third is numbered by the ranks of MPI.
    for n in [1, 3] {
        let mut command = wgvq();
        if n == 3 {
            command
                .env("OMPI_COMM_WORLD_RANK", "2")
                .env("OMPI_COMM_WORLD_SIZE", "3");
        }
        let mut args = encode(n, EMA, &data);
        if n == 3 {
            args[6] = "auto".into();
        }
        ok(command.args(args).output().unwrap());
    }
    let join = ["encode", "--join", text(&shards), "-o", text(&joined)];
    refused(run(&join), &["not yet 2"]);
    assert!(!joined.exists());
    ok(shard(2));
    ok(run(&join));
    assert_eq!(
        std::fs::read(&joined).unwrap(),
        std::fs::read(&whole).unwrap()
    );
    // What is done is skipped; what is damaged is made again.
    let before = files(&shards);
    assert_eq!(
        before.len(),
        6,
        "{:?}",
        before.iter().map(|f| &f.0).collect::<Vec<_>>()
    );
    let first = shards.join("shard-00001-of-00003.safetensors");
    assert!(
        String::from_utf8(ok(shard(1)).stdout)
            .unwrap()
            .contains("\"skipped\":true")
    );
    std::fs::write(&first, &before[1].1[..100]).unwrap();
    refused(
        run(&[&join[..], &["--overwrite"]].concat()),
        &["make shard 1/3 again"],
    );
    let again = ok(shard(1));
    assert!(stderr(&again).contains("made again"), "{}", stderr(&again));
    assert_eq!(files(&shards), before);
    // Of other data, of another model, of another division: nothing is changed.
    let other = ["--data", text(&others)];
    let words = [
        "shard-00001-of-00003.json",
        "was not made of this",
        "data set",
    ];
    refused(
        wgvq().args(encode(1, EMA, &other)).output().unwrap(),
        &words,
    );
    let vqvae2 = "tests/fixtures/runs/vqvae2";
    let words = ["shard-00001-of-00003.json", "of the model"];
    refused(
        wgvq().args(encode(2, vqvae2, &data)).output().unwrap(),
        &words,
    );
    let mut args = encode(1, EMA, &data);
    args[6] = "1/2".into();
    refused(wgvq().args(args).output().unwrap(), &["1/2 is asked for"]);
    assert_eq!(files(&shards), before);
}

/// By `auto/N` one process that has no others makes all shards, and passes over those that are
/// done.
#[test]
fn all_shards_are_made_by_those_who_are_free() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let data = pictures(folder.path(), 4);
    let (shards, whole, joined) = (
        at("shards"),
        at("whole.safetensors"),
        at("joined.safetensors"),
    );
    let encode = ["encode", EMA, "--json", "--data", text(&data), "-o"];
    ok(run(&[&encode[..], &[text(&whole)]].concat()));
    let all = |of: &str| {
        let mut command = wgvq();
        command.args(encode).arg(&shards).args(["--shard", of]);
        command
    };
    // What each line says: the shard, its images, and whether it was there.
    let said = |command: &mut std::process::Command| -> Vec<(u64, u64, bool)> {
        let out = String::from_utf8(ok(command.output().unwrap()).stdout).unwrap();
        let line = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let number = |key: &str| line[key].as_u64().unwrap();
            (number("shard"), number("images"), line["skipped"] == true)
        };
        out.lines().map(line).collect()
    };
    // More shards than blocks: one is empty. One is there already.
    assert_eq!(said(&mut all("3/4")), [(3, 256, false)]);
    let made = said(&mut all("auto/4"));
    let wanted = [
        (1, 0, false),
        (2, 256, false),
        (3, 256, true),
        (4, 88, false),
    ];
    assert_eq!(made, wanted);
    let before = files(&shards);
    ok(run(&[
        "encode",
        "--join",
        text(&shards),
        "-o",
        text(&joined),
    ]));
    assert_eq!(
        std::fs::read(&joined).unwrap(),
        std::fs::read(&whole).unwrap()
    );
    // What is damaged or gone is made again, and nothing else.
    std::fs::write(shards.join("shard-00002-of-00004.safetensors"), "cut").unwrap();
    std::fs::remove_file(shards.join("shard-00004-of-00004.json")).unwrap();
    let made = said(&mut all("auto/4"));
    let skipped: Vec<bool> = made.iter().map(|(.., skipped)| *skipped).collect();
    assert_eq!(skipped, [true, false, true, false]);
    assert_eq!(files(&shards), before);
    refused(
        all("auto/3").output().unwrap(),
        &["shards of 3 are asked for", "one division"],
    );
    let mut tasks = all("auto/4");
    tasks.env("SLURM_ARRAY_TASK_COUNT", "5");
    refused(
        tasks.output().unwrap(),
        &["SLURM_ARRAY_TASK_COUNT", "--shard auto,"],
    );
    refused(all("auto/none").output().unwrap(), &["--shard", "auto/7"]);
    assert_eq!(files(&shards), before);
}

#[test]
fn shards_of_tokens_are_those_that_a_prior_reads() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let data = pictures(folder.path(), 3);
    let (shards, whole, joined) = (at("shards"), at("whole"), at("joined"));
    let encode = ["encode", EMA, "--tokens", "--data", text(&data), "-o"];
    ok(run(&[&encode[..], &[text(&whole)]].concat()));
    for number in ["2/2", "1/2"] {
        ok(run(
            &[&encode[..], &[text(&shards), "--shard", number]].concat()
        ));
    }
    let join = ["encode", "--join", text(&shards), "-o", text(&joined)];
    ok(run(&join));
    assert_eq!(files(&joined), files(&whole));
    refused(run(&join), &["--overwrite replaces them"]);
    ok(run(&[&join[..], &["--overwrite"]].concat()));
    assert_eq!(files(&joined), files(&whole));
    refused(
        run(&[
            "encode",
            EMA,
            "--data",
            text(&data),
            "-o",
            text(&shards),
            "--shard",
            "1/2",
        ]),
        &["was not made of this", "tokens of a prior"],
    );
}
