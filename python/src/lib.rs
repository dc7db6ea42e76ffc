//! The engine as a Python module. This is its native half: arrays arrive contiguous and of the
//! right type, and `package/wgvq` sees to that. What computes runs without the interpreter's lock.

mod bench;
mod errors;
mod gpu;
mod models;
mod observer;
mod prior;
mod process;
mod sampling;
mod set;
mod text2image;
mod tokenizer;
mod train;
mod vectors;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::bench::{bench, workloads};
    #[pymodule_export]
    use super::gpu::Gpu;
    #[pymodule_export]
    use super::prior::train_prior;
    #[pymodule_export]
    use super::text2image::train_text2image;
    #[pymodule_export]
    use super::tokenizer::Tokenizer;
    #[pymodule_export]
    use super::train::{presets, train};
    #[pymodule_export]
    use super::vectors::{fsq, kmeans, lookup, search};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
