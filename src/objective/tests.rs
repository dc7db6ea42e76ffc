use super::*;
use crate::config::objective;
use crate::config::run::RunConfig;
use crate::gpu::{DType, Options};
use crate::models::Autoencoder;
use crate::models::first_stage::vqvae::{Config, VqVae};
use crate::nn::{ForwardContext, Parameters};
use crate::quantize::Registry;

fn config(adaptive: bool) -> RunConfig {
    let mut c = RunConfig::default();
    c.loss = objective::Loss {
        pixels: PixelLoss::L1,
        structure_weight: 0.5,
        ..c.loss
    };
    c.gan = objective::Gan {
        weight: 0.6,
        start: 0,
        head_start: 0,
        ramp: 0,
        adaptive,
        hidden: 4,
        layers: 1,
        ..c.gan
    };
    c.gan.feature_weight = 1.5;
    c
}

/// The whole slope is that of `L1 + structure + weight (generator + features)`, the weight
/// being what makes both parts' gradients of the last layer's weight equal in length, times
/// 0.6.
#[test]
fn parts_are_weighed_and_added() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap();
    let shape = Config {
        channels: 3,
        hidden: 8,
        residual_layers: 1,
        residual_hidden: 4,
        downsample: 2,
        codebook_dim: 4,
    };
    let mut b = Parameters::builder();
    let model = VqVae::new(&mut b, &shape).unwrap();
    let params = b.build(&gpu, 2).unwrap();
    let values: Vec<f32> = (0..2 * 24 * 24 * 3)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let images = Tensor::from_slice(&gpu, &[2, 24, 24, 3], &values).unwrap();
    for adaptive in [true, false] {
        let objective = Objective::new(
            &gpu,
            &config(adaptive).resolve(&Registry::default()).unwrap(),
            [24, 24, 3],
        )
        .unwrap();
        let run = || {
            let tape = Tape::new(&gpu);
            let pass = ForwardContext::new(&tape, &params).with_watched(model.last_weight());
            let x = tape.constant(&images);
            let y = model
                .reconstruct(&pass, &x, &mut |_, z| Ok(z.clone()))
                .unwrap();
            let (loss, mse, metrics) = objective.judge(&pass, &x, &y, 0, None).unwrap();
            let gradients = pass.gradients(tape.backward(&loss).unwrap());
            let of = |h| {
                gradients
                    .iter()
                    .find(|(g, _)| *g == h)
                    .unwrap()
                    .1
                    .read::<f32>()
                    .unwrap()
            };
            (
                of(model.last_weight()),
                of(params.find("encoder.down.0.weight").unwrap()),
                mse,
                metrics,
                y,
            )
        };
        let (last, first, mse, metrics, y) = run();
        let value = |at| {
            metrics
                .iter()
                .find(|(a, _)| *a == at)
                .unwrap()
                .1
                .read::<f32>()
                .unwrap()[0]
        };
        let expected = crate::ops::loss::loss::loss(Loss::Mse, y.tensor(), &images).unwrap();
        assert_eq!(mse.read::<f32>().unwrap(), expected.read::<f32>().unwrap());

        // The same by hand, in one graph, with the weight as a number.
        let weight = value(const { GanMetrics::slot("adversarial_weight") });
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let x = tape.constant(&images);
        let y = model
            .reconstruct(&pass, &x, &mut |_, z| Ok(z.clone()))
            .unwrap();
        let edges = tape
            .scale(&structure(&tape, &y, &x).unwrap(), 0.5, 0.0)
            .unwrap();
        let own = tape
            .add(&tape.loss(Loss::L1, &y, &x).unwrap(), &edges)
            .unwrap();
        let all = pass.gradients(tape.backward(&own).unwrap());
        let of = |h| {
            all.iter()
                .find(|(g, _)| *g == h)
                .unwrap()
                .1
                .read::<f32>()
                .unwrap()
        };
        let (own_last, own_first) = (
            of(model.last_weight()),
            of(params.find("encoder.down.0.weight").unwrap()),
        );
        let pass = ForwardContext::new(&tape, &params);
        let y = model
            .reconstruct(&pass, &x, &mut |_, z| Ok(z.clone()))
            .unwrap();
        let adversarial = objective
            .adversary
            .as_ref()
            .unwrap()
            .generator_loss(&images, y.tensor(), None)
            .unwrap();
        let loss = penalty::carry(&tape, &y, adversarial.generator, adversarial.slope);
        let all = pass.gradients(tape.backward(&loss).unwrap());
        let of = |h| {
            all.iter()
                .find(|(g, _)| *g == h)
                .unwrap()
                .1
                .read::<f32>()
                .unwrap()
        };
        let (disc_last, disc_first) = (
            of(model.last_weight()),
            of(params.find("encoder.down.0.weight").unwrap()),
        );
        let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let wanted = if adaptive {
            0.6 * norm(&own_last) / (norm(&disc_last) + 1e-4)
        } else {
            0.6
        };
        assert!(
            (f64::from(weight) / wanted - 1.0).abs() < 1e-3,
            "{adaptive}: {weight} for {wanted}"
        );
        for (got, own, disc) in [
            (&last, &own_last, &disc_last),
            (&first, &own_first, &disc_first),
        ] {
            let sum: Vec<f32> = own.iter().zip(disc).map(|(a, b)| a + weight * b).collect();
            let apart: Vec<f32> = got.iter().zip(&sum).map(|(a, b)| a - b).collect();
            assert!(
                norm(&apart) < 1e-4 * norm(&sum),
                "{adaptive}: {} of {}",
                norm(&apart),
                norm(&sum)
            );
        }
    }
}

/// Without options the loss is the mean squared error on the model's own tape.
#[test]
fn without_options_it_is_the_mean_squared_error() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .unwrap();
    let objective = Objective::new(
        &gpu,
        &RunConfig::default().resolve(&Registry::default()).unwrap(),
        [8, 8, 1],
    )
    .unwrap();
    let params = {
        let mut b = Parameters::builder();
        b.declare("w", &[1], crate::nn::Init::Zeros);
        b.build(&gpu, 0).unwrap()
    };
    let tape = Tape::new(&gpu);
    let pass = ForwardContext::new(&tape, &params);
    let y = tape.leaf(&Tensor::from_slice(&gpu, &[1, 1, 2, 1], &[1.0f32, 0.0]).unwrap());
    let x = tape.constant(&Tensor::zeros(&gpu, &[1, 1, 2, 1], DType::F32).unwrap());
    let (loss, mse, metrics) = objective.judge(&pass, &x, &y, 0, None).unwrap();
    assert_eq!(
        (loss.tensor().read::<f32>().unwrap(), metrics.len()),
        (vec![0.5], 0)
    );
    assert_eq!(mse.read::<f32>().unwrap(), [0.5]);
    assert_eq!(
        tape.backward(&loss)
            .unwrap()
            .get(&y)
            .unwrap()
            .read::<f32>()
            .unwrap(),
        [1.0, 0.0]
    );
}

#[test]
fn images_without_a_patch_are_refused_by_name() {
    let gpu = Gpu::new(Options::default()).unwrap();
    let mut c = config(true);
    c.gan.layers = 3;
    let c = c.resolve(&Registry::default()).unwrap();
    let error = Objective::new(&gpu, &c, [16, 40, 3])
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("gan.layers") && error.contains("40 x 16") && error.contains("24"),
        "{error}"
    );
}
