//! K-means (Lloyd 1982), to place a codebook among the first latents.

use super::assignment::assign;
use super::vq_search::nearest;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{
    Case, ErrorInputs, HostTensor, Operation, Real, Rng, Tolerance, case, cases, refused,
};
use crate::{Error, Result, shader};

/// The result of k-means.
#[derive(Clone, Debug)]
pub struct Clusters {
    /// Their means: f32 [K, D].
    pub means: Tensor,
    /// The rows of each: u32 `[K]`.
    pub counts: Tensor,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    k: u32,
    d: u32,
    n: u32,
    round: u32,
    seed: [u32; 2],
}

fn kernel(init: bool) -> Kernel {
    Kernel::new(shader!("quantize/kmeans")).flag("INIT", init)
}

/// Clusters the rows of x [N, D] into `k`, in `rounds` rounds from random rows. An empty cluster
/// takes another random row.
///
/// # Errors
/// If there is no row or no cluster.
pub fn kmeans(x: &Tensor, k: usize, rounds: usize, seed: u64) -> Result<Clusters> {
    let op = "kmeans";
    let [n, d] = x.dims(op)?;
    if n == 0 || k == 0 || d == 0 {
        return Err(Error::invalid(
            op,
            format!("{k} clusters of {n} rows of {d}: none of these can be 0"),
        ));
    }
    let gpu = x.gpu();
    let means = Tensor::empty(gpu, &[k, d], DType::F32)?;
    let params = |round: usize| Params {
        k: k as u32,
        d: d as u32,
        n: n as u32,
        round: round as u32,
        seed: [seed as u32, (seed >> 32) as u32],
    };
    let work = Work {
        flops: (k * d) as f64,
        bytes: 8.0 * (k * d) as f64,
    };
    gpu.dispatch(
        op,
        &kernel(true),
        &[x, &means],
        &params(0),
        groups_for(k * d, 64),
        work,
    )?;
    for round in 1..=rounds {
        let a = assign(&nearest(x, &means)?, k)?;
        let sums = a.sums(x)?;
        gpu.dispatch(
            op,
            &kernel(false),
            &[x, &sums, &a.counts, &means],
            &params(round),
            groups_for(k * d, 64),
            work,
        )?;
    }
    let counts = assign(&nearest(x, &means)?, k)?.counts;
    Ok(Clusters { means, counts })
}

mod reference {
    use super::Real;

    /// Returns the mean of all rows.
    pub fn mean<T: Real>(x: &[T], d: usize) -> Vec<T> {
        let rows = T::of((x.len() / d) as f64);
        let sum = |i: usize| x[i..].iter().step_by(d).copied().sum::<T>();
        (0..d).map(|i| sum(i) / rows).collect()
    }

    /// Returns the mean squared distance of each row to its nearest mean.
    pub fn distortion<T: Real>(x: &[T], means: &[T], d: usize) -> T {
        let nearest = |x: &[T]| {
            means
                .chunks(d)
                .map(|m| {
                    x.iter()
                        .zip(m)
                        .map(|(a, b)| (*a - *b) * (*a - *b))
                        .sum::<T>()
                })
                .fold(T::infinity(), |a, b| a.min(b))
        };
        x.chunks(d).map(nearest).sum::<T>() / T::of((x.len() / d) as f64)
    }
}

/// Returns whether the means lie nearer to the rows than the mean of all does, and how many rows
/// were counted. Means or counts of another shape are none.
fn summary(case: &Case, x: &HostTensor, found: &[HostTensor]) -> [u32; 2] {
    let d = case.get("d");
    let wide: Vec<HostTensor> = found.iter().map(HostTensor::widened).collect();
    let (Some(means), Some(counts)) = (wide.first(), found.get(1)) else {
        return [0, 0];
    };
    let k = case.get("k");
    if means.shape != [k, d] || counts.shape != [k] {
        return [0, 0];
    }
    let rows = x.widened();
    let reached = reference::distortion(rows.as_f64(), means.as_f64(), d);
    let variance = reference::distortion(rows.as_f64(), &reference::mean(rows.as_f64(), d), d);
    let nearer = match k.min(case.get("n")) {
        // One is that mean, but for rounding.
        1 => -1e-6,
        // Of normal rows, two take away 2 / (pi D) at best, a hundredth where D is 64, and more
        // take more: copies of the mean of all are no clusters.
        _ => (0.25 / d as f64).min(0.03),
    };
    let most = (1.0 - nearer) * variance;
    let counted = counts
        .as_u32()
        .iter()
        .fold(0, |sum: u32, n| sum.wrapping_add(*n));
    [u32::from(reached <= most), counted]
}

/// The registry's row. Where rounding decides between two means the clusters may differ from a
/// reference's, so what is checked is that every row is counted and that the means lie nearer to
/// the rows than the mean of all does.
pub struct Kmeans;

impl Operation for Kmeans {
    fn name(&self) -> &'static str {
        "kmeans"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "k", "d"],
            &[[1, 1, 1], [65, 5, 3], [300, 17, 8], [1_031, 64, 64]],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 8_192), ("k", 512), ("d", 64)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&[case.get("n"), case.get("d")])]
    }
    fn run(&self, gpu: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let clusters = kmeans(&t[0], case.get("k"), 6, 3)?;
        let found = [&clusters.means, &clusters.counts]
            .into_iter()
            .map(HostTensor::download)
            .collect::<Result<Vec<HostTensor>>>()?;
        let judged = summary(case, &HostTensor::download(&t[0])?, &found);
        Ok(vec![Tensor::from_slice(gpu, &[2], &judged)?])
    }
    fn answer(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        outputs: Vec<HostTensor>,
    ) -> Vec<HostTensor> {
        let summary = summary(case, &inputs[0], &outputs);
        vec![HostTensor::u32(&[2], summary.to_vec())]
    }
    fn time(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<()> {
        kmeans(&t[0], case.get("k"), 6, 3).map(drop)
    }
    fn reference(&self, case: &Case, _: &[HostTensor]) -> Vec<HostTensor> {
        vec![HostTensor::u32(&[2], vec![1, case.get("n") as u32])]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        Work {
            flops: 14.0 * (case.get("n") * case.get("k") * case.get("d")) as f64,
            bytes: 4.0 * (case.get("n") * case.get("d")) as f64,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        let own = [kernel(false), kernel(true)];
        own.into_iter()
            .chain(super::vq_search::VqSearch.kernels())
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let x = Tensor::zeros(gpu, &[4, 2], DType::F32)?;
        Ok(vec![refused("no cluster", kmeans(&x, 0, 3, 0))])
    }
}
