//! Drawing the next token from logits, on the device: the token goes where the next step reads it,
//! and nothing comes back to the host.

mod keyed;
mod reference;
mod spec;

pub use keyed::sample_keyed;
pub use spec::SampleSpec;

use super::random::Key;
use crate::gpu::{DType, Kernel, ROW_GROUPS, Tensor, Work, groups_for, row_group};
use crate::{Error, Result, shader};

/// The distribution that tokens are drawn from. The filters act one after another, in the order of
/// the fields, each on what the one before it left; equally likely tokens stay from the lowest
/// number on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 always takes the likeliest token, the lowest of several.
    pub temperature: f32,
    /// Keep this many of the likeliest tokens; `None` keeps all.
    pub top_k: Option<usize>,
    /// Keep the fewest likeliest tokens whose probabilities sum to this, in (0, 1]; 1 keeps all
    /// (Holtzman et al. 2020).
    pub top_p: f32,
    /// Keep the tokens of at least this share of the largest probability, in [0, 1]; 0 keeps all
    /// (Nguyen et al. 2024).
    pub min_p: f32,
    /// Classifier-free guidance w (Ho and Salimans 2021): logits are u + w (c - u), where c are
    /// the first half of the rows, with the condition, and u the second, without. 1 is c alone,
    /// more moves away from u.
    pub guidance: Option<f32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            guidance: None,
        }
    }
}

impl Sampling {
    /// Checks that these are usable.
    ///
    /// # Errors
    /// Names the first that is not, and what it may be.
    pub fn check(&self) -> Result<()> {
        self.invalid_field().map_or(Ok(()), |(field, what)| {
            Err(Error::invalid(OP, format!("{field}: {what}")))
        })
    }

    /// Returns the first field that cannot be used, by its name, and what it may be.
    pub fn invalid_field(&self) -> Option<(&'static str, String)> {
        let wrong = |field, value: &dyn std::fmt::Display, allowed: &str| {
            Some((
                field,
                format!("{value} is not allowed: it must be {allowed}"),
            ))
        };
        if !(self.temperature == 0.0 || (1e-6..=1e6).contains(&self.temperature)) {
            return wrong(
                "temperature",
                &self.temperature,
                "0, for the likeliest, or from 1e-6 to 1e6",
            );
        }
        if self.top_k == Some(0) {
            return wrong("top_k", &0, "at least 1");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return wrong("top_p", &self.top_p, "above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong("min_p", &self.min_p, "from 0 to 1");
        }
        match self.guidance.filter(|w| !w.is_finite()) {
            Some(w) => wrong("guidance", &w, "a finite number"),
            None => None,
        }
    }

    /// Rows that are drawn, of logits [B, V] or, guided, [2 B, V]; and V.
    fn rows(&self, logits: &Tensor) -> Result<[usize; 2]> {
        self.check()?;
        let [rows, v] = logits.dims(OP)?;
        let per = if self.guidance.is_some() { 2 } else { 1 };
        if v == 0 || v > MOST_TOKENS || !rows.is_multiple_of(per) || logits.dtype() != DType::F32 {
            let shape = if per == 2 { "[2 B, V]" } else { "[B, V]" };
            return Err(Error::shape(
                OP,
                format!("f32 logits {shape}, V of 1 to {MOST_TOKENS}"),
                format!("{logits:?}"),
            ));
        }
        Ok([rows / per, v])
    }
}

/// Tensors that the drawn tokens are written to.
#[derive(Clone, Copy, Debug)]
pub struct SampleOutputs<'a> {
    /// u32 `[B]`, or [2 B] with guidance, where the halves get the same tokens: what the next
    /// step's embedding reads.
    pub token: &'a Tensor,
    /// f32 `[B]`: the logarithm of the token's probability under the (guided) logits as they are,
    /// without temperature and filters. Their sum over a sequence is its log-likelihood.
    pub log_prob: &'a Tensor,
    /// u32 [B, L] and a column: the whole sequences, where they are kept.
    pub sequence: Option<(&'a Tensor, usize)>,
}

impl SampleOutputs<'_> {
    /// Checks that these are for so many rows.
    fn check(&self, rows: usize, sampling: &Sampling) -> Result<()> {
        let tokens = rows * (1 + usize::from(sampling.guidance.is_some()));
        let fits = |t: &Tensor, shape: &[usize], dtype| t.shape() == shape && t.dtype() == dtype;
        if fits(self.token, &[tokens], DType::U32) && fits(self.log_prob, &[rows], DType::F32) {
            return Ok(());
        }
        let expected = format!("u32 tokens [{tokens}] and f32 log-probabilities [{rows}]");
        let got = format!("{:?}, {:?}", self.token, self.log_prob);
        Err(Error::shape(OP, expected, got))
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    v: u32,
    row0: u32,
    stream: u32,
    step: [u32; 2],
    seed: [u32; 2],
    inv_t: f32,
    guidance: f32,
    top_k: u32,
    top_p: f32,
    floor: f32,
    index_bits: u32,
    column: u32,
    length: u32,
}

/// Tokens that a vocabulary has at most.
pub const MOST_TOKENS: usize = 1 << 20;

const OP: &str = "sample";

#[derive(Clone, Copy, PartialEq)]
enum Output {
    Token,
    TokenAndSequence,
    KeyedToken,
    Probabilities,
}

fn kernel(output: Output, v: usize, guided: bool, group: u32) -> Kernel {
    let kernel = Kernel::new(shader!("sampling/sample"))
        .define("GROUP", group)
        .flag("VEC", v.is_multiple_of(4));
    let kernel = kernel.flag("PROBS", output == Output::Probabilities);
    kernel
        .flag("SEQUENCE", output == Output::TokenAndSequence)
        .flag("KEYED", output == Output::KeyedToken)
        .flag("GUIDED", guided)
}

/// Invocations that share a row.
fn group(logits: &Tensor, v: usize) -> u32 {
    // 20 walks, and with ties half as many more, for each of two filters.
    row_group(logits.gpu(), v > 4096, 60 * v.div_ceil(4))
}

fn kernels() -> Vec<Kernel> {
    let mut all = Vec::new();
    for group in ROW_GROUPS {
        for output in [
            Output::Token,
            Output::TokenAndSequence,
            Output::KeyedToken,
            Output::Probabilities,
        ] {
            for v in [1, 4] {
                all.extend([false, true].map(|guided| kernel(output, v, guided, group)));
            }
        }
    }
    all
}

fn work(rows: usize, v: usize, s: &Sampling) -> Work {
    let filters = usize::from(s.top_k.is_some()) + usize::from(s.top_p < 1.0);
    let walks = if s.temperature == 0.0 {
        2
    } else {
        2 + 18 * filters
    };
    let inputs = if s.guidance.is_some() { 2 } else { 1 };
    Work {
        flops: (12 * walks * rows * v) as f64,
        bytes: (4 * inputs * walks * rows * v) as f64,
    }
}

impl Sampling {
    fn params(&self, [rows, v]: [usize; 2], row0: usize, key: Key) -> Params {
        let greedy = self.temperature == 0.0;
        let temperature = if greedy { 1.0 } else { self.temperature };
        let words = |x: u64| [x as u32, (x >> 32) as u32];
        // An even number of bits that V fits in, with room for one past the last.
        let bits = (usize::BITS - v.leading_zeros()).next_multiple_of(2);
        Params {
            rows: rows as u32,
            v: v as u32,
            row0: row0 as u32,
            stream: key.stream,
            step: words(key.step),
            seed: words(key.seed),
            inv_t: 1.0 / temperature,
            guidance: self.guidance.unwrap_or(1.0),
            top_k: if greedy {
                1
            } else {
                self.top_k.filter(|k| *k < v || v == 1).unwrap_or(0) as u32
            },
            top_p: self.top_p,
            floor: (f64::from(temperature) * f64::from(self.min_p).ln()).max(-3e38) as f32,
            index_bits: bits,
            column: 0,
            length: 0,
        }
    }
}

/// Draws one token for each of B rows: logits f32 [B, V], or [2 B, V] with guidance. The noise
/// depends on the key and on the row's number, counted from `row0`: with the position in the
/// sequence as the key's step, a sequence is the same in whatever batch.
///
/// # Errors
/// If the shapes do not fit, or an option is out of range.
pub fn sample(
    logits: &Tensor,
    sampling: &Sampling,
    key: Key,
    row0: usize,
    to: SampleOutputs,
) -> Result<()> {
    let [rows, v] = sampling.rows(logits)?;
    to.check(rows, sampling)?;
    let mut params = sampling.params([rows, v], row0, key);
    let mut bindings = vec![logits, to.token, to.log_prob];
    let mut output = Output::Token;
    if let Some((sequence, column)) = to.sequence {
        let [b, length] = sequence.dims(OP)?;
        if b != rows || column >= length || sequence.dtype() != DType::U32 {
            return Err(Error::shape(
                OP,
                format!("u32 sequences [{rows}, L] with a column {column}"),
                format!("{sequence:?}"),
            ));
        }
        (params.column, params.length) = (column as u32, length as u32);
        bindings.push(sequence);
        output = Output::TokenAndSequence;
    }
    let kernel = kernel(output, v, sampling.guidance.is_some(), group(logits, v));
    logits.gpu().dispatch(
        OP,
        &kernel,
        &bindings,
        &params,
        groups_for(rows, 1),
        work(rows, v, sampling),
    )
}

/// Computes the distribution that [`sample`] draws from: f32 [B, V], 0 for what the filters drop.
///
/// # Errors
/// As [`sample`].
pub fn probabilities(logits: &Tensor, sampling: &Sampling) -> Result<Tensor> {
    let [rows, v] = sampling.rows(logits)?;
    let y = Tensor::empty(logits.gpu(), &[rows, v], DType::F32)?;
    let params = sampling.params(
        [rows, v],
        0,
        Key {
            seed: 0,
            step: 0,
            stream: 0,
        },
    );
    let kernel = kernel(
        Output::Probabilities,
        v,
        sampling.guidance.is_some(),
        group(logits, v),
    );
    logits.gpu().dispatch(
        OP,
        &kernel,
        &[logits, &y],
        &params,
        groups_for(rows, 1),
        work(rows, v, sampling),
    )?;
    Ok(y)
}

/// Renamed to [`SampleOutputs`].
#[deprecated(since = "0.2.0", note = "renamed to `SampleOutputs`")]
pub type Drawn<'a> = SampleOutputs<'a>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};
    use crate::spec::Rng;

    const KEY: Key = Key {
        seed: 7,
        step: 3,
        stream: 9,
    };

    fn draw(
        gpu: &Gpu,
        logits: &Tensor,
        s: &Sampling,
        key: Key,
        row0: usize,
    ) -> (Vec<u32>, Vec<f32>) {
        let rows = logits.shape()[0] / if s.guidance.is_some() { 2 } else { 1 };
        let token = Tensor::empty(gpu, &[logits.shape()[0]], DType::U32).unwrap();
        let log_prob = Tensor::empty(gpu, &[rows], DType::F32).unwrap();
        sample(
            logits,
            s,
            key,
            row0,
            SampleOutputs {
                token: &token,
                log_prob: &log_prob,
                sequence: None,
            },
        )
        .unwrap();
        (token.read().unwrap(), log_prob.read().unwrap())
    }

    /// Whatever the batch that a row is drawn in.
    #[test]
    fn rows_do_not_depend_on_their_batch() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let logits = Rng::new(4).normals(&[192, 20]).upload(&gpu).unwrap();
        let s = Sampling {
            top_k: Some(9),
            ..Default::default()
        };
        let whole = draw(&gpu, &logits, &s, KEY, 0);
        let part = draw(
            &gpu,
            &logits.view(64 * 20, &[128, 20]).unwrap(),
            &s,
            KEY,
            64,
        );
        assert_eq!(whole.0[64..], part.0);
        let other = draw(&gpu, &logits, &s, Key { step: 4, ..KEY }, 0);
        assert_ne!(whole.0, other.0);
    }

    /// A value that is not a number is never drawn, and a row of nothing else says so.
    #[test]
    fn nan_and_masked_logits_are_never_drawn() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let (nan, no) = (f32::NAN, f32::NEG_INFINITY);
        let rows = [
            [nan, 1.0, no, 1.0, nan],
            [no, no, no, no, 5.0],
            [nan, no, nan, no, no],
        ];
        let logits: Vec<f32> = rows.iter().flat_map(|r| r.to_vec()).collect();
        let logits = Tensor::from_slice(&gpu, &[3, 5], &logits).unwrap();
        let filters = [
            Sampling::default(),
            Sampling {
                top_k: Some(4),
                ..Default::default()
            },
            Sampling {
                top_p: 0.9,
                ..Default::default()
            },
            Sampling {
                temperature: 0.0,
                ..Default::default()
            },
            Sampling {
                min_p: 0.5,
                temperature: 100.0,
                ..Default::default()
            },
        ];
        for (s, step) in filters.iter().flat_map(|s| (0..20).map(move |i| (s, i))) {
            let (token, log_prob) = draw(&gpu, &logits, s, Key { step, ..KEY }, 0);
            assert!(
                [1, 3].contains(&token[0]) && token[1] == 4 && token[2] == 0,
                "{s:?}: {token:?}"
            );
            assert!(
                (log_prob[0] + 2f32.ln()).abs() < 1e-6 && log_prob[1] == 0.0,
                "{log_prob:?}"
            );
            assert!(log_prob[2].is_nan(), "{log_prob:?}");
        }
    }

    /// Filters keep what their definitions say where all codes are as likely: the lowest indices.
    #[test]
    fn ties_go_to_the_lowest_index() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let logits = Tensor::zeros(&gpu, &[1, 70], DType::F32).unwrap();
        let kept = |s: Sampling| {
            let p = probabilities(&logits, &s).unwrap().read::<f32>().unwrap();
            let n = p.iter().take_while(|p| **p > 0.0).count();
            assert!(
                p[n..].iter().all(|p| *p == 0.0) && (p[0] * n as f32 - 1.0).abs() < 1e-6,
                "{p:?}"
            );
            n
        };
        assert_eq!(
            kept(Sampling {
                top_k: Some(37),
                ..Default::default()
            }),
            37
        );
        assert_eq!(
            kept(Sampling {
                top_p: 0.5,
                ..Default::default()
            }),
            35
        );
        assert_eq!(
            kept(Sampling {
                top_p: 1e-38,
                ..Default::default()
            }),
            1
        );
        assert_eq!(
            kept(Sampling {
                top_k: Some(64),
                top_p: 0.25,
                ..Default::default()
            }),
            16
        );
        assert_eq!(
            kept(Sampling {
                temperature: 0.0,
                ..Default::default()
            }),
            1
        );
        assert_eq!(
            kept(Sampling {
                top_k: Some(5),
                min_p: 1.0,
                ..Default::default()
            }),
            5
        );
        assert_eq!(
            kept(Sampling {
                top_k: Some(1000),
                ..Default::default()
            }),
            70
        );
    }
}
