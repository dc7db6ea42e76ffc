//! The registry's row.

use super::{Geometry, Pool, backward, forward, max_pool, max_pool_grad, reference};
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Extremes, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};
use crate::{Error, Result};

/// The registry's row of [`max_pool`].
pub struct MaxPool;

fn pool(case: &Case) -> Pool {
    Pool {
        window: case.get("k"),
        stride: case.get("s"),
        ceil: case.get("ceil") == 1,
    }
}

fn geometry(case: &Case) -> Result<Geometry> {
    Geometry::new(["n", "h", "w", "c"].map(|size| case.get(size)), pool(case))
}

fn sized(v: [usize; 7]) -> Case {
    case(
        &["n", "h", "w", "c", "k", "s", "ceil"]
            .into_iter()
            .zip(v)
            .collect::<Vec<_>>(),
    )
}

impl Operation for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }
    fn cases(&self) -> Vec<Case> {
        let halves = [
            [3, 6, 9, 20, 2, 2, 1],
            [2, 8, 6, 5, 3, 2, 1],
            [1, 2, 13, 8, 3, 2, 1],
        ]
        .map(sized);
        [
            [1, 1, 1, 1, 1, 1, 0],
            [2, 5, 7, 4, 2, 2, 0],
            [1, 35, 50, 3, 2, 2, 0],
            [3, 6, 9, 20, 2, 2, 1],
            // Windows that overlap, and reach past the end.
            [2, 8, 6, 5, 3, 2, 1],
            [1, 2, 13, 8, 3, 2, 1],
            [1, 7, 4, 61, 3, 2, 0],
            [1, 5, 6, 4, 4, 1, 0],
            // Pixels between windows, and a last window that would begin past the end.
            [1, 9, 7, 4, 2, 3, 1],
            [1, 8, 11, 2, 1, 4, 1],
        ]
        .map(sized)
        .into_iter()
        // Of f16: whole quads of channels, and channels that are none.
        .chain(halves.iter().filter_map(|c| self.in_f16(c)))
        .collect()
    }
    fn halves(&self) -> &'static [usize] {
        &[0]
    }
    fn bench(&self) -> Vec<Case> {
        vec![sized([8, 64, 64, 64, 2, 2, 0])]
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        geometry(c)
            .map(drop)
            .map_err(|e| Error::data(format!("case `{c}`: {e}")))
    }
    fn extremes(&self) -> Extremes {
        Extremes::any(&[0])
    }
    /// Halves of whole numbers, so that many windows have several largest values.
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let shape = ["n", "h", "w", "c"].map(|size| case.get(size));
        let values = (0..shape.iter().product())
            .map(|_| (2.0 * rng.normal()).round() as f32 / 2.0)
            .collect();
        vec![HostTensor::f32(&shape, values)]
    }
    fn run(&self, _: &Gpu, case: &Case, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![max_pool(&inputs[0], pool(case))?])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (Ok(g), x) = (geometry(case), inputs[0].as_f64()) else {
            return Vec::new();
        };
        vec![HostTensor::f64(
            &g.y_shape(),
            reference::winners(x, &g)
                .into_iter()
                .map(|at| x[at])
                .collect(),
        )]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::EXACT
    }
    fn work(&self, case: &Case) -> Work {
        geometry(case).map_or(
            Work {
                flops: 0.0,
                bytes: 0.0,
            },
            |g| g.work(),
        )
    }
    fn kernels(&self) -> Vec<Kernel> {
        [(false, false), (true, false), (true, true)]
            .into_iter()
            .flat_map(|(vec, half)| [forward(vec, half), backward(vec, half)])
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let x = zeros(&[1, 4, 6, 4], DType::F32)?;
        let (half, large) = (
            Pool::HALVE,
            Pool {
                window: 5,
                ..Pool::HALVE
            },
        );
        Ok(vec![
            refused("a matrix", max_pool(&zeros(&[4, 4], DType::F32)?, half)),
            refused(
                "integers",
                max_pool(&zeros(&[1, 4, 4, 4], DType::U32)?, half),
            ),
            refused("an image smaller than a window", max_pool(&x, large)),
            refused(
                "no row",
                max_pool(
                    &zeros(&[1, 0, 4, 4], DType::F32)?,
                    Pool { ceil: true, ..half },
                ),
            ),
            refused("a stride of 0", max_pool(&x, Pool { stride: 0, ..half })),
            refused("a window of 0", max_pool(&x, Pool { window: 0, ..half })),
            refused(
                "an endless window",
                max_pool(
                    &x,
                    Pool {
                        window: usize::MAX,
                        ..half
                    },
                ),
            ),
            refused("a gradient of another shape", max_pool_grad(&x, &x, half)),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for MaxPool {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, case: &Case, inputs: &[Var]) -> Result<Var> {
        tape.max_pool(&inputs[0], pool(case))
    }
    fn reference(
        &self,
        case: &Case,
        inputs: &[HostTensor],
        upstream: &HostTensor,
    ) -> Vec<HostTensor> {
        let Ok(g) = geometry(case) else {
            return Vec::new();
        };
        vec![HostTensor::f64(
            &inputs[0].shape,
            reference::gradient(inputs[0].as_f64(), upstream.as_f64(), &g),
        )]
    }
    /// Holds the choice of the largest value constant: where several are, the maximum has a corner.
    fn surrogate(
        &self,
        _: &dyn Operation,
        case: &Case,
        at: &[HostTensor],
        inputs: &[HostTensor],
    ) -> HostTensor {
        let Ok(g) = geometry(case) else {
            return HostTensor::f64(&[0], Vec::new());
        };
        let x = inputs[0].as_f64();
        HostTensor::f64(
            &g.y_shape(),
            reference::winners(at[0].as_f64(), &g)
                .into_iter()
                .map(|at| x[at])
                .collect(),
        )
    }
    fn tolerance(&self, case: &Case, _: usize) -> Tolerance {
        Tolerance::sum(case.get("k").div_ceil(case.get("s")).pow(2))
    }
}
