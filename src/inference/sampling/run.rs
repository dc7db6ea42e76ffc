//! Sampling from one prior, from a request to samples.

use crate::gpu::command::in_flight::{InFlight, STEPS_IN_FLIGHT};
use crate::inference::PriorModel;
use crate::inference::progress::Progress;
use crate::inference::sampling::batch::SampleBatch;
use crate::inference::sampling::masked::sample_masked;
use crate::inference::sampling::next_scale::sample_scales;
use crate::inference::sampling::request::SampleRequest;
use crate::inference::sampling::samples::{PendingSamples, Samples};
use crate::inference::sampling::session::SamplingSession;
use crate::inference::sampling::uncached::sample_uncached;
use crate::{Error, Result};

/// Codes of an image that are handed to the device together: a submission has its price.
const CODES_TOGETHER: usize = 8;

impl PriorModel {
    /// Samples the codes of each image of a request, [`SamplingOptions::batch`] images at a time.
    /// An image's samples follow from the seed and the image's number, not from the other images.
    /// `progress` is called with the codes drawn, and with how many there will be.
    ///
    /// [`SamplingOptions::batch`]: super::super::SamplingOptions::batch
    ///
    /// # Errors
    /// If an option is out of range, there is no such class, there are other texts than images, the
    /// known codes do not fit, `progress` ends the sampling, or the device fails.
    pub async fn sample_async(
        &self,
        request: &SampleRequest<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<Samples> {
        request.check(self)?;
        let images = request.images();
        let places = request.known.places_of(self.info().vocabulary.tokens());
        let each = places.iter().filter(|known| !**known).count();
        if let Some(window) = self.window_for(request).await? {
            let mut tell = |drawn: usize| progress(drawn, images * each);
            return self.sample_parallel(request, window, &mut tell).await;
        }
        let mut samples = Samples::default();
        for first in (0..images).step_by(request.options.batch) {
            let n = request.options.batch.min(images - first);
            let batch = SampleBatch::new(self, request, first..first + n);
            let mut tell = |drawn: usize| progress(first * each + drawn * n, images * each);
            let part = if self.is_masked() {
                sample_masked(self, batch, &mut tell).await?
            } else if self.is_next_scale() {
                sample_scales(self, batch, &mut tell).await?
            } else if request.options.cache {
                self.sample_cached(batch, &mut tell).await?
            } else {
                sample_uncached(self, batch, &mut tell).await?
            };
            samples.codes.extend(part.codes);
            samples.log_likelihood.extend(part.log_likelihood);
            samples.passes.extend(part.passes);
        }
        Ok(samples)
    }

    /// [`PriorModel::sample_async`], waiting for the device.
    ///
    /// # Errors
    /// As [`PriorModel::sample_async`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn sample(&self, request: &SampleRequest, progress: &mut Progress) -> Result<Samples> {
        self.gpu.block_on(self.sample_async(request, progress))
    }

    /// Starts to sample what [`PriorModel::sample_async`] samples, to go on place by place with
    /// [`SamplingSession::step`]: for those who show each step, and for render loops. All images
    /// are drawn together, one code after another, with a cache, whatever the options say of these.
    ///
    /// # Errors
    /// As [`PriorModel::sample_async`]; also if there is no image.
    pub fn session(&self, request: &SampleRequest) -> Result<SamplingSession<'_>> {
        request.check(self)?;
        self.one_by_one()?;
        if request.images() == 0 {
            return Err(Error::invalid(
                "sample",
                "no image to draw: name a class for each",
            ));
        }
        SamplingSession::new(self, SampleBatch::new(self, request, 0..request.images()))
    }

    /// Records all that [`PriorModel::sample_async`] does, of all images together, and waits for
    /// nothing: for [`Gpu::run_for_budget`](crate::gpu::Gpu::run_for_budget), which samples between
    /// the frames of a render loop. The codes are those of `sample_async`, one after another.
    ///
    /// # Errors
    /// As [`PriorModel::session`]; if the cache is off, since each code then goes by way of the
    /// host.
    pub fn record(&self, request: &SampleRequest) -> Result<PendingSamples> {
        if !request.options.cache {
            let what = "sampling without waiting takes a cache of keys and values";
            return Err(Error::invalid("sample", what));
        }
        let mut session = self.session(request)?;
        while session.step()? {
            if session.steps().is_multiple_of(CODES_TOGETHER) {
                self.gpu.flush()?;
            }
        }
        session.pending()
    }

    /// Draws a batch whose codes stay on the device until its end.
    async fn sample_cached(
        &self,
        batch: SampleBatch,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Samples> {
        let mut session = SamplingSession::new(self, batch)?;
        let mut in_flight = InFlight::new(STEPS_IN_FLIGHT);
        while session.step()? {
            if session.steps().is_multiple_of(CODES_TOGETHER) {
                in_flight.submit_async(&self.gpu).await?;
            }
            progress(session.drawn())?;
        }
        session.pending()?.get().await
    }
}
