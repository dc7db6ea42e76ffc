//! Measuring which tile of a matrix core serves which problems best on an adapter.

use crate::gpu::gemm::Tile;
use crate::gpu::{DType, Gpu, Rule, TUNING_FORMAT, Tensor, Tuning};
use crate::ops::matmul::{Transpose, matmul};
use crate::ops::random::{Key, normal};
use crate::{Error, Result};
use std::time::Instant;

/// Columns of a problem: a rule reaches up to each, the last beyond.
const COLS: [usize; 4] = [8, 32, 64, 256];
/// Operations of a problem, and where its rule ends.
const FLOPS: [(f64, Option<f64>); 4] = [(6e6, Some(2e7)), (6e7, Some(2e8)), (5e8, Some(1e9)), (2e9, None)];
/// Length of the sums.
const INNER: usize = 256;
/// Calls that are timed; the least counts.
const CALLS: usize = 5;
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

fn one_tile(gpu: &Gpu, tile: Tile) -> Tuning {
    table(gpu, vec![Rule { max_cols: None, below_flops: None, tile: tile.to_string(), gflops: None }])
}

fn table(gpu: &Gpu, rules: Vec<Rule>) -> Tuning {
    let info = gpu.info();
    Tuning {
        format: TUNING_FORMAT,
        adapter: info.name.clone(),
        driver: format!("{} {}", info.driver, info.driver_info),
        core: gpu.core().name().into(),
        rules,
    }
}

/// Measures every tile of the device's core on every class of problems, and says each class as it is done. The device uses the
/// new table from then on.
///
/// # Errors
/// If the device fails.
pub fn tune(gpu: &Gpu, mut done: impl FnMut(&Class)) -> Result<Tuning> {
    let tiles = Tile::candidates(gpu.core(), gpu.subgroup_size());
    if tiles.is_empty() {
        return Err(Error::invalid(
            "tuning",
            format!("the {} core has one tile: nothing to measure", gpu.core().name()),
        ));
    }
    let mut rules: Vec<Rule> = Vec::new();
    for (i, cols) in COLS.into_iter().enumerate() {
        for (flops, below_flops) in FLOPS {
            let rows = ((flops / (2 * INNER * cols) as f64) as usize).clamp(64, 1 << 17);
            let (a, b) =
                (Tensor::empty(gpu, &[rows, INNER], DType::F32)?, Tensor::empty(gpu, &[cols, INNER], DType::F32)?);
            normal(&a, Key { seed: 1, step: 0, stream: 0 })?;
            normal(&b, Key { seed: 1, step: 0, stream: 1 })?;
            let mut measured = Vec::new();
            for tile in &tiles {
                gpu.set_tuning(&one_tile(gpu, *tile))?;
                let mut least = f64::INFINITY;
                // The first call compiles, and is not timed.
                for call in 0..=CALLS {
                    gpu.finish()?;
                    let start = Instant::now();
                    let (_, device) = gpu.timed(|| matmul(&a, &b, Transpose::B, None))?;
                    let seconds = device.map_or_else(|| start.elapsed().as_secs_f64(), |d| d.as_secs_f64());
                    least = if call > 0 { least.min(seconds) } else { least };
                }
                measured.push((*tile, 2.0 * (rows * cols * INNER) as f64 / least / 1e9));
            }
            let best = measured.iter().map(|m| m.1).fold(0.0, f64::max);
            // Candidates stand in the order of their size.
            let (tile, gflops) = measured.iter().find(|m| m.1 >= WORTH * best).copied().unwrap_or(measured[0]);
            let rule = Rule {
                max_cols: (i + 1 < COLS.len()).then_some(cols),
                below_flops,
                tile: tile.to_string(),
                gflops: Some((gflops * 10.0).round() / 10.0),
            };
            done(&Class { shape: [rows, cols, INNER], tiles: measured, rule: rule.clone() });
            rules.push(rule);
        }
    }
    let tuning = table(gpu, rules);
    gpu.set_tuning(&tuning)?;
    Ok(tuning)
}
