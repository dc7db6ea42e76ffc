//! The specification of Adam's step with moments of 16 bits.

use super::{
    Noise, STREAM, State, adam_bf16, first_moment, join, kernel, reference, second_moment, work,
};
use crate::Result;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::optim::adam::rounding::Steps;
use crate::ops::optim::adam::spec::{decay_len, hyper};
use crate::ops::optim::adam::{Decay, Hyper, reference as adam_reference};
use crate::ops::sampling::random::{Key, philox};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, Verdict, case};

/// The registry's row.
pub struct AdamBf16;

const NOISE: Noise = Noise {
    seed: (7 << 32) + 5,
    first: 320,
};

/// Returns the noise of an element for its two moments, 16 bits each.
pub(super) fn noise_of(noise: Noise, step: u64, element: usize) -> [u32; 2] {
    let key = Key {
        seed: noise.seed,
        step,
        stream: STREAM,
    };
    let at = noise.first + element;
    let word = philox::block(key, (at / 4) as u32)[at % 4];
    [word & 0xffff, word >> 16]
}

fn step(case: &Case, [w, moments, g, clip]: [&Tensor; 4]) -> Result<()> {
    let state = State {
        weights: w,
        moments,
    };
    let clip = (case.get("clip") > 0).then_some(clip);
    let t = case.get("t") as u64;
    let with = (clip, None);
    adam_bf16(&hyper(case), t, state, g, with, decay_len(case), NOISE)
}

impl Operation for AdamBf16 {
    fn name(&self) -> &'static str {
        "adam_bf16"
    }
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (decoupled, clip) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)] {
            for (n, t) in [(4, 1), (12, 2), (260, 1000), (10_008, 100_000), (1_036, 7)] {
                cases.push(case(&[
                    ("n", n),
                    ("t", t),
                    ("decoupled", decoupled),
                    ("clip", clip),
                ]));
            }
        }
        cases
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[
            ("n", 1 << 20),
            ("t", 10),
            ("decoupled", 1),
            ("clip", 1),
        ])]
    }
    fn settings(&self) -> &'static [usize] {
        &[3]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let n = case.get("n");
        let words = (0..n).map(|_| {
            let (m, v) = (rng.normal(), rng.normal().powi(2) + 1e-3);
            join(m as f32, v as f32)
        });
        let words = HostTensor::u32(&[n], words.collect());
        let (w, g) = (rng.normals(&[n]), rng.normals(&[n]));
        // A clip of 2 stands for a gradient that was found not to be finite: its factor is 0.
        let factor = [1.0, 0.3, 0.0][case.get("clip").min(2)];
        vec![w, words, g, HostTensor::f32(&[3], vec![7.0, factor, 1.0])]
    }
    fn run(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (w, moments) = (inputs[0].duplicate()?, inputs[1].duplicate()?);
        step(case, [&w, &moments, &inputs[2], &inputs[3]])?;
        let words: Vec<u32> = moments.read()?;
        let [m, v] = [first_moment, second_moment].map(|moment| {
            let values: Vec<f32> = words.iter().map(|word| moment(*word)).collect();
            Tensor::from_slice(gpu, &[words.len()], &values)
        });
        Ok(vec![w, m?, v?])
    }
    fn time(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<()> {
        step(case, [&inputs[0], &inputs[1], &inputs[2], &inputs[3]])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [w, g, clip] = [0, 2, 3].map(|i| inputs[i].as_f64());
        let words = inputs[1].as_u32();
        let t = case.get("t") as u64;
        let mut out = [
            w.to_vec(),
            words.iter().map(|x| f64::from(first_moment(*x))).collect(),
            words.iter().map(|x| f64::from(second_moment(*x))).collect(),
        ];
        let factor = if case.get("clip") > 0 { clip[1] } else { 1.0 };
        for i in 0..w.len() {
            if factor != 0.0 {
                let before = [out[0][i], out[1][i], out[2][i]];
                let decays = i < decay_len(case);
                let [moved, m, v] =
                    adam_reference::adam(&hyper(case), t, decays, before, g[i] * factor);
                let [low, high] = noise_of(NOISE, t, i);
                out[0][i] = moved;
                out[1][i] = reference::rounded(m, low);
                out[2][i] = reference::rounded(v, high);
            }
        }
        out.map(|data| HostTensor::f64(&[w.len()], data)).to_vec()
    }
    fn tolerance(&self, _: &Case, output: usize) -> Tolerance {
        match output {
            0 => Tolerance::POINTWISE,
            // A value that lies where the noise decides may go to the other neighbour.
            _ => Tolerance {
                abs: 1e-7,
                rel: 1.0 / 127.0,
            },
        }
    }
    fn compare(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        want: &[HostTensor],
    ) -> Option<Verdict> {
        let wide: Vec<HostTensor> = inputs.iter().map(HostTensor::widened).collect();
        let [w, g, clip] = [0, 2, 3].map(|i| wide[i].as_f64());
        let words = inputs[1].as_u32();
        let steps = Steps::of(case, w, g, clip);
        let moments = |i: usize| [first_moment(words[i]), second_moment(words[i])].map(f64::from);
        Some(steps.compare((self, case), moments, got, want))
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        let mut all = Vec::new();
        for decay in [Decay::L2, Decay::Decoupled] {
            all.extend([
                kernel(decay, false, false),
                kernel(decay, true, false),
                kernel(decay, true, true),
            ]);
        }
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let [w, g] = [0; 2].map(|_| Tensor::zeros(gpu, &[8], DType::F32));
        let (w, g) = (w?, g?);
        let moments = Tensor::zeros(gpu, &[8], DType::U32)?;
        let [short, floats] = [4, 8].map(|n| Tensor::zeros(gpu, &[n], DType::F32));
        let (short, floats) = (short?, floats?);
        let odd = Tensor::zeros(gpu, &[6], DType::F32)?;
        let odd_moments = Tensor::zeros(gpu, &[6], DType::U32)?;
        let good = Hyper::default();
        let state = State {
            weights: &w,
            moments: &moments,
        };
        let call = |hyper: &Hyper, t, state, g: &Tensor, clip, first| {
            let noise = Noise { seed: 0, first };
            adam_bf16(hyper, t, state, g, (clip, None), 0, noise)
        };
        let of_floats = State {
            moments: &floats,
            ..state
        };
        let of_odd = State {
            weights: &odd,
            moments: &odd_moments,
        };
        let negative = Hyper { lr: -1.0, ..good };
        Ok(vec![
            ("a short gradient", call(&good, 1, state, &short, None, 0)),
            ("moments of f32", call(&good, 1, of_floats, &g, None, 0)),
            ("six elements", call(&good, 1, of_odd, &odd, None, 0)),
            (
                "a report of four",
                call(&good, 1, state, &g, Some(&short), 0),
            ),
            ("step 0", call(&good, 0, state, &g, None, 0)),
            ("a negative rate", call(&negative, 1, state, &g, None, 0)),
            ("noise within a block", call(&good, 1, state, &g, None, 2)),
        ])
    }
}
