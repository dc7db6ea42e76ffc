//! The engine's errors as Python exceptions, with its sentences, in which options of the command
//! line have the names of Python's arguments. The classes are Python's own
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
        Error::NoAdapter { .. }
        | Error::DeviceLost { .. }
        | Error::DeviceHung { .. }
        | Error::Feature { .. } => "DeviceError",
        _ => "Error",
    }
}

/// Returns an error as an exception.
pub fn exception(error: Error) -> PyErr {
    raised(class(&error), &error.to_string())
}

/// Returns an exception of a class of `wgvq.errors`.
pub fn raised(class: &str, words: &str) -> PyErr {
    Python::attach(|py| {
        let made = py
            .import("wgvq.errors")
            .and_then(|errors| errors.call_method1("_of_engine", (class, words)));
        match made {
            Ok(value) => PyErr::from_value(value),
            Err(_) => PyRuntimeError::new_err(words.to_owned()),
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
