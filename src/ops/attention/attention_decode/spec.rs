//! The registry's row.

use super::reference::Head;
use super::{KvCache, advance, attention_decode, attention_window, kernels, work};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::attention::attention::{Attention, Mask};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, refused};
use crate::{Error, Result};

/// The registry's row of [`attention_decode`]: prompts padded to `prompt` tokens, each of a length
/// of its own, then `steps` tokens in a row. The outputs are those of the steps, and the cache
/// where it was written.
pub struct AttentionDecodeSpec;

fn sized([b, most, h, d, prompt, steps, mask]: [usize; 7]) -> Case {
    case(&[
        ("b", b),
        ("most", most),
        ("h", h),
        ("d", d),
        ("prompt", prompt),
        ("steps", steps),
        ("mask", mask),
    ])
}

/// Whether the row at i sees that at j, with a mask.
fn sees(i: usize, j: usize) -> bool {
    i == j || j < 2 || (i + 2 * j).is_multiple_of(5)
}

fn mask(gpu: &Gpu, c: &Case) -> Result<Option<Mask>> {
    let most = c.get("most");
    if c.get("mask") == 0 {
        Ok(None)
    } else {
        Mask::pattern(gpu, most, most, sees).map(Some)
    }
}

fn sizes(c: &Case) -> [usize; 6] {
    ["b", "most", "h", "d", "prompt", "steps"].map(|n| c.get(n))
}

/// Query, key and value of head `h` at row `at` of [.., 3, H, D].
fn parts(x: &[f64], at: usize, h: usize, heads: usize, d: usize) -> [&[f64]; 3] {
    [0, 1, 2].map(|part| &x[((at * 3 + part) * heads + h) * d..][..d])
}

/// The elements of the row that pads a window.
const PADDING: f32 = 0.375;

/// Returns what [`attention_window`] gives for all tokens at once, as the steps do, and the cache:
/// sequences and the rows of a sequence in an order of their own, and a row that joins nothing.
fn windowed(gpu: &Gpu, c: &Case, t: &[Tensor], options: Attention) -> Result<Vec<Tensor>> {
    let [b, most, h, d, prompt, steps] = sizes(c);
    let cache = KvCache::new(gpu, [b, most, h, d])?;
    cache
        .k
        .copy_from(&Tensor::zeros(gpu, &[b, most, h, d], DType::F32)?)?;
    cache.v.copy_from(&cache.k)?;
    // The prompts in turned order.
    let turned: Vec<u32> = (0..b).rev().flat_map(|s| [s as u32, 0]).collect();
    let each = prompt * 3 * h * d;
    let prompts: Vec<f32> = t[1].read()?;
    let prompts: Vec<f32> = (0..b)
        .rev()
        .flat_map(|s| prompts[s * each..][..each].to_vec())
        .collect();
    if prompt > 0 {
        let prompts = Tensor::from_slice(gpu, &[b, prompt, 3, h, d], &prompts)?;
        let turned = Tensor::from_slice(gpu, &[b, 2], &turned)?;
        cache.store(&prompts, &turned)?;
    }
    let lengths: Vec<u32> = t[0].read()?;
    let (mut rows, mut at) = (vec![PADDING; 3 * h * d], vec![0, u32::MAX]);
    for s in (0..b).rev() {
        for (i, token) in t[2..].iter().enumerate() {
            rows.extend(&token.read::<f32>()?[s * 3 * h * d..][..3 * h * d]);
            at.extend([s as u32, lengths[s] + i as u32]);
        }
    }
    let n = b * steps + 1;
    let rows = Tensor::from_slice(gpu, &[n, 1, 3, h, d], &rows)?;
    let at = Tensor::from_slice(gpu, &[n, 2], &at)?;
    let y: Vec<f32> = attention_window(&rows, &cache, &at, options)?.read()?;
    if y[..h * d].iter().any(|v| (v - PADDING).abs() > 1e-5) {
        let what = "a row past the cache's last saw more than itself";
        return Err(Error::invalid("attention_decode", what));
    }
    let row = |s: usize, i: usize| &y[(1 + (b - 1 - s) * steps + i) * h * d..][..h * d];
    let mut out = Vec::new();
    for i in 0..steps {
        let step: Vec<f32> = (0..b).flat_map(|s| row(s, i).to_vec()).collect();
        out.push(Tensor::from_slice(gpu, &[b, 1, h, d], &step)?);
    }
    out.extend([cache.k, cache.v]);
    Ok(out)
}

impl Operation for AttentionDecodeSpec {
    fn name(&self) -> &'static str {
        "attention_decode"
    }
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 1, 1, 0, 1, 0],
            [2, 7, 3, 5, 3, 4, 0],
            [3, 70, 2, 64, 66, 3, 0],
            // Past one walk of 256 keys, and at its edge.
            [2, 262, 2, 12, 256, 5, 0],
            [3, 600, 1, 33, 590, 2, 0],
            [1, 20, 2, 128, 0, 3, 0],
            [1, 9, 1, 130, 6, 2, 0],
            [2, 70, 1, 256, 65, 2, 0],
            [2, 9, 2, 5, 4, 4, 1],
            [2, 70, 2, 32, 60, 4, 1],
            [1, 300, 1, 12, 280, 2, 1],
            // In parts, some of them without a key.
            [2, 800, 2, 20, 3, 2, 0],
            [1, 700, 2, 6, 690, 2, 1],
        ]
        .map(sized)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        [[64, 64, 8, 32, 63, 1, 0], [16, 1_024, 8, 64, 1_023, 1, 0]]
            .map(sized)
            .to_vec()
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        let [_, most, _, d, prompt, steps] = sizes(c);
        if prompt + steps > most || d > super::MOST_CHANNELS {
            let what = format!(
                "prompt and steps fit into most, and d is at most {}",
                super::MOST_CHANNELS
            );
            return Err(crate::Error::data(format!("case `{c}`: {what}")));
        }
        Ok(())
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [b, _, h, d, prompt, steps] = sizes(c);
        // Up to eight tokens short of the prompt, and the last of all of it.
        let mut lengths: Vec<u32> = (0..b)
            .map(|_| (prompt - rng.below(prompt.min(8) + 1)) as u32)
            .collect();
        lengths[b - 1] = prompt as u32;
        let tokens = (0..steps)
            .map(|_| rng.normals(&[b, 1, 3, h, d]))
            .collect::<Vec<_>>();
        let prompts = rng.normals(&[b, prompt, 3, h, d]);
        [HostTensor::u32(&[b], lengths), prompts]
            .into_iter()
            .chain(tokens)
            .collect()
    }
    fn run(&self, gpu: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let [b, most, h, d, ..] = sizes(c);
        let cache = KvCache::new(gpu, [b, most, h, d])?;
        // Rows that nobody writes are compared too.
        cache
            .k
            .copy_from(&Tensor::zeros(gpu, &[b, most, h, d], DType::F32)?)?;
        cache.v.copy_from(&cache.k)?;
        cache.prefill(&t[1])?;
        let lengths = t[0].duplicate()?;
        let mask = mask(gpu, c)?;
        let options = Attention {
            mask: mask.as_ref(),
            ..Attention::CAUSAL
        };
        let mut out = Vec::new();
        for token in &t[2..] {
            out.push(attention_decode(token, &cache, &lengths, options)?);
            advance(&lengths, 1, most as u32)?;
        }
        out.extend(windowed(gpu, c, t, options)?);
        out.extend([cache.k, cache.v, lengths]);
        Ok(out)
    }
    fn time(&self, gpu: &Gpu, c: &Case, t: &[Tensor]) -> Result<()> {
        // What the cache holds takes no more or less time.
        let [b, most, h, d, ..] = sizes(c);
        let cache = KvCache::new(gpu, [b, most, h, d])?;
        let mask = mask(gpu, c)?;
        let options = Attention {
            mask: mask.as_ref(),
            ..Attention::CAUSAL
        };
        t[2..]
            .iter()
            .try_for_each(|token| attention_decode(token, &cache, &t[0], options).map(drop))
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [b, most, heads, d, prompt, steps] = sizes(c);
        let lengths = inputs[0].as_u32();
        let scale = 1.0 / (d as f64).sqrt();
        let mut caches = [
            vec![0.0; b * most * heads * d],
            vec![0.0; b * most * heads * d],
        ];
        let mut outputs = vec![vec![0.0; b * heads * d]; steps];
        for (s, h) in (0..b).flat_map(|s| (0..heads).map(move |h| (s, h))) {
            let mut write = |t: usize, rows: [&[f64]; 2]| {
                let at = ((s * most + t) * heads + h) * d;
                caches
                    .iter_mut()
                    .zip(rows)
                    .for_each(|(cache, row)| cache[at..at + d].copy_from_slice(row));
            };
            let mut head = Head::default();
            for t in 0..prompt {
                let [_, k, v] = parts(inputs[1].as_f64(), s * prompt + t, h, heads, d);
                write(t, [k, v]);
                if t < lengths[s] as usize {
                    head.keys.push(k.to_vec());
                    head.values.push(v.to_vec());
                }
            }
            let see = |i: usize, j: usize| c.get("mask") == 0 || sees(i, j);
            for (i, output) in outputs.iter_mut().enumerate() {
                let [q, k, v] = parts(inputs[2 + i].as_f64(), s, h, heads, d);
                write(lengths[s] as usize + i, [k, v]);
                output[(s * heads + h) * d..][..d].copy_from_slice(&head.step(q, k, v, scale, see));
            }
        }
        let grown = lengths
            .iter()
            .map(|l| (*l + steps as u32).min(most as u32))
            .collect();
        let [k, v] = caches.map(|cache| HostTensor::f64(&[b, most, heads, d], cache));
        let outputs = outputs
            .into_iter()
            .map(|o| HostTensor::f64(&[b, 1, heads, d], o));
        let outputs: Vec<HostTensor> = outputs.collect();
        // A window gives what the steps give.
        [outputs.clone(), outputs]
            .concat()
            .into_iter()
            .chain([k.clone(), v.clone(), k, v, HostTensor::u32(&[b], grown)])
            .collect()
    }
    fn tolerance(&self, c: &Case, output: usize) -> Tolerance {
        if output >= 2 * c.get("steps") {
            return Tolerance::EXACT;
        }
        let scores = Tolerance::sum(c.get("d"));
        Tolerance {
            abs: scores.abs + 3e-6,
            rel: scores.rel,
        }
    }
    fn work(&self, c: &Case) -> Work {
        let [b, _, h, d, prompt, steps] = sizes(c);
        work([b, steps * (prompt + steps), h, d])
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let cache = KvCache::new(gpu, [2, 3, 2, 4])?;
        let token = zeros(&[2, 1, 3, 2, 4], DType::F32)?;
        let (lengths, floats) = (zeros(&[2], DType::U32)?, zeros(&[2], DType::F32)?);
        let step = |x: &Tensor, l: &Tensor, scale| {
            attention_decode(
                x,
                &cache,
                l,
                Attention {
                    scale,
                    ..Attention::CAUSAL
                },
            )
            .map(drop)
        };
        let other = Mask::pattern(gpu, 4, 3, sees)?;
        let masked = Attention {
            mask: Some(&other),
            ..Attention::CAUSAL
        };
        let prompt = |shape: &[usize]| zeros(shape, DType::F32).and_then(|x| cache.prefill(&x));
        Ok(vec![
            refused("a cache without rows", KvCache::new(gpu, [2, 0, 2, 4])),
            refused("a cache of 257 channels", KvCache::new(gpu, [2, 3, 2, 257])),
            refused(
                "a cache beyond the device",
                KvCache::new(gpu, [1 << 20, 1 << 20, 8, 64]),
            ),
            refused(
                "a cache beyond counting",
                KvCache::new(gpu, [usize::MAX / 2, usize::MAX / 2, 8, 64]),
            ),
            (
                "two tokens at a time",
                step(&zeros(&[2, 2, 3, 2, 4], DType::F32)?, &lengths, None),
            ),
            (
                "other heads",
                step(&zeros(&[2, 1, 3, 1, 4], DType::F32)?, &lengths, None),
            ),
            (
                "more sequences than the cache",
                step(&zeros(&[3, 1, 3, 2, 4], DType::F32)?, &lengths, None),
            ),
            (
                "integers",
                step(&zeros(&[2, 1, 3, 2, 4], DType::U32)?, &lengths, None),
            ),
            ("lengths that are floats", step(&token, &floats, None)),
            ("a scale of NaN", step(&token, &lengths, Some(f32::NAN))),
            refused(
                "a mask of other queries",
                attention_decode(&token, &cache, &lengths, masked),
            ),
            ("a prompt longer than the cache", prompt(&[2, 4, 3, 2, 4])),
            ("a prompt of two parts", prompt(&[2, 2, 2, 2, 4])),
            ("floats that count", advance(&floats, 1, 3)),
            (
                "a window at lengths",
                attention_window(&token, &cache, &lengths, Attention::CAUSAL).map(drop),
            ),
            (
                "a window of two tokens",
                attention_window(
                    &zeros(&[2, 2, 3, 2, 4], DType::F32)?,
                    &cache,
                    &zeros(&[2, 2], DType::U32)?,
                    Attention::CAUSAL,
                )
                .map(drop),
            ),
        ])
    }
}
