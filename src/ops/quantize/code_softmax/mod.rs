//! The softmax over a codebook by distance: how much a batch would use each code on average, whose
//! entropy keeps codes in use, and codes drawn at random instead of the nearest one.
//!
//! Latents go through in parts, forward and again backward, so that the N x K matrix never exists
//! as a whole.

mod reference;
mod spec;

pub use spec::{CodeAverage, CodeSample};

use super::gumbel::rows_per_part;
use super::vq_search::half_norms;
use crate::autograd::accumulate::{accumulate, add_assign};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Kernel, Tensor, Work};
use crate::ops::elementwise::scale::scale;
use crate::ops::linalg::column_sum::column_sum;
use crate::ops::linalg::matmul::{Transpose, matmul};
use crate::ops::sampling::random::Key;
use crate::{Error, Result, shader};

/// The measure of nearness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// `-|x - e|`.
    Euclidean,
    /// `x . e`; rows of length 1 make it the cosine.
    Cosine,
}

#[derive(Clone, Copy, PartialEq)]
enum KernelOutput {
    Probability,
    Gradient,
    Sample,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    k: u32,
    row0: u32,
    stream: u32,
    step: [u32; 2],
    seed: [u32; 2],
    t: f32,
    scale: f32,
}

fn kernel(way: KernelOutput, metric: Metric) -> Kernel {
    let way = match way {
        KernelOutput::Probability => "PROB",
        KernelOutput::Gradient => "GRAD",
        KernelOutput::Sample => "SAMPLE",
    };
    Kernel::new(shader!("quantize/code_softmax"))
        .define(way, 1)
        .flag("COSINE", metric == Metric::Cosine)
}

fn scale_rows_kernel() -> Kernel {
    Kernel::new(shader!("quantize/code_softmax_scale_rows"))
}

fn kernels() -> Vec<Kernel> {
    let ways = [
        KernelOutput::Probability,
        KernelOutput::Gradient,
        KernelOutput::Sample,
    ];
    let both = ways
        .into_iter()
        .flat_map(|way| [kernel(way, Metric::Euclidean), kernel(way, Metric::Cosine)]);
    both.chain([scale_rows_kernel()]).collect()
}

fn row_work(rows: usize, k: usize) -> Work {
    Work {
        flops: 12.0 * (rows * k) as f64,
        bytes: 16.0 * (rows * k) as f64,
    }
}

fn check(x: &Tensor, e: &Tensor, t: f32) -> Result<[usize; 3]> {
    let ([n, d], [k, d2]) = (x.dims("code_softmax")?, e.dims("code_softmax")?);
    if d != d2 || n == 0 || k == 0 || x.dtype() != DType::F32 || e.dtype() != DType::F32 {
        return Err(Error::shape(
            "code_softmax",
            "f32 latents [N, D] and codes [K, D]",
            format!("{x:?}, {e:?}"),
        ));
    }
    if !(t > 0.0 && t.is_finite()) {
        return Err(Error::invalid(
            "code_softmax",
            format!("a temperature of {t}: it is above 0"),
        ));
    }
    Ok([n, d, k])
}

/// The softmax of a problem: latents, codes, and what does not change between its parts.
struct Problem<'a> {
    x: &'a Tensor,
    e: &'a Tensor,
    metric: Metric,
    t: f32,
    key: Key,
    hx: Tensor,
    he: Tensor,
}

impl Problem<'_> {
    fn new<'a>(
        x: &'a Tensor,
        e: &'a Tensor,
        metric: Metric,
        t: f32,
        key: Key,
    ) -> Result<Problem<'a>> {
        check(x, e, t)?;
        Ok(Problem {
            x,
            e,
            metric,
            t,
            key,
            hx: half_norms(x)?,
            he: half_norms(e)?,
        })
    }

    /// Returns the rows of each part: (first, how many).
    fn parts(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (n, rows) = (self.hx.len(), rows_per_part(self.he.len()));
        (0..n)
            .step_by(rows)
            .map(move |start| (start, rows.min(n - start)))
    }

    /// Latents of a part, and their products with all codes.
    fn products(&self, start: usize, rows: usize) -> Result<(Tensor, Tensor)> {
        let d = self.x.shape()[1];
        let x = self.x.view(start * d, &[rows, d])?;
        let s = matmul(&x, self.e, Transpose::B, None)?;
        Ok((x, s))
    }

    fn dispatch(
        &self,
        way: KernelOutput,
        start: usize,
        s: &Tensor,
        rest: &[&Tensor],
        scale: f32,
    ) -> Result<()> {
        let [rows, k] = s.dims("code_softmax")?;
        let words = |x: u64| [x as u32, (x >> 32) as u32];
        let params = Params {
            rows: rows as u32,
            k: k as u32,
            row0: start as u32,
            stream: self.key.stream,
            step: words(self.key.step),
            seed: words(self.key.seed),
            t: self.t,
            scale,
        };
        let hx = self.hx.view(start, &[rows])?;
        let bindings: Vec<&Tensor> = [&hx, &self.he, s]
            .into_iter()
            .chain(rest.iter().copied())
            .collect();
        let groups = crate::gpu::groups_for(rows, 1);
        s.gpu().dispatch(
            "code_softmax",
            &kernel(way, self.metric),
            &bindings,
            &params,
            groups,
            row_work(rows, k),
        )
    }
}

/// `z <- s x - z`, row by row: s [N]; x, z [N, D].
fn scale_rows(s: &Tensor, x: &Tensor, z: &Tensor) -> Result<()> {
    let [n, d] = x.dims("code_softmax")?;
    let work = Work {
        flops: 2.0 * (n * d) as f64,
        bytes: 12.0 * (n * d) as f64,
    };
    let params = [n as u32, d as u32];
    x.gpu().dispatch(
        "code_softmax",
        &scale_rows_kernel(),
        &[s, x, z],
        &params,
        crate::gpu::groups_for(n * d, 64),
        work,
    )
}

const NO_KEY: Key = Key {
    seed: 0,
    step: 0,
    stream: 0,
};

/// Computes a code for each latent, drawn with the probabilities softmax(f / temperature) over the
/// codes, where f is the metric: x [N, D], codebook [K, D] to u32 `[N]`.
///
/// # Errors
/// If the shapes do not fit, or the temperature is not above 0.
pub fn sample_codes(
    x: &Tensor,
    codebook: &Tensor,
    metric: Metric,
    temperature: f32,
    key: Key,
) -> Result<Tensor> {
    let [n, _, _] = check(x, codebook, temperature)?;
    let problem = Problem::new(x, codebook, metric, 1.0 / temperature, key)?;
    let index = Tensor::empty(x.gpu(), &[n], DType::U32)?;
    for (start, rows) in problem.parts() {
        let (_, s) = problem.products(start, rows)?;
        problem.dispatch(
            KernelOutput::Sample,
            start,
            &s,
            &[&index.view(start, &[rows])?],
            1.0,
        )?;
    }
    Ok(index)
}

fn average(problem: &Problem) -> Result<Tensor> {
    let n = problem.hx.len();
    let mut sum: Option<Tensor> = None;
    for (start, rows) in problem.parts() {
        let (_, s) = problem.products(start, rows)?;
        problem.dispatch(KernelOutput::Probability, start, &s, &[], 1.0)?;
        let part = column_sum(&s)?;
        sum = Some(match sum {
            Some(before) => accumulate(before, part)?,
            None => part,
        });
    }
    let sum = sum.ok_or_else(|| Error::invalid("code_softmax", "no latent"))?;
    scale(&sum, 1.0 / n as f32, 0.0)
}

/// Gradients of latents and codes, from that of the average use u [K].
fn average_grad(problem: &Problem, u: &Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
    let (x, e) = (problem.x, problem.e);
    let ([n, d], [k, _], gpu) = (x.dims("code_softmax")?, e.dims("code_softmax")?, x.gpu());
    let dx = Tensor::empty(gpu, &[n, d], DType::F32)?;
    let de = Tensor::zeros(gpu, &[k, d], DType::F32)?;
    let weights = Tensor::zeros(gpu, &[k], DType::F32)?;
    for (start, rows) in problem.parts() {
        let (x, r) = problem.products(start, rows)?;
        let sums = Tensor::empty(gpu, &[rows], DType::F32)?;
        problem.dispatch(
            KernelOutput::Gradient,
            start,
            &r,
            &[u, &sums],
            1.0 / n as f32,
        )?;
        if needs[0] {
            let pull = matmul(&r, e, Transpose::NONE, None)?;
            scale_rows(&sums, &x, &pull)?;
            dx.copy_into(start * d, &pull)?;
        }
        if needs[1] {
            add_assign(&de, &matmul(&r, &x, Transpose::A, None)?)?;
            if problem.metric == Metric::Euclidean {
                add_assign(&weights, &column_sum(&r)?)?;
            }
        }
    }
    if needs[1] {
        scale_rows(&weights, e, &de)?;
    }
    Ok(vec![needs[0].then_some(dx), needs[1].then_some(de)])
}

impl Tape {
    /// Computes the mean over rows of softmax(sharpness f) over the codes, where f is the metric: x
    /// [N, D], codebook [K, D] to `[K]`.
    ///
    /// # Errors
    /// If the shapes do not fit, or the sharpness is not above 0.
    pub fn code_average(
        &self,
        x: &Var,
        codebook: &Var,
        metric: Metric,
        sharpness: f32,
    ) -> Result<Var> {
        let (xt, et) = (x.tensor().clone(), codebook.tensor().clone());
        let y = average(&Problem::new(&xt, &et, metric, sharpness, NO_KEY)?)?;
        Ok(self.record(y, &[x, codebook], move |g, needs| {
            average_grad(
                &Problem::new(&xt, &et, metric, sharpness, NO_KEY)?,
                g,
                needs,
            )
        }))
    }
}
