//! Kernels and steps, timed: each agrees with its f64 reference first.

use crate::errors::OrRaise;
use crate::gpu::Gpu;
use pyo3::prelude::*;
use std::time::Duration;
use wgvq::bench::{self as timing, Budget, Workload};
use wgvq::{Error, Result};

/// The names of the standard workloads.
#[pyfunction]
pub fn workloads() -> PyResult<Vec<String>> {
    let all = timing::standard().or_raise()?;
    Ok(all.iter().map(|w| w.name().to_owned()).collect())
}

/// Times workloads by name, each for about so many seconds; a row of JSON for each.
#[pyfunction]
pub fn bench(
    py: Python,
    gpu: &Gpu,
    names: Vec<String>,
    seconds: f64,
    seed: u64,
) -> PyResult<Vec<String>> {
    let time = Duration::try_from_secs_f64(seconds)
        .map_err(|_| {
            Error::config(
                "the argument `seconds`",
                format!("{seconds} is not allowed"),
            )
        })
        .or_raise()?;
    let engine = gpu.engine()?;
    let found: Result<Vec<Workload>> = names.iter().map(|name| timing::find(name)).collect();
    let workloads = found.or_raise()?;
    let peak = py.detach(|| timing::peak(engine)).or_raise()?;
    let mut rows = Vec::new();
    for workload in &workloads {
        let budget = Budget {
            time,
            ..Default::default()
        };
        let measure = || -> Result<String> {
            let row = timing::row(engine, workload, &peak, budget, seed)?;
            serde_json::to_string(&row).map_err(Error::data)
        };
        rows.push(py.detach(measure).or_raise()?);
        py.check_signals()?;
    }
    Ok(rows)
}
