//! The names of tensors in checkpoints of other programs, and ours: taming-transformers'.

use crate::nn::HostTensors;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The codebook of a first stage.
pub(super) const CODEBOOK: &str = "quantize.embedding.weight";
/// A tensor that every first stage has; the name before it is the prefix.
pub(super) const ANCHOR: &str = "encoder.conv_in.weight";

/// Naming schemes of checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// taming-transformers (Esser et al. 2021): `encoder.down.0.block.0.conv1.weight`.
    Taming,
    /// LlamaGen (Sun et al. 2024): `encoder.conv_blocks.0.res.0.conv1.weight`.
    LlamaGen,
    /// diffusers' `VQModel`: `encoder.down_blocks.0.resnets.0.conv1.weight`.
    Diffusers,
    /// Janus (Wu et al. 2024) in transformers: taming-transformers' names, but the decoder counts
    /// resolutions from the coarsest.
    Janus,
    /// VAR (Tian et al. 2024): taming-transformers' names, one convolution of queries, keys and
    /// values, and a quantizer of several scales.
    Var,
    /// MaskGIT (Chang et al. 2022) in open-muse: `encoder.mid.0.conv1.weight`, convolutions without
    /// biases, no attention.
    MaskGit,
    /// Emu3 (Wang et al. 2024) in transformers: `encoder.down_block.down.0.block.0.conv1.weight`,
    /// MoVQ's norms, and layers over time.
    Emu3,
}

impl Names {
    /// Returns the scheme of a first stage's names.
    ///
    /// # Errors
    /// If it has layers that no scheme here has.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<Names> {
        let any = |wanted: &dyn Fn(&str) -> bool| names.clone().any(wanted);
        if any(&|n| n.ends_with(".norm1.conv.weight")) {
            let what = "its spatial norms convolve the latents by 3 x 3 before they read them \
                        (`add_conv`): those of this program do not; Kandinsky's MoVQ was \
                        published without";
            return Err(Error::data(what));
        }
        Ok(if any(&|n| n.starts_with("encoder.conv_blocks.")) {
            Names::LlamaGen
        } else if any(&|n| n.starts_with("encoder.down_block.")) {
            Names::Emu3
        } else if any(&|n| n.starts_with("encoder.down_blocks.")) {
            Names::Diffusers
        } else if any(&|n| n.starts_with("decoder.up.0.upsample.")) {
            // There is no finer resolution behind the finest.
            Names::Janus
        } else if any(&|n| n.ends_with(".upsample_conv.weight")) {
            Names::MaskGit
        } else if any(&|n| n.starts_with("quantize.quant_resi.") || n.contains(".qkv.")) {
            Names::Var
        } else {
            Names::Taming
        })
    }

    /// Returns the name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Names::Taming => "taming-transformers",
            Names::LlamaGen => "LlamaGen",
            Names::Diffusers => "diffusers",
            Names::Janus => "Janus",
            Names::Var => "VAR",
            Names::MaskGit => "MaskGIT",
            Names::Emu3 => "Emu3",
        }
    }

    /// Renames tensors, as they are stored, to taming-transformers' names.
    ///
    /// # Errors
    /// If two of them become one; the message names both.
    pub(super) fn renamed(self, tensors: HostTensors) -> Result<HostTensors> {
        let levels = match self {
            Names::Taming => return Ok(tensors),
            Names::Var => return renamed_by(&VAR, tensors),
            Names::MaskGit => return renamed_by(&MASKGIT, tensors),
            Names::Emu3 => return renamed_by(&EMU3, tensors),
            Names::LlamaGen => "decoder.conv_blocks.",
            Names::Diffusers => "decoder.up_blocks.",
            Names::Janus => "decoder.up.",
        };
        let level = |name: &str| Some(level_behind(name, levels)?.0);
        let last = tensors.keys().filter_map(|n| level(n)).max();
        let last = last.unwrap_or(0);
        each_renamed(tensors, |name| {
            let name = match level_behind(&name, levels) {
                Some((i, rest)) => format!("decoder.up.{}.{rest}", last.saturating_sub(i)),
                None => name,
            };
            match self {
                Names::LlamaGen => replaced(name, &LLAMAGEN),
                Names::Diffusers => replaced(name, &DIFFUSERS),
                _ => name,
            }
        })
    }
}

/// Renames each tensor.
///
/// # Errors
/// If two of them become one.
fn each_renamed(tensors: HostTensors, rename: impl Fn(String) -> String) -> Result<HostTensors> {
    let mut before: BTreeMap<String, String> = BTreeMap::new();
    let mut all = HostTensors::new();
    for (name, (shape, values)) in tensors {
        let ours = rename(name.clone());
        if let Some(other) = before.insert(ours.clone(), name.clone()) {
            let what = format!(
                "the tensors `{other}` and `{name}` are both `{ours}` of a VQ-GAN: take out of the \
                 file the one that is not the model's"
            );
            return Err(Error::data(what));
        }
        let shape = as_convolution(&ours, shape);
        all.insert(ours, (shape, values));
    }
    Ok(all)
}

/// Returns the number behind a prefix, and the name behind that.
fn level_behind<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// Parts of names and ours, in the order in which they are replaced.
type Parts = [(&'static str, &'static str)];

const LLAMAGEN: [(&str, &str); 5] = [
    ("encoder.conv_blocks.", "encoder.down."),
    (".res.", ".block."),
    (".mid.0.", ".mid.block_1."),
    (".mid.1.", ".mid.attn_1."),
    (".mid.2.", ".mid.block_2."),
];

/// Those of attention have two generations.
const DIFFUSERS: [(&str, &str); 20] = [
    ("encoder.down_blocks.", "encoder.down."),
    (".mid_block.resnets.0.", ".mid.block_1."),
    (".mid_block.resnets.1.", ".mid.block_2."),
    (".mid_block.attentions.0.", ".mid.attn_1."),
    (".resnets.", ".block."),
    (".attentions.", ".attn."),
    (".conv_shortcut.", ".nin_shortcut."),
    (".downsamplers.0.", ".downsample."),
    (".upsamplers.0.", ".upsample."),
    (".conv_norm_out.", ".norm_out."),
    (".group_norm.", ".norm."),
    (".spatial_norm.", ".norm."),
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
    (".to_out.0.", ".proj_out."),
    (".query.", ".q."),
    (".key.", ".k."),
    (".value.", ".v."),
    (".proj_attn.", ".proj_out."),
];

/// The convolutions over enlarged codes: one to several scales each, one for all, one to a scale.
const VAR: [(&str, &str); 3] = [
    ("quantize.quant_resi.qresi_ls.", "quantize.phi."),
    ("quantize.quant_resi.qresi.", "quantize.phi.0."),
    ("quantize.quant_resi.", "quantize.phi."),
];

const MASKGIT: [(&str, &str); 3] = [
    (".mid.0.", ".mid.block_1."),
    (".mid.1.", ".mid.block_2."),
    (".upsample_conv.", ".upsample.conv."),
];

/// Norms of attention lie beside it; counted ones as (`attn_norms.0`).
const EMU3: [(&str, &str); 12] = [
    (".down_block.down.", ".down."),
    (".up_block.up.", ".up."),
    (".middle_block.", ".mid."),
    (".mid.attn_norm.", ".mid.attn_1.norm."),
    (".q_proj.", ".q."),
    (".k_proj.", ".k."),
    (".v_proj.", ".v."),
    (".out_proj.", ".proj_out."),
    ("quant_conv.conv.", "quant_conv."),
    (".time_res_stack.", ".latents.block."),
    (".conv1.conv.", ".conv1."),
    (".conv2.conv.", ".conv2."),
];

fn renamed_by(parts: &Parts, tensors: HostTensors) -> Result<HostTensors> {
    each_renamed(tensors, |name| {
        let mut name = replaced(name, parts);
        if let Some((level, (j, rest))) = name
            .split_once(".attn_norms.")
            .and_then(|(level, rest)| Some((level, rest.split_once('.')?)))
        {
            name = format!("{level}.attn.{j}.norm.{rest}");
        }
        name
    })
}

/// A linear map of channels in attention is a convolution of 1 x 1.
fn as_convolution(name: &str, shape: Vec<usize>) -> Vec<usize> {
    match shape[..] {
        [o, i] if name.contains("attn") && name.ends_with(".weight") => vec![o, i, 1, 1],
        _ => shape,
    }
}

fn replaced(name: String, parts: &Parts) -> String {
    let replace = |name: String, (theirs, ours): &(&str, &str)| name.replace(theirs, ours);
    parts.iter().fold(name, replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ours() {
        let with = |names: &[&str]| -> HostTensors {
            let tensor = |name: &&str| (name.to_string(), (vec![2, 2], vec![0.0; 4]));
            names.iter().map(tensor).collect()
        };
        let renamed = |names: &[&str]| {
            let scheme = Names::of(names.iter().copied()).unwrap();
            let all = scheme.renamed(with(names)).unwrap().into_iter();
            (
                scheme,
                all.map(|(name, (shape, _))| (name, shape))
                    .collect::<Vec<_>>(),
            )
        };
        let (scheme, names) = renamed(&[
            "decoder.up_blocks.0.attentions.1.to_out.0.weight",
            "decoder.up_blocks.0.upsamplers.0.conv.weight",
            "decoder.up_blocks.1.resnets.0.conv_shortcut.bias",
            "encoder.down_blocks.1.downsamplers.0.conv.bias",
            "encoder.mid_block.attentions.0.query.weight",
            "encoder.mid_block.resnets.1.norm1.weight",
        ]);
        assert_eq!(scheme, Names::Diffusers);
        let all = |shape: &[usize], name: &str| (name.to_owned(), shape.to_vec());
        assert_eq!(
            names,
            [
                all(&[2, 2], "decoder.up.0.block.0.nin_shortcut.bias"),
                all(&[2, 2, 1, 1], "decoder.up.1.attn.1.proj_out.weight"),
                all(&[2, 2], "decoder.up.1.upsample.conv.weight"),
                all(&[2, 2], "encoder.down.1.downsample.conv.bias"),
                all(&[2, 2, 1, 1], "encoder.mid.attn_1.q.weight"),
                all(&[2, 2], "encoder.mid.block_2.norm1.weight"),
            ]
        );
        let (scheme, names) = renamed(&["decoder.up.0.upsample.conv.bias", "decoder.up.2.x"]);
        assert_eq!(scheme, Names::Janus);
        assert_eq!(names[1].0, "decoder.up.2.upsample.conv.bias");
        let (scheme, names) = renamed(&[
            "decoder.mid.attn_1.qkv.weight",
            "quantize.quant_resi.qresi_ls.3.bias",
        ]);
        assert_eq!(
            (scheme, &names[1].0[..]),
            (Names::Var, "quantize.phi.3.bias")
        );
        let (scheme, names) = renamed(&[
            "decoder.up.1.upsample_conv.weight",
            "encoder.mid.1.norm2.bias",
        ]);
        assert_eq!(scheme, Names::MaskGit);
        assert_eq!(names[0].0, "decoder.up.1.upsample.conv.weight");
        assert_eq!(names[1].0, "encoder.mid.block_2.norm2.bias");
        let (scheme, names) = renamed(&[
            "decoder.mid_block.attentions.0.spatial_norm.conv_y.bias",
            "encoder.down_blocks.0.x",
        ]);
        assert_eq!(scheme, Names::Diffusers);
        assert_eq!(names[0].0, "decoder.mid.attn_1.norm.conv_y.bias");
        let (scheme, names) = renamed(&[
            "decoder.middle_block.attn_norm.conv_b.bias",
            "decoder.up_block.up.1.attn_norms.2.norm_layer.bias",
            "encoder.down_block.down.0.attn.0.q_proj.weight",
        ]);
        assert_eq!(scheme, Names::Emu3);
        assert_eq!(
            names,
            [
                all(&[2, 2], "decoder.mid.attn_1.norm.conv_b.bias"),
                all(&[2, 2], "decoder.up.1.attn.2.norm.norm_layer.bias"),
                all(&[2, 2, 1, 1], "encoder.down.0.attn.0.q.weight"),
            ]
        );
        let twice = [
            "decoder.up.1.upsample.conv.weight",
            "decoder.up.1.upsample_conv.weight",
        ];
        let error = Names::MaskGit
            .renamed(with(&twice))
            .unwrap_err()
            .to_string();
        assert!(twice.iter().all(|name| error.contains(name)), "{error}");
        let convolved = ["decoder.up.0.block.0.norm1.conv.weight"];
        let error = Names::of(convolved.into_iter()).unwrap_err().to_string();
        assert!(error.contains("add_conv"), "{error}");
    }
}
