//! The shapes that a run really dispatches: the calls of a training step of its model and batch, of
//! its prior's, and of an encoding.

use super::statistics::median;
use super::workload::Workload;
use crate::Result;
use crate::codes::tokens::Tokens;
use crate::config::DottedConfig;
use crate::config::prior::PriorConfig;
use crate::config::run::{Data, ResolvedConfig};
use crate::data::ImageSet;
use crate::gpu::Gpu;
use crate::gpu::clock::Instant;
use crate::inference::{FirstStageModel, VectorsModel, priors_of};
use crate::quantize::Registry;
use crate::registry;
use crate::spec::{Case, case};
use crate::splitmix::splitmix64;
use crate::train::{Task, Trainer};
use crate::vectors::{HeldOut, Vectors};
use std::path::Path;
use std::sync::Arc;

/// Calls that compile kernels, place codes and allocate, before one is looked at.
const WARM: usize = 2;
/// Calls that are timed.
const TIMED: usize = 5;
/// Images that are encoded at once.
const ENCODED: usize = 64;

/// Operations of one size, as something of a run calls them.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The operation, with its gradient where that was computed.
    pub workload: Workload,
    /// Calls.
    pub count: usize,
}

/// Something of a run, and what it consists of.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The name of the part: `training step`, `prior: training step`, `encoding`.
    pub name: String,
    /// Images or vectors of it.
    pub items: usize,
    /// The median of its milliseconds, from the call to the device's being idle.
    pub ms: f64,
    /// Its shapes, in the order of their first calls.
    pub shapes: Vec<Shape>,
    /// Calls of sizes that no case of the registry has.
    pub left_out: usize,
}

impl Replay {
    /// Takes a training step of a run's model and batch, one of its priors', and an encoding, all
    /// over made-up images or vectors, and takes down what they call.
    ///
    /// # Errors
    /// If there is no run that has ended, or the device fails.
    pub fn of(gpu: &Gpu, run: &Path) -> Result<Vec<Replay>> {
        if VectorsModel::is_at(run) {
            return of_vectors(gpu, run);
        }
        let model = FirstStageModel::load(gpu, run)?;
        let config = model.config().clone().map(|mut config| {
            config.data = Data::default();
            config
        });
        let images = config.train.images();
        let mut all = vec![step_of_images(gpu, &config, model.image(), images)?];
        for (folder, _) in priors_of(run)? {
            let config = PriorConfig::load(&folder.join("config.toml"))?.resolve()?;
            let images = config.train.images();
            let tokens = Tokens::open(&folder.join("tokens"))?;
            let trainer = Trainer::prior(gpu, &config, tokens)?;
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            all.push(step(
                gpu,
                trainer,
                format!("{name}: training step"),
                images,
            )?);
        }
        let [w, h, c] = model.image();
        let pixels = pixels(ENCODED * w * h * c);
        all.push(looked_at(gpu, "encoding".into(), ENCODED, &mut || {
            model.encode(&pixels).map(drop)
        })?);
        Ok(all)
    }
}

/// Numbers of bytes that no two images share.
fn pixels(n: usize) -> Vec<u8> {
    (0..n).map(|i| (splitmix64(i as u64) >> 56) as u8).collect()
}

fn step_of_images(
    gpu: &Gpu,
    config: &ResolvedConfig,
    image: [usize; 3],
    images: usize,
) -> Result<Replay> {
    // Some are held out.
    let n = images.clamp(32, 256);
    let set = ImageSet::from_memory(
        pixels(n * image.iter().product::<usize>()),
        image,
        &[],
        vec![],
    );
    let trainer: Trainer = Trainer::new(gpu, config, Arc::new(set?))?;
    step(gpu, trainer, "training step".into(), images)
}

fn of_vectors(gpu: &Gpu, run: &Path) -> Result<Vec<Replay>> {
    let model = VectorsModel::load(gpu, run)?;
    let config = model.config();
    let (dim, batch) = (model.dim(), config.train.batch_size);
    let number = |i: usize| (splitmix64(i as u64) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    let rows: Vec<f32> = (0..2 * batch.max(64) * dim).map(number).collect();
    let encoded = model.rows().min(rows.len() / dim);
    let some = rows[..encoded * dim].to_vec();
    let mut config = config.clone().into_inner();
    config.data.test_rows = 0;
    let registry = Registry::default();
    let held = HeldOut::new(Vectors::from_rows(dim, rows)?, 0)?;
    let trainer = Trainer::vectors(gpu, &config.resolve(&registry)?, Arc::new(held), &registry)?;
    Ok(vec![
        step(gpu, trainer, "training step".into(), batch)?,
        looked_at(gpu, "encoding".into(), encoded, &mut || {
            model.encode(&some).map(drop)
        })?,
    ])
}

fn step<T: Task>(gpu: &Gpu, mut trainer: Trainer<T>, name: String, items: usize) -> Result<Replay> {
    looked_at(gpu, name, items, &mut || trainer.step())
}

fn looked_at(
    gpu: &Gpu,
    name: String,
    items: usize,
    call: &mut dyn FnMut() -> Result<()>,
) -> Result<Replay> {
    for _ in 0..WARM {
        call()?;
    }
    let ((), calls) = gpu.calls_of(&mut *call)?;
    gpu.finish()?;
    let mut times = Vec::new();
    for _ in 0..TIMED {
        let began = Instant::now();
        call()?;
        gpu.finish()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let calls = calls
        .iter()
        .map(|call| (call.op, case(&call.sizes), call.backward));
    let (shapes, left_out) = counted(calls)?;
    Ok(Replay {
        name,
        items,
        ms: median(&times),
        shapes,
        left_out,
    })
}

/// Counts calls of an operation, its sizes, and whether it had a gradient. Calls that are no case
/// of the registry are counted apart.
fn counted(calls: impl Iterator<Item = (&'static str, Case, bool)>) -> Result<(Vec<Shape>, usize)> {
    let (mut shapes, mut left_out): (Vec<Shape>, usize) = (Vec::new(), 0);
    for (name, case, backward) in calls {
        let op = registry::find(name)?;
        let made = match backward && op.gradient().is_some() {
            true => Workload::with_gradient(op, case),
            false => Workload::operation(op, case),
        };
        let Ok(workload) = made else {
            left_out += 1;
            continue;
        };
        let known = shapes
            .iter_mut()
            .find(|shape| shape.workload.name() == workload.name());
        match known {
            Some(shape) => shape.count += 1,
            None => shapes.push(Shape { workload, count: 1 }),
        }
    }
    Ok((shapes, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::Tape;
    use crate::gpu::{Options, Tensor};
    use crate::ops::elementwise::activation::Function;
    use crate::ops::linalg::matmul::Transpose;

    #[test]
    fn calls_are_counted_by_their_sizes_and_gradients() {
        let gpu = Gpu::new(Options::default()).unwrap();
        let x = Tensor::from_slice(&gpu, &[4, 8], &[0.5f32; 32]).unwrap();
        let w = Tensor::from_slice(&gpu, &[8, 8], &[0.25f32; 64]).unwrap();
        let record = || {
            let tape = Tape::new(&gpu);
            let (mut y, w) = (tape.constant(&x), tape.leaf(&w));
            for _ in 0..3 {
                y = tape.matmul(&y, &w, Transpose::B)?;
                y = tape.activation(Function::Silu, &y)?;
            }
            // Without a gradient.
            let still = Tape::no_grad(&gpu);
            still.activation(Function::Silu, &still.constant(&x))?;
            let loss = tape.mean(&y)?;
            tape.backward(&loss).map(drop)
        };
        record().unwrap();
        let ((), calls) = gpu.calls_of(record).unwrap();
        let calls = calls.iter().map(|c| (c.op, case(&c.sizes), c.backward));
        let (shapes, left_out) = counted(calls).unwrap();
        let of = |name: &str| {
            let found = shapes.iter().find(|s| s.workload.name() == name);
            found
                .unwrap_or_else(|| panic!("no {name} in {shapes:?}"))
                .count
        };
        assert_eq!(of("matmul_b1_m4_n8_k8_ta0_tb1_fwd_bwd"), 3);
        assert_eq!(of("activation_f1_n32_fwd_bwd"), 3);
        assert_eq!(of("activation_f1_n32"), 1);
        // What gradients call is theirs.
        assert_eq!(
            shapes
                .iter()
                .filter(|s| s.workload.name().starts_with("matmul"))
                .count(),
            1
        );
        assert_eq!(left_out, 0);
        // Nobody asks: nothing is noted.
        record().unwrap();
        assert!(gpu.calls_of(|| Ok(())).unwrap().1.is_empty());
    }
}
