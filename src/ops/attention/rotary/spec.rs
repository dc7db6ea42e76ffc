//! The registry's row.

use super::{Places, Rotary, Start, kernel, raster, reference, work};
use crate::Result;
use crate::autograd::{Tape, Var};
use crate::gpu::{DType, Gpu, Kernel, Tensor, Work};
use crate::spec::{
    Case, ErrorInputs, Gradient, HostTensor, Operation, Rng, Tolerance, case, refused,
};

/// The registry's row of [`Rotary`]: `axes` 1 or 2; `parts` 1 or 3; every sequence starts at
/// `start`, or with `each` 1 at a place of its own up to it; with 2 every row has places of its own
/// for query and key.
pub struct RotarySpec;

const BASE: f64 = 10_000.0;
/// Columns of the raster of the cases with two axes.
const COLS: usize = 5;

fn sized([axes, parts, b, t, h, d, start, each]: [usize; 8]) -> Case {
    let names = ["axes", "parts", "b", "t", "h", "d", "start", "each"];
    let values = [axes, parts, b, t, h, d, start, each];
    case(&names.into_iter().zip(values).collect::<Vec<_>>())
}

/// Positions of the table, with some to spare.
fn positions(c: &Case) -> Vec<f64> {
    let count = c.get("t") + c.get("start") + 2;
    if c.get("axes") == 2 {
        return raster(count.div_ceil(COLS), COLS).as_flattened().to_vec();
    }
    (0..count).map(|i| i as f64).collect()
}

fn rotary(gpu: &Gpu, c: &Case) -> Result<Rotary> {
    let positions = positions(c);
    let rotary = if c.get("axes") == 2 {
        Rotary::axial(gpu, positions.as_chunks().0, c.get("d"), BASE)?
    } else {
        Rotary::line(gpu, &positions, c.get("d"), BASE)?
    };
    if c.get("each") < 2 {
        return Ok(rotary);
    }
    let rows = row_places(c).concat();
    let rows = Tensor::from_slice(gpu, &[rows.len() / 2, 2], &rows)?;
    Ok(rotary.at_rows(&rows))
}

/// Places of the query and the key of each row.
fn row_places(c: &Case) -> Vec<[u32; 2]> {
    let most = c.get("t") + c.get("start") + 2;
    (0..c.get("b") * c.get("t"))
        .map(|row| [5 * row % most, (3 * row + 1) % most].map(|at| at as u32))
        .collect()
}

fn start<'a>(c: &Case, starts: &'a Tensor) -> Start<'a> {
    if c.get("each") == 1 {
        Start::Each(starts)
    } else {
        Start::At(c.get("start"))
    }
}

fn shape(c: &Case) -> Vec<usize> {
    let [parts, b, t, h, d] = ["parts", "b", "t", "h", "d"].map(|n| c.get(n));
    if parts == 3 {
        vec![b, t, 3, h, d]
    } else {
        vec![b, t, h, d]
    }
}

fn turned(c: &Case, x: &[f64], starts: &[u32], sign: f64) -> HostTensor {
    let [parts, t, h, d] = ["parts", "t", "h", "d"].map(|n| c.get(n));
    let angles = reference::angles(&positions(c), d, c.get("axes"), BASE);
    let angle = |r: usize| {
        let (part, row) = (r / h % parts, r / h / parts);
        if c.get("each") == 2 {
            let place = row_places(c)[row].get(part).copied()?;
            return Some(&angles[place as usize * (d / 2)..][..d / 2]);
        }
        let first = if c.get("each") == 1 {
            starts[row / t] as usize
        } else {
            c.get("start")
        };
        (part < 2).then(|| &angles[(first + row % t) * (d / 2)..][..d / 2])
    };
    HostTensor::f64(&shape(c), reference::turn(x, d / 2, angle, sign))
}

impl Operation for RotarySpec {
    fn name(&self) -> &'static str {
        "rotary"
    }
    fn cases(&self) -> Vec<Case> {
        [
            [1, 1, 1, 1, 1, 2, 0, 0],
            [1, 1, 3, 7, 3, 6, 2, 0],
            [1, 3, 2, 33, 2, 64, 0, 0],
            [2, 3, 3, 49, 3, 8, 0, 0],
            [2, 1, 2, 65, 5, 32, 11, 0],
            [1, 3, 5, 1, 3, 10, 17, 1],
            [2, 3, 67, 1, 2, 16, 40, 1],
            [1, 3, 3, 5, 1, 4, 9, 1],
            [2, 3, 3, 7, 2, 8, 4, 2],
            [1, 3, 5, 1, 2, 6, 11, 2],
            [2, 1, 2, 9, 3, 4, 0, 2],
        ]
        .map(sized)
        .to_vec()
    }
    fn bench(&self) -> Vec<Case> {
        [[1, 3, 8, 256, 8, 64, 0, 0], [2, 3, 64, 1, 8, 64, 255, 1]]
            .map(sized)
            .to_vec()
    }
    fn check(&self, c: &Case) -> Result<()> {
        crate::spec::case::check(c, &self.cases(), self.name())?;
        let fine = [1, 2].contains(&c.get("axes"))
            && [1, 3].contains(&c.get("parts"))
            && c.get("each") <= 2;
        if !fine || !c.get("d").is_multiple_of(2 * c.get("axes")) {
            let what = "axes is 1 or 2, parts 1 or 3, each 0 to 2, and d a multiple of 2 axes";
            return Err(crate::Error::data(format!("case `{c}`: {what}")));
        }
        Ok(())
    }
    fn inputs(&self, c: &Case, rng: &mut Rng) -> Vec<HostTensor> {
        // The table is what is timed with; what is checked makes its own.
        let angles = reference::angles(&positions(c), c.get("d"), c.get("axes"), BASE);
        let table: Vec<f32> = angles
            .iter()
            .flat_map(|a| [a.cos() as f32, a.sin() as f32])
            .collect();
        let table = HostTensor::f32(&[table.len() / c.get("d"), c.get("d")], table);
        vec![
            rng.normals(&shape(c)),
            rng.indices(&[c.get("b")], c.get("start") + 1),
            table,
        ]
    }
    fn run(&self, gpu: &Gpu, c: &Case, t: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![rotary(gpu, c)?.rotate(&t[0], start(c, &t[1]))?])
    }
    fn time(&self, gpu: &Gpu, c: &Case, t: &[Tensor]) -> Result<()> {
        Rotary {
            table: t[2].clone(),
            rows: rotary(gpu, c)?.rows,
        }
        .rotate(&t[0], start(c, &t[1]))
        .map(drop)
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor]) -> Vec<HostTensor> {
        vec![turned(c, inputs[0].as_f64(), inputs[1].as_u32(), 1.0)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
    fn work(&self, c: &Case) -> Work {
        work(shape(c).iter().product())
    }
    fn kernels(&self) -> Vec<Kernel> {
        let both = [false, true];
        let places = [Places::At, Places::Each, Places::Rows];
        let pairs = both
            .into_iter()
            .flat_map(|vec| places.map(|places| (vec, places)));
        pairs
            .flat_map(|(vec, places)| both.map(|inverse| kernel(vec, places, inverse)))
            .collect()
    }
    fn error_inputs(&self, gpu: &Gpu) -> ErrorInputs {
        let zeros = |shape: &[usize], dtype| Tensor::zeros(gpu, shape, dtype);
        let fine = Rotary::line(gpu, &[0.0, 1.0, 2.0], 4, BASE)?;
        let x = zeros(&[2, 3, 1, 4], DType::F32)?;
        let turn = |x: &Tensor, start| fine.rotate(x, start).map(drop);
        let (short, floats) = (zeros(&[1], DType::U32)?, zeros(&[2], DType::F32)?);
        Ok(vec![
            refused("odd channels", Rotary::line(gpu, &[0.0], 5, BASE)),
            refused("no channel", Rotary::line(gpu, &[0.0], 0, BASE)),
            refused(
                "two axes in six channels",
                Rotary::axial(gpu, &[[0.0, 1.0]], 6, BASE),
            ),
            refused("a base of 1", Rotary::line(gpu, &[0.0], 4, 1.0)),
            refused("a base of NaN", Rotary::line(gpu, &[0.0], 4, f64::NAN)),
            refused("no position", Rotary::line(gpu, &[], 4, BASE)),
            refused(
                "an endless position",
                Rotary::line(gpu, &[f64::INFINITY], 4, BASE),
            ),
            ("rows past the table", turn(&x, Start::At(1))),
            ("a start that overflows", turn(&x, Start::At(usize::MAX))),
            (
                "heads of other channels",
                turn(&zeros(&[2, 3, 1, 6], DType::F32)?, Start::At(0)),
            ),
            (
                "two parts",
                turn(&zeros(&[2, 3, 2, 1, 4], DType::F32)?, Start::At(0)),
            ),
            (
                "integers",
                turn(&zeros(&[2, 3, 1, 4], DType::U32)?, Start::At(0)),
            ),
            ("fewer starts than sequences", turn(&x, Start::Each(&short))),
            ("starts that are floats", turn(&x, Start::Each(&floats))),
            refused(
                "places of other rows",
                fine.at_rows(&short).rotate(&x, Start::At(0)),
            ),
        ])
    }
    fn gradient(&self) -> Option<&dyn Gradient> {
        Some(self)
    }
}

impl Gradient for RotarySpec {
    fn wrt(&self, _: &Case) -> Vec<usize> {
        vec![0]
    }
    fn record(&self, tape: &Tape, c: &Case, v: &[Var]) -> Result<Var> {
        tape.rotary(&v[0], &rotary(tape.gpu(), c)?, start(c, v[1].tensor()))
    }
    fn time(&self, tape: &Tape, c: &Case, v: &[Var]) -> Result<Var> {
        tape.rotary(
            &v[0],
            &Rotary {
                table: v[2].tensor().clone(),
                rows: rotary(tape.gpu(), c)?.rows,
            },
            start(c, v[1].tensor()),
        )
    }
    fn reference(&self, c: &Case, inputs: &[HostTensor], upstream: &HostTensor) -> Vec<HostTensor> {
        vec![turned(c, upstream.as_f64(), inputs[1].as_u32(), -1.0)]
    }
    fn tolerance(&self, _: &Case, _: usize) -> Tolerance {
        Tolerance::POINTWISE
    }
}
