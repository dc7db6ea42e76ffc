//! ViT-VQGAN's first stage against PyTorch.

use crate::common::fixture::Fixture;
use crate::common::{gpu, pattern, pattern_weights};
use wgvq::autograd::Tape;
use wgvq::gpu::{DType, Tensor};
use wgvq::models::Autoencoder;
use wgvq::models::first_stage::vit::{Config, Vit};
use wgvq::nn::{ForwardContext, Handle, Parameters};

fn config() -> Config {
    Config {
        channels: 3,
        grid: [3, 2],
        downsample: 4,
        layers: 2,
        dim: 24,
        heads: 3,
        hidden: 40,
        codebook_dim: 5,
    }
}

/// PyTorch in f64 on the same weights and images: latents, reconstruction, and of every parameter's
/// gradient its norm, its sum against a pattern and its first element. Recomputed block by block,
/// the gradients are the same.
#[test]
fn pytorch_agrees() {
    let gpu = gpu();
    let fixture = Fixture::load("vit/vit");
    let image = |name: &str| {
        let values: Vec<f32> = pattern(name, 2 * 12 * 8 * 3)
            .into_iter()
            .map(|v| v as f32)
            .collect();
        Tensor::from_slice(&gpu, &[2, 12, 8, 3], &values).unwrap()
    };
    let mut b = Parameters::builder();
    let model = Vit::new(&mut b, &config()).unwrap();
    let params = b.build(&gpu, 1).unwrap();
    params.load_host(&pattern_weights(&params)).unwrap();
    assert!(model.factors() == [4] && model.receptive_field().is_none());
    let gradients = |recompute: bool| {
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params).with_checkpointing(recompute);
        let mut seen = None;
        let mut through = |level: usize, z: &wgvq::autograd::Var| {
            assert_eq!(level, 0);
            seen = Some(z.clone());
            Ok(z.clone())
        };
        let y = model
            .reconstruct(&pass, &tape.constant(&image("images")), &mut through)
            .unwrap();
        let z = seen.unwrap();
        assert!(z.shape() == [2, 3, 2, 5] && y.shape() == [2, 12, 8, 3]);
        fixture.close("latents", &z.tensor().read::<f32>().unwrap(), 1e-5);
        fixture.close("reconstruction", &y.tensor().read::<f32>().unwrap(), 1e-5);
        pass.gradients(tape.backward_with(&y, image("upstream")).unwrap())
    };
    let read = |gradients: &[(Handle, Tensor)]| -> Vec<(Handle, Vec<f32>)> {
        let read = |(h, g): &(Handle, Tensor)| (*h, g.read::<f32>().unwrap());
        gradients.iter().map(read).collect()
    };
    let plain = gradients(false);
    assert_eq!(read(&plain), read(&gradients(true)));
    assert_eq!(plain.len(), params.names().count());
    fixture.gradients_agree(&params, &plain, 0.0);
}

/// A configuration that makes no model is named; a model takes images and latents of its own grid.
#[test]
fn shapes_are_checked() {
    let gpu = gpu();
    let wrong = |change: fn(&mut Config), word: &str| {
        let mut c = config();
        change(&mut c);
        let error = Vit::new(&mut Parameters::builder(), &c)
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    };
    wrong(|c| c.channels = 0, "model.channels");
    wrong(|c| c.grid = [3, 0], "model.grid");
    wrong(|c| c.downsample = 65, "model.downsample");
    wrong(|c| c.layers = 0, "model.layers");
    wrong(|c| c.dim = 0, "model.dim");
    wrong(|c| c.heads = 5, "model.heads");
    wrong(|c| c.heads = 0, "model.heads");
    wrong(|c| (c.dim, c.heads) = (514, 2), "model.heads");
    wrong(|c| c.hidden = 0, "model.hidden");
    wrong(|c| c.codebook_dim = 0, "model.codebook_dim");
    let mut b = Parameters::builder();
    let model = Vit::new(&mut b, &config()).unwrap();
    let params = b.build(&gpu, 1).unwrap();
    let tape = Tape::no_grad(&gpu);
    let pass = ForwardContext::new(&tape, &params);
    let zeros =
        |shape: [usize; 4]| tape.constant(&Tensor::zeros(&gpu, &shape, DType::F32).unwrap());
    let error = model
        .latents(&pass, &zeros([1, 8, 12, 3]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("12 x 8") && error.contains("8 x 12"),
        "{error}"
    );
    let error = model
        .images(&pass, &zeros([1, 2, 3, 5]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("3 x 2") && error.contains("2 x 3"),
        "{error}"
    );
    assert!(model.latents(&pass, &zeros([1, 12, 8, 1])).is_err());
    assert!(
        model
            .decode(&pass, &[zeros([1, 3, 2, 5]), zeros([1, 3, 2, 5])])
            .is_err()
    );
}
