//! Where the weights of a checkpoint lie, and what its `config.json` says.

use super::weights::INDEX;
use crate::{Error, Result, files};
use std::path::{Path, PathBuf};

/// Files of weights in a folder of diffusers' or transformers', without their ending, in the order
/// in which they are looked for.
const WEIGHTS: [&str; 2] = ["diffusion_pytorch_model", "model"];

/// The groups of our norms.
const GROUPS: u64 = 32;

/// Finds the weights of a checkpoint: the file itself, or that in a folder, or the index of several
/// that are there.
///
/// # Errors
/// If a folder has none.
pub(super) fn weights(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let named = WEIGHTS.map(|name| [".safetensors", INDEX].map(|end| format!("{name}{end}")));
    let mut all = named.as_flattened().iter().map(|name| path.join(name));
    all.find(|file| file.is_file()).ok_or_else(|| {
        let what = format!(
            "holds neither {}, nor the index of several such files ({}): name the folder of the \
             tokenizer itself (in a pipeline of diffusers, `vqvae`), or its file",
            named
                .iter()
                .map(|[file, _]| file.as_str())
                .collect::<Vec<_>>()
                .join(" nor "),
            named[1][1]
        );
        Error::file(path, what)
    })
}

/// Returns the way out of a file that holds no tokenizer, where its name is that of one of several
/// files of a checkpoint: `model-00001-of-00003.safetensors`.
pub(super) fn advice(path: &Path) -> &'static str {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let parts: Vec<&str> = name.rsplitn(4, '-').collect();
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match parts[..] {
        [all, "of", number, _] if digits(all) && digits(number) => {
            ". By its name it is one of several files: name their folder, or the index beside them"
        }
        _ => "",
    }
}

/// Checks that there is here what the `config.json` beside weights asks for, where there is one.
///
/// # Errors
/// If not, or the configuration cannot be read.
pub(super) fn check_config(weights: &Path) -> Result<()> {
    let config = weights.with_file_name("config.json");
    if config.is_file() {
        let bytes = files::read(&config, files::TEXT)?;
        let at = |e: Error| Error::file(&config, e);
        let value = serde_json::from_slice(&bytes).map_err(|e| Error::file(&config, e))?;
        check(&value).map_err(at)?;
    }
    Ok(())
}

/// Checks that a configuration of diffusers' `VQModel`, of open-muse's `MaskGitVQGAN` or of Emu3 is
/// one of a model that there is here; others are not looked at.
fn check(config: &serde_json::Value) -> Result<()> {
    let model = config["model_type"].as_str().unwrap_or_default();
    if model.starts_with("emu3") {
        // That of the whole model has the tokenizer's within it.
        return check_emu3(config.get("vq_config").unwrap_or(config));
    }
    match config["_class_name"].as_str() {
        None | Some("MaskGitVQGAN") => Ok(()),
        Some("VQModel") => check_diffusers(config),
        Some(other) => {
            let what = format!(
                "is of a `{other}`: only `VQModel` of diffusers and `MaskGitVQGAN` of open-muse \
                 are tokenizers that are read here"
            );
            Err(Error::data(what))
        }
    }
}

fn check_emu3(config: &serde_json::Value) -> Result<()> {
    for (key, known) in [
        ("num_attention_heads", 1),
        ("temporal_downsample_factor", 4),
    ] {
        match config[key].as_u64() {
            Some(value) if value != known => {
                let what = format!("`{key}` is {value}: only {known} is known, Emu3's own");
                return Err(Error::data(what));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_diffusers(config: &serde_json::Value) -> Result<()> {
    let one_of = |key: &str, value: &serde_json::Value, allowed: &[&str]| match value.as_str() {
        Some(value) if !allowed.contains(&value) => {
            let what = format!(
                "`{key}` has {value}: only {} is known",
                allowed.join(" or ")
            );
            Err(Error::data(what))
        }
        _ => Ok(()),
    };
    one_of("norm_type", &config["norm_type"], &["group", "spatial"])?;
    one_of("act_fn", &config["act_fn"], &["silu", "swish"])?;
    for (key, allowed) in [
        (
            "down_block_types",
            ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        ),
        (
            "up_block_types",
            ["UpDecoderBlock2D", "AttnUpDecoderBlock2D"],
        ),
    ] {
        let mut blocks = config[key].as_array().into_iter().flatten();
        blocks.try_for_each(|b| one_of(key, b, &allowed))?;
    }
    match config["norm_num_groups"].as_u64() {
        Some(groups) if groups != GROUPS => {
            let what = format!(
                "`norm_num_groups` is {groups}: only {GROUPS} is known. The codebook alone becomes \
                 an array: name a .npy file by --out"
            );
            Err(Error::data(what))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_files_is_told_by_its_name() {
        let told = |name: &str| !advice(Path::new(name)).is_empty();
        assert!(told("a/model-00001-of-00003.safetensors"));
        assert!(told("diffusion_pytorch_model-1-of-2.safetensors"));
        assert!(!told("model.safetensors") && !told("a-b-of-c.safetensors"));
    }

    #[test]
    fn what_there_is_none_of_is_named() {
        let check = |json: serde_json::Value| check(&json).map_err(|e| e.to_string());
        let model = |key: &str, value: serde_json::Value| {
            let mut all = serde_json::json!({ "_class_name": "VQModel", "act_fn": "silu" });
            all[key] = value;
            check(all)
        };
        assert!(check(serde_json::json!({ "model_type": "janus_vqgan" })).is_ok());
        assert!(check(serde_json::json!({ "_class_name": "MaskGitVQGAN" })).is_ok());
        assert!(model("norm_num_groups", 32.into()).is_ok());
        assert!(model("norm_type", "spatial".into()).is_ok());
        let emu3 = |heads: u64| {
            let own = serde_json::json!({ "num_attention_heads": heads });
            check(serde_json::json!({ "model_type": "emu3", "vq_config": own }))
        };
        assert!(emu3(1).is_ok());
        assert!(emu3(2).unwrap_err().contains("num_attention_heads"));
        for (key, value, named) in [
            ("norm_type", "batch".into(), "norm_type"),
            ("act_fn", "relu".into(), "relu"),
            ("up_block_types", vec!["UpBlock2D"].into(), "UpBlock2D"),
            ("norm_num_groups", 16.into(), "16"),
            ("_class_name", "AutoencoderKL".into(), "AutoencoderKL"),
        ] {
            let error = model(key, value).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
