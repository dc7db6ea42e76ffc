//! Device time between two points of the recording, by timestamp queries.

use crate::Result;
use crate::gpu::Gpu;
use std::time::Duration;

impl Gpu {
    /// Whether [`Gpu::timed`] can measure by the device's own clock.
    pub fn has_timestamps(&self) -> bool {
        self.inner.device.features().contains(
            wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS,
        )
    }

    /// Runs what `record` records, waits for it, and returns the time it took on the device's
    /// clock: `None` where the device has no timestamp queries.
    pub fn timed<R>(&self, record: impl FnOnce() -> Result<R>) -> Result<(R, Option<Duration>)> {
        if !self.has_timestamps() {
            let result = record()?;
            self.finish()?;
            return Ok((result, None));
        }
        self.finish()?;
        let device = &self.inner.device;
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("wgvq timing"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        self.with_encoder(&[], |encoder| encoder.write_timestamp(&queries, 0));
        let result = record()?;
        self.with_encoder(&[], |encoder| encoder.write_timestamp(&queries, 1));
        let ticks = self.resolve(&queries, 2)?;
        Ok((result, Some(self.between(ticks[0], ticks[1]))))
    }

    /// Returns the time from one tick of the device's clock to another.
    pub(in crate::gpu) fn between(&self, from: u64, to: u64) -> Duration {
        let nanoseconds =
            to.saturating_sub(from) as f64 * self.inner.queue.get_timestamp_period() as f64;
        Duration::from_nanos(nanoseconds as u64)
    }

    /// Returns the first `count` queries of a set, in ticks. Waits for them.
    pub(in crate::gpu) fn resolve(&self, queries: &wgpu::QuerySet, count: u32) -> Result<Vec<u64>> {
        let size = 8 * count as u64;
        let resolved =
            crate::gpu::Tensor::empty(self, &[2 * count as usize], crate::gpu::DType::U32)?;
        let target = self.inner.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("wgvq timing"),
            size: size.next_multiple_of(wgpu::QUERY_RESOLVE_BUFFER_ALIGNMENT),
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        self.with_encoder(&[&resolved.storage], |encoder| {
            encoder.resolve_query_set(queries, 0..count, &target, 0);
            encoder.copy_buffer_to_buffer(
                &target,
                0,
                resolved.storage.buffer(),
                resolved.offset,
                size,
            );
        });
        // Two words each, the lower first.
        let words = resolved.read::<u32>()?;
        Ok(words
            .chunks_exact(2)
            .map(|w| (w[1] as u64) << 32 | w[0] as u64)
            .collect())
    }
}
