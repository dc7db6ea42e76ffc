//! Emu3's tokenizer as it is for a single image: a video of four frames that are alike, of which
//! the decoder's first is taken. Convolutions over time look back, and see zeros before the first
//! frame, so that each is one or two convolutions of 3 x 3; batch norms are maps of channels.

use super::names::Names;
use super::tensors::{one, unlike};
use crate::nn::HostTensors;
use crate::{Error, Result};

/// The term that batch norms add under the root.
const EPS: f64 = 1e-5;
/// The convolutions over time of either side: each halves or doubles the frames.
const HALVINGS: usize = 2;
/// The last place of a kernel of three over time, which alone sees a first frame.
const LAST: &[usize] = &[2];

/// Rewrites Emu3's tensors, under our names where layers are the same, as those of our model.
pub(super) fn emu3(mut all: HostTensors) -> Result<HostTensors> {
    let beyond = format!("encoder.time_conv.{HALVINGS}.conv.conv.weight");
    if all.contains_key(&beyond) {
        let what = format!(
            "the tensor `{beyond}` is of more than {HALVINGS} halvings of the frames: \
             `temporal_downsample_factor` is {} in Emu3's tokenizer, and others are not read here",
            1 << HALVINGS
        );
        return Err(Error::data(what));
    }
    // Of four frames that are alike the first of the two results sees two, behind zeros.
    for (part, from, taps, biased) in [
        (
            "encoder.latents.split_0",
            "encoder.time_conv.0.conv.conv",
            &[2, 3][..],
            true,
        ),
        (
            "encoder.latents.split_1",
            "encoder.time_conv.0.conv.conv",
            &[0, 1, 2, 3],
            true,
        ),
        (
            "encoder.latents.join_0",
            "encoder.time_conv.1.conv.conv",
            &[2],
            true,
        ),
        (
            "encoder.latents.join_1",
            "encoder.time_conv.1.conv.conv",
            &[3],
            false,
        ),
        (
            "decoder.latents.conv_0",
            "decoder.time_conv.0.conv.conv",
            LAST,
            true,
        ),
        (
            "decoder.latents.conv_1",
            "decoder.time_conv.1.conv.conv",
            LAST,
            true,
        ),
    ] {
        let kernel = taken(&all, &format!("{from}.weight"), taps)?;
        let (shape, mut bias) = one(&all, &format!("{from}.bias"), Names::Emu3)?.clone();
        if !biased {
            bias.fill(0.0);
        }
        all.insert(format!("{part}.weight"), kernel);
        all.insert(format!("{part}.bias"), (shape, bias));
    }
    all.retain(|name, _| !name.contains(".time_conv."));
    for side in ["encoder", "decoder"] {
        for j in 0.. {
            let block = format!("{side}.latents.block.{j}");
            if !all.contains_key(&format!("{block}.conv1.weight")) {
                break;
            }
            for i in [1, 2] {
                let conv = format!("{block}.conv{i}.weight");
                let kernel = taken(&all, &conv, LAST)?;
                let (norm, map) = (format!("{block}.norm{i}"), format!("{block}.map{i}"));
                let [weight, bias] = normed(&all, &norm)?;
                let c = bias.len();
                // A norm stands before a convolution that keeps the channels: c^2 is no more than
                // the numbers of that one.
                let shape = &kernel.0;
                if shape[..2] != [c, c] {
                    let what = format!(
                        "the batch norm `{norm}` has {c} channels, and the convolution behind it, \
                         `{conv}`, shape {shape:?}: it must keep these channels"
                    );
                    return Err(Error::data(what));
                }
                all.insert(conv, kernel);
                let rows = unit(c).into_iter().enumerate();
                let diagonal = rows.map(|(at, v)| v * weight[at / c]).collect();
                all.insert(format!("{map}.weight"), (vec![c, c, 1, 1], diagonal));
                all.insert(format!("{map}.bias"), (vec![c], bias));
                all.retain(|name, _| !name.starts_with(&format!("{norm}.")));
            }
        }
    }
    for name in ["quant_conv.weight", "post_quant_conv.weight"] {
        let kernel = taken(&all, name, LAST)?;
        all.insert(name.into(), kernel);
    }
    Ok(all)
}

/// Returns the unit matrix.
pub(super) fn unit(c: usize) -> Vec<f32> {
    let one = |at: usize| if at / c == at % c { 1.0 } else { 0.0 };
    (0..c * c).map(one).collect()
}

/// Returns the sum of a kernel's parts [O, I, H, W] at these places of its time.
fn taken(all: &HostTensors, name: &str, taps: &[usize]) -> Result<(Vec<usize>, Vec<f32>)> {
    let (shape, values) = one(all, name, Names::Emu3)?;
    let [o, i, time, h, w] = match shape[..] {
        [o, i, time, h, w] if taps.iter().all(|tap| *tap < time) => [o, i, time, h, w],
        _ => return Err(unlike(name, shape, Names::Emu3)),
    };
    let place = h * w;
    let mut sums = Vec::with_capacity(o * i * place);
    for kernel in values.chunks((time * place).max(1)) {
        let at = |p: usize| {
            taps.iter()
                .map(move |tap| f64::from(kernel[tap * place + p]))
        };
        sums.extend((0..place).map(|p| at(p).sum::<f64>() as f32));
    }
    Ok((vec![o, i, h, w], sums))
}

/// Returns what a batch norm multiplies each channel by and adds to it, as it is after training.
fn normed(all: &HostTensors, name: &str) -> Result<[Vec<f32>; 2]> {
    let part = |part: &str| Ok::<_, Error>(&one(all, &format!("{name}.{part}"), Names::Emu3)?.1);
    let (weight, bias) = (part("weight")?, part("bias")?);
    let (mean, variance) = (part("running_mean")?, part("running_var")?);
    if [bias, mean, variance]
        .iter()
        .any(|v| v.len() != weight.len())
    {
        let what = format!("the parts of the batch norm `{name}` are of several sizes");
        return Err(Error::data(what));
    }
    let channel = |c: usize| {
        let scale = f64::from(weight[c]) / (f64::from(variance[c]) + EPS).sqrt();
        (scale, f64::from(bias[c]) - f64::from(mean[c]) * scale)
    };
    let all: Vec<(f64, f64)> = (0..weight.len()).map(channel).collect();
    if all.iter().any(|(scale, _)| !scale.is_finite()) {
        let what = format!("`{name}.running_var` has a variance below 0: it is damaged");
        return Err(Error::data(what));
    }
    Ok([
        all.iter().map(|(scale, _)| *scale as f32).collect(),
        all.iter().map(|(_, shift)| *shift as f32).collect(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_over_time_is_what_it_sees() {
        // [1, 1, 3, 1, 2].
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let kernel = (vec![1, 1, 3, 1, 2], values);
        let all = HostTensors::from([("k".to_owned(), kernel)]);
        assert_eq!(
            taken(&all, "k", &[2]).unwrap(),
            (vec![1, 1, 1, 2], vec![5.0, 6.0])
        );
        assert_eq!(taken(&all, "k", &[0, 2]).unwrap().1, [6.0, 8.0]);
        assert!(taken(&all, "k", &[3]).is_err());
    }

    #[test]
    fn a_batch_norm_is_a_map_of_channels() {
        let part = |name: &str, v: f32| (format!("n.{name}"), (vec![1], vec![v]));
        let mut all = HostTensors::from([
            part("weight", 3.0),
            part("bias", 1.0),
            part("running_mean", 2.0),
            part("running_var", 4.0),
        ]);
        let [scale, shift] = normed(&all, "n").unwrap();
        assert!((scale[0] - 1.5).abs() < 1e-5 && (shift[0] + 2.0).abs() < 1e-5);
        all.insert("n.running_var".into(), (vec![1], vec![-1.0]));
        let error = normed(&all, "n").unwrap_err().to_string();
        assert!(error.contains("running_var"), "{error}");
    }
}
