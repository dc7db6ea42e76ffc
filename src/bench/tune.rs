//! Measuring which tile of a matrix core serves which problems best on an adapter.

use crate::gpu::kernel::gemm::Tile;
use crate::gpu::{Core, DType, FEW_CHANNELS, Gpu, Rule, TUNING_FORMAT, Tensor, Tuning};
use crate::ops::linalg::matmul::{Transpose, matmul};
use crate::ops::quantize::vq_search::{nearest, nearest_by_tiles};
use crate::ops::sampling::random::{Key, normal};
use crate::{Error, Result};
use std::time::Instant;

/// Columns of a problem: a rule reaches up to each, the last beyond.
const COLS: [usize; 4] = [8, 32, 64, 256];
/// Operations of a problem, and where its rule ends.
const FLOPS: [(f64, Option<f64>); 4] = [
    (6e6, Some(2e7)),
    (6e7, Some(2e8)),
    (5e8, Some(1e9)),
    (2e9, None),
];
/// Length of the sums.
const INNER: usize = 256;
/// Latents and codes of a search.
const SEARCH: [usize; 2] = [8_192, 4_096];
/// Calls that are timed; the least counts.
const CALLS: usize = 5;
/// A tile that after two calls is slower than the best so far by this factor is not called again.
const TOO_SLOW: f64 = 1.5;
/// A larger tile has to be this much faster than a smaller one: it takes longer to compile.
const WORTH: f64 = 0.97;

/// One class of problems, measured.
#[derive(Clone, Debug)]
pub struct Class {
    /// Rows, columns and length of the sums of the product that stood for it.
    pub shape: [usize; 3],
    /// Every tile, and 10^9 operations per second with it.
    pub tiles: Vec<(Tile, f64)>,
    /// The rule that follows.
    pub rule: Rule,
}

fn table(gpu: &Gpu, core: Core, rules: Vec<Rule>) -> Tuning {
    let info = gpu.info();
    Tuning {
        format: TUNING_FORMAT,
        adapter: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info),
        core: core.name().into(),
        few_channels: None,
        rules,
    }
}

/// Returns [rows, cols] numbers, which `stream` tells from others.
fn numbers(gpu: &Gpu, shape: [usize; 2], stream: u32) -> Result<Tensor> {
    let x = Tensor::empty(gpu, &shape, DType::F32)?;
    let key = Key {
        seed: 1,
        step: 0,
        stream,
    };
    normal(&x, key)?;
    Ok(x)
}

/// Returns the seconds that the device takes for a call.
fn seconds(gpu: &Gpu, call: impl FnOnce() -> Result<Tensor>) -> Result<f64> {
    gpu.finish()?;
    let start = Instant::now();
    let (_, device) = gpu.timed(call)?;
    Ok(device.map_or_else(|| start.elapsed().as_secs_f64(), |d| d.as_secs_f64()))
}

/// Tiles, and 10^9 operations per second with each.
type Measured = Vec<(Tile, f64)>;

/// Returns every tile of a core on a product of about `flops` operations over `cols` columns: its
/// shape, and 10^9 operations per second.
fn class(gpu: &Gpu, core: Core, cols: usize, flops: f64) -> Result<([usize; 3], Measured)> {
    let rows = ((flops / (2 * INNER * cols) as f64) as usize).clamp(64, 1 << 17);
    let a = numbers(gpu, [rows, INNER], 0)?;
    let b = numbers(gpu, [cols, INNER], 1)?;
    let (mut measured, mut quickest) = (Vec::new(), f64::INFINITY);
    let all = gpu.tiles_of(core);
    for tile in all.into_iter().filter(|tile| tile.suits(gpu.info())) {
        let rule = Rule {
            max_cols: None,
            below_flops: None,
            tile: tile.to_string(),
            gflops: None,
        };
        gpu.set_tuning(&table(gpu, core, vec![rule]))?;
        let mut least = f64::INFINITY;
        // The first call compiles, and is not timed.
        for call in 0..=CALLS {
            let seconds = seconds(gpu, || matmul(&a, &b, Transpose::B, None))?;
            least = if call > 0 { least.min(seconds) } else { least };
            if call > 1 && least > TOO_SLOW * quickest {
                break;
            }
        }
        quickest = quickest.min(least);
        measured.push((tile, 2.0 * (rows * cols * INNER) as f64 / least / 1e9));
    }
    Ok(([rows, cols, INNER], measured))
}

fn best(measured: &[(Tile, f64)]) -> f64 {
    measured.iter().map(|m| m.1).fold(0.0, f64::max)
}

/// The core that is faster on two products, a small one and a large one.
fn fastest(gpu: &Gpu, cores: &[Core]) -> Result<Core> {
    let mut fastest = (0.0, cores[0]);
    for core in cores.iter().filter(|_| cores.len() > 1) {
        let small = best(&class(gpu, *core, 64, 6e7)?.1);
        let large = best(&class(gpu, *core, 256, 5e8)?.1);
        if small * large > fastest.0 {
            fastest = (small * large, *core);
        }
    }
    Ok(fastest.1)
}

/// Returns the most channels of which a kernel for few channels searches faster than the tiles of
/// `table`, both by turns.
fn few_channels(gpu: &Gpu, table: &Tuning) -> Result<usize> {
    gpu.set_tuning(&Tuning {
        few_channels: Some(FEW_CHANNELS),
        ..table.clone()
    })?;
    let [rows, codes] = SEARCH;
    // The fewer, the more a kernel gains that is made for few.
    for d in [FEW_CHANNELS, FEW_CHANNELS / 2] {
        let x = numbers(gpu, [rows, d], 0)?;
        let e = numbers(gpu, [codes, d], 1)?;
        let [mut few, mut tiles] = [f64::INFINITY; 2];
        for call in 0..=CALLS {
            let times = [
                seconds(gpu, || nearest(&x, &e))?,
                seconds(gpu, || nearest_by_tiles(&x, &e))?,
            ];
            if call > 0 {
                (few, tiles) = (few.min(times[0]), tiles.min(times[1]));
            }
        }
        if few < tiles {
            return Ok(d);
        }
    }
    Ok(0)
}

/// Chooses the faster of the device's cores, measures each of its tiles on every class of problems,
/// says each class as it is done, and measures the search of few channels. The device uses the new
/// table from then on.
///
/// # Errors
/// If the device fails, or its core has nothing to choose.
pub fn tune(gpu: &Gpu, mut done: impl FnMut(&Class)) -> Result<Tuning> {
    let core = fastest(gpu, &gpu.cores())?;
    if gpu.tiles_of(core).is_empty() {
        return Err(Error::invalid(
            "tuning",
            format!("the {} core has no tile: nothing to measure", core.name()),
        ));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (i, cols) in COLS.into_iter().enumerate() {
        for (flops, below_flops) in FLOPS {
            let (shape, measured) = class(gpu, core, cols, flops)?;
            // Candidates stand in the order of their size.
            let fits = |m: &&(Tile, f64)| m.1 >= WORTH * best(&measured);
            let (tile, gflops) = measured.iter().find(fits).copied().unwrap_or(measured[0]);
            let rule = Rule {
                max_cols: (i + 1 < COLS.len()).then_some(cols),
                below_flops,
                tile: tile.to_string(),
                gflops: Some((gflops * 10.0).round() / 10.0),
            };
            done(&Class {
                shape,
                tiles: measured,
                rule: rule.clone(),
            });
            rules.push(rule);
        }
    }
    let mut tuning = table(gpu, core, rules);
    tuning.few_channels = Some(few_channels(gpu, &tuning)?);
    gpu.set_tuning(&tuning)?;
    Ok(tuning)
}
