//! The receptive field that a first stage states, against how far its gradients come.

use wgvq::autograd::{Tape, Var};
use wgvq::gpu::{Gpu, Options, Tensor};
use wgvq::models::first_stage::vqvae;
use wgvq::models::first_stage::vqvae::VqVae;
use wgvq::models::first_stage::vqvae2;
use wgvq::models::first_stage::vqvae2::VqVae2;
use wgvq::models::{Autoencoder, ReceptiveField};
use wgvq::nn::{ForwardContext, Parameters};
use wgvq::spec::Rng;

/// The first and the last row that holds something other than 0, of a gradient [1, H, W, C].
fn touched(gradient: &Tensor) -> (usize, usize) {
    let [_, h, w, c] = gradient.dims("gradient").unwrap();
    let values = gradient.read::<f32>().unwrap();
    let rows: Vec<usize> = (0..h)
        .filter(|y| values[y * w * c..(y + 1) * w * c].iter().any(|v| *v != 0.0))
        .collect();
    (rows[0], rows[rows.len() - 1] + 1)
}

/// An upstream gradient that is random in rows `from` to `to` of x [1, H, W, C], and 0 elsewhere.
fn within(gpu: &Gpu, x: &Var, from: usize, to: usize) -> Tensor {
    let [_, h, w, c] = x.tensor().dims("upstream").unwrap();
    let mut rng = Rng::new(7);
    let values: Vec<f32> = (0..h * w * c)
        .map(|i| {
            if (from..to).contains(&(i / (w * c))) {
                rng.normal() as f32
            } else {
                0.0
            }
        })
        .collect();
    Tensor::from_slice(gpu, &[1, h, w, c], &values).unwrap()
}

/// Measures the receptive field from the gradients of the cell in the middle of an image of `cells`
/// cells of the coarsest grid.
fn looked(
    gpu: &Gpu,
    model: &dyn Autoencoder,
    params: &Parameters,
    cells: usize,
    dims: &[usize],
) -> ReceptiveField {
    let top = model.factors()[0];
    let (side, from) = (cells * top, cells / 2 * top);
    let mut rng = Rng::new(5);
    let beyond = |(first, last): (usize, usize)| {
        from.saturating_sub(first)
            .max(last.saturating_sub(from + top))
    };
    let mut encode = 0;
    for level in 0..dims.len() {
        let tape = Tape::new(gpu);
        let pass = ForwardContext::new(&tape, params);
        let images = tape.leaf(&rng.normals(&[1, side, top, 3]).upload(gpu).unwrap());
        // Without quantizers all that leads to a level's codes leads to its latents.
        let z = model
            .encode(&pass, &images, &mut |_, z| Ok(z.clone()))
            .unwrap()
            .swap_remove(level);
        let f = model.factors()[level];
        let upstream = within(gpu, &z, from / f, (from + top) / f);
        let gradients = tape.backward_with(&z, upstream).unwrap();
        encode = encode.max(beyond(touched(gradients.get(&images).unwrap())));
    }
    let tape = Tape::new(gpu);
    let pass = ForwardContext::new(&tape, params);
    let latents: Vec<Var> = model
        .factors()
        .iter()
        .zip(dims)
        .map(|(f, d)| {
            tape.leaf(
                &rng.normals(&[1, side / f, top / f, *d])
                    .upload(gpu)
                    .unwrap(),
            )
        })
        .collect();
    let y = model.decode(&pass, &latents).unwrap();
    let gradients = tape
        .backward_with(&y, within(gpu, &y, from, from + top))
        .unwrap();
    let of = |(z, f): (&Var, &usize)| {
        let (first, last) = touched(gradients.get(z).unwrap());
        beyond((first * f, last * f))
    };
    ReceptiveField {
        encode,
        decode: latents.iter().zip(model.factors()).map(of).max().unwrap(),
    }
}

#[test]
fn models_look_as_far_as_they_say_and_no_farther() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .expect(
        "these tests need a Vulkan, Metal or DX12 adapter; scripts/test.sh installs a software one",
    );
    for (layers, downsample) in [(0, 2), (2, 4), (1, 8)] {
        let config = vqvae::Config {
            channels: 3,
            hidden: 16,
            residual_layers: layers,
            residual_hidden: 8,
            downsample,
            codebook_dim: 6,
        };
        let (model, params) = VqVae::build(&gpu, &config, 3).unwrap();
        assert_eq!(
            model.receptive_field().unwrap(),
            looked(&gpu, &model, &params, 17, &[6]),
            "{config:?}"
        );
    }
    for (layers, dims) in [(1, vec![5, 4]), (2, vec![3, 4, 6])] {
        let mut builder = Parameters::builder();
        let config = vqvae2::Config {
            channels: 3,
            hidden: 16,
            residual_layers: layers,
            residual_hidden: 8,
            downsample: 4,
            codebook_dims: dims.clone(),
        };
        let model = VqVae2::new(&mut builder, &config).unwrap();
        let params = builder.build(&gpu, 3).unwrap();
        assert_eq!(
            model.receptive_field().unwrap(),
            looked(&gpu, &model, &params, 31, &dims),
            "{config:?}"
        );
    }
}
