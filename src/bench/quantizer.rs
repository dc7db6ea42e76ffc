//! One training forward pass of a quantizer: search, gather, loss, and whatever moves its codebook.

use super::prepared::Prepared;
use super::workload::Workload;
use crate::autograd::Tape;
use crate::gpu::{Gpu, Tensor};
use crate::nn::{ForwardContext, HostTensors, Init, Parameters};
use crate::ops::norm::batch_norm;
use crate::ops::quantize::fsq;
use crate::ops::quantize::vq_search::VqSearch;
use crate::ops::sampling::random::Key;
use crate::ops::sampling::random::philox::gumbel;
use crate::quantize::{self, Kind, Mode, Options, Quantizer};
use crate::spec::{HostTensor, Operation, Rng, Tolerance, Verdict, case, compare};
use crate::{Error, Result};

/// A quantizer and the sizes that it meets.
#[derive(Clone, Copy, Debug)]
pub struct QuantizerForward {
    /// The quantizer.
    pub kind: &'static Kind,
    /// Latents.
    pub n: usize,
    /// Codes.
    pub k: usize,
    /// Channels.
    pub d: usize,
}

/// Every quantizer there is, over codes from 512 to 16,384 and channels from 8 to 256.
pub fn study(n: usize) -> Vec<Workload> {
    let codes = (9..=14).map(|bits| 1usize << bits);
    let sizes: Vec<(usize, usize)> = codes
        .flat_map(|k| [8, 16, 32, 64, 128, 256].map(|d| (k, d)))
        .collect();
    let each = |kind| {
        sizes.iter().map(move |(k, d)| QuantizerForward {
            kind,
            n,
            k: *k,
            d: *d,
        })
    };
    quantize::all()
        .iter()
        .flat_map(each)
        .map(Workload::quantizer)
        .collect()
}

/// `quantizer_ema_n64_k8_d4`; `None` for a name that begins otherwise.
pub(super) fn parse(name: &str) -> Option<Result<QuantizerForward>> {
    let rest = name.strip_prefix("quantizer_")?;
    let wrong = || {
        Error::data(format!(
            "`{name}` is not of the form quantizer_ema_n64_k8_d4, with sizes of at least 1"
        ))
    };
    let parse = || {
        let mut parts = rest.rsplitn(4, '_');
        let mut size = |letter: char| {
            let value = parts.next()?.strip_prefix(letter)?.parse::<usize>().ok()?;
            (value > 0).then_some(value)
        };
        let (d, k, n) = (size('d')?, size('k')?, size('n')?);
        Some((parts.next()?, n, k, d))
    };
    Some(match parse() {
        Some((kind, n, k, d)) => {
            quantize::find(kind).map(|kind| QuantizerForward { kind, n, k, d })
        }
        None => Err(wrong()),
    })
}

/// Levels of about `k` codes: the paper's own for 2^8 to 2^16 (Mentzer et al. 2023, section 4.1),
/// and their like between.
fn levels(k: usize) -> Vec<usize> {
    const SETS: [&[usize]; 9] = [
        &[8, 6, 5],
        &[8, 8, 8],
        &[8, 5, 5, 5],
        &[8, 8, 6, 5],
        &[7, 5, 5, 5, 5],
        &[8, 8, 5, 5, 5],
        &[8, 8, 8, 6, 5],
        &[8, 8, 8, 8, 8],
        &[8, 8, 8, 5, 5, 5],
    ];
    let distance = |set: &[usize]| (set.iter().product::<usize>() as f64 / k as f64).ln().abs();
    let nearest = SETS
        .into_iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)));
    nearest.unwrap_or(SETS[0]).to_vec()
}

impl QuantizerForward {
    /// A quantizer of default options whose codes are random: none is placed by k-means and none
    /// revived. `bare` leaves out the maps from and to the latents' channels.
    fn make(&self, gpu: &Gpu, seed: u64, bare: bool) -> Result<(Box<dyn Quantizer>, Parameters)> {
        let mut options = Options {
            codebook_size: self.k,
            dim: if bare { 0 } else { self.d },
            codebook_dim: if self.kind.name == "cosine" {
                self.d.min(16)
            } else {
                self.d
            },
            kmeans_init: false,
            threshold_ema_dead_code: 0.0,
            levels: levels(self.k),
            seed,
            ..Options::of(self.kind.name)
        };
        if options.kind == "multiscale" {
            // The largest square that the latents are whole maps of.
            let fits = |side: &usize| self.n.is_multiple_of(side * side);
            let side = (1..=16).rev().find(fits).unwrap_or(1);
            options.scales = options.scales_of(side);
        }
        if bare {
            options.dim = options.code_channels();
        }
        if matches!(self.kind.name, "lfq" | "bsq") {
            options.codebook_size = self.k.next_power_of_two().max(2);
        }
        let groups = (1..=4).rev().find(|g| self.d.is_multiple_of(*g));
        options.groups = groups.unwrap_or(1);
        options.check()?;
        let mut b = Parameters::builder();
        // A pass is over a model's parameters; here there is no model around the quantizer.
        b.declare("unused", &[1], Init::Zeros);
        let quantizer = (self.kind.build)(gpu, &mut b, &options)?;
        Ok((quantizer, b.build(gpu, seed)?))
    }

    pub(super) fn prepare(&self, gpu: &Gpu, seed: u64) -> Result<Prepared> {
        let (mut quantizer, params) = self.make(gpu, seed, false)?;
        let latents = Rng::new(seed).normals(&[self.n, self.d]).upload(gpu)?;
        let (gpu, mut step) = (gpu.clone(), 0);
        let call = move || {
            let tape = Tape::new(&gpu);
            let pass = ForwardContext::new(&tape, &params);
            step += 1;
            let out = quantizer.quantize(&pass, &tape.leaf(&latents), Mode::Train { step })?;
            quantizer.learn(&params, &out.seen, step).map(drop)
        };
        Ok(Prepared {
            call: Box::new(call),
            work: None,
        })
    }

    /// The codes are the nearest ones (or those that rounding, signs or drawing choose), what is
    /// handed on is those codes, and averages move as their definition says.
    pub(super) fn check(&self, gpu: &Gpu, seed: u64, flops: f64) -> Result<Verdict> {
        let (mut quantizer, params) = self.make(gpu, seed, true)?;
        let latents = Rng::new(seed).normals(&[self.n, quantizer.dim()]);
        let before = quantizer.save()?;
        let tape = Tape::new(gpu);
        let pass = ForwardContext::new(&tape, &params);
        let out = quantizer.quantize(
            &pass,
            &tape.leaf(&latents.upload(gpu)?),
            Mode::Train { step: 1 },
        )?;
        let decoded = HostTensor::download(&quantizer.decode(&pass, &out.indices)?)?.widened();
        let mut verdict = compare(
            "z_q",
            &HostTensor::download(out.z_q.tensor())?,
            &decoded,
            Tolerance::EXACT,
        );
        quantizer.learn(&params, &out.seen, 1)?;
        let after = quantizer.save()?;
        let searches = !matches!(self.kind.name, "fsq" | "lfq" | "bsq" | "gumbel" | "ibq");
        for seen in out.seen.iter().filter(|_| searches) {
            let (x, index) = (
                HostTensor::download(&seen.latents)?,
                HostTensor::download(&seen.index)?,
            );
            let (k, d) = (quantizer.codebook_size(), x.shape[1]);
            let prefix = if quantizer.codebooks() > 1 {
                format!("{}.", seen.codebook)
            } else {
                String::new()
            };
            let codebook = match before.get(&format!("{prefix}codebook")) {
                Some((_, values)) => HostTensor::f32(&[k, d], values.clone()),
                // One that learns by gradient: its codes, one after another.
                None => {
                    let all: Vec<u32> = (0..k as u32).collect();
                    HostTensor::download(
                        &quantizer.code_vectors(&pass, &Tensor::from_slice(gpu, &[k, 1], &all)?)?,
                    )?
                }
            };
            verdict = verdict.join(nearest(&x, &codebook, &index, flops)?);
            let average = |state: &HostTensors, name: &str| {
                state
                    .get(&format!("{prefix}{name}"))
                    .map(|(_, v)| v.clone())
            };
            if let (Some(counts), Some(sums)) =
                (average(&before, "ema_counts"), average(&before, "ema_sums"))
            {
                let want = moved(&x, &index, &counts, &sums);
                let tolerance = Tolerance {
                    abs: 1e-5,
                    rel: 1e-5,
                };
                for (name, want) in ["ema_counts", "ema_sums"].into_iter().zip(want) {
                    let got = average(&after, name).unwrap_or_default();
                    let n = want.len();
                    verdict = verdict.join(compare(
                        name,
                        &HostTensor::f32(&[got.len()], got),
                        &HostTensor::f64(&[n], want),
                        tolerance,
                    ));
                }
            }
        }
        if !searches {
            verdict = verdict.join(self.choice(&latents, &out.indices, &params, seed)?);
        }
        Ok(verdict)
    }

    /// Returns the codes of quantizers that search no codebook, in f64.
    fn choice(
        &self,
        latents: &HostTensor,
        indices: &Tensor,
        params: &Parameters,
        seed: u64,
    ) -> Result<Verdict> {
        let got = HostTensor::u32(&[self.n], indices.read::<u32>()?);
        let wide = latents.widened();
        let x = wide.as_f64();
        let want = match self.kind.name {
            "fsq" => fsq::reference::quantize(x, &levels(self.k), fsq::Activation::Tanh).1,
            "lfq" | "bsq" => crate::ops::quantize::bits::reference::signs(x, latents.shape[1]).1,
            "gumbel" | "ibq" => return self.drawn(x, &got, params, seed),
            other => {
                return Err(Error::data(format!(
                    "no reference for the codes of `{other}`"
                )));
            }
        };
        // A latent within f32 of a boundary may fall on either side: with normal ones a few in a
        // million.
        let differ = want
            .iter()
            .zip(got.as_u32())
            .filter(|(w, g)| w != g)
            .count();
        let allowed = 1e-4 * self.n as f64 + 1.0;
        Ok(Verdict {
            compared: want.len(),
            worst: differ as f64 / allowed,
            max_error: 0.0,
            detail: format!(
                "{}: {differ} of {} codes differ",
                self.kind.name,
                want.len()
            ),
            pass: want.len() == got.len() && !want.is_empty() && differ as f64 <= allowed,
        })
    }

    /// Returns the codes that Gumbel noise draws at some of the rows, of latents that are
    /// normalised over all of them; those of `ibq` are the likeliest without noise.
    fn drawn(
        &self,
        x: &[f64],
        got: &HostTensor,
        params: &Parameters,
        seed: u64,
    ) -> Result<Verdict> {
        let host = params.to_host()?;
        let wide = |name: &str| -> Vec<f64> {
            host.get(name)
                .map(|(_, v)| v.iter().map(|v| f64::from(*v)).collect())
                .unwrap_or_default()
        };
        let (k, d, noise) = (self.k, self.d, self.kind.name == "gumbel");
        let (ones, zeros) = (vec![1.0; d], vec![0.0; d]);
        let eps = crate::quantize::latent_norm::EPS;
        let x = batch_norm::reference::batch_norm(x, &ones, &zeros, eps);
        let (weight, bias) = if noise {
            (wide("quantize.logits.weight"), wide("quantize.logits.bias"))
        } else {
            (wide("quantize.codebook"), vec![0.0; k])
        };
        let key = Key {
            seed,
            step: 1,
            stream: crate::quantize::gumbel::NOISE,
        };
        let rows: Vec<usize> = (0..self.n).step_by(self.n.div_ceil(64)).collect();
        let mut differ = 0;
        for row in &rows {
            let value = |c: usize| -> f64 {
                let x = &x[row * d..][..d];
                let logit: f64 = x
                    .iter()
                    .zip(&weight[c * d..][..d])
                    .map(|(a, b)| a * b)
                    .sum();
                logit + bias[c] + if noise { gumbel(key, *row, c) } else { 0.0 }
            };
            let values: Vec<f64> = (0..k).map(value).collect();
            let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            differ += usize::from(!(best - values[got.as_u32()[*row] as usize % k] <= 1e-4));
        }
        Ok(Verdict {
            compared: rows.len(),
            worst: differ as f64,
            max_error: 0.0,
            detail: format!(
                "{}: {differ} of {} codes are not the likeliest",
                self.kind.name,
                rows.len()
            ),
            pass: differ == 0 && !rows.is_empty(),
        })
    }
}

/// Checks that each index is that of the nearest code, at as many latents as `flops` allow.
fn nearest(
    x: &HostTensor,
    codebook: &HostTensor,
    index: &HostTensor,
    flops: f64,
) -> Result<Verdict> {
    let (n, k, d) = (x.shape[0], codebook.shape[0], x.shape[1]);
    let inputs = vec![x.clone(), codebook.clone()];
    let whole = case(&[("n", n), ("k", k), ("d", d)]);
    let part = VqSearch.excerpt(&whole, &inputs, std::slice::from_ref(index), flops);
    let (case, inputs, got) = part.ok_or_else(|| Error::data("the search has no excerpt"))?;
    let want = VqSearch.reference(
        &case,
        &inputs.iter().map(HostTensor::widened).collect::<Vec<_>>(),
    );
    VqSearch
        .compare(&case, &inputs, &got, &want)
        .ok_or_else(|| Error::data("the search gave no verdict"))
}

/// Counts and sums after one step of the moving average at a decay of 0.99.
fn moved(x: &HostTensor, index: &HostTensor, counts: &[f32], sums: &[f32]) -> [Vec<f64>; 2] {
    let d = x.shape[1];
    let wide = x.widened();
    let mut counts: Vec<f64> = counts.iter().map(|v| 0.99 * f64::from(*v)).collect();
    let mut sums: Vec<f64> = sums.iter().map(|v| 0.99 * f64::from(*v)).collect();
    for (row, c) in wide.as_f64().chunks(d).zip(index.as_u32()) {
        counts[*c as usize] += 0.01;
        row.iter()
            .zip(&mut sums[*c as usize * d..])
            .for_each(|(v, sum)| *sum += 0.01 * v);
    }
    [counts, sums]
}
