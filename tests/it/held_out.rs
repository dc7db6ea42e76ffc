//! A split by a list of files: kept by the run, so that it goes on, and is looked at, with the same
//! images held out wherever the list is by then.

use crate::common::{few_pictures, ok, printed, refused, run, stderr, text, tiny_config_over};
use std::path::{Path, PathBuf};

/// A run of four steps in `folder`, by a list that holds out one class and one image.
fn trained(folder: &Path) -> (PathBuf, PathBuf) {
    let (config, list) = (folder.join("tiny.toml"), folder.join("held.txt"));
    std::fs::write(&list, "# held out\nFlags/*\nFood & Drink/01.png\n").unwrap();
    let key = format!("test_files = '{}'\n", list.display());
    tiny_config_over(&config, 4, &few_pictures(), &key);
    let out = folder.join("run");
    let output = ok(run(&["train", text(&config), "--out", text(&out)]));
    let said = stderr(&output);
    assert!(
        said.contains("41 images to train on, 23 held out"),
        "{said}"
    );
    (list, out)
}

#[test]
fn a_run_keeps_its_list_and_goes_on_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let (list, out) = trained(folder.path());
    let kept = std::fs::read(out.join("test-files.txt")).unwrap();
    assert_eq!(kept, std::fs::read(&list).unwrap());
    // What becomes of the list is of no matter, nor where the run lies.
    std::fs::write(&list, "no such image\n").unwrap();
    let moved = folder.path().join("moved");
    std::fs::rename(&out, &moved).unwrap();
    let resume = |more: &[&str]| run(&[&["train", "--resume", text(&moved)], more].concat());
    let said = stderr(&ok(resume(&["--steps", "6"])));
    assert!(
        said.contains("41 images to train on, 23 held out"),
        "{said}"
    );
    std::fs::remove_file(&list).unwrap();
    let inspected = printed(&[
        "inspect",
        text(&moved),
        "--images",
        "4",
        "--quiet",
        "--json",
    ]);
    assert!(inspected.contains("images"), "{inspected}");
    // Another split is another set, and is refused as such.
    std::fs::write(&list, "Food & Drink/*\n").unwrap();
    let other = format!("data.test_files={}", text(&list));
    refused(resume(&["--set", &other, "--steps", "8"]), &["data"]);
    // A run that replaces this one has no list of the old one's.
    let config = folder.path().join("plain.toml");
    tiny_config_over(&config, 4, &few_pictures(), "");
    let again = [
        "train",
        text(&config),
        "--out",
        text(&moved),
        "--overwrite",
        "--quiet",
    ];
    ok(run(&again));
    assert!(!moved.join("test-files.txt").exists());
}

#[test]
fn a_list_that_names_nothing_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (config, list) = (
        folder.path().join("tiny.toml"),
        folder.path().join("held.txt"),
    );
    let out = folder.path().join("run");
    std::fs::write(&list, "Flags/00.png\nFlags/nowhere.png\n").unwrap();
    tiny_config_over(&config, 4, &few_pictures(), "");
    let set = |key: &str| ["--set".to_owned(), key.to_owned()];
    let with = |keys: &[String]| {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        run(&[&["train", text(&config), "--out", text(&out)], &keys[..]].concat())
    };
    let key = set(&format!("data.test_files={}", text(&list)));
    refused(
        with(&key),
        &["data.test_files", "1 of the 2 lines", "Flags/nowhere.png"],
    );
    let both = [key, set("data.split=captions")].concat();
    refused(with(&both), &["two rules for one split"]);
    assert!(!out.exists());
}

#[test]
fn other_images_than_the_runs_are_split_without_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let (list, out) = trained(folder.path());
    let others = folder.path().join("others");
    std::fs::create_dir(&others).unwrap();
    for (i, entry) in std::fs::read_dir(few_pictures().join("Flags"))
        .unwrap()
        .enumerate()
    {
        std::fs::copy(entry.unwrap().path(), others.join(format!("{i}-other.png"))).unwrap();
    }
    let coded = folder.path().join("codes.safetensors");
    let encode = [
        "encode",
        text(&out),
        "--data",
        text(&others),
        "-o",
        text(&coded),
    ];
    ok(run(&encode));
    assert!(coded.exists());
    // Of its own images those are held out that the run's own copy of the list names.
    std::fs::remove_file(&list).unwrap();
    let own = few_pictures();
    let looked = folder.path().join("looked");
    let inspect = [
        "inspect",
        text(&out),
        "--data",
        text(&own),
        "--out",
        text(&looked),
    ];
    let said = stderr(&ok(run(&[&inspect[..], &["--images", "4"]].concat())));
    assert!(!said.contains("split without"), "{said}");
}

#[test]
fn a_comparison_goes_on_with_its_own_split_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [config, list, out] =
        ["tiny.toml", "held.txt", "compared"].map(|name| folder.path().join(name));
    tiny_config_over(&config, 4, &few_pictures(), "");
    let key = format!("data.test_files={}", text(&list));
    let compare = [
        "compare",
        text(&config),
        "--quantizers",
        "ema",
        "--out",
        text(&out),
    ];
    let with = |line: &str| {
        std::fs::write(&list, line).unwrap();
        run(&[&compare[..], &["--quiet", "--set", &key]].concat())
    };
    ok(with("Flags/*\n"));
    ok(with("Flags/*\n"));
    refused(with("Food & Drink/*\n"), &["other images", "--overwrite"]);
}
