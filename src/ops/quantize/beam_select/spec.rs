//! The promises of the operation.

use super::{beam_select, kernel, reference, work};
use crate::Result;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, cases, refused};

/// The specification of [`beam_select`].
pub struct BeamSelect;

impl Operation for BeamSelect {
    fn name(&self) -> &'static str {
        "beam_select"
    }
    /// One candidate, all of them, fewer and more codes than a workgroup has invocations.
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "k", "beams", "kept"],
            &[
                [1, 1, 1, 1],
                [3, 3, 2, 6],
                [37, 65, 1, 5],
                [67, 130, 4, 4],
                [5, 256, 16, 16],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        cases(["n", "k", "beams", "kept"], &[[1_024, 256, 4, 4]])
    }
    /// Eighths of small numbers, whose sums are exact: equal scores are met, and the first of them
    /// has to be taken. The last product is NaN where there are several.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [n, k, beams] = ["n", "k", "beams"].map(|name| case.get(name));
        let mut eighths = |n: usize| -> Vec<f32> {
            let drawn = rng.indices(&[n], 129);
            let eighth = |i: &u32| (*i as f32 - 64.0) / 8.0;
            drawn.as_u32().iter().map(eighth).collect()
        };
        let mut products = eighths(n * beams * k);
        if products.len() > 20 {
            products[7] = f32::NAN;
        }
        vec![
            HostTensor::f32(&[n * beams, k], products),
            HostTensor::f32(&[k], eighths(k)),
            HostTensor::f32(&[n * beams], eighths(n * beams)),
        ]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let found = beam_select(&t[0], &t[1], &t[2], case.get("beams"), case.get("kept"))?;
        Ok(vec![found.parents, found.codes])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [products, norms, bases] = [0, 1, 2].map(|i| inputs[i].as_f64());
        let (beams, kept) = (case.get("beams"), case.get("kept"));
        let (parents, codes) = reference::beam_select(products, norms, bases, beams, kept);
        let shape = [case.get("n") * kept];
        vec![
            HostTensor::u32(&shape, parents),
            HostTensor::u32(&shape, codes),
        ]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        let [n, k, beams, kept] = ["n", "k", "beams", "kept"].map(|name| case.get(name));
        work(n, k, beams, kept)
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let products = Tensor::zeros(gpu, &[4, 3], DType::F32)?;
        let [norms, bases] = [3, 4].map(|n| Tensor::zeros(gpu, &[n], DType::F32));
        let (norms, bases) = (norms?, bases?);
        let select = |norms, beams, kept| beam_select(&products, norms, &bases, beams, kept);
        Ok(vec![
            refused("norms of other codes", select(&bases, 2, 2)),
            refused("rows that are no whole groups", select(&norms, 3, 2)),
            refused("no beam", select(&norms, 0, 1)),
            refused("more than there are", select(&norms, 2, 7)),
            refused("none kept", select(&norms, 2, 0)),
        ])
    }
}
