//! The registry's row.

use super::{
    SampleOutputs, Sampling, kernels, probabilities, reference, sample, sample_keyed, work,
};
use crate::Result;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::sampling::random::Key;
use crate::spec::{
    Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, Verdict, case, compare, excerpt,
    refused,
};

/// The registry's row of [`sample`]: `temp`, `p` (top-p) and `w` (guidance; 0 for none) in percent,
/// `minp` in thousandths, `k` is top-k, 0 for none; `tied` 1 rounds logits to quarters, so that
/// many are equal.
pub struct SampleSpec;

const KEY: Key = Key {
    seed: 0x0bad_cafe_dead_beef,
    step: 1 << 32 | 77,
    stream: 13,
};
/// The number of the first row.
const ROW0: usize = 5;
/// The sequences' length, and the column that is drawn.
const SEQUENCE: [usize; 2] = [3, 1];

fn sized([b, v, temp, top_k, top_p, min_p, w, tied]: [usize; 8]) -> Case {
    let names = ["b", "v", "temp", "k", "p", "minp", "w", "tied"];
    case(
        &names
            .into_iter()
            .zip([b, v, temp, top_k, top_p, min_p, w, tied])
            .collect::<Vec<_>>(),
    )
}

fn sampling(c: &Case) -> Sampling {
    let share = |n, of: f32| c.get(n) as f32 / of;
    Sampling {
        temperature: share("temp", 100.0),
        top_k: Some(c.get("k")).filter(|k| *k > 0),
        top_p: share("p", 100.0),
        min_p: share("minp", 1000.0),
        guidance: (c.get("w") > 0).then(|| share("w", 100.0)),
    }
}

/// Returns the (guided) logits of each row.
fn rows(c: &Case, x: &[f64]) -> Vec<Vec<f64>> {
    let (b, v) = (c.get("b"), c.get("v"));
    let w = sampling(c).guidance;
    let row = |r: usize| &x[r * v..][..v];
    (0..b)
        .map(|r| reference::guided(row(r), w.map(|_| row(b + r)), w.unwrap_or(1.0) as f64))
        .collect()
}

fn inputs_rows(c: &Case) -> usize {
    c.get("b") * if c.get("w") > 0 { 2 } else { 1 }
}

fn draw(gpu: &Gpu, c: &Case, logits: &Tensor, kept: bool) -> Result<[Tensor; 3]> {
    let b = c.get("b");
    let token = Tensor::empty(gpu, &[inputs_rows(c)], DType::U32)?;
    let log_prob = Tensor::empty(gpu, &[b], DType::F32)?;
    let sequence = Tensor::zeros(gpu, &[b, SEQUENCE[0]], DType::U32)?;
    let to = SampleOutputs {
        token: &token,
        log_prob: &log_prob,
        sequence: kept.then_some((&sequence, SEQUENCE[1])),
    };
    sample(logits, &sampling(c), KEY, ROW0, to)?;
    Ok([token, log_prob, sequence])
}

/// The step and the number of a row with a key of its own.
fn row_key(row: usize) -> [u32; 2] {
    [40 + 3 * row as u32, 90 - (row % 64) as u32]
}

fn draw_keyed(gpu: &Gpu, c: &Case, logits: &Tensor) -> Result<[Tensor; 2]> {
    let b = c.get("b");
    let token = Tensor::empty(gpu, &[inputs_rows(c)], DType::U32)?;
    let log_prob = Tensor::empty(gpu, &[b], DType::F32)?;
    let keys: Vec<u32> = (0..b).flat_map(row_key).collect();
    let to = SampleOutputs {
        token: &token,
        log_prob: &log_prob,
        sequence: None,
    };
    let keys = Tensor::from_slice(gpu, &[b, 2], &keys)?;
    sample_keyed(logits, &sampling(c), KEY.seed, KEY.stream, &keys, to)?;
    Ok([token, log_prob])
}

impl Operation for SampleSpec {
    fn name(&self) -> &'static str {
        "sample"
    }
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 100, 0, 100, 0, 0, 0],
            [7, 3, 100, 2, 100, 0, 0, 1],
            [65, 64, 100, 0, 100, 0, 0, 0],
            [33, 257, 90, 40, 100, 0, 0, 0],
            [33, 257, 90, 40, 100, 0, 0, 1],
            [33, 256, 120, 0, 90, 0, 0, 0],
            [33, 255, 70, 0, 95, 0, 0, 1],
            [19, 512, 90, 100, 95, 0, 200, 0],
            [19, 61, 90, 17, 50, 0, 150, 1],
            [17, 130, 100, 50, 99, 50, 0, 0],
            [17, 130, 100, 0, 100, 200, 50, 1],
            [9, 67, 0, 0, 100, 0, 0, 1],
            [9, 512, 0, 7, 40, 0, 300, 0],
            [3, 5_001, 100, 1_000, 90, 0, 0, 1],
            [2, 65_540, 100, 300, 97, 0, 0, 0],
        ]
        .map(sized)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        [
            [64, 512, 90, 100, 95, 0, 200, 0],
            [64, 1_024, 100, 0, 100, 0, 0, 0],
            [64, 1_024, 100, 100, 100, 0, 0, 0],
            [16, 16_384, 100, 100, 95, 0, 0, 0],
        ]
        .map(sized)
        .to_vec()
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        sampling(c).check()
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let shape = [inputs_rows(c), c.get("v")];
        let mut x: Vec<f32> = (0..shape[0] * shape[1])
            .map(|_| 2.0 * rng.normal() as f32)
            .collect();
        if c.get("tied") == 1 {
            x.iter_mut().for_each(|x| *x = (4.0 * *x).round() / 4.0);
        }
        vec![HostTensor::f32(&shape, x)]
    }
    fn run(&self, gpu: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let [token, log_prob, sequence] = draw(gpu, c, &t[0], true)?;
        let [alone, ..] = draw(gpu, c, &t[0], false)?;
        let [keyed, keyed_log_prob] = draw_keyed(gpu, c, &t[0])?;
        Ok(vec![
            probabilities(&t[0], &sampling(c))?,
            token,
            log_prob,
            sequence,
            alone,
            keyed,
            keyed_log_prob,
        ])
    }
    fn time(&self, gpu: &Gpu, c: &Case, t: &[Tensor]) -> Result<()> {
        draw(gpu, c, &t[0], false).map(drop)
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (b, v) = (c.get("b"), c.get("v"));
        let s = sampling(c);
        let (mut p, mut tokens, mut log_probs) = (Vec::new(), Vec::new(), Vec::new());
        let mut keyed = Vec::new();
        for (r, l) in rows(c, inputs[0].as_f64()).iter().enumerate() {
            let row = reference::distribution(l, &s);
            let (token, _) = reference::draw(l, &row.probabilities, &s, KEY, ROW0 + r);
            let plain = reference::distribution(l, &Sampling::default()).probabilities;
            log_probs.push(plain[token as usize].ln());
            tokens.push(token);
            let [step, number] = row_key(r).map(u64::from);
            let key = Key { step, ..KEY };
            keyed.push(reference::draw(l, &row.probabilities, &s, key, number as usize).0);
            p.extend(row.probabilities);
        }
        let sequence = tokens
            .iter()
            .flat_map(|t| (0..SEQUENCE[0]).map(move |i| if i == SEQUENCE[1] { *t } else { 0 }));
        let all_rows = rows(c, inputs[0].as_f64());
        let keyed_log_probs = all_rows.iter().zip(&keyed).map(|(l, token)| {
            reference::distribution(l, &Sampling::default()).probabilities[*token as usize].ln()
        });
        let keyed_log_probs = HostTensor::f64(&[b], keyed_log_probs.collect());
        let sequence = HostTensor::u32(&[b, SEQUENCE[0]], sequence.collect());
        let twice =
            |tokens: &[u32]| HostTensor::u32(&[inputs_rows(c)], tokens.repeat(inputs_rows(c) / b));
        let (token, keyed) = (twice(&tokens), twice(&keyed));
        vec![
            HostTensor::f64(&[b, v], p),
            token.clone(),
            HostTensor::f64(&[b], log_probs),
            sequence,
            token,
            keyed,
            keyed_log_probs,
        ]
    }
    /// A row may be another one where f32 cannot tell: a filter's sum within 1e-5 of its bound, two
    /// draws within as much. Such rows are few, and everything else is compared.
    fn compare(
        &self,
        c: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        want: &[HostTensor],
    ) -> Option<Verdict> {
        let s = sampling(c);
        let (b, logits) = (c.get("b"), rows(c, inputs[0].widened().as_f64()));
        let clear = |(r, l): (usize, &Vec<f64>)| {
            let row = reference::distribution(l, &s);
            let [step, number] = row_key(r).map(u64::from);
            let sure =
                |key, number| reference::draw(l, &row.probabilities, &s, key, number).1 > 1e-5;
            let keyed = sure(Key { step, ..KEY }, number as usize);
            row.slack > 1e-5 && keyed && sure(KEY, ROW0 + r)
        };
        let clear: Vec<usize> = (0..logits.len())
            .filter(|r| clear((*r, &logits[*r])))
            .collect();
        if clear.len() * 2 < logits.len() || got.len() != want.len() {
            return None;
        }
        // The tokens of guided rows come twice.
        let part = |host: &HostTensor| {
            let again = (0..host.shape[0] / b).flat_map(|i| clear.iter().map(move |r| i * b + r));
            excerpt::rows(host, &again.collect::<Vec<usize>>())
        };
        let verdict = |(i, (got, want)): (usize, (&HostTensor, &HostTensor))| {
            if got.shape != want.shape {
                return compare(
                    &format!("{}({c}) output {i}", self.name()),
                    got,
                    want,
                    Tolerance::EXACT,
                );
            }
            compare(
                &format!("{}({c}) output {i}", self.name()),
                &part(got),
                &part(want),
                self.tolerance(c, i),
            )
        };
        got.iter()
            .zip(want)
            .enumerate()
            .map(verdict)
            .reduce(Verdict::join)
    }
    fn tolerance(&self, _: &Case, output: usize) -> Tolerance {
        match output {
            // Exponentials of numbers to -30, which err by as much as their exponents do.
            0 => Tolerance {
                abs: 1e-7,
                rel: 4e-5,
            },
            2 | 6 => Tolerance {
                abs: 1e-5,
                rel: 4e-6,
            },
            _ => Tolerance::EXACT,
        }
    }
    fn work(&self, c: &Case) -> Work {
        work(c.get("b"), c.get("v"), &sampling(c))
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let (x, none) = (zeros(&[3, 4], DType::F32)?, zeros(&[3, 0], DType::F32)?);
        let (token, log_prob) = (zeros(&[3], DType::U32)?, zeros(&[3], DType::F32)?);
        let sequence = zeros(&[3, 2], DType::U32)?;
        let fine = Sampling::default();
        let with = |s: Sampling| probabilities(&x, &s).map(drop);
        let into = |token: &Tensor, log_prob: &Tensor, sequence: Option<(&Tensor, usize)>| {
            sample(
                &x,
                &fine,
                KEY,
                0,
                SampleOutputs {
                    token,
                    log_prob,
                    sequence,
                },
            )
        };
        let keyed = |keys: &Tensor, sequence| {
            let to = SampleOutputs {
                token: &token,
                log_prob: &log_prob,
                sequence,
            };
            sample_keyed(&x, &fine, 0, 0, keys, to)
        };
        Ok(vec![
            ("keys of other rows", keyed(&token, None)),
            (
                "keys and a sequence",
                keyed(&sequence, Some((&sequence, 0))),
            ),
            (
                "a temperature below 0",
                with(Sampling {
                    temperature: -1.0,
                    ..fine
                }),
            ),
            (
                "a temperature of NaN",
                with(Sampling {
                    temperature: f32::NAN,
                    ..fine
                }),
            ),
            (
                "an endless temperature",
                with(Sampling {
                    temperature: f32::INFINITY,
                    ..fine
                }),
            ),
            (
                "a top-k of 0",
                with(Sampling {
                    top_k: Some(0),
                    ..fine
                }),
            ),
            ("a top-p of 0", with(Sampling { top_p: 0.0, ..fine })),
            ("a top-p above 1", with(Sampling { top_p: 1.5, ..fine })),
            (
                "a top-p of NaN",
                with(Sampling {
                    top_p: f32::NAN,
                    ..fine
                }),
            ),
            ("a min-p above 1", with(Sampling { min_p: 1.5, ..fine })),
            (
                "a guidance of NaN",
                with(Sampling {
                    guidance: Some(f32::NAN),
                    ..fine
                }),
            ),
            (
                "guided rows without partners",
                with(Sampling {
                    guidance: Some(2.0),
                    ..fine
                }),
            ),
            refused("no token", probabilities(&none, &fine)),
            refused("logits that are integers", probabilities(&sequence, &fine)),
            refused("logits of one dimension", probabilities(&log_prob, &fine)),
            ("tokens that are floats", into(&log_prob, &log_prob, None)),
            (
                "tokens of other rows",
                into(&sequence.reshape(&[6])?, &log_prob, None),
            ),
            (
                "log-probabilities that are integers",
                into(&token, &token, None),
            ),
            (
                "a column past the sequence",
                into(&token, &log_prob, Some((&sequence, 2))),
            ),
        ])
    }
}
