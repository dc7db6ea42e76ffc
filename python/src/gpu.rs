//! Adapters, and the engine on one.

use crate::errors::OrRaise;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::str::FromStr;
use wgvq::bench::apply_stored_tuning;
use wgvq::gpu::{Core, Options, adapters};

/// An engine on one device.
#[pyclass(frozen, module = "wgvq")]
pub struct Gpu {
    pub engine: wgvq::gpu::Gpu,
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
        let engine = py.detach(open).or_raise()?;
        Ok(Gpu { engine })
    }

    /// The adapters that there are, best first as the engine numbers them.
    #[staticmethod]
    fn list(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
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

    #[getter]
    fn name(&self) -> String {
        self.engine.info().name.clone()
    }

    #[getter]
    fn backend(&self) -> String {
        format!("{}", self.engine.info().backend)
    }

    #[getter]
    fn driver(&self) -> String {
        let info = self.engine.info();
        format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned()
    }

    #[getter]
    fn core(&self) -> &'static str {
        self.engine.core().name()
    }

    fn __repr__(&self) -> String {
        format!("<wgvq.Gpu {} ({} core)>", self.name(), self.core())
    }
}
