//! Training on photographs that are not in memory: the same bytes wherever they lie and whoever
//! reads them, and errors by name.

use crate::common::gpu;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wgvq::config::DottedConfig;
use wgvq::config::run::RunConfig;
use wgvq::data::{self, ImageSet};
use wgvq::gpu::Gpu;
use wgvq::inference::FirstStageModel;
use wgvq::inference::tokenize::tokenize;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint;
use wgvq::storage::run_folder::RunFolder;
use wgvq::train::{Observer, Progress, Start, Trainer, run};

/// Thirty photographs of 96 x 64 that differ, and a place for what is decoded.
struct Place {
    pictures: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place {
            pictures: tempfile::tempdir().unwrap(),
            cache: tempfile::tempdir().unwrap(),
        };
        for i in 0..30u32 {
            let picture = image::RgbImage::from_fn(96, 64, |x, y| {
                let wave = |n: u32, by: u32| ((x * n + y * by + i * 37) % 256) as u8;
                image::Rgb([wave(3, 1), wave(1, 5), wave(i % 7 + 1, 2)])
            });
            picture
                .save(place.pictures.path().join(format!("{i:02}.png")))
                .unwrap();
        }
        place
    }

    fn open(&self, config: &RunConfig) -> wgvq::Result<Arc<ImageSet>> {
        let mut options = config.data.options();
        options.cache_dir = Some(self.cache.path().into());
        // Less than the thirty pictures take even at 16 x 16; the configuration's budget is in
        // whole MiB.
        if config.data.store == data::Residency::Auto {
            options.memory_bytes = 10_000;
        }
        Ok(Arc::new(data::open(
            self.pictures.path().to_str().unwrap(),
            &options,
        )?))
    }
}

fn config(place: &Place, keys: &[(&str, &str)]) -> RunConfig {
    let mut config = RunConfig::default();
    let source = place.pictures.path().to_str().unwrap();
    let small = [
        ("data.source", source),
        ("data.width", "16"),
        ("data.height", "16"),
        ("data.flip", "true"),
        ("model.hidden", "16"),
        ("model.residual_layers", "1"),
        ("model.residual_hidden", "8"),
        ("quantizer.codebook_size", "16"),
        ("quantizer.codebook_dim", "8"),
        ("quantizer.kmeans_iters", "2"),
        ("train.batch_size", "8"),
        ("train.log_every", "2"),
        ("train.steps", "6"),
    ];
    for (key, value) in small.iter().chain(keys) {
        config.set(key, value).unwrap();
    }
    config
}

const CROPS: [(&str, &str); 3] = [
    ("data.crop", "random"),
    ("data.color", "0.3"),
    ("data.crop_scale_max", "1"),
];

/// The trained weights after `steps` steps.
fn trained(gpu: &Gpu, place: &Place, config: &RunConfig, steps: u64) -> Vec<u8> {
    let mut trainer = Trainer::new(
        gpu,
        &config.resolve(&Registry::default()).unwrap(),
        place.open(config).unwrap(),
    )
    .unwrap();
    (0..steps).for_each(|_| trainer.step().unwrap());
    checkpoint::to_bytes(&trainer.trained().unwrap()).unwrap()
}

/// Tensors alone: the configuration that comes with them differs.
fn tensors(bytes: &[u8]) -> &[u8] {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    &bytes[8 + header..]
}

#[test]
fn threads_and_places_change_no_bit() {
    let (gpu, place) = (gpu(), Place::new());
    let one = trained(
        &gpu,
        &place,
        &config(&place, &[&CROPS[..], &[("data.workers", "1")]].concat()),
        3,
    );
    for keys in [
        &[("data.workers", "2")][..],
        &[("data.workers", "4")],
        &[("data.store", "memory")],
        &[
            ("data.store", "disk"),
            ("data.cache_mib", "0"),
            ("data.memory_mib", "0"),
        ],
    ] {
        let other = trained(
            &gpu,
            &place,
            &config(&place, &[&CROPS[..], keys].concat()),
            3,
        );
        assert!(tensors(&other) == tensors(&one), "{keys:?}");
    }
    // And the keys do what they say.
    for changed in [
        &CROPS[..1],
        &[
            ("data.crop", "random"),
            ("data.color", "0.3"),
            ("data.crop_scale_max", "0.3"),
        ],
    ] {
        assert!(
            tensors(&trained(&gpu, &place, &config(&place, changed), 3)) != tensors(&one),
            "{changed:?}"
        );
    }
}

/// Without crops and colours: pictures on the device, in memory and on disk are the same pictures.
#[test]
fn a_set_on_disk_trains_as_the_set_on_the_device() {
    let (gpu, place) = (gpu(), Place::new());
    let (resident, stored) = (
        config(&place, &[("data.store", "memory")]),
        config(&place, &[]),
    );
    let in_memory = |c: &RunConfig| place.open(c).unwrap().pixels.in_memory().is_some();
    assert!(in_memory(&resident) && !in_memory(&stored));
    let (a, b) = (
        trained(&gpu, &place, &resident, 3),
        trained(&gpu, &place, &stored, 3),
    );
    assert!(tensors(&a) == tensors(&b));
    let mut trainers = [&resident, &stored].map(|c| {
        Trainer::new(
            &gpu,
            &c.resolve(&Registry::default()).unwrap(),
            place.open(c).unwrap(),
        )
        .unwrap()
    });
    let [mse, again] = trainers.each_mut().map(|t| t.evaluate().unwrap().mse);
    assert_eq!(mse.to_bits(), again.to_bits());
    let [pairs, others] = trainers.each_mut().map(|t| t.test_pairs(3).unwrap());
    assert_eq!(pairs, others);
    assert!(trainers[0].waiting().is_none() && trainers[1].waiting().is_some());
}

#[derive(Default)]
struct Heard {
    notes: Vec<String>,
    waiting: Vec<f64>,
}

impl Observer for Heard {
    fn step(&mut self, progress: &Progress) {
        self.waiting.extend(progress.waiting.map(|w| w.share()));
    }
    fn evaluated(&mut self, _: u64, _: &dyn std::fmt::Display) {}
    fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }
}

fn run_in(
    gpu: &Gpu,
    place: &Place,
    config: &RunConfig,
    folder: &Path,
    start: Start,
) -> wgvq::Result<Heard> {
    let folder = match start {
        Start::Fresh => RunFolder::create(folder, true)?,
        Start::Resume => RunFolder::resume(folder)?,
    };
    let mut heard = Heard::default();
    run(
        gpu,
        &config.resolve(&Registry::default())?,
        place.open(config)?,
        &folder,
        start,
        &mut heard,
        &AtomicBool::new(false),
    )?;
    Ok(heard)
}

#[test]
fn a_run_on_photographs_resumes_to_the_same_bytes_and_becomes_tokens() {
    let (gpu, place, out) = (gpu(), Place::new(), tempfile::tempdir().unwrap());
    let whole = config(&place, &CROPS);
    let set = place.open(&whole).unwrap();
    assert!(set.pixels.photographs().is_some() && set.len() == 30 * 6 * 4);
    let [a, b] = ["a", "b"].map(|name| out.path().join(name));
    let heard = run_in(&gpu, &place, &whole, &a, Start::Fresh).unwrap();
    assert_eq!(
        heard.waiting.len(),
        6,
        "each step tells how long was waited"
    );
    assert!(
        heard
            .waiting
            .iter()
            .all(|share| (0.0..=1.0).contains(share))
    );
    assert!(
        heard.notes.iter().any(|note| note.contains("kept on disk")),
        "{:?}",
        heard.notes
    );
    let half = config(&place, &[&CROPS[..], &[("train.steps", "3")]].concat());
    run_in(&gpu, &place, &half, &b, Start::Fresh).unwrap();
    // Other threads and another place may take it on.
    let rest = config(
        &place,
        &[
            &CROPS[..],
            &[("data.workers", "3"), ("data.store", "memory")],
        ]
        .concat(),
    );
    run_in(&gpu, &place, &rest, &b, Start::Resume).unwrap();
    let model = |folder: &Path| std::fs::read(folder.join("final.safetensors")).unwrap();
    assert!(tensors(&model(&a)) == tensors(&model(&b)));
    // The tokens walk over the fixed tiles, each training tile mirrored too.
    let trained = FirstStageModel::load(&gpu, &a).unwrap();
    let tokens = tokenize(
        &trained,
        0,
        &set,
        None,
        &out.path().join("tokens"),
        &mut |_, _| Ok(()),
    )
    .unwrap();
    assert_eq!(
        (tokens.train.len(), tokens.test.len()),
        (2 * set.train.len(), set.test.len())
    );
    let codes = trained
        .encode(&set.gather(&set.test[..2]).unwrap())
        .unwrap();
    assert_eq!(tokens.test.read(&[0, 1]).unwrap().0, codes);
    // Other pictures are another set.
    std::fs::remove_file(place.pictures.path().join("07.png")).unwrap();
    let longer = config(&place, &[&CROPS[..], &[("train.steps", "9")]].concat());
    let error = run_in(&gpu, &place, &longer, &b, Start::Resume)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("is not the one that this run began with"),
        "{error}"
    );
}

/// A PNG of which the last part of the pixels is noise, with its header and both ends in order.
fn damage(picture: &Path) {
    let mut bytes = std::fs::read(picture).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40].fill(0xaa);
    std::fs::write(picture, bytes).unwrap();
}

/// Wherever pixels lie, a damaged picture is named, counted and passed over, and what is trained is
/// what would be without it; a run that is resumed goes on with the same set.
#[test]
fn a_damaged_picture_does_not_end_a_run_wherever_pixels_lie() {
    let (gpu, out) = (gpu(), tempfile::tempdir().unwrap());
    let (sound, place) = (Place::new(), Place::new());
    for name in ["07.png", "22.png"] {
        std::fs::remove_file(sound.pictures.path().join(name)).unwrap();
        damage(&place.pictures.path().join(name));
    }
    let here = |place: &Place, path: &Path, keys: &[(&str, &str)], start| {
        run_in(&gpu, place, &config(place, keys), path, start)
    };
    let model = |folder: &Path| std::fs::read(folder.join("final.safetensors")).unwrap();
    let nowhere = [("data.cache_mib", "0"), ("data.store", "disk")];
    for (n, keys) in [&CROPS[..], &[("data.store", "disk")], &nowhere]
        .into_iter()
        .enumerate()
    {
        let at = |name: &str| out.path().join(format!("{name}{n}"));
        let heard = here(&place, &at("a"), keys, Start::Fresh).unwrap();
        let notes = heard.notes.join("; ");
        for words in ["2 of 30 files skipped", "07.png (", "22.png ("] {
            assert!(notes.contains(words), "{words}: {notes}");
        }
        let heard = here(&sound, &at("b"), keys, Start::Fresh).unwrap();
        assert!(!heard.notes.iter().any(|note| note.contains("skipped")));
        assert!(
            tensors(&model(&at("a"))) == tensors(&model(&at("b"))),
            "{n}"
        );
        let half = [keys, &[("train.steps", "3")]].concat();
        here(&place, &at("c"), &half, Start::Fresh).unwrap();
        here(&place, &at("c"), keys, Start::Resume).unwrap();
        assert!(
            tensors(&model(&at("a"))) == tensors(&model(&at("c"))),
            "{n}"
        );
    }
    // The same pictures of the same set in memory.
    let set = |keys: &[(&str, &str)]| place.open(&config(&place, keys)).unwrap();
    let (disk, memory) = (set(&nowhere), set(&[("data.store", "memory")]));
    assert_eq!(
        (disk.len(), &disk.items, &disk.test),
        (28, &memory.items, &memory.test)
    );
    // Half of them damaged are too many.
    for i in 8..21 {
        damage(&place.pictures.path().join(format!("{i:02}.png")));
    }
    let error = place.open(&config(&place, &nowhere)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("15 of its 30 images cannot be read; the first:"),
        "{error}"
    );
}

/// A set that was opened before is not decoded again, also where nothing of it could be kept.
#[test]
fn a_set_is_decoded_as_a_whole_but_once() {
    let place = Place::new();
    // Of pixels that cannot be packed, so that its middle lies between the ends that are looked at.
    let picture = place.pictures.path().join("07.png");
    let noise = |x: u32, y: u32| {
        let n = (x * 200 + y).wrapping_mul(2_654_435_761);
        image::Rgb([(n >> 24) as u8, (n >> 16) as u8, (n >> 8) as u8])
    };
    let noise = image::RgbImage::from_fn(200, 200, noise);
    noise.save(&picture).unwrap();
    let nowhere = config(&place, &[&CROPS[..], &[("data.cache_mib", "0")]].concat());
    let before = place.open(&nowhere).unwrap();
    // Nothing that is known of the file changes: length, ends and time.
    let time = std::fs::metadata(&picture).unwrap().modified().unwrap();
    damage(&picture);
    let file = std::fs::File::options().write(true).open(&picture).unwrap();
    file.set_modified(time).unwrap();
    assert_eq!(place.open(&nowhere).unwrap().len(), before.len());
    // Another form of it was not looked at yet.
    let grey = [
        &CROPS[..],
        &[("data.cache_mib", "0"), ("data.channels", "1")],
    ]
    .concat();
    let set = place.open(&config(&place, &grey)).unwrap();
    assert!(
        set.notes
            .iter()
            .any(|note| note.contains("1 of 30 files skipped: 07.png")),
        "{:?}",
        set.notes
    );
}

#[test]
fn what_goes_wrong_with_pictures_is_named() {
    let (gpu, place) = (gpu(), Place::new());
    // With no place for what is decoded.
    let crops = config(&place, &[&CROPS[..], &[("data.cache_mib", "0")]].concat());
    let mut trainer = Trainer::new(
        &gpu,
        &crops.resolve(&Registry::default()).unwrap(),
        place.open(&crops).unwrap(),
    )
    .unwrap();
    for i in 0..30 {
        std::fs::remove_file(place.pictures.path().join(format!("{i:02}.png"))).unwrap();
    }
    let error = trainer.step().err().unwrap().to_string();
    assert!(
        error.contains(".png: was there when the set was opened"),
        "{error}"
    );
    // A place where nothing can be kept.
    let place = Place::new();
    std::fs::write(place.cache.path().join("decoded"), b"a file").unwrap();
    let error = place.open(&config(&place, &CROPS)).unwrap_err().to_string();
    assert!(
        error.contains("decoded") && error.contains("data.store"),
        "{error}"
    );
    // A set of which no crops can be drawn, before anything is trained.
    let mut emoji = crops.clone();
    emoji.data.source = "emoji".into();
    let set = data::open("emoji", &emoji.data.options()).unwrap();
    let error = wgvq::train::check(&emoji.resolve(&Registry::default()).unwrap(), &set)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("data.crop") && error.contains("not a folder of photographs"),
        "{error}"
    );
}
