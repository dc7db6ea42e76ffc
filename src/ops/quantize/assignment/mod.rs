//! Rows grouped by their code: how many, which, and their sums. A counting sort, so that every sum
//! has a fixed order and no atomic is needed; its cost is that of a few passes over the rows, far
//! below the search that made the codes.

mod reference;

use crate::autograd::placed;
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work, groups_for};
use crate::spec::{Case, ErrorInputs, HostTensor, Operation, Rng, Tolerance, case, cases, refused};
use crate::{Error, Result, shader};

/// Rows by code.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Rows of each code: u32 `[K]`.
    pub counts: Tensor,
    /// The first place of each code's rows in `order`: u32 [K + 1].
    pub offsets: Tensor,
    /// Row numbers, by code and rising within a code: u32 `[N]`.
    pub order: Tensor,
}

fn kernels() -> [Kernel; 4] {
    [
        Kernel::new(shader!("quantize/assignment_count")),
        Kernel::new(shader!("quantize/assignment_scan")),
        Kernel::new(shader!("quantize/assignment_offsets")),
        Kernel::new(shader!("quantize/assignment_place")),
    ]
}

fn sum_kernel(vec: bool) -> Kernel {
    Kernel::new(shader!("quantize/assignment_sum")).flag("VEC", vec)
}

/// Entries of the table of counts per block and code at most.
const TABLE: usize = 1 << 22;
/// Rows that one invocation counts, where the table has room. Few invocations keep a processor
/// busy, and a long block makes a small table; a GPU wants many. The result is the same.
fn block(gpu: &Gpu) -> usize {
    if gpu.info().device_type == wgpu::DeviceType::Cpu {
        256
    } else {
        64
    }
}

/// Groups rows by code: index u32 `[N]` with values below `codes`.
///
/// # Errors
/// If there is no code, or index is not a vector of u32.
pub fn assign(index: &Tensor, codes: usize) -> Result<Assignment> {
    let op = "assignment";
    let [n] = index.dims(op)?;
    if codes == 0 || index.dtype() != DType::U32 {
        return Err(Error::shape(
            op,
            "u32 indices and at least one code",
            format!("{index:?}, {codes} codes"),
        ));
    }
    let gpu = index.gpu();
    let blocks = n.div_ceil(block(gpu)).clamp(1, (TABLE / codes).max(1));
    let block = n.div_ceil(blocks).max(1);
    let table = Tensor::zeros(gpu, &[blocks, codes], DType::U32)?;
    let counts = Tensor::empty(gpu, &[codes], DType::U32)?;
    let offsets = Tensor::empty(gpu, &[codes + 1], DType::U32)?;
    let order = Tensor::empty(gpu, &[n], DType::U32)?;
    let [count, scan, offset, place] = kernels();
    let walk = [n as u32, codes as u32, block as u32, blocks as u32];
    let rows = Work {
        flops: 0.0,
        bytes: 12.0 * n as f64,
    };
    let cells = Work {
        flops: 0.0,
        bytes: 8.0 * (blocks * codes) as f64,
    };
    gpu.dispatch(
        op,
        &count,
        &[index, &table],
        &walk,
        groups_for(blocks, 8),
        rows,
    )?;
    gpu.dispatch(
        op,
        &scan,
        &[&table, &counts],
        &[codes as u32, blocks as u32],
        groups_for(codes, 64),
        cells,
    )?;
    gpu.dispatch(
        op,
        &offset,
        &[&counts, &offsets],
        &[codes as u32],
        [1, 1, 1],
        cells,
    )?;
    gpu.dispatch(
        op,
        &place,
        &[index, &offsets, &table, &order],
        &walk,
        groups_for(blocks, 8),
        rows,
    )?;
    Ok(Assignment {
        counts,
        offsets,
        order,
    })
}

impl Assignment {
    /// Computes the sum of each code's rows of x [N, D]: f32 [K, D].
    ///
    /// # Errors
    /// If x has another number of rows.
    pub fn sums(&self, x: &Tensor) -> Result<Tensor> {
        self.sums_to(x, None)
    }

    /// [`Assignment::sums`], to a place that waits for them.
    pub(crate) fn sums_to(&self, x: &Tensor, place: Option<&Tensor>) -> Result<Tensor> {
        let [n, d] = x.dims("assignment")?;
        if n != self.order.len() || x.dtype() != DType::F32 {
            return Err(Error::shape(
                "assignment",
                format!("f32 [{}, D]", self.order.len()),
                format!("{x:?}"),
            ));
        }
        let codes = self.counts.len();
        let vec = d.is_multiple_of(4);
        let units = if vec { d / 4 } else { d };
        let sums = placed(place, x.gpu(), &[codes, d])?;
        let bindings = [x, &self.offsets, &self.order, &sums];
        let params = [codes as u32, units as u32];
        x.gpu().dispatch(
            "assignment",
            &sum_kernel(vec),
            &bindings,
            &params,
            groups_for(codes * units, 64),
            work(n, codes, d),
        )?;
        let sizes = [("n", n), ("k", codes), ("d", d)];
        x.gpu().note_call("assignment", &sums, sizes);
        Ok(sums)
    }
}

fn work(n: usize, k: usize, d: usize) -> Work {
    Work {
        flops: (n * d) as f64,
        bytes: 4.0 * (n * d + k * d + 5 * n) as f64,
    }
}

/// The registry's row.
pub struct AssignmentSpec;

impl Operation for AssignmentSpec {
    fn name(&self) -> &'static str {
        "assignment"
    }
    fn cases(&self) -> Vec<Case> {
        cases(
            ["n", "k", "d"],
            &[
                [1, 1, 1],
                [7, 3, 5],
                [65, 2, 4],
                [1_031, 100, 17],
                [4_099, 513, 64],
                [300, 1, 8],
            ],
        )
    }
    fn bench(&self) -> Vec<Case> {
        vec![case(&[("n", 16_384), ("k", 1_024), ("d", 64)])]
    }
    fn inputs(&self, case: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        vec![rng.indices(&[n], k), rng.normals(&[n, d])]
    }
    fn run(&self, _: &Gpu, case: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        let a = assign(&t[0], case.get("k"))?;
        let sums = a.sums(&t[1])?;
        Ok(vec![a.counts, a.offsets, a.order, sums])
    }
    fn reference(&self, case: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        let (n, k, d) = (case.get("n"), case.get("k"), case.get("d"));
        let (counts, offsets, order) = reference::assign(inputs[0].as_u32(), k);
        let sums = reference::sums(inputs[1].as_f64(), &offsets, &order, d);
        vec![
            HostTensor::u32(&[k], counts),
            HostTensor::u32(&[k + 1], offsets),
            HostTensor::u32(&[n], order),
            HostTensor::f64(&[k, d], sums),
        ]
    }
    fn tolerance(&self, case: &Case, output: usize) -> Tolerance {
        if output == 3 {
            Tolerance::sum(case.get("n"))
        } else {
            Tolerance::EXACT
        }
    }
    fn work(&self, case: &Case) -> Work {
        work(case.get("n"), case.get("k"), case.get("d"))
    }
    fn kernels(&self) -> Vec<Kernel> {
        kernels()
            .into_iter()
            .chain([sum_kernel(false), sum_kernel(true)])
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let index = Tensor::zeros(gpu, &[4], DType::U32)?;
        let x = Tensor::zeros(gpu, &[5, 2], DType::F32)?;
        Ok(vec![
            refused("no code", assign(&index, 0)),
            refused(
                "another number of rows",
                assign(&index, 2).and_then(|a| a.sums(&x)),
            ),
        ])
    }
}
