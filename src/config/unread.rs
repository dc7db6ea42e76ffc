//! Keys that a configuration has and, being what it is, does not read, with what to set in their
//! place.

use crate::config::Precision;
use crate::config::objective::Regularizer;
use crate::config::run::{ModelKind, RunConfig};
use crate::quantize;

/// Quantizers that choose the nearest code of a codebook.
const NEAREST: [&str; 6] = ["ema", "vq", "cosine", "simvq", "residual", "product"];
/// Quantizers whose gradient passes straight through or by the rotation.
const ESTIMATED: [&str; 7] = [
    "ema",
    "vq",
    "cosine",
    "simvq",
    "residual",
    "product",
    "multiscale",
];
/// Quantizers whose codes are placed by k-means and revived.
const PLACED: [&str; 6] = ["ema", "vq", "cosine", "residual", "product", "multiscale"];
/// Quantizers whose codebooks are moving averages.
const AVERAGED: [&str; 4] = ["ema", "cosine", "residual", "product"];

impl RunConfig {
    /// Returns why this configuration does not read that key, and what to set in its place; `None`
    /// where it reads it.
    pub fn unread(&self, key: &str) -> Option<String> {
        let (section, name) = key.split_once('.')?;
        match section {
            "quantizer" => self.unread_quantizer(name),
            "model" => self.unread_model(name),
            "gan" | "loss" | "data" | "train" => self.unread_other(key),
            _ => None,
        }
    }

    fn unread_quantizer(&self, name: &str) -> Option<String> {
        let kind = self.quantizer.kind.as_str();
        // What a program's own quantizer reads is its own business.
        quantize::find(kind).ok()?;
        let only = |readers: &[&str], instead: &str| {
            let list = readers
                .iter()
                .map(|r| format!("`{r}`"))
                .collect::<Vec<_>>()
                .join(", ");
            (!readers.contains(&kind))
                .then(|| format!("the quantizer `{kind}` does not read it, only {list}; {instead}"))
        };
        match (name, kind) {
            ("codebook_size", "fsq") => Some(
                "`fsq` has as many codes as the levels of its channels make: set \
                 quantizer.levels, as in --set quantizer.levels=8,5,5,5 for 1000 codes"
                    .into(),
            ),
            ("codebook_size", _) if !self.model.codebook_sizes.is_empty() => {
                Some("model.codebook_sizes has each level's: set that".into())
            }
            ("codebook_dim", "fsq") => {
                Some("`fsq` has a channel to each of quantizer.levels: set that".into())
            }
            ("codebook_dim", "lfq" | "bsq") => Some(format!(
                "`{kind}` has log2 of quantizer.codebook_size channels: set that, or quantizer.dim"
            )),
            ("levels", _) => only(&["fsq"], "quantizer.codebook_size sets its codes"),
            ("activation", _) => only(&["fsq"], CHOOSE),
            ("entropy_loss_weight" | "diversity_gamma" | "inv_temperature", _) => only(
                &["lfq", "bsq", "ibq"],
                "quantizer.codebook_diversity_loss_weight is like it for codebooks",
            ),
            ("normalize_latents", _) => only(&["gumbel", "ibq"], CHOOSE),
            ("num_quantizers" | "shared_codebook" | "quantize_dropout", _) => only(
                &["residual"],
                "choose that by --quantizer, or quantizer.groups with `product`",
            ),
            ("groups", _) => only(
                &["product"],
                "choose that by --quantizer, or quantizer.num_quantizers with `residual`",
            ),
            (
                "temperature" | "temperature_min" | "temperature_steps" | "straight_through"
                | "kl_weight",
                _,
            ) => only(
                &["gumbel"],
                "choose that by --quantizer, or set quantizer.sample_codebook_temp",
            ),
            ("commitment_weight" | "codebook_weight", "vq" | "simvq")
                if self.quantizer.directional_reparam =>
            {
                Some("quantizer.directional_reparam learns without that loss: switch it off".into())
            }
            ("commitment_weight" | "codebook_weight", "ibq")
                if self.quantizer.normalize_latents =>
            {
                Some(
                    "normalised latents need no such loss: set quantizer.normalize_latents = false"
                        .into(),
                )
            }
            ("commitment_weight", _) => {
                only(&[&ESTIMATED[..], &["lfq", "bsq", "ibq"]].concat(), CHOOSE)
            }
            ("codebook_weight", _) => only(&["vq", "simvq", "ibq", "multiscale"], CHOOSE),
            ("directional_reparam_variance", "vq" | "simvq")
                if !self.quantizer.directional_reparam =>
            {
                Some("set quantizer.directional_reparam".into())
            }
            ("directional_reparam" | "directional_reparam_variance", _) => {
                only(&["vq", "simvq"], CHOOSE)
            }
            ("decay", _) => only(&PLACED, CHOOSE),
            ("eps", _) => only(&AVERAGED, CHOOSE),
            ("kmeans_init" | "kmeans_iters" | "threshold_ema_dead_code", _) => {
                only(&PLACED, CHOOSE)
            }
            ("scales" | "scale_convolutions" | "scale_ratio", _) => only(&["multiscale"], CHOOSE),
            ("rotation_trick", _) => only(&ESTIMATED, CHOOSE),
            ("use_cosine_sim", _) => only(&[&NEAREST[..], &["multiscale"]].concat(), CHOOSE),
            (
                "stochastic_sample_codes"
                | "sample_codebook_temp"
                | "codebook_diversity_loss_weight"
                | "codebook_diversity_temperature",
                _,
            ) => only(&NEAREST, CHOOSE),
            _ => None,
        }
    }

    fn unread_model(&self, name: &str) -> Option<String> {
        use ModelKind::{Vit, VqGan, VqVae, VqVae2};
        let model = self.model.resolved();
        let kind = self.model.kind;
        let only = |readers: &[ModelKind], instead: &str| {
            let list = readers
                .iter()
                .map(|r| format!("`{r}`"))
                .collect::<Vec<_>>()
                .join(", ");
            (!readers.contains(&kind))
                .then(|| format!("the model `{kind}` does not read it, only {list}; {instead}"))
        };
        match name {
            "level_dropout" | "level_dropout_steps" => only(&[VqVae2], "choose that by --model"),
            "residual_layers" => only(&[VqVae, VqVae2, VqGan], "model.layers sets its blocks"),
            "residual_hidden" => only(&[VqVae, VqVae2], "model.hidden sets its width"),
            "multipliers" => only(&[VqGan], "model.downsample and model.hidden set its size"),
            "attention" | "mid_attention" | "spatial_norms" | "latent_kernel" | "unit_pixels"
            | "latent_blocks" => only(&[VqGan], "choose that by --model"),
            "latent_channels" => only(&[VqGan], "quantizer.dim sets its latents' channels"),
            "layers" | "dim" | "heads" => only(
                &[Vit],
                "model.residual_layers and model.hidden set its size",
            ),
            "downsample" if kind == VqGan && !self.model.multipliers.is_empty() => {
                let n = model.multipliers.len();
                Some(format!(
                    "model.multipliers, a list of {n}, decides it: set that"
                ))
            }
            _ => None,
        }
    }

    fn unread_other(&self, key: &str) -> Option<String> {
        let all = self.written_out();
        let (gan, data) = (&all.gan, &all.data);
        match key {
            "gan.weight" | "gan.guard" => None,
            key if key.starts_with("gan.") && !gan.is_on() => Some(
                "there is no discriminator: set gan.weight, or a --model that is trained against \
                 one"
                .into(),
            ),
            "gan.regularizer_weight" if gan.regularizer == Regularizer::None => {
                Some("there is no regularizer: set gan.regularizer to r1 or lecam".into())
            }
            "gan.regularizer_every" if gan.regularizer != Regularizer::R1 => {
                Some("`r1` alone reads it: set gan.regularizer".into())
            }
            "loss.lpips" if all.loss.lpips_weight == 0.0 => {
                Some("nothing asks for it: set loss.lpips_weight".into())
            }
            "data.crop_scale_min" | "data.crop_scale_max" if !data.crops() => {
                Some("nothing is cropped: set data.crop to random".into())
            }
            "train.dtype" if all.train.precision == Precision::Mixed => {
                Some("train.precision = mixed stores activations in 16 bits: leave it out".into())
            }
            "train.loss_scale" if all.train.precision != Precision::Mixed => {
                Some("losses are scaled in mixed precision alone: set train.precision".into())
            }
            "train.min_lr" if all.train.decay_steps == 0 => {
                Some("the learning rate does not fall: set train.decay_steps".into())
            }
            _ => None,
        }
    }
}

const CHOOSE: &str = "choose one of them by --quantizer";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DottedConfig;

    #[test]
    fn what_is_not_read_says_what_is() {
        let of = |kind: &str| {
            let mut config = RunConfig::default();
            config.set("quantizer.kind", kind).unwrap();
            config
        };
        for (kind, key, instead) in [
            ("fsq", "quantizer.codebook_size", "quantizer.levels"),
            ("lfq", "quantizer.codebook_dim", "quantizer.codebook_size"),
            ("bsq", "quantizer.codebook_dim", "quantizer.codebook_size"),
            ("lfq", "quantizer.activation", "fsq"),
            ("ema", "quantizer.directional_reparam", "simvq"),
            (
                "vq",
                "quantizer.directional_reparam_variance",
                "quantizer.directional_reparam",
            ),
            ("ema", "quantizer.levels", "quantizer.codebook_size"),
            ("ema", "quantizer.groups", "residual"),
            ("vq", "quantizer.temperature", "gumbel"),
            ("gumbel", "quantizer.decay", "--quantizer"),
            (
                "ibq",
                "quantizer.codebook_weight",
                "quantizer.normalize_latents",
            ),
            ("ema", "quantizer.normalize_latents", "gumbel"),
            ("ema", "model.dim", "model.hidden"),
            ("ema", "gan.hidden", "gan.weight"),
            ("ema", "data.crop_scale_min", "data.crop"),
        ] {
            let told = of(kind).unread(key).unwrap_or_default();
            assert!(told.contains(instead), "{kind}, {key}: {told}");
        }
        for (kind, key) in [
            ("ema", "quantizer.codebook_size"),
            ("ema", "quantizer.decay"),
            ("multiscale", "quantizer.use_cosine_sim"),
            ("fsq", "quantizer.levels"),
            ("gumbel", "quantizer.temperature"),
            ("ibq", "quantizer.normalize_latents"),
            ("ema", "train.lr"),
            ("ema", "model.hidden"),
            ("ema", "nonesuch"),
        ] {
            assert_eq!(of(kind).unread(key), None, "{kind}, {key}");
        }
    }
}
