//! The promises of the operation.

use super::reference::Size;
use super::{Resampling, kernel, reference, resample, resample_grad, work};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};

/// The specification of [`resample`].
pub struct Resample;

fn size(case: &Case) -> Size {
    Size {
        images: case.get("n"),
        from: [case.get("h"), case.get("w")],
        to: [case.get("H"), case.get("W")],
        channels: case.get("c"),
    }
}

fn filters(rows: &Tensor, columns: &Tensor) -> Resampling {
    Resampling {
        rows: rows.clone(),
        columns: columns.clone(),
    }
}

fn of([n, h, w, tall, wide, c]: [usize; 6]) -> Case {
    case(&[
        ("n", n),
        ("h", h),
        ("w", w),
        ("H", tall),
        ("W", wide),
        ("c", c),
    ])
}

impl Operation for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }
    /// One pixel, smaller and larger sides, channels by one and by four, many workgroups.
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 1, 1, 1, 1],
            [2, 3, 5, 7, 4, 3],
            [3, 1, 1, 5, 5, 8],
            [2, 7, 6, 2, 3, 4],
            [5, 4, 3, 9, 8, 12],
        ]
        .map(of)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![of([32, 8, 8, 16, 16, 32])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let Size {
            images,
            from,
            to,
            channels,
        } = size(case);
        let mut normal = |shape: &[usize], holes: bool| {
            let of = |i: usize, x: f64| if holes && i % 3 == 1 { 0.0 } else { x as f32 };
            let all = (0..shape.iter().product())
                .map(|i| of(i, rng.normal()))
                .collect();
            HostTensor::f32(shape, all)
        };
        let x = normal(&[images, from[0], from[1], channels], false);
        // Filters have places that they do not read.
        let [rows, columns] = [0, 1].map(|i| normal(&[to[i], from[i]], true));
        vec![x, rows, columns]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![resample(&t[0], &filters(&t[1], &t[2]))?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let size = size(case);
        let y = reference::forward(&size, [0, 1, 2].map(|i| inputs[i].as_f64()));
        let shape = [size.images, size.to[0], size.to[1], size.channels];
        vec![HostTensor::f64(&shape, y)]
    }
    /// Sums of products of three standard normals: as of as many terms of two, three times as
    /// large.
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        let [h, w] = size(case).from;
        let sum = Tolerance::sum(h * w);
        Tolerance {
            abs: 3.0 * sum.abs,
            rel: 3.0 * sum.rel,
        }
    }
    fn work(&self, case: &Case) -> Work {
        let size = size(case);
        work(size.images * size.channels, size.from, size.to)
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let by = filters(&zeros(&[4, 2], DType::F32)?, &zeros(&[4, 2], DType::F32)?);
        let wrong = |shape: &[usize], dtype| resample(&zeros(shape, dtype)?, &by);
        Ok(vec![
            refused("integers", wrong(&[1, 2, 2, 1], DType::U32)),
            refused("another size", wrong(&[1, 3, 2, 1], DType::F32)),
            refused("rows alone", wrong(&[2, 2], DType::F32)),
            refused(
                "the gradient of another size",
                resample_grad(&zeros(&[1, 4, 2, 1], DType::F32)?, &by),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Resample {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.resample(&v[0], &filters(v[1].tensor(), v[2].tensor()))
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let parts = [upstream, &inputs[1], &inputs[2]].map(|t| t.as_f64());
        let dx = reference::backward(&size(case), parts);
        vec![HostTensor::f64(&inputs[0].shape, dx)]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        let [tall, wide] = size(case).to;
        let sum = Tolerance::sum(tall * wide);
        Tolerance {
            abs: 3.0 * sum.abs,
            rel: 3.0 * sum.rel,
        }
    }
}
