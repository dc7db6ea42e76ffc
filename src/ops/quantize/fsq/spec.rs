//! The registry's row.

use super::{Activation, Levels, grad_kernel, kernel, reference, work};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, Data, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, case,
    refused,
};

/// The registry's row of [`Levels`].
pub struct FsqSpec;

/// Levels of a case: those that the paper recommends for 2^8, 2^10, 2^12, 2^14 and 2^16 codes
/// (Mentzer et al. 2023, section 4.1), and small ones.
const SETS: [&[usize]; 7] = [
    &[2],
    &[3, 2],
    &[8, 6, 5],
    &[8, 5, 5, 5],
    &[7, 5, 5, 5, 5],
    &[8, 8, 8, 6, 5],
    &[8, 8, 8, 5, 5, 5],
];

fn levels(case: &Case) -> &'static [usize] {
    SETS[case.get("set").min(SETS.len() - 1)]
}

fn activation(case: &Case) -> Activation {
    if case.get("sigmoid") == 1 {
        Activation::Sigmoid
    } else {
        Activation::Tanh
    }
}

fn of(gpu: &Gpu, case: &Case) -> Result<Levels> {
    Levels::with_activation(gpu, levels(case), activation(case))
}

/// Latents of one row that is infinite, and one that is minus infinite.
fn infinite(channels: usize) -> Vec<f32> {
    [f32::INFINITY, f32::NEG_INFINITY]
        .into_iter()
        .flat_map(|value| std::iter::repeat_n(value, channels))
        .collect()
}

impl Operation for FsqSpec {
    fn name(&self) -> &'static str {
        "fsq"
    }
    fn cases(&self) -> Vec<Case> {
        let rows = [1, 7, 65, 131, 1_031, 257, 63];
        let tanh = rows.iter().enumerate();
        let tanh = tanh.map(|(set, n)| case(&[("set", set), ("n", *n)]));
        let sigmoid = rows.iter().enumerate();
        let sigmoid = sigmoid.map(|(set, n)| case(&[("sigmoid", 1), ("set", set), ("n", *n)]));
        tanh.chain(sigmoid).collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("set", 3), ("n", 16_384)])]
    }
    fn extremes(&self) -> Extremes {
        Extremes::any(&[0])
    }
    /// Latents no closer to a rounding boundary than f32 can tell, and indices to decode.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, levels) = (case.get("n"), levels(case));
        let mut z = Vec::with_capacity(n * levels.len());
        while z.len() < n * levels.len() {
            let value = 2.0 * rng.normal() as f32;
            let level = levels[z.len() % levels.len()];
            let bounded = reference::bounded(value as f64, level, activation(case));
            if ((bounded - bounded.floor()) - 0.5).abs() > 1e-5 {
                z.push(value);
            }
        }
        vec![
            HostTensor::f32(&[n, levels.len()], z),
            rng.indices(&[n], levels.iter().product()),
        ]
    }
    fn run(&self, gpu: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let levels = of(gpu, case)?;
        let (codes, index) = levels.quantize(&t[0])?;
        let infinite = infinite(t[0].shape()[1]);
        let infinite = Tensor::from_slice(gpu, &[2, infinite.len() / 2], &infinite)?;
        let (ends, _) = levels.quantize(&infinite)?;
        Ok(vec![codes, index, levels.codes_of(&t[1])?, ends])
    }
    fn time(&self, gpu: &Gpu, case: &Case, t: &[Tensor]) -> Result<()> {
        of(gpu, case)?.quantize(&t[0]).map(drop)
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (levels, shape) = (levels(case), &inputs[0].shape);
        let (codes, index) = reference::quantize(inputs[0].as_f64(), levels, activation(case));
        let decoded = reference::codes_of(inputs[1].as_u32(), levels);
        let ends: Vec<f64> = infinite(levels.len())
            .iter()
            .map(|v| f64::from(*v))
            .collect();
        let (ends, _) = reference::quantize(&ends, levels, activation(case));
        vec![
            HostTensor::f64(shape, codes),
            HostTensor::u32(&[case.get("n")], index),
            HostTensor::f64(shape, decoded),
            HostTensor::f64(&[2, levels.len()], ends),
        ]
    }
    fn tolerance(&self, _: &Case, output: usize) -> Tolerance {
        if output == 1 {
            Tolerance::EXACT
        } else {
            Tolerance::POINTWISE
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), levels(case).len())
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true), grad_kernel()]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let levels = Levels::new(gpu, &[8, 5])?;
        let three = Tensor::zeros(gpu, &[4, 3], DType::F32)?;
        Ok(vec![
            refused("a level of 1", Levels::new(gpu, &[8, 1])),
            refused("no level", Levels::new(gpu, &[])),
            refused("too many codes", Levels::new(gpu, &[4096, 4097])),
            refused("another number of channels", levels.quantize(&three)),
            refused("floats as indices", levels.codes_of(&three.reshape(&[12])?)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for FsqSpec {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, case: &Case, v: &[Var]) -> Result<Var> {
        Ok(tape.fsq(&v[0], &of(tape.gpu(), case)?)?.0)
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let (z, g) = (inputs[0].as_f64(), upstream.as_f64());
        let dz = reference::gradient(z, g, levels(case), activation(case));
        vec![HostTensor::f64(&inputs[0].shape, dz)]
    }
    /// Computes the codes without the rounding.
    fn surrogate(
        &self,
        _: &dyn Operation,
        case: &Case,
        _: &[HostTensor],
        inputs: &[HostTensor],
    ) -> HostTensor {
        let levels = levels(case);
        let Data::F64(z) = &inputs[0].data else {
            return inputs[0].clone();
        };
        let code = |(i, z): (usize, &f64)| {
            let level = levels[i % levels.len()];
            reference::bounded(*z, level, activation(case)) / (level / 2) as f64
        };
        HostTensor::f64(&inputs[0].shape, z.iter().enumerate().map(code).collect())
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        // 1 - tanh^2 cancels where tanh is near 1.
        Tolerance {
            abs: 2e-6,
            rel: 1e-5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Index to code and back over the whole codebook of every published set of levels.
    #[test]
    fn indices_and_codes_are_a_bijection() {
        let gpu = Gpu::new(Default::default()).expect("an adapter");
        let both = [Activation::Tanh, Activation::Sigmoid];
        for (set, activation) in SETS.iter().flat_map(|set| both.map(|a| (*set, a))) {
            let levels = Levels::with_activation(&gpu, set, activation).unwrap();
            let all: Vec<u32> = (0..levels.codes() as u32).collect();
            let codes = levels
                .codes_of(&Tensor::from_slice(&gpu, &[all.len()], &all).unwrap())
                .unwrap();
            // Latents that the bound takes to the codes: atanh of (code + offset) / half, over the
            // steepness, less the shift. At the ends a sigmoid is infinitely far.
            let values: Vec<f32> = codes.read().unwrap();
            let z: Vec<f32> = values
                .iter()
                .enumerate()
                .map(|(i, code)| {
                    let level = set[i % set.len()];
                    let [half, offset, shift] = crate::ops::quantize::fsq::bound(level, activation);
                    let bounded = (*code as f64 * (level / 2) as f64 + offset) / half;
                    // A code in 32 bits may lie past the end by its rounding.
                    let bounded = bounded.clamp(-1.0, 1.0);
                    (bounded.atanh() / activation.steepness() - shift).clamp(-30.0, 30.0) as f32
                })
                .collect();
            let z = Tensor::from_slice(&gpu, &[all.len(), set.len()], &z).unwrap();
            let (again, index) = levels.quantize(&z).unwrap();
            assert_eq!(index.read::<u32>().unwrap(), all, "{set:?}");
            assert_eq!(again.read::<f32>().unwrap(), values, "{set:?}");
            let mut seen: Vec<Vec<u32>> = values
                .chunks(set.len())
                .map(|c| c.iter().map(|v| v.to_bits()).collect())
                .collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(
                seen.len(),
                levels.codes(),
                "{set:?}: two indices share a code"
            );
        }
    }
}
