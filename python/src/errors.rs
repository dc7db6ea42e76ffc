//! The engine's errors as Python exceptions, with its sentences. The classes are Python's own
//! (`wgvq.errors`), since each is one of the standard library's, too.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use wgvq::Error;

/// Returns the class of an error, by its name in `wgvq.errors`.
fn class(error: &Error) -> &'static str {
    match error {
        Error::Shape { .. } | Error::Invalid { .. } | Error::Config { .. } => "ArgumentError",
        Error::Data { .. } => "DataError",
        Error::File { .. } => "FileError",
        Error::OutOfMemory { .. } | Error::Budget { .. } | Error::Limit { .. } => "OutOfMemory",
        Error::Memory { .. } => "OutOfMemory",
        Error::Diverged { .. } => "Diverged",
        Error::NoAdapter { .. } | Error::DeviceLost { .. } | Error::Feature { .. } => "DeviceError",
        _ => "Error",
    }
}

/// Returns an error as an exception.
pub fn exception(error: Error) -> PyErr {
    let (class, words) = (class(&error), error.to_string());
    Python::attach(|py| {
        let class = py
            .import("wgvq.errors")
            .and_then(|errors| errors.getattr(class));
        match class.and_then(|class| class.call1((words.clone(),))) {
            Ok(value) => PyErr::from_value(value),
            Err(_) => PyRuntimeError::new_err(words),
        }
    })
}

/// Results of the engine, for `?` in functions that Python calls.
pub trait OrRaise<T> {
    /// Turns the error into an exception.
    fn or_raise(self) -> PyResult<T>;
}

impl<T> OrRaise<T> for wgvq::Result<T> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(exception)
    }
}
