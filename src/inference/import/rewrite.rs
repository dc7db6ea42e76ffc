//! Weights of other architectures as weights of ours that compute the same, in PyTorch's layout and
//! under our names.

use super::emu3::{emu3, unit};
use super::names::{CODEBOOK, Names};
use super::tensors::{one, unlike};
use crate::nn::HostTensors;
use crate::{Error, Result};

/// The most channels of latents, as in a configuration.
const MOST_LATENTS: usize = 4096;

/// Rewrites the tensors of a scheme as those of our model.
///
/// # Errors
/// If there is no model of ours that computes the same; the message names the tensor.
pub(super) fn rewritten(names: Names, tensors: HostTensors) -> Result<HostTensors> {
    match names {
        Names::Var => parts_of_attention(tensors),
        Names::MaskGit => maskgit(tensors),
        Names::Emu3 => emu3(tensors),
        _ => Ok(tensors),
    }
}

/// Divides the one map to queries, keys and values of each attention into three.
fn parts_of_attention(tensors: HostTensors) -> Result<HostTensors> {
    let mut all = HostTensors::new();
    let mut parts = Vec::new();
    for (name, (shape, values)) in tensors {
        let Some((before, kind)) = name.split_once(".qkv.") else {
            all.insert(name, (shape, values));
            continue;
        };
        let rows = shape.first().copied().unwrap_or_default();
        if rows == 0 || !rows.is_multiple_of(3) {
            let what = format!(
                "the tensor `{name}` has shape {shape:?}: queries, keys and values are three \
                 parts of its rows"
            );
            return Err(Error::data(what));
        }
        let mut own = shape.clone();
        own[0] = rows / 3;
        let each = values.len() / 3;
        for (part, values) in ["q", "k", "v"].iter().zip(values.chunks(each.max(1))) {
            let tensor = (own.clone(), values.to_vec());
            parts.push((format!("{before}.{part}.{kind}"), tensor));
        }
    }
    if let Some((name, _)) = parts.iter().find(|(name, _)| all.contains_key(name)) {
        let what = format!("the tensor `{name}` is there twice: of its own, and within `qkv`");
        return Err(Error::data(what));
    }
    all.extend(parts);
    Ok(all)
}

/// MaskGIT's tokenizer differs from taming-transformers' in what our layers can do, too: means of
/// four pixels are a convolution of stride 2; a block between different channels adds to what it
/// made a map of just that, which is one convolution; the decoder's resolutions have a block less,
/// and get one that adds nothing; the encoder ends in a convolution of 1 x 1; biases that are not
/// there are 0; images lie in [0, 1] at either end.
fn maskgit(mut all: HostTensors) -> Result<HostTensors> {
    if let Some(name) = all.keys().find(|n| n.contains(".mid.2.")) {
        let what = format!(
            "the tensor `{name}` is of a third block in the middle (`num_res_blocks` above 2): a \
             VQ-GAN has two there"
        );
        return Err(Error::data(what));
    }
    let convolutions: Vec<String> = all
        .iter()
        .filter(|(name, (shape, _))| shape.len() == 4 && !all.contains_key(&bias_of(name)))
        .map(|(name, _)| name.clone())
        .collect();
    for name in convolutions {
        let outputs = all[&name].0.first().copied().unwrap_or_default();
        all.insert(bias_of(&name), (vec![outputs], vec![0.0; outputs]));
    }
    let shortcuts: Vec<String> = all
        .keys()
        .filter_map(|n| Some(n.strip_suffix(".nin_shortcut.weight")?.to_owned()))
        .collect();
    for block in shortcuts {
        fold_shortcut(&mut all, &block)?;
    }
    let level = |i: usize| format!("encoder.down.{i}.block.0");
    for i in 0.. {
        if !all.contains_key(&format!("{}.conv1.weight", level(i))) {
            break;
        }
        let c = width(&all, &level(i))?;
        if all.contains_key(&format!("{}.conv1.weight", level(i + 1))) {
            let mut mean = vec![0.0; c * c * 9];
            for channel in 0..c {
                let own = &mut mean[(channel * c + channel) * 9..][..9];
                [0, 1, 3, 4].iter().for_each(|tap| own[*tap] = 0.25);
            }
            let conv = format!("encoder.down.{i}.downsample.conv");
            insert(&mut all, &conv, [c, c, 3], mean)?;
        }
        let first_free = (0..).find(|j| {
            let name = format!("decoder.up.{i}.block.{j}.conv1.weight");
            !all.contains_key(&name)
        });
        let block = format!("decoder.up.{i}.block.{}", first_free.unwrap_or_default());
        for part in ["norm1", "norm2"] {
            all.insert(format!("{block}.{part}.weight"), (vec![c], vec![1.0; c]));
            all.insert(format!("{block}.{part}.bias"), (vec![c], vec![0.0; c]));
        }
        // Its first convolution passes on what comes, so that the last can learn.
        insert(
            &mut all,
            &format!("{block}.conv1"),
            [c, c, 3],
            centred(&unit(c), c * c),
        )?;
        insert(
            &mut all,
            &format!("{block}.conv2"),
            [c, c, 3],
            vec![0.0; c * c * 9],
        )?;
    }
    let (latents, kernel) = {
        let name = "encoder.conv_out.weight";
        let (shape, values) = one(&all, name, Names::MaskGit)?;
        let [o, i, h, w] = shape[..] else {
            return Err(unlike(name, shape, Names::MaskGit));
        };
        let kernel = match (h, w) {
            _ if o > MOST_LATENTS => return Err(unlike(name, shape, Names::MaskGit)),
            (1, 1) => centred(values, o * i),
            (3, 3) => values.clone(),
            _ => return Err(unlike(name, shape, Names::MaskGit)),
        };
        (o, (vec![o, i, 3, 3], kernel))
    };
    all.insert("encoder.conv_out.weight".into(), kernel);
    let (codebook, _) = one(&all, CODEBOOK, Names::MaskGit)?;
    if codebook.get(1) != Some(&latents) {
        let what = format!(
            "`{CODEBOOK}` has shape {codebook:?}, and latents have {latents} channels \
             (`z_channels` and `quantized_embed_dim`): they must be the same"
        );
        return Err(Error::data(what));
    }
    for name in ["quant_conv", "post_quant_conv"] {
        insert(&mut all, name, [latents, latents, 1], unit(latents))?;
    }
    for (name, add) in [
        ("decoder.conv_out.weight", 0.0),
        ("decoder.conv_out.bias", -1.0),
    ] {
        let (shape, values) = one(&all, name, Names::MaskGit)?;
        let scaled = values.iter().map(|v| 2.0 * v + add).collect();
        let scaled = (shape.clone(), scaled);
        all.insert(name.into(), scaled);
    }
    Ok(all)
}

fn bias_of(weight: &str) -> String {
    format!("{}.bias", weight.strip_suffix(".weight").unwrap_or(weight))
}

/// Returns the channels that a block makes. Its second convolution keeps them, so that their
/// square is no more than the numbers of that one.
fn width(all: &HostTensors, block: &str) -> Result<usize> {
    let [first, second] = ["conv1", "conv2"].map(|part| format!("{block}.{part}.weight"));
    let shape = &one(all, &first, Names::MaskGit)?.0;
    let [c, _, 3, 3] = shape[..] else {
        return Err(unlike(&first, shape, Names::MaskGit));
    };
    match &one(all, &second, Names::MaskGit)?.0 {
        shape if shape[..] == [c, c, 3, 3] => Ok(c),
        shape => Err(unlike(&second, shape, Names::MaskGit)),
    }
}

/// Adds a convolution with a bias of 0.
///
/// # Errors
/// If there is one of that name.
fn insert(
    all: &mut HostTensors,
    name: &str,
    [o, i, k]: [usize; 3],
    values: Vec<f32>,
) -> Result<()> {
    let before = all.insert(format!("{name}.weight"), (vec![o, i, k, k], values));
    if before.is_some() {
        let what = format!("the tensor `{name}.weight` is there, and MaskGIT has none");
        return Err(Error::data(what));
    }
    all.insert(format!("{name}.bias"), (vec![o], vec![0.0; o]));
    Ok(())
}

/// Kernels of 1 x 1 as ones of 3 x 3.
fn centred(points: &[f32], count: usize) -> Vec<f32> {
    let mut kernels = vec![0.0; count * 9];
    let middles = kernels.iter_mut().skip(4).step_by(9);
    middles.zip(points).for_each(|(to, v)| *to = *v);
    kernels
}

/// `h + shortcut(h)` with `h = conv2(..)` becomes a convolution, and the shortcut, ours being one
/// of what comes into the block, 0.
fn fold_shortcut(all: &mut HostTensors, block: &str) -> Result<()> {
    let [map, last, first] =
        ["nin_shortcut", "conv2", "conv1"].map(|p| format!("{block}.{p}.weight"));
    let o = width(all, block)?;
    let inputs = one(all, &first, Names::MaskGit)?.0[1];
    let (shape, n) = one(all, &map, Names::MaskGit)?;
    let (kernel_shape, kernel) = one(all, &last, Names::MaskGit)?;
    if shape[..] != [o, o, 1, 1] {
        return Err(unlike(&map, shape, Names::MaskGit));
    }
    for part in ["conv2", "nin_shortcut"] {
        let bias = format!("{block}.{part}.bias");
        if all
            .get(&bias)
            .is_some_and(|(_, b)| b.iter().any(|v| *v != 0.0))
        {
            let what = format!("the tensor `{bias}` is not 0: MaskGIT's blocks have no biases");
            return Err(Error::data(what));
        }
    }
    let each = kernel.len() / o.max(1);
    let mut folded = Vec::with_capacity(kernel.len());
    for a in 0..o {
        let mut row: Vec<f64> = kernel[a * each..][..each]
            .iter()
            .map(|v| f64::from(*v))
            .collect();
        for (b, factor) in n[a * o..][..o].iter().enumerate() {
            let of = kernel[b * each..][..each].iter();
            let factor = f64::from(*factor);
            row.iter_mut()
                .zip(of)
                .for_each(|(sum, v)| *sum += factor * f64::from(*v));
        }
        folded.extend(row.into_iter().map(|v| v as f32));
    }
    let folded = (kernel_shape.clone(), folded);
    all.insert(last, folded);
    all.remove(&map);
    insert(
        all,
        &format!("{block}.nin_shortcut"),
        [o, inputs, 1],
        vec![0.0; o * inputs],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_keys_and_values_are_rows_one_after_another() {
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let of = |shape: &[usize]| {
            let name = "decoder.mid.attn_1.qkv.weight".to_owned();
            parts_of_attention(HostTensors::from([(
                name,
                (shape.to_vec(), values.clone()),
            )]))
        };
        let parts = of(&[6, 2, 1, 1]).unwrap();
        assert_eq!(parts["decoder.mid.attn_1.q.weight"].0, [2, 2, 1, 1]);
        assert_eq!(parts["decoder.mid.attn_1.k.weight"].1, [4.0, 5.0, 6.0, 7.0]);
        let error = of(&[4, 3, 1, 1]).unwrap_err().to_string();
        assert!(error.contains("qkv") && error.contains("three"), "{error}");
        let tensor = |part: &str, rows: usize| {
            let name = format!("decoder.mid.attn_1.{part}.weight");
            (name, (vec![rows, 1, 1, 1], vec![0.0; rows]))
        };
        let twice = HostTensors::from([tensor("qkv", 3), tensor("k", 1)]);
        let error = parts_of_attention(twice).unwrap_err().to_string();
        assert!(error.contains("attn_1.k.weight"), "{error}");
    }

    /// The block's own rule at one place of one pixel: `h + N h`, `h = W x`.
    #[test]
    fn a_shortcut_of_what_the_block_made_is_part_of_its_convolution() {
        let mut all = HostTensors::new();
        let mut kernel = vec![0.0; 4 * 9];
        for (at, v) in [1.0, 2.0, 3.0, 4.0].into_iter().enumerate() {
            kernel[at * 9 + 4] = v;
        }
        all.insert("b.conv1.weight".into(), (vec![2, 3, 3, 3], vec![0.0; 54]));
        all.insert("b.conv2.weight".into(), (vec![2, 2, 3, 3], kernel));
        let map = (vec![2, 2, 1, 1], vec![0.5, 1.0, 0.0, 2.0]);
        all.insert("b.nin_shortcut.weight".into(), map);
        for part in ["conv2", "nin_shortcut"] {
            let mut biased = all.clone();
            let bias = format!("b.{part}.bias");
            biased.insert(bias.clone(), (vec![2], vec![0.0, 1.0]));
            let error = fold_shortcut(&mut biased, "b").unwrap_err().to_string();
            assert!(error.contains(&bias), "{error}");
        }
        fold_shortcut(&mut all, "b").unwrap();
        let middles: Vec<f32> = all["b.conv2.weight"]
            .1
            .iter()
            .skip(4)
            .step_by(9)
            .copied()
            .collect();
        // (I + N) W with N = [.5 1; 0 2].
        assert_eq!(middles, [4.5, 7.0, 9.0, 12.0]);
        assert_eq!(
            all["b.nin_shortcut.weight"],
            (vec![2, 3, 1, 1], vec![0.0; 6])
        );
    }
}
