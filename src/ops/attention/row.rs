//! The registry's row.

use super::kernels::{Problem, kernels, work};
use super::twin::{self, Sizes};
use super::{Attention, attention, attention_packed};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::{Case, Gradient, Host, Operation, Rng, Tolerance, case, excerpt};

/// The registry's row of [`attention`]; with `packed` of [`attention_packed`].
pub struct AttentionRow;

fn options(case: &Case) -> Attention {
    Attention { causal: case.get("causal") == 1, scale: None }
}

fn problem(c: &Case) -> Problem {
    let [b, h, tq, tk, d] = ["b", "h", "tq", "tk", "d"].map(|n| c.get(n));
    Problem { b, h, tq, tk, d, options: options(c) }
}

fn sizes(c: &Case) -> Sizes {
    let p = problem(c);
    Sizes { heads: p.b * p.h, tq: p.tq, tk: p.tk, d: p.d, causal: p.options.causal }
}

fn packed(c: &Case) -> bool {
    c.get("packed") == 1
}

fn scale(c: &Case) -> f64 {
    1.0 / (c.get("d") as f64).sqrt()
}

fn sized([b, h, tq, tk, d, causal, packed]: [usize; 7]) -> Case {
    case(&[("b", b), ("h", h), ("tq", tq), ("tk", tk), ("d", d), ("causal", causal), ("packed", packed)])
}

/// The element of [B, T, parts, H, D] that is (b, h, t, c) of part `part`.
fn at(c: &Case, parts: usize, part: usize, [b, h, t, x]: [usize; 4]) -> usize {
    let (heads, rows, d) = (c.get("h"), c.get("tq"), c.get("d"));
    (((b * rows + t) * parts + part) * heads + h) * d + x
}

/// Walks (b, h, t, c) in the order of [B, H, T, D].
fn each(c: &Case) -> impl Iterator<Item = [usize; 4]> {
    let [b, h, t, d] = ["b", "h", "tq", "d"].map(|n| c.get(n));
    (0..b * h * t * d).map(move |i| [i / (h * t * d), i / (t * d) % h, i / d % t, i % d])
}

/// q, k and v by heads, whichever way they were given.
fn apart(c: &Case, inputs: &[Host]) -> [Vec<f64>; 3] {
    if !packed(c) {
        return [0, 1, 2].map(|i| inputs[i].as_f64().to_vec());
    }
    [0, 1, 2].map(|part| each(c).map(|i| inputs[0].as_f64()[at(c, 3, part, i)]).collect())
}

/// By heads, from [B, T, H, D].
fn by_heads(c: &Case, x: &[f64]) -> Vec<f64> {
    each(c).map(|i| x[at(c, 1, 0, i)]).collect()
}

/// The parts, given by heads, side by side in [B, T, parts, H, D].
fn together(c: &Case, parts: &[Vec<f64>]) -> Vec<f64> {
    let mut out = vec![0.0; parts.iter().map(Vec::len).sum()];
    for (part, x) in parts.iter().enumerate() {
        for (i, v) in each(c).zip(x) {
            out[at(c, parts.len(), part, i)] = *v;
        }
    }
    out
}

impl Operation for AttentionRow {
    fn name(&self) -> &'static str {
        "attention"
    }
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 1, 1, 1, 0, 0],
            [2, 2, 7, 5, 4, 0, 0],
            [1, 2, 5, 7, 24, 1, 0],
            // More queries than keys: the first see nothing.
            [1, 1, 9, 4, 3, 1, 0],
            // Whole tiles of them, past the last.
            [1, 2, 257, 65, 8, 1, 0],
            [1, 3, 65, 65, 64, 1, 0],
            [2, 1, 37, 70, 80, 0, 0],
            [1, 1, 130, 130, 9, 1, 0],
            [1, 1, 19, 19, 130, 1, 0],
            [1, 1, 12, 12, 256, 0, 0],
            // Past what the kernels hold.
            [2, 1, 37, 37, 321, 0, 0],
            [1, 2, 5, 7, 260, 1, 0],
            [2, 1, 9, 4, 257, 1, 0],
            [1, 1, 65, 65, 512, 0, 0],
            [2, 2, 33, 33, 32, 1, 1],
            [1, 3, 17, 17, 5, 1, 1],
        ]
        .map(sized)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        [[4, 8, 256, 256, 64, 1, 0], [4, 8, 256, 256, 64, 0, 0], [8, 8, 257, 257, 32, 1, 1]].map(sized).to_vec()
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::ops::case::check(c, &self.cases(), self.name())?;
        if packed(c) && c.get("tq") != c.get("tk") {
            return Err(crate::Error::data(format!("case `{c}`: packed queries and keys are as many: tq = tk")));
        }
        if packed(c) && c.get("d") > super::MOST_CHANNELS {
            return Err(crate::Error::data(format!("case `{c}`: packed, d is at most {}", super::MOST_CHANNELS)));
        }
        Ok(())
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<Host> {
        let p = problem(c);
        if packed(c) {
            return vec![rng.normals(&[p.b, p.tq, 3, p.h, p.d])];
        }
        [p.tq, p.tk, p.tk].map(|t| rng.normals(&[p.b, p.h, t, p.d])).to_vec()
    }
    fn run(&self, _: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let (o, lse) =
            if packed(c) { attention_packed(&t[0], options(c))? } else { attention(&t[0], &t[1], &t[2], options(c))? };
        Ok(vec![o, lse])
    }
    fn twin(&self, c: &Case, inputs: &[Host]) -> Vec<Host> {
        let (p, [q, k, v]) = (problem(c), apart(c, inputs));
        let (o, lse) = twin::forward(&q, &k, &v, scale(c), sizes(c));
        let o = if packed(c) {
            Host::f64(&[p.b, p.tq, p.h, p.d], together(c, &[o]))
        } else {
            Host::f64(&[p.b, p.h, p.tq, p.d], o)
        };
        vec![o, Host::f64(&[p.b, p.h, p.tq], lse)]
    }
    /// Some of the images.
    fn excerpt(&self, c: &Case, inputs: &[Host], got: &[Host], flops: f64) -> Option<(Case, Vec<Host>, Vec<Host>)> {
        let b = c.get("b");
        let chosen = excerpt::spread(b, excerpt::affordable(b, self.work(c).flops, flops));
        let some = |all: &[Host]| all.iter().map(|h| excerpt::rows(h, &chosen)).collect();
        Some((c.with("b", chosen.len()), some(inputs), some(got)))
    }
    fn tolerance(&self, c: &Case, _: usize) -> Tolerance {
        // Scores are near 1 whatever D is; a mean of values follows.
        let scores = Tolerance::sum(c.get("d"));
        Tolerance { abs: scores.abs + 3e-6, rel: scores.rel }
    }
    fn work(&self, c: &Case) -> Work {
        work(&problem(c))
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
    }
    fn hostile(&self, gpu: &Gpu) -> Vec<(&'static str, Result<()>)> {
        let calls = || -> Result<_> {
            let q = Tensor::zeros(gpu, &[1, 2, 3, 4], DType::F32)?;
            let other = Tensor::zeros(gpu, &[1, 2, 3, 5], DType::F32)?;
            let longer = Tensor::zeros(gpu, &[1, 2, 6, 4], DType::F32)?;
            let none = Tensor::zeros(gpu, &[1, 2, 0, 4], DType::F32)?;
            let wide = Tensor::zeros(gpu, &[1, 2, 3, 1, 257], DType::F32)?;
            let flat = Tensor::zeros(gpu, &[1, 2, 3, 0], DType::F32)?;
            let two = Tensor::zeros(gpu, &[1, 3, 2, 2, 4], DType::F32)?;
            let full = Attention::FULL;
            let endless = Attention { scale: Some(f32::INFINITY), ..full };
            Ok(vec![
                ("keys of other channels", attention(&q, &other, &other, full).map(drop)),
                ("more values than keys", attention(&q, &q, &longer, full).map(drop)),
                ("no key", attention(&q, &none, &none, full).map(drop)),
                ("no channel", attention(&flat, &flat, &flat, full).map(drop)),
                ("257 channels packed", attention_packed(&wide, full).map(drop)),
                ("an endless scale", attention(&q, &q, &q, endless).map(drop)),
                ("two parts packed", attention_packed(&two, full).map(drop)),
            ])
        };
        calls().unwrap_or_else(|e| vec![("set-up", Err(e))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for AttentionRow {
    fn wrt(&self, c: &Case) -> Vec<usize> {
        if packed(c) { vec![0] } else { vec![0, 1, 2] }
    }
    fn record(&self, tape: &Tape, c: &Case, v: &[Var]) -> Result<Var> {
        if packed(c) {
            return tape.attention_packed(&v[0], options(c));
        }
        tape.attention(&v[0], &v[1], &v[2], options(c))
    }
    fn twin(&self, c: &Case, inputs: &[Host], upstream: &Host) -> Vec<Host> {
        let [q, k, v] = apart(c, inputs);
        let g = if packed(c) { by_heads(c, upstream.as_f64()) } else { upstream.as_f64().to_vec() };
        let gradients = twin::backward(&q, &k, &v, &g, scale(c), sizes(c));
        if packed(c) {
            return vec![Host::f64(&inputs[0].shape, together(c, &gradients))];
        }
        gradients.into_iter().zip(inputs).map(|(g, x)| Host::f64(&x.shape, g)).collect()
    }
    fn tolerance(&self, c: &Case, _: usize) -> Tolerance {
        // A sum over as many as all positions, of terms that carry a sum over channels.
        let (sum, terms) = (Tolerance::sum(c.get("d")), c.get("tq").max(c.get("tk")) as f64);
        Tolerance { abs: 3.0 * sum.abs + 2e-7 * terms + 3e-6, rel: 2e-5 }
    }
}
