//! A run that Python watches: rows go to a function, notes to its log, and Ctrl-C ends it.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wgvq::train::{Observer, Progress};

/// The longest time between two looks at whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(100);

/// Calls a function of Python with every row, and asks the run to stop where that returns `True` or
/// raises, or where the user presses Ctrl-C.
pub struct Watch<'a> {
    callback: Option<Py<PyAny>>,
    stop: &'a AtomicBool,
    looked: Instant,
    /// The stage that rows are of, where there are several.
    pub stage: Option<String>,
    /// The error that was raised meanwhile. It is raised again once the run has saved.
    raised: Option<PyErr>,
}

impl<'a> Watch<'a> {
    pub fn new(callback: Option<Py<PyAny>>, stop: &'a AtomicBool) -> Watch<'a> {
        Watch {
            callback,
            stop,
            looked: Instant::now(),
            stage: None,
            raised: None,
        }
    }

    /// Raises what was raised meanwhile.
    pub fn raise(self) -> PyResult<()> {
        self.raised.map_or(Ok(()), Err)
    }

    /// Does something of Python's; what it raises ends the run.
    fn with(&mut self, act: impl FnOnce(Python) -> PyResult<bool>) {
        if self.raised.is_some() {
            return;
        }
        match Python::attach(act) {
            Ok(false) => {}
            Ok(true) => self.stop.store(true, Ordering::Relaxed),
            Err(raised) => {
                self.stop.store(true, Ordering::Relaxed);
                self.raised = Some(raised);
            }
        }
    }

    fn call(&mut self, kind: &str, row: &[(String, f64)]) {
        let Some(callback) = self.callback.take() else {
            return;
        };
        let stage = self.stage.clone();
        self.with(|py| {
            let dict = named(py, row)?;
            dict.set_item("kind", kind)?;
            if let Some(stage) = &stage {
                dict.set_item("stage", stage)?;
            }
            callback.call1(py, (dict,))?.is_truthy(py)
        });
        self.callback = Some(callback);
    }
}

/// Tells the logger of the package something.
pub fn log(py: Python, text: &str) -> PyResult<()> {
    let text = py
        .import("wgvq.errors")?
        .call_method1("_sentence", (text,))?;
    let log = py.import("logging")?.call_method1("getLogger", ("wgvq",))?;
    log.call_method1("info", ("%s", text)).map(drop)
}

/// The exception that Ctrl-C raises while the engine computes. It is raised once the engine has
/// stopped.
#[derive(Default)]
pub struct Interrupt(Mutex<Option<PyErr>>);

impl Interrupt {
    /// Fails where Ctrl-C was pressed.
    pub fn look(&self) -> wgvq::Result<()> {
        match Python::attach(|py| py.check_signals()) {
            Ok(()) => Ok(()),
            Err(raised) => {
                *self.0.lock().unwrap_or_else(|e| e.into_inner()) = Some(raised);
                Err(wgvq::Error::data("interrupted"))
            }
        }
    }

    /// Returns the result of what was computed, or what Ctrl-C raised meanwhile.
    pub fn or<T>(self, result: PyResult<T>) -> PyResult<T> {
        match self.0.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(raised) => Err(raised),
            None => result,
        }
    }
}

/// Returns values by name as a dictionary. Steps are whole numbers.
pub fn named<'py>(py: Python<'py>, row: &[(String, f64)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in row {
        match name.as_str() {
            "step" | "weights_step" => dict.set_item(name, *value as u64)?,
            _ => dict.set_item(name, value)?,
        }
    }
    Ok(dict)
}

impl Observer for Watch<'_> {
    fn step(&mut self, _: &Progress) {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.with(|py| py.check_signals().map(|()| false));
        }
    }

    fn logged(&mut self, row: &[(String, f64)]) {
        self.call("train", row);
    }

    fn evaluated(&mut self, _: u64, _: &dyn Display) {}

    fn measured(&mut self, row: &[(String, f64)]) {
        self.call("test", row);
    }

    fn note(&mut self, text: &str) {
        self.with(|py| log(py, text).map(|()| false));
    }
}
