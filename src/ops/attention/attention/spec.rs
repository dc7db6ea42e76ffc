//! The registry's row.

use super::kernels::{Problem, kernels, work};
use super::reference::{self, Sizes};
use super::{Attention, Mask, attention, attention_cross, attention_packed};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, excerpt, refused,
};

/// The registry's row of [`attention`]; with `packed` 1 of [`attention_packed`], with 2 of
/// [`attention_cross`]. `mask` 1 is of the sequences' lengths, 2 of a pattern for all, 3 of one for
/// each image.
pub struct AttentionSpec;

fn options<'a>(case: &Case, mask: Option<&'a Mask>) -> Attention<'a> {
    Attention {
        causal: case.get("causal") == 1,
        scale: None,
        mask,
    }
}

/// Keys that image b sees of `keys`: from all of them down to none.
fn length(b: usize, keys: usize) -> usize {
    (keys + 3).saturating_sub(3 + 5 * b).min(keys)
}

/// Returns the text of a stream, and every third of what follows it; some rows see nothing.
fn pattern(i: usize, j: usize) -> bool {
    (j < 3 || (i + 2 * j).is_multiple_of(3)) && i % 11 != 7
}

fn of_each(b: usize, i: usize, j: usize) -> bool {
    !(i * j + i + j + b).is_multiple_of(3)
}

fn mask(gpu: &Gpu, c: &Case) -> Result<Option<Mask>> {
    let [b, tq, tk] = ["b", "tq", "tk"].map(|n| c.get(n));
    let lengths: Vec<usize> = (0..b).map(|b| length(b, tk)).collect();
    Ok(Some(match c.get("mask") {
        0 => return Ok(None),
        1 => Mask::lengths(gpu, &lengths, tk)?,
        2 => Mask::pattern(gpu, tq, tk, pattern)?,
        _ => Mask::each(gpu, b, tq, tk, of_each)?,
    }))
}

fn problem(c: &Case) -> Problem {
    let [b, h, tq, tk, d] = ["b", "h", "tq", "tk", "d"].map(|n| c.get(n));
    Problem {
        b,
        h,
        tq,
        tk,
        d,
        causal: c.get("causal") == 1,
        scale: 1.0 / (d as f32).sqrt(),
    }
}

/// Returns whether each query of each image sees each key, [B, Tq, Tk].
fn sees(c: &Case) -> Vec<bool> {
    let p = problem(c);
    let seen = |b: usize, i: usize, j: usize| match c.get("mask") {
        0 => true,
        1 => j < length(b, p.tk),
        2 => pattern(i, j),
        _ => of_each(b, i, j),
    };
    let pairs =
        (0..p.b).flat_map(|b| (0..p.tq).flat_map(move |i| (0..p.tk).map(move |j| (b, i, j))));
    pairs
        .map(|(b, i, j)| seen(b, i, j) && (!p.causal || j + p.tq <= i + p.tk))
        .collect()
}

fn sizes<'a>(c: &Case, sees: &'a [bool]) -> Sizes<'a> {
    let p = problem(c);
    Sizes {
        images: p.b,
        heads: p.h,
        tq: p.tq,
        tk: p.tk,
        d: p.d,
        sees,
    }
}

fn packed(c: &Case) -> bool {
    c.get("packed") == 1
}

fn cross(c: &Case) -> bool {
    c.get("packed") == 2
}

fn scale(c: &Case) -> f64 {
    1.0 / (c.get("d") as f64).sqrt()
}

fn sized([b, h, tq, tk, d, causal, packed, mask]: [usize; 8]) -> Case {
    let sizes = [
        ("b", b),
        ("h", h),
        ("tq", tq),
        ("tk", tk),
        ("d", d),
        ("causal", causal),
        ("packed", packed),
    ];
    case(&sizes).and("mask", mask)
}

/// Returns the element of [B, T, parts, H, D] that is (b, h, t, c) of part `part`.
fn at(c: &Case, rows: usize, parts: usize, part: usize, [b, h, t, x]: [usize; 4]) -> usize {
    let (heads, d) = (c.get("h"), c.get("d"));
    (((b * rows + t) * parts + part) * heads + h) * d + x
}

/// Walks (b, h, t, c) in the order of [B, H, T, D].
fn each(c: &Case, t: usize) -> impl Iterator<Item = [usize; 4]> {
    let [b, h, d] = ["b", "h", "d"].map(|n| c.get(n));
    (0..b * h * t * d).map(move |i| [i / (h * t * d), i / (t * d) % h, i / d % t, i % d])
}

/// Returns a part of [B, rows, parts, H, D], by heads.
fn part(c: &Case, x: &[f64], rows: usize, parts: usize, part: usize) -> Vec<f64> {
    each(c, rows)
        .map(|i| x[at(c, rows, parts, part, i)])
        .collect()
}

/// q, k and v by heads, whichever way they were given.
fn apart(c: &Case, inputs: &[HostTensor]) -> [Vec<f64>; 3] {
    let (tq, tk) = (c.get("tq"), c.get("tk"));
    if packed(c) {
        return [0, 1, 2].map(|i| part(c, inputs[0].as_f64(), tq, 3, i));
    }
    if cross(c) {
        let [k, v] = [0, 1].map(|i| part(c, inputs[1].as_f64(), tk, 2, i));
        return [part(c, inputs[0].as_f64(), tq, 1, 0), k, v];
    }
    [0, 1, 2].map(|i| inputs[i].as_f64().to_vec())
}

/// Returns the parts, given by heads, side by side in [B, rows, parts, H, D].
fn together(c: &Case, rows: usize, parts: &[Vec<f64>]) -> Vec<f64> {
    let mut out = vec![0.0; parts.iter().map(Vec::len).sum()];
    for (part, x) in parts.iter().enumerate() {
        for (i, v) in each(c, rows).zip(x) {
            out[at(c, rows, parts.len(), part, i)] = *v;
        }
    }
    out
}

impl Operation for AttentionSpec {
    fn name(&self) -> &'static str {
        "attention"
    }
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 1, 1, 1, 0, 0, 0],
            [2, 2, 7, 5, 4, 0, 0, 0],
            [1, 2, 5, 7, 24, 1, 0, 0],
            // More queries than keys: the first see nothing.
            [1, 1, 9, 4, 3, 1, 0, 0],
            // Whole tiles of them, past the last.
            [1, 2, 257, 65, 8, 1, 0, 0],
            [1, 3, 65, 65, 64, 1, 0, 0],
            [2, 1, 37, 70, 80, 0, 0, 0],
            [1, 1, 130, 130, 9, 1, 0, 0],
            [1, 1, 19, 19, 130, 1, 0, 0],
            [1, 1, 12, 12, 256, 0, 0, 0],
            // Few queries and many keys: parts of a walk, some of which a query does not see.
            [1, 1, 3, 300, 33, 0, 0, 0],
            [1, 2, 70, 260, 6, 1, 0, 0],
            // Rows and channels that fill no tile, and some that fill one.
            [1, 1, 70, 66, 66, 1, 0, 0],
            [1, 1, 64, 96, 128, 0, 0, 0],
            // Few of both, and long walks: gradients in parts, packed and not.
            [1, 1, 260, 257, 5, 1, 0, 0],
            [1, 1, 264, 264, 12, 1, 1, 0],
            // Past what the kernels hold.
            [2, 1, 37, 37, 321, 0, 0, 0],
            [1, 2, 5, 7, 260, 1, 0, 0],
            [2, 1, 9, 4, 257, 1, 0, 0],
            [1, 1, 65, 65, 512, 0, 0, 0],
            [2, 2, 33, 33, 32, 1, 1, 0],
            [1, 3, 17, 17, 5, 1, 1, 0],
            // Masked: by length (down to no key at all), by a pattern, by one for each image.
            [5, 2, 9, 14, 8, 0, 0, 1],
            [2, 1, 70, 45, 12, 1, 0, 2],
            [2, 2, 33, 67, 6, 0, 0, 3],
            [1, 1, 5, 40, 130, 0, 0, 3],
            [1, 2, 2, 280, 20, 0, 0, 2],
            [2, 1, 1, 290, 5, 0, 0, 1],
            [3, 2, 40, 40, 16, 1, 1, 2],
            [3, 1, 37, 37, 24, 0, 1, 1],
            // From one sequence to another.
            [2, 3, 5, 7, 4, 0, 2, 0],
            [4, 2, 66, 19, 32, 0, 2, 1],
            [2, 1, 34, 70, 7, 0, 2, 3],
            [2, 1, 3, 35, 256, 0, 2, 2],
        ]
        .map(sized)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        [
            [4, 8, 256, 256, 64, 1, 0, 0],
            [4, 8, 256, 256, 64, 0, 0, 0],
            [8, 8, 257, 257, 32, 1, 1, 0],
            [8, 8, 256, 32, 32, 0, 2, 1],
            [8, 8, 288, 288, 32, 1, 1, 2],
        ]
        .map(sized)
        .to_vec()
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        if packed(c) && c.get("tq") != c.get("tk") {
            return Err(crate::Error::data(format!(
                "case `{c}`: packed queries and keys are as many: tq = tk"
            )));
        }
        if c.get("packed") + c.get("mask") > 0 && c.get("d") > super::MOST_CHANNELS {
            let what = format!(
                "case `{c}`: packed or masked, d is at most {}",
                super::MOST_CHANNELS
            );
            return Err(crate::Error::data(what));
        }
        if c.get("packed") > 2 || c.get("mask") > 3 {
            return Err(crate::Error::data(format!(
                "case `{c}`: packed is 0 to 2, mask 0 to 3"
            )));
        }
        Ok(())
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let p = problem(c);
        if packed(c) {
            return vec![rng.normals(&[p.b, p.tq, 3, p.h, p.d])];
        }
        if cross(c) {
            return vec![
                rng.normals(&[p.b, p.tq, p.h, p.d]),
                rng.normals(&[p.b, p.tk, 2, p.h, p.d]),
            ];
        }
        [p.tq, p.tk, p.tk]
            .map(|t| rng.normals(&[p.b, p.h, t, p.d]))
            .to_vec()
    }
    fn timed_outputs(&self) -> &'static [usize] {
        &[0]
    }
    fn run(&self, gpu: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let mask = mask(gpu, c)?;
        let options = options(c, mask.as_ref());
        let (o, lse) = match c.get("packed") {
            0 => attention(&t[0], &t[1], &t[2], options)?,
            1 => attention_packed(&t[0], options)?,
            _ => attention_cross(&t[0], &t[1], options)?,
        };
        Ok(vec![o, lse])
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (p, [q, k, v]) = (problem(c), apart(c, inputs));
        let (o, lse) = reference::forward(&q, &k, &v, scale(c), sizes(c, &sees(c)));
        let o = if packed(c) || cross(c) {
            HostTensor::f64(&[p.b, p.tq, p.h, p.d], together(c, p.tq, &[o]))
        } else {
            HostTensor::f64(&[p.b, p.h, p.tq, p.d], o)
        };
        vec![o, HostTensor::f64(&[p.b, p.h, p.tq], lse)]
    }
    /// Some of the images.
    fn excerpt(
        &self,
        c: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        flops: f64,
    ) -> Option<(Case, Vec<HostTensor>, Vec<HostTensor>)> {
        let b = c.get("b");
        let chosen = excerpt::spread(b, excerpt::affordable(b, self.work(c).flops, flops));
        let some = |all: &[HostTensor]| all.iter().map(|h| excerpt::rows(h, &chosen)).collect();
        Some((c.with("b", chosen.len()), some(inputs), some(got)))
    }
    fn tolerance(&self, c: &Case, _: usize) -> Tolerance {
        // Scores are near 1 whatever D is; a mean of values follows.
        let scores = Tolerance::sum(c.get("d"));
        Tolerance {
            abs: scores.abs + 3e-6,
            rel: scores.rel,
        }
    }
    /// Probabilities, which values are weighed with, and their gradients: up to 128 channels by
    /// kernels of attention's own, whose texts bound what that does; above 256 by products. Terms
    /// are near 1; a query's probabilities add up to 1, those of a key to the queries that it has.
    fn rounded(&self, c: &Case) -> f64 {
        let queries = c.get("tq") as f64 / c.get("tk") as f64;
        match c.get("d") {
            129..=256 => 0.0,
            _ => 2f64.powi(-9) * queries.max(1.0),
        }
    }
    /// The log-sum-exp is of scores and of weights before they are rounded, in f32: products of
    /// operands that f16 holds are exact there, and so are their sums but for f32's roundings.
    fn rounded_output(&self, c: &Case, output: usize) -> f64 {
        match output {
            0 => self.rounded(c),
            _ => 0.0,
        }
    }
    fn work(&self, c: &Case) -> Work {
        work(&problem(c))
    }
    fn kernels(&self) -> Vec<Kernel> {
        // Heads of more channels than the kernels hold are products of matrices.
        kernels()
            .into_iter()
            .chain(crate::ops::linalg::matmul::Matmul.kernels())
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let q = Tensor::zeros(gpu, &[1, 2, 3, 4], DType::F32)?;
        let other = Tensor::zeros(gpu, &[1, 2, 3, 5], DType::F32)?;
        let longer = Tensor::zeros(gpu, &[1, 2, 6, 4], DType::F32)?;
        let none = Tensor::zeros(gpu, &[1, 2, 0, 4], DType::F32)?;
        let wide = Tensor::zeros(gpu, &[1, 2, 3, 1, 257], DType::F32)?;
        let flat = Tensor::zeros(gpu, &[1, 2, 3, 0], DType::F32)?;
        let two = Tensor::zeros(gpu, &[1, 3, 2, 2, 4], DType::F32)?;
        let three = Tensor::zeros(gpu, &[1, 3, 3, 2, 4], DType::F32)?;
        let full = Attention::FULL;
        let endless = Attention {
            scale: Some(f32::INFINITY),
            ..full
        };
        let short = Mask::lengths(gpu, &[1], 2)?;
        let masked = Attention {
            mask: Some(&short),
            ..full
        };
        let large = Tensor::zeros(gpu, &[1, 1, 2, 257], DType::F32)?;
        let rows = Tensor::zeros(gpu, &[1, 2, 2, 4], DType::F32)?;
        Ok(vec![
            refused(
                "keys of other channels",
                attention(&q, &other, &other, full),
            ),
            refused("more values than keys", attention(&q, &q, &longer, full)),
            refused("no key", attention(&q, &none, &none, full)),
            refused("no channel", attention(&flat, &flat, &flat, full)),
            refused("257 channels packed", attention_packed(&wide, full)),
            refused("an endless scale", attention(&q, &q, &q, endless)),
            refused("a mask of fewer keys", attention(&q, &q, &q, masked)),
            refused(
                "257 channels masked",
                attention(&large, &large, &large, masked),
            ),
            refused("a length past the keys", Mask::lengths(gpu, &[3], 2)),
            refused("a mask of nothing", Mask::lengths(gpu, &[], 2)),
            refused(
                "keys and values of three parts",
                attention_cross(&rows, &three, full),
            ),
            refused("two parts packed", attention_packed(&two, full)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for AttentionSpec {
    fn wrt(&self, c: &Case) -> Vec<usize> {
        match c.get("packed") {
            0 => vec![0, 1, 2],
            1 => vec![0],
            _ => vec![0, 1],
        }
    }
    fn record(&self, tape: &Tape, c: &Case, v: &[Var]) -> Result<Var> {
        let mask = mask(tape.gpu(), c)?;
        let options = options(c, mask.as_ref());
        match c.get("packed") {
            0 => tape.attention(&v[0], &v[1], &v[2], options),
            1 => tape.attention_packed(&v[0], options),
            _ => tape.attention_cross(&v[0], &v[1], options),
        }
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        let [q, k, v] = apart(c, inputs);
        let (tq, tk) = (c.get("tq"), c.get("tk"));
        let by_rows = packed(c) || cross(c);
        let g = if by_rows {
            part(c, upstream.as_f64(), tq, 1, 0)
        } else {
            upstream.as_f64().to_vec()
        };
        let gradients = reference::backward(&q, &k, &v, &g, scale(c), sizes(c, &sees(c)));
        if packed(c) {
            return vec![HostTensor::f64(
                &inputs[0].shape,
                together(c, tq, &gradients),
            )];
        }
        if cross(c) {
            let queries = together(c, tq, &gradients[..1]);
            let keys = together(c, tk, &gradients[1..]);
            return vec![
                HostTensor::f64(&inputs[0].shape, queries),
                HostTensor::f64(&inputs[1].shape, keys),
            ];
        }
        gradients
            .into_iter()
            .zip(inputs)
            .map(|(g, x)| HostTensor::f64(&x.shape, g))
            .collect()
    }
    fn tolerance(&self, c: &Case, _: usize) -> Tolerance {
        // A sum over as many as all positions, of terms that carry a sum over channels.
        let (sum, terms) = (
            Tolerance::sum(c.get("d")),
            c.get("tq").max(c.get("tk")) as f64,
        );
        Tolerance {
            abs: 3.0 * sum.abs + 2e-7 * terms + 3e-6,
            rel: 2e-5,
        }
    }
}
