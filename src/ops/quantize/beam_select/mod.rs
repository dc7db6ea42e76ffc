//! The best continuations of a beam search over residual codebooks.

mod reference;
mod spec;

pub use spec::BeamSelect;

use crate::gpu::{DType, Kernel, Tensor, Work, groups_for};
use crate::{Error, Result, shader};

fn kernel() -> Kernel {
    Kernel::new(shader!("quantize/beam_select"))
}

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct Params {
    n: u32,
    k: u32,
    beams: u32,
    kept: u32,
}

fn work(n: usize, k: usize, beams: usize, kept: usize) -> Work {
    Work {
        flops: 2.0 * (n * beams) as f64 * (k * kept) as f64,
        bytes: 4.0 * (n * beams * (k + 1) + k + 2 * n * kept) as f64,
    }
}

/// The continuations that [`beam_select`] keeps, [N B'] each.
#[derive(Clone, Debug)]
pub struct Continuations {
    /// The beam that each goes on from, a row of the products: u32 `[N B']`.
    pub parents: Tensor,
    /// The code that each takes: u32 `[N B']`.
    pub codes: Tensor,
}

/// Returns the `kept` nearest continuations of each of N vectors with `beams` partial codes.
///
/// `products` [N B, K] holds the inner products of what each beam leaves of its vector with each
/// code, `half_norms` `[K]` and `bases` `[N B]` half the squared norms of both (as
/// [`half_norms`](super::vq_search::half_norms) returns them), all f32. They come in order of
/// distance; ties go to the lowest beam, then to the lowest code. Source: Babenko and Lempitsky
/// 2014, "Additive quantization for extreme vector compression", section 3 (beam search).
///
/// # Errors
/// If the shapes do not fit, or `kept` is 0 or more than B K.
pub fn beam_select(
    products: &Tensor,
    half_norms: &Tensor,
    bases: &Tensor,
    beams: usize,
    kept: usize,
) -> Result<Continuations> {
    let op = "beam_select";
    let [rows, k] = products.dims(op)?;
    let fits = half_norms.shape() == [k] && bases.shape() == [rows];
    let floats = [products, half_norms, bases].map(|t| t.dtype() == DType::F32);
    if !fits || floats != [true; 3] {
        return Err(Error::shape(
            op,
            "f32 products [N B, K], half norms [K] and bases [N B]",
            format!("{products:?}, {half_norms:?}, {bases:?}"),
        ));
    }
    if beams == 0 || !rows.is_multiple_of(beams.max(1)) || kept == 0 || kept > beams * k {
        return Err(Error::invalid(
            op,
            format!(
                "{kept} of {rows} rows in groups of {beams} with {k} codes: the rows are whole \
                 groups, and 1 to {} are kept",
                beams.saturating_mul(k)
            ),
        ));
    }
    let (gpu, n) = (products.gpu(), rows / beams);
    let parents = Tensor::empty(gpu, &[n * kept], DType::U32)?;
    let codes = Tensor::empty(gpu, &[n * kept], DType::U32)?;
    let params = Params {
        n: n as u32,
        k: k as u32,
        beams: beams as u32,
        kept: kept as u32,
    };
    gpu.dispatch(
        op,
        &kernel(),
        &[products, half_norms, bases, &parents, &codes],
        &params,
        groups_for(n, 1),
        work(n, k, beams, kept),
    )?;
    Ok(Continuations { parents, codes })
}
