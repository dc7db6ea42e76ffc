//! Checkpoints as others publish them, made of weights that follow from their names.

use super::pattern_weight;
use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgvq::inference::import::Names;

/// The shapes of the fixtures' network under taming-transformers' names, with attention at these
/// resolutions: 32 channels times [1, 1, 2], one block each, 6 channels before the quantizer and 4
/// in it; with spatial norms in the decoder, or without.
fn shapes(attention: &[usize], spatial: bool) -> BTreeMap<String, Vec<usize>> {
    let mut all = BTreeMap::new();
    fn conv(all: &mut BTreeMap<String, Vec<usize>>, name: &str, i: usize, o: usize, k: usize) {
        all.insert(format!("{name}.weight"), vec![o, i, k, k]);
        all.insert(format!("{name}.bias"), vec![o]);
    }
    fn norm(all: &mut BTreeMap<String, Vec<usize>>, name: &str, c: usize) {
        all.insert(format!("{name}.weight"), vec![c]);
        all.insert(format!("{name}.bias"), vec![c]);
    }
    fn block(all: &mut BTreeMap<String, Vec<usize>>, name: &str, i: usize, o: usize) {
        norm(all, &format!("{name}.norm1"), i);
        conv(all, &format!("{name}.conv1"), i, o, 3);
        norm(all, &format!("{name}.norm2"), o);
        conv(all, &format!("{name}.conv2"), o, o, 3);
        if i != o {
            conv(all, &format!("{name}.nin_shortcut"), i, o, 1);
        }
    }
    fn attend(all: &mut BTreeMap<String, Vec<usize>>, name: &str, c: usize) {
        norm(all, &format!("{name}.norm"), c);
        ["q", "k", "v", "proj_out"]
            .iter()
            .for_each(|part| conv(all, &format!("{name}.{part}"), c, c, 1));
    }
    let widths = [32, 32, 64];
    let all_of = &mut all;
    conv(all_of, "encoder.conv_in", 3, 32, 3);
    conv(all_of, "decoder.conv_in", 6, 64, 3);
    for (side, blocks) in [("encoder.down", 1), ("decoder.up", 2)] {
        for (level, width) in widths.into_iter().enumerate() {
            let before = match side {
                "encoder.down" => widths[level.saturating_sub(1)],
                _ => widths[(level + 1).min(2)],
            };
            for j in 0..blocks {
                let from = if j == 0 { before } else { width };
                block(all_of, &format!("{side}.{level}.block.{j}"), from, width);
                if attention.contains(&(1 << level)) {
                    attend(all_of, &format!("{side}.{level}.attn.{j}"), width);
                }
            }
            if side == "encoder.down" && level < 2 {
                conv(
                    all_of,
                    &format!("{side}.{level}.downsample.conv"),
                    width,
                    width,
                    3,
                );
            }
            if side == "decoder.up" && level > 0 {
                conv(
                    all_of,
                    &format!("{side}.{level}.upsample.conv"),
                    width,
                    width,
                    3,
                );
            }
        }
    }
    for side in ["encoder", "decoder"] {
        block(all_of, &format!("{side}.mid.block_1"), 64, 64);
        attend(all_of, &format!("{side}.mid.attn_1"), 64);
        block(all_of, &format!("{side}.mid.block_2"), 64, 64);
    }
    norm(all_of, "encoder.norm_out", 64);
    conv(all_of, "encoder.conv_out", 64, 6, 3);
    conv(all_of, "quant_conv", 6, 4, 1);
    conv(all_of, "post_quant_conv", 4, 6, 1);
    norm(all_of, "decoder.norm_out", 32);
    conv(all_of, "decoder.conv_out", 32, 3, 3);
    if !spatial {
        return all;
    }
    let is_norm = |name: &str| {
        let of = name.rsplit('.').nth(1).unwrap_or_default();
        name.starts_with("decoder.") && of.starts_with("norm")
    };
    let (norms, mut spatial): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.into_iter().partition(|(name, _)| is_norm(name));
    for (name, shape) in norms {
        let (norm, part) = name.rsplit_once('.').unwrap();
        spatial.insert(format!("{norm}.norm_layer.{part}"), shape.clone());
        for map in ["conv_y", "conv_b"] {
            let shape = match part {
                "weight" => vec![shape[0], 4, 1, 1],
                _ => shape.clone(),
            };
            spatial.insert(format!("{norm}.{map}.{part}"), shape);
        }
    }
    spatial
}

/// A name of taming-transformers as LlamaGen has it.
fn llama(name: &str) -> String {
    let mid = name
        .replace("mid.block_1", "mid.0")
        .replace("mid.attn_1", "mid.1")
        .replace("mid.block_2", "mid.2");
    let down = mid
        .replace("encoder.down.", "encoder.conv_blocks.")
        .replace(".block.", ".res.");
    coarsest_first(&down, "decoder.conv_blocks.")
}

/// A name with the decoder's resolutions counted from the coarsest, behind a prefix.
fn coarsest_first(name: &str, prefix: &str) -> String {
    for i in 0..3 {
        if let Some(rest) = name.strip_prefix(&format!("decoder.up.{i}.")) {
            return format!("{prefix}{}.{rest}", 2 - i);
        }
    }
    name.to_owned()
}

/// A name of taming-transformers as diffusers has it.
fn diffusers(name: &str) -> String {
    let name = coarsest_first(name, "decoder.up_blocks.");
    [
        ("encoder.down.", "encoder.down_blocks."),
        (".mid.block_1.", ".mid_block.resnets.0."),
        (".mid.attn_1.", ".mid_block.attentions.0."),
        (".mid.block_2.", ".mid_block.resnets.1."),
        (".block.", ".resnets."),
        (".attn.", ".attentions."),
        (".nin_shortcut.", ".conv_shortcut."),
        (".downsample.", ".downsamplers.0."),
        (".upsample.", ".upsamplers.0."),
        (".norm_out.", ".conv_norm_out."),
    ]
    .into_iter()
    .chain(match name.contains("attn") {
        true if [".norm_layer.", ".conv_y.", ".conv_b."]
            .iter()
            .any(|part| name.contains(part)) =>
        {
            vec![(".norm.", ".spatial_norm.")]
        }
        true => vec![
            (".norm.", ".group_norm."),
            (".q.", ".to_q."),
            (".k.", ".to_k."),
            (".v.", ".to_v."),
            (".proj_out.", ".to_out.0."),
        ],
        false => Vec::new(),
    })
    .fold(name.clone(), |name, (ours, theirs)| {
        name.replace(ours, theirs)
    })
}

/// The shapes of a fixture's weights, where it lists them.
fn listed_shapes(fixture_name: &str) -> Option<BTreeMap<String, Vec<usize>>> {
    let bytes = std::fs::read(path(fixture_name)).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let listed = metadata.metadata().as_ref()?.get("shapes")?;
    Some(serde_json::from_str(listed).unwrap())
}

fn path(fixture_name: &str) -> String {
    format!(
        "{}/tests/fixtures/vqgan/{fixture_name}.safetensors",
        env!("CARGO_MANIFEST_DIR")
    )
}

/// Returns the outputs of the fixtures' network in PyTorch.
pub fn fixture(name: &str) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path(name)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let own = file
        .tensors()
        .into_iter()
        .map(|(n, v)| (n, (v.shape().to_vec(), v.data().to_vec())));
    own.filter(|(n, _)| !n.starts_with("grad.")).collect()
}

/// Tensors of a file: name, shape and bytes of f32.
pub type Tensors = Vec<(String, Vec<usize>, Vec<u8>)>;

/// A published checkpoint: its network, its codebook, and what else such files hold.
pub fn tensors(fixture_name: &str, names: Names) -> Tensors {
    let codebook = &fixture(fixture_name)["codebook"];
    let mut tensors: Tensors = vec![
        (
            "quantize.embedding.weight".into(),
            codebook.0.clone(),
            codebook.1.clone(),
        ),
        (
            "loss.discriminator.main.0.weight".into(),
            vec![2],
            vec![0; 8],
        ),
    ];
    let attention: &[usize] = match fixture_name {
        "llamagen" => &[4],
        _ => &[2],
    };
    let shapes = listed_shapes(fixture_name);
    let shapes = shapes.unwrap_or_else(|| self::shapes(attention, fixture_name == "movq"));
    for (name, shape) in shapes {
        // A variance is above 0.
        let variance = name.ends_with("running_var");
        let bytes = pattern_weight(&name, &shape)
            .into_iter()
            .map(|v| if variance { v.abs() + 0.5 } else { v })
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let name = match names {
            Names::Taming | Names::Var | Names::MaskGit | Names::Emu3 => name,
            Names::LlamaGen => llama(&name),
            Names::Diffusers => diffusers(&name),
            Names::Janus => coarsest_first(&name, "decoder.up."),
        };
        // What attends is linear in diffusers.
        let shape = match shape[..] {
            [o, i, 1, 1] if names == Names::Diffusers && name.contains("attentions") => vec![o, i],
            _ => shape,
        };
        tensors.push((name, shape, bytes));
    }
    // LlamaGen's stands behind a prefix, as in a training checkpoint.
    if names == Names::LlamaGen {
        behind("model.", &tensors)
    } else {
        tensors
    }
}

/// Returns the tensors with a prefix before their names.
pub fn behind(prefix: &str, tensors: &Tensors) -> Tensors {
    tensors
        .iter()
        .map(|(name, shape, bytes)| (format!("{prefix}{name}"), shape.clone(), bytes.clone()))
        .collect()
}

/// Writes a file of tensors.
pub fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(n, s, b)| {
        (
            n.as_str(),
            TensorView::new(Dtype::F32, s.clone(), b).unwrap(),
        )
    });
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

/// Writes tensors in so many files with an index beside them, as Hugging Face's libraries do, and
/// returns the files.
pub fn write_shards(folder: &Path, stem: &str, tensors: &Tensors, count: usize) -> Vec<PathBuf> {
    let mut map = serde_json::Map::new();
    let mut files = Vec::new();
    for (i, part) in tensors.chunks(tensors.len().div_ceil(count)).enumerate() {
        let name = format!("{stem}-{:05}-of-{count:05}.safetensors", i + 1);
        files.push(folder.join(&name));
        write(&files[i], &part.to_vec());
        let own = part.iter().map(|(tensor, ..)| tensor.clone());
        map.extend(own.map(|tensor| (tensor, name.as_str().into())));
    }
    let size: usize = tensors.iter().map(|(.., bytes)| bytes.len()).sum();
    let index = serde_json::json!({ "metadata": { "total_size": size }, "weight_map": map });
    let place = folder.join(format!("{stem}.safetensors.index.json"));
    std::fs::write(place, index.to_string()).unwrap();
    files
}

/// A published checkpoint's file.
pub fn checkpoint(folder: &Path, fixture_name: &str, names: Names) -> PathBuf {
    let path = folder.join(format!("{fixture_name}.safetensors"));
    write(&path, &tensors(fixture_name, names));
    path
}
