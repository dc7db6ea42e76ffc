//! Files that are damaged at any place, or say other numbers than they should: read, or refused by
//! an error, and never a panic.

use crate::common::published;
use sha2::{Digest, Sha256};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use wgvq::codes::shards::{ShardForm, ShardManifest, ShardNumber, ShardSource, Shards, join};
use wgvq::codes::tokens::Tokens;
use wgvq::codes::{Codes, load_all, save_all};
use wgvq::config::DottedConfig;
use wgvq::config::prior::PriorConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::{self, Options, Residency};
use wgvq::gpu::Gpu;
use wgvq::inference::import::Names;
use wgvq::inference::{Decoder, FirstStageModel, PriorModel, import};
use wgvq::models::Level;
use wgvq::storage::{checkpoint, metrics_log};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The numbers that replace others.
const NUMBERS: [&str; 6] = [
    "0",
    "1",
    "3",
    "4294967295",
    "9223372036854775807",
    "99999999999999999999",
];

/// The bytes of a file, cut, with bits turned over, and with other numbers in the text that it
/// holds: about `most` of each.
fn variants(good: &[u8], most: usize) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let spread = |n: usize| (0..most.min(n)).map(move |i| i * n / most.min(n));
    for at in spread(good.len()) {
        out.push((format!("cut at {at}"), good[..at].to_vec()));
    }
    // The first bytes say what follows: all of those, and some of the others.
    let early = (0..good.len().min(most)).chain(spread(good.len()));
    for (i, at) in early.enumerate() {
        let mut bad = good.to_vec();
        bad[at] ^= [1, 0x80, 0xff, 0x10][i % 4];
        out.push((format!("byte {at} is {:#x}", bad[at]), bad));
    }
    // safetensors: the length of its text stands before it.
    let length = good.first_chunk().map(|n| u64::from_le_bytes(*n));
    let text_length = length.filter(|n| *n > 0 && *n < good.len() as u64 && good[8] == b'{');
    let end = text_length.map_or(good.len().min(1 << 14), |n| 8 + n as usize);
    let mut numbers = Vec::new();
    let mut at = 0;
    while at < end {
        let digits = good[at..end]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if digits > 0 {
            numbers.push(at..at + digits);
        }
        at += digits.max(1);
    }
    for (i, n) in spread(numbers.len()).enumerate() {
        let place = numbers[n].clone();
        for number in [NUMBERS[i % 6], NUMBERS[(i + 3) % 6]] {
            let mut bad = good.to_vec();
            bad.splice(place.clone(), number.bytes());
            if let Some(length) = text_length {
                let length = length + number.len() as u64 - place.len() as u64;
                bad[..8].copy_from_slice(&length.to_le_bytes());
            }
            out.push((format!("{number} at {}", place.start), bad));
        }
    }
    out
}

/// Reads every variant of a file, and fails with the names of those over which the reader panics.
fn all(file: &str, good: &[u8], most: usize, read: impl Fn(&[u8]) -> bool) {
    let outcome = |bytes: &[u8]| catch_unwind(AssertUnwindSafe(|| read(bytes)));
    assert!(outcome(good).unwrap_or(false), "{file} as it is");
    let mut panicked = Vec::new();
    let variants = variants(good, most);
    let mut refused = 0;
    for (what, bytes) in &variants {
        match outcome(bytes) {
            Ok(read) => refused += usize::from(!read),
            Err(_) => panicked.push(what),
        }
    }
    assert!(panicked.is_empty(), "{file}: {panicked:?}");
    assert!(
        2 * refused > most.min(good.len()),
        "{file}: {refused} of {}",
        variants.len()
    );
}

/// Reads variants of a file that lies among others.
fn all_at(path: &Path, most: usize, read: impl Fn() -> bool) {
    let good = fs::read(path).unwrap();
    all(&path.display().to_string(), &good, most, |bytes| {
        fs::write(path, bytes).unwrap();
        read()
    });
    fs::write(path, good).unwrap();
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn pictures() {
    for entry in fs::read_dir(fixtures().join("pictures")).unwrap() {
        let path = entry.unwrap().path();
        let good = fs::read(&path).unwrap();
        all(&path.display().to_string(), &good, 150, |bytes| {
            data::read_image(bytes, 9, 7, 3).is_ok()
        });
    }
}

#[test]
fn sets_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let opened = |name: &str| {
        let source = folder.path().join(name);
        [Residency::Memory, Residency::Disk].map(|keep| {
            let options = Options {
                keep,
                cache_dir: Some(folder.path().join("cache")),
                cache_bytes: 0,
                ..Options::default()
            };
            data::open(source.to_str().unwrap(), &options)
                .and_then(|set| set.gather(&(0..set.len() as u32).collect::<Vec<_>>()))
                .is_ok()
        })[0]
    };
    // IDX: the numbers and the sizes, plain and packed, with labels.
    let pixels: Vec<u8> = (0..4 * 5 * 3).collect();
    let images = [
        &[0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 3][..],
        &pixels,
    ]
    .concat();
    let labels = [0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 2, 1];
    fs::write(at("a-images-idx3-ubyte"), &images).unwrap();
    fs::write(at("a-labels-idx1-ubyte"), labels).unwrap();
    all_at(&at("a-images-idx3-ubyte"), 80, || {
        opened("a-images-idx3-ubyte")
    });
    all_at(&at("a-labels-idx1-ubyte"), 80, || {
        opened("a-images-idx3-ubyte")
    });
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut packed, &images).unwrap();
    fs::write(at("b-images-idx3-ubyte.gz"), packed.finish().unwrap()).unwrap();
    all_at(&at("b-images-idx3-ubyte.gz"), 80, || {
        opened("b-images-idx3-ubyte.gz")
    });
    // A tar: headers, pictures, texts.
    let mut png = std::io::Cursor::new(Vec::new());
    let picture = |n: u8| image::RgbImage::from_fn(4, 3, |x, y| image::Rgb([x as u8, y as u8, n]));
    picture(1)
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let mut tar = tar::Builder::new(fs::File::create(at("set.tar")).unwrap());
    for (name, bytes) in [
        ("0.png", png.get_ref().as_slice()),
        ("0.txt", b"a red square"),
        ("0.cls", b"7"),
        ("deep/1.png", png.get_ref()),
        ("deep/1.json", br#"{"caption": "two", "n": [1, 2.5]}"#),
        ("2.png", png.get_ref()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    tar.finish().unwrap();
    drop(tar);
    all_at(&at("set.tar"), 250, || opened("set.tar"));
    // JSON Lines, with rows that an encoder from elsewhere made.
    fs::write(at("0.png"), png.get_ref()).unwrap();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    let npy = [
        &b"\x93NUMPY\x01\x00\x76\x00"[..],
        format!("{header:<117}\n").as_bytes(),
        &[0u8; 24],
    ]
    .concat();
    fs::write(at("e.npy"), npy).unwrap();
    all_at(&at("e.npy"), 160, || {
        data::load_embedding(&at("e.npy")).is_ok()
    });
    let lines = r#"{"image": "0.png", "text": "a", "embedding": "e.npy"}
{"image": "0.png", "text": "b", "split": "test"}
"#;
    fs::write(at("set.jsonl"), lines).unwrap();
    all_at(&at("set.jsonl"), 100, || opened("set.jsonl"));
}

#[test]
fn codes_and_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let level = |name: &str, side, codebooks| Level {
        name: name.into(),
        grid: [side, side],
        codebook_size: 512,
        codebooks,
    };
    let codes = |levels: Vec<Level>| {
        let each: usize = levels.iter().map(Level::codes).sum();
        Codes {
            model: "0123456789abcdef".into(),
            quantizer: "ema".into(),
            levels,
            image: [8, 8, 3],
            names: (0..3).map(|i| format!("{i}.png")).collect(),
            indices: (0..3 * each as u32).map(|i| i % 512).collect(),
        }
    };
    let read = |path: &Path| {
        let found = load_all(path);
        for codes in found.iter().flatten() {
            assert_eq!(codes.indices.len(), codes.names.len() * codes.per_image());
            for level in 0..codes.levels.len() {
                let _ = codes.of_level(level);
            }
        }
        found.is_ok()
    };
    let two = codes(vec![level("top", 1, 2), level("bottom", 2, 1)]);
    two.save(&at("two.safetensors")).unwrap();
    all_at(&at("two.safetensors"), 200, || {
        let _ = Codes::load(&at("two.safetensors"));
        read(&at("two.safetensors"))
    });
    let sized = [2, 3].map(|side| {
        let mut one = codes(vec![level("", side, 1)]);
        one.names.truncate(1);
        one.indices.truncate(side * side);
        one
    });
    save_all(&at("sized.safetensors"), &sized).unwrap();
    all_at(&at("sized.safetensors"), 200, || {
        read(&at("sized.safetensors"))
    });
    for run in ["ema/prior", "text2image/prior"] {
        let place = at("tokens");
        copied(&fixtures().join("runs").join(run).join("tokens"), &place);
        let read = || {
            let Ok(tokens) = Tokens::open(&place) else {
                return false;
            };
            [&tokens.train, &tokens.test].iter().all(|split| {
                let all = [0, split.len().saturating_sub(1) as u32];
                split.read(&all).is_ok() && split.read_texts(&all).is_ok()
            })
        };
        all_at(&place.join("tokens.json"), 400, read);
        all_at(&place.join("test-00000.safetensors"), 80, read);
        fs::remove_dir_all(&place).unwrap();
    }
}

#[test]
fn logs_and_configurations() {
    let folder = tempfile::tempdir().unwrap();
    copied(&fixtures().join("runs/ema"), folder.path());
    let at = |name: &str| folder.path().join(name);
    let registry = Default::default();
    all_at(&at("config.toml"), 250, || {
        RunConfig::load(&at("config.toml")).is_ok_and(|config| config.resolve(&registry).is_ok())
    });
    copied(&fixtures().join("runs/ema/prior"), &at("prior"));
    all_at(&at("prior/config.toml"), 150, || {
        let config = PriorConfig::load(&at("prior/config.toml"));
        config.is_ok_and(|config| config.resolve().is_ok())
    });
    // A log is read as far as it is whole.
    let log = fs::read(at("metrics.csv")).unwrap();
    let names = metrics_log::columns(&at("metrics.csv")).unwrap().len();
    for (_, bytes) in variants(&log, 200) {
        fs::write(at("metrics.csv"), bytes).unwrap();
        let header = "step,mse";
        let _ =
            metrics_log::columns(&at("metrics.csv")).map(|found| assert!(found.len() <= 2 * names));
        let _ = metrics_log::Log::open(&at("metrics.csv"), header, 3);
    }
}

#[test]
fn checkpoints_and_models() {
    let gpu = Gpu::new(Default::default()).expect("an adapter");
    let runs = fixtures().join("runs");
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("checkpoints");
    copied(&runs.join("ema/checkpoints"), &place);
    for file in ["step-00000060.json", "step-00000060.safetensors"] {
        all_at(&place.join(file), 60, || {
            let _ = checkpoint::newest(&place);
            let found = checkpoint::latest(&place);
            found.is_ok_and(|found| found.is_some())
        });
    }
    for (run, most) in [("ema", 120), ("vqvae2", 60), ("vit", 60), ("vqgan", 30)] {
        let good = fs::read(runs.join(run).join("final.safetensors")).unwrap();
        all(run, &good, most, |bytes| {
            let Ok(model) = FirstStageModel::from_bytes(&gpu, bytes) else {
                return false;
            };
            let small = model.codes_per_image() <= 1 << 12;
            small && model.decode(&vec![0; model.codes_per_image()]).is_ok()
        });
    }
    let model = FirstStageModel::load(&gpu, &runs.join("ema")).unwrap();
    let good = model.to_decoder_bytes().unwrap();
    all("a decoder", &good, 120, |bytes| {
        let decoder = Decoder::from_bytes(&gpu, bytes);
        decoder.is_ok_and(|decoder| {
            let small = decoder.codes_per_image() <= 1 << 12;
            small && decoder.decode(&vec![0; decoder.codes_per_image()]).is_ok()
        })
    });
    let good = fs::read(runs.join("ema/prior/final.safetensors")).unwrap();
    all("a prior", &good, 120, |bytes| {
        PriorModel::from_bytes(&gpu, bytes, &model).is_ok()
    });
    let place = runs.join("text2image");
    let model = FirstStageModel::load(&gpu, &place).unwrap();
    let good = fs::read(place.join("prior/final.safetensors")).unwrap();
    all("a prior over texts", &good, 60, |bytes| {
        PriorModel::from_bytes(&gpu, bytes, &model).is_ok()
    });
    let others = published::checkpoint(folder.path(), "taming", Names::Taming);
    all_at(&others, 60, || {
        import::read(&others, None).is_ok_and(|found| found.check(&gpu, [8, 8]).is_ok())
    });
}

/// Files that say which others belong together: a manifest of a shard, an index of weights.
#[test]
fn manifests_and_indices() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let levels = vec![Level {
        name: String::new(),
        grid: [2, 2],
        codebook_size: 512,
        codebooks: 1,
    }];
    let codes = Codes {
        model: "0123456789abcdef".into(),
        quantizer: "ema".into(),
        levels: levels.clone(),
        image: [8, 8, 3],
        names: (0..3).map(|i| i.to_string()).collect(),
        indices: (0..12).collect(),
    };
    let file = at("shard-00001-of-00001.safetensors");
    codes.save(&file).unwrap();
    let source = ShardSource::Codes {
        model: codes.model.clone(),
        quantizer: codes.quantizer.clone(),
        levels,
        image: codes.image,
        data: "here".into(),
        data_sha256: "d".into(),
        images: 3,
    };
    let shard: ShardNumber = "1/1".parse().unwrap();
    let sum = hex::encode(Sha256::digest(fs::read(&file).unwrap()));
    let (kinds, form) = (Default::default(), ShardForm::Safetensors);
    let manifest = ShardManifest::new(shard, &source, kinds, form, sum, "an adapter".into());
    manifest.save(folder.path()).unwrap();
    all_at(&at("shard-00001-of-00001.json"), 400, || {
        Shards::open(folder.path()).is_ok_and(|shards| join(&shards).is_ok())
    });
    let tensors = published::tensors("taming", Names::Taming);
    published::write_shards(folder.path(), "model", &tensors, 2);
    let index = at("model.safetensors.index.json");
    all_at(&index, 60, || import::read(&index, None).is_ok());
}
