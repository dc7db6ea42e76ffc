//! Structural similarity of images (Wang et al. 2004, "Image quality assessment: from error
//! visibility to structural similarity").

use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::ops::linalg::reduce;
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

/// The window's width and height.
const WINDOW: usize = 11;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    h: u32,
    w: u32,
    c: u32,
}

fn rows_kernel() -> Kernel {
    Kernel::new(shader!("image/ssim_rows"))
}
fn kernel(slopes: bool) -> Kernel {
    Kernel::new(shader!("image/ssim")).flag("SLOPES", slopes)
}
fn columns_kernel() -> Kernel {
    Kernel::new(shader!("image/ssim_grad_columns"))
}
fn grad_kernel() -> Kernel {
    Kernel::new(shader!("image/ssim_grad"))
}

/// Gaussian weights of deviation 1.5, of sum 1.
fn weights() -> [f64; WINDOW] {
    let raw: [f64; WINDOW] =
        std::array::from_fn(|i| (-((i as f64 - 5.0) / 1.5).powi(2) / 2.0).exp());
    let total: f64 = raw.iter().sum();
    raw.map(|w| w / total)
}

/// Whether images of this size can be compared. The window must fit.
pub fn fits(height: usize, width: usize) -> bool {
    height >= WINDOW && width >= WINDOW
}

/// Computes the mean structural similarity of images a and b, f32 [N, H, W, C] in [-1, 1], over
/// channels and the places of an 11 x 11 Gaussian window inside the image: `[1]`.
///
/// # Errors
/// If the shapes differ, there is no image, or the window does not fit.
pub fn ssim(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let [n, h, w, c] = a.dims("ssim")?;
    let floats = a.dtype() == DType::F32 && b.dtype() == DType::F32;
    if a.shape() != b.shape() || !fits(h, w) || n * c == 0 || !floats {
        let expected =
            format!("two f32 tensors [N, H, W, C] of one shape, H and W at least {WINDOW}");
        return Err(Error::shape("ssim", expected, format!("{a:?}, {b:?}")));
    }
    reduce::mean(&windows(a, b, false)?)
}

/// Each window's similarity [N, H - 10, W - 10, C], or its slopes [N, H - 10, W - 10, C, 4].
fn windows(a: &Tensor, b: &Tensor, slopes: bool) -> Result<Tensor> {
    let [n, h, w, c] = a.dims("ssim")?;
    let gpu = a.gpu();
    let weights = taps(gpu)?;
    let params = Params {
        n: n as u32,
        h: h as u32,
        w: w as u32,
        c: c as u32,
    };
    let rows = Tensor::empty(gpu, &[n, h, w - 10, c, 4], DType::F32)?;
    let count = rows.len() / 4;
    let bindings = [a, b, &weights, &rows];
    gpu.dispatch(
        "ssim",
        &rows_kernel(),
        &bindings,
        &params,
        groups_for(count, 64),
        work(count),
    )?;
    let shape = [n, h - 10, w - 10, c, 4];
    let y = Tensor::empty(gpu, if slopes { &shape } else { &shape[..4] }, DType::F32)?;
    let count = n * (h - 10) * (w - 10) * c;
    gpu.dispatch(
        "ssim",
        &kernel(slopes),
        &[&rows, &weights, &y],
        &params,
        groups_for(count, 64),
        work(count),
    )?;
    Ok(y)
}

fn taps(gpu: &Gpu) -> Result<Tensor> {
    Tensor::from_slice(gpu, &[WINDOW], &weights().map(|w| w as f32))
}

/// Computes `g` times the gradient of [`ssim`] with respect to a: a, b [N, H, W, C], g [1].
fn ssim_grad(a: &Tensor, b: &Tensor, g: &Tensor) -> Result<Tensor> {
    let [n, h, w, c] = a.dims("ssim gradient")?;
    let (gpu, slopes) = (a.gpu(), windows(a, b, true)?);
    let weights = taps(gpu)?;
    let params = Params {
        n: n as u32,
        h: h as u32,
        w: w as u32,
        c: c as u32,
    };
    let columns = Tensor::empty(gpu, &[n, h, w - 10, c, 4], DType::F32)?;
    let count = columns.len() / 4;
    let bindings = [&slopes, &weights, &columns];
    gpu.dispatch(
        "ssim",
        &columns_kernel(),
        &bindings,
        &params,
        groups_for(count, 64),
        work(count),
    )?;
    let da = Tensor::empty(gpu, a.shape(), DType::F32)?;
    let bindings = [a, b, &weights, &columns, g, &da];
    gpu.dispatch(
        "ssim",
        &grad_kernel(),
        &bindings,
        &params,
        groups_for(a.len(), 64),
        work(a.len()),
    )?;
    Ok(da)
}

impl Tape {
    /// See [`ssim`]. Where a value lies outside [-1, 1] its gradient is 0.
    ///
    /// # Errors
    /// As [`ssim`].
    pub fn ssim(&self, a: &Var, b: &Var) -> Result<Var> {
        let y = ssim(a.tensor(), b.tensor())?;
        let (s, t) = (a.tensor().clone(), b.tensor().clone());
        Ok(self.record(y, &[a, b], move |g, needs| {
            let da = needs[0].then(|| ssim_grad(&s, &t, g)).transpose()?;
            let db = needs[1].then(|| ssim_grad(&t, &s, g)).transpose()?;
            Ok(vec![da, db])
        }))
    }
}

fn work(elements: usize) -> Work {
    Work {
        flops: (12 * WINDOW * elements) as f64,
        bytes: 24.0 * elements as f64,
    }
}

mod reference {
    use super::{Real, WINDOW, weights};
    pub fn ssim<T: Real>(a: &[T], b: &[T], [n, h, w, c]: [usize; 4]) -> T {
        let pixel = |x: T| (x / T::of(2.0) + T::of(0.5)).max(T::zero()).min(T::one());
        let weights = weights().map(T::of);
        let (mut sum, mut places) = (T::zero(), 0);
        for image in 0..n {
            for (y0, x0) in (0..=h - WINDOW).flat_map(|y| (0..=w - WINDOW).map(move |x| (y, x))) {
                for channel in 0..c {
                    // E[f(u, v)] under the window's weights.
                    let mean = |f: &dyn Fn(T, T) -> T| -> T {
                        (0..WINDOW * WINDOW)
                            .map(|i| {
                                let (dy, dx) = (i / WINDOW, i % WINDOW);
                                let at = ((image * h + y0 + dy) * w + x0 + dx) * c + channel;
                                weights[dy] * weights[dx] * f(pixel(a[at]), pixel(b[at]))
                            })
                            .sum()
                    };
                    let (ma, mb) = (mean(&|u, _| u), mean(&|_, v| v));
                    let sa = mean(&|u, _| (u - ma) * (u - ma));
                    let sb = mean(&|_, v| (v - mb) * (v - mb));
                    let sab = mean(&|u, v| (u - ma) * (v - mb));
                    let (two, c1, c2) = (T::of(2.0), T::of(1e-4), T::of(9e-4));
                    let top = (two * ma * mb + c1) * (two * sab + c2);
                    sum += top / ((ma * ma + mb * mb + c1) * (sa + sb + c2));
                    places += 1;
                }
            }
        }
        sum / T::of(places as f64)
    }

    /// Returns the gradient with respect to a: each window's similarity by the means, variances and
    /// covariance that its pixels enter.
    pub fn gradient<T: Real>(a: &[T], b: &[T], [n, h, w, c]: [usize; 4], upstream: T) -> Vec<T> {
        let pixel = |x: T| (x / T::of(2.0) + T::of(0.5)).max(T::zero()).min(T::one());
        let weights = weights().map(T::of);
        let (two, c1, c2) = (T::of(2.0), T::of(1e-4), T::of(9e-4));
        let places = T::of((n * (h - WINDOW + 1) * (w - WINDOW + 1) * c) as f64);
        let mut da = vec![T::zero(); a.len()];
        for image in 0..n {
            for (y0, x0) in (0..=h - WINDOW).flat_map(|y| (0..=w - WINDOW).map(move |x| (y, x))) {
                for channel in 0..c {
                    let place = |i: usize| {
                        ((image * h + y0 + i / WINDOW) * w + x0 + i % WINDOW) * c + channel
                    };
                    let weight = |i: usize| weights[i / WINDOW] * weights[i % WINDOW];
                    let mean = |f: &dyn Fn(T, T) -> T| -> T {
                        (0..WINDOW * WINDOW)
                            .map(|i| weight(i) * f(pixel(a[place(i)]), pixel(b[place(i)])))
                            .sum()
                    };
                    let (ma, mb) = (mean(&|u, _| u), mean(&|_, v| v));
                    let sa = mean(&|u, _| (u - ma) * (u - ma));
                    let sb = mean(&|_, v| (v - mb) * (v - mb));
                    let sab = mean(&|u, v| (u - ma) * (v - mb));
                    let (a1, a2) = (two * ma * mb + c1, two * sab + c2);
                    let (b1, b2) = (ma * ma + mb * mb + c1, sa + sb + c2);
                    let s = a1 * a2 / (b1 * b2);
                    for i in 0..WINDOW * WINDOW {
                        let (u, v) = (pixel(a[place(i)]), pixel(b[place(i)]));
                        // d of the mean is the weight, of the variance 2 (u - ma) times it, of the
                        // covariance (v - mb) times it.
                        let by_mean = two * mb * a2 / (b1 * b2) - s * two * ma / b1;
                        let by_variance = -s / b2 * two * (u - ma);
                        let by_covariance = two * a1 / (b1 * b2) * (v - mb);
                        let inside = a[place(i)].abs() <= T::one();
                        if inside {
                            let slope = weight(i) * (by_mean + by_variance + by_covariance);
                            da[place(i)] += upstream * slope / (two * places);
                        }
                    }
                }
            }
        }
        da
    }
}

/// The registry's row.
pub struct Ssim;

fn shape(case: &Case) -> [usize; 4] {
    ["n", "h", "w", "c"].map(|size| case.get(size))
}

impl Operation for Ssim {
    fn name(&self) -> &'static str {
        "ssim"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "h", "w", "c"],
            &[[1, 11, 11, 1], [2, 13, 17, 3], [1, 28, 28, 1]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 32), ("h", 32), ("w", 32), ("c", 3)])]
    }
    /// Images, and the same with noise: some values lie outside [-1, 1].
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let shape = shape(case);
        let n: usize = shape.iter().product();
        let a: Vec<f32> = (0..n).map(|_| 0.5 * rng.normal() as f32).collect();
        let b = a.iter().map(|v| v + 0.2 * rng.normal() as f32).collect();
        vec![HostTensor::f32(&shape, a), HostTensor::f32(&shape, b)]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ssim(&t[0], &t[1])?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::f64(
            &[1],
            vec![reference::ssim(
                inputs[0].as_f64(),
                inputs[1].as_f64(),
                shape(case),
            )],
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 2e-5,
            rel: 0.0,
        }
    }
    fn work(&self, case: &Case) -> Work {
        let [n, h, w, c] = shape(case);
        work(n * h.saturating_sub(10) * w.saturating_sub(10) * c)
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![
            rows_kernel(),
            kernel(false),
            kernel(true),
            columns_kernel(),
            grad_kernel(),
        ]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let f = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
        let (small, a, b) = (
            f(&[1, 10, 12, 1])?,
            f(&[1, 12, 12, 1])?,
            f(&[1, 12, 12, 3])?,
        );
        Ok(vec![
            refused("smaller than the window", ssim(&small, &small)),
            refused("shapes differ", ssim(&a, &b)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for Ssim {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0, 1]
    }
    fn record(&self, tape: &Tape, _: &Case, v: &[Var]) -> Result<Var> {
        tape.ssim(&v[0], &v[1])
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (a, b, g) = (inputs[0].as_f64(), inputs[1].as_f64(), upstream.as_f64()[0]);
        let shape = shape(case);
        let both = [
            reference::gradient(a, b, shape, g),
            reference::gradient(b, a, shape, g),
        ];
        both.map(|d| HostTensor::f64(&inputs[0].shape, d)).to_vec()
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance {
            abs: 2e-5,
            rel: 1e-4,
        }
    }
}
