//! Sampling of codes from a prior: what is asked for, the session that goes on code by code, and
//! what comes of it.

mod batch;
mod halves;
mod kept;
mod masked;
mod next_scale;
mod pace;
mod parallel;
mod request;
mod run;
mod samples;
mod session;
mod step;
mod uncached;

pub use kept::{cells_under_mask, kept_cells, places_of_cells};
pub use parallel::ParallelSession;
pub use request::{Condition, KnownCodes, Parallel, SampleRequest, SamplingOptions};
pub use samples::{PendingSamples, Samples};
pub use session::SamplingSession;
