//! The registry's row.

use super::kernels::work;
use super::{conv2d, kernels, reference};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::conv::Conv;
use crate::ops::conv::geometry::Geometry;
use crate::ops::elementwise::cast::cast;
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, excerpt, refused,
};
use crate::{Error, Result};

/// The registry's row of [`conv2d`].
pub struct Conv2dSpec;

pub(crate) fn conv(case: &Case) -> Conv {
    Conv {
        stride: case.get("s"),
        pad: case.get("p"),
        relu: case.get("relu") == 1,
        after: 0,
    }
}

fn geometry(case: &Case) -> Geometry {
    let [n, h, w, i, o, kh, kw, stride, pad] =
        ["n", "h", "w", "i", "o", "kh", "kw", "s", "p"].map(|k| case.get(k));
    let (oh, ow) = (
        (h + 2 * pad - kh) / stride + 1,
        (w + 2 * pad - kw) / stride + 1,
    );
    Geometry {
        n,
        h,
        w,
        i,
        oh,
        ow,
        o,
        kh,
        kw,
        stride,
        pad,
    }
}

fn sized(v: [usize; 10]) -> Case {
    let names = ["n", "h", "w", "i", "o", "kh", "kw", "s", "p", "relu"];
    case(&names.into_iter().zip(v).collect::<Vec<_>>())
}

/// The cases of these with weights in f16: the size `weights=1`.
pub(crate) fn in_f16_weights(cases: &[Case]) -> Vec<Case> {
    cases.iter().map(|c| c.clone().and("weights", 1)).collect()
}

/// Random weights that a case's type holds.
pub(crate) fn weights(case: &Case, rng: &mut Rng, shape: &[usize]) -> HostTensor {
    if case.get("weights") == 0 {
        return rng.normals(shape);
    }
    let one = |_| half::f16::from_f64(rng.normal()).to_f32();
    HostTensor::f32(
        shape,
        (0..shape.iter().product::<usize>()).map(one).collect(),
    )
}

/// The type of a case's weights.
pub(crate) fn weight_type(case: &Case) -> DType {
    match case.get("weights") {
        1 => DType::F16,
        _ => DType::F32,
    }
}

impl Operation for Conv2dSpec {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn cases(&self) -> Vec<Case> {
        let cases = [
            [1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
            [2, 7, 5, 3, 5, 3, 3, 1, 1, 0],
            [3, 8, 8, 4, 8, 4, 4, 2, 1, 1],
            [1, 9, 11, 8, 33, 3, 2, 2, 1, 1],
            [2, 6, 7, 12, 40, 1, 1, 1, 0, 1],
            [1, 5, 5, 5, 36, 5, 3, 3, 2, 0],
            [1, 13, 4, 7, 2, 2, 2, 3, 0, 1],
            [5, 16, 16, 3, 64, 4, 4, 2, 1, 0],
            [3, 8, 8, 32, 64, 3, 3, 1, 1, 1],
            // Large enough for the lanes to own runs of pixels.
            [6, 13, 23, 60, 72, 2, 3, 1, 1, 1],
        ]
        .map(sized);
        let halves: Vec<Case> = cases[1..].iter().filter_map(|c| self.in_f16(c)).collect();
        let weights = in_f16_weights(&[&cases[1..4], &cases[8..], &halves[1..]].concat());
        cases.into_iter().chain(halves).chain(weights).collect()
    }
    fn bench(&self) -> Vec<Case> {
        [
            [16, 32, 32, 64, 64, 3, 3, 1, 1, 0],
            [32, 8, 8, 128, 128, 3, 3, 1, 1, 0],
            [32, 16, 16, 64, 128, 4, 4, 2, 1, 1],
        ]
        .map(sized)
        .to_vec()
    }
    fn halves(&self) -> &'static [usize] {
        &[0, 3]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let g = geometry(case);
        vec![
            rng.normals(&g.x_shape()),
            weights(case, rng, &g.w_shape()),
            rng.normals(&[g.o]),
            rng.normals(&g.y_shape()),
        ]
    }
    fn timed_outputs(&self) -> &'static [usize] {
        &[1]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let (c, w) = (conv(case), cast(&t[1], weight_type(case))?);
        Ok(vec![
            conv2d(&t[0], &w, Some(&t[2]), Some(&t[3]), c)?,
            conv2d(&t[0], &w, None, None, c)?,
        ])
    }
    fn time(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<()> {
        conv2d(&t[0], &t[1], None, None, conv(case)).map(drop)
    }
    /// Some of the images.
    fn excerpt(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        got: &[HostTensor],
        flops: f64,
    ) -> Option<(Case, Vec<HostTensor>, Vec<HostTensor>)> {
        let n = case.get("n");
        let chosen = excerpt::spread(n, excerpt::affordable(n, self.work(case).flops, flops));
        let mut part = inputs.to_vec();
        for image in [0, 3] {
            part[image] = excerpt::rows(&inputs[image], &chosen);
        }
        Some((
            case.with("n", chosen.len()),
            part,
            got.iter().map(|y| excerpt::rows(y, &chosen)).collect(),
        ))
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        let fits = |size: &str, kernel: &str| c.get(size) + 2 * c.get("p") >= c.get(kernel);
        if !fits("h", "kh") || !fits("w", "kw") {
            return Err(Error::data(format!(
                "case `{c}`: the kernel is larger than the padded input"
            )));
        }
        Ok(())
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let g = geometry(case);
        let x = inputs[0].as_f64();
        let x = if conv(case).relu {
            reference::relu(x)
        } else {
            x.to_vec()
        };
        let y = reference::forward(&x, inputs[1].as_f64(), &g);
        let fused = y
            .iter()
            .enumerate()
            .map(|(i, y)| y + inputs[2].as_f64()[i % g.o] + inputs[3].as_f64()[i])
            .collect();
        vec![
            HostTensor::f64(&g.y_shape(), fused),
            HostTensor::f64(&g.y_shape(), y),
        ]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        let g = geometry(case);
        Tolerance::sum(g.kh * g.kw * g.i)
    }
    fn work(&self, case: &Case) -> Work {
        let (g, work) = (geometry(case), work(&geometry(case)));
        let activations = g.n * (g.h * g.w * g.i + g.oh * g.ow * g.o);
        Work {
            bytes: work.bytes - (2 * case.get("half") * activations) as f64,
            ..work
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let x = Tensor::zeros(gpu, &[1, 4, 4, 3], DType::F32)?;
        let w = Tensor::zeros(gpu, &[2, 3, 3, 3], DType::F32)?;
        let other = Tensor::zeros(gpu, &[2, 3, 3, 4], DType::F32)?;
        let large = Tensor::zeros(gpu, &[2, 5, 5, 3], DType::F32)?;
        let plain = Conv {
            stride: 1,
            pad: 0,
            relu: false,
            after: 0,
        };
        Ok(vec![
            refused(
                "a stride of 0",
                conv2d(&x, &w, None, None, Conv { stride: 0, ..plain }),
            ),
            refused("other channels", conv2d(&x, &other, None, None, plain)),
            refused(
                "a kernel larger than the input",
                conv2d(&x, &large, None, None, plain),
            ),
            refused(
                "a bias of another size",
                conv2d(&x, &w, Some(&x), None, plain),
            ),
            refused(
                "a residual of another shape",
                conv2d(&x, &w, None, Some(&x), plain),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Conv2dSpec {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1, 2, 3]
    }
    fn timed_wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        let w = tape.cast(&v[1], weight_type(case))?;
        tape.conv2d(&v[0], &w, Some(&v[2]), Some(&v[3]), conv(case))
    }
    fn time(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        tape.conv2d(&v[0], &v[1], None, None, conv(case))
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let g = geometry(case);
        let (x, dy, relu) = (inputs[0].as_f64(), upstream.as_f64(), conv(case).relu);
        let dx = reference::grad_input(dy, inputs[1].as_f64(), &g);
        let dx = if relu { reference::mask(dx, x) } else { dx };
        let x = if relu { reference::relu(x) } else { x.to_vec() };
        let dw = reference::grad_weight(&x, dy, &g);
        let db = reference::channel_sum(dy, g.o);
        vec![
            HostTensor::f64(&g.x_shape(), dx),
            HostTensor::f64(&g.w_shape(), dw),
            HostTensor::f64(&[g.o], db),
            upstream.clone(),
        ]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        let g = geometry(case);
        let pixels = g.n * g.oh * g.ow;
        Tolerance::sum([g.kh * g.kw * g.o, pixels, pixels, 1][input])
    }
}
