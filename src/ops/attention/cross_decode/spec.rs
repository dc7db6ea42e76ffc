//! The registry's row, whose reference is attention's own definition for a query alone.

use super::{cross_decode, cross_window};
use crate::Result;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::attention::attention_decode::{Keys, steps, work};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Real, Rng, Tolerance, case};

/// The registry's row of [`cross_decode`].
pub struct CrossDecodeSpec;

fn sized([b, s, h, d]: [usize; 4]) -> Case {
    case(&[("b", b), ("s", s), ("h", h), ("d", d)])
}

fn sizes(c: &Case) -> [usize; 4] {
    ["b", "s", "h", "d"].map(|n| c.get(n))
}

/// One head of one sequence: the mean of the values, weighed by the softmax of q . k; 0 without
/// keys.
fn attend<T: Real>(q: &[T], keys: &[&[T]], values: &[&[T]], scale: T) -> Vec<T> {
    let dot = |k: &[T]| q.iter().zip(k).map(|(a, b)| *a * *b).sum::<T>();
    let scores: Vec<T> = keys.iter().map(|k| scale * dot(k)).collect();
    let top = scores.iter().copied().fold(T::neg_infinity(), T::max);
    let total: T = scores.iter().map(|s| (*s - top).exp()).sum();
    let mean = |c: usize| {
        scores
            .iter()
            .zip(values)
            .map(|(s, v)| (*s - top).exp() / total * v[c])
            .sum()
    };
    (0..q.len()).map(mean).collect()
}

impl Operation for CrossDecodeSpec {
    fn name(&self) -> &'static str {
        super::OP
    }
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 1, 1],
            [5, 7, 2, 5],
            [3, 65, 2, 32],
            [2, 300, 1, 64],
            [2, 33, 1, 130],
            [3, 70, 1, 256],
            // In parts.
            [3, 530, 2, 20],
        ]
        .map(sized)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        [[64, 32, 8, 32], [16, 128, 8, 64]].map(sized).to_vec()
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        if c.get("d") > super::MOST_CHANNELS {
            return Err(crate::Error::data(format!(
                "case `{c}`: d is at most {}",
                super::MOST_CHANNELS
            )));
        }
        Ok(())
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [b, s, h, d] = sizes(c);
        // The first has no key where there are several sequences, the last all.
        let mut lengths: Vec<u32> = (0..b).map(|_| rng.below(s + 1) as u32).collect();
        (lengths[0], lengths[b - 1]) = (0, s as u32);
        vec![
            rng.normals(&[b, 1, h, d]),
            rng.normals(&[b, s, 2, h, d]),
            HostTensor::u32(&[b], lengths),
        ]
    }
    fn run(&self, gpu: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        // The rows again, each of the sequence behind its own.
        let b = c.get("b");
        let at: Vec<u32> = (0..b).flat_map(|r| [((r + 1) % b) as u32, 7]).collect();
        let at = Tensor::from_slice(gpu, &[b, 2], &at)?;
        Ok(vec![
            cross_decode(&t[0], &t[1], &t[2], None)?,
            cross_window(&t[0], &t[1], &t[2], &at, None)?,
        ])
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [b, s, heads, d] = sizes(c);
        let (q, kv, lengths) = (inputs[0].as_f64(), inputs[1].as_f64(), inputs[2].as_u32());
        let of = |behind: usize| {
            let mut o = Vec::new();
            for (row, h) in (0..b).flat_map(|n| (0..heads).map(move |h| (n, h))) {
                let n = (row + behind) % b;
                let part = |part: usize| -> Vec<&[f64]> {
                    (0..lengths[n] as usize)
                        .map(|j| &kv[(((n * s + j) * 2 + part) * heads + h) * d..][..d])
                        .collect()
                };
                o.extend(attend(
                    &q[(row * heads + h) * d..][..d],
                    &part(0),
                    &part(1),
                    1.0 / (d as f64).sqrt(),
                ));
            }
            HostTensor::f64(&[b, 1, heads, d], o)
        };
        vec![of(0), of(1)]
    }
    fn tolerance(&self, c: &Case, _: usize) -> Tolerance {
        let scores = Tolerance::sum(c.get("d"));
        Tolerance {
            abs: scores.abs + 3e-6,
            rel: scores.rel,
        }
    }
    fn work(&self, c: &Case) -> Work {
        work(sizes(c))
    }
    fn kernels(&self) -> Vec<Kernel> {
        steps(Keys::Cross)
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let (q, kv) = (
            zeros(&[2, 1, 2, 4], DType::F32)?,
            zeros(&[2, 3, 2, 2, 4], DType::F32)?,
        );
        let lengths = zeros(&[2], DType::U32)?;
        let wide = (
            zeros(&[2, 1, 1, 257], DType::F32)?,
            zeros(&[2, 3, 2, 1, 257], DType::F32)?,
        );
        let call =
            |q: &Tensor, kv: &Tensor, l: &Tensor, scale| cross_decode(q, kv, l, scale).map(drop);
        Ok(vec![
            (
                "two tokens at a time",
                call(&zeros(&[2, 2, 2, 4], DType::F32)?, &kv, &lengths, None),
            ),
            (
                "three parts",
                call(&q, &zeros(&[2, 3, 3, 2, 4], DType::F32)?, &lengths, None),
            ),
            (
                "other heads",
                call(&q, &zeros(&[2, 3, 2, 1, 4], DType::F32)?, &lengths, None),
            ),
            (
                "no key",
                call(&q, &zeros(&[2, 0, 2, 2, 4], DType::F32)?, &lengths, None),
            ),
            ("257 channels", call(&wide.0, &wide.1, &lengths, None)),
            (
                "lengths that are floats",
                call(&q, &kv, &zeros(&[2], DType::F32)?, None),
            ),
            ("a scale of NaN", call(&q, &kv, &lengths, Some(f32::NAN))),
        ])
    }
}
