//! LPIPS against PyTorch, over torchvision's networks under their names.

use crate::common::fixture::Fixture;
use crate::common::{gpu, pattern, text};
use crate::host::{pictures, small_config};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wgvq::autograd::{Tape, Var};
use wgvq::config::DottedConfig;
use wgvq::gpu::{DType, Gpu, Tensor};
use wgvq::metrics::Row;
use wgvq::models::losses::lpips::{Backbone, Lpips};
use wgvq::nn::HostTensors;
use wgvq::quantize::Registry;
use wgvq::train::Trainer;

/// The convolutions of torchvision's networks, as (name, [O, I, K, K]), and the channels of the
/// features that are compared.
fn network(backbone: Backbone) -> (Vec<(String, [usize; 4])>, &'static [usize]) {
    let named = |list: &[(usize, [usize; 4])]| {
        list.iter()
            .map(|(i, s)| (format!("features.{i}"), *s))
            .collect()
    };
    match backbone {
        Backbone::Vgg16 => {
            let places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
            let widths = [
                64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512,
            ];
            let shape = |k: usize| [widths[k], if k == 0 { 3 } else { widths[k - 1] }, 3, 3];
            let all: Vec<_> = places
                .into_iter()
                .enumerate()
                .map(|(k, place)| (place, shape(k)))
                .collect();
            (named(&all), &[64, 128, 256, 512, 512])
        }
        Backbone::AlexNet => {
            let all = [
                (0, [64, 3, 11, 11]),
                (3, [192, 64, 5, 5]),
                (6, [384, 192, 3, 3]),
                (8, [256, 384, 3, 3]),
                (10, [256, 256, 3, 3]),
            ];
            (named(&all), &[64, 192, 384, 256, 256])
        }
        Backbone::SqueezeNet => {
            let mut all: Vec<(String, [usize; 4])> = named(&[(0, [64, 3, 3, 3])]);
            let mut i = 64;
            for (place, s, e) in [
                (3, 16, 64),
                (4, 16, 64),
                (6, 32, 128),
                (7, 32, 128),
                (9, 48, 192),
                (10, 48, 192),
                (11, 64, 256),
                (12, 64, 256),
            ] {
                for (part, shape) in [
                    ("squeeze", [s, i, 1, 1]),
                    ("expand1x1", [e, s, 1, 1]),
                    ("expand3x3", [e, s, 3, 3]),
                ] {
                    all.push((format!("features.{place}.{part}"), shape));
                }
                i = 2 * e;
            }
            (all, &[64, 128, 256, 384, 384, 512, 512])
        }
    }
}

/// The weights that the fixtures were made with, in PyTorch's layouts.
fn weights(backbone: Backbone) -> HostTensors {
    let mut all = HostTensors::new();
    let mut put = |name: String, shape: &[usize], of: &dyn Fn(f64) -> f64| {
        let values = pattern(&name, shape.iter().product())
            .into_iter()
            .map(|v| of(v) as f32)
            .collect();
        all.insert(name, (shape.to_vec(), values));
    };
    let (convolutions, channels) = network(backbone);
    for (name, shape) in convolutions {
        let spread = (6.0 / (shape[1] * shape[2] * shape[3]) as f64).sqrt();
        put(format!("{name}.weight"), &shape, &|v| v * spread);
        put(format!("{name}.bias"), &shape[..1], &|v| v * 0.05);
    }
    for (i, c) in channels.iter().enumerate() {
        put(format!("lin{i}.model.1.weight"), &[1, *c, 1, 1], &|v| {
            (v + 1.0) / 2.0
        });
    }
    all
}

/// Images [B, H, W, C], and others near them.
fn pair(gpu: &Gpu, shape: [usize; 4]) -> [Tensor; 2] {
    let n = shape.iter().product();
    let first: Vec<f32> = pattern("first", n)
        .into_iter()
        .map(|v| (0.7 * v) as f32)
        .collect();
    let second: Vec<f32> = first
        .iter()
        .zip(pattern("second", n))
        .map(|(a, v)| (f64::from(*a) + 0.3 * v) as f32)
        .collect();
    [first, second].map(|values| Tensor::from_slice(gpu, &shape, &values).unwrap())
}

/// PyTorch in f64 on the same weights and images: distances, and their gradient to the first
/// images.
fn agrees(backbone: Backbone, batch: usize) {
    let gpu = gpu();
    let fixture = Fixture::load(&format!("lpips/{}", backbone.name()));
    let lpips = Lpips::from_tensors(&gpu, &weights(backbone)).unwrap();
    assert_eq!(lpips.backbone(), backbone);
    for (name, gradient, channels) in [("distance", "gradient", 3), ("grey", "gradient.grey", 1)] {
        let [a, b] = pair(&gpu, [batch, 35, 50, channels]);
        let want = fixture.floats(name);
        assert_eq!(want.len(), batch);
        let want = want.iter().sum::<f32>() / batch as f32;
        let tape = Tape::new(&gpu);
        let x = tape.leaf(&a);
        let y = lpips.distance(&tape, &x, &tape.constant(&b)).unwrap();
        let got = y.tensor().read::<f32>().unwrap()[0];
        assert!(
            (got - want).abs() <= 1e-5 * want,
            "{name}: {got} for {want}"
        );
        let got: Vec<f32> = tape.backward(&y).unwrap().get(&x).unwrap().read().unwrap();
        fixture.close(gradient, &got, 1e-4);
    }
}

#[test]
fn pytorch_agrees_over_vgg() {
    agrees(Backbone::Vgg16, 2);
}

#[test]
fn pytorch_agrees_over_alexnet() {
    agrees(Backbone::AlexNet, 1);
}

#[test]
fn pytorch_agrees_over_squeezenet() {
    agrees(Backbone::SqueezeNet, 1);
}

/// Equal images have distance 0, and none of what is compared becomes NaN there; either side can be
/// the one that learns; features that are kept give the same as images.
#[test]
fn a_distance_is_one() {
    let gpu = gpu();
    let lpips = Lpips::from_tensors(&gpu, &weights(Backbone::SqueezeNet)).unwrap();
    let [a, b] = pair(&gpu, [1, 17, 20, 3]);
    let read = |v: &Var| v.tensor().read::<f32>().unwrap()[0];
    let gradient = |distance: &dyn Fn(&Tape, &Var) -> Var| -> (f32, Vec<f32>) {
        let tape = Tape::new(&gpu);
        let x = tape.leaf(&a);
        let y = distance(&tape, &x);
        (
            read(&y),
            tape.backward(&y).unwrap().get(&x).unwrap().read().unwrap(),
        )
    };
    let there = gradient(&|tape, x| lpips.distance(tape, x, &tape.constant(&b)).unwrap());
    let back = gradient(&|tape, x| lpips.distance(tape, &tape.constant(&b), x).unwrap());
    assert!(there.0 > 0.0 && there.1.iter().any(|g| *g != 0.0));
    assert_eq!(there, back);
    let still = Tape::no_grad(&gpu);
    let kept = lpips.features(&still, &still.constant(&b)).unwrap();
    let of_features = gradient(&|tape, x| {
        lpips
            .between(tape, &lpips.features(tape, x).unwrap(), &kept)
            .unwrap()
    });
    assert_eq!(there, of_features);
    let (zero, none) = gradient(&|tape, x| lpips.distance(tape, x, &tape.constant(&a)).unwrap());
    assert!(zero == 0.0 && none.iter().all(|g| *g == 0.0));
    // Black all over: rows without a positive feature.
    let black = Tensor::zeros(&gpu, a.shape(), DType::F32).unwrap();
    let (far, g) = gradient(&|tape, x| lpips.distance(tape, x, &tape.constant(&black)).unwrap());
    assert!(far.is_finite() && g.iter().all(|g| g.is_finite()));
}

#[test]
fn what_does_not_fit_is_named() {
    let gpu = gpu();
    let tensors = weights(Backbone::AlexNet);
    let lpips = Lpips::from_tensors(&gpu, &tensors).unwrap();
    let tape = Tape::no_grad(&gpu);
    let zeros =
        |shape: [usize; 4]| tape.constant(&Tensor::zeros(&gpu, &shape, DType::F32).unwrap());
    let of = |a: [usize; 4], b: [usize; 4]| lpips.distance(&tape, &zeros(a), &zeros(b)).map(drop);
    assert!(of([1, 31, 31, 3], [1, 31, 31, 3]).is_ok());
    let says = |result: wgvq::Result<()>, word: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    says(of([1, 31, 30, 3], [1, 31, 30, 3]), "at least 31 x 31");
    says(of([1, 32, 32, 2], [1, 32, 32, 2]), "1 or 3 channels");
    says(of([1, 32, 32, 3], [1, 32, 33, 3]), "[1, 32, 32, 3]");
    assert_eq!(Backbone::Vgg16.smallest_side(), 16);

    let wrong = |change: &dyn Fn(&mut HostTensors), word: &str| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        says(Lpips::from_tensors(&gpu, &tensors).map(drop), word);
    };
    wrong(
        &|t| drop(t.remove("features.6.bias")),
        "`features.6.bias` of shape [384] is missing",
    );
    wrong(
        &|t| drop(t.remove("lin3.model.1.weight")),
        "`lin3.model.1.weight`",
    );
    wrong(&|t| drop(t.remove("features.8.weight")), "holds no network");
    wrong(
        &|t| t.get_mut("features.3.weight").unwrap().0 = vec![64, 192, 5, 5],
        "has shape [64, 192, 5, 5]",
    );
    wrong(
        &|t| t.get_mut("features.10.weight").unwrap().1[7] = f32::NAN,
        "`features.10.weight` has values",
    );
}

/// Writes tensors as safetensors, in f32 or f16.
fn saved(path: &Path, tensors: &HostTensors, half: bool) -> PathBuf {
    use safetensors::tensor::{Dtype, TensorView};
    let data = |v: &f32| match half {
        true => half::f16::from_f32(*v).to_le_bytes().to_vec(),
        false => v.to_le_bytes().to_vec(),
    };
    let dtype = if half { Dtype::F16 } else { Dtype::F32 };
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, v))| (name, shape, v.iter().flat_map(data).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, b)| (*name, TensorView::new(dtype, (*shape).clone(), b).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    path.to_owned()
}

/// A model that is held near its images by it learns in mixed precision as in f32, and measures
/// alike.
#[test]
fn mixed_precision_learns_from_it_as_f32_does() {
    let (gpu, folder) = (gpu(), tempfile::tempdir().unwrap());
    let file = folder.path().join("squeezenet");
    saved(&file, &weights(Backbone::SqueezeNet), false);
    let data = Arc::new(pictures(20, 12));
    let train = |precision: &str, weight: &str| {
        let mut config = small_config();
        config.train.log_every = 1;
        let keys = [
            ("train.precision", precision),
            ("loss.lpips", text(&file)),
            ("loss.lpips_weight", weight),
        ];
        for (key, value) in keys {
            config.set(key, value).unwrap();
        }
        let config = config.resolve(&Registry::default()).unwrap();
        let mut trainer = Trainer::new(&gpu, &config, data.clone()).unwrap();
        (0..8).for_each(|_| trainer.step().unwrap());
        let rows = trainer.rows(true).unwrap();
        let measured = trainer.evaluate().unwrap();
        (rows, measured.lpips)
    };
    let ((full, far), (mixed, near)) = (train("f32", "1"), train("mixed", "1"));
    let mut same = true;
    for (a, b) in full.iter().zip(&mixed) {
        let (x, y) = (a.losses, b.losses);
        let pairs = [(x.loss, y.loss), (x.reconstruction, y.reconstruction)];
        for (x, y) in pairs {
            assert!((x - y).abs() < 0.05 * x, "step {}: {x} {y}", a.step);
        }
        same &= x.loss == y.loss;
    }
    assert!(!same, "nothing was rounded");
    assert!((far - near).abs() < 0.05 * far, "{far} {near}");
    let skipped = |row: &Row| row.precision.unwrap().skipped_steps > 0.0;
    assert!(!mixed.iter().any(skipped));
    // It is the weight that makes the difference, in mixed precision too.
    let (without, _) = train("mixed", "0");
    let moved = |rows: &[Row]| rows.last().unwrap().losses.reconstruction;
    assert!(moved(&without) != moved(&mixed));
}

/// A file is read as what it holds, in 16 bits too; one that holds no network says how to make one
/// that does.
#[test]
fn files_are_read() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, tensors: &HostTensors, half: bool| {
        saved(&folder.path().join(name), tensors, half)
    };
    let [a, b] = pair(&gpu, [1, 20, 17, 3]);
    let distance = |lpips: &Lpips| {
        let tape = Tape::no_grad(&gpu);
        let y = lpips
            .distance(&tape, &tape.constant(&a), &tape.constant(&b))
            .unwrap();
        y.tensor().read::<f32>().unwrap()[0]
    };
    let mut tensors = weights(Backbone::SqueezeNet);
    let want = distance(&Lpips::from_tensors(&gpu, &tensors).unwrap());
    // What else a checkpoint holds does not matter.
    tensors.insert("classifier.1.bias".into(), (vec![3], vec![0.0; 3]));
    assert_eq!(
        distance(&Lpips::load(&gpu, &write("whole", &tensors, false)).unwrap()),
        want
    );
    let rounded = distance(&Lpips::load(&gpu, &write("half", &tensors, true)).unwrap());
    assert!(
        rounded != want && (rounded - want).abs() < 1e-2 * want,
        "{rounded} for {want}"
    );

    let says = |path: &Path, words: [&str; 3]| {
        let error = Lpips::load(&gpu, path).unwrap_err().to_string();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    };
    tensors.remove("features.9.expand3x3.bias");
    let way = "scripts/convert_lpips.py";
    says(
        &write("short", &tensors, false),
        ["short", "`features.9.expand3x3.bias`", way],
    );
    says(
        &write("empty", &HostTensors::new(), false),
        ["empty", "holds no network", way],
    );
    says(
        &folder.path().join("nowhere"),
        ["nowhere", "cannot be read", way],
    );
    std::fs::write(folder.path().join("text"), "no tensors").unwrap();
    says(&folder.path().join("text"), ["text", "safetensors", ""]);
}
