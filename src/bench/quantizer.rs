//! One training forward pass of a quantizer: search, gather, loss, and whatever moves its codebook.

use super::{Prepared, Workload};
use crate::autograd::Tape;
use crate::gpu::Gpu;
use crate::nn::{Init, Parameters, Pass};
use crate::ops::verify::{self, Verdict};
use crate::ops::vq_search::VqSearch;
use crate::ops::{Host, Operation, Rng, Tolerance, case};
use crate::quantize::{self, Kind, Mode, Quantizer};
use crate::{Error, Result};

/// A quantizer and the sizes that it meets.
#[derive(Clone, Copy, Debug)]
pub struct QuantizerForward {
    /// Which quantizer.
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
    let sizes: Vec<(usize, usize)> = codes.flat_map(|k| [8, 16, 32, 64, 128, 256].map(|d| (k, d))).collect();
    let each = |kind| sizes.iter().map(move |(k, d)| QuantizerForward { kind, n, k: *k, d: *d });
    quantize::all().iter().flat_map(each).map(Workload::quantizer).collect()
}

/// `quantizer_ema_n64_k8_d4`; `None` for a name that begins otherwise.
pub(super) fn parse(name: &str) -> Option<Result<QuantizerForward>> {
    let rest = name.strip_prefix("quantizer_")?;
    let wrong =
        || Error::data(format!("`{name}` is not of the form quantizer_ema_n64_k8_d4, with sizes of at least 1"));
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
        Some((kind, n, k, d)) => quantize::find(kind).map(|kind| QuantizerForward { kind, n, k, d }),
        None => Err(wrong()),
    })
}

impl QuantizerForward {
    fn make(&self, gpu: &Gpu, seed: u64) -> Result<(Box<dyn Quantizer>, Parameters)> {
        // A pass is over a model's parameters; here there is no model around the quantizer.
        let mut none = Parameters::builder();
        none.declare("unused", &[1], Init::Zeros);
        Ok(((self.kind.build)(gpu, self.k, self.d, seed)?, none.build(gpu, seed)?))
    }

    pub(super) fn prepare(&self, gpu: &Gpu, seed: u64) -> Result<Prepared> {
        let (mut quantizer, params) = self.make(gpu, seed)?;
        let latents = Rng::new(seed).normals(&[self.n, self.d]).upload(gpu)?;
        let (gpu, mut step) = (gpu.clone(), 0);
        let call = move || {
            let tape = Tape::new(&gpu);
            let pass = Pass::new(&tape, &params);
            step += 1;
            quantizer.quantize(&pass, &tape.leaf(&latents), Mode::Train { step }).map(drop)
        };
        Ok(Prepared { call: Box::new(call), work: None })
    }

    /// The codes are the nearest ones, what is handed on is those codes, and the state moves as its definition says.
    pub(super) fn check(&self, gpu: &Gpu, seed: u64, flops: f64) -> Result<Verdict> {
        let (n, k, d) = (self.n, self.k, self.d);
        let (mut quantizer, params) = self.make(gpu, seed)?;
        let latents = Rng::new(seed).normals(&[n, d]);
        let before = quantizer.save()?;
        let tape = Tape::new(gpu);
        let pass = Pass::new(&tape, &params);
        let out = quantizer.quantize(&pass, &tape.leaf(&latents.upload(gpu)?), Mode::Train { step: 1 })?;
        let after = quantizer.save()?;
        let index = Host::download(&out.indices)?;
        let missing = |what: &str| Error::data(format!("{}: its state has no `{what}`", self.kind.name));
        let state = |state: &crate::nn::HostTensors, name: &str| -> Result<Vec<f32>> {
            Ok(state.get(name).ok_or_else(|| missing(name))?.1.clone())
        };
        let codebook = state(&before, "codebook")?;

        let whole = case(&[("n", n), ("k", k), ("d", d)]);
        let inputs = vec![latents.clone(), Host::f32(&[k, d], codebook.clone())];
        let part = VqSearch.excerpt(&whole, &inputs, std::slice::from_ref(&index), flops);
        let (case, inputs, got) = part.ok_or_else(|| Error::data("the search has no excerpt"))?;
        let want = VqSearch.twin(&case, &inputs.iter().map(Host::widened).collect::<Vec<_>>());
        let mut verdict = VqSearch.compare(&case, &inputs, &got, &want).ok_or_else(|| missing("verdict"))?;

        let code = |row: usize| &codebook[index.as_u32()[row] as usize * d..][..d];
        let z_q: Vec<f64> = (0..n).flat_map(|row| code(row).iter().map(|v| f64::from(*v))).collect();
        let got = Host::download(out.z_q.tensor())?;
        verdict = verdict.join(verify::compare("z_q", &got, &Host::f64(&[n, d], z_q.clone()), Tolerance::EXACT));

        let wide = latents.widened();
        let x = wide.as_f64();
        if let Some(loss) = &out.loss {
            let square: f64 = x.iter().zip(&z_q).map(|(x, q)| (x - q) * (x - q)).sum::<f64>() / x.len() as f64;
            let want = Host::f64(&[1], vec![0.25 * square]);
            let tolerance = Tolerance { abs: 0.0, rel: 1e-5 };
            verdict =
                verdict.join(verify::compare("commitment loss", &Host::download(loss.tensor())?, &want, tolerance));
        }
        if self.kind.name == "ema" {
            let mut counts: Vec<f64> = state(&before, "ema_counts")?.iter().map(|v| 0.99 * f64::from(*v)).collect();
            let mut sums: Vec<f64> = state(&before, "ema_sums")?.iter().map(|v| 0.99 * f64::from(*v)).collect();
            for (row, c) in index.as_u32().iter().enumerate() {
                counts[*c as usize] += 0.01;
                for j in 0..d {
                    sums[*c as usize * d + j] += 0.01 * x[row * d + j];
                }
            }
            let tolerance = Tolerance { abs: 1e-5, rel: 1e-5 };
            let counts_got = Host::f32(&[k], state(&after, "ema_counts")?);
            let sums_got = Host::f32(&[k, d], state(&after, "ema_sums")?);
            verdict = verdict.join(verify::compare("counts", &counts_got, &Host::f64(&[k], counts), tolerance));
            verdict = verdict.join(verify::compare("sums", &sums_got, &Host::f64(&[k, d], sums), tolerance));
        }
        Ok(verdict)
    }
}
