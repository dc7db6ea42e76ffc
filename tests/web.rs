//! The page of `web/` in headless Chromium, against what the same model gives without a browser.
//! Run where Chromium, Python and the tools of `scripts/web.sh` are; elsewhere it says what is
//! missing, and passes.

mod common;

use common::{SMALLEST_PRIOR, few_pictures, ok, run, skip, text, train_tiny};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use wgvq::data::{Options, load_image};
use wgvq::gpu::{Core, Gpu, Kernel};
use wgvq::inference::{FirstStageModel, PriorModel, SampleRequest, SamplingOptions, no_progress};
use wgvq::ops::sampling::sample::Sampling;
use wgvq::registry::operations;
use wgvq::verify::pairwise::{by_file, pairwise};

/// The pictures that the page offers, as page.json lists them.
const SAMPLES: [&str; 6] = ["sunglasses", "dog", "rose", "pizza", "earth_asia", "parrot"];
const BROWSERS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Past the test harness, which keeps to itself what a test that passes prints.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Builds and tests install nothing: what takes the network is for `scripts/web.sh`, called by
/// hand.
fn script(arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("scripts/web.sh"));
    command
        .args(arguments)
        .env("WGVQ_INSTALL", "no")
        .current_dir(root());
    command
}

/// Chromium, or what is missing here.
fn chromium() -> Result<PathBuf, String> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let found = named.or_else(|| BROWSERS.iter().find_map(|name| on_path(name)));
    let browser = found.ok_or(
        "no Chromium on the PATH (Debian: apt-get install chromium); CHROMIUM names one elsewhere",
    )?;
    on_path("python3").ok_or("no python3 on the PATH")?;
    let check = script(&["--check"])
        .output()
        .map_err(|e| format!("scripts/web.sh does not run: {e}"))?;
    if check.status.success() {
        Ok(browser)
    } else {
        Err(String::from_utf8_lossy(&check.stderr).trim().to_owned())
    }
}

fn gpu(core: Option<Core>) -> Gpu {
    Gpu::new(wgvq::gpu::Options {
        core,
        ..Default::default()
    })
    .expect("an adapter; scripts/test.sh installs one")
}

/// The model on two cores: where they part, two codes are as near.
fn models() -> [FirstStageModel; 2] {
    [Some(Core::Tiled), None].map(|core| {
        FirstStageModel::load(&gpu(core), &root().join("web/model/model.safetensors")).unwrap()
    })
}

fn expected(name: &str, pixels: &[u8], [one, other]: &[FirstStageModel; 2]) -> Value {
    let codes = one.encode(pixels).unwrap();
    let decoded = one.decode(&codes).unwrap();
    json!({
        "name": name, "codes": codes, "others": other.encode(pixels).unwrap(), "decoded": decoded,
    })
}

fn sample(name: &str) -> Vec<u8> {
    load_image(
        root().join(format!("web/page/samples/{name}.png")),
        32,
        32,
        3,
    )
    .unwrap()
}

/// A picture that has to be cropped and scaled.
fn larger(path: &Path) {
    let colour = |x: u32, y: u32| {
        image::Rgb([
            (x * 2) as u8,
            (y * 4) as u8,
            if (x / 20 + y / 20).is_multiple_of(2) {
                220
            } else {
                40
            },
        ])
    };
    image::RgbImage::from_fn(120, 60, colour)
        .save(path)
        .unwrap();
}

/// Defines that size a tile: they repeat lines and decide nothing.
const TILE: [&str; 10] = [
    "V",
    "NC",
    "GROUP",
    "ACROSS",
    "RHS_LANES",
    "RHS_GROUPS",
    "TILE_ROWS",
    "TILE_COLS",
    "TILE_K",
    "SPREAD",
];

/// Returns the file and the defines of a kernel but for its tile, and how large that is.
fn kind(kernel: &Kernel) -> (String, u64) {
    let (tile, told): (Vec<_>, Vec<_>) = kernel
        .defines()
        .iter()
        .partition(|(name, _)| TILE.contains(name));
    let told: Vec<String> = told
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let size = tile
        .iter()
        .map(|(_, value)| u64::from(*value).max(1))
        .product();
    (format!("{} {}", kernel.name(), told.join(" ")), size)
}

/// Returns, of the kernels that a browser may be handed, such a choice that every two values of two
/// defines that meet in some variant meet in a chosen one, tiles apart: label, features, text. Of
/// those that differ by their tile alone the one of the smallest stands for all.
fn kernels() -> Vec<Value> {
    let all: Vec<Kernel> = operations()
        .iter()
        .flat_map(|op| op.kernels())
        .filter(|k| k.get("SIDE").is_none())
        .collect();
    let mut shortest: BTreeMap<String, (u64, &Kernel)> = BTreeMap::new();
    for kernel in &all {
        let (kind, size) = kind(kernel);
        let entry = shortest.entry(kind).or_insert((size, kernel));
        if size < entry.0 {
            *entry = (size, kernel);
        }
    }
    let shortest = shortest.into_values().map(|(_, kernel)| kernel);
    let shortest = shortest
        .map(|kernel| (kernel.label(), kernel.clone()))
        .collect();
    let chosen: Vec<&Kernel> = by_file(&shortest)
        .values()
        .flat_map(|variants| pairwise(variants))
        .collect();
    say(&format!(
        "{} of {} kernels for the browser",
        chosen.len(),
        all.len()
    ));
    chosen
        .par_iter()
        .map(|kernel| {
            let text = kernel.wgsl_for_browsers().unwrap();
            let features: Vec<&str> = [
                ("subgroups", "enable subgroups;"),
                ("shader-f16", "enable f16;"),
            ]
            .iter()
            .filter(|(_, line)| text.contains(line))
            .map(|(feature, _)| *feature)
            .collect();
            json!([kernel.label(), features, text])
        })
        .collect()
}

#[test]
fn the_page_works_in_chromium() {
    let browser = match chromium() {
        Ok(browser) => browser,
        Err(what) => return skip::skipped("the_page_works_in_chromium", &what),
    };
    assert!(
        script(&[]).status().unwrap().success(),
        "scripts/web.sh failed"
    );

    let folder = root().join("target/web/test");
    std::fs::create_dir_all(folder.join("given")).unwrap();
    let models = models();
    let samples: Vec<Value> = SAMPLES
        .iter()
        .map(|name| expected(name, &sample(name), &models))
        .collect();
    let path = folder.join("given/larger.png");
    larger(&path);
    let mut file = expected("larger", &load_image(&path, 32, 32, 3).unwrap(), &models);
    file["path"] = json!(path);

    let (brush, cells) = (
        models[0].encode(&sample("rose")).unwrap()[36],
        [26, 27, 28, 29],
    );
    let mut codes = models[0].encode(&sample(SAMPLES[0])).unwrap();
    cells.iter().for_each(|cell| codes[*cell] = brush);
    let painted =
        json!({ "brush": brush, "cells": cells, "decoded": models[0].decode(&codes).unwrap() });

    let device = gpu(Some(Core::Tiled));
    let [model, _] = &models;
    let prior =
        PriorModel::load(&device, &root().join("web/model/prior.safetensors"), model).unwrap();
    let sampling = Sampling {
        temperature: 0.9,
        top_p: 0.98,
        guidance: Some(1.5),
        ..Default::default()
    };
    let request = SampleRequest {
        options: SamplingOptions {
            sampling,
            seed: 5,
            ..Default::default()
        },
        ..SampleRequest::new(&[3; 4])
    };
    let drawing = prior.sample(&request, &mut no_progress).unwrap();
    let drawing = json!({
        "class": 3, "count": 4, "temperature": 0.9, "guidance": 1.5, "seed": 5,
        "codes": drawing.codes,
    });

    let expected = json!({
        "samples": samples, "least_psnr": 17.0, "file": file, "painted": painted,
        "drawing": drawing,
        "codebook": model.levels()[0].codebook_size,
        // One that fills tiles, one of primes, one of a single latent.
        "searches": [[2048, 512, 64], [61, 97, 13], [1, 3, 4]],
    });
    std::fs::write(folder.join("expected.json"), expected.to_string()).unwrap();
    std::fs::write(folder.join("kernels.json"), json!(kernels()).to_string()).unwrap();

    let page = root().join("target/web/page");
    drive("web_test.py", &page, &folder, &browser);
    exported(&folder, &browser);
}

/// Runs a script that drives a page; it fails where one of its checks does.
fn drive(script: &str, page: &Path, folder: &Path, browser: &Path) {
    let mut python = Command::new("python3");
    python
        .arg(root().join("scripts").join(script))
        .args([page, folder, browser]);
    let output = python.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    say(&said);
    assert!(
        output.status.success(),
        "{said}\nscreenshots are in {}",
        folder.display()
    );
}

/// Pages that `wgvq export --page` writes: of a run with a prior of any order, of one whose prior
/// reads texts, of one without a prior; and a training in the first, whose model the program reads.
fn exported(folder: &Path, browser: &Path) {
    let place = tempfile::tempdir().unwrap();
    let site = place.path().join("site");
    let tiny = train_tiny(place.path(), "tiny", 30);
    let prior = [
        "prior",
        text(&tiny),
        "--steps",
        "6",
        "--set",
        "prior.order=any",
        "--quiet",
    ];
    ok(run(&[&prior[..], &SMALLEST_PRIOR].concat()));
    let export = |of: &Path, to: &str, more: &[&str]| {
        let to = site.join(to);
        ok(run(
            &[&["export", text(of), "--page", text(&to)], more].concat()
        ));
        to
    };
    let page = export(&tiny, "some/where/run", &["--title", "Discs"]);
    let runs = root().join("tests/fixtures/runs");
    export(&runs.join("text2image"), "texts", &[]);
    export(&runs.join("vit"), "plain", &[]);

    let models =
        [Some(Core::Tiled), None].map(|core| FirstStageModel::load(&gpu(core), &tiny).unwrap());
    let samples = (1..=6).map(|i| {
        let name = format!("{i}.png");
        let file = page.join("samples").join(&name);
        expected(&name, &load_image(file, 32, 32, 3).unwrap(), &models)
    });
    let samples: Vec<Value> = samples.collect();
    let mut pictures: Vec<PathBuf> = std::fs::read_dir(few_pictures())
        .unwrap()
        .flat_map(|class| std::fs::read_dir(class.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    pictures.sort();
    pictures.truncate(24);
    let pages = json!({
        "run": {
            "title": "Discs", "samples": samples,
            "codebook": models[0].levels()[0].codebook_size,
        },
        "texts": { "prompt": "red" },
        "pictures": pictures,
    });
    std::fs::write(folder.join("pages.json"), pages.to_string()).unwrap();
    drive("web_page_test.py", &site, folder, browser);
    let trained = folder.join("trained.safetensors");
    let (model, out) = (text(&trained), place.path().join("again.png"));
    let args = ["reconstruct", model, text(&pictures[0]), "-o", text(&out)];
    ok(run(&args));
}

/// The images that the page reconstructs first were held out from training.
#[test]
fn sample_pictures_are_held_out() {
    let about = std::fs::read_to_string(root().join("web/page/page.json")).unwrap();
    let about: Value = serde_json::from_str(&about).unwrap();
    let names: Vec<&str> = about["samples"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|sample| sample["name"].as_str())
        .collect();
    assert_eq!(names, SAMPLES, "page.json lists other pictures");
    let set = wgvq::data::open("emoji", &Options::default()).unwrap();
    for name in SAMPLES {
        let i = set
            .test
            .iter()
            .find(|i| set.items[**i as usize].name == name)
            .expect(name);
        assert_eq!(set.image(*i as usize).unwrap(), sample(name), "{name}");
    }
}
