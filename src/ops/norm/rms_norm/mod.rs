//! Normalisation by the root of the mean square (Zhang and Sennrich 2019) over the last dimension.

mod reference;

use super::group_norm;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, ROW_GROUPS, Tensor, Work, groups_for, row_group};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    units: u32,
    d: u32,
    eps: f32,
}

fn forward_kernel(vec: bool, group: u32) -> Kernel {
    Kernel::new(shader!("norm/rms_norm"))
        .define("GROUP", group)
        .flag("VEC", vec)
}
fn backward_kernel(vec: bool, group: u32) -> Kernel {
    Kernel::new(shader!("norm/rms_norm_grad"))
        .define("GROUP", group)
        .flag("VEC", vec)
}
fn work(n: usize, d: usize, tensors: usize) -> Work {
    Work {
        flops: 4.0 * (n * d) as f64,
        bytes: 4.0 * (tensors * n * d) as f64,
    }
}

/// x [.., D] as (rows, D), if w and eps suit it.
fn check(x: &Tensor, w: &Tensor, eps: f32) -> Result<[usize; 2]> {
    let floats = x.dtype() == DType::F32 && w.dtype() == DType::F32;
    let [rows, d] = match x.shape().split_last() {
        Some((d, rest)) if w.shape() == [*d] && *d > 0 && floats => [rest.iter().product(), *d],
        _ => {
            return Err(Error::shape(
                "rms_norm",
                "f32 [.., D] and a weight [D]",
                format!("{x:?} and {w:?}"),
            ));
        }
    };
    if !(eps > 0.0 && eps.is_finite()) {
        return Err(Error::invalid(
            "rms_norm",
            format!("eps {eps} is not above 0"),
        ));
    }
    Ok([rows, d])
}

fn params([rows, d]: [usize; 2], eps: f32) -> (bool, Params) {
    let vec = d.is_multiple_of(4);
    let units = if vec { d / 4 } else { d };
    (
        vec,
        Params {
            rows: rows as u32,
            units: units as u32,
            d: d as u32,
            eps,
        },
    )
}

/// Computes the normalised rows, and (0, inverse root of the mean square) of each: [N, 2].
fn forward(x: &Tensor, w: &Tensor, eps: f32) -> Result<(Tensor, Tensor)> {
    let [rows, d] = check(x, w, eps)?;
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let stats = Tensor::empty(x.gpu(), &[rows, 2], DType::F32)?;
    let (vec, params) = params([rows, d], eps);
    let bindings = [x, w, &y, &stats];
    let kernel = forward_kernel(vec, row_group(x.gpu(), d > 4096, 2 * d));
    x.gpu().dispatch(
        "rms_norm",
        &kernel,
        &bindings,
        &params,
        groups_for(rows, 1),
        work(rows, d, 3),
    )?;
    let sizes = [("n", rows), ("d", d)];
    x.gpu().note_call("rms_norm", &y, sizes);
    Ok((y, stats))
}

fn grad_input(x: &Tensor, w: &Tensor, dy: &Tensor, stats: &Tensor, eps: f32) -> Result<Tensor> {
    let [rows, d] = check(x, w, eps)?;
    let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let (vec, params) = params([rows, d], eps);
    let bindings = [x, w, dy, stats, &dx];
    let kernel = backward_kernel(vec, row_group(x.gpu(), d > 4096, 2 * d));
    x.gpu().dispatch(
        "rms_norm",
        &kernel,
        &bindings,
        &params,
        groups_for(rows, 1),
        work(rows, d, 5),
    )?;
    Ok(dx)
}

/// The column sum of dy r x is that of layer normalisation, with a mean of 0.
fn grad_weight(x: &Tensor, dy: &Tensor, stats: &Tensor, place: Option<&Tensor>) -> Result<Tensor> {
    let [rows, _] = stats.dims("rms_norm")?;
    let d = x.len() / rows.max(1);
    group_norm::weight_gradient("rms_norm", [x, dy, stats], d, work(rows, d, 2), place)
}

/// Computes `w x / sqrt(mean(x^2) + eps)`, the mean over the last dimension: x [.., D], weight
/// `[D]`.
///
/// # Errors
/// If the shapes do not fit, or eps is not above 0.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    Ok(forward(x, weight, eps)?.0)
}

impl Tape {
    /// See [`rms_norm`].
    ///
    /// # Errors
    /// As [`rms_norm`].
    pub fn rms_norm(&self, x: &Var, weight: &Var, eps: f32) -> Result<Var> {
        let (y, stats) = forward(x.tensor(), weight.tensor(), eps)?;
        let (sx, sw) = (x.tensor().clone(), weight.tensor().clone());
        Ok(self.record_placed(y, &[x, weight], move |dy, needs| {
            let dx = needs[0]
                .then(|| grad_input(&sx, &sw, dy, &stats, eps))
                .transpose()?;
            let empty = || Tensor::zeros(dy.gpu(), sw.shape(), DType::F32);
            let weight = || {
                if sx.is_empty() {
                    empty()
                } else {
                    grad_weight(&sx, dy, &stats, needs.place(1))
                }
            };
            Ok(vec![dx, needs[1].then(weight).transpose()?])
        }))
    }
}

/// The registry's row.
pub struct RmsNorm;

const EPS: f32 = 1e-5;

impl Operation for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "d"],
            &[[1, 1], [7, 5], [65, 64], [33, 257], [131, 260], [1_031, 20]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 8_192), ("d", 256)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, d) = (case.get("n"), case.get("d"));
        vec![rng.normals(&[n, d]), rng.normals(&[d])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![rms_norm(&t[0], &t[1], EPS)?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y = reference::forward(inputs[0].as_f64(), inputs[1].as_f64(), EPS as f64);
        vec![HostTensor::f64(&inputs[0].shape, y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        // An inverse root may err by 2 units in the last place, or a few more on some drivers.
        Tolerance {
            abs: 1e-6,
            rel: 4e-6,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), case.get("d"), 3)
    }
    fn kernels(&self) -> Vec<Kernel> {
        let variants = ROW_GROUPS
            .into_iter()
            .flat_map(|group| [(false, group), (true, group)]);
        let both = variants
            .flat_map(|(vec, group)| [forward_kernel(vec, group), backward_kernel(vec, group)]);
        both.chain(group_norm::weight_kernels()).collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (x, w) = (
            Tensor::zeros(gpu, &[3, 6], DType::F32)?,
            Tensor::zeros(gpu, &[6], DType::F32)?,
        );
        let (short, scalar) = (
            Tensor::zeros(gpu, &[5], DType::F32)?,
            Tensor::zeros(gpu, &[], DType::F32)?,
        );
        let integers = Tensor::zeros(gpu, &[3, 6], DType::U32)?;
        Ok(vec![
            refused("a weight of another size", rms_norm(&x, &short, EPS)),
            refused("a tensor without dimensions", rms_norm(&scalar, &w, EPS)),
            refused("integers", rms_norm(&integers, &w, EPS)),
            refused("an eps of 0", rms_norm(&x, &w, 0.0)),
            refused("an eps of NaN", rms_norm(&x, &w, f32::NAN)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for RmsNorm {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.rms_norm(&v[0], &v[1], EPS)
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        let (dx, dw) = reference::gradients(
            inputs[0].as_f64(),
            inputs[1].as_f64(),
            upstream.as_f64(),
            EPS as f64,
        );
        vec![
            HostTensor::f64(&inputs[0].shape, dx),
            HostTensor::f64(&inputs[1].shape, dw),
        ]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        // A row of one value may lie close to 0: r is large, and dx a small difference of large
        // numbers.
        if input == 0 {
            Tolerance {
                abs: 2e-5,
                rel: 2e-5,
            }
        } else {
            Tolerance::sum(4 * case.get("n"))
        }
    }
}
