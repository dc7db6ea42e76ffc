//! Commands whose device goes away at steps that a test names.

use super::MOST_LOSSES;
use crate::cli::common::output::{Elsewhere, take_lines};
use crate::cli::{Cli, CommandStatus, run};
use clap::Parser;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use wgvq::gpu::Gpu;
use wgvq::storage::run_parts::{COMPARED, DRAWN};
use wgvq::{Error, Result};

thread_local! {
    /// Steps at which the device of a training of this thread goes, one after another.
    static LOSSES: RefCell<VecDeque<u64>> = const { RefCell::new(VecDeque::new()) };
}

/// Takes the device away where a test said so.
pub fn stepped(gpu: Option<&Gpu>, step: u64) {
    LOSSES.with_borrow_mut(|losses| {
        if losses.front() == Some(&step) {
            losses.pop_front();
            gpu.expect("a watch that knows its device")
                .device()
                .destroy();
        }
    });
}

/// Runs a command whose device goes at these steps, one after another.
fn ended(args: &[&str], losses: &[u64]) -> Result<CommandStatus> {
    LOSSES.set(losses.iter().copied().collect());
    let mut cli = Cli::try_parse_from([&["wgvq"][..], args].concat()).expect("options");
    let ended = run(&mut cli);
    if ended.is_ok() {
        let left = LOSSES.take();
        assert!(left.is_empty(), "{args:?} lost nothing at {left:?}");
    }
    ended
}

fn done(args: &[&str], losses: &[u64]) {
    match ended(args, losses) {
        Ok(CommandStatus::Done) => {}
        Ok(_) => panic!("{args:?}: not done"),
        Err(e) => panic!("{args:?}: {e}"),
    }
}

/// A folder of small pictures with captions, and a place for runs.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.path("data")).unwrap();
        let mut captions = String::new();
        for i in 0..30u32 {
            let picture = image::RgbImage::from_fn(16, 16, |x, y| {
                let shade = [x * 9 + i * 31, y * 11 + i * 17, (x * y + i * 53) % 251];
                image::Rgb(shade.map(|v| v as u8))
            });
            picture
                .save(place.path(&format!("data/{i:02}.png")))
                .unwrap();
            let shade = ["red", "dark", "pale"][i as usize % 3];
            captions += &format!("{{\"image\": \"{i:02}.png\", \"text\": \"a {shade} one\"}}\n");
        }
        std::fs::write(place.path("data/captions.jsonl"), captions).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("Unicode").to_owned()
    }

    /// A configuration of so many steps.
    fn config(&self, steps: u64) -> String {
        let text = format!(
            "[data]\nsource = '{}'\nwidth = 16\nheight = 16\n[model]\nhidden = 16\n\
             residual_layers = 1\nresidual_hidden = 8\n[quantizer]\ncodebook_size = 32\n\
             codebook_dim = 8\nkmeans_iters = 3\n[train]\nsteps = {steps}\nbatch_size = 4\n\
             log_every = 2\neval_every = 6\ncheckpoint_every = 3\n",
            self.text("data")
        );
        std::fs::write(self.path("tiny.toml"), text).unwrap();
        self.text("tiny.toml")
    }
}

/// Files that say when something was done, or how long it took.
const TIMED: [&str; 8] = [
    "sessions.json",
    "pace.json",
    "compare.md",
    "compare.png",
    "compare.csv",
    "replacing.json",
    COMPARED,
    DRAWN,
];

/// The files of a run, or of several, but for [`TIMED`].
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(inside) = folders.pop() {
        for entry in std::fs::read_dir(inside).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !TIMED.iter().any(|name| path.ends_with(name)) {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Runs what makes a run in the same folder, which stands in some of its files, with and without
/// losses; all files must be the same.
fn same(place: &Place, make: impl Fn(&str, bool)) {
    let [now, whole] = ["now", "whole"].map(|name| place.path(name));
    make(&place.text("now"), false);
    std::fs::rename(&now, &whole).unwrap();
    make(&place.text("now"), true);
    let (want, got) = (files(&whole), files(&now));
    assert_eq!(
        want.keys().collect::<Vec<_>>(),
        got.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &want {
        assert!(got[name] == *bytes, "{} is another", name.display());
    }
    for folder in [now, whole] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// These losses where there are to be some.
fn some(losses: &[u64], lost: bool) -> &[u64] {
    if lost { losses } else { &[] }
}

/// At the first step, before the first checkpoint, after one, at a measurement, at the last step.
#[test]
fn a_training_goes_on_by_itself() {
    let place = Place::new();
    let config = place.config(12);
    let said = Arc::new(Mutex::new(Vec::new()));
    let lines = said.clone();
    take_lines(Some(Elsewhere {
        say: Box::new(move |line| lines.lock().unwrap().push(line.to_owned())),
        leave: || {},
    }));
    same(&place, |run, lost| {
        let args = ["train", &config, "--out", run];
        done(&args, some(&[1, 2, 4, 6, 12], lost));
    });
    take_lines(None);
    let (said, run) = (said.lock().unwrap(), place.text("now"));
    let losses = said.iter().filter(|line| {
        line.starts_with(&run) && line.contains("lost (") && line.contains("from the last check")
    });
    assert_eq!(losses.count(), 5, "{said:#?}");
}

#[test]
fn a_device_that_is_lost_again_and_again_is_the_end() {
    let place = Place::new();
    let (config, run) = (place.config(6), place.text("run"));
    let again = vec![2; MOST_LOSSES as usize + 1];
    let error = ended(&["train", &config, "--out", &run, "-q"], &again).map(drop);
    assert!(matches!(error, Err(Error::DeviceLost { .. })), "{error:?}");
    done(&["train", "--resume", &run, "-q"], &[2]);
}

/// A long run on a driver that resets now and then ends all the same.
#[test]
fn losses_count_anew_after_a_checkpoint() {
    let place = Place::new();
    let config = place.config(21);
    same(&place, |run, lost| {
        let losses = some(&[2, 4, 7, 10, 13, 16, 19], lost);
        assert!(!lost || losses.len() > MOST_LOSSES as usize);
        done(&["train", &config, "--out", run, "-q"], losses);
    });
    // Those after one checkpoint are counted, whatever came before it.
    let run = place.text("run");
    let again = [&[1, 2][..], &[4; MOST_LOSSES as usize + 1]].concat();
    let error = ended(&["train", &config, "--out", &run, "-q"], &again).map(drop);
    assert!(matches!(error, Err(Error::DeviceLost { .. })), "{error:?}");
}

/// One run after another: before a run's first checkpoint, after it, at its end; and where all are
/// replaced.
#[test]
fn a_comparison_goes_on_by_itself() {
    let place = Place::new();
    let config = place.config(6);
    same(&place, |out, lost| {
        let args = ["compare", &config, "--quantizers", "ema,fsq", "--out", out];
        let fresh = [&args[..], &["-q"]].concat();
        done(&fresh, some(&[2, 4, 6, 1, 5], lost));
        let again = [&args[..], &["--overwrite", "--seeds", "0", "-q"]].concat();
        done(&again, some(&[2, 4, 3], lost));
    });
}

#[test]
fn a_comparison_of_priors_goes_on_by_itself() {
    let place = Place::new();
    let (config, of) = (place.config(6), place.text("of"));
    done(&["train", &config, "--out", &of, "-q"], &[]);
    let keys = "--priors raster,masked --n 2 --steps 6 --batch 4 -q --set prior.layers=1 --set \
                prior.dim=16 --set prior.heads=1 --set train.checkpoint_every=3";
    let keys: Vec<&str> = keys.split_whitespace().collect();
    same(&place, |out, lost| {
        let args = [&["compare", "--of", &of, "--out", out][..], &keys].concat();
        done(&args, some(&[2, 4, 6, 1], lost));
    });
}

/// Its first stage; the second is a prior as others are, and takes the codes of all emoji.
#[test]
fn a_demo_goes_on_by_itself() {
    let place = Place::new();
    let keys = "--steps 2 --prior-steps 0 -q";
    let keys: Vec<&str> = keys.split_whitespace().collect();
    same(&place, |out, lost| {
        let args = [&["demo", "--out", out][..], &keys].concat();
        done(&args, some(&[1, 2], lost));
    });
}

/// A run that is replaced stays until the first checkpoint, and is not what the training goes on
/// with.
#[test]
fn a_training_that_replaces_another_begins_again() {
    let place = Place::new();
    let config = place.config(6);
    same(&place, |run, lost| {
        done(&["train", &config, "--seed", "9", "--out", run, "-q"], &[]);
        let args = ["train", &config, "--out", run, "--overwrite", "-q"];
        done(&args, some(&[1, 2, 4], lost));
    });
}

#[test]
fn a_prior_goes_on_by_itself() {
    let place = Place::new();
    let config = place.config(6);
    let keys = "--steps 6 --batch 4 -q --set prior.layers=1 --set prior.dim=16 --set \
                prior.heads=1 --set train.checkpoint_every=3";
    let keys: Vec<&str> = keys.split_whitespace().collect();
    same(&place, |run, lost| {
        done(&["train", &config, "--out", run, "-q"], &[]);
        let args = [&["prior", run][..], &keys].concat();
        done(&args, some(&[1, 4, 6], lost));
    });
}

#[test]
fn a_training_on_vectors_goes_on_by_itself() {
    let place = Place::new();
    let values = (0..400 * 6).map(|i| ((i * 37 % 101) as f32).sin());
    let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (400, 6), }";
    let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    npy.extend(format!("{head:<117}\n").bytes());
    npy.extend(values.flat_map(f32::to_le_bytes));
    std::fs::write(place.path("x.npy"), npy).unwrap();
    let data = place.text("x.npy");
    let keys = "--model mlp --steps 6 --batch 16 --set data.test_rows=40 --set \
                train.checkpoint_every=3 -q";
    let keys: Vec<&str> = keys.split_whitespace().collect();
    same(&place, |run, lost| {
        let args = [&["train", "--data", &data, "--out", run][..], &keys].concat();
        done(&args, some(&[2, 4], lost));
    });
}

/// Each of the three trainings loses its device, and where a prior is replaced, before the new one
/// is in its place and after.
#[test]
fn all_stages_of_texts_to_images_go_on_by_themselves() {
    let place = Place::new();
    let data = place.text("data/captions.jsonl");
    let first = "--stage1-steps 6 --stage1 model.hidden=16 --stage1 model.residual_layers=1 \
                 --stage1 model.residual_hidden=8 --stage1 data.width=16 --stage1 data.height=16 \
                 --stage1 quantizer.codebook_size=32 --stage1 quantizer.kmeans_iters=3 --stage1 \
                 train.batch_size=4 --stage1 train.checkpoint_every=3";
    let others = "--steps 6 --batch 4 --judge-steps 6 --vocabulary 270 --size tiny -q --set \
                  train.checkpoint_every=3 --set prior.layers=1 --set prior.dim=16 --set \
                  prior.heads=1 --set prior.text_layers=1 --judge model.dim=16 --judge \
                  model.layers=1 --judge train.checkpoint_every=3";
    let first: Vec<&str> = first.split_whitespace().collect();
    let others: Vec<&str> = others.split_whitespace().collect();
    same(&place, |run, lost| {
        let args = ["text2image", "train", "--data", &data, "--out", run];
        let args = [&args[..], &first, &others].concat();
        done(&args, some(&[2, 4, 2, 5, 3], lost));
        let again = [
            "text2image",
            "train",
            "--out",
            run,
            "--overwrite",
            "--seed",
            "3",
        ];
        let again = [&again[..], &others].concat();
        done(&again, some(&[2, 4, 1], lost));
    });
}
