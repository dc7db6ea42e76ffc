//! A penalty on tokens that a sequence has already (Keskar et al. 2019, "CTRL", section 4.1):
//! drawing the likeliest token again and again then leaves its loops.

use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Real, Rng, Tolerance, case};
use crate::{Error, Result, shader};

/// The tokens of sequences [B, L] that are penalised: `count` columns from `first` on, `stride`
/// apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The first.
    pub first: usize,
    /// Columns from one to the next.
    pub stride: usize,
    /// Number of columns.
    pub count: usize,
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    rows: u32,
    v: u32,
    sequences: u32,
    length: u32,
    first: u32,
    stride: u32,
    count: u32,
    theta: f32,
    places: u32,
}

const OP: &str = "repetition_penalty";
/// The logit of a banned token: below any other, and still a number.
const BANNED: f32 = -3.0e38;

fn kernel(ban: bool, each: bool) -> Kernel {
    Kernel::new(shader!("sampling/repetition_penalty"))
        .flag("BAN", ban)
        .flag("EACH", each)
}

fn work(rows: usize, v: usize, count: usize) -> Work {
    Work {
        flops: (rows * count) as f64,
        bytes: (8 * rows * v + 12 * rows * count) as f64,
    }
}

/// Checks that a penalty is usable: a number of at least 1, or infinite.
///
/// # Errors
/// If not.
pub fn check(penalty: f32) -> Result<()> {
    if penalty >= 1.0 {
        return Ok(());
    }
    Err(Error::invalid(
        OP,
        format!(
            "a penalty of {penalty}: it is at least 1, which is none; infinite, no token comes \
             again"
        ),
    ))
}

/// Logits f32 [R, V] with those of the tokens in `columns` of sequences u32 [B, L], B dividing R
/// and sequence r mod B belonging to row r, divided by `penalty` where they are above 0 and
/// multiplied by it where they are not. An infinite penalty bans them. A number past the last token
/// is none, and changes nothing.
///
/// # Errors
/// If the shapes do not fit, or the penalty is below 1.
pub fn repetition_penalty(
    logits: &Tensor,
    sequence: &Tensor,
    columns: Columns,
    penalty: f32,
) -> Result<Tensor> {
    penalized(logits, sequence, columns, penalty, None)
}

/// [`repetition_penalty`] of rows that stand at places of their own: row r has the sequence and the
/// number of columns of row r mod P of `at`, u32 [P, 2], P dividing R; there are as many sequences
/// as there are, and no number is above that of `columns`.
///
/// # Errors
/// As [`repetition_penalty`].
pub fn repetition_penalty_each(
    logits: &Tensor,
    sequence: &Tensor,
    columns: Columns,
    penalty: f32,
    at: &Tensor,
) -> Result<Tensor> {
    penalized(logits, sequence, columns, penalty, Some(at))
}

fn penalized(
    logits: &Tensor,
    sequence: &Tensor,
    columns: Columns,
    penalty: f32,
    at: Option<&Tensor>,
) -> Result<Tensor> {
    check(penalty)?;
    let ([rows, v], [b, length]) = (logits.dims(OP)?, sequence.dims(OP)?);
    let Columns {
        first,
        stride,
        count,
    } = columns;
    let last = count
        .checked_sub(1)
        .and_then(|n| n.checked_mul(stride)?.checked_add(first));
    let inside = stride > 0 && (count == 0 || last.is_some_and(|last| last < length));
    let types = logits.dtype() == DType::F32 && sequence.dtype() == DType::U32;
    let places = at.map_or(b, |at| at.shape().first().copied().unwrap_or(0));
    let whole = at.is_none_or(|at| at.shape() == [places, 2] && at.dtype() == DType::U32);
    if b == 0
        || places == 0
        || !whole
        || !rows.is_multiple_of(places)
        || v == 0
        || !inside
        || !types
        || rows * count > u32::MAX as usize
    {
        let expected = format!(
            "f32 logits [R, V] and u32 sequences [B, L], B dividing R, with the columns \
             {columns:?}"
        );
        return Err(Error::shape(
            OP,
            expected,
            format!("{logits:?}, {sequence:?}, {at:?}"),
        ));
    }
    let y = logits.duplicate()?;
    if count == 0 {
        return Ok(y);
    }
    let [rows_, v_, sequences, length, first, stride, count_] =
        [rows, v, b, length, first, stride, count].map(|n| n as u32);
    let params = Params {
        rows: rows_,
        v: v_,
        sequences,
        length,
        first,
        stride,
        count: count_,
        theta: penalty,
        places: places as u32,
    };
    let kernel = kernel(penalty.is_infinite(), at.is_some());
    let groups = groups_for(rows * count, 64);
    logits.gpu().dispatch(
        OP,
        &kernel,
        &[logits, sequence, &y]
            .into_iter()
            .chain(at)
            .collect::<Vec<_>>(),
        &params,
        groups,
        work(rows, v, count),
    )?;
    Ok(y)
}

mod reference {
    use super::{BANNED, Columns, Real};
    pub fn repetition_penalty<T: Real>(
        x: &[T],
        v: usize,
        seq: &[u32],
        length: usize,
        c: Columns,
        penalty: f64,
    ) -> Vec<T> {
        let mut y = x.to_vec();
        let sequences = seq.len() / length;
        for (r, (y, x)) in y.chunks_mut(v).zip(x.chunks(v)).enumerate() {
            let own = &seq[r % sequences * length..][..length];
            for token in own.iter().skip(c.first).step_by(c.stride).take(c.count) {
                let (at, theta) = (*token as usize, T::of(penalty));
                if at >= v {
                    continue;
                }
                y[at] = match penalty.is_infinite() {
                    true => T::of(f64::from(BANNED)),
                    false if x[at] > T::zero() => x[at] / theta,
                    false => x[at] * theta,
                };
            }
        }
        y
    }
}

/// The registry's row.
pub struct RepetitionPenalty;

/// The penalty of a case: `ban=1` is the infinite one.
fn penalty(case: &Case) -> f32 {
    if case.get("ban") == 1 {
        f32::INFINITY
    } else {
        1.3
    }
}

fn columns(case: &Case) -> Columns {
    let (stride, length) = (case.get("stride"), case.get("l"));
    let first = stride - 1;
    Columns {
        first,
        stride,
        count: (length.saturating_sub(first)) / stride,
    }
}

/// Sequences and counts of rows that stand at places of their own.
fn each_at(case: &Case) -> Vec<[u32; 2]> {
    let (rows, b) = (case.get("r"), case.get("b"));
    let count = |row: usize| 3 * row % (columns(case).count + 1);
    (0..rows)
        .map(|row| [(5 * row + 1) % b, count(row)].map(|n| n as u32))
        .collect()
}

impl Operation for RepetitionPenalty {
    fn name(&self) -> &'static str {
        OP
    }
    fn cases(&self) -> Vec<Case> {
        let shapes = [
            (1, 1, 1, 1, 1),
            (2, 1, 5, 3, 1),
            (6, 3, 17, 49, 2),
            (13, 13, 512, 67, 1),
            (128, 64, 61, 64, 4),
        ];
        let make = |ban| {
            shapes.map(|(r, b, v, l, s)| {
                case(&[
                    ("r", r),
                    ("b", b),
                    ("v", v),
                    ("l", l),
                    ("stride", s),
                    ("ban", ban),
                ])
            })
        };
        make(0).into_iter().chain(make(1)).collect()
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[
            ("r", 128),
            ("b", 64),
            ("v", 512),
            ("l", 256),
            ("stride", 1),
            ("ban", 0),
        ])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let [r, b, v, l] = ["r", "b", "v", "l"].map(|n| case.get(n));
        // Some are no tokens: the first number past them, and the largest there is.
        let mut sequences = rng.indices(&[b, l], v).as_u32().to_vec();
        for (i, token) in sequences.iter_mut().enumerate() {
            match i % 5 {
                2 => *token = v as u32,
                4 => *token = u32::MAX,
                _ => {}
            }
        }
        vec![rng.normals(&[r, v]), HostTensor::u32(&[b, l], sequences)]
    }
    fn run(&self, gpu: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let (x, seq) = (&inputs[0], &inputs[1]);
        let at = each_at(case).concat();
        let at = Tensor::from_slice(gpu, &[at.len() / 2, 2], &at)?;
        let (c, penalty) = (columns(case), penalty(case));
        Ok(vec![
            repetition_penalty(x, seq, c, penalty)?,
            repetition_penalty_each(x, seq, c, penalty, &at)?,
        ])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let [r, v, l] = ["r", "v", "l"].map(|n| case.get(n));
        let (x, seq) = (inputs[0].as_f64(), inputs[1].as_u32());
        let y =
            reference::repetition_penalty(x, v, seq, l, columns(case), f64::from(penalty(case)));
        let mut each = Vec::new();
        let at = each_at(case);
        for (row, x) in x.chunks(v).enumerate() {
            let [sequence, count] = at[row % at.len()].map(|n| n as usize);
            let (own, c) = (&seq[sequence * l..][..l], columns(case));
            let c = Columns { count, ..c };
            let penalty = f64::from(penalty(case));
            each.extend(reference::repetition_penalty(x, v, own, l, c, penalty));
        }
        [y, each].map(|y| HostTensor::f64(&[r, v], y)).to_vec()
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("r"), case.get("v"), columns(case).count)
    }
    fn kernels(&self) -> Vec<Kernel> {
        [false, true]
            .into_iter()
            .flat_map(|ban| [false, true].map(|each| kernel(ban, each)))
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let (x, seq) = (
            Tensor::zeros(gpu, &[4, 5], DType::F32)?,
            Tensor::zeros(gpu, &[2, 3], DType::U32)?,
        );
        let (odd, floats) = (
            Tensor::zeros(gpu, &[3, 3], DType::U32)?,
            Tensor::zeros(gpu, &[2, 3], DType::F32)?,
        );
        let all = Columns {
            first: 0,
            stride: 1,
            count: 3,
        };
        let call = |seq: &Tensor, columns, penalty| {
            repetition_penalty(&x, seq, columns, penalty).map(drop)
        };
        Ok(vec![
            ("a penalty below 1", call(&seq, all, 0.5)),
            ("a penalty of NaN", call(&seq, all, f32::NAN)),
            (
                "a column past the last",
                call(&seq, Columns { first: 1, ..all }, 2.0),
            ),
            (
                "columns 0 apart",
                call(&seq, Columns { stride: 0, ..all }, 2.0),
            ),
            (
                "columns beyond numbers",
                call(
                    &seq,
                    Columns {
                        stride: usize::MAX,
                        ..all
                    },
                    2.0,
                ),
            ),
            (
                "sequences that do not divide the rows",
                call(&odd, all, 2.0),
            ),
            ("sequences of f32", call(&floats, all, 2.0)),
            (
                "places of three numbers",
                repetition_penalty_each(&x, &seq, all, 2.0, &seq).map(drop),
            ),
        ])
    }
}
