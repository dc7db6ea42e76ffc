//! A kernel of your own on the tape: snake, x + sin(a x)^2 / a with a frequency a for each channel
//! (Ziyin et al. 2020, "Neural networks fail to learn periodic functions and how to fix it"), with
//! its backward pass, checked, and trained until it has found a frequency.
//!
//!     cargo run --release --example custom_kernel

use wgvq::autograd::{Tape, Var};
use wgvq::gpu::{DType, Gpu, Kernel, Source, Tensor, Work, groups_for};
use wgvq::nn::{Adam, ForwardContext, Init, Parameters};
use wgvq::ops::linalg::column_sum::column_sum;
use wgvq::ops::loss::loss::Loss;
use wgvq::ops::optim::adam::Hyper;
use wgvq::spec::{HostTensor, Rng};
use wgvq::verify::{GradientCheck, gradient_check};
use wgvq::{Error, Result};

// The text is WGSL with the engine's imports. Bindings are in order, parameters are `var<immediate>
// p` (a uniform, on devices without), and every index is guarded by hand: kernels are compiled
// without naga's checks.
static FORWARD: Source = Source {
    name: "snake",
    text: "\
// y = x + sin(a x)^2 / a: x, y f32 [N, C], a f32 [C]. One invocation makes one element.
struct Params { n: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    let w = a[i % p.c];
    let s = sin(w * x[i]);
    y[i] = x[i] + s * s / w;
}
",
};

static BACKWARD: Source = Source {
    name: "snake_grad",
    text: "\
// dx = dy (1 + sin 2ax); part = dy (x sin(2ax) / a - sin(ax)^2 / a^2), whose sum over rows is da.
struct Params { n: u32, c: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(0) @binding(4) var<storage, read_write> part: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    let w = a[i % p.c];
    let s = sin(w * x[i]);
    let slope = sin(2.0 * w * x[i]);
    dx[i] = dy[i] * (1.0 + slope);
    part[i] = dy[i] * (x[i] * slope / w - s * s / (w * w));
}
",
};

/// Returns the cost of a dispatch, by which the engine decides how much one submission holds.
fn work(n: usize, tensors: usize) -> Work {
    Work {
        flops: 20.0 * n as f64,
        bytes: 4.0 * (tensors * n) as f64,
    }
}

/// `x + sin(a x)^2 / a`: x [N, C], a [C].
fn snake(tape: &Tape, x: &Var, a: &Var) -> Result<Var> {
    let [n, c] = x.tensor().dims("snake")?;
    if a.shape() != [c] {
        return Err(Error::shape(
            "snake",
            format!("a frequency for each of {c} channels"),
            format!("{:?}", a.shape()),
        ));
    }
    let gpu = tape.gpu().clone();
    let (groups, params) = (groups_for(n * c, 64), [(n * c) as u32, c as u32]);
    let y = Tensor::empty(&gpu, x.shape(), DType::F32)?;
    gpu.dispatch(
        "snake",
        &Kernel::new(&FORWARD),
        &[x.tensor(), a.tensor(), &y],
        &params,
        groups,
        work(n * c, 2),
    )?;
    // What the backward pass needs is kept by the rule alone, and goes with it.
    let (kept_x, kept_a) = (x.tensor().clone(), a.tensor().clone());
    Ok(tape.record(y, &[x, a], move |dy, _| {
        let dx = Tensor::empty(&gpu, dy.shape(), DType::F32)?;
        let part = Tensor::empty(&gpu, dy.shape(), DType::F32)?;
        let bindings = [&kept_x, &kept_a, dy, &dx, &part];
        gpu.dispatch(
            "snake",
            &Kernel::new(&BACKWARD),
            &bindings,
            &params,
            groups,
            work(n * c, 4),
        )?;
        Ok(vec![Some(dx), Some(column_sum(&part)?)])
    }))
}

/// Checks the gradient, then trains one frequency towards another; returns it.
pub fn run(steps: usize) -> Result<f32> {
    let gpu = Gpu::new(Default::default())?;
    let frequencies = HostTensor::f32(&[5], vec![0.5, 0.8, 1.0, 1.5, 2.0]);
    let inputs = [Rng::new(3).normals(&[7, 5]), frequencies];
    let verdict = gradient_check(&gpu, &inputs, GradientCheck::default(), |tape, v| {
        snake(tape, &v[0], &v[1])
    })?;
    if !verdict.pass {
        return Err(Error::data(format!(
            "the gradient is wrong: {}",
            verdict.detail
        )));
    }

    let mut builder = Parameters::builder();
    let a = builder.declare("a", &[1], Init::Constant(1.0));
    let params = builder.build(&gpu, 0)?;
    let mut adam = Adam::new(
        &params,
        Hyper {
            lr: 0.02,
            ..Default::default()
        },
    )?;
    let xs: Vec<f32> = (0..256).map(|i| i as f32 / 64.0 - 2.0).collect();
    let wanted: Vec<f32> = xs
        .iter()
        .map(|x| x + (1.3 * x).sin().powi(2) / 1.3)
        .collect();
    let (x, wanted) = (
        Tensor::from_slice(&gpu, &[256, 1], &xs)?,
        Tensor::from_slice(&gpu, &[256, 1], &wanted)?,
    );
    for _ in 0..steps {
        let tape = Tape::new(&gpu);
        let pass = ForwardContext::new(&tape, &params);
        let y = snake(&tape, &tape.constant(&x), &pass.param(a)?)?;
        let loss = tape.loss(Loss::Mse, &y, &tape.constant(&wanted))?;
        adam.step(&params, &pass.gradients(tape.backward(&loss)?))?;
    }
    Ok(params.get(a)?.read::<f32>()?[0])
}

#[allow(dead_code, reason = "a test includes this file for what it shows")]
fn main() -> Result<()> {
    println!(
        "trained from a frequency of 1 towards 1.3: {:.4}",
        run(200)?
    );
    Ok(())
}
