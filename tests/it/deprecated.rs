//! Programs of version 0.1 still compile, and compute what the new names compute.
#![allow(deprecated)]

use std::path::{Path, PathBuf};
use wgvq::gpu::{Gpu, Options};
use wgvq::inference::{FirstStageModel, Hierarchy, PriorModel, SampleRequest, no_progress};
use wgvq::train::{Decoder, Draw, Drawing, Given, Priors, Tiling, Trained, TrainedPrior};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/runs")
        .join(name)
}

#[test]
fn old_names_give_what_the_new_ones_give() {
    let gpu = Gpu::new(Options::default()).expect("an adapter; scripts/test.sh installs one");
    let run = fixture("ema");
    let old = Trained::load_with(&gpu, &run, &wgvq::quantize::Registry::default()).unwrap();
    let new: FirstStageModel = FirstStageModel::load(&gpu, &run).unwrap();
    let codes = vec![1; new.codes_per_image()];
    let pixels = new.decode(&codes).unwrap();
    assert_eq!(old.decode(&codes).unwrap(), pixels);
    let decoder: Decoder = Decoder::load(&gpu, &run).unwrap();
    assert_eq!(decoder.decode(&codes).unwrap(), pixels);
    let [w, h, _] = new.image();
    let mut tiled = old.tiled(Tiling::default());
    assert_eq!(
        tiled.decode(&codes, [w, h], &mut no_progress).unwrap(),
        pixels
    );

    let place = wgvq::train::prior_folder(&run, "");
    let prior = TrainedPrior::load(&gpu, &place, &new).unwrap();
    let how = Draw {
        seed: 5,
        ..Default::default()
    };
    let request = SampleRequest {
        options: how,
        ..SampleRequest::new(&[0, 1])
    };
    let wanted = PriorModel::load(&gpu, &place, &new)
        .unwrap()
        .sample(&request, &mut no_progress)
        .unwrap();
    let drawn: Drawing = prior.draw(&[0, 1], None, &how, &mut |_, _| Ok(())).unwrap();
    assert_eq!(drawn, wanted);
    let pending = prior.draw_async(&[0, 1], None, &how).unwrap();
    assert_eq!(pending.wait().unwrap(), wanted);
    let mut underway = prior.begin(&[0, 1], None, &how).unwrap();
    while underway.step().unwrap() {}
    assert_eq!(underway.finish().unwrap(), wanted);

    let priors = Priors::load(&gpu, &run, &new).unwrap();
    assert_eq!(priors.about(), Hierarchy::info(&priors));
    let places = vec![true; priors.codes_per_image()];
    let given = Given {
        codes: &codes,
        places: &places,
    };
    let kept = priors.draw(&[0], Some(given), &how, &mut |_, _| Ok(()));
    assert_eq!(kept.unwrap().codes, codes);
}
