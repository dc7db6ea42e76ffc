//! The registry's row.

use super::{ConvTranspose, conv_transpose2d};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::ops::conv::conv2d::{in_f16_weights, kernels, reference, weight_type, weights, work};
use crate::ops::conv::geometry::Geometry;
use crate::ops::elementwise::cast::cast;
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, excerpt, refused,
};
use crate::{Error, Result};

/// The registry's row of [`conv_transpose2d`].
pub struct ConvTranspose2dSpec;

fn conv(case: &Case) -> ConvTranspose {
    ConvTranspose {
        stride: case.get("s"),
        pad: case.get("p"),
        output_pad: case.get("op"),
        relu: case.get("relu") == 1,
    }
}

/// Returns the geometry of the convolution that is transposed.
fn geometry(case: &Case) -> Geometry {
    let [n, h, w, i, o, kh, kw, stride, pad, op] =
        ["n", "h", "w", "i", "o", "kh", "kw", "s", "p", "op"].map(|k| case.get(k));
    let (oh, ow) = (
        (h - 1) * stride + kh + op - 2 * pad,
        (w - 1) * stride + kw + op - 2 * pad,
    );
    Geometry {
        n,
        h: oh,
        w: ow,
        i: o,
        oh: h,
        ow: w,
        o: i,
        kh,
        kw,
        stride,
        pad,
    }
}

fn sized(v: [usize; 11]) -> Case {
    let names = ["n", "h", "w", "i", "o", "kh", "kw", "s", "p", "op", "relu"];
    case(&names.into_iter().zip(v).collect::<Vec<_>>())
}

impl Operation for ConvTranspose2dSpec {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }
    fn cases(&self) -> Vec<Case> {
        let cases = [
            [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
            [2, 4, 5, 3, 5, 3, 3, 1, 1, 0, 1],
            [3, 8, 8, 8, 4, 4, 4, 2, 1, 0, 1],
            [1, 3, 5, 5, 37, 2, 3, 3, 0, 2, 0],
            [2, 7, 7, 64, 1, 4, 4, 2, 1, 0, 1],
            [2, 3, 4, 36, 12, 1, 2, 2, 0, 1, 0],
            [5, 8, 8, 32, 3, 4, 4, 2, 1, 0, 1],
            [6, 14, 23, 72, 60, 2, 3, 1, 1, 0, 1],
        ]
        .map(sized);
        let halves: Vec<Case> = cases[1..].iter().filter_map(|c| self.in_f16(c)).collect();
        let weights = in_f16_weights(&[&cases[2..4], &cases[7..], &halves[1..]].concat());
        cases.into_iter().chain(halves).chain(weights).collect()
    }
    fn bench(&self) -> Vec<Case> {
        [
            [32, 8, 8, 128, 64, 4, 4, 2, 1, 0, 1],
            [32, 16, 16, 64, 3, 4, 4, 2, 1, 0, 1],
        ]
        .map(sized)
        .to_vec()
    }
    fn halves(&self) -> &'static [usize] {
        &[0]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let g = geometry(case);
        vec![
            rng.normals(&g.y_shape()),
            weights(case, rng, &g.w_shape()),
            rng.normals(&[g.i]),
        ]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let w = cast(&t[1], weight_type(case))?;
        Ok(vec![
            conv_transpose2d(&t[0], &w, Some(&t[2]), conv(case))?,
            conv_transpose2d(&t[0], &w, None, conv(case))?,
        ])
    }
    fn time(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<()> {
        conv_transpose2d(&t[0], &t[1], None, conv(case)).map(drop)
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
        part[0] = excerpt::rows(&inputs[0], &chosen);
        Some((
            case.with("n", chosen.len()),
            part,
            got.iter().map(|y| excerpt::rows(y, &chosen)).collect(),
        ))
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        let fits = |size: &str, kernel: &str| {
            (c.get(size) - 1) * c.get("s") + c.get(kernel) + c.get("op") > 2 * c.get("p")
        };
        if c.get("op") >= c.get("s") || !fits("h", "kh") || !fits("w", "kw") {
            return Err(Error::data(format!(
                "case `{c}`: no output is left, or op is not below s"
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
        let y = reference::grad_input(&x, inputs[1].as_f64(), &g);
        let biased = y
            .iter()
            .enumerate()
            .map(|(i, y)| y + inputs[2].as_f64()[i % g.i])
            .collect();
        vec![
            HostTensor::f64(&g.x_shape(), biased),
            HostTensor::f64(&g.x_shape(), y),
        ]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        let g = geometry(case);
        Tolerance::sum(g.kh * g.kw * g.o)
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
        let w = Tensor::zeros(gpu, &[3, 3, 3, 2], DType::F32)?;
        let other = Tensor::zeros(gpu, &[2, 3, 3, 4], DType::F32)?;
        let plain = ConvTranspose {
            stride: 2,
            pad: 0,
            output_pad: 0,
            relu: false,
        };
        Ok(vec![
            refused(
                "a stride of 0",
                conv_transpose2d(&x, &w, None, ConvTranspose { stride: 0, ..plain }),
            ),
            refused(
                "output_pad at the stride",
                conv_transpose2d(
                    &x,
                    &w,
                    None,
                    ConvTranspose {
                        output_pad: 2,
                        ..plain
                    },
                ),
            ),
            refused(
                "padding beyond the output",
                conv_transpose2d(&x, &w, None, ConvTranspose { pad: 9, ..plain }),
            ),
            refused("other channels", conv_transpose2d(&x, &other, None, plain)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for ConvTranspose2dSpec {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1, 2]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        let w = tape.cast(&v[1], weight_type(case))?;
        tape.conv_transpose2d(&v[0], &w, Some(&v[2]), conv(case))
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let g = geometry(case);
        let (x, dy, relu) = (inputs[0].as_f64(), upstream.as_f64(), conv(case).relu);
        let dx = reference::forward(dy, inputs[1].as_f64(), &g);
        let dx = if relu { reference::mask(dx, x) } else { dx };
        let x = if relu { reference::relu(x) } else { x.to_vec() };
        let dw = reference::grad_weight(dy, &x, &g);
        vec![
            HostTensor::f64(&g.y_shape(), dx),
            HostTensor::f64(&g.w_shape(), dw),
            HostTensor::f64(&[g.i], reference::channel_sum(dy, g.i)),
        ]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        let g = geometry(case);
        Tolerance::sum([g.kh * g.kw * g.i, g.n * g.oh * g.ow, g.n * g.h * g.w][input])
    }
}
