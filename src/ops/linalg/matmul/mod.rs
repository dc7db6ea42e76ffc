//! Matrix products in all four transpose cases, batched, with an optional bias.

mod spec;

mod reference;

use super::split_sum::split_sum_to;
use crate::autograd::{Tape, Var};
use crate::gpu::kernel::gemm::{OperandLayout, Tile, splits};
use crate::gpu::{DType, Kernel, Tensor, Work};
use crate::ops::elementwise::cast::cast;
use crate::{Error, Result, shader};
pub use spec::Matmul;

/// The operands that are read transposed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transpose {
    /// A is stored [K, M].
    pub a: bool,
    /// B is stored [N, K].
    pub b: bool,
}

impl Transpose {
    /// C = A B.
    pub const NONE: Transpose = Transpose { a: false, b: false };
    /// C = A B^T.
    pub const B: Transpose = Transpose { a: false, b: true };
    /// C = A^T B.
    pub const A: Transpose = Transpose { a: true, b: false };
    /// C = A^T B^T.
    pub const BOTH: Transpose = Transpose { a: true, b: true };
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    m: u32,
    n: u32,
    k: u32,
    col_tiles: u32,
    tiles: u32,
    a_batch: u32,
    b_batch: u32,
    splits: u32,
    k_part: u32,
    a_row: u32,
    a_k: u32,
    b_col: u32,
    b_k: u32,
}

fn kernel(
    tile: Tile,
    lhs: OperandLayout,
    rhs: OperandLayout,
    out_vec: bool,
    bias: bool,
    halves: Halves,
    whole: bool,
) -> Kernel {
    let kernel = Kernel::new(shader!("linalg/matmul"))
        .flag("OUT_VEC", out_vec)
        .flag("BIAS", bias)
        .flag("WHOLE", whole)
        .flag("DIRECT", tile.direct(out_vec && !bias && !halves.y));
    let kernel = kernel
        .flag("LHS_HALF", halves.a)
        .flag("RHS_HALF", halves.b)
        .flag("OUT_HALF", halves.y);
    tile.define(kernel, lhs, rhs)
}

/// Whether each tensor is f16.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Halves {
    a: bool,
    b: bool,
    y: bool,
}

impl Halves {
    fn any(self) -> bool {
        self != Halves::default()
    }
    /// Combinations that there are kernels for: an activation by a weight or by another activation,
    /// and their gradients.
    const KERNELS: [Halves; 5] = [
        Halves {
            a: true,
            b: true,
            y: false,
        },
        Halves {
            a: true,
            b: false,
            y: true,
        },
        Halves {
            a: true,
            b: true,
            y: true,
        },
        Halves {
            a: true,
            b: false,
            y: false,
        },
        Halves {
            a: false,
            b: true,
            y: false,
        },
    ];
}

/// Returns the forms that let vec4 loads stay aligned.
fn forms(t: Transpose, m: usize, n: usize, k: usize) -> (OperandLayout, OperandLayout) {
    let pick = |m_form: bool, rows: usize| match m_form {
        true if rows.is_multiple_of(4) => OperandLayout::M,
        false if k.is_multiple_of(4) => OperandLayout::K,
        _ => OperandLayout::Scalar,
    };
    (pick(t.a, m), pick(!t.b, n))
}

struct Problem {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
}

fn problem(a: &[usize], b: &[usize], t: Transpose) -> Option<Problem> {
    let (batch, a, b) = match (a, b) {
        ([r, c], [s, d]) => (1, [*r, *c], [*s, *d]),
        ([n, r, c], [m, s, d]) if n == m => (*n, [*r, *c], [*s, *d]),
        _ => return None,
    };
    let (m, k) = if t.a { (a[1], a[0]) } else { (a[0], a[1]) };
    let (n, k2) = if t.b { (b[0], b[1]) } else { (b[1], b[0]) };
    (k == k2).then_some(Problem { batch, m, n, k })
}

/// Computes `op(a) op(b) + bias`: a [M, K] and b [K, N], or [batch, ..] both; `t` says which is
/// stored transposed; bias `[N]`. Either may be f16: sums are f32, and the result is stored as `a`
/// is.
///
/// # Errors
/// If the shapes do not fit.
pub fn matmul(a: &Tensor, b: &Tensor, t: Transpose, bias: Option<&Tensor>) -> Result<Tensor> {
    matmul_as(a, b, t, bias, a.dtype())
}

/// [`matmul`] with a result of type `out`, f32 or f16.
///
/// # Errors
/// If the shapes do not fit, or a type is another.
pub fn matmul_as(
    a: &Tensor,
    b: &Tensor,
    t: Transpose,
    bias: Option<&Tensor>,
    out: DType,
) -> Result<Tensor> {
    matmul_to(a, b, t, bias, out, None, None, false)
}

/// [`matmul_as`] whose sums fall into the parts that they would fall into for `rows` rows of `a`:
/// each row of the result then has the bits that it has among so many.
///
/// # Errors
/// As [`matmul_as`].
pub fn matmul_among(
    a: &Tensor,
    b: &Tensor,
    t: Transpose,
    out: DType,
    rows: usize,
) -> Result<Tensor> {
    matmul_to(a, b, t, None, out, None, Some(rows), false)
}

/// [`matmul_among`] of f32 operands, which no core rounds: `coopmat` leaves it to another.
///
/// # Errors
/// As [`matmul_as`].
pub fn matmul_exact(a: &Tensor, b: &Tensor, t: Transpose, rows: usize) -> Result<Tensor> {
    matmul_to(a, b, t, None, DType::F32, None, Some(rows), true)
}

/// [`matmul_as`], to a place that waits for it where the result is f32, with sums as among `rows`
/// rows, and on a core that rounds no operand where that is asked for.
fn matmul_to(
    a: &Tensor,
    b: &Tensor,
    t: Transpose,
    bias: Option<&Tensor>,
    out: DType,
    place: Option<&Tensor>,
    rows: Option<usize>,
    exact: bool,
) -> Result<Tensor> {
    let floats = [a.dtype(), b.dtype(), out]
        .iter()
        .all(|d| matches!(d, DType::F32 | DType::F16));
    let Some(Problem { batch, m, n, k }) = problem(a.shape(), b.shape(), t).filter(|_| floats)
    else {
        let expected = "f32 or f16 matrices whose inner sizes agree";
        return Err(Error::shape(
            "matmul",
            expected,
            format!("{a:?}, {b:?}, {t:?}"),
        ));
    };
    let halves = Halves {
        a: a.dtype().is_half(),
        b: b.dtype().is_half(),
        y: out.is_half(),
    };
    let (lhs, rhs) = forms(t, m, n, k);
    let vec = lhs != OperandLayout::Scalar && rhs != OperandLayout::Scalar && n.is_multiple_of(4);
    if halves.any() && !(vec && Halves::KERNELS.contains(&halves) && a.gpu().shader_f16()) {
        let wide = matmul_to(
            &cast(a, DType::F32)?,
            &cast(b, DType::F32)?,
            t,
            bias,
            DType::F32,
            place.filter(|_| out == DType::F32),
            rows,
            exact,
        )?;
        return cast(&wide, out);
    }
    if let Some(bias) = bias
        && bias.shape() != [n]
    {
        return Err(Error::shape(
            "matmul bias",
            format!("[{n}]"),
            format!("{bias:?}"),
        ));
    }
    let gpu = a.gpu();
    let batched = [batch, m, n];
    let shape = &batched[3 - a.shape().len()..];
    let y = match place.filter(|_| out == DType::F32) {
        Some(place) => place.reshape(shape)?,
        None => Tensor::empty(gpu, shape, out)?,
    };
    let tile = match exact {
        true => gpu.exact_tile(n, work(batch, m, n, k).flops),
        false => Tile::pick(gpu, n, work(batch, m, n, k)),
    };
    // By the shape and not by the tile: a table of tiles changes no order of a sum.
    let tiles = rows.unwrap_or(m).div_ceil(64) * n.div_ceil(64);
    let (splits, k_part) = match (batch, bias, out) {
        (1, None, DType::F32) => parts(k, splits(gpu, tiles)),
        _ => (1, k),
    };
    let (groups, tiles, col_tiles) = tile.grid(m, n, batch * splits);
    let ((a_row, a_k), (b_col, b_k)) = (
        if t.a { (1, m) } else { (k, 1) },
        if t.b { (k, 1) } else { (1, n) },
    );
    let params = Params {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        col_tiles,
        tiles,
        a_batch: (m * k) as u32,
        b_batch: (k * n) as u32,
        splits: splits as u32,
        k_part: k_part as u32,
        a_row: a_row as u32,
        a_k: a_k as u32,
        b_col: b_col as u32,
        b_k: b_k as u32,
    };
    // Parts of K are multiples of every tile's depth.
    let whole = tile.whole(lhs, rhs, k);
    let kernel = kernel(
        tile,
        lhs,
        rhs,
        n.is_multiple_of(4),
        bias.is_some(),
        halves,
        whole,
    );
    let split = if splits > 1 {
        Some(Tensor::empty(gpu, &[splits, m * n], out)?)
    } else {
        None
    };
    let bindings: Vec<&Tensor> = [a, b, split.as_ref().unwrap_or(&y)]
        .into_iter()
        .chain(bias)
        .collect();
    gpu.dispatch(
        "matmul",
        &kernel,
        &bindings,
        &params,
        groups,
        work(batch, m, n, k),
    )?;
    let y = match split {
        Some(split) => split_sum_to(&split, shape, Some(&y))?,
        None => y,
    };
    if !halves.any() {
        let sizes = [
            ("b", batch),
            ("m", m),
            ("n", n),
            ("k", k),
            ("ta", usize::from(t.a)),
            ("tb", usize::from(t.b)),
        ];
        gpu.note_call("matmul", &y, sizes);
    }
    Ok(y)
}

/// Steps of K that a workgroup sums at least, where several share a tile: below, the second pass
/// costs what they save.
const STEPS: usize = 256;

/// Into how many parts K falls, `wanted` at most, and the steps of each but the last.
fn parts(k: usize, wanted: usize) -> (usize, usize) {
    let part = k
        .div_ceil(wanted.min(k / STEPS).max(1))
        .next_multiple_of(32);
    if part >= k {
        (1, k)
    } else {
        (k.div_ceil(part), part)
    }
}

fn work(batch: usize, m: usize, n: usize, k: usize) -> Work {
    Work {
        flops: 2.0 * (batch * m * n * k) as f64,
        bytes: 4.0 * (batch * (m * k + k * n + m * n)) as f64,
    }
}

impl Tape {
    /// Computes `op(a) op(b)`, see [`matmul`].
    pub fn matmul(&self, a: &Var, b: &Var, t: Transpose) -> Result<Var> {
        self.matmul_as(a, b, t, a.tensor().dtype())
    }

    /// Computes `op(a) op(b)` stored as `out`, see [`matmul_as`]. Gradients are f32.
    ///
    /// # Errors
    /// As [`matmul_as`].
    pub fn matmul_as(&self, a: &Var, b: &Var, t: Transpose, out: DType) -> Result<Var> {
        let y = matmul_as(a.tensor(), b.tensor(), t, None, out)?;
        let (sa, sb) = (a.tensor().clone(), b.tensor().clone());
        Ok(self.record_placed(y, &[a, b], move |g, needs| {
            let gradient = |input, a: &Tensor, b: &Tensor, t| {
                matmul_to(a, b, t, None, DType::F32, needs.place(input), None, false)
            };
            let da = || match (t.a, t.b) {
                (false, false) => gradient(0, g, &sb, Transpose::B),
                (false, true) => gradient(0, g, &sb, Transpose::NONE),
                (true, false) => gradient(0, &sb, g, Transpose::B),
                (true, true) => gradient(0, &sb, g, Transpose::BOTH),
            };
            let db = || match (t.a, t.b) {
                (false, false) => gradient(1, &sa, g, Transpose::A),
                (false, true) => gradient(1, g, &sa, Transpose::A),
                (true, false) => gradient(1, &sa, g, Transpose::NONE),
                (true, true) => gradient(1, g, &sa, Transpose::BOTH),
            };
            Ok(vec![
                needs[0].then(da).transpose()?,
                needs[1].then(db).transpose()?,
            ])
        }))
    }
}
