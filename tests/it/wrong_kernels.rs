//! The tests of the tests: each way in which a kernel goes wrong, run through the checker, which
//! must go red.

use wgvq::autograd::{Tape, Var};
use wgvq::gpu::{DType, Gpu, Kernel, Options, Source, Tensor, Work};
use wgvq::registry::operations;
use wgvq::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, Verdict, case, compare,
};
use wgvq::{Result, verify};

/// y = 2 x, with a mistake of the shader's choosing; and its gradient, 2 dy, where there is a
/// shader for it.
struct Double(&'static Source, Option<&'static Source>);

macro_rules! double {
    ($name:literal, $body:literal) => {{
        static SOURCE: Source = Source {
            name: $name,
            text: concat!(
                "struct Params { n: u32 }\nvar<immediate> p: Params;\n",
                "@group(0) @binding(0) var<storage, read> x: array<f32>;\n",
                "@group(0) @binding(1) var<storage, read_write> y: array<f32>;\n",
                "@compute @workgroup_size(64)\nfn main(@builtin(global_invocation_id) id: \
                 vec3<u32>) {\n",
                "  let i = id.x;\n",
                $body,
                "\n}\n"
            ),
        };
        Double(&SOURCE, None)
    }};
}

impl Operation for Double {
    fn name(&self) -> &'static str {
        "double"
    }
    fn cases(&self) -> Vec<Case> {
        vec![case(&[("n", 131)])]
    }
    fn bench(&self) -> Vec<Case> {
        self.cases()
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n")])]
    }
    fn run(&self, gpu: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![apply(gpu, self.0, &t[0])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &[case.get("n")],
            inputs[0].as_f64().iter().map(|x| 2.0 * x).collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, _: &Case) -> Work {
        Work::default()
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![Kernel::new(self.0)]
    }
    fn error_inputs(&self, _: &Gpu) -> ErrorInputs {
        Ok(Vec::new())
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        self.1.map(|_| self as &dyn Gradient)
    }
}

impl Gradient for Double {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        let x = v[0].tensor();
        let (y, backward) = (apply(x.gpu(), self.0, x)?, self.1);
        Ok(tape.record(y, &[&v[0]], move |g, _| {
            Ok(vec![
                backward
                    .map(|source| apply(g.gpu(), source, g))
                    .transpose()?,
            ])
        }))
    }
    fn reference(&self, case: &Case, _: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        Operation::reference(self, case, std::slice::from_ref(upstream))
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}

fn apply(gpu: &Gpu, source: &'static Source, x: &Tensor) -> Result<Tensor> {
    let (y, n) = (Tensor::empty(gpu, x.shape(), DType::F32)?, x.len() as u32);
    gpu.dispatch(
        "double",
        &Kernel::new(source),
        &[x, &y],
        &n,
        [n.div_ceil(64), 1, 1],
        Work::default(),
    )?;
    Ok(y)
}

fn verdict(op: &Double) -> Verdict {
    let gpu = Gpu::new(Options {
        poison: true,
        ..Default::default()
    })
    .expect("an adapter; scripts/test.sh installs one");
    verify::forward(&gpu, op, &op.cases()[0], 7).expect("the kernel compiles and runs")
}

/// Returns the failures between guard bands, with naga's bounds checks off and on.
fn failures(op: &Double) -> Vec<String> {
    let options = Options {
        guard: true,
        ..Default::default()
    };
    let unchecked = Gpu::new(options.clone()).expect("an adapter; scripts/test.sh installs one");
    let checked = Gpu::new(Options {
        shader_checks: true,
        ..options
    })
    .expect("the same adapter again");
    let verdicts = verify::guarded(&unchecked, || Some(&checked), op, &op.cases()[0], 7)
        .expect("the kernels compile and run");
    verdicts
        .into_iter()
        .filter(|v| !v.pass || v.compared == 0)
        .map(|v| v.detail)
        .collect()
}

/// The right kernel forward, and another backward.
fn backward(wrong: Double) -> Double {
    Double(
        double!("double_forward", "  if i < p.n { y[i] = 2.0 * x[i]; }").0,
        Some(wrong.0),
    )
}

#[test]
fn right_kernels_leave_the_bands() {
    let right = backward(double!(
        "double_backward",
        "  if i < p.n { y[i] = 2.0 * x[i]; }"
    ));
    assert_eq!(failures(&right), Vec::<String>::new());
}

#[test]
fn a_write_past_the_end_fails() {
    for (words, past) in [
        (
            0,
            double!(
                "double_one_past",
                "  if i <= p.n { y[i] = 2.0 * x[min(i, p.n - 1u)]; }"
            ),
        ),
        (
            1000,
            double!(
                "double_far_past",
                "  if i < p.n { y[i] = 2.0 * x[i]; y[i + p.n + 1000u] = 0.0; }"
            ),
        ),
    ] {
        let found = failures(&past).join("\n");
        assert!(
            found.contains(&format!(
                "{words} words behind the end of a tensor of 524 bytes"
            )),
            "{found}"
        );
    }
}

#[test]
fn a_read_past_the_end_fails() {
    let found = failures(&double!(
        "double_read",
        "  if i < p.n { y[i] = 2.0 * x[i] + 1e-30 * x[i + 1u]; }"
    ))
    .join("\n");
    assert!(found.contains("bounds checks"), "{found}");
}

#[test]
fn a_write_past_the_end_of_a_gradient_fails() {
    let past = backward(double!(
        "double_grad_past",
        "  if i <= p.n { y[i] = 2.0 * x[min(i, p.n - 1u)]; }"
    ));
    let found = failures(&past).join("\n");
    assert!(
        found.contains("0 words behind the end of a tensor of 524 bytes"),
        "{found}"
    );
}

#[test]
fn wrong_gradients_fail() {
    for wrong in [
        double!(
            "double_grad_factor",
            "  if i < p.n { y[i] = 2.001 * x[i]; }"
        ),
        double!("double_grad_sign", "  if i < p.n { y[i] = -2.0 * x[i]; }"),
        double!(
            "double_grad_tail",
            "  if i + 1u < p.n { y[i] = 2.0 * x[i]; }"
        ),
        double!(
            "double_grad_swapped",
            "  if i < p.n { y[i] = 2.0 * x[p.n - 1u - i]; }"
        ),
    ] {
        let name = wrong.0.name;
        let found = failures(&backward(wrong));
        assert!(
            found.iter().any(|f| f.contains("gradient of input 0[")),
            "{name}: {found:?}"
        );
    }
}

#[test]
fn the_right_kernel_passes() {
    let v = verdict(&double!(
        "double_right",
        "  if i < p.n { y[i] = 2.0 * x[i]; }"
    ));
    assert!(v.pass && v.compared == 131, "{}", v.detail);
}

#[test]
fn an_unwritten_tail_fails() {
    assert!(
        !verdict(&double!(
            "double_tail",
            "  if i + 1u < p.n { y[i] = 2.0 * x[i]; }"
        ))
        .pass
    );
}

#[test]
fn a_missing_write_fails() {
    assert!(
        !verdict(&double!(
            "double_missing",
            "  if i < p.n && i != 64u { y[i] = 2.0 * x[i]; }"
        ))
        .pass
    );
}

#[test]
fn a_swapped_index_fails() {
    assert!(
        !verdict(&double!(
            "double_swapped",
            "  if i < p.n { y[i] = 2.0 * x[p.n - 1u - i]; }"
        ))
        .pass
    );
}

#[test]
fn nan_fails() {
    assert!(
        !verdict(&double!(
            "double_nan",
            "  if i < p.n { y[i] = select(2.0 * x[i], sqrt(-abs(x[i]) - 1.0), i == 5u); }"
        ))
        .pass
    );
}

#[test]
fn one_zeroed_element_fails() {
    assert!(
        !verdict(&double!(
            "double_zero",
            "  if i < p.n { y[i] = select(2.0, 0.0, i == 130u) * x[i]; }"
        ))
        .pass
    );
}

/// Comparisons by themselves: what must never count as agreement.
#[test]
fn nothing_compared_is_no_agreement() {
    let empty = HostTensor::f32(&[0], vec![]);
    assert!(
        !compare(
            "empty",
            &empty,
            &HostTensor::f64(&[0], vec![]),
            Tolerance::POINTWISE
        )
        .pass
    );
    let (short, long) = (
        HostTensor::f32(&[1], vec![1.0]),
        HostTensor::f64(&[2], vec![1.0, 1.0]),
    );
    assert!(!compare("shapes", &short, &long, Tolerance::POINTWISE).pass);
    let nan = HostTensor::f64(&[1], vec![f64::NAN]);
    assert!(
        !compare(
            "a NaN expected",
            &short,
            &nan,
            Tolerance { abs: 1e9, rel: 1e9 }
        )
        .pass
    );
}

/// A search that breaks ties to the highest index, and one that is off by one, against the real
/// search's own checker.
#[test]
fn wrong_indices_fail() {
    use wgvq::ops::quantize::vq_search::VqSearch;
    let search = VqSearch;
    let c = case(&[("n", 65), ("k", 33), ("d", 4)]);
    let inputs = search.inputs(&c, &mut Rng::new(3));
    let wide: Vec<HostTensor> = inputs.iter().map(HostTensor::widened).collect();
    let want = search.reference(&c, &wide);
    let right = search
        .compare(&c, &inputs, &want, &want)
        .expect("a verdict");
    assert!(right.pass && right.compared == 65);
    let mut off = want[0].as_u32().to_vec();
    off[40] = (off[40] + 1) % 33;
    let wrong = search
        .compare(&c, &inputs, &[HostTensor::u32(&[65], off)], &want)
        .expect("a verdict");
    assert!(!wrong.pass);
    let mut out_of_range = want[0].as_u32().to_vec();
    out_of_range[0] = 99;
    assert!(
        !search
            .compare(&c, &inputs, &[HostTensor::u32(&[65], out_of_range)], &want)
            .expect("a verdict")
            .pass
    );
}

/// A bound that lets one token too many through is seen by the operation's own cases.
#[test]
fn a_token_past_the_last_is_found() {
    let named = |op: &&&dyn Operation| op.name() == "repetition_penalty";
    let op = *operations().iter().find(named).expect("an operation");
    let kernels = op.kernels();
    let right = kernels[0].source();
    let text = right.text.replace("token >= p.v", "token > p.v");
    assert_ne!(text, right.text);
    let planted: &'static Source = Box::leak(Box::new(Source {
        name: right.name,
        text: text.leak(),
    }));
    let all_pass = |planted| {
        let gpu = Gpu::new(Options {
            planted,
            ..Default::default()
        })
        .expect("an adapter");
        let cases = op.cases();
        let mut small = cases.iter().filter(|case| case.get("r") < 10);
        small.all(|case| verify::forward(&gpu, op, case, 7).expect("it runs").pass)
    };
    assert!(all_pass(None));
    assert!(!all_pass(Some(planted)));
}
