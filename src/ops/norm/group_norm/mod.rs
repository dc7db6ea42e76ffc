//! Group normalisation (Wu and He 2018) over NHWC images.
//!
//! With one group and one position it is layer normalisation: see [`super::layer_norm`].

pub(crate) mod reference;
pub(crate) mod wide;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, ROW_GROUPS, Tensor, Work, groups_for, row_group};
use crate::ops::linalg::column_sum::column_sum_to;
use crate::ops::linalg::split_sum::split_sum_to;
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};
use wide::Stored;

/// x seen as [n, s, c]: images, positions, channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layout {
    pub n: usize,
    pub s: usize,
    pub c: usize,
    pub g: usize,
    pub eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    units: u32,
    c: u32,
    rows: u32,
    eps: f32,
}

fn forward_kernel(vec: bool, group: u32) -> Kernel {
    Kernel::new(shader!("norm/layer_norm"))
        .define("GROUP", group)
        .flag("VEC", vec)
}
fn backward_kernel(vec: bool, group: u32) -> Kernel {
    Kernel::new(shader!("norm/layer_norm_grad"))
        .define("GROUP", group)
        .flag("VEC", vec)
}
fn weight_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("norm/layer_norm_grad_weight")).flag("VEC", vec)
}
pub(crate) fn weight_kernels() -> [Kernel; 2] {
    [false, true].map(weight_kernel)
}

pub(crate) fn kernels() -> Vec<Kernel> {
    let rows = ROW_GROUPS.into_iter().flat_map(|group| {
        [false, true].map(|vec| [forward_kernel(vec, group), backward_kernel(vec, group)])
    });
    rows.flatten()
        .chain(weight_kernels())
        .chain(wide::kernels(&[None]))
        .collect()
}

/// Invocations, slices and rows of a slice at least: what the gradient of a weight is spread over
/// on a processor.
const SLICES: [usize; 3] = [4096, 64, 16];

/// Computes the gradient of the weight of rows that were normalised by stats, (mean, inverse
/// deviation) of each: `[C]`. The order of the sum depends on the shape and the device's class. It
/// goes to the place that waits for it, where there is one.
pub(crate) fn weight_gradient(
    op: &'static str,
    [x, dy, stats]: [&Tensor; 3],
    c: usize,
    work: Work,
    place: Option<&Tensor>,
) -> Result<Tensor> {
    let [rows, _] = stats.dims(op)?;
    let class = x.gpu().class();
    let vec = class.is_gpu() && c.is_multiple_of(4);
    let units = if vec { c / 4 } else { c };
    let [few, most, least] = SLICES;
    let most = if class.is_gpu() { 1024 } else { most };
    let slices = (class.invocations(few) / units.max(1))
        .clamp(1, most)
        .min(rows.div_ceil(least).max(1));
    let parts = Tensor::empty(x.gpu(), &[slices, c], DType::F32)?;
    let params = [units, rows, rows.div_ceil(slices), slices].map(|v| v as u32);
    x.gpu().dispatch(
        op,
        &weight_kernel(vec),
        &[x, dy, stats, &parts],
        &params,
        groups_for(units * slices, 64),
        work,
    )?;
    split_sum_to(&parts, &[c], place)
}

pub(crate) fn work(l: &Layout) -> Work {
    let values = (l.n * l.s * l.c) as f64;
    Work {
        flops: 8.0 * values,
        bytes: 16.0 * values,
    }
}

impl Layout {
    pub fn check(&self, op: &'static str, x: &Tensor, w: &Tensor, b: &Tensor) -> Result<()> {
        if self.s == 0 {
            let what = format!("{x:?} has nothing to take a mean of");
            return Err(Error::invalid(op, what));
        }
        if self.g == 0 || self.c == 0 || !self.c.is_multiple_of(self.g) {
            return Err(Error::invalid(
                op,
                format!(
                    "{} groups of {} channels: groups divide the channels",
                    self.g, self.c
                ),
            ));
        }
        if w.shape() != [self.c]
            || b.shape() != [self.c]
            || [x, w, b].iter().any(|t| t.dtype() != DType::F32)
        {
            return Err(Error::shape(
                op,
                format!("f32 with weight and bias [{}]", self.c),
                format!("{x:?}, {w:?}, {b:?}"),
            ));
        }
        if !(self.eps > 0.0 && self.eps.is_finite()) {
            return Err(Error::invalid(
                op,
                format!("eps {} is not above 0", self.eps),
            ));
        }
        Ok(())
    }

    /// Whether it is a layer norm: one group over one position's channels.
    fn is_line(&self) -> bool {
        self.s == 1 && self.g == 1
    }

    /// Returns how many invocations share a line of channels.
    fn group(&self, x: &Tensor) -> u32 {
        row_group(x.gpu(), self.c > 4096, 3 * self.c)
    }

    /// Is a line read as vec4? On a GPU, where there is one for each of 64 invocations.
    fn vec(&self, x: &Tensor) -> bool {
        x.gpu().class().is_gpu() && self.c >= 256 && self.c.is_multiple_of(4)
    }

    /// Computes the normalised tensor, and (mean, inverse deviation) of each group: [N G, 2].
    pub fn forward(
        &self,
        op: &'static str,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        if !self.is_line() {
            return self.forward_wide(op, [x, w, b], Stored::default());
        }
        self.check(op, x, w, b)?;
        let rows = self.n;
        let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
        let stats = Tensor::empty(x.gpu(), &[rows, 2], DType::F32)?;
        let vec = self.vec(x);
        let params = Params {
            units: if vec { self.c / 4 } else { self.c } as u32,
            c: self.c as u32,
            rows: rows as u32,
            eps: self.eps,
        };
        let kernel = forward_kernel(vec, self.group(x));
        x.gpu().dispatch(
            op,
            &kernel,
            &[x, w, b, &y, &stats],
            &params,
            groups_for(rows, 1),
            work(self),
        )?;
        if op == "layer_norm" {
            x.gpu().note_call(op, &y, [("n", rows), ("c", self.c)]);
        }
        Ok((y, stats))
    }

    fn grad_input(
        &self,
        op: &'static str,
        x: &Tensor,
        w: &Tensor,
        dy: &Tensor,
        stats: &Tensor,
    ) -> Result<Tensor> {
        let rows = self.n;
        let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
        let vec = self.vec(x);
        let units = if vec { self.c / 4 } else { self.c };
        let params = [units, self.c, rows].map(|v| v as u32);
        let kernel = backward_kernel(vec, self.group(x));
        x.gpu().dispatch(
            op,
            &kernel,
            &[x, w, dy, stats, &dx],
            &params,
            groups_for(rows, 1),
            work(self),
        )?;
        Ok(dx)
    }

    /// Records the operation on the tape: x, weight, bias.
    pub fn record(self, op: &'static str, tape: &Tape, x: &Var, w: &Var, b: &Var) -> Result<Var> {
        if !self.is_line() {
            let stored = Stored::default();
            return Ok(self.record_with_moments(op, tape, [x, w, b], stored)?.0);
        }
        let (y, stats) = self.forward(op, x.tensor(), w.tensor(), b.tensor())?;
        let (sx, sw) = (x.tensor().clone(), w.tensor().clone());
        Ok(tape.record_placed(y, &[x, w, b], move |dy, needs| {
            let rows = || dy.reshape(&[self.n * self.s, self.c]);
            let dx = needs[0]
                .then(|| self.grad_input(op, &sx, &sw, dy, &stats))
                .transpose()?;
            let dw = needs[1]
                .then(|| {
                    let place = needs.place(1);
                    weight_gradient(op, [&sx, dy, &stats], self.c, work(&self), place)
                })
                .transpose()?;
            let db = needs[2]
                .then(|| column_sum_to(&rows()?, needs.place(2)))
                .transpose()?;
            Ok(vec![dx, dw, db])
        }))
    }

    /// Normalises over many positions, x by weight and bias, and also returns (mean, inverse
    /// deviation) of each group: [N G, 2].
    pub fn record_with_moments(
        self,
        op: &'static str,
        tape: &Tape,
        inputs: [&Var; 3],
        stored: Stored,
    ) -> Result<(Var, Tensor)> {
        let (y, stats) = self.forward_wide(op, inputs.map(Var::tensor), stored)?;
        let ([x, w, b], found) = (inputs.map(|v| v.tensor().clone()), stats.clone());
        let y = tape.record_placed(y, &inputs, move |dy, needs| {
            let kept = [&x, &w, &b, dy, &found];
            self.backward_wide(op, kept, stored.activation, needs)
        });
        Ok((y, stats))
    }
}

pub(crate) fn layout(op: &'static str, x: &Tensor, groups: usize, eps: f32) -> Result<Layout> {
    let [n, h, w, c] = x.dims(op)?;
    Ok(Layout {
        n,
        s: h * w,
        c,
        g: groups,
        eps,
    })
}

/// Computes `w (x - mean) / sqrt(var + eps) + b`, mean and variance over each image's positions and
/// each group's channels: x [N, H, W, C], weight and bias `[C]`.
///
/// # Errors
/// If the groups do not divide the channels, or the shapes do not fit.
pub fn group_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f32,
) -> Result<Tensor> {
    Ok(layout("group_norm", x, groups, eps)?
        .forward("group_norm", x, weight, bias)?
        .0)
}

impl Tape {
    /// Group normalisation, see [`group_norm`].
    pub fn group_norm(
        &self,
        x: &Var,
        weight: &Var,
        bias: &Var,
        groups: usize,
        eps: f32,
    ) -> Result<Var> {
        let l = layout("group_norm", x.tensor(), groups, eps)?;
        l.record("group_norm", self, x, weight, bias)
    }
}

/// The registry's row.
pub struct GroupNorm;

const EPS: f32 = 1e-5;

fn of(case: &Case) -> Layout {
    Layout {
        n: case.get("n"),
        s: case.get("h") * case.get("w"),
        c: case.get("c"),
        g: case.get("g"),
        eps: EPS,
    }
}

impl Operation for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "h", "w", "c", "g"],
            &[
                [1, 1, 2, 1, 1],
                [2, 3, 5, 6, 3],
                [3, 7, 7, 33, 11],
                [2, 8, 8, 64, 32],
                [5, 4, 3, 20, 1],
                [3, 1, 1, 12, 4],
                [1, 37, 61, 8, 8],
                [2, 19, 23, 48, 4],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[
            ("n", 16),
            ("h", 32),
            ("w", 32),
            ("c", 128),
            ("g", 32),
        ])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [n, h, w, c] = ["n", "h", "w", "c"].map(|k| case.get(k));
        vec![
            rng.normals(&[n, h, w, c]),
            rng.normals(&[c]),
            rng.normals(&[c]),
        ]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![group_norm(&t[0], &t[1], &t[2], case.get("g"), EPS)?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y = reference::forward(
            inputs[0].as_f64(),
            inputs[1].as_f64(),
            inputs[2].as_f64(),
            &of(case),
        );
        vec![HostTensor::f64(&inputs[0].shape, y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        // A group of few nearly equal values is divided by a small deviation: its roundings are
        // too.
        Tolerance {
            abs: 2e-5,
            rel: 2e-5,
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(&of(case))
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let x = Tensor::zeros(gpu, &[1, 2, 2, 6], DType::F32)?;
        let (w, short) = (
            Tensor::zeros(gpu, &[6], DType::F32)?,
            Tensor::zeros(gpu, &[5], DType::F32)?,
        );
        Ok(vec![
            refused("groups that do not divide", group_norm(&x, &w, &w, 4, EPS)),
            refused("no group", group_norm(&x, &w, &w, 0, EPS)),
            refused(
                "a weight of another size",
                group_norm(&x, &short, &w, 2, EPS),
            ),
            refused("an eps of 0", group_norm(&x, &w, &w, 2, 0.0)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for GroupNorm {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1, 2]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        tape.group_norm(&v[0], &v[1], &v[2], case.get("g"), EPS)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (dx, dw, db) = reference::gradients(
            inputs[0].as_f64(),
            inputs[1].as_f64(),
            upstream.as_f64(),
            &of(case),
        );
        vec![
            HostTensor::f64(&inputs[0].shape, dx),
            HostTensor::f64(&inputs[1].shape, dw),
            HostTensor::f64(&inputs[1].shape, db),
        ]
    }
    fn tolerance(&self, case: &Case, input: usize) -> Tolerance {
        if input == 0 {
            Tolerance {
                abs: 5e-5,
                rel: 5e-5,
            }
        } else {
            Tolerance::sum(16 * of(case).n * of(case).s)
        }
    }
}
