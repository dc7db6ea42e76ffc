//! `wgvq export --page`: what lies in the folder of a page, and what is refused.

use crate::common::{gpu, ok, refused, run, stderr, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use wgvq::inference::{FirstStageModel, PriorModel};

const EMA: &str = "tests/fixtures/runs/ema";

/// Writes what passes for the engine of a version.
pub fn engine(folder: &Path, version: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("wgvq_web.js"), "export default 1;").unwrap();
    let wasm = format!("\0asm and then wgvq-page-engine {version}; and more");
    std::fs::write(folder.join("wgvq_web_bg.wasm"), wasm).unwrap();
    folder.to_owned()
}

fn read(path: PathBuf) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

#[test]
fn a_page_is_whole_and_says_nothing_of_where_images_lay() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let engine = engine(&at("engine"), env!("CARGO_PKG_VERSION"));
    let export = |of: &str, to: &Path, more: &[&str]| {
        let args = ["export", of, "--page", text(to), "--engine", text(&engine)];
        run(&[&args[..], more].concat())
    };
    let page = at("deep/page");
    ok(export(EMA, &page, &["--title", "Small <b>emoji</b>"]));
    let about: Value = serde_json::from_str(&read(page.join("page.json"))).unwrap();
    assert_eq!(about["heading"], "Small <b>emoji</b>");
    assert_eq!(
        (&about["prior"], &about["tokenizer"]),
        (&true.into(), &false.into())
    );
    let names: Vec<&str> = about["files"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(Value::as_str)
        .collect();
    for name in &names {
        assert!(page.join(name).is_file(), "{name}");
    }
    // Every path is relative, and nothing comes from elsewhere.
    for name in ["index.html", "app.js", "train.js", "keep.js", "style.css"] {
        let content = read(page.join(name));
        for far in [
            "src=\"/",
            "href=\"/",
            "from \"/",
            "http://",
            "https://",
            "fetch(\"/",
        ] {
            assert!(!content.contains(far), "{name}: {far}");
        }
    }
    // Both stages are those of the run, whatever the files say of where its images lay.
    let gpu = gpu();
    let own = FirstStageModel::load(&gpu, EMA.as_ref()).unwrap();
    let model = FirstStageModel::load(&gpu, &page.join("model/model.safetensors")).unwrap();
    let prior = PriorModel::load(&gpu, &page.join("model/prior.safetensors"), &model).unwrap();
    assert_eq!(prior.info().data, wgvq::data::NO_SOURCE);
    assert_eq!(model.config().data.source, wgvq::data::NO_SOURCE);
    let set = wgvq::data::open("emoji", &own.config().data.options()).unwrap();
    let samples = about["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 6);
    for sample in samples {
        let file = page.join(sample["file"].as_str().unwrap());
        let pixels = wgvq::data::load_image(file, 16, 16, 3).unwrap();
        let held_out = set
            .test
            .iter()
            .find(|i| *set.image(**i as usize).unwrap() == pixels);
        let item = &set.items[*held_out.expect("a picture that was held out") as usize];
        assert_eq!(sample["name"], set.classes[item.class.unwrap() as usize]);
    }
    let pixels = set.gather(&set.test[..2]).unwrap();
    assert_eq!(own.encode(&pixels).unwrap(), model.encode(&pixels).unwrap());
    // Another page does not take its place unasked; asked, what is left of the first one goes.
    let before = read(page.join("page.json"));
    refused(export(EMA, &page, &[]), &["is not empty", "--overwrite"]);
    assert_eq!(read(page.join("page.json")), before);
    std::fs::write(page.join("mine.txt"), "mine").unwrap();
    let said = stderr(&ok(export(
        "tests/fixtures/runs/vit",
        &page,
        &["--overwrite"],
    )));
    assert!(!said.contains("no pictures"), "{said}");
    assert!(!page.join("model/prior.safetensors").exists() && page.join("mine.txt").is_file());
    // A prior over the codes of another model.
    let prior = format!("{EMA}/prior");
    let other = ["--prior", &prior];
    refused(
        export("tests/fixtures/runs/vit", &at("other"), &other),
        &["prior"],
    );
    // One that reads texts brings what reads them; its images lie nowhere.
    let said = stderr(&ok(export(
        "tests/fixtures/runs/text2image",
        &at("texts"),
        &[],
    )));
    assert!(said.contains("no pictures"), "{said}");
    let about: Value = serde_json::from_str(&read(at("texts/page.json"))).unwrap();
    assert_eq!(
        (&about["tokenizer"], &about["samples"]),
        (&true.into(), &Value::Array(vec![]))
    );
    assert!(at("texts/model/tokenizer.json").is_file());
}

#[test]
fn what_a_page_cannot_show_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let own = engine(&at("engine"), env!("CARGO_PKG_VERSION"));
    let old = engine(&at("old"), "0.0.1");
    let page = at("page");
    let export = |of: &str, engine: &Path| {
        run(&[
            "export",
            of,
            "--page",
            text(&page),
            "--engine",
            text(engine),
        ])
    };
    refused(
        export("tests/fixtures/runs/vqvae2", &own),
        &["2 levels", "the page cannot show"],
    );
    refused(
        export(EMA, &old),
        &["0.0.1", env!("CARGO_PKG_VERSION"), "scripts/web.sh"],
    );
    refused(
        export(EMA, &at("none")),
        &["wgvq_web_bg.wasm", "share/wgvq/page", "scripts/web.sh"],
    );
    assert!(!page.exists());
    refused(
        run(&["export", EMA, "--decoder", "--title", "x", "-o", "y"]),
        &["--page"],
    );
}
