//! Adds the operation of `docs/add-an-op.md` by following it, and runs it through every check that
//! the registry's rows meet.

use wgvq::autograd::{Tape, Var};
use wgvq::gpu::{DType, Gpu, Kernel, Options, Source, Tensor, Work, groups_for};
use wgvq::spec::{Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case};
use wgvq::{Error, Result, verify};

static FORWARD: Source = Source {
    name: "softplus",
    text: "\
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    y[i] = max(x[i], 0.0) + log(1.0 + exp(-abs(x[i])));
}
",
};

static BACKWARD: Source = Source {
    name: "softplus_grad",
    text: "\
struct Params { n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
#import shared/grid

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
    let i = linear_index(group, groups, lane, 64u);
    if i >= p.n { return; }
    dx[i] = dy[i] / (1.0 + exp(-x[i]));
}
",
};

fn softplus(x: &Tensor) -> Result<Tensor> {
    if x.dtype() != DType::F32 {
        return Err(Error::shape(
            "softplus",
            "a tensor of f32",
            format!("{x:?}"),
        ));
    }
    let y = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    x.gpu().dispatch(
        "softplus",
        &Kernel::new(&FORWARD),
        &[x, &y],
        &(x.len() as u32),
        groups_for(x.len(), 64),
        work(x.len()),
    )?;
    Ok(y)
}

fn softplus_grad(x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let dx = Tensor::empty(x.gpu(), x.shape(), DType::F32)?;
    let kernel = Kernel::new(&BACKWARD);
    x.gpu().dispatch(
        "softplus",
        &kernel,
        &[x, dy, &dx],
        &(x.len() as u32),
        groups_for(x.len(), 64),
        work(x.len()),
    )?;
    Ok(dx)
}

fn work(n: usize) -> Work {
    Work {
        flops: 4.0 * n as f64,
        bytes: 8.0 * n as f64,
    }
}

fn record(tape: &Tape, x: &Var) -> Result<Var> {
    let (y, saved) = (softplus(x.tensor())?, x.tensor().clone());
    Ok(tape.record(y, &[x], move |g, _| {
        Ok(vec![Some(softplus_grad(&saved, g)?)])
    }))
}

fn reference<T: Real>(x: T) -> T {
    (T::one() + x.exp()).ln()
}

fn reference_grad<T: Real>(x: T, g: T) -> T {
    g * x.exp() / (T::one() + x.exp())
}

struct Softplus;

impl Operation for Softplus {
    fn name(&self) -> &'static str {
        "softplus"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 61, 65, 4_099].map(|n| case(&[("n", n)])).to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n")])]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![softplus(&t[0])?])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &inputs[0].shape,
            inputs[0].as_f64().iter().map(|x| reference(*x)).collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![Kernel::new(&FORWARD), Kernel::new(&BACKWARD)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let integers = Tensor::zeros(gpu, &[4], DType::U32)?;
        Ok(vec![("integers", softplus(&integers).map(drop))])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Softplus {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        record(tape, &v[0])
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        let pairs = inputs[0].as_f64().iter().zip(upstream.as_f64());
        vec![HostTensor::f64(
            &inputs[0].shape,
            pairs.map(|(x, g)| reference_grad(*x, *g)).collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}

#[test]
fn the_page_tells_how_to_add_an_operation() {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .expect("an adapter; scripts/test.sh installs one");
    for case in Softplus.cases() {
        let forward = verify::forward(&gpu, &Softplus, &case, 5).expect("it runs");
        assert!(
            forward.pass && forward.compared == case.get("n"),
            "{}",
            forward.detail
        );
        let backward = verify::backward(&gpu, &Softplus, &case, 5)
            .expect("it runs")
            .expect("it has a gradient");
        assert!(
            backward.pass && backward.compared == case.get("n"),
            "{}",
            backward.detail
        );
        let differences = verify::differences(&Softplus, &case, 5, 16).expect("it has a gradient");
        assert!(differences.pass, "{}", differences.detail);
    }
    let calls = Softplus.error_inputs(&gpu).expect("the set-up holds");
    assert!(
        calls
            .iter()
            .all(|(_, result)| matches!(result, Err(Error::Shape { .. })))
    );
}

#[test]
fn the_page_shows_the_kernel_that_is_tested() {
    let page: String = include_str!("../docs/add-an-op.md")
        .lines()
        .map(|l| l.trim_start().to_owned() + "\n")
        .collect();
    for line in FORWARD.text.lines() {
        assert!(
            page.contains(line.trim_start()),
            "docs/add-an-op.md lacks: {line}"
        );
    }
}
