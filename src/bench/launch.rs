//! Dispatches that do next to nothing, one behind another: what starting a kernel costs, below
//! which no kernel comes.

use super::prepared::Prepared;
use crate::Result;
use crate::gpu::{Gpu, Tensor, Work};
use crate::ops::elementwise::scale::scale;
use crate::spec::{HostTensor, Tolerance, Verdict, compare};

/// So many dispatches, each of which adds one to one number that the one before it wrote: the sum
/// tells that all of them ran, and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Dispatches of a call.
    pub dispatches: usize,
}

/// The beginning of a name.
const PREFIX: &str = "launch_d";
/// Dispatches of one call at most: f32 counts so far.
const MOST: usize = 1 << 24;

impl Launch {
    /// Returns those that are timed: 1, 10 and 100 dispatches.
    pub fn all() -> [Launch; 3] {
        [1, 10, 100].map(|dispatches| Launch { dispatches })
    }

    /// The name of its workload: `launch_d10`.
    pub fn name(self) -> String {
        format!("{PREFIX}{}", self.dispatches)
    }

    pub(super) fn parse(name: &str) -> Option<Launch> {
        let dispatches = name.strip_prefix(PREFIX)?.parse().ok()?;
        (1..=MOST)
            .contains(&dispatches)
            .then_some(Launch { dispatches })
    }

    fn run(self, x: &Tensor) -> Result<Tensor> {
        (0..self.dispatches).try_fold(x.clone(), |x, _| scale(&x, 1.0, 1.0))
    }

    pub(super) fn prepare(self, gpu: &Gpu) -> Result<Prepared> {
        let x = Tensor::from_slice(gpu, &[1], &[0.0f32])?;
        Ok(Prepared {
            call: Box::new(move || self.run(&x).map(drop)),
            work: Some(Work::default()),
        })
    }

    pub(super) fn check(self, gpu: &Gpu) -> Result<Verdict> {
        let x = Tensor::from_slice(gpu, &[1], &[0.0f32])?;
        Ok(compare(
            &format!("the number that {} dispatches counted to", self.dispatches),
            &HostTensor::download(&self.run(&x)?)?,
            &HostTensor::f64(&[1], vec![self.dispatches as f64]),
            Tolerance::EXACT,
        ))
    }
}
