//! Checkpoints in several files.

use super::agrees;
use crate::common::published::{self, write_shards};
use crate::common::{gpu, ok, refused, run, text};
use std::path::Path;
use wgvq::inference::import::{Names, read, read_codebook};
use wgvq::storage::run_folder::RunFolder;

/// A tokenizer in three files is read by their folder and by their index, and of a model that holds
/// more those files alone.
#[test]
fn several_files_with_an_index_are_one_checkpoint() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let own = at("vqvae");
    std::fs::create_dir(&own).unwrap();
    let tensors = published::tensors("taming", Names::Diffusers);
    let files = write_shards(&own, "diffusion_pytorch_model", &tensors, 3);
    assert_eq!(files.len(), 3);
    let index = own.join("diffusion_pytorch_model.safetensors.index.json");
    for (i, place) in [&own, &index].into_iter().enumerate() {
        let imported = read(place, None).unwrap();
        assert_eq!(imported.names, Names::Diffusers);
        assert_eq!(imported.left_out.len(), 1, "{:?}", imported.left_out);
        let run = RunFolder::create(&at(&format!("run-{i}")), false).unwrap();
        imported.write(&gpu, [8, 16], &run).unwrap();
        agrees(&gpu, "taming", run.path());
    }
    // The configuration beside an index is held against what there is, too.
    let config = own.join("config.json");
    std::fs::write(&config, r#"{"_class_name": "AutoencoderKL"}"#).unwrap();
    for place in [&own, &index] {
        let error = read(place, None).unwrap_err().to_string();
        assert!(error.contains("AutoencoderKL"), "{error}");
    }

    // The tokenizer within a larger model, of which only its own file is there.
    let whole = at("whole");
    std::fs::create_dir(&whole).unwrap();
    let mut all = published::behind(
        "model.vqmodel.",
        &published::tensors("llamagen", Names::Janus),
    );
    let count = all.len();
    let block = |i: usize| {
        let name = format!("model.language_model.layers.{i}.mlp.weight");
        (name, vec![1], vec![0; 4])
    };
    all.extend((0..count).map(block));
    let files = write_shards(&whole, "model", &all, 2);
    std::fs::remove_file(&files[1]).unwrap();
    let imported = read(&whole, None).unwrap();
    assert_eq!(
        (imported.names, &imported.prefix[..]),
        (Names::Janus, "model.vqmodel")
    );
    assert_eq!(imported.left_out.len(), count + 1);
    let run = RunFolder::create(&at("run-whole"), false).unwrap();
    imported.write(&gpu, [8, 16], &run).unwrap();
    agrees(&gpu, "llamagen", run.path());
}

/// A file that is missing is named with a tensor that lies in it, and so is what to do about one
/// file alone; a codebook needs the file that it lies in.
#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let tensors = published::tensors("taming", Names::Taming);
    let files = write_shards(folder.path(), "model", &tensors, 3);
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    // The codebook is the first tensor.
    let (first, last) = (&files[0], &files[2]);
    let kept = std::fs::read(last).unwrap();
    std::fs::remove_file(last).unwrap();
    let out = at("run");
    let import = ["import", text(folder.path()), "--size", "32", "--out"];
    let words = ["index.json", &name(last), "3 files", "missing"];
    refused(run(&[&import[..], &[text(&out)]].concat()), &words);
    let alone = ["import", text(first), "--out", text(&out)];
    refused(
        run(&alone),
        &[&name(first), "one of several files", "index"],
    );
    assert!(!out.exists());
    let books = at("books.npy");
    ok(run(&[
        &import[..1],
        &[text(folder.path()), "--out", text(&books)],
    ]
    .concat()));
    assert!(books.is_file());
    std::fs::remove_file(first).unwrap();
    let error = read_codebook(folder.path(), None, None).unwrap_err();
    assert!(error.to_string().contains(&name(first)), "{error}");
    // One of another checkpoint.
    std::fs::write(first, &kept).unwrap();
    let error = read_codebook(folder.path(), None, None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&name(first)) && error.contains("not of one checkpoint"),
        "{error}"
    );
}
