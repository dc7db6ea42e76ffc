//! The names of tensors in checkpoints of other programs, and ours: taming-transformers'.

use crate::nn::HostTensors;
use crate::{Error, Result};

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
}

impl Names {
    /// Returns the scheme of a first stage's names.
    ///
    /// # Errors
    /// If it has layers that no scheme here has.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<Names> {
        let any = |wanted: &dyn Fn(&str) -> bool| names.clone().any(wanted);
        if any(&|n| n.contains(".norm_layer.") || n.contains(".conv_y.")) {
            let what = "its norms are told the latents (MoVQ's spatial norms), which there are \
                        none of here";
            return Err(Error::data(what));
        }
        Ok(if any(&|n| n.starts_with("encoder.conv_blocks.")) {
            Names::LlamaGen
        } else if any(&|n| n.starts_with("encoder.down_blocks.")) {
            Names::Diffusers
        } else if any(&|n| n.starts_with("decoder.up.0.upsample.")) {
            // There is no finer resolution behind the finest.
            Names::Janus
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
        }
    }

    /// Renames tensors, as they are stored, to taming-transformers' names.
    pub(super) fn renamed(self, tensors: HostTensors) -> HostTensors {
        let levels = match self {
            Names::Taming => return tensors,
            Names::LlamaGen => "decoder.conv_blocks.",
            Names::Diffusers => "decoder.up_blocks.",
            Names::Janus => "decoder.up.",
        };
        let level = |name: &str| Some(level_behind(name, levels)?.0);
        let last = tensors.keys().filter_map(|n| level(n)).max();
        let last = last.unwrap_or(0);
        let one = |(name, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
            let name = match level_behind(&name, levels) {
                Some((i, rest)) => format!("decoder.up.{}.{rest}", last.saturating_sub(i)),
                None => name,
            };
            let name = match self {
                Names::LlamaGen => replaced(name, &LLAMAGEN),
                Names::Diffusers => replaced(name, &DIFFUSERS),
                Names::Taming | Names::Janus => name,
            };
            // A linear map of channels is a convolution of 1 x 1.
            let map = name.contains("attn") && name.ends_with(".weight");
            let shape = match shape[..] {
                [o, i] if map => vec![o, i, 1, 1],
                _ => shape,
            };
            (name, (shape, values))
        };
        tensors.into_iter().map(one).collect()
    }
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
const DIFFUSERS: [(&str, &str); 19] = [
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
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
    (".to_out.0.", ".proj_out."),
    (".query.", ".q."),
    (".key.", ".k."),
    (".value.", ".v."),
    (".proj_attn.", ".proj_out."),
];

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
            let all = scheme.renamed(with(names)).into_iter();
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
        let spatial = ["decoder.up_blocks.0.resnets.0.norm1.norm_layer.weight"];
        let error = Names::of(spatial.into_iter()).unwrap_err().to_string();
        assert!(error.contains("MoVQ"), "{error}");
    }
}
