//! Configurations for small data, each with the curve that it should follow.

use crate::config::nearest;
use crate::config::run::RunConfig;
use crate::{Error, Result};

/// A point that the same model reaches elsewhere: PyTorch with vector-quantize-pytorch, on the test
/// split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reference {
    /// Steps done.
    pub step: u64,
    /// Mean squared error, pixels in [0, 1].
    pub mse: f64,
    /// Perplexity of the split's codes.
    pub perplexity: f64,
    /// Codes that the split used.
    pub used: usize,
}

/// A configuration by name.
#[derive(Clone, Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The configuration.
    pub config: RunConfig,
    /// The curve that it should follow; empty where none was measured.
    pub reference: Vec<Reference>,
}

/// Every preset.
pub fn presets() -> Vec<Preset> {
    let point = |step, mse, perplexity, used| Reference {
        step,
        mse,
        perplexity,
        used,
    };
    let emoji = RunConfig::default();
    let mut fashion = RunConfig::default();
    fashion.data.source = "fashion-mnist".into();
    fashion.train.steps = 1000;
    let mut photo = RunConfig::default();
    photo.data.source = "photos".into();
    photo.data.width = 64;
    photo.data.height = 64;
    photo.data.channels = 3;
    photo.data.flip = true;
    photo.quantizer.codebook_size = 1024;
    photo.train.steps = 20_000;
    photo.train.eval_every = 1000;
    photo.train.checkpoint_every = 1000;
    let mut hierarchy = photo.clone();
    hierarchy.model.kind = "vqvae2".into();
    hierarchy.quantizer.codebook_size = 512;
    hierarchy.data.width = 128;
    hierarchy.data.height = 128;
    hierarchy.data.crop = "random".into();
    hierarchy.train.batch_size = 16;
    let mut gan = photo.clone();
    gan.model.kind = "vqgan".into();
    gan.model.hidden = 64;
    gan.model.residual_layers = 1;
    gan.quantizer.codebook_dim = 16;
    gan.quantizer.dim = 16;
    gan.train.batch_size = 16;
    gan.train.lr = 2e-4;
    gan.train.ema_decay = 0.999;
    gan.gan.start = 4000;
    gan.gan.head_start = 1000;
    gan.gan.ramp = 2000;
    gan.gan.layers = 2;
    vec![
        Preset {
            name: "emoji32",
            about: "the embedded emoji, 32 x 32 in colour",
            config: emoji,
            reference: vec![
                point(500, 0.0102, 402.0, 511),
                point(2000, 0.0066, 426.0, 512),
            ],
        },
        Preset {
            name: "fashion28",
            about: "Fashion-MNIST, 28 x 28 in grey",
            config: fashion,
            reference: vec![
                point(500, 0.0086, 397.0, 512),
                point(1000, 0.0064, 441.0, 512),
            ],
        },
        Preset {
            name: "photo64",
            about: "a folder of photographs (set data.source), 64 x 64 in colour",
            config: photo,
            reference: Vec::new(),
        },
        Preset {
            name: "gan64",
            about: "the same against a discriminator: VQ-GAN, sharper at a lower PSNR",
            config: gan,
            reference: Vec::new(),
        },
        Preset {
            name: "photo128",
            about: "random crops of a folder of photographs (set data.source), 128 x 128 in \
                    colour, codes on two grids",
            config: hierarchy,
            reference: Vec::new(),
        },
    ]
}

/// The preset of that name.
///
/// # Errors
/// If there is none; the message lists them.
pub fn preset(name: &str) -> Result<Preset> {
    let all = presets();
    let near = nearest(name, all.iter().map(|p| p.name)).to_owned();
    let names: Vec<&str> = all.iter().map(|p| p.name).collect();
    let what = format!(
        "no preset is called `{name}`; there are {}, and the nearest is `{near}`",
        names.join(", ")
    );
    all.into_iter()
        .find(|p| p.name == name)
        .ok_or_else(|| Error::data(what))
}

#[cfg(test)]
mod tests {
    #[test]
    fn presets_are_usable_and_found() {
        for p in super::presets() {
            p.config.validate().unwrap();
            assert_eq!(super::preset(p.name).unwrap().config, p.config);
        }
        assert!(
            super::preset("emoji23")
                .unwrap_err()
                .to_string()
                .contains("emoji32")
        );
    }
}
