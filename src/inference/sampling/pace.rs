//! Which way of sampling is the faster one on this device, and the run of the parallel one.

use crate::Result;
use crate::gpu::command::clock::Instant;
use crate::inference::PriorModel;
use crate::inference::sampling::batch::SampleBatch;
use crate::inference::sampling::parallel::ParallelSession;
use crate::inference::sampling::request::{Parallel, SampleRequest};
use crate::inference::sampling::samples::Samples;
use crate::inference::sampling::session::SamplingSession;

/// Passes over one code, and over windows, that are not timed: they compile kernels, and fill what
/// is kept from pass to pass.
const WARM_UP: usize = 2;
/// Passes that are timed.
const TIMED: usize = 4;

impl PriorModel {
    /// Returns how many codes of an image go into a pass; `None` to draw one by one.
    pub(super) async fn window_for(&self, request: &SampleRequest<'_>) -> Result<Option<usize>> {
        match request.options.parallel {
            _ if request.images() == 0 || self.one_by_one().is_err() => Ok(None),
            Parallel::Off => Ok(None),
            // Halves are drawn one after another.
            _ if self.is_factorised() => Ok(None),
            Parallel::Window(window) => Ok(Some(window)),
            Parallel::Auto => {
                let faster = self.parallel_is_faster(request).await?;
                Ok(faster.then_some(Parallel::WINDOW))
            }
        }
    }

    /// Measures the first passes of the first images both ways.
    async fn parallel_is_faster(&self, request: &SampleRequest<'_>) -> Result<bool> {
        let n = request.images().min(request.options.batch);
        let mut one_by_one = SamplingSession::new(self, SampleBatch::new(self, request, 0..n))?;
        let mut began = Instant::now();
        for i in 0..WARM_UP + TIMED {
            if i == WARM_UP {
                began = self.now().await?;
            }
            // So few codes that it makes no difference.
            if !one_by_one.step()? {
                return Ok(false);
            }
        }
        let step = self.now().await?.duration_since(began);
        drop(one_by_one);
        let mut parallel = ParallelSession::new(self, request, 0..n, Parallel::WINDOW)?;
        let mut before = 0;
        for i in 0..WARM_UP + TIMED {
            if i == WARM_UP {
                (began, before) = (self.now().await?, parallel.drawn());
            }
            if !parallel.pass().await? {
                return Ok(true);
            }
        }
        let pass = self.now().await?.duration_since(began);
        // Codes that a pass made final, of each image.
        let codes = (parallel.drawn() - before) as f64 / (TIMED * n) as f64;
        Ok(pass.as_secs_f64() < codes * step.as_secs_f64())
    }

    /// Waits for the device, and returns the time.
    async fn now(&self) -> Result<Instant> {
        let submission = self.gpu.flush()?;
        self.gpu.wait_async(&submission).await?;
        Ok(Instant::now())
    }

    /// Samples with several codes of an image in a pass. The last images that are fewer than a
    /// batch are drawn by themselves, as they are one by one: so their sums are added alike.
    pub(super) async fn sample_parallel(
        &self,
        request: &SampleRequest<'_>,
        window: usize,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Samples> {
        let images = request.images();
        let whole = images - images % request.options.batch;
        let mut samples = Samples::default();
        let mut drawn = 0;
        for part in [0..whole, whole..images] {
            if part.is_empty() {
                continue;
            }
            let mut session = ParallelSession::new(self, request, part, window)?;
            while session.pass().await? {
                progress(drawn + session.drawn())?;
            }
            drawn += session.drawn();
            let part = session.finish();
            samples.codes.extend(part.codes);
            samples.log_likelihood.extend(part.log_likelihood);
            samples.passes.extend(part.passes);
        }
        Ok(samples)
    }
}
