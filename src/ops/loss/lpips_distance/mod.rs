//! Distance between the features of two images, place by place: rectified, brought to length 1 over
//! the channels, and squared differences weighted by channel (Zhang et al. 2018, "The unreasonable
//! effectiveness of deep features as a perceptual metric", equation 1). In one kernel each way,
//! since the features of the finest layer are by far the largest tensors of it.

mod reference;

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for, row_chunks};
use crate::ops::elementwise::cast::cast;
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

/// Added to lengths, as the `lpips` package does.
const EPS: f32 = 1e-10;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    units: u32,
    eps: f32,
}

fn forward(vec: bool, half: bool) -> Kernel {
    let kernel = Kernel::new(shader!("loss/lpips_distance")).flag("VEC", vec);
    kernel.flag("AB_HALF", half)
}
fn backward(vec: bool, half: bool) -> Kernel {
    let kernel = Kernel::new(shader!("loss/lpips_distance_grad")).flag("VEC", vec);
    kernel.flag("AB_HALF", half)
}

/// `walks` over both tensors, of which `written` more are made.
fn work(n: usize, c: usize, walks: usize, written: usize) -> Work {
    Work {
        flops: (6 * walks * n * c) as f64,
        bytes: 4.0 * ((2 * walks + written) * n * c + n) as f64,
    }
}

/// a and b [.., C] as (rows, C), if w suits them.
fn check(a: &Tensor, b: &Tensor, w: &Tensor) -> Result<[usize; 2]> {
    let features = matches!(a.dtype(), DType::F32 | DType::F16) && a.dtype() == b.dtype();
    let floats = features && w.dtype() == DType::F32;
    match a.shape().split_last() {
        Some((c, rest)) if *c > 0 && a.shape() == b.shape() && w.shape() == [*c] && floats => {
            Ok([rest.iter().product(), *c])
        }
        _ => {
            let expected = "features [.., C] in f32 or f16, twice alike, and f32 weights [C]";
            Err(Error::shape(
                "lpips_distance",
                expected,
                format!("{a:?}, {b:?} and {w:?}"),
            ))
        }
    }
}

fn params(n: usize, c: usize) -> (bool, Params) {
    let vec = c.is_multiple_of(4);
    (
        vec,
        Params {
            n: n as u32,
            units: if vec { c / 4 } else { c } as u32,
            eps: EPS,
        },
    )
}

/// Returns features as kernels read them: f16 that comes in fours where the device has f16, and f32
/// otherwise.
fn readable([a, b]: [&Tensor; 2], c: usize) -> Result<[Tensor; 2]> {
    let kept = a.gpu().shader_f16() && c.is_multiple_of(4);
    let to = if kept { a.dtype() } else { DType::F32 };
    Ok([cast(a, to)?, cast(b, to)?])
}

/// Computes `y[n] = sum over c of w[c] (u[n, c] - v[n, c])^2`, where u is max(a, 0) over its
/// length, over the channels, plus 1e-10, and v that of b: a and b [.., C], both f32 or both f16,
/// w \[C], to y \[N], a number for each row, in f32.
///
/// # Errors
/// If the shapes or the types do not fit.
pub fn lpips_distance(a: &Tensor, b: &Tensor, w: &Tensor) -> Result<Tensor> {
    let [rows, c] = check(a, b, w)?;
    let [a, b] = &readable([a, b], c)?;
    let (gpu, half) = (a.gpu(), a.dtype().is_half());
    let y = Tensor::empty(gpu, &[rows], DType::F32)?;
    for (first, n) in row_chunks(rows, c, gpu.limits().max_storage_buffer_binding_size) {
        let part = |t: &Tensor| t.view(first * c, &[n, c]);
        let (vec, params) = params(n, c);
        let bindings = [&part(a)?, &part(b)?, w, &y.view(first, &[n])?];
        gpu.dispatch(
            "lpips_distance",
            &forward(vec, half),
            &bindings,
            &params,
            groups_for(n, 64),
            work(n, c, 2, 0),
        )?;
    }
    Ok(y)
}

/// Computes the gradient of [`lpips_distance`] with respect to a, of g \[N]; with a and b in each
/// other's place, with respect to b. It is f32, whatever they are.
///
/// # Errors
/// As [`lpips_distance`]'s, or if g has another shape than its result.
pub fn lpips_distance_grad(a: &Tensor, b: &Tensor, w: &Tensor, g: &Tensor) -> Result<Tensor> {
    let [rows, c] = check(a, b, w)?;
    if g.shape() != [rows] || g.dtype() != DType::F32 {
        return Err(Error::shape(
            "lpips_distance gradient",
            format!("f32 [{rows}]"),
            format!("{g:?}"),
        ));
    }
    let [a, b] = &readable([a, b], c)?;
    let (gpu, half) = (a.gpu(), a.dtype().is_half());
    let da = Tensor::empty(gpu, a.shape(), DType::F32)?;
    for (first, n) in row_chunks(rows, c, gpu.limits().max_storage_buffer_binding_size) {
        let part = |t: &Tensor| t.view(first * c, &[n, c]);
        let (vec, params) = params(n, c);
        let bindings = [&part(a)?, &part(b)?, w, &g.view(first, &[n])?, &part(&da)?];
        let op = "lpips_distance gradient";
        gpu.dispatch(
            op,
            &backward(vec, half),
            &bindings,
            &params,
            groups_for(n, 64),
            work(n, c, 3, 1),
        )?;
    }
    Ok(da)
}

impl Tape {
    /// See [`lpips_distance`]. The weights are constants.
    ///
    /// # Errors
    /// As [`lpips_distance`].
    pub fn lpips_distance(&self, a: &Var, b: &Var, w: &Tensor) -> Result<Var> {
        let y = lpips_distance(a.tensor(), b.tensor(), w)?;
        let (sa, sb, w) = (a.tensor().clone(), b.tensor().clone(), w.clone());
        Ok(self.record(y, &[a, b], move |g, needs| {
            let da = needs[0]
                .then(|| lpips_distance_grad(&sa, &sb, &w, g))
                .transpose()?;
            let db = needs[1]
                .then(|| lpips_distance_grad(&sb, &sa, &w, g))
                .transpose()?;
            Ok(vec![da, db])
        }))
    }
}

/// The registry's row.
pub struct LpipsDistance;

fn size(case: &Case) -> [usize; 2] {
    [case.get("n"), case.get("c")]
}

impl Operation for LpipsDistance {
    fn name(&self) -> &'static str {
        "lpips_distance"
    }
    fn cases(&self) -> Vec<Case> {
        let of_f32 = cases(
            ["n", "c"],
            &[[1, 1], [7, 3], [65, 4], [1_031, 17], [130, 64], [35, 512]],
        );
        let halves = cases(["n", "c"], &[[7, 3], [65, 4], [35, 512]]);
        let halves = halves.iter().filter_map(|c| self.in_f16(c));
        of_f32.into_iter().chain(halves).collect()
    }
    fn halves(&self) -> &'static [usize] {
        &[0, 1]
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 65_536), ("c", 64)])]
    }
    /// Rows that are near one another, and some that have no positive element.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [n, c] = size(case);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let (low, apart) = (if rng.below(5) == 0 { 10.0 } else { 0.0 }, rng.uniform());
            for _ in 0..c {
                let value = rng.normal();
                a.push((value - low) as f32);
                b.push((value + apart * rng.normal()) as f32);
            }
        }
        let w = (0..c).map(|_| rng.uniform() as f32).collect();
        vec![
            HostTensor::f32(&[n, c], a),
            HostTensor::f32(&[n, c], b),
            HostTensor::f32(&[c], w),
        ]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![lpips_distance(&t[0], &t[1], &t[2])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let y = reference::distance(inputs[0].as_f64(), inputs[1].as_f64(), inputs[2].as_f64());
        vec![HostTensor::f64(&[case.get("n")], y)]
    }
    /// Rows of length 1: each difference is off by some of their roundings, and so is its square by
    /// as much of the difference.
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 1e-6,
            rel: 2e-7 * case.get("c") as f64 + 4e-6,
        }
    }
    fn work(&self, case: &Case) -> Work {
        let [n, c] = size(case);
        work(n, c, 2, 0)
    }
    fn kernels(&self) -> Vec<Kernel> {
        [(false, false), (true, false), (true, true)]
            .into_iter()
            .flat_map(|(vec, half)| [forward(vec, half), backward(vec, half)])
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let (a, w) = (zeros(&[3, 4], DType::F32)?, zeros(&[4], DType::F32)?);
        Ok(vec![
            refused(
                "fewer rows",
                lpips_distance(&a, &zeros(&[2, 4], DType::F32)?, &w),
            ),
            refused(
                "weights of other channels",
                lpips_distance(&a, &a, &zeros(&[3], DType::F32)?),
            ),
            refused(
                "integers",
                lpips_distance(&a, &zeros(&[3, 4], DType::U32)?, &w),
            ),
            refused(
                "a gradient of other rows",
                lpips_distance_grad(&a, &a, &w, &w),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for LpipsDistance {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.lpips_distance(&v[0], &v[1], v[2].tensor())
    }
    fn reference(&self, _: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        let [a, b, w] = [0, 1, 2].map(|i| inputs[i].as_f64());
        let g = upstream.as_f64();
        let gradients = [
            reference::gradient(a, b, w, g),
            reference::gradient(b, a, w, g),
        ];
        gradients
            .into_iter()
            .map(|d| HostTensor::f64(&inputs[0].shape, d))
            .collect()
    }
    /// A short row's gradient is as large as its inverse, and of two terms that all but cancel
    /// where few channels are positive.
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        let abs = (1e-3 / case.get("c") as f64).max(2e-5);
        Tolerance {
            abs,
            rel: 2e-7 * case.get("c") as f64 + 2e-5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, Options};

    /// A feature that f16 did not hold, and that is no number in the end, is seen in the distance
    /// and in the gradient of its row, and in no other row.
    #[test]
    fn a_feature_that_is_no_number_is_seen() {
        let gpu = Gpu::new(Options::default()).unwrap();
        for c in [3, 8] {
            let mut features = vec![0.5f32; 2 * c];
            features[c - 1] = f32::NAN;
            let a = Tensor::from_slice(&gpu, &[2, c], &features).unwrap();
            let b = Tensor::from_slice(&gpu, &[2, c], &vec![0.25f32; 2 * c]).unwrap();
            let w = Tensor::from_slice(&gpu, &[c], &vec![1.0f32; c]).unwrap();
            let ones = Tensor::from_slice(&gpu, &[2], &[1.0f32; 2]).unwrap();
            let types = if gpu.shader_f16() { 2 } else { 1 };
            for dtype in [DType::F32, DType::F16].into_iter().take(types) {
                let [a, b] = [&a, &b].map(|t| cast(t, dtype).unwrap());
                let y = lpips_distance(&a, &b, &w).unwrap().read::<f32>().unwrap();
                assert!(y[0].is_nan() && y[1].is_finite(), "{dtype:?}, {c}: {y:?}");
                let da = lpips_distance_grad(&a, &b, &w, &ones).unwrap();
                let da = da.read::<f32>().unwrap();
                assert!(da[..c].iter().all(|x| x.is_nan()), "{dtype:?}: {da:?}");
                assert!(da[c..].iter().all(|x| x.is_finite()), "{dtype:?}: {da:?}");
            }
        }
    }
}
