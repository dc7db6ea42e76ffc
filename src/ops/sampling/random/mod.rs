//! Random numbers that depend on (seed, step, stream, element) alone, never on the order of work.

pub mod philox;
mod reference;

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case};
use crate::{Error, Result, shader};

/// The place of a tensor's numbers in the space of random numbers. Two tensors with equal keys hold
/// equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The run's seed.
    pub seed: u64,
    /// The training step, or whatever else counts.
    pub step: u64,
    /// The purpose of the numbers, so that two uses in one step differ.
    pub stream: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bits,
    Uniform,
    Normal,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Bits, Kind::Uniform, Kind::Normal];
    fn kernel(self) -> Kernel {
        Kernel::new(shader!("sampling/random")).define(
            match self {
                Kind::Bits => "BITS",
                Kind::Uniform => "UNIFORM",
                Kind::Normal => "NORMAL",
            },
            1,
        )
    }
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    stream: u32,
    step: [u32; 2],
    seed: [u32; 2],
    lo: f32,
    scale: f32,
    top: f32,
    pad: u32,
}

fn work(n: usize) -> Work {
    // Ten rounds of two wide products, by halves, for four numbers.
    Work {
        flops: 60.0 * n as f64,
        bytes: 4.0 * n as f64,
    }
}

fn launch(kind: Kind, y: &Tensor, lo: f32, hi: f32, key: Key) -> Result<()> {
    let dtype = if kind == Kind::Bits {
        DType::U32
    } else {
        DType::F32
    };
    if y.dtype() != dtype {
        return Err(Error::shape(
            "random",
            format!("a tensor of {dtype:?}"),
            format!("{y:?}"),
        ));
    }
    let n = u32::try_from(y.len())
        .map_err(|_| Error::shape("random", "fewer than 2^32 elements", format!("{y:?}")))?;
    let params = Params {
        n,
        stream: key.stream,
        step: [key.step as u32, (key.step >> 32) as u32],
        seed: [key.seed as u32, (key.seed >> 32) as u32],
        lo,
        scale: hi - lo,
        top: hi.next_down(),
        pad: 0,
    };
    y.gpu().dispatch(
        "random",
        &kind.kernel(),
        &[y],
        &params,
        groups_for(y.len(), 256),
        work(y.len()),
    )
}

/// Fills `y`, a tensor of u32, with random words. The bits equal [`philox::bits`] on every device.
pub fn bits(y: &Tensor, key: Key) -> Result<()> {
    launch(Kind::Bits, y, 0.0, 0.0, key)
}

/// Fills `y`, a tensor of f32, with numbers uniform in [lo, hi), of 24 random bits each.
///
/// # Errors
/// If `lo` is not below `hi`, or one of them or their distance is not finite.
pub fn uniform(y: &Tensor, lo: f32, hi: f32, key: Key) -> Result<()> {
    if !(lo < hi && (hi - lo).is_finite()) {
        return Err(Error::invalid(
            "random",
            format!("uniform in [{lo}, {hi}): the bounds must be finite and ordered"),
        ));
    }
    launch(Kind::Uniform, y, lo, hi, key)
}

/// Fills `y`, a tensor of f32, with standard normal numbers; none lies beyond 5.8 deviations.
pub fn normal(y: &Tensor, key: Key) -> Result<()> {
    launch(Kind::Normal, y, 0.0, 0.0, key)
}

/// The registry's row.
pub struct Random;

const BOUNDS: (f32, f32) = (-0.75, 1.5);

fn key(case: &Case) -> Key {
    Key {
        seed: 0x0123_4567_89ab_cdef,
        step: case.get("step") as u64,
        stream: 11,
    }
}

impl Operation for Random {
    fn name(&self) -> &'static str {
        "random"
    }
    fn cases(&self) -> Vec<Case> {
        [1, 2, 3, 7, 255, 257, 40_009]
            .into_iter()
            .map(|n| case(&[("n", n), ("step", n << 20)]))
            .collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 1 << 20), ("step", 1)])]
    }
    fn inputs(&self, _: &Case, _: &mut Rng) -> Vec<HostTensor> {
        Vec::new()
    }
    fn run(&self, gpu: &Gpu, case: &Case, _: &[Tensor]) -> Result<Vec<Tensor>> {
        let shape = [case.get("n")];
        let words = Tensor::empty(gpu, &shape, DType::U32)?;
        let (flat, bell) = (
            Tensor::empty(gpu, &shape, DType::F32)?,
            Tensor::empty(gpu, &shape, DType::F32)?,
        );
        bits(&words, key(case))?;
        uniform(&flat, BOUNDS.0, BOUNDS.1, key(case))?;
        normal(&bell, key(case))?;
        Ok(vec![words, flat, bell])
    }
    fn time(&self, gpu: &Gpu, case: &Case, _: &[Tensor]) -> Result<()> {
        normal(
            &Tensor::empty(gpu, &[case.get("n")], DType::F32)?,
            key(case),
        )
    }
    fn reference(&self, case: &Case, _: &[HostTensor]) -> Vec<HostTensor> {
        let (n, key) = (case.get("n"), key(case));
        vec![
            HostTensor::u32(&[n], philox::bits(key, n)),
            HostTensor::f64(
                &[n],
                reference::uniform(key, BOUNDS.0 as f64, BOUNDS.1 as f64, n),
            ),
            HostTensor::f64(&[n], reference::normal(key, n)),
        ]
    }
    fn tolerance(&self, _: &Case, output: usize) -> Tolerance {
        match output {
            0 => Tolerance::EXACT,
            1 => Tolerance::POINTWISE,
            // A radius of up to 5.8 times an error of 2e-7 in the cosine.
            _ => Tolerance {
                abs: 2e-6,
                rel: 1e-6,
            },
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        Kind::ALL.into_iter().map(Kind::kernel).collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let key = Key {
            seed: 0,
            step: 0,
            stream: 0,
        };
        let (words, floats) = (
            Tensor::zeros(gpu, &[5], DType::U32)?,
            Tensor::zeros(gpu, &[5], DType::F32)?,
        );
        Ok(vec![
            ("bounds in the wrong order", uniform(&floats, 1.0, 0.0, key)),
            ("an empty interval", uniform(&floats, 1.0, 1.0, key)),
            ("a bound that is NaN", uniform(&floats, f32::NAN, 1.0, key)),
            (
                "an interval wider than f32",
                uniform(&floats, f32::MIN, f32::MAX, key),
            ),
            ("uniform integers", uniform(&words, 0.0, 1.0, key)),
            ("normal integers", normal(&words, key)),
            ("words in floats", bits(&floats, key)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Options;

    /// Words agree everywhere. Floats agree where the driver keeps products and sums apart, as CPU
    /// drivers do; fusing the two is allowed, and moves the last bit.
    #[test]
    fn device_and_host_agree_to_the_bit() {
        let gpu = Gpu::new(Options {
            poison: true,
            ..Default::default()
        })
        .unwrap();
        let key = Key {
            seed: 0xdead_beef_0bad_cafe,
            step: 0x1_0000_0007,
            stream: 5,
        };
        let n = 100_001;
        let y = Tensor::empty(&gpu, &[n], DType::F32).unwrap();
        let words = Tensor::empty(&gpu, &[n], DType::U32).unwrap();
        bits(&words, key).unwrap();
        assert_eq!(words.read::<u32>().unwrap(), philox::bits(key, n));
        let exact = gpu.info().device_type == wgpu::DeviceType::Cpu;
        let check = |got: Vec<f32>, want: Vec<f32>| {
            for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                let holds = if exact {
                    g.to_bits() == w.to_bits()
                } else {
                    (g - w).abs() <= 2e-6
                };
                assert!(holds, "[{i}] {g:e} {w:e}");
            }
            assert_eq!(got.len(), want.len());
        };
        uniform(&y, 1.0, 2.0, key).unwrap();
        check(y.read().unwrap(), philox::uniform(key, 1.0, 2.0, n));
        uniform(&y, -0.3, 1.1, key).unwrap();
        check(y.read().unwrap(), philox::uniform(key, -0.3, 1.1, n));
        normal(&y, key).unwrap();
        check(y.read().unwrap(), philox::normal(key, n));
    }
}
