//! The revival of dead codes: a code that its batches no longer choose takes the place of a random
//! latent, so that a codebook does not collapse (Dhariwal et al. 2020, "Jukebox", section 3.1;
//! Zeghidour et al. 2021, "SoundStream").

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::ops::quantize::gather::gather;
use crate::ops::sampling::random::{Key, philox};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Real, Rng, Tolerance, case, refused};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    k: u32,
    units: u32,
    n: u32,
    threshold: f32,
    seed: [u32; 2],
    step: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct CountParams {
    k: u32,
    threshold: f32,
}

fn words(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

fn kernel(vec: bool, sums: bool, given: bool) -> Kernel {
    Kernel::new(shader!("quantize/restart_dead_codes"))
        .flag("VEC", vec)
        .flag("SUMS", sums)
        .flag("GIVEN", given)
}
fn count_kernel() -> Kernel {
    Kernel::new(shader!("quantize/restart_dead_codes_below_count"))
}

/// The state of a codebook that moves with a dead code.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    /// The codes: f32 [K, D].
    pub codebook: &'a Tensor,
    /// Rows per code and step, averaged: f32 `[K]`.
    pub counts: &'a Tensor,
    /// Sums of those rows, averaged, where they are kept: f32 [K, D].
    pub sums: Option<&'a Tensor>,
}

/// Codes whose count in `judged` (f32 `[K]`, in a tensor of its own) is below the threshold become
/// random rows of x [N, D], with a count of the threshold. Returns how many: f32 `[1]`.
///
/// # Errors
/// If the shapes do not fit, there is no row, or the threshold is negative.
pub fn restart_dead_codes(
    codes: Codes,
    judged: &Tensor,
    x: &Tensor,
    threshold: f32,
    key: Key,
) -> Result<Tensor> {
    restart(codes, judged, x, threshold, Some(key))
}

/// [`restart_dead_codes`], where each code has a row of its own to become: x [K, D].
///
/// # Errors
/// As [`restart_dead_codes`].
pub fn restart_dead_codes_at(
    codes: Codes,
    judged: &Tensor,
    x: &Tensor,
    threshold: f32,
) -> Result<Tensor> {
    restart(codes, judged, x, threshold, None)
}

/// Returns the row of `n` that [`restart_dead_codes`] gives code `k`: Philox keyed by (seed; code,
/// step), as the kernel draws it.
pub fn restart_row(k: usize, n: usize, key: Key) -> usize {
    let (seed, step) = (words(key.seed), words(key.step));
    let bits = philox::philox4x32([k as u32, 0x5245_5649, step[0], step[1]], seed);
    ((bits[0] as u64 * n as u64) >> 32) as usize
}

fn restart(
    codes: Codes,
    judged: &Tensor,
    x: &Tensor,
    threshold: f32,
    key: Option<Key>,
) -> Result<Tensor> {
    let op = "restart_dead_codes";
    let [k, d] = codes.codebook.dims(op)?;
    let [n, d2] = x.dims(op)?;
    if key.is_none() && n != k {
        return Err(Error::shape(op, format!("a row for each of {k} codes"), n));
    }
    let given = key.is_none();
    let key = key.unwrap_or(Key {
        seed: 0,
        step: 0,
        stream: 0,
    });
    let sums_fit = codes.sums.is_none_or(|sums| sums.shape() == [k, d]);
    if codes.counts.shape() != [k] || judged.shape() != [k] || !sums_fit || d != d2 || n == 0 {
        let got = format!("{codes:?}, judged {judged:?}, latents {x:?}");
        return Err(Error::shape(
            op,
            format!("counts [{k}], sums [{k}, {d}] and latents [N, {d}]"),
            got,
        ));
    }
    if !(threshold >= 0.0) {
        return Err(Error::invalid(
            op,
            format!("a threshold of {threshold}: it is not negative"),
        ));
    }
    let gpu = x.gpu();
    let vec = d.is_multiple_of(4);
    let units = if vec { d / 4 } else { d };
    let params = Params {
        k: k as u32,
        units: units as u32,
        n: n as u32,
        threshold,
        seed: words(key.seed),
        step: words(key.step),
    };
    let bindings: Vec<&Tensor> = [x, judged, codes.counts, codes.codebook]
        .into_iter()
        .chain(codes.sums)
        .collect();
    let kernel = kernel(vec, codes.sums.is_some(), given);
    gpu.dispatch(
        op,
        &kernel,
        &bindings,
        &params,
        groups_for(k * units, 64),
        work(k, d),
    )?;
    let dead = Tensor::empty(gpu, &[1], DType::F32)?;
    let params = CountParams {
        k: k as u32,
        threshold,
    };
    gpu.dispatch(
        op,
        &count_kernel(),
        &[judged, &dead],
        &params,
        [1, 1, 1],
        work(k, 1),
    )?;
    Ok(dead)
}

fn work(k: usize, d: usize) -> Work {
    Work {
        flops: (k * d) as f64,
        bytes: 4.0 * (k * d) as f64,
    }
}

mod reference {
    use super::{Key, Real, restart_row};

    /// Counts, sums and codes with the dead ones revived, and their number.
    pub fn restart_dead_codes<T: Real>(
        mut parts: [Vec<T>; 3],
        judged: &[T],
        x: &[T],
        threshold: T,
        key: Key,
    ) -> ([Vec<T>; 3], usize) {
        let d = parts[2].len() / judged.len();
        let dead: Vec<usize> = (0..judged.len())
            .filter(|k| judged[*k] < threshold)
            .collect();
        for k in &dead {
            parts[0][*k] = threshold;
            for j in 0..d {
                let value = x[restart_row(*k, x.len() / d, key) * d + j];
                parts[1][k * d + j] = value * threshold;
                parts[2][k * d + j] = value;
            }
        }
        (parts, dead.len())
    }
}

/// The registry's row.
pub struct RestartDeadCodes;

const THRESHOLD: f32 = 0.95;
const KEY: Key = Key {
    seed: 77,
    step: 5,
    stream: 0,
};

impl Operation for RestartDeadCodes {
    fn name(&self) -> &'static str {
        "restart_dead_codes"
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
            rng.normals(&[n, d]),
            counts,
            rng.normals(&[k, d]),
            rng.normals(&[k, d]),
        ]
    }
    /// Runs it with sums, and over the codebook alone.
    fn run(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let [counts, sums, codebook] = [t[1].duplicate()?, t[2].duplicate()?, t[3].duplicate()?];
        let codes = Codes {
            codebook: &codebook,
            counts: &counts,
            sums: Some(&sums),
        };
        let dead = restart_dead_codes(codes, &t[1], &t[0], THRESHOLD, KEY)?;
        let (counts_too, alone) = (t[1].duplicate()?, t[3].duplicate()?);
        restart_dead_codes(
            Codes {
                codebook: &alone,
                counts: &counts_too,
                sums: None,
            },
            &t[1],
            &t[0],
            THRESHOLD,
            KEY,
        )?;
        // Likewise of rows that were chosen before.
        let k = codebook.shape()[0];
        let rows: Vec<u32> = (0..k)
            .map(|code| restart_row(code, t[0].shape()[0], KEY) as u32)
            .collect();
        let rows = gather(&t[0], &Tensor::from_slice(t[0].gpu(), &[k], &rows)?)?;
        let mut given = Vec::new();
        for with_sums in [true, false] {
            let [counts, sums, codebook] =
                [t[1].duplicate()?, t[2].duplicate()?, t[3].duplicate()?];
            let codes = Codes {
                codebook: &codebook,
                counts: &counts,
                sums: with_sums.then_some(&sums),
            };
            restart_dead_codes_at(codes, &t[1], &rows, THRESHOLD)?;
            given.push(codebook);
        }
        Ok([vec![counts, sums, codebook, dead, alone], given].concat())
    }
    fn time(&self, _: &Gpu, _: &Case, t: &[Tensor]) -> Result<()> {
        let judged = t[1].duplicate()?;
        let codes = Codes {
            codebook: &t[3],
            counts: &t[1],
            sums: Some(&t[2]),
        };
        restart_dead_codes(codes, &judged, &t[0], THRESHOLD, KEY).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (k, d) = (case.get("k"), case.get("d"));
        let [x, counts, sums, codebook] = [0, 1, 2, 3].map(|i| inputs[i].as_f64());
        let parts = [counts.to_vec(), sums.to_vec(), codebook.to_vec()];
        let ([c, m, e], dead) =
            reference::restart_dead_codes(parts, counts, x, THRESHOLD as f64, KEY);
        let f = |shape: &[usize], v: Vec<f64>| HostTensor::f64(shape, v);
        vec![
            f(&[k], c),
            f(&[k, d], m),
            f(&[k, d], e.clone()),
            f(&[1], vec![dead as f64]),
            f(&[k, d], e.clone()),
            f(&[k, d], e.clone()),
            f(&[k, d], e),
        ]
    }
    fn tolerance(&self, _: &Case, output: usize) -> Tolerance {
        if output == 1 {
            Tolerance::POINTWISE
        } else {
            Tolerance::EXACT
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("k"), case.get("d"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        let both = [false, true]
            .into_iter()
            .flat_map(|vec| [[vec, false], [vec, true]])
            .flat_map(|[vec, sums]| [false, true].map(|given| kernel(vec, sums, given)));
        both.chain([count_kernel()]).collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let f = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
        let (codebook, counts, judged) = (f(&[3, 2])?, f(&[3])?, f(&[3])?);
        let codes = Codes {
            codebook: &codebook,
            counts: &counts,
            sums: None,
        };
        Ok(vec![
            refused(
                "no latent",
                restart_dead_codes(codes, &judged, &f(&[0, 2])?, 1.0, KEY),
            ),
            refused(
                "rows for other than each code",
                restart_dead_codes_at(codes, &judged, &f(&[5, 2])?, 1.0),
            ),
            refused(
                "a threshold of NaN",
                restart_dead_codes(codes, &judged, &f(&[5, 2])?, f32::NAN, KEY),
            ),
            refused(
                "counts of another size",
                restart_dead_codes(codes, &f(&[4])?, &f(&[5, 2])?, 1.0, KEY),
            ),
        ])
    }
}
