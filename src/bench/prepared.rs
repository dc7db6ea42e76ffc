//! A workload that is ready to be timed.

use crate::Result;
use crate::gpu::Work;

/// A workload with its inputs on a device.
pub struct Prepared {
    /// Records it once.
    pub call: Box<dyn FnMut() -> Result<()>>,
    /// Its cost as its operation states it; `None` where what is dispatched has to be added up.
    pub work: Option<Work>,
}
