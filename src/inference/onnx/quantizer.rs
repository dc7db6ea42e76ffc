//! Quantizers as nodes: latents to codes, and codes to latents.

use super::graph::{Attribute, Element};
use super::layers::Layers;
use crate::gpu::Tensor;
use crate::inference::FirstStageModel;
use crate::ops::quantize::fsq::{Activation, bound};
use crate::storage::checkpoint::HostTensor;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The most numbers of a table of codes.
const MOST: usize = 1 << 28;
/// The least length that latents are divided by, as the engine has it.
const SHORTEST: f32 = 1e-6;

/// Returns the quantized latents of rows of codes, one from each codebook.
fn decoded(model: &FirstStageModel, rows: &[u32]) -> Result<Vec<f32>> {
    let quantizer = &model.stage.quantizers[0];
    let books = quantizer.codebooks();
    model.with_pass(|pass| {
        let codes = Tensor::from_slice(&model.gpu, &[rows.len() / books, books], rows)?;
        quantizer.decode(pass, &codes)?.read::<f32>()
    })
}

/// Adds the nodes from codes [N, h, w, Q] to quantized latents [N, D, h, w]: a table to each
/// codebook, whose rows are added.
pub fn code_tables(model: &FirstStageModel, l: &mut Layers, codes: &str) -> Result<String> {
    let quantizer = &model.stage.quantizers[0];
    let (k, books, dim) = (
        quantizer.codebook_size(),
        quantizer.codebooks(),
        quantizer.dim(),
    );
    if k.saturating_mul(books).saturating_mul(dim) > MOST {
        let what = format!("{k} codes of {dim} channels are too many for a table of an ONNX file");
        return Err(Error::data(what));
    }
    // The codebooks' parts of a latent add up or lie side by side, and what maps them onwards is
    // affine: each adds what it adds to the latent of code 0 in every codebook.
    let base = decoded(model, &vec![0; books])?;
    let mut sum: Option<String> = None;
    for book in 0..books {
        let rows = (0..k as u32).flat_map(|code| {
            let place = move |b: usize| if b == book { code } else { 0 };
            (0..books).map(place)
        });
        let mut table = decoded(model, &rows.collect::<Vec<u32>>())?;
        if book > 0 {
            let rows = table.chunks_exact_mut(dim);
            rows.for_each(|row| row.iter_mut().zip(&base).for_each(|(v, b)| *v -= b));
        }
        let table = l
            .graph
            .numbers(&format!("codebook.{book}"), &[k, dim], &table);
        let which = l.graph.integers(&format!("book.{book}"), &[book as i64]);
        let axis = [("axis", Attribute::Int(-1))];
        let own = l.graph.node("Gather", &[codes, &which], &axis);
        let last = l.graph.integers("last", &[-1]);
        let own = l.op("Squeeze", &[&own, &last]);
        let first = [("axis", Attribute::Int(0))];
        let latents = l.graph.node("Gather", &[&table, &own], &first);
        sum = Some(match &sum {
            Some(before) => l.op("Add", &[before, &latents]),
            None => latents,
        });
    }
    let sum = sum.ok_or_else(|| Error::data("the quantizer has no codebook"))?;
    Ok(l.transpose(&sum, &[0, 3, 1, 2]))
}

/// A linear map of rows, as PyTorch has it.
fn linear(l: &mut Layers, x: &str, name: &str) -> Result<String> {
    let (shape, values) = l.weight(&format!("{name}.weight"))?;
    let [o, i] = [shape[0], shape[1]];
    let turned: Vec<f32> = (0..i * o).map(|at| values[at % o * i + at / o]).collect();
    let weight = l.graph.numbers(&format!("{name}.weight"), &[i, o], &turned);
    let (_, bias) = l.weight(&format!("{name}.bias"))?;
    let bias = l.graph.numbers(&format!("{name}.bias"), &[o], &bias);
    let y = l.op("MatMul", &[x, &weight]);
    Ok(l.op("Add", &[&y, &bias]))
}

/// Rows of length 1.
fn unit(l: &mut Layers, x: &str) -> String {
    let last = l.graph.integers("last", &[-1]);
    let length = l.op("ReduceL2", &[x, &last]);
    let least = l.graph.numbers("shortest", &[1], &[SHORTEST]);
    let length = l.op("Max", &[&length, &least]);
    l.op("Div", &[x, &length])
}

/// Returns the codes [K, D] that latents are compared with.
fn codebook(l: &Layers, cosine: bool) -> Result<(usize, Vec<f32>)> {
    let (shape, mut codes) = if l.has("quantizer.frozen_codebook") {
        let (shape, frozen) = l.weight("quantizer.frozen_codebook")?;
        let (_, map) = l.weight("quantize.map")?;
        let d = shape[1];
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let row = |row: &[f32]| map.chunks(d).map(|m| dot(row, m)).collect::<Vec<f32>>();
        (shape, frozen.chunks(d).flat_map(row).collect())
    } else if l.has("quantizer.codebook") {
        l.weight("quantizer.codebook")?
    } else {
        l.weight("quantize.codebook")?
    };
    let d = shape[1];
    if cosine {
        for row in codes.chunks_mut(d) {
            let length = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(SHORTEST);
            row.iter_mut().for_each(|v| *v /= length);
        }
    }
    Ok((d, codes))
}

/// The nearest code of each row: the least `|e|^2 - 2 x e`.
fn nearest(l: &mut Layers, x: &str, (d, codes): (usize, Vec<f32>)) -> String {
    let lengths = codes.chunks(d).map(|row| row.iter().map(|v| v * v).sum());
    let lengths: Vec<f32> = lengths.collect();
    least(l, x, (d, codes), lengths)
}

/// The code of each row of the least length less twice the product.
fn least(l: &mut Layers, x: &str, (d, codes): (usize, Vec<f32>), lengths: Vec<f32>) -> String {
    let k = codes.len() / d;
    let turned: Vec<f32> = (0..d * k)
        .map(|at| -2.0 * codes[at % k * d + at / k])
        .collect();
    let turned = l.graph.numbers("code_vectors", &[d, k], &turned);
    let lengths = l.graph.numbers("code_lengths", &[k], &lengths);
    let products = l.op("MatMul", &[x, &turned]);
    let distances = l.op("Add", &[&products, &lengths]);
    let axis = [
        ("axis", Attribute::Int(-1)),
        ("keepdims", Attribute::Int(1)),
    ];
    l.graph.node("ArgMin", &[&distances], &axis)
}

/// Rows normalised by the averaged moments, (mean, inverse deviation) of each channel, where the
/// quantizer has them.
fn normalized(l: &mut Layers, x: &str) -> Result<String> {
    if !l.has("quantizer.moments") {
        return Ok(x.to_owned());
    }
    let (shape, moments) = l.weight("quantizer.moments")?;
    let mut column = |name: &str, i: usize| {
        let values: Vec<f32> = moments.chunks(2).map(|m| m[i]).collect();
        l.graph.numbers(name, &shape[..1], &values)
    };
    let (mean, inverse) = (column("mean", 0), column("inverse_deviation", 1));
    let centred = l.op("Sub", &[x, &mean]);
    Ok(l.op("Mul", &[&centred, &inverse]))
}

/// The code of each row of the largest product: the least `-2 x e`.
fn likeliest(l: &mut Layers, x: &str) -> Result<String> {
    let x = &normalized(l, x)?;
    let (d, codes) = codebook(l, false)?;
    let lengths = vec![0.0; codes.len() / d];
    Ok(least(l, x, (d, codes), lengths))
}

/// The signs of the channels as bits, the first the highest.
fn signs(l: &mut Layers, x: &str, channels: usize) -> String {
    let zero = l.graph.numbers("zero", &[1], &[0.0]);
    let positive = l.op("Greater", &[x, &zero]);
    let to_int = [("to", Attribute::Int(7))];
    let bits = l.graph.node("Cast", &[&positive], &to_int);
    let values: Vec<i64> = (0..channels).rev().map(|i| 1 << i).collect();
    let values = l.graph.integers("bits", &values);
    let last = l.graph.integers("last", &[-1]);
    let parts = l.op("Mul", &[&bits, &values]);
    l.op("ReduceSum", &[&parts, &last])
}

/// Bounded channels, rounded to their levels: the digits of the code, the first the lowest.
fn levels(l: &mut Layers, x: &str, levels: &[usize], activation: Activation) -> String {
    let bounds: Vec<[f64; 3]> = levels.iter().map(|n| bound(*n, activation)).collect();
    let mut column = |name: &str, of: &dyn Fn(usize) -> f64| {
        let values: Vec<f32> = (0..levels.len()).map(|i| of(i) as f32).collect();
        l.graph.numbers(name, &[levels.len()], &values)
    };
    let half = column("half", &|i| bounds[i][0]);
    let offset = column("offset", &|i| (levels[i] / 2) as f64 - bounds[i][1]);
    let shift = column("shift", &|i| bounds[i][2]);
    let mut shifted = l.op("Add", &[x, &shift]);
    if activation != Activation::Tanh {
        let steepness = [activation.steepness() as f32];
        let steepness = l.graph.numbers("steepness", &[1], &steepness);
        shifted = l.op("Mul", &[&shifted, &steepness]);
    }
    let bounded = l.op("Tanh", &[&shifted]);
    let wide = l.op("Mul", &[&bounded, &half]);
    let digits = l.op("Add", &[&wide, &offset]);
    let digits = l.op("Round", &[&digits]);
    let to_int = [("to", Attribute::Int(7))];
    let digits = l.graph.node("Cast", &[&digits], &to_int);
    let basis = levels.iter().scan(1i64, |basis, n| {
        let own = *basis;
        *basis *= *n as i64;
        Some(own)
    });
    let basis: Vec<i64> = basis.collect();
    let basis = l.graph.integers("basis", &basis);
    let last = l.graph.integers("last", &[-1]);
    let parts = l.op("Mul", &[&digits, &basis]);
    l.op("ReduceSum", &[&parts, &last])
}

/// Returns the graph from latents [N, D, h, w] to codes [N, h, w, 1]; `None` where the quantizer's
/// rule has none.
pub fn codes<'a>(
    model: &FirstStageModel,
    tensors: &'a BTreeMap<String, HostTensor>,
) -> Result<Option<Layers<'a>>> {
    let (mut l, q) = (Layers::over(tensors), &model.config.quantizer);
    let x = l
        .graph
        .input("latents", Element::Float, &model.latent_dims());
    let mut x = l.transpose(&x, &[0, 2, 3, 1]);
    if l.has("quantize.project_in.weight") {
        x = linear(&mut l, &x, "quantize.project_in")?;
    }
    let codes = match q.kind.as_str() {
        "ema" | "vq" | "cosine" | "simvq" => {
            let cosine = q.use_cosine_sim || q.kind == "cosine";
            if cosine {
                x = unit(&mut l, &x);
            }
            let codebook = codebook(&l, cosine)?;
            nearest(&mut l, &x, codebook)
        }
        "ibq" => likeliest(&mut l, &x)?,
        // On the sphere the signs are the same.
        "lfq" | "bsq" => signs(&mut l, &x, q.code_channels()),
        "fsq" => levels(&mut l, &x, &q.levels, q.activation),
        _ => return Ok(None),
    };
    l.graph
        .output("codes", &codes, Element::Int, &model.code_dims());
    Ok(Some(l))
}
