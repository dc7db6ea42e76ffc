//! The exponential moving average that moves a codebook: van den Oord et al. 2017, appendix A.1, with Laplace smoothing
//! and the revival of dead codes (Razavi et al. 2019; Dhariwal et al. 2020, "Jukebox").

mod twin;

use super::assignment::assign;
use super::random::Key;
use super::reduce::sum;
use super::{Case, Host, Operation, Rng, Tolerance, case, groups_for};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::{Error, Result, shader};

/// The state that the average moves. Counts begin at one and sums at the codes, or both as k-means left them: counts
/// from zero would scale an unused code up a hundred-thousand-fold at the first step.
#[derive(Clone, Debug)]
pub struct Ema {
    /// Rows per code and step, averaged: f32 [K].
    pub counts: Tensor,
    /// Sums of those rows, averaged: f32 [K, D].
    pub sums: Tensor,
    /// The codes: f32 [K, D].
    pub codebook: Tensor,
}

/// How the average moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Share of the old value that is kept, in [0, 1).
    pub decay: f32,
    /// Laplace smoothing of the counts, in the division alone.
    pub eps: f32,
    /// A code whose averaged count falls below becomes a random latent of the batch; 0 revives none.
    pub threshold: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct CountParams {
    k: u32,
    decay: f32,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    k: u32,
    units: u32,
    n: u32,
    decay: f32,
    eps: f32,
    threshold: f32,
    seed: [u32; 2],
    step: [u32; 2],
}

fn words(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

fn count_kernel() -> Kernel {
    Kernel::new(shader!("ema_counts"))
}

fn codebook_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("ema_codebook")).flag("VEC", vec)
}

/// Moves `ema` by one batch: its counts u32 [K] and sums [K, D] by code, and the latents x [N, D] themselves, of which dead
/// codes take random rows drawn from `key`. Returns the averaged counts before any revival, f32 [K].
///
/// # Errors
/// If the shapes do not fit, or the decay is outside [0, 1).
pub fn ema_update(ema: &Ema, counts: &Tensor, sums: &Tensor, x: &Tensor, o: Options, key: Key) -> Result<Tensor> {
    let op = "ema_update";
    let [k, d] = ema.codebook.dims(op)?;
    let [n, d2] = x.dims(op)?;
    let fits =
        ema.counts.shape() == [k] && ema.sums.shape() == [k, d] && counts.shape() == [k] && sums.shape() == [k, d];
    if !fits || d != d2 || n == 0 || counts.dtype() != DType::U32 {
        let got = format!("{ema:?}, counts {counts:?}, sums {sums:?}, latents {x:?}");
        return Err(Error::shape(op, format!("counts [{k}], sums [{k}, {d}] and latents [N, {d}]"), got));
    }
    if !(0.0..1.0).contains(&o.decay) || !(o.eps >= 0.0) || !(o.threshold >= 0.0) {
        return Err(Error::invalid(op, format!("{o:?}: the decay lies in [0, 1), eps and threshold are not negative")));
    }
    let gpu = x.gpu();
    let vec = d.is_multiple_of(4);
    let units = if vec { d / 4 } else { d };
    let fresh = Tensor::empty(gpu, &[k], DType::F32)?;
    let params = CountParams { k: k as u32, decay: o.decay };
    let work = Work { flops: 3.0 * k as f64, bytes: 12.0 * k as f64 };
    gpu.dispatch(op, &count_kernel(), &[&ema.counts, counts, &fresh], &params, groups_for(k, 64), work)?;
    let total = sum(&fresh)?;
    let params = Params {
        k: k as u32,
        units: units as u32,
        n: n as u32,
        decay: o.decay,
        eps: o.eps,
        threshold: o.threshold,
        seed: words(key.seed),
        step: words(key.step),
    };
    let work = Work { flops: 4.0 * (k * d) as f64, bytes: 16.0 * (k * d) as f64 };
    let bindings = [sums, x, &fresh, &total, &ema.counts, &ema.sums, &ema.codebook];
    gpu.dispatch(op, &codebook_kernel(vec), &bindings, &params, groups_for(k * units, 64), work)?;
    Ok(fresh)
}

/// The registry's row.
pub struct EmaUpdate;

fn options(case: &Case) -> Options {
    Options { decay: 0.9, eps: 1e-5, threshold: if case.get("revive") == 1 { 0.95 } else { 0.0 } }
}
const KEY: Key = Key { seed: 77, step: 5, stream: 0 };

impl Operation for EmaUpdate {
    fn name(&self) -> &'static str {
        "ema_update"
    }
    fn cases(&self) -> Vec<Case> {
        let shapes = [(1, 1, 1), (40, 17, 5), (300, 65, 16), (1_031, 130, 64)];
        (0..2).flat_map(|r| shapes.map(|(n, k, d)| case(&[("n", n), ("k", k), ("d", d), ("revive", r)]))).collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("k", 1_024), ("d", 64), ("revive", 1)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<Host> {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        let counts = Host::f32(&[k], (0..k).map(|_| 0.5 + rng.uniform() as f32).collect());
        vec![rng.indices(&[n], k), rng.normals(&[n, d]), counts, rng.normals(&[k, d])]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let a = assign(&t[0], case.get("k"))?;
        let ema = Ema { counts: t[2].duplicate()?, sums: t[3].duplicate()?, codebook: t[3].duplicate()? };
        ema_update(&ema, &a.counts, &a.sums(&t[1])?, &t[1], options(case), KEY)?;
        Ok(vec![ema.counts, ema.sums, ema.codebook])
    }
    /// Everything that the moving average adds to a search: counting and sorting the codes, the sums, the update.
    fn time(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<()> {
        let a = assign(&t[0], case.get("k"))?;
        let codebook = Tensor::empty(t[3].gpu(), t[3].shape(), DType::F32)?;
        let ema = Ema { counts: t[2].clone(), sums: t[3].clone(), codebook };
        ema_update(&ema, &a.counts, &a.sums(&t[1])?, &t[1], options(case), KEY).map(drop)
    }
    fn twin(&self, case: &Case, inputs: &[Host]) -> Vec<Host> {
        let (k, d) = (case.get("k"), case.get("d"));
        let (counts, sums, codebook) = twin::ema_update(
            inputs[0].as_u32(),
            inputs[1].as_f64(),
            inputs[2].as_f64(),
            inputs[3].as_f64(),
            options(case),
            KEY,
        );
        vec![Host::f64(&[k], counts), Host::f64(&[k, d], sums), Host::f64(&[k, d], codebook)]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance::sum(case.get("n"))
    }
    fn work(&self, case: &Case) -> Work {
        let kd = (case.get("k") * case.get("d")) as f64;
        Work { flops: 4.0 * kd, bytes: 16.0 * kd }
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![count_kernel(), codebook_kernel(false), codebook_kernel(true)]
    }
    fn hostile(&self, gpu: &Gpu) -> Vec<(&'static str, Result<()>)> {
        let calls = || -> Result<_> {
            let f = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
            let ema = Ema { counts: f(&[3])?, sums: f(&[3, 2])?, codebook: f(&[3, 2])? };
            let (counts, sums, x) = (Tensor::zeros(gpu, &[3], DType::U32)?, f(&[3, 2])?, f(&[5, 2])?);
            let fine = Options { decay: 0.9, eps: 1e-5, threshold: 1.0 };
            let wild = Options { decay: f32::NAN, ..fine };
            Ok(vec![
                ("a decay of NaN", ema_update(&ema, &counts, &sums, &x, wild, KEY).map(drop)),
                ("sums of another size", ema_update(&ema, &counts, &x, &x, fine, KEY).map(drop)),
            ])
        };
        calls().unwrap_or_else(|e| vec![("set-up", Err(e))])
    }
}
