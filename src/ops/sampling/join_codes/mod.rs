//! Codes from the halves that a factorised head draws one after another.

use super::sample::SampleOutputs;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    images: u32,
    second: u32,
    codes: u32,
    length: u32,
    column: u32,
}

const OP: &str = "join_codes";

fn kernel(sequence: bool) -> Kernel {
    Kernel::new(shader!("sampling/join_codes")).flag("SEQUENCE", sequence)
}

fn work(rows: usize, images: usize) -> Work {
    Work {
        flops: images as f64,
        bytes: (16 * rows + 16 * images) as f64,
    }
}

/// The halves of codes, and how likely they were.
#[derive(Clone, Copy, Debug)]
pub struct Halves<'a> {
    /// u32 `[R]` each, the second below `values`.
    pub halves: [&'a Tensor; 2],
    /// Logarithms of their probabilities, the second's given the first, f32 `[B]` each; B is at
    /// most R, which has rows without a condition, too, with guidance.
    pub log_probs: [&'a Tensor; 2],
    /// Values that the second half has.
    pub values: usize,
}

/// Writes the code `codes[first x values + second]` of each row, of codes u32 `[K]`, and the sum of
/// both logarithms: tokens u32 `[R]`, log-probabilities f32 `[B]`, and a column of the sequences
/// u32 [B, L], where they are kept.
///
/// # Errors
/// If the shapes do not fit.
pub fn join_codes(from: Halves, codes: &Tensor, to: SampleOutputs) -> Result<()> {
    let ([rows], [images]) = (to.token.dims(OP)?, to.log_prob.dims(OP)?);
    let [k] = codes.dims(OP)?;
    let all = from.halves.into_iter().chain([to.token]);
    let halves = all.into_iter().all(|t| t.shape() == [rows]);
    let logs = from.log_probs.into_iter().all(|t| t.shape() == [images]);
    let u32s = [from.halves[0], from.halves[1], codes, to.token];
    let f32s = [from.log_probs[0], from.log_probs[1], to.log_prob];
    let sequence = to.sequence.is_none_or(|(sequence, column)| {
        let kept = matches!(sequence.shape(), [b, length] if *b == images && column < *length);
        kept && sequence.dtype() == DType::U32
    });
    let typed = u32s.iter().all(|t| t.dtype() == DType::U32)
        && f32s.iter().all(|t| t.dtype() == DType::F32);
    let whole = from.values > 0 && k > 0 && k.is_multiple_of(from.values);
    if !(halves && logs && sequence && typed && whole) || images > rows {
        let expected = "u32 halves and tokens [R], f32 logarithms [B] of B rows of them, codes \
                        [K], K a multiple of the second half's values, and sequences [B, L]";
        return Err(Error::shape(
            OP,
            expected,
            format!("{from:?}, {codes:?}, {to:?}"),
        ));
    }
    let mut bindings = vec![from.halves[0], from.halves[1], codes];
    bindings.extend([from.log_probs[0], from.log_probs[1], to.token, to.log_prob]);
    let (mut length, mut column) = (0, 0);
    if let Some((sequence, at)) = to.sequence {
        (length, column) = (sequence.shape()[1], at);
        bindings.push(sequence);
    }
    let [rows_, images_, second, codes_, length, column] =
        [rows, images, from.values, k, length, column].map(|n| n as u32);
    let params = Params {
        rows: rows_,
        images: images_,
        second,
        codes: codes_,
        length,
        column,
    };
    codes.gpu().dispatch(
        OP,
        &kernel(to.sequence.is_some()),
        &bindings,
        &params,
        groups_for(rows, 64),
        work(rows, images),
    )
}

mod reference {
    /// The code of each pair of halves.
    pub fn join_codes(first: &[u32], second: &[u32], values: usize, codes: &[u32]) -> Vec<u32> {
        let code = |(first, second): (&u32, &u32)| {
            let place = *first as usize * values + *second as usize;
            codes[place.min(codes.len() - 1)]
        };
        first.iter().zip(second).map(code).collect()
    }
}

/// The registry's row: R rows `r`, of which `b` have a condition, halves of `first` and `second`
/// values, and sequences of `l`, 0 for none.
pub struct JoinCodes;

/// The column of the sequences that is written: the last.
fn column(case: &Case) -> Option<usize> {
    case.get("l").checked_sub(1)
}

impl Operation for JoinCodes {
    fn name(&self) -> &'static str {
        OP
    }
    fn cases(&self) -> Vec<Case> {
        let of = |[r, b, k1, k2, l]: [usize; 5]| {
            case(&[("r", r), ("b", b), ("first", k1), ("second", k2), ("l", l)])
        };
        [
            [1, 1, 1, 1, 0],
            [1, 1, 2, 3, 1],
            [6, 3, 5, 8, 7],
            [67, 67, 25, 40, 0],
            [128, 64, 128, 128, 49],
            [301, 77, 16, 1_024, 2],
        ]
        .map(of)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[
            ("r", 128),
            ("b", 64),
            ("first", 128),
            ("second", 128),
            ("l", 256),
        ])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [r, b, k1, k2] = ["r", "b", "first", "second"].map(|n| case.get(n));
        vec![
            rng.indices(&[r], k1),
            rng.indices(&[r], k2),
            rng.indices(&[k1 * k2], k1 * k2),
            rng.normals(&[b]),
            rng.normals(&[b]),
        ]
    }
    fn run(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let [r, b, l] = ["r", "b", "l"].map(|n| case.get(n));
        let [first, second, codes, a, b_log] = [0, 1, 2, 3, 4].map(|i| &inputs[i]);
        let token = Tensor::zeros(gpu, &[r], DType::U32)?;
        let log_prob = Tensor::zeros(gpu, &[b], DType::F32)?;
        let sequence = Tensor::zeros(gpu, &[b, l.max(1)], DType::U32)?;
        let from = Halves {
            halves: [first, second],
            log_probs: [a, b_log],
            values: case.get("second"),
        };
        let to = SampleOutputs {
            token: &token,
            log_prob: &log_prob,
            sequence: column(case).map(|column| (&sequence, column)),
        };
        join_codes(from, codes, to)?;
        Ok(vec![token, log_prob, sequence])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [r, b, l] = ["r", "b", "l"].map(|n| case.get(n));
        let [first, second, codes] = [0, 1, 2].map(|i| inputs[i].as_u32());
        let token = reference::join_codes(first, second, case.get("second"), codes);
        let logs = inputs[3].as_f64().iter().zip(inputs[4].as_f64());
        let mut sequence = vec![0; b * l.max(1)];
        if let Some(column) = column(case) {
            for (row, token) in sequence.chunks_mut(l).zip(&token) {
                row[column] = *token;
            }
        }
        vec![
            HostTensor::u32(&[r], token),
            HostTensor::f64(&[b], logs.map(|(a, b)| a + b).collect()),
            HostTensor::u32(&[b, l.max(1)], sequence),
        ]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("r"), case.get("b"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        [false, true].map(kernel).to_vec()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let words = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::U32);
        let numbers = |shape: &[usize]| Tensor::zeros(gpu, shape, DType::F32);
        let (half, short, codes) = (words(&[4])?, words(&[3])?, words(&[6])?);
        let (log, long, floats) = (numbers(&[2])?, numbers(&[5])?, numbers(&[4])?);
        let (sequence, narrow) = (words(&[2, 3])?, words(&[3, 3])?);
        let call = |first: &Tensor, log: &Tensor, values, sequence| {
            let from = Halves {
                halves: [first, &half],
                log_probs: [log, log],
                values,
            };
            let to = SampleOutputs {
                token: &half,
                log_prob: log,
                sequence,
            };
            join_codes(from, &codes, to)
        };
        Ok(vec![
            ("halves of other rows", call(&short, &log, 3, None)),
            ("halves of f32", call(&floats, &log, 3, None)),
            ("more logarithms than rows", call(&half, &long, 3, None)),
            ("logarithms of u32", call(&half, &half, 3, None)),
            ("no value", call(&half, &log, 0, None)),
            (
                "values that do not divide the codes",
                call(&half, &log, 4, None),
            ),
            (
                "a column past the last",
                call(&half, &log, 3, Some((&sequence, 3))),
            ),
            ("other sequences", call(&half, &log, 3, Some((&narrow, 0)))),
        ])
    }
}
