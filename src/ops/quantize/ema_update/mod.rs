//! The exponential moving average that moves a codebook: van den Oord et al. 2017, appendix A.1,
//! with Laplace smoothing (Razavi et al. 2019).

mod reference;

use super::assignment::assign;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::ops::linalg::reduce::sum;
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, refused};
use crate::{Error, Result, shader};

/// The state that the average moves. Counts begin at one and sums at the codes, or both as k-means
/// left them: counts from zero would scale an unused code up a hundred-thousand-fold at the first
/// step.
#[derive(Clone, Debug)]
pub struct Ema {
    /// Rows per code and step, averaged: f32 `[K]`.
    pub counts: Tensor,
    /// Sums of those rows, averaged: f32 [K, D].
    pub sums: Tensor,
    /// The codes: f32 [K, D].
    pub codebook: Tensor,
}

/// Options of the moving average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Share of the old value that is kept, in [0, 1).
    pub decay: f32,
    /// Laplace smoothing of the counts, in the division alone.
    pub eps: f32,
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
    decay: f32,
    eps: f32,
}

fn count_kernel() -> Kernel {
    Kernel::new(shader!("quantize/ema_update_counts"))
}

fn codebook_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("quantize/ema_update_codebook")).flag("VEC", vec)
}

/// The averaged counts after a batch, f32 `[K]`: `decay c + (1 - decay) counts`, of c f32 `[K]` and
/// the batch's counts u32 `[K]`.
///
/// # Errors
/// If the shapes do not fit, or the decay is outside [0, 1).
pub fn ema_counts(c: &Tensor, counts: &Tensor, decay: f32) -> Result<Tensor> {
    let op = "ema_update";
    let [k] = c.dims(op)?;
    if counts.shape() != [k] || counts.dtype() != DType::U32 || c.dtype() != DType::F32 {
        return Err(Error::shape(
            op,
            format!("u32 counts [{k}]"),
            format!("{counts:?} for {c:?}"),
        ));
    }
    if !(0.0..1.0).contains(&decay) {
        return Err(Error::invalid(
            op,
            format!("a decay of {decay}: it lies in [0, 1)"),
        ));
    }
    let fresh = Tensor::empty(c.gpu(), &[k], DType::F32)?;
    let work = Work {
        flops: 3.0 * k as f64,
        bytes: 12.0 * k as f64,
    };
    let params = CountParams { k: k as u32, decay };
    c.gpu().dispatch(
        op,
        &count_kernel(),
        &[c, counts, &fresh],
        &params,
        groups_for(k, 64),
        work,
    )?;
    Ok(fresh)
}

/// Moves `ema` by one batch: its counts u32 `[K]` and sums [K, D] by code. Returns the new averaged
/// counts in a tensor of their own, f32 `[K]`, by which
/// [`restart_dead_codes`](super::restart_dead_codes::restart_dead_codes) judges.
///
/// # Errors
/// If the shapes do not fit, or the decay is outside [0, 1).
pub fn ema_update(ema: &Ema, counts: &Tensor, sums: &Tensor, o: Options) -> Result<Tensor> {
    let op = "ema_update";
    let [k, d] = ema.codebook.dims(op)?;
    if ema.counts.shape() != [k] || ema.sums.shape() != [k, d] || sums.shape() != [k, d] {
        let got = format!("{ema:?}, sums {sums:?}");
        return Err(Error::shape(
            op,
            format!("counts [{k}] and sums [{k}, {d}]"),
            got,
        ));
    }
    if !(o.eps >= 0.0) {
        return Err(Error::invalid(op, format!("{o:?}: eps is not negative")));
    }
    let gpu = sums.gpu();
    let fresh = ema_counts(&ema.counts, counts, o.decay)?;
    let total = sum(&fresh)?;
    let vec = d.is_multiple_of(4);
    let units = if vec { d / 4 } else { d };
    let params = Params {
        k: k as u32,
        units: units as u32,
        decay: o.decay,
        eps: o.eps,
    };
    let work = Work {
        flops: 4.0 * (k * d) as f64,
        bytes: 16.0 * (k * d) as f64,
    };
    let bindings = [sums, &fresh, &total, &ema.counts, &ema.sums, &ema.codebook];
    gpu.dispatch(
        op,
        &codebook_kernel(vec),
        &bindings,
        &params,
        groups_for(k * units, 64),
        work,
    )?;
    Ok(fresh)
}

/// The registry's row.
pub struct EmaUpdate;

const OPTIONS: Options = Options {
    decay: 0.9,
    eps: 1e-5,
};

impl Operation for EmaUpdate {
    fn name(&self) -> &'static str {
        "ema_update"
    }
    fn cases(&self) -> Vec<Case> {
        let shapes = [(1, 1, 1), (40, 17, 5), (300, 65, 16), (1_031, 130, 64)];
        shapes
            .map(|(n, k, d)| case(&[("n", n), ("k", k), ("d", d)]))
            .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("k", 1_024), ("d", 64)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        let counts = HostTensor::f32(&[k], (0..k).map(|_| 0.5 + rng.uniform() as f32).collect());
        vec![
            rng.indices(&[n], k),
            rng.normals(&[n, d]),
            counts,
            rng.normals(&[k, d]),
        ]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let a = assign(&t[0], case.get("k"))?;
        let ema = Ema {
            counts: t[2].duplicate()?,
            sums: t[3].duplicate()?,
            codebook: t[3].duplicate()?,
        };
        ema_update(&ema, &a.counts, &a.sums(&t[1])?, OPTIONS)?;
        Ok(vec![ema.counts, ema.sums, ema.codebook])
    }
    /// Everything that the moving average adds to a search: counting and sorting the codes, the
    /// sums, the update.
    fn time(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<()> {
        let a = assign(&t[0], case.get("k"))?;
        let codebook = Tensor::empty(t[3].gpu(), t[3].shape(), DType::F32)?;
        let ema = Ema {
            counts: t[2].clone(),
            sums: t[3].clone(),
            codebook,
        };
        ema_update(&ema, &a.counts, &a.sums(&t[1])?, OPTIONS).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (k, d) = (case.get("k"), case.get("d"));
        let (counts, sums, codebook) = reference::ema_update(
            inputs[0].as_u32(),
            inputs[1].as_f64(),
            inputs[2].as_f64(),
            inputs[3].as_f64(),
            OPTIONS,
        );
        vec![
            HostTensor::f64(&[k], counts),
            HostTensor::f64(&[k, d], sums),
            HostTensor::f64(&[k, d], codebook),
        ]
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance::sum(case.get("n"))
    }
    fn work(&self, case: &Case) -> Work {
        let kd = (case.get("k") * case.get("d")) as f64;
        Work {
            flops: 4.0 * kd,
            bytes: 16.0 * kd,
        }
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![
            count_kernel(),
            codebook_kernel(false),
            codebook_kernel(true),
        ]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let f = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
        let ema = Ema {
            counts: f(&[3])?,
            sums: f(&[3, 2])?,
            codebook: f(&[3, 2])?,
        };
        let (counts, sums) = (Tensor::zeros(gpu, &[3], DType::U32)?, f(&[3, 2])?);
        let wild = Options {
            decay: f32::NAN,
            ..OPTIONS
        };
        Ok(vec![
            refused("a decay of NaN", ema_update(&ema, &counts, &sums, wild)),
            refused(
                "sums of another size",
                ema_update(&ema, &counts, &f(&[5, 2])?, OPTIONS),
            ),
            refused("float counts", ema_update(&ema, &f(&[3])?, &sums, OPTIONS)),
        ])
    }
}
