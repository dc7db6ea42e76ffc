//! Adapters, and the engine on one.

use crate::errors::OrRaise;
use crate::process::{OfProcess, enter};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::str::FromStr;
use wgvq::bench::apply_stored_tuning;
use wgvq::gpu::{Core, Options, adapters};

/// An engine on one device: `adapter` is its number in `Gpu.list()`, part of its name, or a
/// backend.
///
/// `core` is `subgroup`, `tiled` or `coopmat`, by default the fastest one that changes no result.
/// `memory_budget` is in bytes. A process that was forked from one with an engine cannot use any.
///
/// >>> gpu = wgvq.Gpu(core="tiled")
/// >>> gpu.core, gpu.name == wgvq.Gpu.list()[0]["name"]
/// ('tiled', True)
/// >>> wgvq.search([[0.0]], [[1.0]], gpu=gpu).tolist()
/// [0]
#[pyclass(frozen, module = "wgvq")]
pub struct Gpu {
    engine: OfProcess<wgvq::gpu::Gpu>,
}

impl Gpu {
    /// Returns the engine.
    pub fn engine(&self) -> PyResult<&wgvq::gpu::Gpu> {
        self.engine.get()
    }
}

#[pymethods]
impl Gpu {
    #[new]
    #[pyo3(signature = (adapter=None, core=None, memory_budget=None))]
    fn new(
        py: Python,
        adapter: Option<String>,
        core: Option<&str>,
        memory_budget: Option<u64>,
    ) -> PyResult<Gpu> {
        let core = core.map(Core::from_str).transpose().or_raise()?;
        let adapter = adapter.or_else(|| std::env::var("WGVQ_ADAPTER").ok());
        let options = Options {
            adapter,
            core,
            memory_budget,
            ..Default::default()
        };
        let open = || {
            let engine = wgvq::gpu::Gpu::new(options)?;
            // As every command does it, so that both choose the same kernels.
            apply_stored_tuning(&engine, core)?;
            Ok(engine)
        };
        enter()?;
        let engine = OfProcess::new(py.detach(open).or_raise()?);
        Ok(Gpu { engine })
    }

    /// Returns the adapters that there are, a dictionary for each, as the engine numbers them.
    ///
    /// >>> sorted(wgvq.Gpu.list()[0])
    /// ['backend', 'driver', 'driver_info', 'index', 'memory', 'name']
    #[staticmethod]
    fn list(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
        enter()?;
        let all = py.detach(adapters);
        let dict = |report: &wgvq::gpu::AdapterReport| {
            let dict = PyDict::new(py);
            dict.set_item("index", report.index)?;
            dict.set_item("name", &report.info.name)?;
            dict.set_item("backend", format!("{}", report.info.backend))?;
            dict.set_item("driver", &report.info.driver)?;
            dict.set_item("driver_info", &report.info.driver_info)?;
            dict.set_item("memory", report.memory)?;
            Ok(dict)
        };
        all.iter().map(dict).collect()
    }

    /// The device's name.
    ///
    /// >>> isinstance(wgvq.default_gpu().name, str)
    /// True
    #[getter]
    fn name(&self) -> PyResult<String> {
        Ok(self.engine()?.info().name.clone())
    }

    /// The interface to the device, such as `Vulkan`.
    ///
    /// >>> wgvq.default_gpu().backend in ("vulkan", "metal", "dx12", "gl")
    /// True
    #[getter]
    fn backend(&self) -> PyResult<String> {
        Ok(format!("{}", self.engine()?.info().backend))
    }

    /// The driver and its version.
    ///
    /// >>> isinstance(wgvq.default_gpu().driver, str)
    /// True
    #[getter]
    fn driver(&self) -> PyResult<String> {
        let info = self.engine()?.info();
        Ok(format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned())
    }

    /// The core that multiplies matrices.
    ///
    /// >>> wgvq.default_gpu().core in ("subgroup", "tiled", "coopmat")
    /// True
    #[getter]
    fn core(&self) -> PyResult<&'static str> {
        Ok(self.engine()?.core().name())
    }

    fn __repr__(&self) -> PyResult<String> {
        Ok(format!(
            "<wgvq.Gpu {} ({} core)>",
            self.name()?,
            self.core()?
        ))
    }
}
