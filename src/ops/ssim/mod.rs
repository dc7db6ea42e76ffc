//! Structural similarity of images (Wang et al. 2004, "Image quality assessment: from error visibility to structural
//! similarity").

use super::{Case, Host, Operation, Real, Rng, Tolerance, case, groups_for, reduce};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
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

fn kernel() -> Kernel {
    Kernel::new(shader!("ssim"))
}

/// Gaussian weights of deviation 1.5, of sum 1.
fn weights() -> [f64; WINDOW] {
    let raw: [f64; WINDOW] = std::array::from_fn(|i| (-((i as f64 - 5.0) / 1.5).powi(2) / 2.0).exp());
    let total: f64 = raw.iter().sum();
    raw.map(|w| w / total)
}

/// Can images of this size be compared? The window must fit.
pub fn fits(height: usize, width: usize) -> bool {
    height >= WINDOW && width >= WINDOW
}

/// The mean structural similarity of images a and b, f32 [N, H, W, C] in [-1, 1], over channels and the places of an 11 x 11
/// Gaussian window inside the image: [1].
///
/// # Errors
/// If the shapes differ, there is no image, or the window does not fit.
pub fn ssim(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let [n, h, w, c] = a.dims("ssim")?;
    let floats = a.dtype() == DType::F32 && b.dtype() == DType::F32;
    if a.shape() != b.shape() || !fits(h, w) || n * c == 0 || !floats {
        let expected = format!("two f32 tensors [N, H, W, C] of one shape, H and W at least {WINDOW}");
        return Err(Error::shape("ssim", expected, format!("{a:?}, {b:?}")));
    }
    let gpu = a.gpu();
    let weights = Tensor::from_slice(gpu, &[WINDOW], &weights().map(|w| w as f32))?;
    let y = Tensor::empty(gpu, &[n, h - 10, w - 10, c], DType::F32)?;
    let params = Params { n: n as u32, h: h as u32, w: w as u32, c: c as u32 };
    gpu.dispatch("ssim", &kernel(), &[a, b, &weights, &y], &params, groups_for(y.len(), 64), work(y.len()))?;
    reduce::mean(&y)
}

fn work(elements: usize) -> Work {
    Work { flops: 12.0 * (WINDOW * WINDOW * elements) as f64, bytes: 12.0 * elements as f64 }
}

mod twin {
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
        [(1, 11, 11, 1), (2, 13, 17, 3), (1, 28, 28, 1)]
            .map(|(n, h, w, c)| case(&[("n", n), ("h", h), ("w", w), ("c", c)]))
            .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 32), ("h", 32), ("w", 32), ("c", 3)])]
    }
    /// Images, and the same with noise: some values lie outside [-1, 1].
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<Host> {
        let shape = shape(case);
        let n: usize = shape.iter().product();
        let a: Vec<f32> = (0..n).map(|_| 0.5 * rng.normal() as f32).collect();
        let b = a.iter().map(|v| v + 0.2 * rng.normal() as f32).collect();
        vec![Host::f32(&shape, a), Host::f32(&shape, b)]
    }
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![ssim(&t[0], &t[1])?])
    }
    fn twin(&self, case: &Case, inputs: &[Host]) -> Vec<Host> {
        vec![Host::f64(&[1], vec![twin::ssim(inputs[0].as_f64(), inputs[1].as_f64(), shape(case))])]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance { abs: 2e-5, rel: 0.0 }
    }
    fn work(&self, case: &Case) -> Work {
        let [n, h, w, c] = shape(case);
        work(n * h.saturating_sub(10) * w.saturating_sub(10) * c)
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel()]
    }
    fn hostile(&self, gpu: &Gpu) -> Vec<(&'static str, Result<()>)> {
        let calls = || -> Result<_> {
            let f = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
            let (small, a, b) = (f(&[1, 10, 12, 1])?, f(&[1, 12, 12, 1])?, f(&[1, 12, 12, 3])?);
            Ok(vec![
                ("smaller than the window", ssim(&small, &small).map(drop)),
                ("shapes differ", ssim(&a, &b).map(drop)),
            ])
        };
        calls().unwrap_or_else(|e| vec![("set-up", Err(e))])
    }
}
