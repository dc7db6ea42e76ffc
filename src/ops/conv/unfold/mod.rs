//! Patches of images laid out as rows, so that a convolution over few channels becomes a 1 x 1 one
//! over many.

use super::Conv;
use super::geometry::Geometry;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, refused};
use crate::{Error, Result, shader};

#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
pub(super) struct Params {
    sizes: [u32; 9],
}

impl Params {
    pub(super) fn new(g: &Geometry) -> Params {
        Params {
            sizes: [g.h, g.w, g.i, g.oh, g.ow, g.kh, g.kw, g.stride, g.pad].map(|v| v as u32),
        }
    }
}

fn kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("conv/unfold")).flag("VEC", vec)
}

pub(super) fn work(g: &Geometry) -> Work {
    Work {
        flops: 0.0,
        bytes: 4.0 * (g.n * (g.oh * g.ow * g.kh * g.kw + g.h * g.w) * g.i) as f64,
    }
}

/// Whether the grid holds the problem. Images and output rows are its dimensions.
pub(crate) fn fits(gpu: &Gpu, g: &Geometry) -> bool {
    let most = gpu.limits().max_compute_workgroups_per_dimension as usize;
    let bytes = 4 * (g.n * g.oh * g.ow * g.kh * g.kw * g.i) as u64;
    g.n.max(g.h).max(g.oh) <= most && bytes <= gpu.limits().max_storage_buffer_binding_size
}

pub(crate) fn patches(x: &Tensor, g: &Geometry) -> Result<Tensor> {
    let y = Tensor::empty(x.gpu(), &[g.n, g.oh, g.ow, g.kh * g.kw * g.i], DType::F32)?;
    let groups = [(g.ow * g.kh).div_ceil(64) as u32, g.oh as u32, g.n as u32];
    let vec = (g.kw * g.i).is_multiple_of(4);
    x.gpu().dispatch(
        "unfold",
        &kernel(vec),
        &[x, &y],
        &Params::new(g),
        groups,
        work(g),
    )?;
    Ok(y)
}

/// Computes the patches that a convolution of `kernel` (height, width) sums over: x f32 [N, H, W,
/// I] to [N, OH, OW, KH KW I], with OH = (H + 2 pad - KH) / stride + 1 and OW likewise.
///
/// # Errors
/// If the kernel does not fit the padded image, a size is 0, or there are more images or rows than
/// a grid has.
pub fn unfold(x: &Tensor, kernel: [usize; 2], stride: usize, pad: usize) -> Result<Tensor> {
    let [_, _, _, i] = x.dims("unfold")?;
    if x.dtype() != DType::F32 {
        return Err(Error::shape("unfold", "f32 images", format!("{x:?}")));
    }
    let g = Geometry::from_shapes(
        "unfold",
        x.shape(),
        &[1, kernel[0], kernel[1], i],
        Conv {
            stride,
            pad,
            relu: false,
            after: 0,
        },
    )?;
    if !fits(x.gpu(), &g) {
        let limit = x.gpu().limits().max_compute_workgroups_per_dimension as u64;
        return Err(Error::Limit {
            what: "unfold: images, or rows".into(),
            asked: g.n.max(g.h) as u64,
            limit,
        });
    }
    patches(x, &g)
}

/// Returns, for each element of the patches, the element of x that it is, if it lies in the image.
pub(crate) fn sources(g: Geometry) -> impl Iterator<Item = Option<usize>> {
    let row = g.kh * g.kw * g.i;
    (0..g.n * g.oh * g.ow * row).map(move |at| {
        let (pixel, k) = (at / row, at % row);
        let (n, oy, ox) = (pixel / (g.oh * g.ow), pixel / g.ow % g.oh, pixel % g.ow);
        let iy = (oy * g.stride + k / (g.kw * g.i))
            .checked_sub(g.pad)
            .filter(|y| *y < g.h)?;
        let ix = (ox * g.stride + k / g.i % g.kw)
            .checked_sub(g.pad)
            .filter(|x| *x < g.w)?;
        Some(((n * g.h + iy) * g.w + ix) * g.i + k % g.i)
    })
}

pub(super) const SHAPES: [[usize; 8]; 5] = [
    [1, 1, 1, 1, 1, 1, 1, 0],
    [2, 7, 5, 3, 3, 3, 1, 1],
    [3, 8, 8, 3, 4, 4, 2, 1],
    [2, 9, 11, 1, 4, 2, 2, 1],
    [1, 5, 70, 2, 5, 3, 3, 2],
];

pub(super) fn sized(v: [usize; 8]) -> Case {
    let names = ["n", "h", "w", "i", "kh", "kw", "s", "p"];
    case(&names.into_iter().zip(v).collect::<Vec<_>>())
}

pub(super) fn geometry(c: &Case) -> Geometry {
    let [n, h, w, i, kh, kw, stride, pad] =
        ["n", "h", "w", "i", "kh", "kw", "s", "p"].map(|k| c.get(k));
    let (oh, ow) = (
        (h + 2 * pad - kh) / stride + 1,
        (w + 2 * pad - kw) / stride + 1,
    );
    Geometry {
        n,
        h,
        w,
        i,
        oh,
        ow,
        o: 1,
        kh,
        kw,
        stride,
        pad,
    }
}

pub(super) fn check(c: &Case, known: &[Case], op: &str) -> Result<()> {
    crate::spec::case::check(c, known, op)?;
    if c.get("h") + 2 * c.get("p") < c.get("kh") || c.get("w") + 2 * c.get("p") < c.get("kw") {
        return Err(Error::data(format!(
            "case `{c}`: the kernel is larger than the padded image"
        )));
    }
    Ok(())
}

/// The registry's row.
pub struct Unfold;

impl Operation for Unfold {
    fn name(&self) -> &'static str {
        "unfold"
    }
    fn cases(&self) -> Vec<Case> {
        SHAPES.map(sized).to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![sized([32, 32, 32, 3, 4, 4, 2, 1])]
    }
    fn check(&self, c: &Case) -> Result<()> {
        check(c, &self.cases(), self.name())
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        vec![rng.normals(&geometry(c).x_shape())]
    }
    fn run(&self, _: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![unfold(
            &t[0],
            [c.get("kh"), c.get("kw")],
            c.get("s"),
            c.get("p"),
        )?])
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (g, x) = (geometry(c), inputs[0].as_f64());
        let y = sources(g)
            .map(|source| source.map_or(0.0, |at| x[at]))
            .collect();
        vec![HostTensor::f64(&[g.n, g.oh, g.ow, g.kh * g.kw * g.i], y)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, c: &Case) -> Work {
        work(&geometry(c))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![kernel(false), kernel(true)]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let x = Tensor::zeros(gpu, &[1, 4, 4, 3], DType::F32)?;
        Ok(vec![
            refused("a kernel larger than the image", unfold(&x, [5, 5], 1, 0)),
            refused("a stride of 0", unfold(&x, [2, 2], 0, 0)),
            refused("a kernel of 0", unfold(&x, [0, 2], 1, 0)),
        ])
    }
}
