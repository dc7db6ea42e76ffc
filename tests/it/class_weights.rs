//! Classes whose images are drawn more or less often: by a first stage and by a prior, the same
//! when a training goes on where it stopped, and refused by name where there are no classes.

use crate::common::{
    SMALLEST_PRIOR, few_pictures, gpu, ok, refused, run, stderr, text, tiny_config,
    tiny_config_over,
};
use crate::host::{pictures_of_classes, small_config};
use std::path::Path;
use std::sync::Arc;
use wgvq::config::DottedConfig;
use wgvq::data::ImageSet;
use wgvq::quantize::Registry;
use wgvq::storage::checkpoint::Checkpoint;
use wgvq::train::Trainer;

fn trainer(data: &Arc<ImageSet>, weights: &str) -> Trainer {
    let mut config = small_config();
    (config.train.batch_size, config.train.steps) = (8, 4);
    config.set("data.class_weights", weights).unwrap();
    let config = config.resolve(&Registry::default()).unwrap();
    Trainer::new(&gpu(), &config, data.clone()).unwrap()
}

fn after(mut trainer: Trainer, steps: usize) -> Checkpoint {
    (0..steps).for_each(|_| trainer.step().unwrap());
    trainer.checkpoint().unwrap()
}

#[test]
fn a_training_by_weights_goes_on_to_the_same_bytes() {
    let data = Arc::new(pictures_of_classes(16, 24));
    let alone = after(trainer(&data, "balanced"), 4);
    let half = after(trainer(&data, "balanced"), 2);
    let mut second = trainer(&data, "balanced");
    second.restore(&half).unwrap();
    let resumed = after(second, 2);
    assert!(alone.tensors == resumed.tensors);
    // Other images were seen than without weights.
    assert!(after(trainer(&data, "none"), 4).tensors != alone.tensors);
}

fn trained(folder: &Path, out: &Path, more: &[&str]) -> std::process::Output {
    let config = folder.join("tiny.toml");
    let args = ["train", text(&config), "--out", text(out), "--quiet"];
    run(&[&args[..], more].concat())
}

#[test]
fn commands_take_weights_and_say_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, out) = (folder.path(), folder.path().join("run"));
    tiny_config(&folder.join("tiny.toml"), 4);
    let wrong = trained(folder, &out, &["--set", "data.class_weights=1,2"]);
    refused(
        wrong,
        &["data.class_weights", "2 numbers", "3 classes: Flags ("],
    );
    assert!(!out.exists());
    ok(trained(
        folder,
        &out,
        &["--set", "data.class_weights=1,2,0"],
    ));
    let kept = std::fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(kept.contains("class_weights = [1.0, 2.0, 0.0]"), "{kept}");
    // Other weights would be another run.
    let other = ["--set", "data.class_weights=balanced", "--steps", "6"];
    let resume = ["train", "--resume", text(&out), "--quiet"];
    refused(
        run(&[&resume[..], &other].concat()),
        &["under the run's own configuration"],
    );
    ok(run(&[&resume[..], &["--steps", "6"]].concat()));

    let prior = |weights: &str| {
        let weights = format!("train.class_weights={weights}");
        let args = [
            "prior",
            text(&out),
            "--steps",
            "3",
            "--quiet",
            "--set",
            &weights,
        ];
        run(&[&args[..], &["--set", "train.batch_size=4"], &SMALLEST_PRIOR].concat())
    };
    refused(prior("1"), &["train.class_weights", "3 classes: Flags ("]);
    ok(prior("balanced"));

    // Without classes there is nothing to weigh.
    let plain = folder.join("plain");
    std::fs::create_dir(&plain).unwrap();
    let flags = std::fs::read_dir(few_pictures().join("Flags")).unwrap();
    for entry in flags.map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), plain.join(entry.file_name())).unwrap();
    }
    tiny_config_over(&folder.join("tiny.toml"), 4, &plain, "");
    let none = trained(
        folder,
        &folder.join("other"),
        &["--set", "data.class_weights=balanced"],
    );
    assert!(stderr(&none).contains("data.class_weights"));
    refused(none, &["needs classes", "plain have none"]);
}
