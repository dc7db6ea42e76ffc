//! The specification of Adam's step.

use super::rounding::Steps;
use super::{Decay, Hyper, State, adam, kernel, reference, work};
use crate::Result;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, Verdict, case};

/// The registry's row.
pub struct Adam;

/// Returns the options of a step that a case of either form of the moments takes.
pub(in crate::ops::optim) fn hyper(case: &Case) -> Hyper {
    let decay = if case.get("decoupled") == 1 {
        Decay::Decoupled
    } else {
        Decay::L2
    };
    Hyper {
        lr: 0.01,
        weight_decay: 0.1,
        eps: 1e-6,
        decay,
        ..Default::default()
    }
}

/// Two thirds decay.
pub(in crate::ops::optim) fn decay_len(case: &Case) -> usize {
    2 * case.get("n") / 3
}

impl Operation for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for (decoupled, clip) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)] {
            for (n, t) in [(1, 1), (13, 2), (257, 1000), (10_007, 100_000), (1_036, 7)] {
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
        &[4]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let n = case.get("n");
        let squares = (0..n)
            .map(|_| (rng.normal().powi(2) + 1e-3) as f32)
            .collect();
        let (w, m, g) = (rng.normals(&[n]), rng.normals(&[n]), rng.normals(&[n]));
        // A clip of 2 stands for a gradient that was found not to be finite: its factor is 0.
        let factor = [1.0, 0.3, 0.0][case.get("clip").min(2)];
        vec![
            w,
            m,
            HostTensor::f32(&[n], squares),
            g,
            HostTensor::f32(&[3], vec![7.0, factor, 1.0]),
        ]
    }
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (w, m, v) = (
            inputs[0].duplicate()?,
            inputs[1].duplicate()?,
            inputs[2].duplicate()?,
        );
        let state = State {
            weights: &w,
            m: &m,
            v: &v,
        };
        let clip = (case.get("clip") > 0).then_some(&inputs[4]);
        adam(
            &hyper(case),
            case.get("t") as u64,
            state,
            &inputs[3],
            clip,
            decay_len(case),
        )?;
        Ok(vec![w, m, v])
    }
    fn time(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<()> {
        let state = State {
            weights: &inputs[0],
            m: &inputs[1],
            v: &inputs[2],
        };
        let clip = (case.get("clip") > 0).then_some(&inputs[4]);
        adam(
            &hyper(case),
            case.get("t") as u64,
            state,
            &inputs[3],
            clip,
            decay_len(case),
        )
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [w, m, v, g, clip] = [0, 1, 2, 3, 4].map(|i| inputs[i].as_f64());
        let mut out = [w.to_vec(), m.to_vec(), v.to_vec()];
        let factor = if case.get("clip") > 0 { clip[1] } else { 1.0 };
        for i in 0..w.len() {
            if factor != 0.0 {
                let before = [w[i], m[i], v[i]];
                let after = reference::adam(
                    &hyper(case),
                    case.get("t") as u64,
                    i < decay_len(case),
                    before,
                    g[i] * factor,
                );
                for (out, value) in out.iter_mut().zip(after) {
                    out[i] = value;
                }
            }
        }
        out.map(|data| HostTensor::f64(&[w.len()], data)).to_vec()
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn compare(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        want: &[HostTensor],
    ) -> Option<Verdict> {
        let wide: Vec<HostTensor> = inputs.iter().map(HostTensor::widened).collect();
        let [w, m, v, g, clip] = [0, 1, 2, 3, 4].map(|i| wide[i].as_f64());
        let steps = Steps::of(case, w, g, clip);
        Some(steps.compare((self, case), |i| [m[i], v[i]], got, want))
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        let variants = [
            (Decay::L2, false),
            (Decay::L2, true),
            (Decay::Decoupled, false),
            (Decay::Decoupled, true),
        ];
        let mut all = Vec::new();
        for (decay, clipped) in variants {
            for vec in [false, true] {
                let copies = [false, true]
                    .into_iter()
                    .take(1 + usize::from(clipped && vec));
                all.extend(copies.map(|copies| kernel(vec, decay, clipped, copies)));
            }
        }
        all
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let [a, b, c, g] = [0; 4].map(|_| Tensor::zeros(gpu, &[4], DType::F32));
        let (a, b, c, g) = (a?, b?, c?, g?);
        let short = Tensor::zeros(gpu, &[3], DType::F32)?;
        let integers = Tensor::zeros(gpu, &[4], DType::U32)?;
        let state = State {
            weights: &a,
            m: &b,
            v: &c,
        };
        let good = Hyper::default();
        let with = |hyper: Hyper| adam(&hyper, 1, state, &g, None, 0);
        Ok(vec![
            ("a short gradient", adam(&good, 1, state, &short, None, 0)),
            (
                "a gradient of integers",
                adam(&good, 1, state, &integers, None, 0),
            ),
            (
                "a short moment",
                adam(&good, 1, State { m: &short, ..state }, &g, None, 0),
            ),
            (
                "one buffer for both moments",
                adam(&good, 1, State { m: &c, ..state }, &g, None, 0),
            ),
            (
                "a clip report of four",
                adam(&good, 1, state, &g, Some(&g), 0),
            ),
            ("step 0", adam(&good, 0, state, &g, None, 0)),
            ("a negative rate", with(Hyper { lr: -1.0, ..good })),
            (
                "a rate of NaN",
                with(Hyper {
                    lr: f64::NAN,
                    ..good
                }),
            ),
            ("beta1 of 1", with(Hyper { beta1: 1.0, ..good })),
            (
                "beta2 of NaN",
                with(Hyper {
                    beta2: f64::NAN,
                    ..good
                }),
            ),
            ("eps of 0", with(Hyper { eps: 0.0, ..good })),
            (
                "a negative decay",
                with(Hyper {
                    weight_decay: -0.1,
                    ..good
                }),
            ),
        ])
    }
}
