//! Options of a draw, as Python names them.

use pyo3::prelude::*;
use wgvq::inference::{Parallel, SamplingOptions};
use wgvq::ops::sampling::sample::Sampling;
use wgvq::{Error, Result};

/// The options of a draw.
#[derive(FromPyObject)]
pub struct Draw {
    #[pyo3(item)]
    temperature: f32,
    #[pyo3(item)]
    top_k: Option<usize>,
    #[pyo3(item)]
    top_p: f32,
    #[pyo3(item)]
    min_p: f32,
    #[pyo3(item)]
    repetition_penalty: f32,
    #[pyo3(item)]
    guidance: Option<f32>,
    #[pyo3(item)]
    seed: u64,
    #[pyo3(item)]
    batch: usize,
    /// Codes in a pass of the model: none, a number, or `auto`.
    #[pyo3(item)]
    parallel: Option<Window>,
    #[pyo3(item)]
    passes: usize,
}

/// The number of codes of an image that are drawn in a pass, where it is more than one.
#[derive(FromPyObject)]
enum Window {
    Codes(usize),
    Named(String),
}

impl Window {
    fn parallel(&self) -> Result<Parallel> {
        match self {
            Window::Codes(codes) => Ok(Parallel::Window(*codes)),
            Window::Named(name) if name == "auto" => Ok(Parallel::Auto),
            Window::Named(name) => {
                let what = format!("is {name:?}; it is to be a number of codes, True or \"auto\"");
                Err(Error::config("the argument `parallel`", what))
            }
        }
    }
}

impl Draw {
    /// Returns the engine's options.
    ///
    /// # Errors
    /// Names the first that cannot be used.
    pub fn options(&self) -> Result<SamplingOptions> {
        let parallel = self.parallel.as_ref().map(Window::parallel).transpose()?;
        let options = SamplingOptions {
            sampling: Sampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                // A guidance of 1 is the conditional distribution itself, at half the cost.
                guidance: self.guidance.filter(|g| *g != 1.0),
            },
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            batch: self.batch,
            parallel: parallel.unwrap_or_default(),
            passes: self.passes,
            ..SamplingOptions::default()
        };
        match options.invalid_field() {
            Some((field, what)) => Err(Error::config(format!("the argument `{field}`"), what)),
            None => Ok(options),
        }
    }
}
