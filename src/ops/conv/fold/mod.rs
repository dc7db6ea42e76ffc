//! Overlapping patches summed into images: [`unfold`](mod@super::unfold) transposed.

use super::Conv;
use super::geometry::Geometry;
use super::unfold::{self, Params, geometry, sized, sources};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, refused};
use crate::{Error, Result, shader};

fn kernel(bias: bool, mask: bool) -> Kernel {
    Kernel::new(shader!("conv/fold"))
        .flag("BIAS", bias)
        .flag("RELU_MASK", mask)
}

pub(crate) fn sum(
    y: &Tensor,
    g: &Geometry,
    bias: Option<&Tensor>,
    mask: Option<&Tensor>,
) -> Result<Tensor> {
    let x = Tensor::empty(y.gpu(), &g.x_shape(), DType::F32)?;
    let groups = [g.w.div_ceil(64) as u32, g.h as u32, g.n as u32];
    let bindings: Vec<&Tensor> = [y, &x].into_iter().chain(bias).chain(mask).collect();
    let kernel = kernel(bias.is_some(), mask.is_some());
    y.gpu().dispatch(
        "fold",
        &kernel,
        &bindings,
        &Params::new(g),
        groups,
        unfold::work(g),
    )?;
    Ok(x)
}

/// Images f32 [N, H, W, I] from patches y [N, OH, OW, KH KW I], `kernel` (height, width) each:
/// every pixel is the sum of the patches' elements that lie on it, plus bias `[I]`.
///
/// # Errors
/// If the patches are not those of such images.
pub fn fold(
    y: &Tensor,
    shape: [usize; 4],
    kernel: [usize; 2],
    stride: usize,
    pad: usize,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let [_, _, _, i] = shape;
    let g = Geometry::from_shapes(
        "fold",
        &shape,
        &[1, kernel[0], kernel[1], i],
        Conv {
            stride,
            pad,
            relu: false,
            after: 0,
        },
    )?;
    let expected = [g.n, g.oh, g.ow, g.kh * g.kw * g.i];
    if y.shape() != expected || y.dtype() != DType::F32 {
        return Err(Error::shape(
            "fold",
            format!("f32 patches {expected:?}"),
            format!("{y:?}"),
        ));
    }
    super::geometry::check_bias("fold", bias, i)?;
    if !unfold::fits(y.gpu(), &g) {
        let limit = y.gpu().limits().max_compute_workgroups_per_dimension as u64;
        return Err(Error::Limit {
            what: "fold: images, or rows".into(),
            asked: g.n.max(g.h) as u64,
            limit,
        });
    }
    sum(y, &g, bias, None)
}

/// The registry's row.
pub struct Fold;

impl Operation for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }
    fn cases(&self) -> Vec<Case> {
        unfold::SHAPES.map(sized).to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        vec![sized([32, 32, 32, 3, 4, 4, 2, 1])]
    }
    fn check(&self, c: &Case) -> Result<()> {
        unfold::check(c, &self.cases(), self.name())
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let g = geometry(c);
        let patches = rng.normals(&[g.n, g.oh, g.ow, g.kh * g.kw * g.i]);
        vec![patches, rng.normals(&[g.i]), rng.normals(&g.x_shape())]
    }
    fn run(&self, _: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let g = geometry(c);
        let plain = fold(
            &t[0],
            g.x_shape(),
            [g.kh, g.kw],
            g.stride,
            g.pad,
            Some(&t[1]),
        )?;
        Ok(vec![plain, sum(&t[0], &g, None, Some(&t[2]))?])
    }
    fn time(&self, _: &Gpu, c: &Case, t: &[Tensor]) -> Result<()> {
        sum(&t[0], &geometry(c), None, None).map(drop)
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let g = geometry(c);
        let mut x = vec![0.0; g.x_shape().iter().product()];
        for (source, y) in sources(g).zip(inputs[0].as_f64()) {
            if let Some(at) = source {
                x[at] += y;
            }
        }
        let biased = x
            .iter()
            .enumerate()
            .map(|(at, x)| x + inputs[1].as_f64()[at % g.i])
            .collect();
        let masked = x
            .iter()
            .zip(inputs[2].as_f64())
            .map(|(x, m)| if *m > 0.0 { *x } else { 0.0 })
            .collect();
        vec![
            HostTensor::f64(&g.x_shape(), biased),
            HostTensor::f64(&g.x_shape(), masked),
        ]
    }
    fn tolerance(&self, c: &Case, _: usize) -> Tolerance {
        Tolerance::sum(c.get("kh") * c.get("kw"))
    }
    fn work(&self, c: &Case) -> Work {
        unfold::work(&geometry(c))
    }
    fn kernels(&self) -> Vec<Kernel> {
        vec![
            kernel(false, false),
            kernel(true, false),
            kernel(false, true),
        ]
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let y = Tensor::zeros(gpu, &[1, 3, 3, 12], DType::F32)?;
        Ok(vec![
            refused(
                "patches of other images",
                fold(&y, [1, 5, 4, 3], [2, 2], 1, 0, None),
            ),
            refused(
                "a bias of another size",
                fold(&y, [1, 4, 4, 3], [2, 2], 1, 0, Some(&y)),
            ),
            refused("a stride of 0", fold(&y, [1, 4, 4, 3], [2, 2], 0, 0, None)),
        ])
    }
}
